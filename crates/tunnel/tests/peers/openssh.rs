//! Real `ssh` (Debian's `openssh-client`) as the camera, and everything that a camera may not do.

use moorline_core::key::KeyAlgorithm;
use moorline_core::port::TunnelEnd;
use moorline_testkit::child::Signal;
use moorline_testkit::refusing::Refusing;
use moorline_tunnel::keyfile::PrivateKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Rig, SOON, Seen, assert_echo, camera, config, echo_server};

const STRICT: [&str; 2] = ["-o", "ExitOnForwardFailure=yes"];

#[tokio::test]
async fn ssh_tunnels_too_and_its_disconnect_is_a_loss() {
    let (rig, key) = Rig::with_yard(config()).await;
    let rtsp = echo_server("rtsp").await;
    let target = format!("0:127.0.0.1:{}", rtsp.port());
    for (nth, signal) in [Signal::TERM, Signal::HUP].into_iter().enumerate() {
        let options = [&STRICT[..], &["-N", "-R", &target]].concat();
        let client = rig.ssh(&key, "home/yard", &options, &[]);
        let session = rig.up(nth).await;
        let (mut stream, _) = rig.connect("yard").await.unwrap();
        assert_echo(&mut stream, "rtsp").await;
        client.signal(signal);
        assert_eq!(rig.ended(session).await, TunnelEnd::Lost, "{signal:?}");
    }
}

#[tokio::test]
async fn whatever_is_not_a_cameras_business_is_refused_and_the_tunnel_lives_on() {
    let (rig, key) = Rig::with_yard(config()).await;
    let rtsp = echo_server("rtsp").await;
    let target = format!("0:127.0.0.1:{}", rtsp.port());
    // Held until ssh listens there.
    let held = [(); 2].map(|()| Refusing::new().unwrap());
    let [local, socks] = held.each_ref().map(|held| held.address().port());
    let through = format!("{local}:127.0.0.1:{}", rtsp.port());
    let socks_port = socks.to_string();
    let options = [
        &["-A", "-X", "-o", "SendEnv=LANG", "-R", &target][..],
        &["-L", &through],
        &["-D", &socks_port],
    ]
    .concat();
    let mut client = rig.ssh(&key, "yard", &options, &["id"]);
    client.wait_for_line("MOORLINE/1", SOON).await.unwrap();
    rig.up(0).await;
    let through_local = connect_when_it_listens(local).await;
    assert_nothing_comes(through_local, b"hello").await;
    let mut through_socks = connect_when_it_listens(socks).await;
    through_socks.write_all(&[5, 1, 0]).await.unwrap();
    through_socks.read_exact(&mut [0; 2]).await.unwrap();
    let [high, low] = rtsp.port().to_be_bytes();
    assert_nothing_comes(through_socks, &[5, 1, 0, 1, 127, 0, 0, 1, high, low]).await;
    let (mut stream, _) = rig.connect("yard").await.unwrap();
    assert_echo(&mut stream, "rtsp").await;
    client.write(b"PONG 1\n").await.unwrap();
    rig.told("a line", |seen| {
        let line = |seen: &Seen| matches!(seen, Seen::Line(..));
        seen.iter().any(line).then_some(())
    })
    .await;
}

async fn connect_when_it_listens(port: u16) -> TcpStream {
    moorline_testkit::eventually("the port of ssh", SOON, || async {
        TcpStream::connect(("127.0.0.1", port)).await.ok()
    })
    .await
}

/// ssh may still answer for itself (SOCKS), but no byte of the echo server comes.
async fn assert_nothing_comes(mut stream: TcpStream, say: &[u8]) {
    let _ = stream.write_all(say).await;
    let mut all = Vec::new();
    let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut all)).await;
    assert!(!String::from_utf8_lossy(&all).contains("rtsp"), "{all:?}");
}

