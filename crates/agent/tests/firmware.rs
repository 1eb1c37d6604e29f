//! `firmware/`: the installer against real SSH servers in a directory, the overlay, the size budget.
#![allow(
    clippy::disallowed_methods,
    reason = "tests may bind, write and look at the real clock"
)]

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use moorline_testkit::tempfile::TempDir;
use moorline_testkit::{peer, skip, temp_dir};

const AGENT: &str = env!("CARGO_BIN_EXE_moorline-agent");

fn firmware(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../firmware")
        .join(name)
}

fn write(path: &Path, text: &str, mode: u32) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

#[track_caller]
fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", text(&output));
    text(&output)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// Which SSH server the camera has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ssh {
    OpenSsh,
    /// What cameras have. It looks for keys in root's home, so root gets another one for it.
    Dropbear,
}

/// A camera's file system in a directory, and an SSH server in front of it, one process for each connection.
struct Camera {
    home: TempDir,
    /// Options of ssh that lead to it.
    way: Vec<String>,
}

impl Camera {
    /// `None` when this server cannot be had here; then the test was skipped.
    fn new(ssh: Ssh) -> Option<Self> {
        let home = temp_dir().unwrap();
        let at = |name: &str| home.path().join(name).display().to_string();
        let keygen = peer::SSH_KEYGEN.find().unwrap();
        for key in ["client", "host"] {
            succeeds(Command::new(&keygen.path).args([
                "-q",
                "-t",
                "ed25519",
                "-N",
                "",
                "-f",
                &at(key),
            ]));
        }
        let public = std::fs::read_to_string(at("client.pub")).unwrap();
        let way = match ssh {
            Ssh::OpenSsh => {
                let sshd = peer::SSHD.find().unwrap();
                // It refuses to start as root without this empty directory, which Debian's service makes.
                let _ = std::fs::create_dir_all("/run/sshd");
                write(&home.path().join("authorized"), &public, 0o600);
                let config = format!(
                    "HostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nPidFile none\n",
                    at("host"),
                    at("authorized")
                );
                write(&home.path().join("sshd_config"), &config, 0o600);
                let proxy = format!("{} -i -f {}", sshd.path.display(), at("sshd_config"));
                vec!["-o".to_owned(), format!("ProxyCommand={proxy}")]
            }
            Ssh::Dropbear => {
                let dropbear = peer::DROPBEAR.find().unwrap();
                let make = peer::DROPBEARKEY.find().unwrap();
                succeeds(Command::new(&make.path).args([
                    "-t",
                    "ed25519",
                    "-f",
                    &at("host.dropbear"),
                ]));
                write(
                    &home.path().join("root/.ssh/authorized_keys"),
                    &public,
                    0o600,
                );
                let inner = format!(
                    "mount --bind {} /root && exec {} -i -r {}",
                    at("root"),
                    dropbear.path.display(),
                    at("host.dropbear")
                );
                let able = Command::new("unshare")
                    .args(["-m", "sh", "-c", "mount --bind /root /root"])
                    .output();
                let is_root = rustix::process::geteuid().is_root();
                if !is_root || !able.is_ok_and(|output| output.status.success()) {
                    skip(
                        "dropbear's keys lie in root's home: this needs root and mount namespaces",
                    );
                    return None;
                }
                let inner = ["-m", "sh", "-c", &inner].map(str::to_owned);
                vec![
                    "-p".to_owned(),
                    inetd("unshare", inner.to_vec()).to_string(),
                ]
            }
        };
        let camera = Camera { home, way };
        // One of OpenIPC's.
        write(
            &camera.path("root-fs/etc/majestic.yaml"),
            "video0:\n  bitrate: 4096\n",
            0o644,
        );
        Some(camera)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path("root-fs").join(name)
    }

    fn install(&self, options: &[&str]) -> Output {
        let user = user();
        let mut command = Command::new(firmware("install"));
        command
            .arg("--root")
            .arg(self.path("root-fs"))
            .args(options);
        command.arg(format!("{user}@127.0.0.1")).args(&self.way);
        for option in [
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "IdentitiesOnly=yes",
            "BatchMode=yes",
        ] {
            command.args(["-o", option]);
        }
        command.args(["-F", "none", "-i"]).arg(self.path("client"));
        command.output().unwrap()
    }
}

