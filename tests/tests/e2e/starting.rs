//! A start that waits: for a disk that hangs, or for a long repair. Whoever asks it to stop does not wait with it (P8).

use std::path::Path;
use std::time::{Duration, Instant};

use moorline_testkit::child::{Child, Signal, run};
use moorline_testkit::{Starved, eventually, patience, temp_dir};
use tokio::process::Command;

use crate::faults_rig::{SOON, Server, command, said, serve};

/// Far less than any budget of a stop, and more than a busy machine needs.
const AT_ONCE: Duration = Duration::from_secs(8);

/// A named pipe that nobody writes: whoever reads it hangs, as on a disk that is gone.
async fn pipe(path: &Path) {
    let mut mkfifo = Command::new("mkfifo");
    mkfifo.arg(path);
    let made = run("mkfifo", mkfifo, SOON).await.unwrap();
    assert!(made.status.success(), "{}", said(&made));
}

#[tokio::test]
async fn p8_a_signal_ends_a_start_at_once_and_the_next_one_is_whole() {
    for signal in [Signal::TERM, Signal::INT] {
        ends_a_start(signal).await;
    }
}

async fn ends_a_start(signal: Signal) {
    let place = temp_dir().unwrap();
    let data = place.path().join("data");
    let hangs = place.path().join("certificate.pem");
    pipe(&hangs).await;
    let config = data.with_extension("toml");
    let text = format!("[server]\ntls_certificate = {hangs:?}\ntls_key = {hangs:?}\n");
    std::fs::write(&config, text).unwrap();
    let mut child = Child::spawn("moorline serve", serve(&data, &config)).unwrap();
    // It has come as far as the registry: a command finds the directory held.
    eventually("the start does not begin", SOON, || async {
        let held = command(&data, Some(&config), &["camera", "list"]).await;
        said(&held)
            .contains("is starting or stopping")
            .then_some(())
    })
    .await;
    let (asked, starved) = (Instant::now(), Starved::begin());
    child.signal(signal);
    let status = child.wait(SOON).await.unwrap();
    let took = asked.elapsed();
    assert_eq!(status.code(), Some(0), "{}", child.tail());
    assert!(took < patience(AT_ONCE) + starved.so_far(), "{took:?}");
    let log = child.tail();
    assert!(log.contains("stopped before the start was done"), "{log}");
    Server::start_in(&data, "").await.stop().await;
}

/// Whoever started it could not know where it is. P8.
#[tokio::test]
async fn a_server_that_cannot_say_where_it_is_stops_and_says_why() {
    let place = temp_dir().unwrap();
    let data = place.path().join("data");
    let config = data.with_extension("toml");
    std::fs::write(&config, "").unwrap();
    let wanted = serve(&data, &config);
    let wanted = wanted.as_std();
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "exec \"$0\" \"$@\" >/dev/full"])
        .arg(wanted.get_program())
        .args(wanted.get_args());
    let output = run("moorline serve", shell, SOON).await.unwrap();
    let told = said(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("error: No space left"), "{told}");
    // A server that has stopped takes its socket with it.
    assert!(data.join("registry.sqlite").exists(), "{told}");
    assert!(!data.join("moorline.sock").exists(), "{told}");
}
