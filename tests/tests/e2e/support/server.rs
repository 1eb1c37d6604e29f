//! `moorline serve` as a child process, and its command line.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Output,
    sync::{Arc, Mutex},
    time::Duration,
};

use moorline_testkit::{
    child::{Child, Signal, run},
    eventually,
    netns::Netns,
    patience,
    refusing::Refusing,
    temp_dir,
    tempfile::TempDir,
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    process::Command,
    time::timeout,
};

use super::SOON;

/// What every test needs: a disk that is nearly full is not what they are about.
const ALWAYS: &str = "disk_free = \"64MiB\"";

/// What is set before the server starts.
pub(crate) struct Setup {
    /// Lines of `[archive]`.
    pub(crate) archive: String,
    /// How long a stop may wait for the store.
    pub(crate) drain: &'static str,
    /// Other sections, as TOML.
    pub(crate) sections: String,
    /// The host name in printed commands.
    pub(crate) public_host: &'static str,
    /// The network in which it runs, if it is not ours. Its command line and API are reached all the same.
    pub(crate) network: Option<Arc<Netns>>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            archive: String::new(),
            sections: String::new(),
            drain: "10s",
            public_host: "127.0.0.1",
            network: None,
        }
    }
}

/// An address that is nobody else's as long as this program runs: a server that ends and starts again on its ports finds them free.
fn held() -> String {
    static HELD: Mutex<Vec<Refusing>> = Mutex::new(Vec::new());
    let port = Refusing::new().unwrap();
    let address = port.address().to_string();
    HELD.lock().unwrap().push(port);
    address
}

/// A running server with a directory of its own. Dropping it kills it; when the test fails its log is shown.
pub(crate) struct Moorline {
    child: Child,
    ready: Value,
    public_host: &'static str,
    place: Arc<TempDir>,
}

impl Moorline {
    /// With defaults, on free ports of loopback.
    pub(crate) async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    /// With segments of two seconds, so that a test sees several.
    pub(crate) async fn with_short_segments() -> Self {
        Self::with(Setup {
            archive: "segment = \"2s\"\n".to_owned(),
            ..Setup::default()
        })
        .await
    }

    /// With settings.
    pub(crate) async fn with(setup: Setup) -> Self {
        let place = temp_dir().unwrap();
        let config = format!(
            "[archive]\n{ALWAYS}\ndrain = \"{}\"\n{}\n{}",
            setup.drain, setup.archive, setup.sections
        );
        std::fs::write(place.path().join("moorline.toml"), config).unwrap();
        let network = setup.network.as_deref();
        Self::begin(Arc::new(place), setup.public_host, network, None).await
    }

    /// On a place that has its data already (`data`, `moorline.toml`), on the ports of a former [`Moorline::ready`].
    pub(crate) async fn on(place: Arc<TempDir>, ports: &Value) -> Self {
        Self::begin(place, "127.0.0.1", None, Some(ports)).await
    }

    async fn begin(
        place: Arc<TempDir>,
        public_host: &'static str,
        network: Option<&Netns>,
        ports: Option<&Value>,
    ) -> Self {
        let program = moorline_tests::moorline();
        let program = match network {
            Some(network) => network.command(program),
            None => Command::new(program),
        };
        let mut command = placed(program, place.path());
        command.args(["serve", "--public-host", public_host]);
        for door in ["ssh", "rtsp", "https", "admin"] {
            let former = ports.and_then(|ports| ports[door].as_str());
            let address = match (former, network) {
                (Some(former), _) => former.to_owned(),
                // Its loopback is another one, and nobody else's.
                (None, Some(_)) => "127.0.0.1:0".to_owned(),
                (None, None) => held(),
            };
            command.arg(format!("--listen-{door}")).arg(address);
        }
        let child = Child::spawn("moorline serve", command).unwrap();
        let ready = child
            .wait_for_after(0, "its line", SOON, |line| {
                let ready: Value = serde_json::from_str(line).ok()?;
                ready.get("known_hosts").is_some().then_some(ready)
            })
            .await;
        let ready = ready.unwrap_or_else(|error| panic!("{error}"));
        Self {
            child,
            ready,
            public_host,
            place,
        }
    }

    /// What it said when it was ready.
    pub(crate) fn ready(&self) -> &Value {
        &self.ready
    }

    /// One of its addresses: `ssh`, `rtsp`, `https`, `admin`.
    pub(crate) fn address(&self, door: &str) -> SocketAddr {
        self.ready[door].as_str().unwrap().parse().unwrap()
    }

    /// Where cameras call it: `host:port`.
    pub(crate) fn seen_by_cameras(&self) -> String {
        format!("{}:{}", self.public_host, self.address("ssh").port())
    }

