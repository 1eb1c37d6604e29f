//! The real `dbclient` as a child process, in front of a [`Source`] that listens on loopback.
//!
//! Its home is a temporary directory with the key file and `known_hosts`; child and directory are gone after [`DbclientTunnel::stop`], and when
//! the handle is dropped. `dbclient` does not call again by itself: nor does this.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use moorline_base::files::{Access, write_atomic};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::camera::CameraError;
use crate::source::Source;
use crate::tunnel::TunnelConfig;

/// A running `dbclient -R`.
#[derive(Debug)]
pub struct DbclientTunnel {
    child: Child,
    home: TempDir,
    source: SocketAddr,
}

impl DbclientTunnel {
    /// Starts `program` (`dbclient`, or a path), which forwards to `source` through a listener of its own. Forwards and monitor of `config` count;
    /// its window and retry do not.
    ///
    /// # Errors
    /// No listener, no temporary directory, or no such program. That the server refuses is seen by the child's end.
    pub async fn start(
        program: &Path,
        config: &TunnelConfig,
        source: &Source,
    ) -> Result<Self, CameraError> {
        let listener = moorline_base::net::listen(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let address = listener.local_addr()?;
        source.listen(listener);
        Self::start_by(Command::new(program), config, address).await
    }

    /// Starts the `dbclient` that `command` runs, which forwards to whatever listens at `source`.
    ///
    /// # Errors
    /// No temporary directory, or no such program.
    pub async fn start_by(
        command: Command,
        config: &TunnelConfig,
        source: SocketAddr,
    ) -> Result<Self, CameraError> {
        let key = config.key.to_dropbear()?;
        let known_hosts = config.known_hosts.lines(config.server.ip());
        let home = tokio::task::spawn_blocking(move || furnish(&key, &known_hosts))
            .await
            .map_err(io::Error::other)??;
        let child = call(command, config, home.path(), source).spawn()?;
        Ok(Self {
            child,
            home,
            source,
        })
    }

    /// Where the source listens for it.
    #[must_use]
    pub fn source(&self) -> SocketAddr {
        self.source
    }

    /// The child's process id; `None` once it was waited for.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits for the child to end by itself.
    ///
    /// # Errors
    /// The system cannot wait for it.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Kills the child, waits for it and removes its home.
    pub async fn stop(mut self) {
        // An error means that it is gone already.
        let _ = self.child.kill().await;
        let home = self.home;
        let _ = tokio::task::spawn_blocking(move || home.close()).await;
    }
}

fn furnish(key: &[u8], known_hosts: &str) -> io::Result<TempDir> {
    let home = tempfile::Builder::new().prefix("simcam-").tempdir()?;
    std::fs::create_dir(home.path().join(".ssh"))?;
    write_atomic(&key_file(home.path()), key, Access::Private)?;
    write_atomic(
        &home.path().join(".ssh/known_hosts"),
        known_hosts.as_bytes(),
        Access::Private,
    )?;
    Ok(home)
}

fn key_file(home: &Path) -> PathBuf {
    home.join(".ssh/id_dropbear")
}

fn call(mut command: Command, config: &TunnelConfig, home: &Path, source: SocketAddr) -> Command {
    command
        .env("HOME", home)
        .arg("-i")
        .arg(key_file(home))
        .arg("-T");
    if !config.monitor {
        command.arg("-N");
    }
    for (address, port) in &config.forwards {
        command
            .arg("-R")
            .arg(format!("{address}:{port}:127.0.0.1:{}", source.port()));
    }
    command
        .arg("-K")
        .arg(config.keepalive.as_secs().max(1).to_string());
    command.arg("-o").arg("ExitOnForwardFailure=yes");
    command.arg("-p").arg(config.server.port().to_string());
    command.arg(format!("{}@{}", config.user, config.server.ip()));
    // Its input stays open as long as the child lives: what the server says is not answered.
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    command
}
