//! More readers than a camera may have: who comes too late is told so (453), and every other camera is there for all.

use std::net::SocketAddr;

use futures::future::join_all;
use moorline_testkit::patience;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::faults_http::tls;
use crate::faults_rig::{SOON, Server};

/// What one camera serves, beside its recorder.
const MOST: usize = 200;

/// One login is enough to fill a camera's places.
const SETTINGS: &str = "[archive]\nsegment = \"2s\"\n[rtsp]\nstreams_per_user = 400\n";

/// Somebody who asks for a camera's stream over RTSPS and holds the connection; the first line of the answer.
async fn ask(address: SocketAddr, login: &str, camera: &str) -> (TlsStream<TcpStream>, String) {
    let mut stream = tls(address).await.unwrap();
    let request = format!(
        "DESCRIBE rtsps://localhost:{}/{camera} RTSP/1.0\r\nCSeq: 1\r\nAuthorization: Basic {login}\r\n\r\n",
        address.port()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = tokio::time::timeout(patience(SOON), stream.read(&mut answer)).await;
    let length = read.expect("an answer").unwrap();
    let text = String::from_utf8_lossy(&answer[..length]).into_owned();
    (stream, text.lines().next().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reader_that_is_one_too_many_for_a_camera_gets_453_until_another_goes() {
    let server = Server::start(SETTINGS).await;
    let _full = server.healthy("full", 1).await;
    let _other = server.healthy("other", 2).await;
    let address = server.address("rtsp");
    let login = base64(&format!("admin:{}", server.first_user("stream_password")));
    let mut readers = Vec::new();
    // Few at a time: of those who have not said who they are, one network has 64 places.
    for _ in 0..MOST / 10 {
        let asking = (0..10).map(|_| ask(address, &login, "full"));
        readers.extend(join_all(asking).await);
    }
    for (_, answer) in &readers {
        assert_eq!(answer, "RTSP/1.0 200 OK");
    }
    let (_late, answer) = ask(address, &login, "full").await;
    assert!(answer.starts_with("RTSP/1.0 453 "), "{answer}");
    let (_welcome, answer) = ask(address, &login, "other").await;
    assert_eq!(answer, "RTSP/1.0 200 OK", "of another camera");

    readers.pop();
    moorline_testkit::eventually("the place is not free", SOON, || async {
        let (_, answer) = ask(address, &login, "full").await;
        (answer == "RTSP/1.0 200 OK").then_some(())
    })
    .await;
    // The recorder has its place whoever watches.
    server.nothing_lost("full", 1).await;
    server.nothing_lost("other", 2).await;
    server.stop().await;
}

/// RFC 4648, for a header.
fn base64(text: &str) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut coded = String::new();
    for three in text.as_bytes().chunks(3) {
        let at = |place: usize| u32::from(three.get(place).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place) & 63) as usize];
            let there = place <= three.len();
            coded.push(if there { char::from(letter) } else { '=' });
        }
    }
    coded
}
