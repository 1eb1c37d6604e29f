//! What the tree itself promises: what was not run, the overlay, the size budget, the init scripts' form, the gateway's service files, Buildroot's configuration.

use std::process::Command;

use moorline_testkit::{peer, temp_dir};

use crate::{AGENT, SHELLS, firmware, mode, succeeds, text, tree, write};

#[test]
fn the_overlay_is_what_an_image_needs_with_secrets_for_root_alone() {
    let home = temp_dir().unwrap();
    let enroll = home.path().join("enroll");
    write(&enroll, "token x\n", 0o644);
    let signers = home.path().join("release-keys");
    write(&signers, "ed25519 x\n", 0o600);
    let target = home.path().join("overlay");
    succeeds(
        Command::new(firmware("overlay"))
            .args(["--agent", AGENT, "--enroll"])
            .arg(&enroll)
            .arg("--release-keys")
            .arg(&signers)
            .arg(&target),
    );
    assert_eq!(mode(&target.join("usr/bin/moorline-agent")), 0o755);
    assert_eq!(mode(&target.join("etc/init.d/S60moorline-agent")), 0o755);
    assert_eq!(mode(&target.join("etc/moorline")), 0o700);
    assert_eq!(mode(&target.join("etc/moorline/enroll")), 0o600);
    assert_eq!(mode(&target.join("etc/moorline/release-keys")), 0o644);
    let refused = Command::new(firmware("overlay"))
        .args(["--agent", "/nonexistent"])
        .arg(home.path().join("none"))
        .output()
        .unwrap();
    assert!(!refused.status.success() && !home.path().join("none").exists());
}

#[test]
fn every_file_for_hardware_says_that_it_was_not_run_there() {
    const THERE: [&str; 4] = [
        "camera hardware",
        "such hardware",
        "such a box",
        "such a router",
    ];
    // Of the emulated camera all is run by the tests; the list itself says it in other words.
    let (emulated, list) = (firmware("emu"), firmware("HARDWARE.md"));
    let mut silent = tree(&firmware(""));
    silent.retain(|(path, content)| {
        let text = String::from_utf8_lossy(content).to_lowercase();
        let says = THERE
            .iter()
            .any(|there| text.contains(&format!("not run on {there} yet")));
        !says && !path.starts_with(&emulated) && *path != list
    });
    let silent: Vec<_> = silent.into_iter().map(|(path, _)| path).collect();
    assert!(silent.is_empty(), "{silent:?}");
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
    write(&agent, &"x".repeat(376 * 1024), 0o755);
    assert!(check().status.success());
    write(&agent, &"x".repeat(376 * 1024 + 1), 0o755);
    assert!(text(&check()).contains("more than 376 KiB"));
}

