//! A log that nobody reads: a terminal that was stopped, a journal that stands still. The server goes on and ends as ever; what it could not say is counted.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use moorline_testkit::{child::run, eventually, patience, temp_dir};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use crate::faults_http::http;
use crate::faults_rig::{SOON, command, said, serve};

/// Lines that the server at this address has lost.
async fn lost(admin: SocketAddr) -> u64 {
    let metrics = http(admin, "/metrics").await.text();
    let name = "moorline_log_lines_lost_total ";
    let lost = metrics.lines().find_map(|line| line.strip_prefix(name));
    lost.unwrap_or_else(|| panic!("{metrics}")).parse().unwrap()
}

/// Has the server say long lines until one is lost; each is answered.
async fn overflow(data: &Path, config: &Path, admin: SocketAddr) {
    let before = lost(admin).await;
    let filter = format!("info,{}=off", "x".repeat(16_000));
    eventually("no line is lost", SOON, || async {
        let changed = command(data, Some(config), &["log", &filter]).await;
        assert!(changed.status.success(), "{}", said(&changed));
        (lost(admin).await > before).then_some(())
    })
    .await;
}

/// P8: the end, too, waits for no reader.
#[tokio::test]
async fn p8_a_log_that_nobody_reads_stops_nothing_and_the_lost_lines_are_told() {
    let place = temp_dir().unwrap();
    let data = place.path().join("data");
    let config = data.with_extension("toml");
    std::fs::write(&config, "[archive]\ndisk_free = \"64MiB\"\n").unwrap();
    let mut serve = serve(&data, &config);
    serve
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut server = serve.spawn().unwrap();
    let mut output = BufReader::new(server.stdout.take().unwrap()).lines();
    let mut log = BufReader::new(server.stderr.take().unwrap()).lines();
    let ready = timeout(patience(SOON), output.next_line()).await;
    let ready: Value = serde_json::from_str(&ready.unwrap().unwrap().unwrap()).unwrap();
    let admin: SocketAddr = ready["admin"].as_str().unwrap().parse().unwrap();

    overflow(&data, &config, admin).await;
    let (all, mut told) = (lost(admin).await, 0);
    while told < all {
        let line = timeout(patience(SOON), log.next_line()).await;
        let line = line.unwrap().unwrap().unwrap();
        let line: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("torn: {line}"));
        let message = line["message"].as_str().unwrap();
        let note = message.split_once(" lines of the log were lost: nobody read it for ");
        told += note.map_or(0, |(lost, _)| lost.parse().unwrap());
    }
    assert_eq!(told, lost(admin).await);

    overflow(&data, &config, admin).await;
    let mut kill = Command::new("sh");
    let pid = server.id().unwrap().to_string();
    kill.args(["-c", "kill \"$1\"", "sh", &pid]);
    assert!(run("kill", kill, SOON).await.unwrap().status.success());
    let status = timeout(patience(SOON), server.wait()).await.unwrap();
    assert_eq!(status.unwrap().code(), Some(0));
    assert!(!data.join("moorline.sock").exists(), "it went orderly");
}
