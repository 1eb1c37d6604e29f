//! An OCI image in a tar file (an image layout), written without a container daemon.
//!
//! **Deterministic**: the same files give the same bytes. Entries stand in the order of their paths, belong to root, and date from 1970.
//! The one layer is compressed where the image is released, by a library of `Cargo.lock`: its digest is then the one that a registry shows, whoever
//! pushes it. What only the tests load is not, since that would take longer than the rest.

use std::{collections::BTreeMap, io::Write as _, path::Path};

use anyhow::{Context as _, Result};
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

const PLAIN: &str = "layer.v1.tar";
const GZIP: &str = "layer.v1.tar+gzip";

/// What an image consists of.
pub(crate) struct Image {
    /// As OCI names it: `amd64`, `arm64`.
    pub(crate) architecture: &'static str,
    /// `uid:gid`.
    pub(crate) user: String,
    pub(crate) entrypoint: String,
    pub(crate) environment: Vec<String>,
    pub(crate) labels: BTreeMap<&'static str, String>,
    pub(crate) packing: Packing,
    /// By path, without a leading slash. Directories above a file need no entry of their own.
    pub(crate) entries: BTreeMap<String, Entry>,
}

/// How the layer lies in the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Plain,
    Gzip,
}

/// A file or a directory of an image.
pub(crate) struct Entry {
    /// `None` for a directory.
    contents: Option<Vec<u8>>,
    mode: u32,
}

impl Entry {
    pub(crate) fn file(contents: impl Into<Vec<u8>>) -> Self {
        Self {
            contents: Some(contents.into()),
            mode: 0o644,
        }
    }

    pub(crate) fn program(contents: Vec<u8>) -> Self {
        Self {
            contents: Some(contents),
            mode: 0o755,
        }
    }

    pub(crate) fn directory(mode: u32) -> Self {
        Self {
            contents: None,
            mode,
        }
    }
}

/// A part of the layout, found by the digest of its bytes.
struct Blob {
    bytes: Vec<u8>,
    digest: String,
}

impl Blob {
    fn new(bytes: Vec<u8>) -> Self {
        let digest = hex::encode(Sha256::digest(&bytes));
        Self { bytes, digest }
    }

    fn json(value: &Value) -> Self {
        Self::new(value.to_string().into_bytes())
    }

    fn descriptor(&self, kind: &str) -> Value {
        json!({
            "mediaType": media_type(kind),
            "digest": format!("sha256:{}", self.digest),
            "size": self.bytes.len(),
        })
    }
}

impl Image {
    /// Writes the image as a tar that `ctr images import`, `podman load` and `skopeo copy oci-archive:` read, under the name `reference`.
    /// Gives the digest of its manifest, which is the one that a registry shows.
    pub(crate) fn write(&self, reference: &str, file: &Path) -> Result<String> {
        let layer = self.layer()?;
        let unpacked = format!("sha256:{}", hex::encode(Sha256::digest(&layer)));
        let (layer, kind) = match self.packing {
            Packing::Plain => (layer, PLAIN),
            Packing::Gzip => (packed(&layer)?, GZIP),
        };
        let config = json!({
            "architecture": self.architecture,
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {
                "Entrypoint": [self.entrypoint],
                "Env": self.environment,
                "Labels": self.labels,
                "User": self.user,
            },
            "rootfs": { "type": "layers", "diff_ids": [unpacked] },
        });
        write(Blob::new(layer), kind, &config, reference, file)
    }

    fn layer(&self) -> Result<Vec<u8>> {
        let mut layer = Builder::new(Vec::new());
        let mut made = std::collections::BTreeSet::new();
        for (path, entry) in &self.entries {
            let mut above: Vec<&Path> = Path::new(path).ancestors().skip(1).collect();
            above.reverse();
            for directory in above {
                let name = directory.display().to_string();
                if !name.is_empty()
                    && !self.entries.contains_key(&name)
                    && made.insert(name.clone())
                {
                    add(&mut layer, &name, &Entry::directory(0o755))?;
                }
            }
            add(&mut layer, path, entry)?;
        }
        Ok(layer.into_inner()?)
    }
}

