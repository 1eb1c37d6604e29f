//! What lies on the SD card of Xiaomi-Dafang-Hacks, run by busybox with the card in a directory.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use moorline_testkit::tempfile::TempDir;
use moorline_testkit::{eventually, peer, temp_dir};

use crate::{AGENT, firmware, mode, text, write};

const SOON: Duration = Duration::from_secs(30);

/// The card, and the camera's memory.
struct Card {
    home: TempDir,
}

impl Card {
    fn new() -> Self {
        let card = Card {
            home: temp_dir().unwrap(),
        };
        let busybox = peer::BUSYBOX.find().unwrap().path;
        std::fs::create_dir_all(card.path("card/bin")).unwrap();
        std::fs::create_dir(card.path("tmp")).unwrap();
        symlink(&busybox, card.path("card/bin/busybox")).unwrap();
        // Theirs is one program with a name for each of its parts.
        let multi = "#!/bin/sh\nexec \"/usr/bin/${0##*/}\" \"$@\"\n";
        write(&card.path("card/bin/dropbearmulti"), multi, 0o755);
        for name in ["config/autostart/moorline.sh", "moorline/agent"] {
            let path = firmware("dafang").join(name);
            assert_eq!(mode(&path), 0o755, "{name}: run.sh starts what can be run");
            let script = std::fs::read_to_string(path).unwrap();
            // This directory lies in /tmp itself, so that comes first.
            let script = script
                .replace("/tmp/", &format!("{}/", card.place("tmp")))
                .replace("/system/sdcard", &card.place("card"))
                .replacen("#!/bin/sh", &format!("#!{} sh", busybox.display()), 1);
            write(&card.path("card").join(name), &script, 0o755);
        }
        std::fs::copy(AGENT, card.path("card/moorline/moorline-agent")).unwrap();
        write(
            &card.path("card/moorline/state/local.conf"),
            "relay-port 0\n",
            0o600,
        );
        card
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn place(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// `moorline/agent` as somebody types it on the camera, without a PATH that would help.
    fn agent(&self, words: &[&str]) -> Output {
        let mut command = Command::new(self.path("card/moorline/agent"));
        let command = command.args(words).env_clear().env("PATH", "/bin");
        command.output().unwrap()
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        self.agent(&["stop"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_starts_at_boot_and_its_commands_find_it() {
    let card = Card::new();
    let idle = card.agent(&["stop"]);
    assert!(text(&idle).contains("no agent runs"), "{}", text(&idle));

    let mut boot = Command::new(card.path("card/config/autostart/moorline.sh"));
    assert!(
        boot.env("PATH", "/bin:/usr/bin")
            .status()
            .unwrap()
            .success()
    );
    let state = card.path("tmp/moorline/state");
    eventually("the agent runs", SOON, async || {
        state.exists().then_some(())
    })
    .await;
    eventually("it has made its key", SOON, async || {
        card.path("card/moorline/state/id").exists().then_some(())
    })
    .await;

    let checked = card.agent(&["check", "--report"]);
    assert_eq!(checked.status.code(), Some(1), "{}", text(&checked));
    // It has no server; the agent that runs is found, and so is the client that it will need.
    let report = text(&checked);
    for missed in ["does not run", "dbclient -\n"] {
        assert!(!report.contains(missed), "{report}");
    }

    let stopped = card.agent(&["stop"]);
    assert!(stopped.status.success(), "{}", text(&stopped));
    eventually("the agent has ended", SOON, async || {
        let again = card.agent(&["stop"]);
        text(&again).contains("no agent runs").then_some(())
    })
    .await;
}