#[tokio::test]
async fn a_stream_to_a_third_party_a_subsystem_and_a_socket_are_refused() {
    let (rig, key) = Rig::with_yard(config()).await;
    let rtsp = echo_server("rtsp").await;
    let mut client = rig.ssh(&key, "yard", &["-W", &rtsp.to_string()], &[]);
    client.wait_for_line("open failed", SOON).await.unwrap();
    assert!(!client.wait(SOON).await.unwrap().success());
    let mut client = rig.ssh(&key, "yard", &["-s"], &["sftp"]);
    client
        .wait_for_line("subsystem request failed", SOON)
        .await
        .unwrap();
    assert!(!client.wait(SOON).await.unwrap().success());
    let options = [
        &STRICT[..],
        &["-N", "-R", "/nonexistent/moorline.sock:127.0.0.1:1"],
    ]
    .concat();
    let mut client = rig.ssh(&key, "yard", &options, &[]);
    client
        .wait_for_line("forwarding failed", SOON)
        .await
        .unwrap();
    assert!(!client.wait(SOON).await.unwrap().success());
    assert!(!rig.all().iter().any(|seen| matches!(seen, Seen::Up(..))));
}

#[tokio::test]
async fn compression_is_never_negotiated_and_only_our_algorithms_are() {
    let (rig, key) = Rig::with_yard(config()).await;
    let mut client = rig.ssh(&key, "yard", &["-v", "-C"], &["x"]);
    // On another stream than the hello: which of the two is read first is open.
    for said in [
        "MOORLINE/1",
        "compression: none",
        "remote software version Moorline",
    ] {
        client.wait_for_line(said, SOON).await.unwrap();
    }
    client.signal(Signal::TERM);
    client.wait(SOON).await.unwrap();
    for refused in [
        "KexAlgorithms=diffie-hellman-group14-sha256",
        "MACs=hmac-sha1",
    ] {
        let cipher = ["-o", "Ciphers=aes128-ctr", "-o", refused];
        let mut client = rig.ssh(&key, "yard", &cipher, &["x"]);
        assert!(!client.wait(SOON).await.unwrap().success(), "{refused}");
    }
}

/// Dropbear of 2016.74 to 2019.78, of which no package is to be had any more, has nothing else in common with us.
#[tokio::test]
async fn what_dropbear_knew_in_2016_is_enough_for_a_tunnel() {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let rig = Rig::new(config(), vec![camera("yard", &[key.public()])]).await;
    let rtsp = echo_server("rtsp").await;
    let target = format!("0:127.0.0.1:{}", rtsp.port());
    let known = [
        "KexAlgorithms=curve25519-sha256@libssh.org",
        "HostKeyAlgorithms=ecdsa-sha2-nistp256",
        "PubkeyAcceptedAlgorithms=ecdsa-sha2-nistp256",
        "Ciphers=aes128-ctr",
        "MACs=hmac-sha2-256",
    ];
    let old = known.into_iter().flat_map(|known| ["-o", known]);
    let options: Vec<&str> = old.chain(["-N", "-R", target.as_str()]).collect();
    let _client = rig.ssh(&key, "yard", &options, &[]);
    rig.up(0).await;
    let (mut stream, _) = rig.connect("yard").await.unwrap();
    assert_echo(&mut stream, "rtsp").await;
}

#[tokio::test]
async fn more_than_the_rekey_limit_passes_in_one_channel() {
    // The full 1 GiB limit is for the bench; the client's own limit makes it rekey here.
    let (rig, key) = Rig::with_yard(config()).await;
    let listener = moorline_base::net::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let target = format!("0:127.0.0.1:{}", listener.local_addr().unwrap().port());
    const BYTES: usize = 8 << 20;
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        for block in 0..BYTES / 4096 {
            let block: Vec<u8> = (0..4096).map(|at| (block + at) as u8).collect();
            socket.write_all(&block).await.unwrap();
        }
    });
    let options = ["-N", "-v", "-o", "RekeyLimit=1M", "-R", &target];
    let client = rig.ssh(&key, "yard", &options, &[]);
    rig.up(0).await;
    let (mut stream, _) = rig.connect("yard").await.unwrap();
    let mut all = Vec::new();
    tokio::time::timeout(3 * SOON, stream.read_to_end(&mut all))
        .await
        .expect("all bytes in time")
        .unwrap();
    assert_eq!(all.len(), BYTES);
    let wrong = all.chunks(4096).enumerate().find(|(block, bytes)| {
        bytes
            .iter()
            .enumerate()
            .any(|(at, byte)| *byte != (block + at) as u8)
    });
    assert!(
        wrong.is_none(),
        "block {:?} is wrong",
        wrong.map(|(block, _)| block)
    );
    let rekeys = client
        .lines()
        .iter()
        .filter(|line| line.contains("rekey"))
        .count();
    assert!(rekeys >= 2, "{rekeys} lines about rekeying");
}
