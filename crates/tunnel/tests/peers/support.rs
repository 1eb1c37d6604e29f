//! A server with an in-memory directory and monitor, real clients, and a camera behind them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use moorline_base::{CancellationToken, SystemClock};
use moorline_core::camera::{Access, CameraKey};
use moorline_core::id::ForwardName;
use moorline_core::key::KeyAlgorithm;
use moorline_core::port::{
    ByteStream, CameraDirectory, ControlLines, ControlWriter, LandingError, Landings, Sessions,
    TunnelEnd, TunnelEvents, TunnelUp,
};
use moorline_core::segment::Retention;
use moorline_core::{Camera, CameraId, CameraSet, Generation, PublicKey, SessionId, Timestamp};
use moorline_testkit::child::Child;
use moorline_testkit::eventually::told;
use moorline_testkit::{patience, peer};
use moorline_tunnel::keyfile::{HostKeys, PrivateKey};
use moorline_tunnel::{Monitor, Tunnel, TunnelConfig, TunnelMetrics};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

/// The deadline of what takes no time on a quiet machine: a handshake of unoptimised code is a second of work, and the machine may have
/// other work to do.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// Settings for tests: no penalties (all peers share 127.0.0.1), quick rejections.
pub(crate) fn config() -> TunnelConfig {
    TunnelConfig {
        penalties: false,
        auth_rejection: Duration::from_millis(10),
        away_deadline: Duration::from_millis(300),
        ..TunnelConfig::default()
    }
}

/// All cameras, changed by the test.
pub(crate) struct Directory(watch::Sender<(u64, Arc<CameraSet>)>);

impl Directory {
    pub(crate) fn set(&self, cameras: Vec<Camera>) {
        self.0.send_modify(|(version, set)| {
            (*version, *set) = (*version + 1, Arc::new(CameraSet::new(cameras)))
        });
    }
}

#[async_trait]
impl CameraDirectory for Directory {
    fn snapshot(&self) -> Arc<CameraSet> {
        Arc::clone(&self.0.borrow().1)
    }

    async fn changed(&self, seen: u64) -> u64 {
        let mut receiver = self.0.subscribe();
        let changed = receiver.wait_for(|(version, _)| *version != seen).await;
        changed.map_or(seen, |now| now.0)
    }

    fn version(&self) -> u64 {
        self.0.borrow().0
    }
}

/// What the server told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Up(SessionId, CameraId),
    Stolen(CameraId, String),
    TokenSpent(CameraId, String),
    Ended(SessionId, TunnelEnd),
    Opened(SessionId),
    Line(SessionId, String),
    Closed(SessionId),
}

/// A monitor that notes what it is told, says hello, and grants each claim at once unless told to hold it back.
pub(crate) struct FakeMonitor {
    pub(crate) seen: watch::Sender<Vec<Seen>>,
    pub(crate) hold_claims: AtomicBool,
    pub(crate) refuse: AtomicBool,
    tunnel: OnceLock<Tunnel>,
    generations: Mutex<HashMap<CameraId, Generation>>,
}

impl FakeMonitor {
    fn note(&self, seen: Seen) {
        self.seen.send_modify(|all| all.push(seen));
    }

    /// Claims for a session, and lets it serve.
    pub(crate) fn serve(&self, session: SessionId, camera: &CameraId) -> Generation {
        let generation = {
            let mut generations = self.generations.lock().unwrap();
            let generation = generations.entry(camera.clone()).or_default();
            *generation = generation.next();
            *generation
        };
        self.tunnel.get().unwrap().serve(session, generation);
        generation
    }
}

impl TunnelEvents for FakeMonitor {
    fn up(&self, up: TunnelUp) -> bool {
        if self.refuse.load(Ordering::SeqCst) {
            return false;
        }
        self.note(Seen::Up(up.session, up.camera.id.clone()));
        if !self.hold_claims.load(Ordering::SeqCst) {
            self.serve(up.session, &up.camera.id);
        }
        true
    }

    fn stolen(&self, camera: &CameraId, _: SocketAddr, client: &str) {
        self.note(Seen::Stolen(camera.clone(), client.to_owned()));
    }

    fn token_spent(&self, camera: &CameraId, _: SocketAddr, client: &str) {
        self.note(Seen::TokenSpent(camera.clone(), client.to_owned()));
    }

