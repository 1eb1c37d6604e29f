//! The SSH server alone, for the comparison with sshd: `moorline-tunnel` in a process of its own, and behind it nothing but readers that count.
//!
//! What sshd does with the same clients is to forward their bytes to a socket, so nothing is parsed, kept or relayed here either. The readers'
//! CPU is part of what is measured; the one of sshd's sink, which is another process, is not.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use moorline_base::CancellationToken;
use moorline_base::clock::SystemClock;
use moorline_base::files::{Access, write_atomic};
use moorline_core::camera::{CameraSet, Record};
use moorline_core::id::ForwardName;
use moorline_core::port::{
    CameraDirectory, ControlLines, Landings as _, Sessions as _, TunnelEnd, TunnelEvents, TunnelUp,
};
use moorline_core::{Camera, CameraId, Generation, PublicKey, SessionId};
use moorline_simcam::{Key, KnownHosts, TunnelConfig};
use moorline_testkit::child::Child;
use moorline_tunnel::keyfile::HostKeys;
use moorline_tunnel::{Monitor, Tunnel, TunnelMetrics};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::sync::oneshot;

use super::leash::leashed;
use super::place::{self, name};
use crate::output;

/// What a landing's reader asks for at once, as the relay does.
const READ: usize = 64 * 1024;

/// What the server says when it is ready.
#[derive(Debug, Serialize, Deserialize)]
struct Ready {
    ssh: SocketAddr,
    known_hosts: Vec<String>,
}

/// What it answers to each line on its standard input.
#[derive(Debug, Serialize, Deserialize)]
struct Counted {
    bytes: u64,
    streams: u64,
}

