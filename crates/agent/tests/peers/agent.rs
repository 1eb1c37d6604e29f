//! A camera with our agent on it: its directories, its key, its process.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use moorline_base::SystemClock;
use moorline_core::key::KeyAlgorithm;
use moorline_simcam::video::Shape;
use moorline_simcam::{Source, SourceConfig};
use moorline_testkit::child::Child;
use moorline_testkit::{eventually, temp_dir};
use moorline_tunnel::keyfile::PrivateKey;
use tokio::process::Command;

use crate::server::SOON;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_moorline-agent");

pub(crate) struct Camera {
    pub(crate) home: tempfile::TempDir,
    pub(crate) key: PrivateKey,
    pub(crate) source: Source,
    local: String,
    runner: Vec<String>,
}

impl Camera {
    /// A camera that films 30 pictures a second with an IDR every 10, at 1 Mbit/s.
    pub(crate) fn new() -> Self {
        Self::filming(1_000_000)
    }

    pub(crate) fn filming(bitrate: u64) -> Self {
        let shape = Shape {
            fps: 30,
            gop: 10,
            bitrate,
            ..Shape::default()
        };
        let mut config = SourceConfig::generated(7, shape);
        // What is due after a stall of this process of some seconds comes at once, and is not the client's fault.
        config.queue = 64 << 20;
        let source = Source::new(config, SystemClock::shared());
        let listener = moorline_base::net::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let streamer = listener.local_addr().unwrap();
        source.listen(listener);
        let home = temp_dir().unwrap();
        for name in ["etc", "bin"] {
            std::fs::create_dir(home.path().join(name)).unwrap();
        }
        let local =
            format!("camera home/yard\nsource {streamer}\nmain /main\nrelay-port 0\nclock off\n");
        Camera {
            home,
            key: PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap(),
            source,
            local,
            runner: Vec::new(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub(crate) fn write(&self, name: &str, content: &[u8]) {
        std::fs::write(self.path(name), content).unwrap();
        std::fs::set_permissions(self.path(name), PermissionsExt::from_mode(0o600)).unwrap();
    }

    pub(crate) fn make_program(&self, name: &str) {
        std::fs::set_permissions(self.path(name), PermissionsExt::from_mode(0o700)).unwrap();
    }

    /// A line of the owner's file.
    pub(crate) fn local(&mut self, line: &str) {
        self.local.push_str(line);
        self.local.push('\n');
    }

    /// An endpoint of the owner's file.
    pub(crate) fn calls(&mut self, address: SocketAddr, pins: &str) {
        self.calls_name(&address.ip().to_string(), address.port(), pins);
    }

    /// The same by a name.
    pub(crate) fn calls_name(&mut self, host: &str, port: u16, pins: &str) {
        self.local(&format!("endpoint home/yard {host} {port} {pins}"));
    }

    /// The owner's file names no server any more.
    pub(crate) fn forget_calls(&mut self) {
        let lines = self
            .local
            .lines()
            .filter(|line| !line.starts_with("endpoint "));
        self.local = lines.map(|line| format!("{line}\n")).collect();
    }

    /// It is not the owner's file that says whose camera it is.
    pub(crate) fn forget_local_camera(&mut self) {
        self.local = self.local.replace("camera home/yard\n", "");
    }

    /// What runs the agent: stands before it on the command line, and becomes it.
    pub(crate) fn run_by(&mut self, runner: Vec<String>) {
        self.runner = runner;
    }

    /// Another dbclient than the system's.
    pub(crate) fn dbclient(&self, command: &Command) {
        let command = command.as_std();
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let words: Vec<_> = words.map(|word| format!("'{}'", word.display())).collect();
        self.program("dbclient", &format!("exec {} \"$@\"", words.join(" ")));
    }

    /// A program of the camera's system, by a line of shell.
    pub(crate) fn program(&self, name: &str, script: &str) {
        let path = self.path("bin").join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }

    fn write_key(&self) {
        self.write("etc/id", self.key.to_dropbear().unwrap().expose());
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut words = self.runner.iter().map(String::as_str).chain([PROGRAM]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.path("bin").display()));
        command.args(arguments);
        for (option, name) in [("--dir", "etc"), ("--run", "run"), ("--card", "card")] {
            command.arg(option).arg(self.path(name));
        }
        command
    }

    /// Powers the camera on.
    pub(crate) fn start(&self) -> Child {
        self.start_with(&[])
    }

    /// The same, with options.
    pub(crate) fn start_with(&self, options: &[&str]) -> Child {
        self.write_key();
        self.spawn(&[&["run"], options].concat())
    }

    /// As the supervisor that init scripts start.
    pub(crate) fn start_daemon(&self) -> Child {
        self.write_key();
        self.spawn(&["daemon"])
    }

    pub(crate) fn start_without_key(&self) -> Child {
        self.spawn(&["run"])
    }

    fn spawn(&self, arguments: &[&str]) -> Child {
        self.write("etc/local.conf", self.local.as_bytes());
        Child::spawn("moorline-agent", self.command(arguments)).unwrap()
    }

    /// Runs `moorline-agent` with a word: its exit code and its output.
    pub(crate) async fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let running = self.command(arguments).output();
        let output = tokio::time::timeout(Duration::from_secs(60), running)
            .await
            .unwrap()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.code(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    }

    /// Waits until a file of the camera contains something.
    pub(crate) async fn file_says(&self, name: &str, what: &str) -> String {
        let path = self.path(name);
        eventually(&format!("{name}: {what}"), SOON, async || {
            let text = std::fs::read_to_string(&path).ok()?;
            text.contains(what).then_some(text)
        })
        .await
    }
}

/// Seconds of CPU of all children of a process that have ended.
pub(crate) fn cpu_of_ended_children(pid: u32) -> f64 {
    let stat = read(Path::new(&format!("/proc/{pid}/stat")));
    let (_, after) = stat.rsplit_once(')').unwrap();
    // proc(5): cutime and cstime are the fields 16 and 17, `after` begins with field 3; in ticks of 10 ms.
    let ticks = after.split_ascii_whitespace().skip(13).take(2);
    ticks
        .map(|ticks| ticks.parse::<f64>().unwrap())
        .sum::<f64>()
        / 100.0
}

/// A number of `/proc/PID/status`.
pub(crate) fn status(pid: u32, key: &str) -> u64 {
    let status = read(Path::new(&format!("/proc/{pid}/status")));
    let value = status.lines().find_map(|line| line.strip_prefix(key));
    let value = value
        .unwrap_or_else(|| panic!("no {key}"))
        .trim_start_matches(':');
    value
        .split_ascii_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

/// The running children of a process, by name.
pub(crate) fn children(pid: u32, name: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(child) = entry.file_name().to_string_lossy().parse::<i32>() else {
            continue;
        };
        let stat = read(&entry.path().join("stat"));
        // `pid (name) state parent …`
        let Some((before, after)) = stat.rsplit_once(')') else {
            continue;
        };
        let parent = after.split_ascii_whitespace().nth(1);
        let line = read(&entry.path().join("cmdline"));
        // What has ended has no command line any more, and a dbclient that is asked for its version calls nobody.
        let calls = !line.is_empty() && !line.contains("\0-V\0");
        if calls && parent == Some(&pid.to_string()) && before.ends_with(&format!("({name}")) {
            found.push(child);
        }
    }
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
