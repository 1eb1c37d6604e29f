//! `firmware/install` against real SSH servers in a directory.

use std::path::PathBuf;

use moorline_testkit::peer;

use crate::camera::{Camera, Ssh};
use crate::{firmware, mode, text, tree, write};

fn a_camera_is_installed_tuned_and_put_back(ssh: Ssh) {
    let Some(camera) = Camera::new(ssh) else {
        return;
    };
    let before = tree(&camera.file(""));
    let enroll = camera.path("enroll");
    write(&enroll, "host cctv.example.com\n", 0o644);
    let signers = camera.path("release-keys");
    write(&signers, "ed25519 AAAA\n", 0o600);
    let agent = camera.path("agent");
    // A small one: what is tested is the way, and the server's shell may not run this machine's agent.
    write(&agent, "#!/bin/sh\nexit 0\n", 0o755);
    let options = [
        "--agent",
        agent.to_str().unwrap(),
        "--enroll",
        enroll.to_str().unwrap(),
        "--release-keys",
        signers.to_str().unwrap(),
    ];

    let dry = camera.install(&[&["--dry-run"], &options[..]].concat());
    assert!(dry.status.success(), "{}", text(&dry));
    assert!(
        text(&dry).contains("would write") && text(&dry).contains("nothing was done"),
        "{}",
        text(&dry)
    );
    assert_eq!(
        tree(&camera.file("")),
        before,
        "a dry run changed something"
    );

    let done = camera.install(&options);
    assert!(done.status.success(), "{}", text(&done));
    assert_eq!(
        std::fs::read(camera.file("usr/bin/moorline-agent")).unwrap(),
        std::fs::read(&agent).unwrap(),
        "{}",
        text(&done)
    );
    assert_eq!(mode(&camera.file("usr/bin/moorline-agent")), 0o755);
    assert_eq!(mode(&camera.file("etc/moorline/enroll")), 0o600);
    let signers = std::fs::read_to_string(camera.file("etc/moorline/release-keys"));
    assert_eq!(signers.unwrap(), "ed25519 AAAA\n");
    assert_eq!(mode(&camera.file("etc/moorline")), 0o700);
    assert_eq!(
        std::fs::read(camera.file("etc/init.d/S60moorline-agent")).unwrap(),
        std::fs::read(firmware("package/moorline-agent/S60moorline-agent")).unwrap()
    );
    write(&camera.file("etc/moorline/id"), "the camera's key", 0o600);
    // What the agent leaves there: an upgrade of its own, what failed, other keys.
    let its_own = [
        "moorline-agent",
        "moorline-agent.sha512",
        "agent.conf",
        "agent.bad",
        "agent.tries",
        "id.old",
        "id.enrolled",
        // And what its owner wrote for the shell client.
        "sh.conf",
        "known_hosts",
    ];
    for name in its_own {
        write(
            &camera.file("etc/moorline").join(name),
            "of the agent",
            0o600,
        );
    }
    let again = camera.install(&options);
    assert!(again.status.success(), "{}", text(&again));
    assert!(
        !camera.file("etc/moorline/moorline-agent").exists(),
        "an upgrade would overrule what its owner installs"
    );

    let installed = tree(&camera.file(""));
    let dry = camera.install(&["--undo", "--dry-run"]);
    assert!(dry.status.success(), "{}", text(&dry));
    let said = text(&dry);
    assert!(
        said.contains("would run: rm -f") && said.contains("nothing was done"),
        "{said}"
    );
    assert!(!said.contains("removed;"), "{said}");
    assert_eq!(tree(&camera.file("")), installed);

    let undone = camera.install(&["--undo"]);
    assert!(undone.status.success(), "{}", text(&undone));
    assert!(
        text(&undone).contains("removed; the camera's key stays"),
        "{}",
        text(&undone)
    );
    let left: Vec<PathBuf> = tree(&camera.file(""))
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    assert_eq!(
        left,
        [
            camera.file("etc/majestic.yaml"),
            camera.file("etc/moorline/id")
        ]
    );
}

