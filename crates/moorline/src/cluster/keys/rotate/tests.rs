//! A rotation by its steps: parts of a cluster that are a step apart get on with each other, parts that are three apart do not.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use moorline_core::port::{PodUid, ReaderRole};
use moorline_core::{Generation, SourceName};
use moorline_gateway::{
    LIFETIME, ServerTls, Ticket, TicketCheck, TicketPublic, TicketSigner, TlsFiles,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::json;

use super::*;
use crate::cluster::keys::{KeysInit, init};

const BEGUN: Timestamp = Timestamp::from_millis(1_790_000_000_000);

/// An operator's, with the file that `keys init` wrote.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        let args = KeysInit {
            namespace: "moorline-system".to_owned(),
            out: desk.file(),
            release: RELEASE.to_owned(),
        };
        init(&args).unwrap();
        desk
    }

    fn file(&self) -> PathBuf {
        self.0.path().join(SECRETS)
    }

    fn args(&self, only: Option<What>) -> KeysRotate {
        KeysRotate {
            secrets: self.file(),
            only,
            release: RELEASE.to_owned(),
            now: false,
        }
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.file()).unwrap()
    }

    fn secrets(&self) -> Secrets {
        Secrets::read(&self.file(), RELEASE).unwrap()
    }

    /// The Secrets before the first step and after each, and what the steps said.
    fn through(&self, only: Option<What>) -> (Vec<Secrets>, Vec<Rotated>) {
        let (mut states, mut said, mut now) = (vec![self.secrets()], Vec::new(), BEGUN);
        loop {
            said.push(step(&self.args(only), now).unwrap());
            states.push(self.secrets());
            match said.last().and_then(|rotated| rotated.next) {
                Some(next) => now = next,
                None => return (states, said),
            }
        }
    }
}

/// Whether a ticket of one signer opens at a relay that was told these keys.
fn opens(signer: &Secrets, relay: &Secrets) -> bool {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("key.pem");
    std::fs::write(&file, signer.get("ticket-key", "key.pem").unwrap()).unwrap();
    let signer = TicketSigner::load(file, SystemClock::shared()).unwrap();
    let ticket = Ticket {
        id: [7; 16],
        expires: BEGUN + LIFETIME,
        generation: Generation(3),
        camera: "acme/yard".parse().unwrap(),
        source: SourceName::Main,
        role: ReaderRole::Archiver,
        pod: PodUid("uid-1".to_owned()),
    };
    let publics = relay.get("tickets", "public").unwrap().lines();
    let publics: Vec<TicketPublic> = publics.map(|line| line.parse().unwrap()).collect();
    assert!(publics.len() <= 2, "a gateway takes no more");
    let check = TicketCheck::new(ticket.camera.clone(), ticket.pod.clone());
    check.set_keys(publics);
    check.take(&signer.sign(&ticket).unwrap(), BEGUN).is_ok()
}

