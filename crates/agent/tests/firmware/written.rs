//! The commands of the guide and of the READMEs, as they are written: each is one that its program knows, and those of the pages for a camera's
//! firmware are typed, in order, at a desk with a camera behind an SSH server.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use moorline_testkit::tempfile::TempDir;
use moorline_testkit::{peer, skip, temp_dir};

use crate::{AGENT, firmware, succeeds, text, write};

fn repository() -> PathBuf {
    firmware("..").canonicalize().unwrap()
}

/// Every page for people: their paths in the repository, and their texts.
fn pages() -> Vec<(String, String)> {
    let top = repository();
    let mut found = vec![top.join("README.md")];
    let mut open = vec![top.join("docs"), top.join("firmware")];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    let named = |path: PathBuf| {
        let name = path.strip_prefix(&top).unwrap().display().to_string();
        (name, std::fs::read_to_string(path).unwrap())
    };
    let mut pages: Vec<_> = found.into_iter().map(named).collect();
    pages.sort();
    pages
}

/// The lines of a page's shell blocks, without what a `#` says of them.
fn typed(page: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for block in page.split("```").skip(1).step_by(2) {
        if let Some(block) = block.strip_prefix("sh\n") {
            let bare = block.lines().map(|line| line.split(" #").next().unwrap());
            lines.extend(bare.map(|line| line.trim().to_owned()));
        }
    }
    lines.retain(|line| !line.is_empty());
    lines
}

/// The same, and what stands between backticks in its text.
fn commands(page: &str) -> Vec<String> {
    let mut found = typed(page);
    for text in page.split("```").step_by(2) {
        found.extend(text.split('`').skip(1).step_by(2).map(str::to_owned));
    }
    found
}

/// The words behind a program's name, when a command calls it.
fn words<'a>(command: &'a str, program: &str) -> Option<Vec<&'a str>> {
    let there = command
        .strip_prefix("ssh root@CAMERA ")
        .unwrap_or(command)
        .trim_matches('\'');
    let words = there.strip_prefix(program)?.strip_prefix(' ')?;
    Some(words.split_whitespace().collect())
}

#[test]
fn every_command_that_is_written_is_one_that_its_program_knows() {
    let install = firmware("install").display().to_string();
    let overlay = firmware("overlay").display().to_string();
    let programs = [
        ("moorline-agent", AGENT),
        ("/system/sdcard/moorline/agent", AGENT),
        ("firmware/install", &install),
        ("firmware/overlay", &overlay),
    ];
    let mut tried = [0; 4];
    for (page, content) in pages() {
        for command in commands(&content) {
            for (nth, (name, program)) in programs.iter().enumerate() {
                let Some(words) = words(&command, name) else {
                    continue;
                };
                tried[nth] += 1;
                // Behind all else: it is reached when all else was understood, and nothing is done.
                let output = Command::new(program).args(words).arg("--help").output();
                let output = output.unwrap();
                assert!(
                    output.status.success(),
                    "{page}: {command}: {}",
                    text(&output)
                );
            }
        }
    }
    assert!(
        tried.iter().all(|tried| *tried > 0),
        "not written any more: {tried:?}"
    );
}

/// What a reader has before them: the repository, the files that the page asks for, and a camera of that family. Its shell, its programs and its root
/// are its own.
struct Desk {
    home: TempDir,
}

