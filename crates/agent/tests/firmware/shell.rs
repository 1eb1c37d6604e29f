//! `moorline-sh` and its init script, as busybox runs them, with a dbclient that says what a test wants.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use moorline_testkit::child::{Child, Signal};
use moorline_testkit::tempfile::TempDir;
use moorline_testkit::{eventually, peer, temp_dir};

use crate::{SHELLS, firmware, text, write};

/// A session is called within some seconds, and a script ends within a few.
const SOON: Duration = Duration::from_secs(30);

/// How long it waits for a hello, and for a PING, where a test cannot wait as long as a camera does.
const SHORT: [(&str, &str); 2] = [("sleep 20\n", "sleep 1\n"), ("sleep 45\n", "sleep 1\n")];

/// A camera's programs and files in a directory.
struct Bench {
    home: TempDir,
}

impl Bench {
    /// One whose dbclient goes on like this when it is called.
    fn new(dbclient: &str) -> Self {
        let bench = Bench {
            home: temp_dir().unwrap(),
        };
        bench.applets();
        let calls = bench.path("calls").display().to_string();
        let script = format!("#!/bin/sh\necho $$ >>{calls}\n{dbclient}\n");
        write(&bench.path("bin/dbclient"), &script, 0o755);
        write(&bench.path("pins"), "a key\n", 0o600);
        bench
    }

    /// What busybox can do stands before what this machine has.
    fn applets(&self) {
        let busybox = peer::BUSYBOX.find().unwrap().path;
        std::fs::create_dir(self.path("bin")).unwrap();
        let list = Command::new(&busybox).arg("--list").output().unwrap();
        let list = String::from_utf8(list.stdout).unwrap();
        for name in list.lines().chain(["busybox"]) {
            symlink(&busybox, self.path("bin").join(name)).unwrap();
        }
        symlink("/bin/dash", self.path("bin/dash")).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Settings as the script's head names them.
    fn settings(&self) -> String {
        format!(
            "MOORLINE_HOST=cctv.example.com\nMOORLINE_USER=home/yard\nMOORLINE_PINS={}\n",
            self.path("pins").display()
        )
    }

    fn environment<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env_clear()
            .env("PATH", self.path("bin"))
            .env("MOORLINE_CONF", self.path("sh.conf"))
            .env("MOORLINE_RUN", self.path("run"))
    }

    /// `moorline-sh` with other waits, by a shell.
    fn client(&self, shell: &[&str], shorter: &[(&str, &str)]) -> Child {
        write(&self.path("sh.conf"), &self.settings(), 0o600);
        self.client_without_settings(shell, shorter)
    }

    fn client_without_settings(&self, shell: &[&str], shorter: &[(&str, &str)]) -> Child {
        let mut script = std::fs::read_to_string(firmware("sh/moorline-sh")).unwrap();
        for (long, short) in shorter {
            assert!(script.contains(long), "{long}");
            script = script.replace(long, short);
        }
        write(&self.path("moorline-sh"), &script, 0o755);
        let (program, rest) = shell.split_first().unwrap();
        let mut command = Command::new(program);
        command.args(rest).arg(self.path("moorline-sh"));
        self.environment(&mut command);
        Child::spawn("moorline-sh", command.into()).unwrap()
    }

    /// Processes that were dbclient.
    fn calls(&self) -> Vec<u32> {
        let calls = std::fs::read_to_string(self.path("calls")).unwrap_or_default();
        calls.lines().map(|pid| pid.parse().unwrap()).collect()
    }

    async fn called(&self, times: usize) -> Vec<u32> {
        let what = format!("dbclient is called {times} times");
        eventually(&what, SOON, async || {
            let calls = self.calls();
            (calls.len() >= times).then_some(calls)
        })
        .await
    }

    /// The init script with a verb, its places being here.
    fn init(&self, verb: &str) -> Output {
        let here = |name: &str| format!("{}/{name}", self.home.path().display());
        std::fs::create_dir_all(self.path("var-run")).unwrap();
        for (file, place) in [
            ("sh/S60moorline-sh", "S60moorline-sh"),
            ("sh/moorline-sh", "usr-bin/moorline-sh"),
        ] {
            let script = std::fs::read_to_string(firmware(file)).unwrap();
            let script = script
                .replace("/usr/bin/", &here("usr-bin/"))
                .replace("/var/run/", &here("var-run/"));
            let script = script.replacen("#!/bin/sh", &format!("#!{}", here("bin/sh")), 1);
            write(&self.path(place), &script, 0o755);
        }
        let mut command = Command::new(self.path("S60moorline-sh"));
        self.environment(command.arg(verb)).output().unwrap()
    }

