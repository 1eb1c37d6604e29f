//! Our SSH server with a monitor that notes what it is told and says what the test says.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use moorline_base::{CancellationToken, SystemClock};
use moorline_core::camera::{Access, CameraKey};
use moorline_core::lifecycle::EndReason;
use moorline_core::port::{
    ByteStream, CameraDirectory, ControlLines, ControlWriter, LandingError, Landings, Sessions,
    TunnelEnd, TunnelEvents, TunnelUp,
};
use moorline_core::segment::Retention;
use moorline_core::{Camera, CameraId, CameraSet, Generation, PublicKey, SessionId, Timestamp};
use moorline_testkit::eventually::told;
use moorline_tunnel::keyfile::HostKeys;
use moorline_tunnel::{Monitor, Tunnel, TunnelConfig, TunnelMetrics};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// The deadline of what takes a second or two on a quiet machine: a call is some processes and a handshake of unoptimised code, and waits
/// between calls are random.
pub(crate) const SOON: Duration = Duration::from_secs(30);

struct Directory(watch::Sender<(u64, Arc<CameraSet>)>);

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

/// What the server was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Up(SessionId),
    Ended(SessionId, TunnelEnd),
    Opened(SessionId),
    Line(SessionId, String),
}

struct Notes {
    seen: watch::Sender<Vec<Seen>>,
    tunnel: OnceLock<Tunnel>,
    generations: Mutex<HashMap<CameraId, Generation>>,
    hello: String,
}

impl Notes {
    fn note(&self, seen: Seen) {
        self.seen.send_modify(|all| all.push(seen));
    }
}

impl TunnelEvents for Notes {
    fn up(&self, up: TunnelUp) -> bool {
        self.note(Seen::Up(up.session));
        let generation = {
            let mut generations = self.generations.lock().unwrap();
            let generation = generations.entry(up.camera.id.clone()).or_default();
            *generation = generation.next();
            *generation
        };
        self.tunnel.get().unwrap().serve(up.session, generation);
        true
    }

    fn stolen(&self, _: &CameraId, _: SocketAddr, _: &str) {}

    fn ended(&self, session: SessionId, end: TunnelEnd) {
        self.note(Seen::Ended(session, end));
    }
}

impl ControlLines for Notes {
    fn opened(&self, session: SessionId, camera: &CameraId) {
        assert_eq!(camera.to_string(), "home/yard");
        assert!(self.tunnel.get().unwrap().send(session, &self.hello));
        self.note(Seen::Opened(session));
    }

    fn line(&self, session: SessionId, line: &[u8]) -> bool {
        let line = String::from_utf8_lossy(line).into_owned();
        self.note(Seen::Line(session, line));
        true
    }

    fn closed(&self, _: SessionId) {}
}

/// The camera `home/yard`.
pub(crate) fn yard(key: &PublicKey) -> Camera {
    Camera {
        keys: vec![CameraKey {
            key: key.clone(),
            added: Timestamp::default(),
            comment: String::new(),
        }],
        access: Access::Tunnel {
            forwards: vec!["http".parse().unwrap()],
        },
        ..Camera::new(
            "yard".parse().unwrap(),
            Timestamp::default(),
            Retention::Days(14),
        )
    }
}

/// The same camera, to which no forward is granted: the session lives on, as an endpoint's does.
pub(crate) fn yard_without_forwards(key: &PublicKey) -> Camera {
    Camera {
        access: Access::Lan {
            host: "192.0.2.1".to_owned(),
            port: 554,
        },
        ..yard(key)
    }
}