    /// Its data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.place.path().join("data")
    }

    /// A directory beside the data, where commands run.
    pub(crate) fn place(&self) -> &Path {
        self.place.path()
    }

    /// Its process.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// A line of `first-user.txt`.
    pub(crate) fn first_user(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.data().join("first-user.txt")).unwrap();
        let prefix = format!("{name} = ");
        let line = text.lines().find_map(|line| line.strip_prefix(&prefix));
        line.unwrap_or_else(|| panic!("no {name} in {text}"))
            .to_owned()
    }

    /// The URL of a camera's stream with the first user's stream password. `scheme`: rtsp or rtsps.
    pub(crate) fn url(&self, scheme: &str, camera: &str) -> String {
        let password = self.first_user("stream_password");
        format!(
            "{scheme}://admin:{password}@{}/{camera}",
            self.address("rtsp")
        )
    }

    /// Runs a command with `--output json`; its exit status is the caller's.
    pub(crate) async fn try_cli(&self, arguments: &[&str]) -> Output {
        let mut command = command(self.place());
        command.args(arguments);
        run("moorline", command, SOON).await.unwrap()
    }

    /// Runs a command that must succeed and gives what it printed.
    #[track_caller]
    pub(crate) fn cli(&self, arguments: &[&str]) -> impl Future<Output = Value> {
        let caller = std::panic::Location::caller();
        let shown = arguments.join(" ");
        let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        async move {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let output = self.try_cli(&arguments).await;
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success(),
                "{caller}: moorline {shown}: {errors}"
            );
            serde_json::from_slice(&output.stdout)
                .unwrap_or_else(|error| panic!("{caller}: moorline {shown}: {error}: {output:?}"))
        }
    }

    /// The links of the chain to a camera, whose exit status says whether one of them is broken.
    pub(crate) async fn diagnose(&self, camera: &str) -> Vec<Value> {
        let output = self.try_cli(&["camera", "diagnose", camera]).await;
        let links: Vec<Value> = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("camera diagnose {camera}: {error}: {output:?}"));
        let sound = links.iter().all(|link| link["ok"] == true);
        assert_eq!(output.status.code(), Some(i32::from(!sound)), "{links:?}");
        links
    }

    /// Asks the API through the socket of the command line: cheap enough to poll.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let mut stream = UnixStream::connect(self.data().join("moorline.sock"))
            .await
            .unwrap();
        let request =
            format!("GET /api/v1{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let text = String::from_utf8(answer).unwrap();
        let (_, body) = text.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap_or_else(|error| panic!("GET {path}: {error}: {text}"))
    }

    /// What a camera is and does.
    pub(crate) async fn camera(&self, name: &str) -> Value {
        self.get(&format!("/tenants/home/cameras/{name}")).await
    }

    /// Waits until a camera's view is as wanted, and gives it.
    pub(crate) async fn until(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let nothing = std::future::ready(String::new());
        self.until_within(SOON, name, what, wanted, nothing).await
    }

    /// The same with a deadline of its own, and with what else is to be shown when it is missed.
    pub(crate) async fn until_within(
        &self,
        deadline: Duration,
        name: &str,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
        shown: impl Future<Output = String>,
    ) -> Value {
        let last = Mutex::new(Value::Null);
        let (last, wanted) = (&last, &wanted);
        let polled = eventually(what, deadline * 100, || async move {
            let view = self.camera(name).await;
            let good = wanted(&view);
            *last.lock().unwrap() = view.clone();
            good.then_some(view)
        });
        match timeout(patience(deadline), polled).await {
            Ok(view) => view,
            Err(_) => {
                let shown = shown.await;
                let last = last.lock().unwrap();
                panic!("{name}: {what}: not within {deadline:?}; last seen: {last:#}\n{shown}")
            }
        }
    }

    /// Waits until a camera's tunnel is up and a first fragment of it is synced.
    pub(crate) async fn until_recording(&self, name: &str) -> Value {
        self.until(name, "recording", |view| {
            view["status"]["link"]["state"] == "up"
                && view["status"]["archive"]["state"] == "recording"
                && view["status"]["archive"]["synced_until"].is_string()
        })
        .await
    }

    /// Waits until what was filmed up to now is synced.
    pub(crate) async fn recorded_up_to_now(&self, name: &str) {
        let now = crate::faults_rig::rfc3339_now();
        self.until(name, "recorded up to now", |view| {
            let until = view["status"]["archive"]["synced_until"].as_str();
            until.is_some_and(|until| until > now.as_str())
        })
        .await;
    }

    /// Rows of `segments list` over the last hour.
    pub(crate) async fn segments(&self, camera: &str) -> Vec<Value> {
        let rows = self
            .cli(&["segments", "list", camera, "--from", "1h"])
            .await;
        rows.as_array().unwrap().clone()
    }

    /// Ends it by SIGTERM; it must drain and leave with 0.
    pub(crate) async fn stop(mut self) -> Arc<TempDir> {
        self.terminate().await;
        Arc::clone(&self.place)
    }

    /// The same, and gives its log.
    pub(crate) async fn stop_and_tell(mut self) -> String {
        self.terminate().await;
        self.child.lines().join("\n")
    }

    async fn terminate(&mut self) {
        self.child.signal(Signal::TERM);
        let status = self.child.wait(Duration::from_secs(60)).await;
        let status = status.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(status.code(), Some(0), "{}", self.child.tail());
    }

    /// Kills it (SIGKILL) and starts it again on the same data and ports.
    pub(crate) async fn kill_and_restart(mut self) -> Self {
        self.child.signal(Signal::KILL);
        self.child.wait(SOON).await.unwrap();
        let place = Arc::clone(&self.place);
        Self::begin(place, self.public_host, None, Some(&self.ready)).await
    }
}

impl Drop for Moorline {
    #[expect(
        clippy::print_stderr,
        reason = "libtest captures it and shows it with the failure"
    )]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the server's log:\n{}", self.child.tail());
        }
    }
}

/// `moorline` for a place: its data directory, its configuration, JSON.
pub(crate) fn command(place: &Path) -> Command {
    placed(Command::new(moorline_tests::moorline()), place)
}

fn placed(mut command: Command, place: &Path) -> Command {
    command
        .current_dir(place)
        .arg("--data")
        .arg(place.join("data"));
    let config = place.join("moorline.toml");
    if config.exists() {
        command.arg("--config").arg(config);
    }
    command.args(["--output", "json"]);
    command
}
