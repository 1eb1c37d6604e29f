//! `moorline keys init`: makes what an installation needs before its chart is installed: SSH host keys, the authority of the cluster's inside with
//! certificates for gateway and signer, the ticket key, the key of the people's secrets. Written as files of Secrets, for `kubectl apply` (rule S25).
//! `moorline keys rotate` renews them in that file.

mod authority;
mod file;
mod rotate;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use moorline_base::error::Hinted;
use moorline_base::files::{Access, write_atomic};
use moorline_core::PublicKey;
use moorline_tunnel::keyfile::{HostKeys, next};
use serde::Serialize;
use serde_json::{Map, Value};

use authority::{Authority, SERVERS};
pub(super) use rotate::ARRIVED;
pub use rotate::{KeysRotate, rotate};

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
    /// Make the next SSH host keys too, of which cameras are told from the first day: their private halves into this directory, which is made. Keep
    /// it offline.
    #[arg(long, value_name = "DIR")]
    pub next: Option<PathBuf>,
}

impl KeysInit {
    /// Whether the Secrets go to standard output.
    pub fn is_to_standard_output(&self) -> bool {
        self.out == Path::new("-")
    }
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
    /// The directory with the private halves of the next host keys, where they were made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<PathBuf>,
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
        if let Some(next) = &self.next {
            let next = next.display();
            writeln!(
                f,
                "{next} holds the next SSH host keys: keep it offline, and a copy of it; whoever has it can be this installation"
            )?;
        }
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
    let secret = |name: &str, kind: &str, files: Map<String, Value>| {
        file::secret(&args.release, &args.namespace, name, kind, files)
    };
    let opaque = |name: &str, files: Map<String, Value>| secret(name, "Opaque", files);
    let one = |name: &str, text: String| -> Map<String, Value> {
        Map::from_iter([(name.to_owned(), Value::from(text))])
    };
    let mut private = host_key_files(&host_keys)?;
    let mut public = one(KNOWN_HOSTS, known_hosts_file(&host_keys));
    if let Some(directory) = &args.next {
        let keys = made_next(directory)?;
        private.extend([(next::PUBLIC.to_owned(), next::public_text(&keys).into())]);
        public.extend([(NEXT.to_owned(), next::public_text(&keys).into())]);
    }
    let mut secrets = vec![opaque("host-keys", private)];
    let authority = Authority::make()?;
    for server in SERVERS {
        let trusted = &authority.certificate;
        let files = authority.files(server, &args.release, &args.namespace, trusted)?;
        let name = format!("{}-tls", server.0);
        secrets.push(secret(&name, "kubernetes.io/tls", files));
    }
    secrets.push(secret(
        "authority",
        "kubernetes.io/tls",
        Map::from_iter([
            ("tls.crt".to_owned(), authority.certificate.clone().into()),
            ("tls.key".to_owned(), authority.key().into()),
        ]),
    ));
    secrets.push(opaque("known-hosts", public));
    let (ticket_key, public) = moorline_gateway::generate_key()?;
    secrets.push(opaque("ticket-key", one("key.pem", ticket_key)));
    secrets.push(opaque("tickets", one("public", format!("{public}\n"))));
    // The envelope of the people's secrets in PostgreSQL, the same for all front doors (rule S25).
    let people = moorline_registry::new_key();
    secrets.push(opaque(
        "people",
        one("people.key", people.as_str().to_owned()),
    ));
    let text = file::text(&secrets)?;
    if args.is_to_standard_output() {
        crate::output::write_all(text.as_bytes())?;
    } else {
        write_atomic(&args.out, text.as_bytes(), Access::Private)
            .with_context(|| format!("cannot write {}", args.out.display()))?;
    }
    Ok(Made {
        file: args.out.clone(),
        secrets: file::names(&secrets),
        host_keys: host_keys.public().map(ToString::to_string).collect(),
        next: args.next.clone(),
    })
}

/// Makes the next host keys in a directory.
fn made_next(directory: &Path) -> Result<Vec<PublicKey>, Hinted> {
    next::make(directory)
        .map_err(|error| Hinted::new(error.to_string(), error.hint().unwrap_or_default()))
}

/// The file with the public host keys, one a line without a host.
const KNOWN_HOSTS: &str = "keys";
/// The file beside it with those that come next.
const NEXT: &str = "next";

/// The lines for a camera's known_hosts, of a mounted directory that `keys init` made.
///
/// # Errors
/// The file cannot be read, or holds a line that is no key.
pub(super) fn known_hosts(directory: &Path, host: &str) -> anyhow::Result<Vec<String>> {
    let path = directory.join(KNOWN_HOSTS);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let line = |key: &str| -> anyhow::Result<String> {
        let key: PublicKey = key
            .parse()
            .with_context(|| format!("{}: {key:?}", path.display()))?;
        Ok(format!("{host} {key}"))
    };
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(line)
        .collect()
}

/// The host keys that come next, as base64, of the same directory; none where none were made.
///
/// # Errors
/// The file cannot be read, or holds a line that is no key.
pub(super) fn next_host_keys(directory: &Path) -> anyhow::Result<Vec<String>> {
    let path = directory.join(NEXT);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", path.display()));
        }
    };
    let encoded = |line: &str| -> anyhow::Result<String> {
        let key: PublicKey = line
            .parse()
            .with_context(|| format!("{}: {line:?}", path.display()))?;
        Ok(crate::serve::pins::base64(&key))
    };
    text.lines().map(encoded).collect()
}

/// The host keys as files of the directory that `mon` reads.
fn host_key_files(keys: &HostKeys) -> anyhow::Result<Map<String, Value>> {
    let files = keys.to_files()?;
    Ok(files
        .into_iter()
        .map(|(name, text)| (name.to_owned(), text.expose().clone().into()))
        .collect())
}

/// The public host keys, as [`known_hosts`] reads them.
fn known_hosts_file(keys: &HostKeys) -> String {
    keys.public().map(|key| format!("{key}\n")).collect()
}