#[test]
fn a_camera_with_openssh_is_installed_and_put_back() {
    a_camera_is_installed_tuned_and_put_back(Ssh::OpenSsh);
}

#[test]
fn a_camera_with_dropbear_is_installed_and_put_back() {
    a_camera_is_installed_tuned_and_put_back(Ssh::Dropbear);
}

#[test]
fn what_is_wrong_is_said_before_anything_is_done() {
    let Some(camera) = Camera::new(Ssh::OpenSsh) else {
        return;
    };
    let before = tree(&camera.file(""));
    for (options, told) in [
        (
            &["--agent", "/nonexistent"][..],
            "/nonexistent: cannot be read",
        ),
        (&["--shout"], "--shout: unknown"),
        (&["--root", "/x; reboot"], "--root"),
        (&["--force"], "--force goes with --undo"),
    ] {
        let output = camera.install(options);
        assert!(
            !output.status.success() && text(&output).contains(told),
            "{}",
            text(&output)
        );
    }
    assert_eq!(tree(&camera.file("")), before);
}

/// A program that a camera can run, of this many bytes.
fn program(camera: &Camera, bytes: usize) -> PathBuf {
    let path = camera.path("agent");
    let head = "#!/bin/sh\nexit 0\n";
    write(
        &path,
        &format!("{head}{}", "#".repeat(bytes - head.len())),
        0o755,
    );
    path
}

/// S33.
#[test]
fn a_cameras_words_do_not_reach_the_terminal_raw() {
    let Some(camera) = Camera::new(Ssh::OpenSsh) else {
        return;
    };
    // The escape itself, and the one that echo would make.
    camera.program("uname", r"printf 'mips\033[2J\\033[31m\302\233\n'");
    camera.program(
        "mkdir",
        r#"printf '\033]0;mine\007\n' >&2; exec /bin/mkdir "$@""#,
    );
    let agent = program(&camera, 1000);
    let done = camera.install(&["--agent", agent.to_str().unwrap()]);
    let said = text(&done);
    assert!(done.status.success(), "{said}");
    assert!(said.contains(": mips[2J033[31m openipc"), "{said}");
    assert!(said.contains("]0;mine"), "{said}");
    let obeyed = said.chars().find(|one| one.is_control() && *one != '\n');
    assert_eq!(obeyed, None, "{said:?}");
}

#[test]
fn options_count_behind_the_camera_too() {
    let Some(camera) = Camera::new(Ssh::OpenSsh) else {
        return;
    };
    let agent = program(&camera, 1000);
    let behind = ["--agent", agent.to_str().unwrap()];
    let done = camera.installer(&[], &behind).output().unwrap();
    assert!(done.status.success(), "{}", text(&done));
    assert!(camera.file("usr/bin/moorline-agent").exists());
    let output = camera.installer(&[], &["--shout"]).output().unwrap();
    assert!(
        text(&output).contains("--shout: unknown"),
        "{}",
        text(&output)
    );
}

#[test]
fn a_password_is_asked_for_once() {
    let Some(camera) = Camera::new(Ssh::OpenSsh) else {
        return;
    };
    let agent = program(&camera, 1000);
    let done = camera.install(&["--agent", agent.to_str().unwrap()]);
    assert!(done.status.success(), "{}", text(&done));
    assert_eq!(camera.connections(), 1);
}