    fn pid(&self) -> Option<u32> {
        let pid = std::fs::read_to_string(self.path("var-run/moorline-sh.pid")).ok()?;
        pid.trim().parse().ok()
    }
}

/// Ends what an init script has put into the background.
impl Drop for Bench {
    fn drop(&mut self) {
        for pid in self.calls().into_iter().chain(self.pid()) {
            if alive(pid) {
                let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
    }
}

/// Whether it runs; one that has ended may wait for its parent.
fn alive(pid: u32) -> bool {
    let status = std::fs::read_to_string(Path::new(&format!("/proc/{pid}/status")));
    status.is_ok_and(|status| !status.contains("State:\tZ"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_behind_a_ping_is_called_again() {
    for shell in SHELLS {
        let bench = Bench::new("echo 'MOORLINE/1 both home/yard'; echo PING 1; echo PING 2");
        let client = bench.client(shell, &[]);
        bench.called(3).await;
        drop(client);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_no_answer_is_left_and_called_again() {
    // More than a pipe holds.
    let flood = "echo 'MOORLINE/1 both home/yard'; seq 20000 | sed 's/^/PING /'; exec sleep 600";
    for shell in SHELLS {
        let bench = Bench::new(flood);
        let client = bench.client(shell, &SHORT);
        let calls = bench.called(2).await;
        assert!(
            !alive(calls[0]),
            "{shell:?}: the first one was left running"
        );
        drop(client);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_hello_or_without_pings_is_left_and_called_again() {
    for said in [":", "echo 'MOORLINE/1 both home/yard'"] {
        for shell in SHELLS {
            let bench = Bench::new(&format!("{said}; exec sleep 600"));
            let client = bench.client(shell, &SHORT);
            let calls = bench.called(2).await;
            assert!(
                !alive(calls[0]),
                "{shell:?}: the first one was left running behind {said}"
            );
            drop(client);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_at_once_when_it_is_told_to_also_while_it_waits() {
    for shell in SHELLS {
        let bench = Bench::new("echo 'MOORLINE/1 both home/yard'; exec sleep 600");
        let mut waiting = bench.client_without_settings(shell, &[]);
        let said = "needs MOORLINE_HOST and MOORLINE_USER";
        waiting.wait_for_line(said, SOON).await.unwrap();
        waiting.signal(Signal::TERM);
        let ended = waiting.wait(SOON).await.unwrap();
        assert!(ended.success(), "{shell:?}: {ended}");

        let mut connected = bench.client(shell, &[]);
        let calls = bench.called(1).await;
        connected.signal(Signal::TERM);
        connected.wait(SOON).await.unwrap();
        eventually("its dbclient ends", SOON, async || {
            (!alive(calls[0])).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_od_it_waits_as_long_as_it_may_instead_of_not_at_all() {
    for shell in SHELLS {
        let bench = Bench::new("exit 1");
        std::fs::remove_file(bench.path("bin/od")).unwrap();
        let start = Instant::now();
        let client = bench.client(shell, &[]);
        // 1 s and 2 s lie between them.
        bench.called(3).await;
        assert!(
            start.elapsed() >= Duration::from_secs(3),
            "{shell:?}: it hammers"
        );
        drop(client);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_init_script_leaves_one_client_whatever_is_said() {
    let bench = Bench::new("echo 'MOORLINE/1 both home/yard'; exec sleep 600");
    // It waits for its settings: what is in a wait must be gone, too, before the next one comes.
    assert!(bench.init("start").status.success());
    let first = bench.pid().unwrap();
    let again = bench.init("start");
    assert!(!again.status.success(), "{}", text(&again));
    assert_eq!(bench.pid(), Some(first), "a second one was started");

    write(&bench.path("sh.conf"), &bench.settings(), 0o600);
    assert!(bench.init("restart").status.success());
    assert!(!alive(first), "the one before still runs");
    let second = bench.pid().unwrap();
    let calls = bench.called(1).await;
    assert!(alive(second) && alive(calls[0]));

    assert!(bench.init("reload").status.success());
    assert!(!alive(second) && !alive(calls[0]));
    let calls = bench.called(2).await;

    let stopped = bench.init("stop");
    assert!(stopped.status.success(), "{}", text(&stopped));
    assert!(!alive(calls[1]) && bench.pid().is_none());
    let idle = bench.init("stop");
    assert!(!idle.status.success(), "{}", text(&idle));

    // A pid file of an earlier boot names a stranger.
    let stranger = std::process::id().to_string();
    write(&bench.path("var-run/moorline-sh.pid"), &stranger, 0o644);
    assert!(bench.init("start").status.success());
    assert_ne!(bench.pid().unwrap().to_string(), stranger);
    bench.called(3).await;
    assert!(bench.init("stop").status.success());
}