#[test]
fn buildroot_s_package_has_the_version_of_the_agent() {
    let package = firmware("package/moorline-agent/moorline-agent.mk");
    let package = std::fs::read_to_string(package).unwrap();
    let version = format!("MOORLINE_AGENT_VERSION = {}", env!("CARGO_PKG_VERSION"));
    assert!(package.lines().any(|line| line == version), "{version}");
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
        for shell in SHELLS {
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
fn the_external_tree_has_the_form_that_buildroot_asks_for() {
    // More of check-package: what it says of any file, and how wide a help may be.
    let parts = ["package", "configs", "board", "Config.in", "external.mk"];
    let mut files = vec![firmware("sh/S60moorline-sh")];
    for part in parts.map(firmware) {
        if part.is_dir() {
            files.extend(tree(&part).into_iter().map(|(path, _)| path));
        } else {
            files.push(part);
        }
    }
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.display();
        assert!(text.is_ascii(), "{name}: not ASCII");
        assert!(text.ends_with('\n'), "{name}: no end of the last line");
        assert!(
            !text.contains("\n\n\n") && !text.ends_with("\n\n"),
            "{name}: empty lines"
        );
        for line in text.lines() {
            assert_eq!(line, line.trim_end(), "{name}: ends in blanks");
            assert!(!line.starts_with(' '), "{name}: {line:?}");
            if path.ends_with("Config.in") {
                let width = line.replace('\t', "        ").len();
                assert!(width <= 72, "{name}: wider than 72: {line}");
            }
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
    for shell in SHELLS {
        let mut command = Command::new(shell[0]);
        command.args(&shell[1..]).args(["-euc", script, "sh"]);
        command.arg(firmware("gateway/moorline-gateway.init"));
        let said = succeeds(&mut command);
        // In memory on every OpenWrt; /run is not.
        let starts = "command /usr/bin/moorline-agent gateway --run /var/run/moorline\n";
        assert!(said.contains(starts) && said.contains("respawn "), "{said}");
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

#[test]
fn a_gateway_on_openwrt_is_told_to_stop_and_waited_for_where_it_runs() {
    // An agent that ends when it is told to, or that does not; a second is a word here.
    let script = r#"
. "$1"
[ "$RUN" = /var/run/moorline ]
RUN=$2 PROG=$3
sleep() { echo "waits $1"; }
stop_service"#;
    let home = temp_dir().unwrap();
    let run = home.path().join("run");
    let agent = home.path().join("moorline-agent");
    for (ends, expected) in [("rm \"$3/state\"", 0), (":", 5)] {
        let told = format!("#!/bin/sh\n[ \"$1 $2\" = 'stop --run' ] || exit 1\n{ends}\n");
        write(&agent, &told, 0o755);
        for shell in SHELLS {
            write(&run.join("state"), "pid 7\n", 0o600);
            let mut command = Command::new(shell[0]);
            command.args(&shell[1..]).args(["-euc", script, "sh"]);
            command.arg(firmware("gateway/moorline-gateway.init"));
            let said = succeeds(command.arg(&run).arg(&agent));
            assert_eq!(said.matches("waits 1\n").count(), expected, "{said}");
        }
    }
}

/// Buildroot's own symbols, as far as ours need them, and then the tree.
const KCONFIG: &str = r#"
import kconfiglib, os, sys
top, tree = sys.argv[1:]
os.environ["BR2_EXTERNAL_MOORLINE_PATH"] = tree
os.environ["CONFIG_"] = ""
with open(top, "w") as file:
    file.write('config BR2_USE_MMU\n\tdef_bool y\nconfig BR2_PACKAGE_DROPBEAR\n\tbool "d"\n'
               'config BR2_PACKAGE_DROPBEAR_CLIENT\n\tbool "c"\n\tdepends on BR2_PACKAGE_DROPBEAR\n'
               'source "$BR2_EXTERNAL_MOORLINE_PATH/Config.in"\n')
tree = kconfiglib.Kconfig(top)
tree.load_config(os.path.join(os.path.dirname(top), "ours"))
print(tree.syms["BR2_PACKAGE_MOORLINE_AGENT_BINARY"].str_value)
print(tree.syms["BR2_PACKAGE_DROPBEAR_CLIENT"].str_value, tree.syms["BR2_PACKAGE_MOORLINE_AGENT_MAX_KB"].str_value, tree.warnings)
"#;

#[test]
fn the_external_tree_is_kconfig_and_selects_dropbear_s_client() {
    let home = temp_dir().unwrap();
    let board = std::fs::read_to_string(firmware("configs/moorline_qemu_malta_defconfig")).unwrap();
    // Buildroot's own symbols are not here; of ours each must be known.
    let ours = board
        .lines()
        .filter(|line| line.starts_with("BR2_PACKAGE_MOORLINE"));
    let ours: String = ours.map(|line| format!("{line}\n")).collect();
    write(&home.path().join("ours"), &ours, 0o644);
    let python = peer::PYTHON.find().unwrap();
    let mut command = Command::new(python.path);
    command
        .args(["-c", KCONFIG])
        .arg(home.path().join("Kconfig"))
        .arg(firmware("."));
    // Without a binary `make` stops; this is where `cargo xtask dist` leaves it.
    let binary = "$(BR2_EXTERNAL_MOORLINE_PATH)/../target/dist/moorline-agent-mipsel";
    assert_eq!(succeeds(&mut command), format!("{binary}\ny 376 []\n"));
    let files = board.split("$(BR2_EXTERNAL_MOORLINE_PATH)/").skip(1);
    for file in files.map(|rest| rest.split('"').next().unwrap()) {
        let there = firmware(file).exists() || binary.ends_with(file);
        assert!(there, "{file}: named by the defconfig, not in the tree");
    }
    // The camera's key and whose it is lie in /etc/moorline: a root that nobody can write keeps neither.
    let root: Vec<&str> = board
        .lines()
        .filter(|line| line.starts_with("BR2_TARGET_ROOTFS_"))
        .collect();
    assert_eq!(root, ["BR2_TARGET_ROOTFS_EXT2=y"]);
    for line in board.lines().filter(|line| !line.is_empty()) {
        let sets = line.starts_with("BR2_") && line.contains('=');
        assert!(sets || line.starts_with("# "), "{line}");
    }
    let described = std::fs::read_to_string(firmware("external.desc")).unwrap();
    assert!(described.starts_with("name: MOORLINE\n"), "{described}");
}

/// Without a word the agent prints its usage and ends, so init would start it for ever. The emulated camera's line is one that boots.
#[test]
fn the_line_of_inittab_that_the_guide_gives_is_the_one_of_the_emulated_camera() {
    let guide = firmware("../docs/guide/camera-buildroot.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let quoted = guide.split('`').skip(1).step_by(2);
    let given: Vec<&str> = quoted
        .filter(|code| code.starts_with("::respawn:"))
        .collect();
    let booted = std::fs::read_to_string(firmware("emu/rootfs/etc/inittab")).unwrap();
    let booted: Vec<&str> = booted
        .lines()
        .filter(|line| line.contains("moorline-agent"))
        .collect();
    assert_eq!(given, booted);
}

/// What of Buildroot's make our package calls; then its own commands, in the order in which Buildroot runs them.
const BUILDROOT: &str = r#"
qstrip = $(strip $(subst ",,$(1)))
pkgdir = $(dir $(lastword $(MAKEFILE_LIST)))
INSTALL = install
define generic-package
MOORLINE_AGENT_PKGDIR = $(pkgdir)
endef
include $(BR2_EXTERNAL_MOORLINE_PATH)/external.mk
.PHONY: image menuconfig
image:
	$(MOORLINE_AGENT_INSTALL_TARGET_CMDS)
	$(MOORLINE_AGENT_INSTALL_INIT_SYSV)
	@echo "$(MOORLINE_AGENT_SITE_METHOD) $(MOORLINE_AGENT_DEPENDENCIES) $(wildcard $(MOORLINE_AGENT_SITE)Config.in)"
menuconfig:
"#;

#[test]
fn buildroot_s_package_puts_the_agent_and_its_init_script_into_an_image() {
    let home = temp_dir().unwrap();
    let (makefile, target) = (home.path().join("Makefile"), home.path().join("target"));
    write(&makefile, BUILDROOT, 0o644);
    let config = home.path().join("config");
    let at_most = |size: &str| {
        let line = format!("BR2_PACKAGE_MOORLINE_AGENT_MAX_KB={size}\n");
        write(&config, &line, 0o644);
    };
    // This one is of a build for tests.
    at_most("1000000");
    let image = |settings: &[&str]| {
        let mut make = Command::new("make");
        make.arg("--no-print-directory").arg("-f").arg(&makefile);
        make.arg(format!("TARGET_DIR={}", target.display()));
        make.arg(format!("BR2_CONFIG={}", config.display()));
        let tree = firmware("").canonicalize().unwrap();
        make.arg(format!("BR2_EXTERNAL_MOORLINE_PATH={}", tree.display()));
        // Not those of a make that runs these tests.
        make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
        make.arg("BR2_PACKAGE_MOORLINE_AGENT=y").args(settings);
        make.output().unwrap()
    };
    // As Kconfig writes texts: in quotes.
    let binary = format!("BR2_PACKAGE_MOORLINE_AGENT_BINARY=\"{AGENT}\"");
    let made = image(&[&binary, "BR_BUILDING=y"]);
    assert!(made.status.success(), "{}", text(&made));
    let said = text(&made);
    let last = said.lines().last().unwrap();
    assert!(last.starts_with("local dropbear /"), "{said}");
    assert!(
        last.ends_with("/package/moorline-agent/Config.in"),
        "{said}"
    );
    let agent = target.join("usr/bin/moorline-agent");
    assert_eq!(mode(&agent), 0o755);
    assert!(std::fs::read(&agent).unwrap() == std::fs::read(AGENT).unwrap());
    assert_eq!(mode(&target.join("etc/moorline")), 0o700);
    assert_eq!(mode(&target.join("etc/init.d/S60moorline-agent")), 0o755);

    // In whoever's image: the script after the build is only our board's.
    at_most("1");
    let refused = image(&[&binary, "BR_BUILDING=y"]);
    assert!(!refused.status.success());
    assert!(
        text(&refused).contains("more than 1 KiB"),
        "{}",
        text(&refused)
    );

    // Whoever has not said where it lies is told so when they build, and not while they choose.
    let none = "BR2_PACKAGE_MOORLINE_AGENT_BINARY=\"\"";
    let refused = image(&[none, "BR_BUILDING=y"]);
    assert!(!refused.status.success());
    let said = text(&refused);
    assert!(
        said.contains("Set BR2_PACKAGE_MOORLINE_AGENT_BINARY to the path"),
        "{said}"
    );
    let choosing = image(&[none, "menuconfig"]);
    assert!(choosing.status.success(), "{}", text(&choosing));
}
