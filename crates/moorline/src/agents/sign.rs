//! `moorline agent-release keygen` and `sign`: on the machine that holds the key, which needs no server.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use moorline_base::error::Hinted;
use moorline_base::files::{Access, write_atomic};
use moorline_control::base64_of;
use rcgen::{KeyPair, PKCS_ED25519, SigningKey as _};
use serde::Serialize;

use super::release;
use crate::args::Output;
use crate::output;

/// What `keygen` made.
#[derive(Debug, Serialize)]
struct Made {
    file: PathBuf,
    public: String,
}

/// Makes a key into a 0600 file (PKCS #8, PEM) and prints its public half as the camera's image wants it.
///
/// # Errors
/// The file is there, or cannot be written.
pub fn keygen(file: &Path, format: Output) -> anyhow::Result<()> {
    ensure!(
        !file.exists(),
        Hinted::new(
            format!("{} exists", file.display()),
            "cameras may know it: choose another name with --file"
        )
    );
    let key = KeyPair::generate_for(&PKCS_ED25519)?;
    write_atomic(file, key.serialize_pem().as_bytes(), Access::Private)
        .with_context(|| format!("cannot write {}", file.display()))?;
    let made = Made {
        file: file.to_owned(),
        public: format!("ed25519 {}", base64_of(key.public_key_raw())),
    };
    output::print(format, &made, || {
        format!(
            "{}\nThis line belongs into /etc/moorline/release-keys of the cameras. The private key is in {}: keep it off the server.\n",
            made.public,
            made.file.display()
        )
    })
}

/// What `sign` made.
#[derive(Debug, Serialize)]
struct Signed {
    file: PathBuf,
    target: String,
    version: String,
    bytes: u32,
}

/// Signs an agent.
///
/// # Errors
/// It is no agent, the key cannot be read, or the release cannot be written.
pub fn sign(
    program: &Path,
    key: &Path,
    out: Option<PathBuf>,
    format: Output,
) -> anyhow::Result<()> {
    let bytes =
        std::fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    let pem = std::fs::read_to_string(key)
        .map(zeroize::Zeroizing::new)
        .with_context(|| format!("cannot read {}", key.display()))?;
    let key = KeyPair::from_pkcs8_pem_and_sign_algo(&pem, &PKCS_ED25519).map_err(|_| {
        Hinted::new(
            format!("{} holds no Ed25519 key", key.display()),
            "moorline agent-release keygen makes one",
        )
    })?;
    let mut offer = release::unsigned(&bytes).with_context(|| format!("{}", program.display()))?;
    let signature = key.sign(offer.signed_text().as_bytes())?;
    offer.signature = signature
        .try_into()
        .map_err(|_| anyhow::anyhow!("the signature has another length"))?;
    let (target, version) = (offer.target.to_string(), offer.version.to_string());
    let file = out.unwrap_or_else(|| format!("moorline-agent-{version}-{target}.release").into());
    write_atomic(&file, &release::write(&offer, &bytes), Access::Public)
        .with_context(|| format!("cannot write {}", file.display()))?;
    let signed = Signed {
        file,
        target,
        version,
        bytes: offer.bytes,
    };
    output::print(format, &signed, || {
        format!(
            "{}: agent {} for {}, {} bytes\nhint: moorline agent-release add {} brings it to the server",
            signed.file.display(),
            signed.version,
            signed.target,
            signed.bytes,
            signed.file.display()
        )
    })
}