/// The server: runs until its standard input ends. `keys` is a file with one camera's public key a line.
///
/// # Errors
/// The keys cannot be read, or no socket can be had.
pub async fn serve(keys: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(keys).context("cannot read the keys")?;
    let keys: Vec<PublicKey> = text
        .lines()
        .map(str::parse)
        .collect::<Result<_, _>>()
        .context("cannot read the keys")?;
    let cameras = keys.into_iter().enumerate().map(camera);
    let cameras: Vec<Camera> = cameras.collect::<anyhow::Result<_>>()?;
    let host_keys = HostKeys::generate()?;
    let tunnel = Tunnel::new(
        moorline_tunnel::TunnelConfig::default(),
        &host_keys,
        Arc::new(Fixed(Arc::new(CameraSet::new(cameras)))),
        SystemClock::shared(),
        TunnelMetrics::default(),
    )?;
    let readers = Arc::new(Readers::default());
    let _ = readers.tunnel.set(tunnel.clone());
    let told = Monitor {
        events: Arc::clone(&readers) as Arc<dyn TunnelEvents>,
        lines: Arc::clone(&readers) as Arc<dyn ControlLines>,
    };
    let listener = moorline_base::net::listen(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    output::print_line(&Ready {
        ssh: listener.local_addr()?,
        known_hosts: host_keys.known_hosts_dropbear("localhost"),
    })?;
    let accepting = tunnel.accept(listener, told, CancellationToken::new());
    let (ended, end) = oneshot::channel::<()>();
    let counts = Arc::clone(&readers.counts);
    // A thread of its own: it waits in the system, and ends with its input.
    std::thread::spawn(move || {
        let _ended = ended;
        for _ in std::io::stdin().lines().map_while(Result::ok) {
            let counted = Counted {
                bytes: counts.bytes.load(Ordering::Relaxed),
                streams: counts.streams.load(Ordering::Relaxed),
            };
            if output::print_line(&counted).is_err() {
                return;
            }
        }
    });
    tokio::select! {
        () = accepting => {}
        _ = end => {}
    }
    Ok(())
}

fn camera((number, key): (usize, PublicKey)) -> anyhow::Result<Camera> {
    Ok(place::camera(name(number).parse()?, key, Record::Off))
}

/// Cameras that never change.
struct Fixed(Arc<CameraSet>);

#[async_trait]
impl CameraDirectory for Fixed {
    fn snapshot(&self) -> Arc<CameraSet> {
        Arc::clone(&self.0)
    }

    async fn changed(&self, _: u64) -> u64 {
        std::future::pending().await
    }

    fn version(&self) -> u64 {
        1
    }
}

/// What the readers have seen.
#[derive(Default)]
struct Counts {
    bytes: AtomicU64,
    streams: AtomicU64,
}

/// Lets every tunnel serve, and reads it.
#[derive(Default)]
struct Readers {
    tunnel: OnceLock<Tunnel>,
    counts: Arc<Counts>,
}

/// Reads one camera until it ends.
async fn read(counts: Arc<Counts>, tunnel: Tunnel, camera: CameraId) {
    let rtsp = ForwardName::rtsp();
    let Ok((mut stream, _)) = tunnel.connect(&camera, &rtsp, Generation(1)).await else {
        return;
    };
    counts.streams.fetch_add(1, Ordering::Relaxed);
    let mut room = vec![0; READ];
    while let Ok(count @ 1..) = stream.read(&mut room).await {
        counts.bytes.fetch_add(count as u64, Ordering::Relaxed);
    }
    counts.streams.fetch_sub(1, Ordering::Relaxed);
}

impl TunnelEvents for Readers {
    fn up(&self, up: TunnelUp) -> bool {
        let Some(tunnel) = self.tunnel.get() else {
            return false;
        };
        tunnel.serve(up.session, Generation(1));
        let (counts, tunnel) = (Arc::clone(&self.counts), tunnel.clone());
        tokio::spawn(read(counts, tunnel, up.camera.id.clone()));
        true
    }

    fn ended(&self, _: SessionId, _: TunnelEnd) {}

    // No camera of a bench was reported stolen.
    fn stolen(&self, _: &CameraId, _: SocketAddr, _: &str) {}
}

impl ControlLines for Readers {
    fn opened(&self, _: SessionId, _: &CameraId) {}

    fn line(&self, _: SessionId, _: &[u8]) -> bool {
        true
    }

    fn closed(&self, _: SessionId) {}
}

/// The server as the bench sees it.
pub struct Alone {
    address: SocketAddr,
    known_hosts: KnownHosts,
    child: Child,
    _dir: TempDir,
}

impl Alone {
    /// Starts one that lets `keys` in, as cameras `c0`, `c1`, ….
    ///
    /// # Errors
    /// It is not ready within 10 s.
    pub async fn start(scratch: &Path, keys: &[Key]) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("moorline-bench-alone-")
            .tempdir_in(scratch)?;
        let file: PathBuf = dir.path().join("keys");
        let lines: String = keys.iter().map(|key| key.public_line() + "\n").collect();
        write_atomic(&file, lines.as_bytes(), Access::Private)?;
        let mut command = leashed(&std::env::current_exe()?)?;
        command.args(["bench", "alone", "--keys"]).arg(&file);
        let child = Child::spawn("moorline bench alone", command)?;
        let ready: Ready = child
            .wait_for_after(0, "that it is ready", Duration::from_secs(30), json)
            .await?;
        Ok(Self {
            address: ready.ssh,
            known_hosts: KnownHosts::parse(ready.known_hosts.iter().map(String::as_str))?,
            child,
            _dir: dir,
        })
    }

    /// Its process.
    ///
    /// # Errors
    /// It has ended.
    pub fn pid(&self) -> anyhow::Result<u32> {
        self.child.pid().context("the server has ended")
    }

    /// How camera `number` calls.
    pub fn call(&self, number: usize, key: &Key) -> TunnelConfig {
        let mut config = TunnelConfig::new(
            self.address,
            name(number),
            key.clone(),
            self.known_hosts.clone(),
        );
        config.monitor = false;
        config
    }

    /// Bytes that its readers have got, and how many read.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn counted(&mut self) -> anyhow::Result<(u64, u64)> {
        let mark = self.child.mark();
        self.child.write(b"\n").await?;
        let counted: Counted = self
            .child
            .wait_for_after(mark, "its counts", Duration::from_secs(10), json)
            .await?;
        Ok((counted.bytes, counted.streams))
    }

    /// Stops it.
    ///
    /// # Errors
    /// It does not end within 10 s.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.child.close_stdin();
        self.child.wait(Duration::from_secs(10)).await?;
        Ok(())
    }
}

fn json<T: for<'a> Deserialize<'a>>(line: &str) -> Option<T> {
    serde_json::from_str(line).ok()
}