/// Starts a program for each connection, as inetd does: dropbear wants a socket, and knows no port 0 that it would tell us. Gives the port.
fn inetd(program: &'static str, arguments: Vec<String>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // Ends with the test's process.
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let socket = OwnedFd::from(socket.unwrap());
            let mut server = Command::new(program);
            server
                .args(&arguments)
                .stdout(Stdio::from(socket.try_clone().unwrap()))
                .stdin(Stdio::from(socket));
            let mut server = server.stderr(Stdio::null()).spawn().unwrap();
            std::thread::spawn(move || server.wait());
        }
    });
    port
}

fn user() -> String {
    String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout)
        .unwrap()
        .trim()
        .to_owned()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// All files of a tree with their content.
fn tree(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let (mut found, mut open) = (Vec::new(), vec![root.to_path_buf()]);
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            } else {
                found.push((entry.path(), std::fs::read(entry.path()).unwrap()));
            }
        }
    }
    found.sort();
    found
}

fn a_camera_is_installed_tuned_and_put_back(ssh: Ssh) {
    let Some(camera) = Camera::new(ssh) else {
        return;
    };
    let before = tree(&camera.file(""));
    let enroll = camera.path("enroll");
    write(&enroll, "host cctv.example.com\n", 0o644);
    let agent = camera.path("agent");
    // A small one: what is tested is the way, and the server's shell may not run this machine's agent.
    write(&agent, "#!/bin/sh\nexit 0\n", 0o755);
    let options = [
        "--agent",
        agent.to_str().unwrap(),
        "--enroll",
        enroll.to_str().unwrap(),
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

    let undone = camera.install(&["--undo"]);
    assert!(undone.status.success(), "{}", text(&undone));
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
fn what_tune_changed_is_put_back_by_undo() {
    let Some(camera) = Camera::new(Ssh::OpenSsh) else {
        return;
    };
    let before = std::fs::read(camera.file("etc/majestic.yaml")).unwrap();
    let dry = text(&camera.install(&["--tune", "--dry-run"]));
    assert!(dry.contains("cp '") && dry.contains("gopSize"), "{dry}");
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
    write(&camera.file("etc/majestic.yaml"), "tuned", 0o644);
    camera.install(&["--tune"]);
    let undone = camera.install(&["--undo"]);
    assert!(undone.status.success(), "{}", text(&undone));
    assert_eq!(
        std::fs::read(camera.file("etc/majestic.yaml")).unwrap(),
        before,
        "the first --tune's copy counts"
    );
    assert!(!camera.file("etc/moorline/undo").exists());
}

#[test]
fn the_overlay_is_what_an_image_needs_with_secrets_for_root_alone() {
    let home = temp_dir().unwrap();
    let enroll = home.path().join("enroll");
    write(&enroll, "token x\n", 0o644);
    let target = home.path().join("overlay");
    succeeds(
        Command::new(firmware("overlay"))
            .args(["--agent", AGENT, "--enroll"])
            .arg(&enroll)
            .arg(&target),
    );
    assert_eq!(mode(&target.join("usr/bin/moorline-agent")), 0o755);
    assert_eq!(mode(&target.join("etc/init.d/S60moorline-agent")), 0o755);
    assert_eq!(mode(&target.join("etc/moorline")), 0o700);
    assert_eq!(mode(&target.join("etc/moorline/enroll")), 0o600);
    let refused = Command::new(firmware("overlay"))
        .args(["--agent", "/nonexistent"])
        .arg(home.path().join("none"))
        .output()
        .unwrap();
    assert!(!refused.status.success() && !home.path().join("none").exists());
}

#[test]
fn an_agent_over_its_budget_fails_the_build() {
    let home = temp_dir().unwrap();
    let agent = home.path().join("usr/bin/moorline-agent");
    let check = || {
        Command::new(firmware("board/moorline/post-build.sh"))
            .arg(home.path())
            .output()
            .unwrap()
    };
    write(&agent, &"x".repeat(412 * 1024), 0o755);
    assert!(check().status.success());
    write(&agent, &"x".repeat(412 * 1024 + 1), 0o755);
    assert!(text(&check()).contains("more than 412 KiB"));
}

#[test]
fn the_init_scripts_follow_buildroot_s_rules() {
    // Buildroot's check-package: the name of the program and of its pid file, functions for each verb, a usage; the tree's file is not executable.
    for name in [
        "package/moorline-agent/S60moorline-agent",
        "sh/S60moorline-sh",
    ] {
        let path = firmware(name);
        let script = std::fs::read_to_string(&path).unwrap();
        let program = path
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .trim_start_matches("S60");
        assert!(
            script.contains(&format!("\nDAEMON=\"{program}\"\n")),
            "{name}"
        );
        assert!(
            script.contains("\nPIDFILE=\"/var/run/$DAEMON.pid\"\n"),
            "{name}"
        );
        for function in ["start", "stop", "restart"] {
            assert!(
                script.contains(&format!("\n{function}() {{\n")),
                "{name}: {function}"
            );
        }
        assert!(
            script.contains("start|stop|restart)")
                && script.contains("reload)")
                && script.contains("Usage: $0"),
            "{name}"
        );
        assert_eq!(mode(&path) & 0o111, 0, "{name}: executable in the tree");
        for shell in [&["dash"][..], &["busybox", "sh"]] {
            succeeds(
                Command::new(shell[0])
                    .args(&shell[1..])
                    .arg("-n")
                    .arg(&path),
            );
        }
    }
}

#[test]
fn a_gateway_s_service_files_start_and_stop_it_as_it_is_meant() {
    // procd's functions, as far as the script calls them; each says what it was told.
    let script = r#"
procd_open_instance() { echo open; }
procd_set_param() { echo "$*"; }
procd_close_instance() { echo close; }
. "$1"
start_service"#;
    for shell in [&["dash"][..], &["busybox", "sh"]] {
        let mut command = Command::new(shell[0]);
        command.args(&shell[1..]).args(["-euc", script, "sh"]);
        command.arg(firmware("gateway/moorline-gateway.init"));
        let said = succeeds(&mut command);
        assert!(
            said.contains("command /usr/bin/moorline-agent gateway\n") && said.contains("respawn "),
            "{said}"
        );
    }
    let unit = std::fs::read_to_string(firmware("gateway/moorline-gateway.service")).unwrap();
    for line in [
        "ExecStart=/usr/local/bin/moorline-agent gateway",
        "ExecStop=/usr/local/bin/moorline-agent stop",
        "CapabilityBoundingSet=",
        "ReadWritePaths=/etc/moorline",
    ] {
        assert!(unit.lines().any(|own| own == line), "{line}");
    }
    // The words are the agent's.
    let help = succeeds(Command::new(AGENT).arg("--help"));
    for word in ["gateway ", "discover ", "stop "] {
        assert!(help.lines().any(|line| line.starts_with(word)), "{help}");
    }
}

/// Buildroot's own symbols, as far as ours need them, and then the tree.
const KCONFIG: &str = r#"
import kconfiglib, os, sys
top, tree = sys.argv[1:]
os.environ["BR2_EXTERNAL_MOORLINE_PATH"] = tree
with open(top, "w") as file:
    file.write('config BR2_USE_MMU\n\tdef_bool y\nconfig BR2_PACKAGE_DROPBEAR\n\tbool "d"\n'
               'config BR2_PACKAGE_DROPBEAR_CLIENT\n\tbool "c"\n\tdepends on BR2_PACKAGE_DROPBEAR\n'
               'source "$BR2_EXTERNAL_MOORLINE_PATH/Config.in"\n')
tree = kconfiglib.Kconfig(top)
tree.syms["BR2_PACKAGE_MOORLINE_AGENT"].set_value("y")
print(tree.syms["BR2_PACKAGE_DROPBEAR_CLIENT"].str_value, tree.syms["BR2_PACKAGE_MOORLINE_AGENT_MAX_KB"].str_value, tree.warnings)
"#;

#[test]
fn the_external_tree_is_kconfig_and_selects_dropbear_s_client() {
    let home = temp_dir().unwrap();
    let python = peer::PYTHON.find().unwrap();
    let mut command = Command::new(python.path);
    command
        .args(["-c", KCONFIG])
        .arg(home.path().join("Kconfig"))
        .arg(firmware("."));
    assert_eq!(succeeds(&mut command), "y 448 []\n");
    let described = std::fs::read_to_string(firmware("external.desc")).unwrap();
    assert!(described.starts_with("name: MOORLINE\n"), "{described}");
}