/// Writes the image of `file` under another name and with another label: the same files, and another digest, which is given.
pub(crate) fn relabelled(
    file: &Path,
    label: (&str, &str),
    reference: &str,
    out: &Path,
) -> Result<String> {
    let shown = file.display();
    let opened = std::fs::File::open(file).with_context(|| format!("cannot read {shown}"))?;
    let mut entries = BTreeMap::new();
    for entry in tar::Archive::new(opened).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.display().to_string();
        let mut bytes = Vec::new();
        std::io::copy(&mut entry, &mut bytes)?;
        entries.insert(path, bytes);
    }
    let mut take = |path: &str| {
        entries
            .remove(path)
            .with_context(|| format!("{shown} has no {path}"))
    };
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap_or_default();
        format!("blobs/{}", digest.replace(':', "/"))
    };
    let index: Value = serde_json::from_slice(&take("index.json")?)?;
    let manifest: Value = serde_json::from_slice(&take(&blob(&index["manifests"][0]))?)?;
    let mut config: Value = serde_json::from_slice(&take(&blob(&manifest["config"]))?)?;
    let layer = &manifest["layers"][0];
    let kind = [PLAIN, GZIP]
        .into_iter()
        .find(|known| layer["mediaType"] == media_type(known))
        .with_context(|| format!("{shown} has a layer of another kind: {layer}"))?;
    let layer = Blob::new(take(&blob(layer))?);
    config["config"]["Labels"][label.0] = label.1.into();
    write(layer, kind, &config, reference, out)
}

/// As a gzip file that says neither when nor where it was made.
fn packed(layer: &[u8]) -> Result<Vec<u8>> {
    let mut packing = GzBuilder::new()
        .mtime(0)
        .operating_system(255)
        .write(Vec::new(), Compression::best());
    packing.write_all(layer)?;
    Ok(packing.finish()?)
}

fn media_type(kind: &str) -> String {
    format!("application/vnd.oci.image.{kind}")
}

/// Writes a layout of one layer. Gives the digest of its manifest.
fn write(
    layer: Blob,
    layer_kind: &str,
    config: &Value,
    reference: &str,
    file: &Path,
) -> Result<String> {
    let platform = json!({ "architecture": config["architecture"], "os": "linux" });
    let config = Blob::json(config);
    let manifest = Blob::json(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config.descriptor("config.v1+json"),
        "layers": [layer.descriptor(layer_kind)],
    }));
    let mut named = manifest.descriptor("manifest.v1+json");
    let tag = reference.rsplit_once(':').map_or("latest", |(_, tag)| tag);
    named["platform"] = platform;
    // The first is where containerd finds the name, the second is OCI's own.
    named["annotations"] = json!({
        "io.containerd.image.name": reference,
        "org.opencontainers.image.ref.name": tag,
    });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [named],
    });

    let mut layout = Builder::new(Vec::new());
    add(
        &mut layout,
        "oci-layout",
        &Entry::file(r#"{"imageLayoutVersion":"1.0.0"}"#),
    )?;
    add(&mut layout, "index.json", &Entry::file(index.to_string()))?;
    let digest = format!("sha256:{}", manifest.digest);
    for blob in [manifest, config, layer] {
        let path = format!("blobs/sha256/{}", blob.digest);
        add(&mut layout, &path, &Entry::file(blob.bytes))?;
    }
    let bytes = layout.into_inner()?;
    let shown = file.display();
    let mut out = std::fs::File::create(file).with_context(|| format!("cannot write {shown}"))?;
    out.write_all(&bytes)
        .with_context(|| format!("cannot write {shown}"))?;
    Ok(digest)
}

