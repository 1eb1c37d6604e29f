//! Strangers on the public ports: silence and garbage cost them their connection, and nobody else anything.

use std::{net::SocketAddr, time::Duration};

use moorline_testkit::patience;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    faults_http::{Person, tls},
    faults_rig::{SHORT, Server},
};

/// Longer than the 20 s that a stranger gets.
const SHUT: Duration = Duration::from_secs(40);

/// Bytes of no protocol, the same in each run.
fn garbage(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(next).collect()
}

/// Reads until the server ends the connection, and gives what it said.
async fn until_shut(mut stream: impl AsyncRead + Unpin, what: &str) -> Vec<u8> {
    let mut said = Vec::new();
    let end = async {
        let mut piece = vec![0; 4096];
        // A reset is an end too: bytes that nobody read lie in the way of a FIN.
        while let Ok(length @ 1..) = stream.read(&mut piece).await {
            said.extend_from_slice(&piece[..length]);
        }
    };
    let ended = tokio::time::timeout(patience(SHUT), end).await;
    assert!(ended.is_ok(), "{what}: the connection stays open");
    said
}

/// Says something, then waits for the end.
async fn say(address: SocketAddr, bytes: Vec<u8>, what: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may end the connection before all is said.
    let _ = stream.write_all(&bytes).await;
    until_shut(stream, what).await
}

#[tokio::test]
async fn silence_and_garbage_on_every_port_disturb_nobody() {
    let server = Server::start(SHORT).await;
    let _well = server.healthy("well", 1).await;
    let (ssh, rtsp, https) = (
        server.address("ssh"),
        server.address("rtsp"),
        server.address("https"),
    );

    let strangers = async {
        let silent = async {
            let mut stream = TcpStream::connect(ssh).await.unwrap();
            stream
                .write_all(b"SSH-2.0-dropbear_2022.83\r\n")
                .await
                .unwrap();
            until_shut(stream, "a client that never authenticates").await
        };
        let noisy = async {
            for seed in 1..20 {
                say(ssh, garbage(seed, 40_000), "garbage to SSH").await;
                let mut named = b"SSH-2.0-x\r\n".to_vec();
                named.extend(garbage(seed, 5_000));
                say(ssh, named, "garbage after the version").await;
                say(rtsp, garbage(seed, 40_000), "garbage to RTSP").await;
                say(https, garbage(seed, 40_000), "garbage to HTTPS").await;
                let mut inside = tls(https).await.unwrap();
                let _ = inside.write_all(&garbage(seed, 5_000)).await;
                until_shut(inside, "garbage inside TLS").await;
            }
            let http = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec();
            let answer = say(rtsp, http, "a browser on the RTSP port").await;
            let answer = String::from_utf8_lossy(&answer).into_owned();
            assert!(answer.contains(" 400 ") || answer.contains(" 505 ") || answer.is_empty());
        };
        let ((), _) = tokio::join!(noisy, silent);
    };
    let at_work = async {
        server.moves_on("well").await;
        server.moves_on("well").await;
    };
    tokio::join!(strangers, at_work);

    server.nothing_lost("well", 1).await;
    let admin = server.first_user("password");
    let person = Person::sign_in(https, "admin", &admin).await;
    assert_eq!(person.ask("GET", "/me", None).await.status, 200);
    assert_eq!(server.gaps("well").await, Vec::<String>::new());
    server.stop().await;
}