#[test]
fn half_a_program_does_not_take_the_place_of_a_whole_one() {
    let Some(camera) = Camera::new(Ssh::OpenSsh) else {
        return;
    };
    let old = "#!/bin/sh\n# the one that is there\n";
    write(&camera.file("usr/bin/moorline-agent"), old, 0o755);
    // The connection breaks in the middle: the camera sees the end of the file.
    let ssh = peer::SSH.find().unwrap().path;
    let cut = format!(
        "#!/bin/sh\ncase $* in *moorline-agent.new*) head -c 500 | {0} \"$@\" ;; *) exec {0} \"$@\" ;; esac\n",
        ssh.display()
    );
    write(&camera.path("bin/ssh"), &cut, 0o755);
    let agent = program(&camera, 1000);
    let mut installer = camera.installer(&["--agent", agent.to_str().unwrap()], &[]);
    let path = std::env::var("PATH").unwrap_or_default();
    installer.env("PATH", format!("{}:{path}", camera.path("bin").display()));
    let broken = installer.output().unwrap();
    assert!(
        !broken.status.success() && text(&broken).contains("it did not come whole"),
        "{}",
        text(&broken)
    );
    let left = std::fs::read_to_string(camera.file("usr/bin/moorline-agent")).unwrap();
    assert_eq!(left, old);
    assert!(!camera.file("usr/bin/moorline-agent.new").exists());
    assert!(!camera.file("etc/init.d/S60moorline-agent").exists());
}

#[test]
fn a_program_for_another_processor_is_told_and_not_installed() {
    let Some(camera) = Camera::new(Ssh::OpenSsh) else {
        return;
    };
    let agent = camera.path("agent");
    // What the kernel does not know.
    write(&agent, "\x7fELF\x01\x02\x01\n", 0o755);
    let done = camera.install(&["--agent", agent.to_str().unwrap()]);
    assert!(
        !done.status.success() && text(&done).contains("for another processor"),
        "{}",
        text(&done)
    );
    assert!(!camera.file("usr/bin/moorline-agent").exists());
    assert!(!camera.file("usr/bin/moorline-agent.new").exists());
}

#[test]
fn a_camera_that_is_enrolled_gets_no_token_that_it_would_not_use() {
    let Some(camera) = Camera::new(Ssh::OpenSsh) else {
        return;
    };
    let conf = camera.file("etc/moorline/agent.conf");
    write(&conf, "CONFIG watchdog on\nENROLLED home/yard\n", 0o600);
    let enroll = camera.path("enroll");
    write(&enroll, "host cctv.example.com\n", 0o600);
    let agent = program(&camera, 1000);
    let agent = ["--agent", agent.to_str().unwrap()];
    let options = [&agent[..], &["--enroll", enroll.to_str().unwrap()]].concat();
    let before = tree(&camera.file(""));
    for dry in [&["--dry-run"][..], &[]] {
        let refused = camera.install(&[dry, &options[..]].concat());
        assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
        assert!(
            text(&refused).contains("moorline-agent reset"),
            "{}",
            text(&refused)
        );
        assert_eq!(tree(&camera.file("")), before);
    }
    // A newer agent alone is welcome, and after a reset so is the file.
    let newer = camera.install(&agent);
    assert!(newer.status.success(), "{}", text(&newer));
    std::fs::remove_file(conf).unwrap();
    let anew = camera.install(&options);
    assert!(anew.status.success(), "{}", text(&anew));
    assert!(camera.file("etc/moorline/enroll").exists());
}

#[test]
fn a_token_is_brought_only_where_an_agent_would_use_it() {
    let Some(camera) = Camera::new(Ssh::OpenSsh) else {
        return;
    };
    let enroll = camera.path("enroll");
    write(&enroll, "host cctv.example.com\n", 0o600);
    let enroll = ["--enroll", enroll.to_str().unwrap()];
    let before = tree(&camera.file(""));
    let shell = [&["--sh"], &enroll[..]].concat();
    for (options, code, told) in [
        (&shell[..], 2, "moorline camera add"),
        (&enroll[..], 1, "has no agent"),
    ] {
        let refused = camera.install(options);
        assert_eq!(refused.status.code(), Some(code), "{}", text(&refused));
        assert!(text(&refused).contains(told), "{}", text(&refused));
        assert_eq!(tree(&camera.file("")), before);
    }
    let shell = camera.install(&["--sh"]);
    assert!(shell.status.success(), "{}", text(&shell));
    assert!(camera.file("usr/bin/moorline-sh").exists());
    // One that is there already, by an image perhaps.
    write(&camera.file("usr/bin/moorline-agent"), "#!/bin/sh\n", 0o755);
    let brought = camera.install(&enroll);
    assert!(brought.status.success(), "{}", text(&brought));
    assert!(camera.file("etc/moorline/enroll").exists());
}