/// Adds one entry with nothing in it that depends on when and by whom it was made.
fn add(tar: &mut Builder<Vec<u8>>, path: &str, entry: &Entry) -> Result<()> {
    let mut header = Header::new_ustar();
    header.set_mode(entry.mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    let (name, contents): (_, &[u8]) = match &entry.contents {
        Some(contents) => (path.to_owned(), contents),
        None => {
            header.set_entry_type(EntryType::Directory);
            (format!("{path}/"), &[])
        }
    };
    header.set_size(contents.len() as u64);
    tar.append_data(&mut header, name, contents)
        .with_context(|| format!("cannot add {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn image(paths: &[&str]) -> Image {
        Image {
            architecture: "amd64",
            user: "65532:65532".to_owned(),
            entrypoint: "/usr/bin/moorline".to_owned(),
            environment: vec!["PATH=/usr/bin".to_owned()],
            labels: BTreeMap::new(),
            packing: Packing::Gzip,
            entries: paths
                .iter()
                .map(|&path| (path.to_owned(), Entry::program(path.as_bytes().to_vec())))
                .collect(),
        }
    }

    /// A file that nobody else uses, removed at the end.
    struct Out(std::path::PathBuf);

    impl Out {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("moorline-oci-{}-{name}", std::process::id())))
        }

        fn entries(&self) -> BTreeMap<String, Vec<u8>> {
            let file = std::fs::File::open(&self.0).unwrap();
            let mut archive = tar::Archive::new(file);
            let entries = archive.entries().unwrap().map(|entry| {
                let mut entry = entry.unwrap();
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).unwrap();
                (entry.path().unwrap().display().to_string(), bytes)
            });
            entries.collect()
        }
    }

    impl Drop for Out {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn the_same_files_give_the_same_bytes_in_whatever_order_they_come() {
        let (first, second) = (Out::new("first"), Out::new("second"));
        let digest = image(&["etc/passwd", "usr/bin/moorline"])
            .write("localhost/moorline:1", &first.0)
            .unwrap();
        let again = image(&["usr/bin/moorline", "etc/passwd"])
            .write("localhost/moorline:1", &second.0)
            .unwrap();
        assert_eq!(digest, again);
        assert_eq!(
            std::fs::read(&first.0).unwrap(),
            std::fs::read(&second.0).unwrap()
        );
        let other = image(&["usr/bin/other"])
            .write("localhost/moorline:1", &second.0)
            .unwrap();
        assert_ne!(digest, other);
    }

    #[test]
    fn every_blob_lies_under_its_digest_and_is_referred_to_by_it() {
        let out = Out::new("blobs");
        let digest = image(&["usr/bin/moorline"])
            .write("localhost/moorline:1", &out.0)
            .unwrap();
        let entries = out.entries();
        let index: Value = serde_json::from_slice(&entries["index.json"]).unwrap();
        let named = &index["manifests"][0];
        assert_eq!(named["digest"], digest);
        assert_eq!(
            named["annotations"]["io.containerd.image.name"],
            "localhost/moorline:1"
        );
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap();
            let hash = digest.strip_prefix("sha256:").unwrap();
            let bytes = &entries[&format!("blobs/sha256/{hash}")];
            assert_eq!(hash, hex::encode(Sha256::digest(bytes)));
            assert_eq!(descriptor["size"], bytes.len());
            bytes.clone()
        };
        let manifest: Value = serde_json::from_slice(&blob(named)).unwrap();
        let config: Value = serde_json::from_slice(&blob(&manifest["config"])).unwrap();
        let layer = &manifest["layers"][0];
        assert_eq!(
            layer["mediaType"],
            "application/vnd.oci.image.layer.v1.tar+gzip"
        );
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&*blob(layer))
            .read_to_end(&mut unpacked)
            .unwrap();
        assert_eq!(
            config["rootfs"]["diff_ids"][0],
            format!("sha256:{}", hex::encode(Sha256::digest(&unpacked)))
        );
        assert_eq!(config["config"]["User"], "65532:65532");
    }

    #[test]
    fn another_label_is_another_image_of_the_same_files() {
        let (first, second) = (Out::new("old"), Out::new("new"));
        let old = image(&["usr/bin/moorline"])
            .write("localhost/moorline:1", &first.0)
            .unwrap();
        let label = ("org.opencontainers.image.version", "2");
        let new = relabelled(&first.0, label, "localhost/moorline:2", &second.0).unwrap();
        assert_ne!(old, new);
        let manifest = |out: &Out, digest: &str| -> Value {
            let entries = out.entries();
            let index: Value = serde_json::from_slice(&entries["index.json"]).unwrap();
            assert_eq!(index["manifests"][0]["digest"], digest);
            assert_eq!(index["manifests"][0]["platform"]["architecture"], "amd64");
            let path = format!("blobs/{}", digest.replace(':', "/"));
            serde_json::from_slice(&entries[&path]).unwrap()
        };
        let (old, new) = (manifest(&first, &old), manifest(&second, &new));
        assert_eq!(old["layers"], new["layers"]);
        assert_ne!(old["config"], new["config"]);
        let digest = new["config"]["digest"].as_str().unwrap();
        let entries = second.entries();
        let path = format!("blobs/{}", digest.replace(':', "/"));
        let config: Value = serde_json::from_slice(&entries[&path]).unwrap();
        assert_eq!(config["config"]["Labels"][label.0], "2");
    }

    #[test]
    fn a_layer_belongs_to_root_and_has_the_directories_above_its_files_once() {
        let bytes = image(&["usr/bin/moorline", "usr/bin/other"])
            .layer()
            .unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let seen: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                assert_eq!(header.uid().unwrap(), 0);
                assert_eq!(header.mtime().unwrap(), 0);
                (
                    entry.path().unwrap().display().to_string(),
                    header.mode().unwrap(),
                )
            })
            .collect();
        let expected = [
            ("usr/", 0o755),
            ("usr/bin/", 0o755),
            ("usr/bin/moorline", 0o755),
            ("usr/bin/other", 0o755),
        ];
        assert_eq!(seen, expected.map(|(path, mode)| (path.to_owned(), mode)));
    }
}
