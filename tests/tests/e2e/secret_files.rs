//! Whatever lies in the data directory is the server's alone (P10, S25, S36), however generous the umask of whoever starts it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use moorline_testkit::child::{Child, Signal, run};
use moorline_testkit::eventually;
use tokio::process::Command;

use crate::faults_rig::{SHORT, SOON, command, said, serve};

/// The same command by a shell that takes no permission away from new files.
fn generous(command: &Command) -> Command {
    by_shell("umask 0", command)
}

/// The same command by a shell that does something first.
fn by_shell(first: &str, command: &Command) -> Command {
    let command = command.as_std();
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", &format!("{first}; exec \"$@\""), "sh"])
        .arg(command.get_program())
        .args(command.get_args());
    shell
}

/// Every file below a place, with its permissions; and the place itself.
fn modes(place: &Path) -> Vec<(PathBuf, u32)> {
    let mut found = Vec::new();
    let mut open = vec![place.to_owned()];
    while let Some(path) = open.pop() {
        // A running server replaces files.
        let Ok(about) = std::fs::symlink_metadata(&path) else {
            continue;
        };
        found.push((path.clone(), about.permissions().mode() & 0o7777));
        if about.is_dir() {
            open.extend(
                std::fs::read_dir(&path)
                    .unwrap()
                    .flatten()
                    .map(|one| one.path()),
            );
        }
    }
    found
}

#[tokio::test]
async fn the_data_directory_is_0700_and_every_file_with_a_secret_0600() {
    let place = moorline_testkit::temp_dir().unwrap();
    let (data, config) = (
        place.path().join("data"),
        place.path().join("moorline.toml"),
    );
    std::fs::write(&config, SHORT).unwrap();
    let mut server = Child::spawn("moorline serve", generous(&serve(&data, &config))).unwrap();
    server
        .wait_for_after(0, "the ready line", SOON, |line| {
            line.starts_with("{\"ssh\"").then_some(())
        })
        .await
        .unwrap();
    // What makes files with secrets: a camera with a key, its login, somebody's passwords, a backup.
    let password = place.path().join("password");
    std::fs::write(&password, "secret of the camera\n").unwrap();
    let backup = data.join("moorline.backup");
    let key = data.join("yard.key");
    let (password, backup) = (password.to_str().unwrap(), backup.to_str().unwrap());
    let key = key.to_str().unwrap();
    for asked in [
        &[
            "camera",
            "add",
            "yard",
            "--key-file",
            key,
            "--login",
            "root",
            "--password-file",
            password,
        ][..],
        &["user", "add", "ann", "--role", "viewer"],
        &["backup", "-f", backup, "--passphrase-file", password],
    ] {
        let output = run_generously(&data, &config, asked).await;
        assert!(output.status.success(), "{asked:?}: {}", said(&output));
    }
    let found = modes(&data);
    let named = |name: &str| {
        found
            .iter()
            .any(|(path, _)| path.to_string_lossy().contains(name))
    };
    for name in [
        "first-user.txt",
        "yard.key",
        "registry.key",
        "registry.sqlite",
        "tls-key.pem",
        "moorline.sock",
    ] {
        assert!(named(name), "{name} is not in {found:?}");
    }
    assert_eq!(found[0], (data.clone(), 0o700));
    let open: Vec<_> = found
        .iter()
        .filter(|(path, mode)| path.is_file() && mode & 0o077 != 0)
        // Recordings, which lie in a directory of their own below.
        .filter(|(path, _)| !path.starts_with(data.join("archive")))
        .collect();
    assert!(open.is_empty(), "others may read {open:?}");
    server.signal(Signal::TERM);
    let status = server.wait(Duration::from_secs(60)).await.unwrap();
    assert!(status.success(), "{}", server.tail());
    // And after the stop: what was written while it ended.
    eventually("the socket stays", SOON, || async {
        (!data.join("moorline.sock").exists()).then_some(())
    })
    .await;
    let open: Vec<_> = modes(&data)
        .into_iter()
        .filter(|(path, mode)| path.is_file() && mode & 0o077 != 0)
        .filter(|(path, _)| !path.starts_with(data.join("archive")))
        .collect();
    assert!(open.is_empty(), "others may read {open:?}");
    let output = command(&data, Some(&config), &["config", "show"]).await;
    assert!(output.status.success());
}

/// S25: keys and passwords are in its memory.
#[tokio::test]
async fn a_server_that_crashes_leaves_no_image_of_its_memory() {
    let place = moorline_testkit::temp_dir().unwrap();
    let (data, config) = (
        place.path().join("data"),
        place.path().join("moorline.toml"),
    );
    std::fs::write(&config, SHORT).unwrap();
    // As large as the machine lets it be.
    let wanted = by_shell("ulimit -S -c \"$(ulimit -H -c)\"", &serve(&data, &config));
    let server = Child::spawn("moorline serve", wanted).unwrap();
    server
        .wait_for_after(0, "the ready line", SOON, |line| {
            line.starts_with("{\"ssh\"").then_some(())
        })
        .await
        .unwrap();
    let pid = server.pid().unwrap();
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let image = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max core file size"));
    let soft = image.unwrap().split_whitespace().next();
    assert_eq!(soft, Some("0"), "{limits}");
}

async fn run_generously(data: &Path, config: &Path, asked: &[&str]) -> std::process::Output {
    let mut bare = Command::new(moorline_tests::moorline());
    bare.arg("--data").arg(data).arg("--config").arg(config);
    bare.args(asked);
    run("moorline", generous(&bare), Duration::from_secs(60))
        .await
        .unwrap()
}