/// Whether who trusts the authorities of one takes the certificates of the other for its servers'.
fn trusts(client: &Secrets, server: &Secrets) -> bool {
    let authorities = client.get("mon-tls", "ca.crt").unwrap();
    assert_eq!(authorities, client.get("signer-tls", "ca.crt").unwrap());
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
        roots.add(authority.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .unwrap();
    let takes = |secret: &str, service: &str| {
        let shown = server.get(secret, "tls.crt").unwrap();
        let shown = CertificateDer::from_pem_slice(shown.as_bytes()).unwrap();
        let name = ServerName::try_from(format!("{service}.moorline-system.svc")).unwrap();
        let verified = verifier.verify_server_cert(&shown, &[], &name, &[], UnixTime::now());
        verified.is_ok()
    };
    let all = [
        takes("mon-tls", "moorline-mon"),
        takes("mon-tls", "moorline-mon-peers"),
        takes("signer-tls", "moorline-signer"),
    ];
    assert!(!takes("signer-tls", "moorline-mon"));
    assert!(all.iter().all(|taken| *taken == all[0]), "{all:?}");
    all[0]
}

/// Reads the files of a server's Secret as `mon` and the signer do.
fn load(secrets: &Secrets, name: &str) {
    let place = tempfile::tempdir().unwrap();
    for file in ["tls.crt", "tls.key", "ca.crt"] {
        std::fs::write(place.path().join(file), secrets.get(name, file).unwrap()).unwrap();
    }
    let files = TlsFiles {
        certificate: place.path().join("tls.crt"),
        key: place.path().join("tls.key"),
        authority: place.path().join("ca.crt"),
    };
    ServerTls::load(files, SystemClock::shared()).unwrap();
}

/// S24: some pods have the next step already, others do not yet.
#[test]
fn parts_that_are_a_step_apart_get_on_with_each_other() {
    let desk = Desk::new();
    let (states, said) = desk.through(None);
    let did: Vec<_> = said.iter().flat_map(|rotated| &rotated.steps).collect();
    let did: Vec<_> = did.iter().map(|step| (step.what, step.step)).collect();
    let both = |step: u8| [(What::Authority, step), (What::Tickets, step)];
    assert_eq!(did, [both(1), both(2), both(3)].concat());
    for (at, one) in states.iter().enumerate() {
        load(one, "mon-tls");
        load(one, "signer-tls");
        for other in &states[at.saturating_sub(1)..(at + 2).min(states.len())] {
            assert!(opens(one, other) && trusts(one, other), "after step {at}");
        }
    }
    let (first, last) = (&states[0], &states[3]);
    assert!(!opens(first, last), "the old ticket key is good no more");
    assert!(!opens(last, first) && !trusts(first, last));
    assert!(!trusts(last, first), "the old authority is trusted no more");
}

/// S25: who has the file from after the rotation has nothing of before it.
#[test]
fn no_old_key_is_left_in_the_file_and_what_is_not_renewed_stays() {
    let desk = Desk::new();
    let (states, said) = desk.through(None);
    let after = desk.text();
    for (name, file) in [
        ("authority", "tls.key"),
        ("authority", "tls.crt"),
        ("mon-tls", "tls.key"),
        ("signer-tls", "tls.key"),
        ("ticket-key", "key.pem"),
    ] {
        let old = json!(states[0].get(name, file).unwrap()).to_string();
        let old = old.trim_matches('"').trim_end_matches("\\n");
        assert!(!after.contains(old), "{name} {file}");
    }
    for (name, file) in [
        ("host-keys", "ssh_host_ed25519_key"),
        ("known-hosts", KNOWN_HOSTS),
        ("people", "people.key"),
    ] {
        let (old, new) = (states[0].get(name, file), states[3].get(name, file));
        assert_eq!(new.unwrap(), old.unwrap());
    }
    let told = said.last().unwrap().to_string();
    assert!(
        told.contains("authority, step 3 of 3: the old authority is trusted no more"),
        "{told}"
    );
    assert!(told.contains("kubectl apply -f") && told.contains("no older one"));
    for file in [desk.file(), said[0].before.clone()] {
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
}

#[test]
fn a_step_that_may_not_have_arrived_is_waited_for() {
    let desk = Desk::new();
    let first = step(&desk.args(None), BEGUN).unwrap();
    let told = first.to_string();
    assert!(
        told.contains("then:       moorline keys rotate --secrets "),
        "{told}"
    );
    let before = desk.text();
    let early = BEGUN + ARRIVED.saturating_sub(Duration::from_secs(1));
    let refused = step(&desk.args(None), early).unwrap_err();
    let refused = moorline_base::error::report(refused.as_ref());
    assert!(
        refused.contains("not all pods may have it yet\nhint: go on from"),
        "{refused}"
    );
    assert_eq!(desk.text(), before, "nothing was changed");
    let hurried = KeysRotate {
        now: true,
        ..desk.args(None)
    };
    assert_eq!(step(&hurried, early).unwrap().steps[0].step, 2);
    // A step is taken back by the file beside it.
    let taken_back = desk.0.path().join(format!("{SECRETS}.before"));
    assert_eq!(std::fs::read_to_string(taken_back).unwrap(), before);
}

#[test]
fn what_is_under_way_ends_before_anything_else_begins() {
    let desk = Desk::new();
    step(&desk.args(Some(What::Tickets)), BEGUN).unwrap();
    for at in [2, 3] {
        let done = step(&desk.args(None), BEGUN + ARRIVED * (at - 1)).unwrap();
        let steps: Vec<_> = done
            .steps
            .iter()
            .map(|step| (step.what, step.step))
            .collect();
        assert_eq!(steps, [(What::Tickets, u8::try_from(at).unwrap())]);
    }
    let done = step(&desk.args(None), BEGUN + ARRIVED * 3).unwrap();
    assert_eq!(done.steps.len(), 2, "both begin");
}

#[test]
fn host_keys_change_if_they_are_asked_for_and_are_told() {
    let desk = Desk::new();
    let before = desk.secrets();
    let done = step(&desk.args(Some(What::HostKeys)), BEGUN).unwrap();
    let after = desk.secrets();
    for (name, file) in [
        ("host-keys", "ssh_host_ed25519_key"),
        ("host-keys", "ssh_host_ecdsa_key"),
    ] {
        assert_ne!(
            before.get(name, file).unwrap(),
            after.get(name, file).unwrap()
        );
    }
    let public: Vec<_> = after
        .get("known-hosts", KNOWN_HOSTS)
        .unwrap()
        .lines()
        .collect();
    assert_eq!(public, done.host_keys);
    let told = done.to_string();
    assert!(told.contains(&format!("  {}\n", public[0])), "{told}");
    assert_eq!(done.next, None);
    // As `mon` reads them.
    let place = tempfile::tempdir().unwrap();
    for file in HostKeys::files(place.path()) {
        let name = file.file_name().unwrap().to_str().unwrap();
        std::fs::write(&file, after.get("host-keys", name).unwrap()).unwrap();
    }
    let read = HostKeys::load_mounted(place.path()).unwrap();
    let read: Vec<String> = read.public().map(ToString::to_string).collect();
    assert_eq!(read, done.host_keys);
}

/// An object that no `keys init` made.
fn foreign(kind: &str, name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": kind,
        "metadata": {"name": name, "namespace": "moorline-system"},
        "data": {"access-key": "QUtJQQ=="},
    })
}

