//! `dbclient` of other Debian releases as the camera. 2022.83 is everywhere else in these tests.

use std::time::Duration;

use moorline_core::key::KeyAlgorithm;
use moorline_core::port::TunnelEnd;
use moorline_testkit::child::Signal;
use moorline_testkit::dropbear::{BULLSEYE, Release, SID, TRIXIE};
use moorline_testkit::or_skip;
use moorline_tunnel::keyfile::PrivateKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Rig, SOON, assert_echo, camera, config, echo_server};

/// What goes through each tunnel, both ways: sixteen windows, so that grants are needed.
const BYTES: usize = 16 << 20;

/// Tunnels with one release and each kind of key: hello, a forward of port 0, the bytes of many windows, keepalives, a takeover, a loss.
async fn tunnels(release: Release, year: &str) {
    let Some(dropbear) = or_skip(release.get().await) else {
        return;
    };
    assert!(
        dropbear.version().starts_with(year),
        "dropbear {} instead of {year}",
        dropbear.version()
    );
    let echo = echo_server("rtsp").await;
    let forward = format!("0:127.0.0.1:{}", echo.port());
    for algorithm in [KeyAlgorithm::Ed25519, KeyAlgorithm::EcdsaP256] {
        let key = PrivateKey::generate(algorithm).unwrap();
        let rig = Rig::new(config(), vec![camera("yard", &[key.public()])]).await;
        let call = |options: &[&str]| {
            let options = [&["-T", "-K", "1", "-R", &forward][..], options].concat();
            rig.dbclient_by(dropbear.command("dbclient"), &key, "yard", &options, &[])
        };
        let first = call(&[]);
        first.wait_for_line("MOORLINE/1", SOON).await.unwrap();
        first
            .wait_for_line("Allocated port", SOON)
            .await
            .unwrap_or_else(|error| panic!("{algorithm:?}: {error}"));
        let session = rig.up(0).await;
        let (mut stream, _) = rig.connect("yard").await.unwrap();
        assert_echo(&mut stream, "rtsp").await;

        let (mut read, mut write) = tokio::io::split(stream);
        let sent: Vec<u8> = (0..BYTES).map(|at| ((at * 31) >> 7) as u8).collect();
        let sending = async { write.write_all(&sent).await.unwrap() };
        let mut heard = vec![0; BYTES];
        let hearing = async { read.read_exact(&mut heard).await.unwrap() };
        let both = async { tokio::join!(sending, hearing) };
        tokio::time::timeout(moorline_testkit::patience(Duration::from_secs(60)), both)
            .await
            .expect("the bytes go round");
        assert!(heard == sent, "{algorithm:?}: bytes were changed");

        first.freeze();
        let second = call(&["-N"]);
        let newer = rig.up(1).await;
        assert_eq!(rig.ended(session).await, TunnelEnd::Lost);
        let (mut stream, generation) = rig.connect("yard").await.unwrap();
        assert_eq!(generation.0, 2);
        assert_echo(&mut stream, "rtsp").await;
        // Three keepalives of the client go by.
        let quiet = tokio::time::timeout(Duration::from_secs(4), rig.ended(newer)).await;
        assert!(
            quiet.is_err(),
            "{algorithm:?}: ended although it is kept alive"
        );
        second.signal(Signal::TERM);
        assert_eq!(rig.ended(newer).await, TunnelEnd::Lost);
    }
}

#[tokio::test]
#[ignore = "long: fetches Debian 11's dropbear"]
async fn dbclient_2020_81_of_debian_11_tunnels() {
    tunnels(BULLSEYE, "2020.81").await;
}

#[tokio::test]
#[ignore = "long: fetches Debian 13's dropbear"]
async fn dbclient_2025_89_of_debian_13_tunnels() {
    tunnels(TRIXIE, "2025.89").await;
}

#[tokio::test]
#[ignore = "long: fetches sid's dropbear"]
async fn dbclient_of_sid_tunnels() {
    tunnels(SID, "20").await;
}
