//! A camera's file system in a directory, behind a real SSH server.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use moorline_testkit::tempfile::TempDir;
use moorline_testkit::{peer, skip, temp_dir};

use crate::{firmware, succeeds, write};

/// Where a camera with OpenSSH looks for programs behind its own.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Which SSH server the camera has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ssh {
    OpenSsh,
    /// What cameras have. It looks for keys in root's home, so root gets another one for it.
    Dropbear,
}

/// A camera's file system in a directory, and an SSH server in front of it, one process for each connection.
pub(crate) struct Camera {
    home: TempDir,
    /// Options of ssh that lead to it.
    way: Vec<String>,
}

impl Camera {
    /// `None` when this server cannot be had here; then the test was skipped.
    pub(crate) fn new(ssh: Ssh) -> Option<Self> {
        let home = temp_dir().unwrap();
        let at = |name: &str| home.path().join(name).display().to_string();
        let keygen = peer::SSH_KEYGEN.find().unwrap();
        for key in ["client", "host"] {
            succeeds(Command::new(&keygen.path).args([
                "-q",
                "-t",
                "ed25519",
                "-N",
                "",
                "-f",
                &at(key),
            ]));
        }
        let public = std::fs::read_to_string(at("client.pub")).unwrap();
        let way = match ssh {
            Ssh::OpenSsh => {
                let sshd = peer::SSHD.find().unwrap();
                // It refuses to start as root without this empty directory, which Debian's service makes.
                let _ = std::fs::create_dir_all("/run/sshd");
                write(&home.path().join("authorized"), &public, 0o600);
                let config = format!(
                    "HostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nPidFile none\nSetEnv PATH={}:{PATH}\n",
                    at("host"),
                    at("authorized"),
                    at("programs")
                );
                write(&home.path().join("sshd_config"), &config, 0o600);
                let proxy = format!(
                    "#!/bin/sh\necho >>{}\nexec {} -i -f {}\n",
                    at("connections"),
                    sshd.path.display(),
                    at("sshd_config")
                );
                write(&home.path().join("proxy"), &proxy, 0o755);
                vec!["-o".to_owned(), format!("ProxyCommand={}", at("proxy"))]
            }
            Ssh::Dropbear => {
                let dropbear = peer::DROPBEAR.find().unwrap();
                let make = peer::DROPBEARKEY.find().unwrap();
                succeeds(Command::new(&make.path).args([
                    "-t",
                    "ed25519",
                    "-f",
                    &at("host.dropbear"),
                ]));
                write(
                    &home.path().join("root/.ssh/authorized_keys"),
                    &public,
                    0o600,
                );
                let inner = format!(
                    "mount --bind {} /root && exec {} -i -r {}",
                    at("root"),
                    dropbear.path.display(),
                    at("host.dropbear")
                );
                let able = Command::new("unshare")
                    .args(["-m", "sh", "-c", "mount --bind /root /root"])
                    .output();
                let is_root = rustix::process::geteuid().is_root();
                if !is_root || !able.is_ok_and(|output| output.status.success()) {
                    skip(
                        "dropbear's keys lie in root's home: this needs root and mount namespaces",
                    );
                    return None;
                }
                let inner = ["-m", "sh", "-c", &inner].map(str::to_owned);
                vec![
                    "-p".to_owned(),
                    inetd("unshare", inner.to_vec()).to_string(),
                ]
            }
        };
        let camera = Camera { home, way };
        // One of OpenIPC's.
        write(
            &camera.path("root-fs/etc/majestic.yaml"),
            "video0:\n  bitrate: 4096\n",
            0o644,
        );
        Some(camera)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path("root-fs").join(name)
    }

    /// A program that the camera has in the place of what is found here; of a camera with OpenSSH.
    pub(crate) fn program(&self, name: &str, script: &str) {
        let script = format!("#!/bin/sh\n{script}\n");
        write(&self.path("programs").join(name), &script, 0o755);
    }

    pub(crate) fn install(&self, options: &[&str]) -> Output {
        self.installer(options, &[]).output().unwrap()
    }

    /// `firmware/install` with options before and behind the camera.
    pub(crate) fn installer(&self, before: &[&str], behind: &[&str]) -> Command {
        let user = user();
        let mut command = Command::new(firmware("install"));
        command
            .arg("--root")
            .arg(self.path("root-fs"))
            .args(before)
            .arg(format!("{user}@127.0.0.1"))
            .args(&self.way)
            .args(behind);
        for option in [
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "IdentitiesOnly=yes",
            "BatchMode=yes",
        ] {
            command.args(["-o", option]);
        }
        command.args(["-F", "none", "-i"]).arg(self.path("client"));
        command
    }

    /// How often somebody would have been asked for a password; of a camera with OpenSSH.
    pub(crate) fn connections(&self) -> usize {
        let noted = std::fs::read_to_string(self.path("connections"));
        noted.unwrap_or_default().lines().count()
    }
}

/// Starts a program for each connection, as inetd does: dropbear wants a socket, and knows no port 0 that it would tell us. Gives the port.
fn inetd(program: &'static str, arguments: Vec<String>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // Ends with the test's process.
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let socket = OwnedFd::from(socket.unwrap());
            let mut server = Command::new(program);
            server
                .args(&arguments)
                .stdout(Stdio::from(socket.try_clone().unwrap()))
                .stdin(Stdio::from(socket));
            let mut server = server.stderr(Stdio::null()).spawn().unwrap();
            std::thread::spawn(move || server.wait());
        }
    });
    port
}

fn user() -> String {
    String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout)
        .unwrap()
        .trim()
        .to_owned()
}
