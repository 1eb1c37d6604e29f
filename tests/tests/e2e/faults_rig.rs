//! What the tests of faults share: the real server as a child process, simulated cameras in this process, and people's requests.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

use moorline_base::clock::SystemClock;
use moorline_simcam::{
    Fault, Key, KnownHosts, Source, SourceConfig, Tunnel, TunnelConfig, video::Stamp,
};
use moorline_testkit::{
    child::{Child, Signal, run},
    eventually,
    tempfile::TempDir,
};
use serde_json::Value;
use tokio::process::Command;

use crate::{
    faults_device::{Device, missing, small, stamps},
    faults_http::{Answer, http, local},
};

/// Patience for everything that has to happen; nothing takes so long unless the machine is drowning.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// Short segments, so that a test sees several.
pub(crate) const SHORT: &str = "[archive]\nsegment = \"2s\"\n";

/// A running `moorline serve`.
pub(crate) struct Server {
    child: Option<Child>,
    data: PathBuf,
    config: PathBuf,
    /// What it said when it was ready.
    pub(crate) ready: Value,
    _own: Option<TempDir>,
}

impl Server {
    /// Serves a fresh directory with this configuration.
    pub(crate) async fn start(config: &str) -> Self {
        let own = moorline_testkit::temp_dir().unwrap();
        let data = own.path().join("data");
        let mut server = Self::start_in(&data, config).await;
        server._own = Some(own);
        server
    }

    /// Serves this directory.
    pub(crate) async fn start_in(data: &Path, config: &str) -> Self {
        let config_file = data.with_extension("toml");
        std::fs::write(&config_file, config).unwrap();
        let child = Child::spawn("moorline serve", serve(data, &config_file)).unwrap();
        let ready = child
            .wait_for_after(0, "the ready line", SOON, |line| {
                line.starts_with("{\"ssh\"")
                    .then(|| serde_json::from_str(line).unwrap())
            })
            .await
            .unwrap();
        Self {
            child: Some(child),
            data: data.to_owned(),
            config: config_file,
            ready,
            _own: None,
        }
    }

    /// One of its addresses: `ssh`, `rtsp`, `https` or `admin`.
    pub(crate) fn address(&self, name: &str) -> SocketAddr {
        self.ready[name].as_str().unwrap().parse().unwrap()
    }

    /// Its data directory.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// A line of `first-user.txt`.
    pub(crate) fn first_user(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.data.join("first-user.txt")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().strip_prefix(" = ").unwrap().trim().to_owned()
    }

    /// Runs a command of the command line to its end.
    pub(crate) async fn command(&self, arguments: &[&str]) -> Output {
        command(&self.data, Some(&self.config), arguments).await
    }

    /// Runs a command that must work, and gives its JSON.
    #[track_caller]
    pub(crate) fn cli(&self, arguments: &[&str]) -> impl Future<Output = Value> {
        let told = arguments.join(" ");
        let all: Vec<String> = ["--output", "json"]
            .iter()
            .chain(arguments)
            .map(|text| (*text).to_owned())
            .collect();
        async move {
            let all: Vec<&str> = all.iter().map(String::as_str).collect();
            let output = self.command(&all).await;
            assert!(output.status.success(), "{told}: {}", said(&output));
            serde_json::from_slice(&output.stdout).unwrap()
        }
    }

