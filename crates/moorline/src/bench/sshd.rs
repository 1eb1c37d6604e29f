//! OpenSSH's server as the peer: its own configuration and host key, on loopback, in front of the same dbclient. Compression is off, as in
//! ours: with it dbclient of Debian 12 would compress, and servers would be compared by that.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use moorline_base::files::{Access, write_atomic};
use moorline_simcam::{Key, KnownHosts, TunnelConfig};
use moorline_testkit::child::{Child, run};
use moorline_testkit::peer;
use tempfile::TempDir;
use tokio::process::Command;

use super::leash::leashed;
use super::report::Report;

/// A running sshd.
pub struct Sshd {
    address: SocketAddr,
    known_hosts: KnownHosts,
    user: String,
    child: Child,
    _dir: TempDir,
}

impl Sshd {
    /// Starts one that lets `keys` in.
    ///
    /// # Errors
    /// There is no sshd, or it does not listen within 10 s.
    pub async fn start(scratch: &Path, keys: &[Key], report: &mut Report) -> anyhow::Result<Self> {
        let sshd = peer::SSHD.find()?;
        report.peer("sshd", &sshd.version);
        let dir = tempfile::Builder::new()
            .prefix("moorline-bench-sshd-")
            .tempdir_in(scratch)?;
        // Debian's service makes it at boot; it must be root's and empty.
        let _ = std::fs::create_dir_all("/run/sshd");
        let at = |name: &str| dir.path().join(name).display().to_string();
        let mut keygen = peer::SSH_KEYGEN.command()?;
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-f", &at("host")]);
        run("ssh-keygen", keygen, Duration::from_secs(10)).await?;
        let lines: String = keys.iter().map(|key| key.public_line() + "\n").collect();
        write_atomic(
            &dir.path().join("authorized_keys"),
            lines.as_bytes(),
            Access::Private,
        )?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let config = format!(
            "ListenAddress {address}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\nUsePAM no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nUseDNS no\nMaxStartups 2000\n\
             AllowTcpForwarding yes\nCompression no\nCiphers chacha20-poly1305@openssh.com\nLogLevel ERROR\n",
            at("host"),
            at("authorized_keys"),
        );
        write_atomic(
            &dir.path().join("sshd_config"),
            config.as_bytes(),
            Access::Private,
        )?;
        let mut command = leashed(&sshd.path)?;
        command.args(["-D", "-e", "-f", &at("sshd_config")]);
        let child = Child::spawn("sshd", command)?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while tokio::net::TcpStream::connect(address).await.is_err() {
            anyhow::ensure!(
                Instant::now() < deadline,
                "sshd does not listen: {}",
                child.tail()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let host = std::fs::read_to_string(dir.path().join("host.pub"))?;
        let known_hosts = KnownHosts::parse([format!("host {host}").as_str()])?;
        let user = run("id", id(), Duration::from_secs(5)).await?;
        let user = String::from_utf8_lossy(&user.stdout).trim().to_owned();
        Ok(Self {
            address,
            known_hosts,
            user,
            child,
            _dir: dir,
        })
    }

    /// Its process.
    ///
    /// # Errors
    /// It has ended.
    pub fn pid(&self) -> anyhow::Result<u32> {
        self.child.pid().context("sshd has ended")
    }

    /// How a camera calls, and where its forward will listen.
    ///
    /// # Errors
    /// No port is free.
    pub fn call(&self, key: &Key) -> anyhow::Result<(TunnelConfig, SocketAddr)> {
        let port = free_port()?;
        let mut config = TunnelConfig::new(
            self.address,
            self.user.clone(),
            key.clone(),
            self.known_hosts.clone(),
        );
        config.forwards = vec![("127.0.0.1".to_owned(), u32::from(port))];
        config.monitor = false;
        Ok((config, SocketAddr::from((Ipv4Addr::LOCALHOST, port))))
    }

    /// Stops it.
    ///
    /// # Errors
    /// It does not end within 10 s.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.child.end(Duration::from_secs(10)).await?;
        Ok(())
    }
}

fn id() -> Command {
    let mut command = Command::new("id");
    command.arg("-un");
    command
}

/// A port that was free a moment ago: sshd and its clients know no port 0 that they would tell us.
fn free_port() -> anyhow::Result<u16> {
    let listener = moorline_base::net::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    Ok(listener.local_addr()?.port())
}
