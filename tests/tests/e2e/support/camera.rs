//! Cameras: a simulated source behind the real `dbclient`, or behind our own SSH client.

use std::{net::SocketAddr, path::Path, time::Duration};

use moorline_base::SystemClock;
use moorline_simcam::{
    Camera, CameraConfig, Client, Key, KnownHosts, Source, SourceConfig, TunnelConfig, video::Shape,
};
use moorline_testkit::{child::Child, temp_dir, tempfile::TempDir};
use serde_json::Value;
use tokio::process::Command;

use super::server::Moorline;

/// What `camera add` puts at the end of `-R`, to be adapted to the camera's own RTSP server.
const PRINTED_TARGET: &str = ":127.0.0.1:554 ";

/// A cheap camera: 20 pictures a second, two key frames, 300 kbit/s, every picture stamped, at `/main`.
pub(crate) fn quick(number: u32) -> SourceConfig {
    SourceConfig::generated(
        number,
        Shape {
            width: 320,
            height: 176,
            fps: 20,
            gop: 10,
            bitrate: 300_000,
            ..Shape::default()
        },
    )
}

/// A source on a port of loopback: a camera's RTSP server.
pub(crate) fn listening(config: SourceConfig) -> (Source, SocketAddr) {
    let listener = moorline_base::net::listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = listener.local_addr().unwrap();
    let source = Source::new(config, SystemClock::shared());
    source.listen(listener);
    (source, address)
}

/// Adds a camera with the path of simulated ones, and lets a simulated one call. Its tunnel is not yet up.
pub(crate) async fn simulated(moorline: &Moorline, name: &str, number: u32) -> Camera {
    simulated_with(moorline, name, quick(number), |_| {}).await
}

/// The same with any source; `adapt` changes how it calls.
pub(crate) async fn simulated_with(
    moorline: &Moorline,
    name: &str,
    source: SourceConfig,
    adapt: impl FnOnce(&mut TunnelConfig),
) -> Camera {
    let added = moorline
        .cli(&["camera", "add", name, "--path", "/main"])
        .await;
    let key = std::fs::read(added["private_key"].as_str().unwrap()).unwrap();
    let lines = added["known_hosts"].as_array().unwrap();
    let pinned = KnownHosts::parse(lines.iter().map(|line| line.as_str().unwrap())).unwrap();
    let key = Key::from_dropbear(&key).unwrap();
    let mut tunnel = TunnelConfig::new(moorline.address("ssh"), name, key, pinned);
    tunnel.retry = (Duration::from_millis(200), Duration::from_secs(1));
    adapt(&mut tunnel);
    let config = CameraConfig {
        source,
        tunnel,
        client: Client::BuiltIn,
    };
    Camera::start(config, SystemClock::shared()).await.unwrap()
}

/// The real `dbclient`, run as `camera add` says, in a home of its own.
pub(crate) struct Dbclient {
    /// Its process.
    pub(crate) child: Child,
    _home: TempDir,
}

impl Dbclient {
    /// The printed command as it is, but for the place of the camera's RTSP server.
    pub(crate) fn start(added: &Value, source: SocketAddr) -> Self {
        Self::run(added["command"].as_str().unwrap(), added, source)
    }

    /// The same without `-N`: a shell is asked for, and the monitor's lines come. They alone are kept, not what dbclient itself says.
    pub(crate) fn with_monitor(added: &Value, source: SocketAddr) -> Self {
        let command = added["command"].as_str().unwrap();
        assert!(command.contains(" -N "), "{command}");
        let command = format!("{} 2>/dev/null", command.replace(" -N ", " "));
        Self::run(&command, added, source)
    }

    /// Any command line, with the host keys of `added` in `known_hosts`.
    pub(crate) fn run(line: &str, added: &Value, source: SocketAddr) -> Self {
        assert!(line.contains(PRINTED_TARGET), "{line}");
        let line = line.replace(PRINTED_TARGET, &format!(":{source} "));
        let home = temp_dir().unwrap();
        pin(home.path(), &added["known_hosts"]);
        let mut command = Command::new("/bin/sh");
        command
            .env("HOME", home.path())
            .args(["-c", &format!("exec {line}")]);
        let child = Child::spawn("dbclient", command).unwrap();
        Self { child, _home: home }
    }
}

/// Writes lines into the `known_hosts` of a home.
pub(crate) fn pin(home: &Path, lines: &Value) {
    let lines: Vec<&str> = lines
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line.as_str().unwrap())
        .collect();
    assert!(!lines.is_empty(), "no host keys to pin");
    std::fs::create_dir(home.join(".ssh")).unwrap();
    std::fs::write(home.join(".ssh/known_hosts"), lines.join("\n") + "\n").unwrap();
}
