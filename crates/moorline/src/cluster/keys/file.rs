//! A file of Secrets, for `kubectl apply`: JSON documents, which are YAML documents, as `keys init` and `keys rotate` write them.
//!
//! **Owns** reading and writing it. Read is also what `kubectl get secret --output json` prints: then what is written has the installation's keys
//! alone, of whatever else lay in the namespace, and so has what takes a step back. **Does not own** what the keys mean.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use moorline_base::error::Hinted;
use moorline_base::files::{Access, write_atomic};
use moorline_core::Timestamp;
use serde_json::{Map, Value, json};

/// The Secrets of an installation, by their names behind the release's.
const NAMES: [&str; 8] = [
    "host-keys",
    "mon-tls",
    "signer-tls",
    "authority",
    "known-hosts",
    "ticket-key",
    "tickets",
    "people",
];
/// When a step of a rotation was made, in RFC 3339.
const ROTATED: &str = "moorline.dev/rotated";
/// Where the Secrets come from when their file is lost: into one that nobody else reads (rule S36).
const IN_FORCE: &str = "(umask 077 && kubectl -n moorline-system get secret --output json > FILE) writes those that are in force";

/// A Secret as it is applied.
pub(super) fn secret(
    release: &str,
    namespace: &str,
    name: &str,
    kind: &str,
    data: Map<String, Value>,
) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": kind,
        "metadata": {
            "name": format!("{release}-{name}"), "namespace": namespace,
            "labels": {"app.kubernetes.io/part-of": "moorline"},
        },
        "stringData": data,
    })
}

/// The names of Secrets, whole.
pub(super) fn names(secrets: &[Value]) -> Vec<String> {
    let name = |secret: &Value| secret["metadata"]["name"].as_str().map(str::to_owned);
    secrets.iter().filter_map(name).collect()
}

/// The text of a file of Secrets.
pub(super) fn text(secrets: &[Value]) -> anyhow::Result<String> {
    let documents: Result<Vec<String>, _> =
        secrets.iter().map(serde_json::to_string_pretty).collect();
    Ok(documents?.join("\n---\n") + "\n")
}

/// Secrets of an installation while they are changed.
pub(super) struct Secrets {
    path: PathBuf,
    release: String,
    /// What `all` was when it was read, as the text of a file.
    before: String,
    all: Vec<Value>,
}

impl Secrets {
    /// Reads a file.
    pub(super) fn read(path: &Path, release: &str) -> anyhow::Result<Self> {
        let read = std::fs::read_to_string(path).map_err(|cause| {
            Hinted::new(
                format!("cannot read {}: {cause}", path.display()),
                format!("--secrets names the file that keys init wrote; {IN_FORCE}"),
            )
        })?;
        let mut all = Vec::new();
        for document in read.split("\n---\n") {
            let document: Value = serde_json::from_str(document).map_err(|cause| {
                Hinted::new(
                    format!("{} is not as keys init writes it: {cause}", path.display()),
                    IN_FORCE,
                )
            })?;
            match document["items"].as_array() {
                // A whole namespace, most of which is none of ours.
                Some(items) => {
                    for item in items {
                        all.extend(told(item, release)?);
                    }
                }
                // Whatever else somebody keeps in the file stays in it.
                None => all.push(told(&document, release)?.unwrap_or(document)),
            }
        }
        Ok(Self {
            path: path.into(),
            release: release.to_owned(),
            before: text(&all)?,
            all,
        })
    }

    /// A file of a Secret.
    pub(super) fn get(&self, name: &str, file: &str) -> anyhow::Result<&str> {
        let text = self.find(name)?["stringData"][file].as_str();
        Ok(text.ok_or_else(|| self.missing(&format!("{file} of the Secret"), name))?)
    }

    /// The same, where an older file does not have it.
    pub(super) fn get_if_there(&self, name: &str, file: &str) -> Option<&str> {
        self.find(name).ok()?["stringData"][file].as_str()
    }