    /// Runs a command that must fail with exit code 1, and gives what it said.
    pub(crate) async fn refused(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).await;
        assert_eq!(output.status.code(), Some(1), "{arguments:?} did not fail");
        said(&output)
    }

    /// Asks the API over the Unix socket, as the command line does.
    pub(crate) async fn api(&self, method: &str, path: &str) -> Answer {
        local(&self.data.join("moorline.sock"), method, path).await
    }

    /// A camera as `camera show` has it.
    pub(crate) async fn camera(&self, name: &str) -> Value {
        let answer = self
            .api("GET", &format!("/tenants/home/cameras/{name}"))
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// Waits until `camera show` has what `pick` looks for.
    pub(crate) async fn until<T>(
        &self,
        name: &str,
        what: &str,
        pick: impl Fn(&Value) -> Option<T>,
    ) -> T {
        let (what, pick) = (format!("{name}: {what}"), &pick);
        let shown = move || async move { pick(&self.camera(name).await) };
        eventually(&what, SOON, shown).await
    }

    /// Waits until something of the camera is durable that was filmed after this call began.
    pub(crate) async fn moves_on(&self, name: &str) -> String {
        self.recorded_past(name, unix_millis()).await
    }

    /// Waits until something of the camera is durable that was filmed after this instant (Unix, ms).
    pub(crate) async fn recorded_past(&self, name: &str, at: i64) -> String {
        let at = rfc3339(at);
        self.until(name, "recorded_until does not move on", |camera| {
            let until = camera["status"]["recorded_until"].as_str()?;
            (until > at.as_str()).then(|| until.to_owned())
        })
        .await
    }

    /// Registers a camera that streams at `/main` and gives its key.
    pub(crate) async fn add(&self, name: &str, more: &[&str]) -> Key {
        let key = Key::generate().unwrap();
        let line = key.public_line();
        let mut arguments = vec!["camera", "add", name, "--key", &line, "--path", "/main"];
        arguments.extend(more);
        self.cli(&arguments).await;
        key
    }

    /// What a camera has to know to call.
    pub(crate) fn tunnel(&self, name: &str, key: &Key) -> TunnelConfig {
        let lines = self.ready["known_hosts"].as_array().unwrap();
        let lines = lines.iter().filter_map(Value::as_str);
        let pinned = KnownHosts::parse(lines).unwrap();
        let mut tunnel = TunnelConfig::new(self.address("ssh"), name, key.clone(), pinned);
        tunnel.retry = (Duration::from_millis(200), Duration::from_secs(1));
        tunnel
    }

    /// Starts a camera that is registered.
    pub(crate) fn call(
        &self,
        name: &str,
        key: &Key,
        config: SourceConfig,
        faults: &[Fault],
    ) -> Device {
        let source = Source::new(config, SystemClock::shared());
        for fault in faults {
            source.faults().on(*fault);
        }
        let tunnel = Tunnel::start(
            self.tunnel(name, key),
            source.clone(),
            SystemClock::shared(),
        );
        Device { tunnel, source }
    }

    /// Adds a camera and starts it.
    pub(crate) async fn device(
        &self,
        name: &str,
        config: SourceConfig,
        faults: &[Fault],
    ) -> Device {
        let key = self.add(name, &[]).await;
        self.call(name, &key, config, faults)
    }

    /// Adds a healthy camera and waits until something of it is durable.
    pub(crate) async fn healthy(&self, name: &str, number: u32) -> Device {
        let device = self.device(name, small(number), &[]).await;
        self.moves_on(name).await;
        device
    }

    /// Exports everything of a camera and gives the stamps in it, in order.
    pub(crate) async fn exported(&self, name: &str) -> Vec<Stamp> {
        let file = self.data.with_extension(format!("{name}.mp4"));
        let path = file.to_str().unwrap();
        let export = [
            "segments", "export", name, "--from", "1h", "--force", "-f", path,
        ];
        self.cli(&export).await;
        stamps(&std::fs::read(&file).unwrap())
    }

    /// The camera goes on, and all that was filmed of it lies in the archive: no number is missing up to now.
    pub(crate) async fn nothing_lost(&self, name: &str, number: u32) {
        let now = unix_millis();
        self.moves_on(name).await;
        let stamps = self.exported(name).await;
        assert!(
            stamps.iter().all(|stamp| stamp.camera == number),
            "pictures of another camera than {name}"
        );
        let frames: Vec<u64> = stamps.iter().map(|stamp| stamp.frame).collect();
        assert!(frames.len() > 20, "only {} pictures", frames.len());
        assert_eq!(missing(&frames), Vec::<u64>::new(), "{name} lost pictures");
        let last = stamps.last().map_or(0, |stamp| stamp.sent_us / 1000);
        assert!(
            i64::try_from(last).unwrap() >= now - 1000,
            "{name} was not recorded up to now"
        );
    }

    /// What was synced until that instant can be exported, and no number is missing in it.
    pub(crate) async fn stored_until(&self, name: &str, synced: &str) {
        let stored = self.exported(name).await;
        let frames: Vec<u64> = stored.iter().map(|stamp| stamp.frame).collect();
        assert_eq!(missing(&frames), Vec::<u64>::new());
        let last = stored.last().unwrap().sent_us / 1000;
        let last = moorline_core::Timestamp::from_millis(i64::try_from(last).unwrap());
        let until: moorline_core::Timestamp = synced.parse().unwrap();
        assert!(
            last + Duration::from_secs(1) >= until,
            "{last}: what was synced until {until} is not stored"
        );
    }

    /// The causes of the gaps since the first recorded picture, and `unexplained`.
    pub(crate) async fn gaps(&self, name: &str) -> Vec<String> {
        let rows = self.cli(&["segments", "list", name, "--from", "1h"]).await;
        let rows = rows.as_array().unwrap().iter();
        rows.skip_while(|row| row["kind"] != "recorded")
            .filter(|row| row["kind"] != "recorded")
            .map(|row| {
                let kind = row["kind"].as_str().unwrap();
                row["cause"].as_str().unwrap_or(kind).to_owned()
            })
            .collect()
    }

    /// The process, to look at its log.
    pub(crate) fn child(&self) -> &Child {
        self.child.as_ref().unwrap()
    }

    /// Waits until somebody whose key nobody has knocks, and gives the fingerprint.
    pub(crate) async fn until_pending(&self) -> String {
        eventually("nobody knocks", SOON, || async {
            let pending = self.api("GET", "/strangers").await.json();
            pending[0]["fingerprint"].as_str().map(str::to_owned)
        })
        .await
    }

    /// Its metrics.
    pub(crate) async fn metrics(&self) -> String {
        http(self.address("admin"), "/metrics").await.text()
    }

    /// The same as [`Server::stop`]; its directory lives as long as what is given back.
    pub(crate) async fn stop_and_keep(mut self) -> Option<TempDir> {
        let place = self._own.take();
        self.stop().await;
        place
    }

    /// Drains by SIGTERM; exit code 0.
    pub(crate) async fn stop(mut self) {
        let mut child = self.child.take().unwrap();
        child.signal(Signal::TERM);
        let status = child.wait(Duration::from_secs(60)).await.unwrap();
        assert!(status.success(), "{status}: {}", child.tail());
    }
}

