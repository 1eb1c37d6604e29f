//! `cargo xtask image`: the programs, linked statically, in an OCI image. No container daemon, no base image.
//!
//! The image holds `/usr/bin/moorline`, `/usr/bin/moorline-workload` for the pods of a camera, the user 65532, `/tmp`, and the root certificates of the web. The S3 client and the webhooks
//! verify by the system's certificates, and there is no system: so the image brings Mozilla's, from a crate that `Cargo.lock` pins.
//! An own authority is mounted and named by `SSL_CERT_FILE`.
//!
//! **Static**: musl, if rustup has or gets that target and `musl-gcc` is there; else glibc linked statically, but not in what `dist` releases.
//! Both ask DNS as `/etc/resolv.conf` says. **Reproducible**: no path of the machine stands in a program; `--twice` proves it.
//!
//! The fast tier of the cluster tests has an image of its own, which takes seconds: [`quick`].

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    oci::{Entry, Image, Packing},
    process::{Programs, cargo, compile_programs, root, target_directory},
};

pub(crate) mod quick;

/// The user of every pod (PodSecurity `restricted` refuses root).
const USER: u32 = 65532;
/// What a node pulls before the first camera of a new version is recorded.
const LIMIT: u64 = 40_000_000;

/// A finished image.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) file: PathBuf,
    /// The `moorline` that is in it; it runs on this machine too.
    pub(crate) binary: PathBuf,
    /// `localhost/moorline:0.1.0`.
    pub(crate) reference: String,
    /// Of the manifest.
    pub(crate) digest: String,
}

/// Builds the programs and writes the image into `<target>/image`.
pub(crate) fn run(name: Option<&str>, twice: bool) -> Result<Made> {
    let target = Target::choose();
    let made = once(&target, name)?;
    if twice {
        let fresh = target_directory()?.join("image-again");
        let again = make(&target, &fresh, &made.reference, &fresh)?;
        std::fs::remove_dir_all(&fresh)?;
        if again.digest != made.digest {
            bail!(
                "built again from nothing, the image is another one: {} and {}",
                made.digest,
                again.digest
            );
        }
        println!("built again from nothing: the same digest");
    }
    Ok(made)
}

/// The same, linked as `target` says.
pub(crate) fn once(target: &Target, name: Option<&str>) -> Result<Made> {
    let version = env!("CARGO_PKG_VERSION");
    let reference = format!("{}:{version}", name.unwrap_or("localhost/moorline"));
    let directory = target_directory()?;
    make(target, &directory, &reference, &directory.join("image"))
}

fn make(target: &Target, build: &Path, reference: &str, out: &Path) -> Result<Made> {
    let programs = target.build(build)?;
    let moorline = std::fs::read(&programs.moorline)?;
    let workload = std::fs::read(&programs.workload)?;
    let sizes = [moorline.len(), workload.len()].map(|size| size as f64 / 1e6);
    let image = image(target.architecture, moorline, workload);
    std::fs::create_dir_all(out)?;
    let file = out.join(format!(
        "moorline-{}-{}.tar",
        env!("CARGO_PKG_VERSION"),
        target.architecture
    ));
    let digest = image.write(reference, &file)?;
    println!("{} ({}, {})", file.display(), reference, target.triple);
    let whole = std::fs::metadata(&file)?.len();
    println!(
        "{digest}, {:.1} MB, in which moorline of {:.1} MB and moorline-workload of {:.1} MB are compressed",
        whole as f64 / 1e6,
        sizes[0],
        sizes[1]
    );
    if whole > LIMIT {
        bail!("the image is larger than {} MB", LIMIT / 1_000_000);
    }
    Ok(Made {
        file,
        binary: programs.moorline,
        reference: reference.to_owned(),
        digest,
    })
}

fn image(architecture: &'static str, moorline: Vec<u8>, workload: Vec<u8>) -> Image {
    let passwd = format!(
        "root:x:0:0:root:/:/sbin/nologin\nmoorline:x:{USER}:{USER}:moorline:/tmp:/sbin/nologin\n"
    );
    let group = format!("root:x:0:\nmoorline:x:{USER}:\n");
    let entries = [
        ("usr/bin/moorline", Entry::program(moorline)),
        ("usr/bin/moorline-workload", Entry::program(workload)),
        ("etc/passwd", Entry::file(passwd)),
        ("etc/group", Entry::file(group)),
        (
            "etc/ssl/certs/ca-certificates.crt",
            Entry::file(root_certificates()),
        ),
        ("tmp", Entry::directory(0o1777)),
    ];
    let label = |name, text: &str| (name, text.to_owned());
    Image {
        architecture,
        user: format!("{USER}:{USER}"),
        entrypoint: "/usr/bin/moorline".to_owned(),
        environment: vec!["PATH=/usr/bin".to_owned(), "HOME=/tmp".to_owned()],
        labels: BTreeMap::from([
            label("org.opencontainers.image.title", "moorline"),
            label(
                "org.opencontainers.image.version",
                env!("CARGO_PKG_VERSION"),
            ),
            label(
                "org.opencontainers.image.source",
                env!("CARGO_PKG_REPOSITORY"),
            ),
            label(
                "org.opencontainers.image.licenses",
                env!("CARGO_PKG_LICENSE"),
            ),
        ]),
        packing: Packing::Gzip,
        entries: entries
            .into_iter()
            .map(|(path, entry)| (path.to_owned(), entry))
            .collect(),
    }
}

