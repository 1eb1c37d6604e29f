//! A start that waits, for a disk that hangs or for a long repair: whoever asks it to stop does not wait with it (P8). And one that cannot say
//! where the server listens.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use moorline_testkit::child::{Child, Signal, run};
use moorline_testkit::{Starved, eventually, patience, temp_dir};
use tokio::process::Command;
use tokio::time::timeout;

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

/// P8: cameras may have come by then. It drains, says what is wrong, and leaves its directory to the next start.
#[tokio::test]
async fn p8_a_server_that_cannot_say_where_it_listens_drains_and_says_so() {
    let place = temp_dir().unwrap();
    let data = place.path().join("data");
    let config = data.with_extension("toml");
    std::fs::write(&config, "").unwrap();
    // Each write to it fails as on a disk that is full.
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let mut serve = serve(&data, &config);
    serve
        .stdin(Stdio::null())
        .stdout(full.unwrap())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let ended = serve.spawn().unwrap().wait_with_output();
    let ended = timeout(patience(SOON), ended).await.unwrap().unwrap();
    let told = said(&ended);
    assert_eq!(ended.status.code(), Some(1), "{told}");
    assert!(
        told.contains("cannot say where the server listens") && told.contains("hint: "),
        "{told}"
    );
    assert!(told.contains("\"stopped\""), "{told}");
    assert!(!data.join("moorline.sock").exists(), "{told}");
    Server::start_in(&data, "").await.stop().await;
}