#[test]
fn room_is_looked_for_where_the_files_go() {
    let Some(camera) = Camera::new(Ssh::OpenSsh) else {
        return;
    };
    // A card that is nearly full, in a camera that has room.
    let etc = camera.file("etc").display().to_string();
    let df = format!(
        "echo 'Filesystem 1K-blocks Used Available Use% Mounted on'\n\
         case $2 in {etc}) echo '/dev/mmcblk0p1 1000 990 10 99% /mnt' ;; *) echo '/dev/root 9999 999 9000 1% /' ;; esac"
    );
    camera.program("df", &df);
    let agent = program(&camera, 1000);
    let full = camera.install(&["--agent", agent.to_str().unwrap()]);
    assert!(
        !full.status.success() && text(&full).contains("64 KiB are needed, 10 are free"),
        "{}",
        text(&full)
    );
    assert!(!camera.file("usr/bin/moorline-agent").exists());
}

#[test]
fn a_thingino_without_prudynt_is_installed_all_the_same_and_tells_that_it_is_not_tuned() {
    let Some(camera) = Camera::new(Ssh::OpenSsh) else {
        return;
    };
    write(&camera.file("etc/thingino.json"), "{}", 0o644);
    std::fs::remove_file(camera.file("etc/majestic.yaml")).unwrap();
    let agent = camera.path("agent");
    write(&agent, "#!/bin/sh\nexit 0\n", 0o755);
    let done = camera.install(&["--agent", agent.to_str().unwrap(), "--tune"]);
    assert_eq!(done.status.code(), Some(1), "{}", text(&done));
    assert!(text(&done).contains("has no prudynt"), "{}", text(&done));
    assert!(camera.file("usr/bin/moorline-agent").exists());
    assert!(camera.file("etc/init.d/S60moorline-agent").exists());
}

#[test]
fn thingino_s_streamer_is_tuned_by_its_own_tool_and_put_back() {
    let Some(camera) = Camera::new(Ssh::OpenSsh) else {
        return;
    };
    write(&camera.file("etc/thingino.json"), "{}", 0o644);
    std::fs::remove_file(camera.file("etc/majestic.yaml")).unwrap();
    let live = camera.file("etc/prudynt.json");
    write(&live, "{}\n", 0o644);
    camera.program("jct", "[ \"$2\" = set ] && echo \"$3 $4\" >>\"$1\"");
    let tuned = camera.install(&["--tune"]);
    assert!(tuned.status.success(), "{}", text(&tuned));
    assert_eq!(
        std::fs::read_to_string(&live).unwrap(),
        "{}\nstream0.gop 40\nstream0.mode CBR\nstream0.bitrate 1500\naudio.input_format PCMA\n"
    );
    let undone = camera.install(&["--undo"]);
    assert!(undone.status.success(), "{}", text(&undone));
    assert!(
        text(&undone).contains("restart prudynt for it"),
        "{}",
        text(&undone)
    );
    assert_eq!(std::fs::read_to_string(&live).unwrap(), "{}\n");
}

#[test]
fn thingino_s_backup_keeps_whose_camera_it_is_and_no_agent() {
    let Some(camera) = Camera::new(Ssh::OpenSsh) else {
        return;
    };
    let list = camera.file("etc/cfg-backup.list");
    write(&list, "/etc/shadow\n", 0o644);
    let agent = program(&camera, 1000);
    // Twice: what is named is not named again.
    for _ in 0..2 {
        let done = camera.install(&["--agent", agent.to_str().unwrap()]);
        assert!(done.status.success(), "{}", text(&done));
    }
    let kept = std::fs::read_to_string(&list).unwrap();
    let of = |name: &str| kept.lines().filter(|line| *line == name).count();
    assert_eq!(of("/etc/moorline/id"), 1, "{kept}");
    assert_eq!(of("/etc/moorline/agent.conf"), 1, "{kept}");
    assert!(
        of("/etc/moorline") + of("/etc/moorline/moorline-agent") == 0,
        "{kept}"
    );
    let undone = camera.install(&["--undo"]);
    assert!(undone.status.success(), "{}", text(&undone));
    assert_eq!(std::fs::read_to_string(&list).unwrap(), "/etc/shadow\n");
}

