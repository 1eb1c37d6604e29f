//! The measured server, `moorline serve` in a process of its own, and the simulated cameras before it.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hyper::Method;
use moorline_base::clock::SystemClock;
use moorline_base::files::{Access, write_atomic};
use moorline_core::camera::{self, CameraKey, Record};
use moorline_core::segment::Retention;
use moorline_core::{Camera, CameraId, PublicKey, Timestamp};
use moorline_simcam::video::Shape;
use moorline_simcam::{Key, KnownHosts, Source, SourceConfig, Tunnel, TunnelConfig};
use moorline_testkit::child::Child;
use moorline_web::api::{CameraAdd, CameraPatch, Credentials, UserAdd};
use serde_json::Value;
use tempfile::TempDir;

use super::leash::leashed;
use super::viewer::Watch;
use crate::client::Client;
use crate::serve::first_user;

/// A running server, its data in a directory that goes with it.
pub struct Place {
    /// Its command line's way in.
    pub client: Client,
    /// Where cameras connect.
    pub ssh: SocketAddr,
    /// Where viewers connect.
    pub rtsp: SocketAddr,
    known_hosts: KnownHosts,
    stream_password: String,
    child: Child,
    dir: TempDir,
}

impl Place {
    /// Starts one under `scratch`, on free ports of loopback.
    ///
    /// # Errors
    /// It does not start within 30 s.
    pub async fn start(scratch: &Path) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("moorline-bench-")
            .tempdir_in(scratch)?;
        write_atomic(
            &dir.path().join("moorline.toml"),
            b"[server]\nlog = \"warn\"\n",
            Access::Private,
        )?;
        let mut command = leashed(&std::env::current_exe()?)?;
        command
            .args(["--output", "json", "--data"])
            .arg(dir.path())
            .arg("serve");
        for door in ["ssh", "rtsp", "https", "admin"] {
            command.arg(format!("--listen-{door}=127.0.0.1:0"));
        }
        command.arg("--public-host=localhost");
        let child = Child::spawn("moorline serve", command)?;
        let ready = child
            .wait_for_after(0, "that it is ready", Duration::from_secs(30), |line| {
                serde_json::from_str::<Value>(line)
                    .ok()
                    .filter(|value| value.get("known_hosts").is_some())
            })
            .await?;
        let text = |name: &str| ready.get(name).and_then(Value::as_str).unwrap_or_default();
        let lines = ready
            .get("known_hosts")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let first = PathBuf::from(text("first_user"));
        Ok(Self {
            client: Client::Server(text("socket").into()),
            ssh: text("ssh").parse()?,
            rtsp: text("rtsp").parse()?,
            known_hosts: KnownHosts::parse(lines.iter().filter_map(Value::as_str))?,
            stream_password: first_user::read(&first, "stream_password")
                .context("no first user")?,
            child,
            dir,
        })
    }

    /// Its process.
    ///
    /// # Errors
    /// It has ended.
    pub fn pid(&self) -> anyhow::Result<u32> {
        self.child.pid().context("the server has ended")
    }

    /// Where recordings lie.
    pub fn archive(&self) -> PathBuf {
        self.dir.path().join("archive")
    }

    /// Adds a camera behind a tunnel, or with `rtsp` one of our own network.
    ///
    /// # Errors
    /// The server refuses it.
    pub async fn add(
        &self,
        name: &str,
        key: Option<&Key>,
        rtsp: Option<SocketAddr>,
        record: Record,
    ) -> anyhow::Result<()> {
        let add = CameraAdd {
            name: name.to_owned(),
            keys: key.map(Key::public_line).into_iter().collect(),
            title: None,
            change: CameraPatch {
                path: Some("/main".to_owned()),
                rtsp: rtsp.map(|address| format!("rtsp://{address}/main")),
                record: Some(record.into()),
                timezone: Some("UTC".to_owned()),
                ..CameraPatch::default()
            },
        };
        self.client
            .act(Method::POST, "/tenants/home/cameras", Some(&add))
            .await
    }

    /// Adds a viewer and returns its login and stream password.
    ///
    /// # Errors
    /// The server refuses it.
    pub async fn user(&self, login: &str) -> anyhow::Result<(String, String)> {
        let add = UserAdd {
            login: login.to_owned(),
            role: moorline_core::user::Role::Viewer,
            password: None,
        };
        let made: Credentials = self
            .client
            .json(Method::POST, "/tenants/home/users", Some(&add))
            .await?;
        Ok((login.to_owned(), made.stream_password.unwrap_or_default()))
    }

    /// How its camera is watched.
    pub fn watch(&self, camera: &str) -> Watch {
        Watch {
            address: self.rtsp,
            from: IpAddr::from([127, 0, 0, 1]),
            path: camera.to_owned(),
            login: Some((first_user::LOGIN.to_owned(), self.stream_password.clone())),
        }
    }

    /// How its camera calls.
    pub fn call(&self, camera: &str, key: &Key) -> TunnelConfig {
        TunnelConfig::new(self.ssh, camera, key.clone(), self.known_hosts.clone())
    }

    /// Adds cameras `c0`, `c1`, … with keys.
    ///
    /// # Errors
    /// The server refuses one.
    pub async fn add_all(&self, count: usize, record: Record) -> anyhow::Result<Vec<Key>> {
        let mut keys = Vec::with_capacity(count);
        for number in 0..count {
            let key = Key::generate()?;
            self.add(&name(number), Some(&key), None, record).await?;
            keys.push(key);
        }
        Ok(keys)
    }

    /// Stops it, and gives back what it had recorded.
    ///
    /// # Errors
    /// It does not drain within 120 s.
    pub async fn stop(self) -> anyhow::Result<TempDir> {
        self.child.end(Duration::from_secs(120)).await?;
        Ok(self.dir)
    }
}

