//! Keys that servers give a camera: whoever does it, and however often, the server that the owner named is not locked out (S6).

use moorline_core::key::KeyAlgorithm;
use moorline_core::{Camera as Record, PublicKey};
use moorline_tunnel::keyfile::{PrivateKey, public_key_of_dropbear};

use crate::agent::Camera;
use crate::server::{SOON, Seen, Server, yard};

/// The key that a camera has made.
fn rekeyed(line: &str) -> (String, PublicKey) {
    let word = line.strip_prefix("NEWKEY ").unwrap().to_owned();
    let key = format!("ssh-ed25519 {word}").parse().unwrap();
    (word, key)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_keys_given_by_another_server_do_not_lock_the_owners_server_out() {
    let mut camera = Camera::new();
    let first = camera.key.public().clone();
    let owners = Server::start("both", vec![yard(&first)]);
    let other = Server::start("both", vec![yard(&first)]);
    camera.calls(owners.address, &owners.pins());
    let agent = camera.start();
    let session = owners.opened(0).await;
    let port = other.address.port();
    let told = format!(
        "CONFIG endpoint.0 home/yard 127.0.0.1 {port} {}",
        other.pins()
    );
    owners.say(session, &told);
    // After the PING the setting is in force.
    owners.say(session, "PING 1");
    owners.line("PONG 1").await;
    owners.end(session);

    let mut known: Record = yard(&first);
    for nth in 0..2 {
        let session = other.opened(nth).await;
        other.say(session, "REKEY");
        let line = other
            .told("another key", move |seen| {
                let lines = seen.iter().filter_map(|seen| match seen {
                    Seen::Line(of, line) if *of == session => Some(line),
                    _ => None,
                });
                let mut keys = lines.filter(|line| line.starts_with("NEWKEY "));
                keys.next().cloned()
            })
            .await;
        let (word, key) = rekeyed(&line);
        // Both, until the camera has called with the new one.
        known.keys.extend(yard(&key).keys);
        other.set(vec![known.clone()]);
        other.say(session, &format!("REKEYED {word}"));
    }
    other.opened(2).await;
    // The other server wants the camera no more.
    other.set(Vec::new());
    owners.opened(1).await;
    assert!(camera.path("etc/id.enrolled").exists(), "{}", agent.tail());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_not_the_one_that_the_server_has_is_not_taken() {
    let mut camera = Camera::new();
    let first = camera.key.public().clone();
    let server = Server::start("both", vec![yard(&first)]);
    camera.calls(server.address, &server.pins());
    let agent = camera.start();
    let session = server.opened(0).await;
    server.say(session, "REKEY");
    let (word, _) = rekeyed(&server.line("NEWKEY ").await);
    let another = PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap();
    camera.write("etc/id.next", another.to_dropbear().unwrap().expose());
    server.say(session, &format!("REKEYED {word}"));
    let told = agent.wait_for_line("the camera keeps its key", SOON);
    told.await.unwrap();
    // It calls again all the same, with a key that the server knows.
    server.opened(1).await;
    let file = std::fs::read(camera.path("etc/id")).unwrap();
    assert_eq!(public_key_of_dropbear(&file).unwrap(), first);
}