    /// A file that a Secret has had none of is there and empty, also in what takes the changes back: to apply a Secret that leaves a file out does not
    /// take the file away.
    pub(super) fn begin(&mut self, name: &str, file: &str) -> anyhow::Result<()> {
        if self.get_if_there(name, file).is_some() {
            return Ok(());
        }
        let (whole, missing) = (self.whole(name), self.missing("Secret", name));
        let found = self.all.iter_mut().find(|secret| is(secret, &whole));
        let secret = found.ok_or(missing)?;
        secret["stringData"][file] = "".into();
        self.before = text(&self.all)?;
        Ok(())
    }

    /// The release whose they are.
    pub(super) fn release(&self) -> &str {
        &self.release
    }

    /// The namespace of a Secret.
    pub(super) fn namespace(&self, name: &str) -> anyhow::Result<String> {
        let namespace = self.find(name)?["metadata"]["namespace"].as_str();
        Ok(namespace.unwrap_or("default").to_owned())
    }

    /// When a step of a rotation last changed a Secret.
    pub(super) fn rotated(&self, name: &str) -> Option<Timestamp> {
        let secret = self.find(name).ok()?;
        let at = secret["metadata"]["annotations"][ROTATED].as_str()?;
        at.parse().ok()
    }

    /// Changes files of a Secret, in a step of a rotation.
    pub(super) fn set(
        &mut self,
        name: &str,
        files: impl IntoIterator<Item = (String, Value)>,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        let (whole, missing) = (self.whole(name), self.missing("Secret", name));
        let found = self.all.iter_mut().find(|secret| is(secret, &whole));
        let secret = found.ok_or(missing)?;
        secret["metadata"]["annotations"][ROTATED] = now.to_string().into();
        for (file, text) in files {
            secret["stringData"][file.as_str()] = text;
        }
        Ok(())
    }

    /// Writes the file, and beside it a file that takes the changes back. Gives the place of the latter.
    pub(super) fn write(&self) -> anyhow::Result<PathBuf> {
        let mut before = self.path.clone().into_os_string();
        before.push(".before");
        let before = PathBuf::from(before);
        let text = text(&self.all)?;
        for (path, text) in [(&before, &self.before), (&self.path, &text)] {
            write_atomic(path, text.as_bytes(), Access::Private)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(before)
    }

    fn find(&self, name: &str) -> anyhow::Result<&Value> {
        let whole = self.whole(name);
        let found = self.all.iter().find(|secret| is(secret, &whole));
        Ok(found.ok_or_else(|| self.missing("Secret", name))?)
    }

    fn missing(&self, what: &str, name: &str) -> Hinted {
        Hinted::new(
            format!(
                "{}: there is no {what} {}",
                self.path.display(),
                self.whole(name)
            ),
            format!("--release names the installation; {IN_FORCE}"),
        )
    }

    fn whole(&self, name: &str) -> String {
        format!("{}-{name}", self.release)
    }
}

fn is(secret: &Value, name: &str) -> bool {
    secret["kind"] == "Secret" && secret["metadata"]["name"] == name
}

/// A Secret as the API server tells it, if it is the installation's: without what only the server knows.
fn told(secret: &Value, release: &str) -> anyhow::Result<Option<Value>> {
    let whole = secret["metadata"]["name"].as_str().unwrap_or_default();
    let name = whole.strip_prefix(release);
    let name = name.and_then(|name| name.strip_prefix('-'));
    let (true, Some(name), Some(data)) = (
        secret["kind"] == "Secret",
        name.filter(|name| NAMES.contains(name)),
        secret["data"].as_object(),
    ) else {
        return Ok(None);
    };
    let mut files = Map::new();
    for (file, encoded) in data {
        let bytes = STANDARD.decode(encoded.as_str().unwrap_or_default());
        let text = bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let text = text.with_context(|| format!("the Secret {whole} has no text in {file}"))?;
        files.insert(file.clone(), text.into());
    }
    let text = |value: &Value, otherwise: &str| value.as_str().unwrap_or(otherwise).to_owned();
    let namespace = text(&secret["metadata"]["namespace"], "default");
    let kind = text(&secret["type"], "Opaque");
    let mut made = self::secret(release, &namespace, name, &kind, files);
    let rotated = &secret["metadata"]["annotations"][ROTATED];
    if rotated.is_string() {
        made["metadata"]["annotations"][ROTATED] = rotated.clone();
    }
    Ok(Some(made))
}
