//! The camera's own page (S14): a second forward, asked for where the camera's owner has named its port.

use moorline_core::port::LandingError;
use moorline_testkit::{eventually, patience};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::agent::Camera;
use crate::server::{SOON, Server, yard};

const PAGE: [u8; 8] = *b"the page";

/// Answers everybody on a port of loopback, which it gives.
fn web_server() -> u16 {
    let listener = moorline_base::net::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // Whoever is gone again misses nothing.
            let _ = stream.write_all(&PAGE).await;
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn the_camera_s_page_is_reached_where_its_owner_names_its_port_and_nowhere_else() {
    let mut camera = Camera::new();
    let server = Server::start("both", vec![yard(camera.key.public())]);
    camera.calls(server.address, &server.pins());
    let agent = camera.start();
    let session = server.opened(0).await;
    // dbclient asks for its forwards before it opens the channel.
    server.say(session, "PING 1");
    server.line("PONG 1").await;
    let refused = server.behind("http").await.err();
    assert_eq!(
        refused,
        Some(LandingError::Unknown),
        "the server's yes alone opens it"
    );
    drop(agent);

    camera.local(&format!("http {}", web_server()));
    let _agent = camera.start();
    server.up(1).await;
    let reached = eventually("the camera's page", SOON, async || {
        server.behind("http").await.ok()
    });
    let mut stream = reached.await;
    let mut heard = [0; PAGE.len()];
    let reading = tokio::time::timeout(patience(SOON), stream.read_exact(&mut heard));
    reading.await.expect("the page in time").unwrap();
    assert_eq!(heard, PAGE);
}
