//! `moorline keys init`: makes what an installation needs before its chart is installed: SSH host keys, the authority of the cluster's inside with
//! certificates for gateway and signer, the ticket key, the key of the people's secrets. Written as files of Secrets, for `kubectl apply` (rule S25).

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use moorline_base::error::Hinted;
use moorline_base::files::{Access, write_atomic};
use moorline_tunnel::keyfile::HostKeys;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// `moorline keys init`
#[derive(Debug, Clone, clap::Args)]
pub struct KeysInit {
    /// Namespace of the installation.
    #[arg(long, default_value = "moorline-system")]
    pub namespace: String,
    /// File to write the Secrets to (0600); - for standard output.
    #[arg(long, value_name = "FILE", default_value = "moorline-secrets.yaml")]
    pub out: PathBuf,
    /// Name of the release: the names of its Services begin with it.
    #[arg(long, default_value = "moorline")]
    pub release: String,
}

/// What was made.
#[derive(Debug, Serialize)]
pub struct Made {
    /// The file.
    pub file: PathBuf,
    /// The Secrets in it.
    pub secrets: Vec<String>,
    /// Lines for a camera's known_hosts, without its host.
    pub host_keys: Vec<String>,
}

impl std::fmt::Display for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "{} holds {}",
            self.file.display(),
            self.secrets.join(", ")
        )?;
        writeln!(f, "apply it: kubectl apply -f {}", self.file.display())?;
        write!(
            f,
            "keep a copy where the cluster cannot lose it: cameras trust these host keys"
        )
    }
}

/// Makes the Secrets and writes the file. An existing file is not replaced: its keys may be in use.
///
/// # Errors
/// The file exists, or cannot be written; the system has no randomness.
pub fn init(args: &KeysInit) -> anyhow::Result<Made> {
    ensure!(
        !args.out.exists(),
        Hinted::new(
            format!("{} exists", args.out.display()),
            "its keys may be in use: choose another name with --out"
        )
    );
    let host_keys = HostKeys::generate()?;
    let mut secrets = vec![secret(
        args,
        "host-keys",
        "Opaque",
        host_key_files(&host_keys)?,
    )];
    let authority = Authority::make()?;
    for (service, extra) in [("mon", Some("mon-peers")), ("signer", None)] {
        let name = format!("{}-{service}", args.release);
        let mut names = service_names(&name, &args.namespace);
        if let Some(extra) = extra {
            names.extend(service_names(
                &format!("{}-{extra}", args.release),
                &args.namespace,
            ));
        }
        let (certificate, key) = authority.issue(&names)?;
        let files = Map::from_iter([
            ("ca.crt".to_owned(), authority.certificate.clone().into()),
            ("tls.crt".to_owned(), certificate.into()),
            ("tls.key".to_owned(), key.into()),
        ]);
        secrets.push(secret(
            args,
            &format!("{service}-tls"),
            "kubernetes.io/tls",
            files,
        ));
    }
    secrets.push(secret(
        args,
        "authority",
        "kubernetes.io/tls",
        Map::from_iter([
            ("tls.crt".to_owned(), authority.certificate.clone().into()),
            ("tls.key".to_owned(), authority.key.serialize_pem().into()),
        ]),
    ));
    let lines: Vec<String> = host_keys.public().map(ToString::to_string).collect();
    secrets.push(secret(
        args,
        "known-hosts",
        "Opaque",
        Map::from_iter([(KNOWN_HOSTS.to_owned(), (lines.join("\n") + "\n").into())]),
    ));
    let (ticket_key, public) = moorline_gateway::generate_key()?;
    secrets.push(secret(
        args,
        "ticket-key",
        "Opaque",
        Map::from_iter([("key.pem".to_owned(), ticket_key.into())]),
    ));
    secrets.push(secret(
        args,
        "tickets",
        "Opaque",
        Map::from_iter([("public".to_owned(), format!("{public}\n").into())]),
    ));
    // The envelope of the people's secrets in PostgreSQL, the same for all front doors (rule S25).
    let people = moorline_registry::new_key();
    secrets.push(secret(
        args,
        "people",
        "Opaque",
        Map::from_iter([("people.key".to_owned(), people.as_str().into())]),
    ));
    let text: Result<Vec<String>, _> = secrets.iter().map(serde_json::to_string_pretty).collect();
    // JSON documents are YAML documents.
    let text = text?.join("\n---\n") + "\n";
    if args.out == Path::new("-") {
        crate::output::write_all(text.as_bytes())?;
    } else {
        write_atomic(&args.out, text.as_bytes(), Access::Private)
            .with_context(|| format!("cannot write {}", args.out.display()))?;
    }
    let name = |secret: &Value| secret["metadata"]["name"].as_str().map(str::to_owned);
    Ok(Made {
        file: args.out.clone(),
        secrets: secrets.iter().filter_map(name).collect(),
        host_keys: host_keys.public().map(ToString::to_string).collect(),
    })
}

/// The file with the public host keys, one a line without a host.
const KNOWN_HOSTS: &str = "keys";

/// The lines for a camera's known_hosts, of a mounted directory that `keys init` made.
///
/// # Errors
/// The file cannot be read, or holds a line that is no key.
pub(super) fn known_hosts(directory: &Path, host: &str) -> anyhow::Result<Vec<String>> {
    let path = directory.join(KNOWN_HOSTS);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let line = |key: &str| -> anyhow::Result<String> {
        let key: moorline_core::PublicKey = key
            .parse()
            .with_context(|| format!("{}: {key:?}", path.display()))?;
        Ok(format!("{host} {key}"))
    };
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(line)
        .collect()
}

fn secret(args: &KeysInit, name: &str, kind: &str, data: Map<String, Value>) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": kind,
        "metadata": {
            "name": format!("{}-{name}", args.release), "namespace": args.namespace,
            "labels": {"app.kubernetes.io/part-of": "moorline"},
        },
        "stringData": data,
    })
}

/// The names under which a Service is reached.
fn service_names(service: &str, namespace: &str) -> Vec<String> {
    vec![
        format!("{service}.{namespace}.svc"),
        format!("{service}.{namespace}.svc.cluster.local"),
    ]
}

/// The host keys as files of the directory that `mon` reads.
fn host_key_files(keys: &HostKeys) -> anyhow::Result<Map<String, Value>> {
    let files = keys.to_files()?;
    Ok(files
        .into_iter()
        .map(|(name, text)| (name.to_owned(), text.expose().clone().into()))
        .collect())
}

/// The authority of the cluster's inside.
struct Authority {
    certificate: String,
    key: KeyPair,
    params: CertificateParams,
}

impl Authority {
    fn make() -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = named("Moorline cluster authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self {
            certificate,
            key,
            params,
        })
    }

    /// A certificate for servers of these names, which are also clients of each other (rule S24).
    fn issue(&self, names: &[String]) -> anyhow::Result<(String, String)> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names.to_vec())?;
        params.distinguished_name = named(names.first().map_or("moorline", String::as_str));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer)?.pem();
        Ok((certificate, key.serialize_pem()))
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    // An X.520 common name holds 64 characters; what counts are the alternative names.
    distinguished.push(
        DnType::CommonName,
        name.chars().take(64).collect::<String>(),
    );
    distinguished
}
