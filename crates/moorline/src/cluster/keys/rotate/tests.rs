//! A rotation by its steps: parts of a cluster that are a step apart get on with each other, parts that are three apart do not.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use moorline_core::port::{PodUid, ReaderRole};
use moorline_core::{Generation, SourceName};
use moorline_gateway::{
    LIFETIME, ServerTls, Ticket, TicketCheck, TicketPublic, TicketSigner, TlsFiles,
};
use moorline_tunnel::keyfile::{HostKeys, next};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::json;

use super::*;
use crate::cluster::keys::{KNOWN_HOSTS, KeysInit, NEXT, init};

const BEGUN: Timestamp = Timestamp::from_millis(1_790_000_000_000);

/// An operator's, with the file that `keys init` wrote.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        init(&desk.init()).unwrap();
        desk
    }

    fn init(&self) -> KeysInit {
        KeysInit {
            namespace: "moorline-system".to_owned(),
            out: self.file(),
            release: RELEASE.to_owned(),
            next: None,
        }
    }

    /// Where the next host keys lie.
    fn stick(&self) -> PathBuf {
        self.0.path().join("stick")
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
            next: (only == Some(What::HostKeys)).then(|| self.stick()),
            anew: false,
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

/// Host keys as `mon` reads them.
fn mounted(secrets: &Secrets) -> Vec<String> {
    let place = tempfile::tempdir().unwrap();
    for file in HostKeys::files(place.path()) {
        let name = file.file_name().unwrap().to_str().unwrap();
        std::fs::write(&file, secrets.get("host-keys", name).unwrap()).unwrap();
    }
    let read = HostKeys::load_mounted(place.path()).unwrap();
    read.public().map(ToString::to_string).collect()
}

/// What cameras are told ahead, as `mon` reads it and as the files of `camera enroll` have it.
fn told_ahead(secrets: &Secrets) -> Vec<String> {
    let text = secrets.get("host-keys", next::PUBLIC).unwrap();
    assert_eq!(text, secrets.get("known-hosts", NEXT).unwrap());
    text.lines().map(str::to_owned).collect()
}

/// S25: who has the file between the steps has no key that comes next.
#[test]
fn host_keys_are_told_ahead_and_used_when_they_are_asked_for() {
    let desk = Desk::new();
    let old = mounted(&desk.secrets());
    let done = step(&desk.args(Some(What::HostKeys)), BEGUN).unwrap();
    let between = desk.secrets();
    assert_eq!(mounted(&between), old, "the old ones are shown");
    assert_eq!(told_ahead(&between), done.host_keys);
    assert_ne!(done.host_keys, old);
    assert_eq!(desk.text().matches("BEGIN OPENSSH PRIVATE KEY").count(), 2);
    let told = done.to_string();
    assert!(
        told.contains("host-keys, step 1 of 2: cameras with an agent are told"),
        "{told}"
    );
    assert!(
        told.contains(&format!("  {}\n", done.host_keys[0])),
        "{told}"
    );
    let taken_back = std::fs::read_to_string(&done.before).unwrap();
    let empty = [next::PUBLIC, NEXT].map(|file| format!("\"{file}\": \"\""));
    for file in empty {
        assert!(
            taken_back.contains(&file),
            "applied, it takes the file away: {file}"
        );
    }
    let stick = desk.stick();
    assert!(told.contains(&format!("--next {}", stick.display())));
    for file in HostKeys::files(&stick) {
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }

    // All else is renewed meanwhile.
    step(&desk.args(None), BEGUN + ARRIVED).unwrap();
    let used = step(&desk.args(Some(What::HostKeys)), BEGUN + ARRIVED).unwrap();
    let after = desk.secrets();
    assert_eq!(mounted(&after), done.host_keys);
    assert_eq!(used.host_keys, done.host_keys);
    let public = after.get("known-hosts", KNOWN_HOSTS).unwrap().lines();
    assert!(public.eq(&done.host_keys), "as camera add prints them");
    assert!(told_ahead(&after).is_empty());
    assert_eq!(used.next, None);
}

#[test]
fn other_keys_than_those_that_cameras_were_told_of_are_not_used() {
    let desk = Desk::new();
    step(&desk.args(Some(What::HostKeys)), BEGUN).unwrap();
    let (before, elsewhere) = (desk.text(), desk.0.path().join("elsewhere"));
    let later = BEGUN + ARRIVED;
    let of = |next: &Path| KeysRotate {
        next: Some(next.to_owned()),
        ..desk.args(Some(What::HostKeys))
    };
    let told = |args: &KeysRotate| {
        let error = step(args, later).unwrap_err();
        moorline_base::error::report(error.as_ref())
    };
    let lost = told(&of(&elsewhere));
    assert!(lost.contains("hint: --next names the directory"), "{lost}");
    next::make(&elsewhere).unwrap();
    let foreign = told(&of(&elsewhere));
    assert!(
        foreign.contains("are not those that cameras were told of"),
        "{foreign}"
    );
    let without = KeysRotate {
        next: None,
        ..desk.args(Some(What::HostKeys))
    };
    assert!(told(&without).contains("hint: --next DIR"));
    let beside = KeysRotate {
        only: None,
        ..of(&elsewhere)
    };
    assert!(told(&beside).contains("hint: add --only host-keys"));
    assert_eq!(desk.text(), before, "nothing was changed");

    // They are lost: others are told.
    let anew = KeysRotate {
        anew: true,
        ..of(&desk.0.path().join("another"))
    };
    let done = step(&anew, later).unwrap();
    assert_eq!(done.steps[0].step, 1);
    assert_eq!(told_ahead(&desk.secrets()), done.host_keys);
}

#[test]
fn the_first_keys_may_come_with_the_next_ones() {
    let desk = Desk::new();
    std::fs::remove_file(desk.file()).unwrap();
    let stick = desk.stick();
    let args = KeysInit {
        next: Some(stick.clone()),
        ..desk.init()
    };
    let made = init(&args).unwrap().to_string();
    assert!(made.contains(&format!("{} holds the next SSH host keys", stick.display())));
    let coming = told_ahead(&desk.secrets());
    assert_eq!(coming.len(), 2);
    let done = step(&desk.args(Some(What::HostKeys)), BEGUN).unwrap();
    assert_eq!(done.steps[0].step, 2, "at once, after a theft");
    assert_eq!(mounted(&desk.secrets()), coming);
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
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
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