    fn ended(&self, session: SessionId, end: TunnelEnd) {
        self.note(Seen::Ended(session, end));
    }
}

impl ControlLines for FakeMonitor {
    fn opened(&self, session: SessionId, camera: &CameraId) {
        self.note(Seen::Opened(session));
        let hello = format!("MOORLINE/1 both {camera}");
        assert!(self.tunnel.get().unwrap().send(session, &hello));
    }

    fn line(&self, session: SessionId, line: &[u8]) -> bool {
        let line = String::from_utf8_lossy(line).into_owned();
        self.note(Seen::Line(session, line));
        true
    }

    fn closed(&self, session: SessionId) {
        self.note(Seen::Closed(session));
    }
}

pub(crate) fn camera(id: &str, keys: &[&PublicKey]) -> Camera {
    let key = |key: &&PublicKey| CameraKey {
        key: (*key).clone(),
        added: Timestamp::default(),
        comment: String::new(),
    };
    Camera {
        keys: keys.iter().map(key).collect(),
        access: Access::Tunnel {
            forwards: vec!["http".parse().unwrap()],
        },
        ..Camera::new(
            id.parse().unwrap(),
            Timestamp::default(),
            Retention::Days(14),
        )
    }
}

/// A running server.
pub(crate) struct Rig {
    pub(crate) tunnel: Tunnel,
    pub(crate) monitor: Arc<FakeMonitor>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) address: SocketAddr,
    pub(crate) home: tempfile::TempDir,
    pub(crate) stop: CancellationToken,
    accepting: tokio::task::JoinHandle<()>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.cancel();
        self.accepting.abort();
    }
}

impl Rig {
    pub(crate) async fn new(config: TunnelConfig, cameras: Vec<Camera>) -> Rig {
        let directory = Arc::new(Directory(watch::Sender::new((
            1,
            Arc::new(CameraSet::new(cameras)),
        ))));
        let host_keys = HostKeys::generate().unwrap();
        let tunnel = Tunnel::new(
            config,
            &host_keys,
            Arc::clone(&directory) as Arc<dyn CameraDirectory>,
            SystemClock::shared(),
            TunnelMetrics::default(),
        )
        .unwrap();
        let monitor = Arc::new(FakeMonitor {
            seen: watch::Sender::new(Vec::new()),
            hold_claims: AtomicBool::new(false),
            refuse: AtomicBool::new(false),
            tunnel: OnceLock::new(),
            generations: Mutex::default(),
        });
        assert!(monitor.tunnel.set(tunnel.clone()).is_ok());
        let listener = moorline_base::net::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let told = Monitor {
            events: Arc::clone(&monitor) as Arc<dyn TunnelEvents>,
            lines: Arc::clone(&monitor) as Arc<dyn ControlLines>,
        };
        let (server, stopped) = (tunnel.clone(), stop.clone());
        let accepting = tokio::spawn(async move { server.accept(listener, told, stopped).await });
        let home = moorline_testkit::temp_dir().unwrap();
        let ssh = home.path().join(".ssh");
        std::fs::create_dir(&ssh).unwrap();
        let mut pins = host_keys.known_hosts_dropbear("127.0.0.1");
        pins.extend(host_keys.known_hosts_openssh("127.0.0.1", address.port()));
        std::fs::write(ssh.join("known_hosts"), pins.join("\n") + "\n").unwrap();
        Rig {
            tunnel,
            monitor,
            directory,
            address,
            home,
            stop,
            accepting,
        }
    }

    /// A server with the one camera `yard`, and its key.
    pub(crate) async fn with_yard(config: TunnelConfig) -> (Rig, PrivateKey) {
        let key = PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap();
        let rig = Rig::new(config, vec![camera("yard", &[key.public()])]).await;
        (rig, key)
    }

    fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.home.path().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    pub(crate) fn command(&self, peer: &peer::Peer) -> tokio::process::Command {
        let mut command = peer.command().unwrap();
        command.env("HOME", self.home.path());
        command
    }

    /// Debian's dbclient, with the server's keys pinned.
    pub(crate) fn dbclient(
        &self,
        key: &PrivateKey,
        user: &str,
        options: &[&str],
        run: &[&str],
    ) -> Child {
        self.dbclient_by(self.command(&peer::DBCLIENT), key, user, options, run)
    }