/// The running camera's own file, which is not below the directory that is installed into.
const RUNNING: &str = "running.yaml";
/// Who was sent a signal.
const SIGNALLED: &str = "signalled";

/// Majestic's own tool, which writes a line for each setting: into the running camera's file unless another one is named.
fn has_majestic(camera: &Camera) {
    let at = |name: &str| camera.path(name).display().to_string();
    let cli = format!(
        "file={}; if [ \"$1\" = -i ]; then file=$2; shift 2; fi; echo \"$2 $3\" >>\"$file\"",
        at(RUNNING)
    );
    camera.program("cli", &cli);
    camera.program("killall", &format!("echo \"$@\" >>{}", at(SIGNALLED)));
}

#[test]
fn tune_changes_nothing_outside_of_the_directory_that_is_named() {
    let Some(camera) = Camera::new(Ssh::OpenSsh) else {
        return;
    };
    has_majestic(&camera);
    let tuned = camera.install(&["--tune"]);
    assert!(tuned.status.success(), "{}", text(&tuned));
    let live = std::fs::read_to_string(camera.file("etc/majestic.yaml")).unwrap();
    for line in [
        ".video0.gopSize 2\n",
        ".video0.bitrate 1500\n",
        ".audio.codec alaw\n",
    ] {
        assert!(live.contains(line), "{live}");
    }
    assert!(!camera.path(RUNNING).exists(), "the running camera's file");
    assert!(
        !camera.path(SIGNALLED).exists(),
        "the running camera's streamer"
    );
}

#[test]
fn what_tune_changed_is_put_back_by_undo() {
    let Some(camera) = Camera::new(Ssh::OpenSsh) else {
        return;
    };
    let live = camera.file("etc/majestic.yaml");
    let before = std::fs::read(&live).unwrap();
    let dry = text(&camera.install(&["--tune", "--dry-run"]));
    assert!(dry.contains("cp -p ") && dry.contains("gopSize"), "{dry}");
    // Majestic's own tool is not here: it is said, and what is kept before it runs is what counts.
    let refused = camera.install(&["--tune"]);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    assert!(
        text(&refused).contains("all else is done"),
        "{}",
        text(&refused)
    );
    assert_eq!(
        std::fs::read(camera.file("etc/moorline/undo/majestic.yaml")).unwrap(),
        before
    );
    has_majestic(&camera);
    for _ in 0..2 {
        let tuned = camera.install(&["--tune"]);
        assert!(tuned.status.success(), "{}", text(&tuned));
    }
    let tuned = std::fs::read_to_string(&live).unwrap();
    assert_eq!(tuned.matches(".video0.gopSize 2\n").count(), 2, "{tuned}");
    let dry = text(&camera.install(&["--undo", "--dry-run"]));
    let would = format!("would put back: {}\n", live.display());
    assert_eq!(dry.matches(&would).count(), 1, "{dry}");
    let undone = camera.install(&["--undo"]);
    assert!(undone.status.success(), "{}", text(&undone));
    assert!(
        text(&undone).contains("restart majestic for it"),
        "{}",
        text(&undone)
    );
    assert_eq!(
        std::fs::read(&live).unwrap(),
        before,
        "the first --tune's copy counts"
    );
    assert!(!camera.file("etc/moorline/undo").exists());
}