/// The name of camera `number`.
pub fn name(number: usize) -> String {
    format!("c{number}")
}

/// A camera behind a tunnel that proves itself by this key and films at `/main`.
pub fn camera(id: CameraId, key: PublicKey, record: Record) -> Camera {
    Camera {
        keys: vec![CameraKey {
            key,
            added: Timestamp::default(),
            comment: String::new(),
        }],
        main: camera::Source {
            path: Some("/main".to_owned()),
            ..camera::Source::default()
        },
        record,
        ..Camera::new(id, Timestamp::default(), Retention::Days(1))
    }
}

/// A source of this shape whose pictures carry `number`.
pub fn source(number: usize, shape: Shape, max_packet: usize) -> Source {
    let config = SourceConfig {
        max_packet,
        queue: 4 << 20,
        ..SourceConfig::generated(number as u32, shape)
    };
    Source::new(config, SystemClock::shared())
}

/// A source that listens on loopback.
///
/// # Errors
/// No socket can be had.
pub fn listening(number: usize, shape: Shape) -> anyhow::Result<(Source, SocketAddr)> {
    let source = source(number, shape, 1400);
    let listener = moorline_base::net::listen(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let address = listener.local_addr()?;
    source.listen(listener);
    Ok((source, address))
}

/// Cameras with our own SSH client.
pub struct Fleet {
    /// Source and tunnel of each.
    pub cameras: Vec<(Source, Tunnel)>,
    /// From the first call to the last grant.
    pub all_up: Duration,
    /// Calls that did not lead to a tunnel.
    pub refused: usize,
}

impl Fleet {
    /// Calls with all cameras from number `first` on at once and waits until all are up.
    ///
    /// # Errors
    /// Not all are within 60 s.
    pub async fn call(
        place: &Place,
        first: usize,
        keys: &[Key],
        shape: Shape,
    ) -> anyhow::Result<Self> {
        let prepared: Vec<_> = (first..)
            .zip(keys)
            .map(|(number, key)| (source(number, shape, 1400), place.call(&name(number), key)))
            .collect();
        let began = Instant::now();
        let cameras: Vec<(Source, Tunnel)> = prepared
            .into_iter()
            .map(|(source, config)| {
                (
                    source.clone(),
                    Tunnel::start(config, source, SystemClock::shared()),
                )
            })
            .collect();
        let waiting = futures::future::join_all(cameras.iter().map(|(_, tunnel)| async {
            let mut state = tunnel.state();
            let mut refused = 0;
            loop {
                match *state.borrow_and_update() {
                    moorline_simcam::TunnelState::Up { .. } => return refused,
                    moorline_simcam::TunnelState::Waiting { .. } => refused += 1,
                    _ => {}
                }
                if state.changed().await.is_err() {
                    return refused + 1;
                }
            }
        }));
        let refused = tokio::time::timeout(Duration::from_secs(60), waiting)
            .await
            .context("not all cameras came up")?;
        Ok(Self {
            cameras,
            all_up: began.elapsed(),
            refused: refused.into_iter().sum(),
        })
    }

    /// Ends all.
    pub async fn stop(self) {
        futures::future::join_all(self.cameras.into_iter().map(|(source, tunnel)| async move {
            tunnel.stop().await;
            source.stop().await;
        }))
        .await;
    }
}