impl Desk {
    /// `None` when this machine lends no root directory; then the test was skipped.
    fn new(family: &[(&str, &str)]) -> Option<Self> {
        let able = Command::new("unshare")
            .args(["-m", "mount", "--bind", "/proc", "/proc"])
            .output();
        let root = rustix::process::geteuid().is_root();
        if !root || !able.is_ok_and(|output| output.status.success()) {
            skip("a camera's root directory needs root and mount namespaces here");
            return None;
        }
        let desk = Desk {
            home: temp_dir().unwrap(),
        };
        for directory in [
            "CARD",
            "camera/dev",
            "camera/tmp",
            "camera/proc",
            "camera/var/run",
            "camera/etc/init.d",
        ] {
            std::fs::create_dir_all(desk.path(directory)).unwrap();
        }
        symlink(firmware(""), desk.path("firmware")).unwrap();
        write(&desk.path("moorline-agent"), "#!/bin/sh\nexit 0\n", 0o755);
        write(&desk.path("enroll"), "host cctv.example.com\n", 0o600);
        write(&desk.path("local.conf"), "login root:secret\n", 0o600);
        desk.programs();
        for (name, content) in family {
            write(&desk.path("camera").join(name), content, 0o644);
        }
        desk.server();
        Some(desk)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// busybox with what it is linked with, and a dbclient that is there.
    fn programs(&self) {
        let busybox = peer::BUSYBOX.find().unwrap().path;
        let linked = succeeds(Command::new("ldd").arg(&busybox));
        let libraries = linked
            .split_whitespace()
            .filter(|word| word.starts_with('/'));
        for file in libraries.map(Path::new) {
            let place = self.path("camera").join(file.strip_prefix("/").unwrap());
            std::fs::create_dir_all(place.parent().unwrap()).unwrap();
            std::fs::copy(file, place).unwrap();
        }
        std::fs::create_dir_all(self.path("camera/bin")).unwrap();
        std::fs::copy(&busybox, self.path("camera/bin/busybox")).unwrap();
        let list = succeeds(Command::new(&busybox).arg("--list"));
        for name in list.lines().filter(|name| *name != "busybox") {
            symlink("busybox", self.path("camera/bin").join(name)).unwrap();
        }
        write(&self.path("camera/usr/bin/dbclient"), "#!/bin/sh\n", 0o755);
        write(&self.path("camera/dev/null"), "", 0o666);
    }

    /// sshd for each connection, whose every command runs in the camera's root, and an ssh that finds it under whatever name.
    fn server(&self) {
        let at = |name: &str| self.path(name).display().to_string();
        let keygen = peer::SSH_KEYGEN.find().unwrap().path;
        for key in ["client", "host"] {
            let kind = ["-q", "-t", "ed25519", "-N", "", "-f"];
            succeeds(Command::new(&keygen).args(kind).arg(at(key)));
        }
        let _ = std::fs::create_dir_all("/run/sshd");
        let inside = format!(
            "exec unshare -m sh -c 'mount --bind /proc {0}/proc && \
             exec chroot {0} /bin/env -i PATH=/bin:/usr/bin /bin/sh -c \"$SSH_ORIGINAL_COMMAND\"'",
            at("camera")
        );
        let sshd_config = format!(
            "HostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nPidFile none\nForceCommand {inside}\n",
            at("host"),
            at("client.pub"),
        );
        write(&self.path("sshd_config"), &sshd_config, 0o600);
        let sshd = peer::SSHD.find().unwrap().path;
        let ssh_config = format!(
            "Host *\n ProxyCommand {} -i -f {}\n IdentityFile {}\n IdentitiesOnly yes\n BatchMode yes\n StrictHostKeyChecking no\n UserKnownHostsFile /dev/null\n LogLevel ERROR\n",
            sshd.display(),
            at("sshd_config"),
            at("client"),
        );
        write(&self.path("ssh_config"), &ssh_config, 0o600);
        let ssh = peer::SSH.find().unwrap().path;
        let here = format!(
            "#!/bin/sh\nexec {} -F {} \"$@\"\n",
            ssh.display(),
            at("ssh_config")
        );
        write(&self.path("bin/ssh"), &here, 0o755);
    }

    fn types(&self, line: &str) -> Output {
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{path}", self.path("bin").display());
        let mut shell = Command::new("sh");
        let shell = shell.args(["-c", line]).current_dir(self.home.path());
        shell.env("PATH", path).output().unwrap()
    }
}

/// Ends what still runs in the camera.
impl Drop for Desk {
    fn drop(&mut self) {
        let camera = self.path("camera");
        for process in std::fs::read_dir("/proc").unwrap().flatten() {
            let pid = process
                .file_name()
                .to_str()
                .and_then(|pid| pid.parse().ok());
            let root = std::fs::read_link(process.path().join("root"));
            if root.is_ok_and(|root| root == camera)
                && let Some(pid) = pid.and_then(rustix::process::Pid::from_raw)
            {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

/// Types what a page has its reader type on their own machine, what is undone last.
fn each_command_does_what_the_page_says(page: &str, family: &[(&str, &str)]) -> Option<Desk> {
    let content = std::fs::read_to_string(repository().join("docs/guide").join(page)).unwrap();
    let desk = Desk::new(family)?;
    let own = |line: &String| {
        let programs = ["firmware/", "ssh ", "cp ", "cat "];
        programs.iter().any(|program| line.starts_with(program))
    };
    let lines: Vec<String> = typed(&content).into_iter().filter(own).collect();
    assert!(lines.len() > 1, "{page}: {lines:?}");
    let (last, first): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line.contains("--undo"));
    for line in first.into_iter().chain(last) {
        let output = desk.types(line);
        assert!(output.status.success(), "{page}: {line}: {}", text(&output));
    }
    Some(desk)
}

#[test]
fn each_command_of_the_page_for_thingino_does_what_it_says() {
    let family = [
        ("etc/thingino.json", "{}"),
        ("etc/prudynt.json", "{}"),
        ("etc/cfg-backup.list", "/etc/shadow\n"),
    ];
    let Some(desk) = each_command_does_what_the_page_says("camera-thingino.md", &family) else {
        return;
    };
    assert!(
        desk.path("THINGINO/user/common/overlay/usr/bin/moorline-agent")
            .exists()
    );
    let fragment = std::fs::read_to_string(desk.path("THINGINO/user/common/local.fragment"));
    assert!(fragment.unwrap().contains("BR2_PACKAGE_DROPBEAR_CLIENT=y"));
    assert!(
        !desk.path("camera/usr/bin/moorline-agent").exists(),
        "undone"
    );
}

#[test]
fn each_command_of_the_page_for_openipc_does_what_it_says() {
    let family = [("etc/majestic.yaml", "video0:\n")];
    let Some(desk) = each_command_does_what_the_page_says("camera-openipc.md", &family) else {
        return;
    };
    for overlay in ["CARD/autoconfig", "OPENIPC/general/overlay"] {
        let init = desk.path(overlay).join("etc/init.d/S60moorline-agent");
        assert!(init.exists(), "{overlay}");
    }
    let login = std::fs::read_to_string(desk.path("CARD/autoconfig/etc/moorline/local.conf"));
    assert_eq!(login.unwrap(), "login root:secret\n");
    assert!(!desk.path("camera/usr/bin/moorline-sh").exists(), "undone");
}

#[test]
fn each_command_of_the_page_for_dafang_does_what_it_says() {
    let Some(desk) = each_command_does_what_the_page_says("camera-dafang.md", &[]) else {
        return;
    };
    for name in [
        "config/autostart/moorline.sh",
        "moorline/agent",
        "moorline/moorline-agent",
        "moorline/enroll",
    ] {
        assert!(desk.path("CARD").join(name).exists(), "{name}");
    }
}

#[test]
fn each_command_of_the_guide_to_the_camera_does_what_it_says() {
    let content = std::fs::read_to_string(repository().join("docs/guide/camera.md")).unwrap();
    let Some(desk) = Desk::new(&[]) else {
        return;
    };
    let install = |line: &String| line.starts_with("firmware/install");
    for line in typed(&content).into_iter().filter(install) {
        let output = desk.types(&line);
        assert!(output.status.success(), "{line}: {}", text(&output));
    }
}