/// Whose file is lost takes what is in force, out of a namespace with other Secrets in it.
#[test]
fn what_kubectl_prints_is_taken_too() {
    use base64::Engine as _;
    let desk = Desk::new();
    step(&desk.args(None), BEGUN).unwrap();
    let ours = desk.text();
    let items: Vec<Value> = ours
        .split("\n---\n")
        .map(|text| {
            let mut secret: Value = serde_json::from_str(text).unwrap();
            let data = secret["stringData"].take();
            let encoded = data.as_object().unwrap().iter().map(|(file, text)| {
                let text = text.as_str().unwrap();
                let encoded = base64::engine::general_purpose::STANDARD.encode(text);
                (file.clone(), Value::from(encoded))
            });
            secret["data"] = encoded.collect::<serde_json::Map<_, _>>().into();
            secret.as_object_mut().unwrap().remove("stringData");
            for field in ["uid", "resourceVersion", "creationTimestamp"] {
                secret["metadata"][field] = "known-to-the-server".into();
            }
            secret["metadata"]["managedFields"] = json!([{"manager": "known-to-the-server"}]);
            secret
        })
        .collect();
    let items = [items, vec![foreign("Secret", "moorline-store-put")]].concat();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    std::fs::write(desk.file(), list.to_string()).unwrap();
    let early = step(&desk.args(None), BEGUN).unwrap_err();
    assert!(
        early.to_string().contains("the last step was made at"),
        "{early}"
    );
    let done = step(&desk.args(None), BEGUN + ARRIVED).unwrap();
    assert_eq!(done.steps[0].step, 2);
    let written = desk.text();
    assert!(!written.contains("moorline-store-put") && !written.contains("known-to-the-server"));
    assert_eq!(
        written.matches("\n---\n").count(),
        ours.matches("\n---\n").count()
    );
    // What takes the step back has nothing that the API server or somebody else would object to.
    assert_eq!(std::fs::read_to_string(done.before).unwrap(), ours);
}

#[test]
fn what_somebody_keeps_beside_the_secrets_in_their_file_stays_there() {
    let desk = Desk::new();
    let kept = [
        foreign("Secret", "moorline-store-put"),
        foreign("ConfigMap", "moorline-people"),
    ];
    let [secret, other] = &kept;
    let file = format!("{}---\n{secret}\n---\n{other}\n", desk.text());
    std::fs::write(desk.file(), file).unwrap();
    let done = step(&desk.args(None), BEGUN).unwrap();
    for path in [done.file, done.before] {
        let text = std::fs::read_to_string(&path).unwrap();
        let documents = text.split("\n---\n");
        let documents: Vec<Value> = documents
            .map(|document| serde_json::from_str(document).unwrap())
            .collect();
        assert!(documents.ends_with(&kept), "{}", path.display());
    }
}

/// S36: what kubectl prints are private keys, and a shell makes files that everybody reads.
#[test]
fn the_secrets_in_force_are_written_where_nobody_else_reads_them() {
    let desk = Desk::new();
    std::fs::remove_file(desk.file()).unwrap();
    let refused = step(&desk.args(None), BEGUN).unwrap_err();
    let told = moorline_base::error::report(refused.as_ref());
    let line = "(umask 077 && kubectl -n moorline-system get secret --output json > FILE)";
    assert!(told.contains(line), "{told}");
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let guide = std::fs::read_to_string(root.join("docs/guide/kubernetes.md")).unwrap();
    let line = line.replace("FILE", "secrets.json");
    assert!(guide.lines().any(|typed| typed == line), "{line}");
}

#[test]
fn a_file_that_cannot_be_used_is_told_with_a_way_out() {
    let desk = Desk::new();
    let refused = |args: &KeysRotate| {
        let error = step(args, BEGUN).unwrap_err();
        moorline_base::error::report(error.as_ref())
    };
    let other = KeysRotate {
        release: "cctv".to_owned(),
        ..desk.args(None)
    };
    let told = refused(&other);
    assert!(told.contains("there is no Secret cctv-authority"), "{told}");
    assert!(told.contains("hint: --release names"), "{told}");
    std::fs::write(desk.file(), "kind: Secret\n").unwrap();
    let told = refused(&desk.args(None));
    assert!(told.contains("is not as keys init writes it"), "{told}");
    assert!(
        told.contains("hint: (umask 077 && kubectl -n moorline-system get secret"),
        "{told}"
    );
    std::fs::remove_file(desk.file()).unwrap();
    let told = refused(&desk.args(None));
    assert!(told.contains("cannot read"), "{told}");
}
