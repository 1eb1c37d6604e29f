//! The agent's init script with busybox's `start-stop-daemon` and the agent itself, its places being in a directory.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use moorline_testkit::child::Signal;
use moorline_testkit::tempfile::TempDir;
use moorline_testkit::{eventually, peer, temp_dir};
use rustix::process::{Pid, kill_process};

use crate::{AGENT, firmware, text, write};

const SOON: Duration = Duration::from_secs(30);

struct Camera {
    home: TempDir,
}

impl Camera {
    fn new() -> Self {
        let camera = Camera {
            home: temp_dir().unwrap(),
        };
        let here = |name: &str| camera.path(name).display().to_string();
        for directory in ["bin", "usr-bin", "var-run"] {
            std::fs::create_dir(camera.path(directory)).unwrap();
        }
        let busybox = peer::BUSYBOX.find().unwrap().path;
        for applet in [
            "sh",
            "cat",
            "grep",
            "rm",
            "sed",
            "sleep",
            "start-stop-daemon",
        ] {
            symlink(&busybox, camera.path("bin").join(applet)).unwrap();
        }
        for program in [peer::DBCLIENT, peer::DROPBEARKEY] {
            let found = program.find().unwrap();
            symlink(found.path, camera.path("bin").join(program.name)).unwrap();
        }
        std::fs::copy(AGENT, camera.path("usr-bin/moorline-agent")).unwrap();
        let script = firmware("package/moorline-agent/S60moorline-agent");
        let script = std::fs::read_to_string(script).unwrap();
        let script = script
            .replace("/usr/bin/", &here("usr-bin/"))
            .replace("/var/run/", &here("var-run/"))
            .replace("/etc/default/", &here("default/"))
            .replacen("#!/bin/sh", &format!("#!{}", here("bin/sh")), 1);
        write(&camera.path("S60moorline-agent"), &script, 0o755);
        let arguments = format!(
            "--dir {} --run {} --card {}",
            here("etc"),
            here("run"),
            here("card")
        );
        let default = format!("MOORLINE_AGENT_ARGS=\"{arguments}\"\n");
        write(&camera.path("default/moorline-agent"), &default, 0o644);
        write(&camera.path("etc/local.conf"), "relay-port 0\n", 0o600);
        camera
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn init(&self, verb: &str) -> Output {
        let mut command = Command::new(self.path("S60moorline-agent"));
        let command = command.arg(verb).env_clear();
        command.env("PATH", self.path("bin")).output().unwrap()
    }

    /// The agent that runs, which writes its pid.
    async fn agent(&self, other_than: Option<u32>) -> u32 {
        eventually("the agent runs", SOON, async || {
            let state = std::fs::read_to_string(self.path("run/state")).ok()?;
            let pid = state.lines().find_map(|line| line.strip_prefix("pid "))?;
            let pid = pid.trim().parse().ok()?;
            (runs(pid) && Some(pid) != other_than).then_some(pid)
        })
        .await
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        self.init("stop");
    }
}

fn runs(pid: u32) -> bool {
    let status = std::fs::read_to_string(Path::new(&format!("/proc/{pid}/status")));
    status.is_ok_and(|status| !status.contains("State:\tZ"))
}

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_one_agent_restarts_it_and_ends_it() {
    let camera = Camera::new();
    let started = camera.init("start");
    assert!(started.status.success(), "{}", text(&started));
    let first = camera.agent(None).await;
    let again = camera.init("start");
    assert!(!again.status.success(), "{}", text(&again));
    assert!(runs(first));

    let restarted = camera.init("restart");
    assert!(restarted.status.success(), "{}", text(&restarted));
    assert!(!runs(first), "the one before still runs");
    let second = camera.agent(Some(first)).await;

    let stopped = camera.init("stop");
    assert!(stopped.status.success(), "{}", text(&stopped));
    assert!(!runs(second));
    assert!(!camera.path("var-run/moorline-agent.pid").exists());
    assert!(!camera.init("stop").status.success(), "nothing runs");
}

/// It hears no word, and would keep the directory and the relay's port from the next one. Killed with its supervisor, nobody starts it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_agent_is_killed_and_the_next_one_has_its_place() {
    let camera = Camera::new();
    assert!(camera.init("start").status.success());
    let stuck = camera.agent(None).await;
    let pid = Pid::from_raw(stuck.try_into().unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let restarted = camera.init("restart");
    assert!(restarted.status.success(), "{}", text(&restarted));
    eventually("the stuck one is gone", SOON, async || {
        (!runs(stuck)).then_some(())
    })
    .await;
    let next = camera.agent(Some(stuck)).await;
    let stopped = camera.init("stop");
    assert!(stopped.status.success(), "{}", text(&stopped));
    assert!(!runs(next));
}