#[test]
fn what_the_owner_changed_after_tune_is_not_taken_back_unasked() {
    let Some(camera) = Camera::new(Ssh::OpenSsh) else {
        return;
    };
    has_majestic(&camera);
    let live = camera.file("etc/majestic.yaml");
    let before = std::fs::read(&live).unwrap();
    let tuned = camera.install(&["--tune"]);
    assert!(tuned.status.success(), "{}", text(&tuned));
    write(&live, "password: a better one\n", 0o644);
    let refuses = |options: &[&str]| {
        let left = tree(&camera.file(""));
        let refused = camera.install(options);
        let told = text(&refused);
        assert_eq!(refused.status.code(), Some(1), "{told}");
        assert!(
            told.contains("etc/majestic.yaml is not what --tune left")
                && told.contains("nothing was done\nhint: --undo --force"),
            "{told}"
        );
        assert_eq!(tree(&camera.file("")), left);
    };
    refuses(&["--undo"]);
    refuses(&["--undo", "--dry-run"]);
    // A second one between the two hides nothing.
    let again = camera.install(&["--tune"]);
    assert!(again.status.success(), "{}", text(&again));
    refuses(&["--undo"]);

    let kept = camera.file("etc/moorline/undo");
    let aside = camera.path("undo");
    std::fs::rename(&kept, &aside).unwrap();
    let owner_s = std::fs::read(&live).unwrap();
    let undone = camera.install(&["--undo"]);
    assert!(undone.status.success(), "{}", text(&undone));
    assert_eq!(std::fs::read(&live).unwrap(), owner_s);
    std::fs::rename(&aside, &kept).unwrap();
    let forced = camera.install(&["--undo", "--force"]);
    assert!(forced.status.success(), "{}", text(&forced));
    assert_eq!(std::fs::read(&live).unwrap(), before);
    assert!(!kept.exists());
}

/// A camera's flash that is full in the middle of a copy.
fn fill_the_flash(camera: &Camera) {
    let half = "for place; do :; done; printf half >\"$place\"; exit 1";
    camera.program("cp", half);
}

#[test]
fn a_full_flash_keeps_what_tune_would_change_and_what_undo_would_put_back() {
    let Some(camera) = Camera::new(Ssh::OpenSsh) else {
        return;
    };
    let live = camera.file("etc/majestic.yaml");
    let kept = camera.file("etc/moorline/undo/majestic.yaml");
    let before = std::fs::read(&live).unwrap();
    fill_the_flash(&camera);
    let untuned = camera.install(&["--tune"]);
    assert!(
        !untuned.status.success() && text(&untuned).contains("could not be kept first"),
        "{}",
        text(&untuned)
    );
    assert_eq!(std::fs::read(&live).unwrap(), before);
    assert!(!kept.exists(), "half a copy counts as one");

    write(&kept, "as it was\n", 0o644);
    std::fs::copy(&live, kept.with_extension("yaml.tuned")).unwrap();
    let undone = camera.install(&["--undo"]);
    assert!(
        !undone.status.success() && text(&undone).contains("--undo again"),
        "{}",
        text(&undone)
    );
    assert_eq!(std::fs::read(&live).unwrap(), before);
    assert!(!camera.file("etc/majestic.yaml.new").exists());
    std::fs::remove_file(camera.path("programs/cp")).unwrap();
    let again = camera.install(&["--undo"]);
    assert!(again.status.success(), "{}", text(&again));
    assert_eq!(std::fs::read_to_string(&live).unwrap(), "as it was\n");
}

#[test]
fn a_copy_that_was_cut_short_is_never_put_back() {
    let Some(camera) = Camera::new(Ssh::OpenSsh) else {
        return;
    };
    let before = std::fs::read(camera.file("etc/majestic.yaml")).unwrap();
    let kept = camera.file("etc/moorline/undo");
    write(&kept.join("majestic.yaml"), "", 0o644);
    write(&kept.join("majestic.yaml.part"), "video", 0o644);
    let undone = camera.install(&["--undo"]);
    assert!(undone.status.success(), "{}", text(&undone));
    assert_eq!(
        std::fs::read(camera.file("etc/majestic.yaml")).unwrap(),
        before
    );
    assert!(!kept.exists() && !camera.file("etc/majestic.yaml.part").exists());
}
