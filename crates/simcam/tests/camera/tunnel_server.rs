//! The real SSH server with one camera, `yard`, that serves every tunnel at once.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use moorline_base::{CancellationToken, SystemClock};
use moorline_core::camera::CameraKey;
use moorline_core::port::{
    CameraDirectory, ControlLines, ControlWriter, Landings, Sessions, TunnelEnd, TunnelEvents,
    TunnelUp,
};
use moorline_core::segment::Retention;
use moorline_core::{Camera, CameraId, CameraSet, Generation, PublicKey, SessionId, Timestamp};
use moorline_simcam::{Key, KnownHosts, TunnelConfig};
use moorline_testkit::patience;
use moorline_tunnel::keyfile::HostKeys;
use moorline_tunnel::{Monitor, Tunnel, TunnelMetrics};
use tokio::sync::watch;

use crate::reader::{Reader, SOON};

struct Directory(Arc<CameraSet>);

#[async_trait]
impl CameraDirectory for Directory {
    fn snapshot(&self) -> Arc<CameraSet> {
        self.0.clone()
    }

    async fn changed(&self, _seen: u64) -> u64 {
        std::future::pending().await
    }

    fn version(&self) -> u64 {
        1
    }
}

/// What the server was told, in words.
struct Notes {
    seen: watch::Sender<Vec<String>>,
    tunnel: OnceLock<Tunnel>,
    generation: AtomicU64,
}

impl Notes {
    fn note(&self, text: String) {
        self.seen.send_modify(|seen| seen.push(text));
    }
}

impl TunnelEvents for Notes {
    fn up(&self, up: TunnelUp) -> bool {
        let generation = (0..=self.generation.fetch_add(1, Ordering::SeqCst))
            .fold(Generation::default(), |last, _| last.next());
        self.tunnel.get().unwrap().serve(up.session, generation);
        self.note(format!("up {}", up.camera.id));
        true
    }

    fn stolen(&self, camera: &CameraId, _: SocketAddr, _: &str) {
        self.note(format!("stolen {camera}"));
    }

    fn ended(&self, _session: SessionId, end: TunnelEnd) {
        self.note(format!("ended {end:?}"));
    }
}

impl ControlLines for Notes {
    fn opened(&self, session: SessionId, camera: &CameraId) {
        let tunnel = self.tunnel.get().unwrap();
        assert!(tunnel.send(session, &format!("MOORLINE/1 both {camera}")));
        assert!(tunnel.send(session, "PING 41"));
    }

    fn line(&self, _session: SessionId, line: &[u8]) -> bool {
        self.note(format!("line {}", String::from_utf8_lossy(line)));
        true
    }

    fn closed(&self, _session: SessionId) {
        self.note("closed".to_owned());
    }
}

fn camera(id: &str, key: &Key) -> Camera {
    let key = CameraKey {
        key: key.public_line().parse::<PublicKey>().unwrap(),
        added: Timestamp::default(),
        comment: String::new(),
    };
    Camera {
        keys: vec![key],
        ..Camera::new(
            id.parse().unwrap(),
            Timestamp::default(),
            Retention::Days(14),
        )
    }
}

/// A running server. Its end comes with it.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) keys: Vec<Key>,
    pub(crate) known_hosts: KnownHosts,
    tunnel: Tunnel,
    notes: Arc<Notes>,
    stop: CancellationToken,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Server {
    /// With cameras `home/camera-0` and so on.
    pub(crate) fn start(cameras: usize) -> Self {
        let keys: Vec<Key> = (0..cameras).map(|_| Key::generate().unwrap()).collect();
        let set: Vec<Camera> = keys
            .iter()
            .enumerate()
            .map(|(n, key)| camera(&format!("camera-{n}"), key))
            .collect();
        let host_keys = HostKeys::generate().unwrap();
        let config = moorline_tunnel::TunnelConfig {
            penalties: false,
            auth_rejection: std::time::Duration::from_millis(10),
            ..moorline_tunnel::TunnelConfig::default()
        };
        let directory = Arc::new(Directory(Arc::new(CameraSet::new(set))));
        let tunnel = Tunnel::new(
            config,
            &host_keys,
            directory,
            SystemClock::shared(),
            TunnelMetrics::default(),
        )
        .unwrap();
        let notes = Arc::new(Notes {
            seen: watch::Sender::default(),
            tunnel: OnceLock::new(),
            generation: AtomicU64::new(0),
        });
        assert!(notes.tunnel.set(tunnel.clone()).is_ok());
        let listener = moorline_base::net::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let told = Monitor {
            events: notes.clone(),
            lines: notes.clone(),
        };
        let stop = CancellationToken::new();
        let (server, stopped) = (tunnel.clone(), stop.clone());
        tokio::spawn(async move { server.accept(listener, told, stopped).await });
        let lines = host_keys.known_hosts_dropbear("127.0.0.1");
        let known_hosts = KnownHosts::parse(lines.iter().map(String::as_str)).unwrap();
        Self {
            address,
            keys,
            known_hosts,
            tunnel,
            notes,
            stop,
        }
    }

    pub(crate) fn config(&self, camera: usize) -> TunnelConfig {
        let mut config = TunnelConfig::new(
            self.address,
            format!("camera-{camera}"),
            self.keys[camera].clone(),
            self.known_hosts.clone(),
        );
        config.retry = (
            std::time::Duration::from_millis(20),
            std::time::Duration::from_millis(100),
        );
        config
    }

    /// Waits until this was told `times` times, past or future.
    #[track_caller]
    pub(crate) fn told(&self, text: &str, times: usize) -> impl Future<Output = ()> + use<> {
        let (mut seen, text) = (self.notes.seen.subscribe(), text.to_owned());
        let caller = std::panic::Location::caller();
        async move {
            let enough =
                |seen: &Vec<String>| seen.iter().filter(|note| **note == text).count() >= times;
            let waited = tokio::time::timeout(patience(SOON), seen.wait_for(enough))
                .await
                .is_ok();
            assert!(
                waited,
                "{caller}: not told {times} times {text:?}: {:?}",
                seen.borrow()
            );
        }
    }

    pub(crate) fn tunnel(&self) -> &Tunnel {
        &self.tunnel
    }

    /// A reader through the tunnel of a camera.
    pub(crate) async fn reader(&self, camera: usize) -> Reader {
        let id: CameraId = format!("camera-{camera}").parse().unwrap();
        let rtsp = "rtsp".parse().unwrap();
        let landing = self
            .tunnel
            .connect(&id, &rtsp, Generation::default())
            .await
            .unwrap();
        Reader::over(landing.0)
    }
}