/// A running server.
pub(crate) struct Server {
    pub(crate) tunnel: Tunnel,
    pub(crate) address: SocketAddr,
    directory: Arc<Directory>,
    notes: Arc<Notes>,
    keys: HostKeys,
    stop: CancellationToken,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Server {
    /// One that is `both`, `endpoint` or `streampoint` for its cameras.
    pub(crate) fn start(role: &str, cameras: Vec<Camera>) -> Self {
        Self::start_saying(&format!("MOORLINE/1 {role} home/yard"), cameras)
    }

    /// One that says this hello.
    pub(crate) fn start_saying(hello: &str, cameras: Vec<Camera>) -> Self {
        let listener = moorline_base::net::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        Self::start_on(listener, hello, cameras)
    }

    /// The same on a socket, which may be of another network namespace.
    pub(crate) fn start_on(listener: TcpListener, hello: &str, cameras: Vec<Camera>) -> Self {
        let directory = Arc::new(Directory(watch::Sender::new((
            1,
            Arc::new(CameraSet::new(cameras)),
        ))));
        let config = TunnelConfig {
            penalties: false,
            auth_rejection: Duration::from_millis(10),
            ..TunnelConfig::default()
        };
        let keys = HostKeys::generate().unwrap();
        let cameras = Arc::clone(&directory) as Arc<dyn CameraDirectory>;
        let clock = SystemClock::shared();
        let tunnel = Tunnel::new(config, &keys, cameras, clock, TunnelMetrics::default()).unwrap();
        let notes = Arc::new(Notes {
            seen: watch::Sender::new(Vec::new()),
            tunnel: OnceLock::new(),
            generations: Mutex::default(),
            hello: hello.to_owned(),
        });
        assert!(notes.tunnel.set(tunnel.clone()).is_ok());
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let told = Monitor {
            events: Arc::clone(&notes) as Arc<dyn TunnelEvents>,
            lines: Arc::clone(&notes) as Arc<dyn ControlLines>,
        };
        let (accepting, stopped) = (tunnel.clone(), stop.clone());
        tokio::spawn(async move { accepting.accept(listener, told, stopped).await });
        Server {
            tunnel,
            address,
            directory,
            notes,
            keys,
            stop,
        }
    }

    pub(crate) fn set(&self, cameras: Vec<Camera>) {
        self.directory.0.send_modify(|(version, set)| {
            (*version, *set) = (*version + 1, Arc::new(CameraSet::new(cameras)));
        });
    }

    /// Its host keys, as REFER and the agent's files have them.
    pub(crate) fn pins(&self) -> String {
        let lines = self.keys.known_hosts_dropbear("x");
        let keys = lines
            .iter()
            .map(|line| line.split(' ').nth(2).unwrap().to_owned());
        keys.collect::<Vec<_>>().join(",")
    }

    /// The same, as lines of dbclient's `known_hosts`.
    pub(crate) fn known_hosts(&self, host: &str) -> Vec<String> {
        self.keys.known_hosts_dropbear(host)
    }

    /// Ends a session: the camera sees a lost connection.
    pub(crate) fn end(&self, session: SessionId) {
        self.tunnel.end(session, EndReason::Silent);
    }

    pub(crate) fn say(&self, session: SessionId, line: &str) {
        assert!(self.tunnel.send(session, line), "not sent: {line}");
    }

    /// Waits until something was told, past or future.
    #[track_caller]
    pub(crate) fn told<T, P: Fn(&[Seen]) -> Option<T>>(
        &self,
        what: &str,
        pick: P,
    ) -> impl Future<Output = T> + use<T, P> {
        told(self.notes.seen.subscribe(), what, SOON, pick)
    }

    /// The n-th tunnel that came up, counted from 0.
    #[track_caller]
    pub(crate) fn up(&self, nth: usize) -> impl Future<Output = SessionId> + use<> {
        self.told(&format!("tunnel {nth} up"), move |seen| {
            let ups = seen.iter().filter_map(|seen| match seen {
                Seen::Up(session) => Some(*session),
                _ => None,
            });
            ups.clone().nth(nth)
        })
    }

    /// The n-th monitor's channel.
    #[track_caller]
    pub(crate) fn opened(&self, nth: usize) -> impl Future<Output = SessionId> + use<> {
        self.told(&format!("channel {nth}"), move |seen| {
            let all = seen.iter().filter_map(|seen| match seen {
                Seen::Opened(session) => Some(*session),
                _ => None,
            });
            all.clone().nth(nth)
        })
    }

    /// A line that begins so.
    #[track_caller]
    pub(crate) fn line(&self, begins: &str) -> impl Future<Output = String> + use<> {
        let wanted = begins.to_owned();
        self.told(begins, move |seen| {
            seen.iter().find_map(|seen| match seen {
                Seen::Line(_, line) if line.starts_with(&wanted) => Some(line.clone()),
                _ => None,
            })
        })
    }

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
        self.notes.seen.borrow().clone()
    }

    pub(crate) async fn landing(&self) -> ByteStream {
        self.behind("rtsp").await.unwrap()
    }

    /// A stream to what lies behind one of the camera's forwards.
    pub(crate) async fn behind(&self, forward: &str) -> Result<ByteStream, LandingError> {
        let (camera, forward) = ("yard".parse().unwrap(), forward.parse().unwrap());
        let connecting = self.tunnel.connect(&camera, &forward, Generation(0));
        Ok(connecting.await?.0)
    }
}