/// `moorline serve` on free loopback ports.
pub(crate) fn serve(data: &Path, config: &Path) -> Command {
    let mut command = bare(data, Some(config));
    command.args(["--output", "json", "serve", "--public-host", "localhost"]);
    for port in ["ssh", "rtsp", "https", "admin"] {
        command.arg(format!("--listen-{port}")).arg("127.0.0.1:0");
    }
    command
}

/// Runs a command of the command line to its end.
pub(crate) async fn command(data: &Path, config: Option<&Path>, arguments: &[&str]) -> Output {
    let mut command = bare(data, config);
    command.args(arguments);
    run("moorline", command, Duration::from_secs(60))
        .await
        .unwrap()
}

fn bare(data: &Path, config: Option<&Path>) -> Command {
    let mut command = Command::new(moorline_tests::moorline());
    command.arg("--data").arg(data);
    if let Some(config) = config {
        command.arg("--config").arg(config);
    }
    command
}

/// Both streams of a command.
pub(crate) fn said(output: &Output) -> String {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    format!("{stdout}{stderr}")
}

/// Now, as the API writes instants.
pub(crate) fn rfc3339_now() -> String {
    rfc3339(unix_millis())
}

fn rfc3339(at: i64) -> String {
    moorline_core::Timestamp::from_millis(at).to_string()
}

/// Now, in milliseconds since 1970.
pub(crate) fn unix_millis() -> i64 {
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// What the relay of a camera says of why it has no stream.
pub(crate) fn fault_of(camera: &Value) -> Option<String> {
    let relays = camera["status"]["relays"].as_array()?;
    relays
        .iter()
        .find_map(|relay| relay["state"]["fault"].as_str())
        .map(str::to_owned)
}

/// The notes of a camera, as one text.
pub(crate) fn notes(camera: &Value) -> String {
    camera["notes"].to_string()
}
