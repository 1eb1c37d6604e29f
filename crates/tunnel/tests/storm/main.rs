//! Many cameras at once. A program of its own, so that `cargo test` runs it beside no other: two thousand handshakes of unoptimised code keep
//! every core busy for a while.
#![allow(
    clippy::disallowed_methods,
    reason = "tests may bind, write and look at the real clock"
)]

#[path = "../peers/client.rs"]
#[expect(dead_code, reason = "shared with the other peers, which use the rest")]
mod client;
#[path = "../peers/support.rs"]
#[expect(dead_code, reason = "shared with the other peers, which use the rest")]
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use moorline_core::key::KeyAlgorithm;
use moorline_core::port::ByteStream;
use moorline_tunnel::TunnelConfig;
use moorline_tunnel::keyfile::PrivateKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use client::Client;
use support::{Rig, Seen, camera, config};

const CAMERAS: usize = 1000;

/// A camera that answers each stream with its mark and then what it hears.
async fn run(mut client: Client, mark: String) {
    loop {
        let channel = client.accept().await;
        let mark = mark.clone();
        tokio::spawn(async move {
            let mut stream = channel.into_stream();
            stream.write_all(mark.as_bytes()).await.unwrap();
            let (mut read, mut write) = tokio::io::split(stream);
            let _ = tokio::io::copy(&mut read, &mut write).await;
        });
    }
}

async fn assert_mark(stream: &mut ByteStream, mark: &str) {
    let mut room = vec![0; mark.len()];
    stream.read_exact(&mut room).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&room), mark);
    let said = format!("to {mark}");
    stream.write_all(said.as_bytes()).await.unwrap();
    let mut room = vec![0; said.len()];
    stream.read_exact(&mut room).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&room), said);
}

/// P2.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_cameras_at_once_are_all_up_none_refused_and_none_crossed() {
    // Two sockets per camera are in this process: more than the usual 1,024.
    let files = moorline_base::net::raise_open_files();
    assert!(files.enough_for(5 * CAMERAS as u64), "{files:?}");
    let keys: Vec<Arc<PrivateKey>> = (0..CAMERAS)
        .map(|_| Arc::new(PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap()))
        .collect();
    let name = |nth: usize| format!("camera-{nth:04}");
    let cameras = keys.iter().enumerate();
    let cameras = cameras.map(|(nth, key)| camera(&name(nth), &[key.public()]));
    // Both ends of each handshake are unoptimised code on two shared cores: the time is the bench's to judge.
    let config = TunnelConfig {
        login_grace: Duration::from_secs(600),
        write_timeout: Duration::from_secs(600),
        keepalive_interval: Duration::from_secs(600),
        away_deadline: Duration::from_secs(60),
        ..config()
    };
    let rig = Arc::new(Rig::new(config, cameras.collect()).await);
    let mut running = JoinSet::new();
    // Twice: the second storm supersedes the first.
    for storm in 0..2 {
        let start = Instant::now();
        let mut logins = JoinSet::new();
        for (nth, key) in keys.iter().enumerate() {
            let (rig, key, name) = (Arc::clone(&rig), Arc::clone(key), name(nth));
            logins.spawn(async move {
                let client = Client::login(&rig, &key, &name).await;
                // Every camera asks for the same address and port: they are labels, not ports.
                client
                    .handle
                    .tcpip_forward("localhost", 8554)
                    .await
                    .unwrap();
                (client, format!("{storm} {name}"))
            });
        }
        while let Some(login) = logins.join_next().await {
            let (client, mark) = login.unwrap();
            running.spawn(run(client, mark));
        }
        println!(
            "storm {storm}: {CAMERAS} cameras up in {:?}",
            start.elapsed()
        );
        let mut reads = JoinSet::new();
        for nth in 0..CAMERAS {
            let (rig, name) = (Arc::clone(&rig), name(nth));
            reads.spawn(async move {
                let (mut stream, generation) = rig.connect(&name).await.unwrap();
                assert_eq!(generation.0, storm + 1);
                assert_mark(&mut stream, &format!("{storm} {name}")).await;
            });
        }
        while let Some(read) = reads.join_next().await {
            read.unwrap();
        }
    }
    rig.told("the end of the first storm", |seen| {
        let ended = seen.iter().filter(|seen| matches!(seen, Seen::Ended(..)));
        (ended.count() == CAMERAS).then_some(())
    })
    .await;
    let ups = rig.all().into_iter();
    assert_eq!(
        ups.filter(|seen| matches!(seen, Seen::Up(..))).count(),
        2 * CAMERAS
    );
}
