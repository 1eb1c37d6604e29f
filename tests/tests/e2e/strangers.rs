//! What strangers cost (P9): 20 s at most, and memory that a storm of them does not make grow.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::future::join_all;
use moorline_testkit::{Starved, patience};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::faults_http::tls;
use crate::faults_rig::{SHORT, Server};

/// Connections of a wave, at each door.
const WAVE: usize = 150;
/// MiB by which memory may differ between an early and a late wave. One leaked connection of each ten would be more.
const FLAT: u64 = 6;

/// What somebody says who has not found out yet what he talks to.
const OPENINGS: [(&str, &[u8]); 3] = [
    ("ssh", b"SSH-2.0-dropbear_2022.83\r\n\0\0\x01\x24"),
    (
        "rtsp",
        b"DESCRIBE rtsp://localhost/well RTSP/1.0\r\nCSeq: 1\r\n",
    ),
    ("https", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
];

/// Resident memory of the server, in MiB.
fn resident(server: &Server) -> u64 {
    let pid = server.ready["pid"].as_u64().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse::<u64>().unwrap() / 1024
}

/// A wave of strangers at all doors: each begins, and goes without a word.
async fn wave(server: &Server) {
    let all = OPENINGS.iter().flat_map(|(door, opening)| {
        let address = server.address(door);
        (0..WAVE).map(move |_| async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            // Whoever is one too many is put out.
            let _ = stream.write_all(opening).await;
            stream
        })
    });
    drop(join_all(all).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_strangers_leaves_memory_as_it_was_and_the_camera_alone() {
    let server = Server::start(SHORT).await;
    let _well = server.healthy("well", 1).await;
    // Until everything that is kept has been made once: caches, pools, rings.
    for _ in 0..4 {
        wave(&server).await;
    }
    // What is leaked grows with every wave; what the allocator keeps for the next one does not.
    let mut told = Vec::new();
    let mut flat = false;
    for _ in 0..4 {
        server.moves_on("well").await;
        let before = resident(&server);
        for _ in 0..12 {
            wave(&server).await;
        }
        server.moves_on("well").await;
        let after = resident(&server);
        told.push(format!(
            "{before} MiB, {after} MiB behind 12 waves of {WAVE} at each door"
        ));
        flat = after <= before + FLAT;
        if flat {
            break;
        }
    }
    assert!(flat, "grows: {told:#?}");
    server.nothing_lost("well", 1).await;
    assert_eq!(server.gaps("well").await, [""; 0]);
    server.stop().await;
}

/// Says a byte a second until it is shut, and tells how long that took.
async fn drip(
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    text: &[u8],
) -> Duration {
    let start = Instant::now();
    let mut every = tokio::time::interval(Duration::from_secs(1));
    let mut text = text.iter().cycle();
    let mut answer = [0; 1024];
    loop {
        tokio::select! {
            read = stream.read(&mut answer) => match read {
                Ok(1..) => {}
                Ok(0) | Err(_) => return start.elapsed(),
            },
            _ = every.tick() => {
                if stream.write_all(&[*text.next().unwrap()]).await.is_err() {
                    return start.elapsed();
                }
            }
        }
    }
}

/// However busily they begin: P9 says 20 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_only_begins_is_gone_after_20_s_at_every_door() {
    let server = Server::start(SHORT).await;
    let _well = server.healthy("well", 1).await;
    let at = |door: &str| server.address(door);
    async fn open(address: SocketAddr) -> TcpStream {
        TcpStream::connect(address).await.unwrap()
    }
    // The bytes of a head that never ends.
    let head = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: ";
    let starved = Starved::begin();
    let took = tokio::time::timeout(patience(Duration::from_secs(60)), async {
        tokio::join!(
            async { drip(open(at("ssh")).await, b"SSH-2.0-x").await },
            async { drip(open(at("rtsp")).await, b"OPTIONS * RTSP/1.0\r\nX: ").await },
            async { drip(open(at("https")).await, &[0x16, 3, 1, 0x3f, 0xff, 1]).await },
            async { drip(tls(at("https")).await.unwrap(), head).await },
        )
    });
    let (ssh, rtsp, handshake, inside) = took.await.expect("a connection stays open");
    let late = starved.so_far();
    let most = patience(Duration::from_secs(22)) + late;
    for (door, took) in [
        ("SSH", ssh),
        ("RTSP", rtsp),
        ("a TLS handshake", handshake),
        ("HTTPS", inside),
    ] {
        println!("{door}: {took:?}");
        assert!(took <= most, "{door}: {took:?}");
    }
    server.nothing_lost("well", 1).await;
    server.stop().await;
}