/// Mozilla's root certificates as PEM.
fn root_certificates() -> String {
    let mut text = String::new();
    for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let encoded = STANDARD.encode(certificate);
        for line in encoded.as_bytes().chunks(64) {
            text.extend(line.iter().map(|&byte| char::from(byte)));
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

/// This machine's, as OCI names it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// How the programs are linked.
#[derive(Debug)]
pub(crate) struct Target {
    /// As OCI names it.
    architecture: &'static str,
    triple: String,
}

impl Target {
    /// Against musl, or against glibc where musl cannot be had.
    fn choose() -> Self {
        Self::musl().unwrap_or_else(|error| {
            println!("{error:#}; glibc is linked statically instead");
            Self::of("gnu")
        })
    }

    /// Against musl.
    ///
    /// # Errors
    ///
    /// `musl-gcc` is missing, or rustup has not the target and cannot add it.
    pub(crate) fn musl() -> Result<Self> {
        let target = Self::of("musl");
        musl_is_there(&target.triple).with_context(|| format!("no {}", target.triple))?;
        Ok(target)
    }

    fn of(library: &str) -> Self {
        Self {
            architecture: architecture(),
            triple: format!("{}-unknown-linux-{library}", std::env::consts::ARCH),
        }
    }

    /// Builds both programs in `directory`, which is cargo's target directory.
    fn build(&self, directory: &Path) -> Result<Programs> {
        let home = std::env::var("CARGO_HOME")
            .or_else(|_| std::env::var("HOME").map(|home| format!("{home}/.cargo")))
            .context("neither CARGO_HOME nor HOME is set")?;
        // No path of this machine may stand in a program, neither from Rust nor from the C parts.
        let maps = [
            (home.as_str(), "/cargo"),
            (&root().display().to_string(), "/moorline"),
            (&directory.display().to_string(), "/target"),
        ];
        let flags = |option: &str| {
            let flags = maps.map(|(from, to)| format!("{option}={from}={to}"));
            flags.join(" ")
        };
        let variable = self.triple.to_uppercase().replace('-', "_");
        let mut command = cargo();
        command
            .args([
                "build",
                "--locked",
                "--profile",
                "dist",
                "--package",
                "moorline",
                "--package",
                "moorline-workload",
            ])
            .args(["--target", &self.triple])
            .env("CARGO_TARGET_DIR", directory)
            .env(
                format!("CARGO_TARGET_{variable}_RUSTFLAGS"),
                format!(
                    "-C target-feature=+crt-static {}",
                    flags("--remap-path-prefix")
                ),
            )
            .env(
                format!("CFLAGS_{}", self.triple.replace('-', "_")),
                flags("-ffile-prefix-map"),
            )
            .env_remove("RUSTFLAGS");
        compile_programs(&mut command)
    }
}

/// Whether musl can be built for; asks rustup for the target if it is missing.
fn musl_is_there(triple: &str) -> Result<()> {
    let succeeds = |command: &mut Command| -> Result<()> {
        let output = command.output()?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            bail!("{}", text.lines().last().unwrap_or_default().trim());
        }
        Ok(())
    };
    succeeds(Command::new("musl-gcc").arg("-dumpversion"))
        .context("musl-gcc (package musl-tools)")?;
    let library = Command::new("rustc")
        .current_dir(root())
        .args(["--print", "target-libdir", "--target", triple])
        .output()?;
    if Path::new(String::from_utf8_lossy(&library.stdout).trim()).is_dir() {
        return Ok(());
    }
    succeeds(
        Command::new("rustup")
            .current_dir(root())
            .args(["target", "add", triple]),
    )
    .context("rustup")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_certificates_are_pem() {
        let text = root_certificates();
        let begins = text.matches("-----BEGIN CERTIFICATE-----\n").count();
        assert!(begins > 100, "{begins} certificates");
        assert_eq!(begins, text.matches("-----END CERTIFICATE-----\n").count());
        assert!(text.lines().all(|line| line.len() <= 64));
    }

    #[test]
    fn the_image_runs_the_server_as_a_user_that_is_not_root_and_has_the_pods_program_beside_it() {
        let image = image("amd64", b"server".to_vec(), b"pods".to_vec());
        assert_eq!(image.user, "65532:65532");
        assert!(image.entries.contains_key("usr/bin/moorline"));
        assert!(image.entries.contains_key("usr/bin/moorline-workload"));
        assert_eq!(image.entrypoint, "/usr/bin/moorline");
    }
}
