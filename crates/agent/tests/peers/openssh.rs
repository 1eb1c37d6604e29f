//! OpenSSH's server with a command of the test in the place of ours: a server that says whatever it likes, at any length.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use moorline_core::PublicKey;
use moorline_testkit::child::Child;
use moorline_testkit::refusing::Refusing;
use moorline_testkit::tempfile::TempDir;
use moorline_testkit::{eventually, peer, temp_dir};
use tokio::net::TcpStream;
use tokio::process::Command;

/// The deadline of its start.
const SOON: Duration = Duration::from_secs(30);

pub(crate) struct OpenSsh {
    pub(crate) address: SocketAddr,
    /// The user whom its processes run as: who is to be called.
    pub(crate) user: String,
    /// Its host key as a pin.
    pub(crate) pin: String,
    _child: Child,
    _held: Refusing,
    _home: TempDir,
}

fn write(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

async fn output(mut command: Command) -> String {
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

impl OpenSsh {
    /// Lets one key in, and runs a line of shell for it, with a forward allowed.
    pub(crate) async fn start(key: &PublicKey, script: &str) -> Self {
        let sshd = peer::SSHD.find().unwrap();
        let home = temp_dir().unwrap();
        // It refuses to start as root without this empty directory, which Debian's service makes.
        let _ = std::fs::create_dir_all("/run/sshd");
        let at = |name: &str| home.path().join(name).display().to_string();
        let mut keygen = peer::SSH_KEYGEN.command().unwrap();
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-f", &at("host")]);
        output(keygen).await;
        write(&home.path().join("keys"), &format!("{key}\n"), 0o600);
        write(
            &home.path().join("say"),
            &format!("#!/bin/sh\n{script}\n"),
            0o755,
        );
        // sshd knows no port 0 that it would tell us.
        let held = Refusing::new().unwrap();
        let address = held.address();
        let config = format!(
            "ListenAddress {address}\nHostKey {}\nAuthorizedKeysFile {}\nForceCommand {}\nStrictModes no\nUsePAM no\nPidFile none\n\
             UseDNS no\nPermitRootLogin prohibit-password\nAllowTcpForwarding yes\nLogLevel ERROR\n",
            at("host"),
            at("keys"),
            at("say"),
        );
        write(&home.path().join("config"), &config, 0o600);
        let mut command = Command::new(&sshd.path);
        command.args(["-D", "-e", "-f", &at("config")]);
        let child = Child::spawn("sshd", command).unwrap();
        eventually("sshd listens", SOON, async || {
            TcpStream::connect(address).await.ok()
        })
        .await;
        let mut id = Command::new("id");
        id.arg("-un");
        let pin = std::fs::read_to_string(home.path().join("host.pub")).unwrap();
        OpenSsh {
            address,
            user: output(id).await,
            pin: pin.split(' ').nth(1).unwrap().to_owned(),
            _child: child,
            _held: held,
            _home: home,
        }
    }
}