    /// Any dbclient, with the server's keys pinned.
    pub(crate) fn dbclient_by(
        &self,
        mut command: tokio::process::Command,
        key: &PrivateKey,
        user: &str,
        options: &[&str],
        run: &[&str],
    ) -> Child {
        let file = self.write("key.dropbear", key.to_dropbear().unwrap().expose());
        command
            .env("HOME", self.home.path())
            .arg("-i")
            .arg(file)
            .args(["-p", &self.address.port().to_string()])
            .args(options)
            .arg(format!("{user}@127.0.0.1"))
            .args(run);
        Child::spawn("dbclient", command).unwrap()
    }

    /// Debian's ssh.
    pub(crate) fn ssh(
        &self,
        key: &PrivateKey,
        user: &str,
        options: &[&str],
        run: &[&str],
    ) -> Child {
        let file = self.write("key.openssh", key.to_openssh().unwrap().expose().as_bytes());
        let mut command = self.command(&peer::SSH);
        command
            .args([
                "-F",
                "none",
                "-o",
                "IdentitiesOnly=yes",
                "-o",
                "BatchMode=yes",
            ])
            .arg("-o")
            .arg(known_hosts(self.home.path()))
            .arg("-i")
            .arg(file)
            .args(["-p", &self.address.port().to_string()])
            .args(options)
            .arg(format!("{user}@127.0.0.1"))
            .args(run);
        Child::spawn("ssh", command).unwrap()
    }

    /// Waits until something was told, past or future.
    #[track_caller]
    pub(crate) fn told<T, P: Fn(&[Seen]) -> Option<T>>(
        &self,
        what: &str,
        pick: P,
    ) -> impl Future<Output = T> + use<T, P> {
        told(self.monitor.seen.subscribe(), what, SOON, pick)
    }

    /// The n-th tunnel that came up, counted from 0.
    #[track_caller]
    pub(crate) fn up(&self, nth: usize) -> impl Future<Output = SessionId> + use<> {
        self.told(&format!("tunnel {nth} up"), move |seen| {
            let ups = seen.iter().filter_map(|seen| match seen {
                Seen::Up(session, _) => Some(*session),
                _ => None,
            });
            ups.clone().nth(nth)
        })
    }

    /// How a tunnel ended.
    #[track_caller]
    pub(crate) fn ended(&self, session: SessionId) -> impl Future<Output = TunnelEnd> + use<> {
        self.told(&format!("end of {session}"), move |seen| {
            seen.iter().find_map(|seen| match seen {
                Seen::Ended(id, end) if *id == session => Some(*end),
                _ => None,
            })
        })
    }

    pub(crate) fn all(&self) -> Vec<Seen> {
        self.monitor.seen.borrow().clone()
    }

    pub(crate) async fn connect(
        &self,
        camera: &str,
    ) -> Result<(ByteStream, Generation), LandingError> {
        self.connect_to(camera, "rtsp").await
    }

    pub(crate) async fn connect_to(
        &self,
        camera: &str,
        forward: &str,
    ) -> Result<(ByteStream, Generation), LandingError> {
        let forward: ForwardName = forward.parse().unwrap();
        let camera = camera.parse().unwrap();
        self.tunnel.connect(&camera, &forward, Generation(0)).await
    }
}

fn known_hosts(home: &Path) -> String {
    format!(
        "UserKnownHostsFile={}",
        home.join(".ssh/known_hosts").display()
    )
}

/// A server behind the camera's client that answers each byte with it, after its mark.
pub(crate) async fn echo_server(mark: &'static str) -> SocketAddr {
    let listener = moorline_base::net::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = socket.split();
                let _ = write.write_all(mark.as_bytes()).await;
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    address
}

/// Asserts that a stream reaches the server with this mark, both ways.
#[track_caller]
pub(crate) fn assert_echo(stream: &mut ByteStream, mark: &str) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    let mark = mark.to_owned();
    async move {
        let talking = async {
            let mut room = vec![0; mark.len()];
            stream.read_exact(&mut room).await.unwrap();
            assert_eq!(String::from_utf8_lossy(&room), mark, "{caller}");
            stream.write_all(b"ping").await.unwrap();
            let mut room = [0; 4];
            stream.read_exact(&mut room).await.unwrap();
            assert_eq!(&room, b"ping", "{caller}");
        };
        tokio::time::timeout(patience(SOON), talking)
            .await
            .unwrap_or_else(|_| panic!("{caller}: no answer"));
    }
}
