//! Who is refused, what is known of them, and how little they cost.

use std::time::{Duration, Instant};

use moorline_core::camera::Enabled;
use moorline_core::key::KeyAlgorithm;
use moorline_core::port::{Strangers, TunnelEnd};
use moorline_testkit::patience;
use moorline_tunnel::TunnelConfig;
use moorline_tunnel::keyfile::PrivateKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{flood_keepalives, offer_public};
use crate::support::{Rig, SOON, Seen, assert_echo, camera, config, echo_server};

fn ed25519() -> PrivateKey {
    PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap()
}

const TUNNEL: [&str; 3] = ["-N", "-R", "0:127.0.0.1:1"];

#[tokio::test]
async fn an_unknown_key_is_refused_listed_and_let_in_once_it_is_added() {
    let (rig, _) = Rig::with_yard(config()).await;
    let key = ed25519();
    let mut client = rig.dbclient(&key, "gate", &TUNNEL, &[]);
    assert_eq!(client.wait(SOON).await.unwrap().code(), Some(1));
    assert!(
        client.tail().contains("camera pending"),
        "{}",
        client.tail()
    );
    let pending = rig.tunnel.pending();
    assert_eq!(pending.len(), 1);
    assert_eq!(pending[0].key, *key.public());
    assert_eq!(pending[0].name, "gate");
    assert_eq!(pending[0].reason, "unknown_key");
    assert!(
        pending[0].client.starts_with("SSH-2.0-dropbear"),
        "{:?}",
        pending[0]
    );
    rig.directory.set(vec![camera("gate", &[key.public()])]);
    rig.tunnel.forget(key.public());
    let _client = rig.dbclient(&key, "gate", &TUNNEL, &[]);
    rig.up(0).await;
    assert_eq!(rig.tunnel.pending(), []);
}

/// S4.
#[tokio::test]
async fn a_camera_is_let_in_from_its_owners_networks_alone_and_a_tunnel_that_is_up_stays() {
    let (rig, key) = Rig::with_yard(config()).await;
    let _client = rig.dbclient(&key, "yard", &TUNNEL, &[]);
    let up = rig.up(0).await;
    let from = |networks: &[&str]| {
        let mut yard = camera("yard", &[key.public()]);
        yard.allow_from = networks.iter().map(|one| one.parse().unwrap()).collect();
        rig.directory.set(vec![yard]);
    };
    from(&["192.0.2.0/24", "2001:db8::/32"]);
    let mut second = rig.dbclient(&key, "yard", &TUNNEL, &[]);
    assert_eq!(second.wait(SOON).await.unwrap().code(), Some(1));
    let pending = rig.tunnel.pending();
    assert_eq!(pending.len(), 1, "{pending:?}");
    assert_eq!(pending[0].reason, "other_network");
    assert!(
        rig.tunnel.peers().len() == 1,
        "the first, {up:?}, counts from its next login on"
    );
    from(&["192.0.2.0/24", "127.0.0.0/8"]);
    let _third = rig.dbclient(&key, "yard", &TUNNEL, &[]);
    rig.up(1).await;
}

/// S1.
#[tokio::test]
async fn name_and_key_must_agree_and_the_camera_be_enabled() {
    let (yard, gate, shed, lost) = (ed25519(), ed25519(), ed25519(), ed25519());
    let mut off = camera("shed", &[shed.public()]);
    off.enabled = Enabled::Disabled;
    let mut stolen = camera("lost", &[lost.public()]);
    stolen.enabled = Enabled::Stolen;
    let cameras = vec![
        camera("yard", &[yard.public()]),
        camera("acme/gate", &[gate.public()]),
        off,
        stolen,
    ];
    let rig = Rig::new(config(), cameras).await;
    for (key, name, reason) in [
        (&yard, "acme/gate", "other_camera"),
        (&shed, "shed", "disabled"),
        (&lost, "lost", "stolen"),
    ] {
        let mut client = rig.dbclient(key, name, &TUNNEL, &[]);
        assert_eq!(client.wait(SOON).await.unwrap().code(), Some(1), "{name}");
        assert_eq!(rig.tunnel.pending()[0].reason, reason);
    }
    rig.told("S4: that the stolen camera called", |seen| {
        let lost = "lost".parse().unwrap();
        seen.iter()
            .any(|seen| matches!(seen, Seen::Stolen(id, client) if *id == lost && client.contains("dropbear")))
            .then_some(())
    })
    .await;
    let _client = rig.dbclient(&gate, "root", &TUNNEL, &[]);
    rig.told("the gate by its key alone", |seen| {
        let gate = "acme/gate".parse().unwrap();
        seen.iter()
            .any(|seen| matches!(seen, Seen::Up(_, id) if *id == gate))
            .then_some(())
    })
    .await;
}

/// S4: a public key is no secret.
#[tokio::test]
async fn who_has_only_a_cameras_public_key_does_not_make_it_look_stolen_or_gone_elsewhere() {
    let (lost, yard, gate) = (ed25519(), ed25519(), ed25519());
    let mut stolen = camera("lost", &[lost.public()]);
    stolen.enabled = Enabled::Stolen;
    let mut elsewhere = camera("yard", &[yard.public()]);
    elsewhere.allow_from = vec!["192.0.2.0/24".parse().unwrap()];
    let rig = Rig::new(config(), vec![stolen, elsewhere]).await;
    for (key, name) in [(&lost, "lost"), (&yard, "yard")] {
        assert!(offer_public(&rig, key, name).await, "{name} may prove it");
    }
    assert!(!offer_public(&rig, &gate, "gate").await, "nobody's key");
    let pending = rig.tunnel.pending();
    assert_eq!(pending.len(), 1, "{pending:?}");
    assert_eq!(pending[0].reason, "unknown_key");
    assert!(rig.all().is_empty(), "{:?}", rig.all());
}

/// S1: two tenants may have one key. A camera whose own name is not there (any more, or yet) is nobody else's.
#[tokio::test]
async fn where_names_are_required_a_neighbour_with_the_same_public_key_gets_no_tunnel() {
    let key = ed25519();
    let config = TunnelConfig {
        names_required: true,
        ..config()
    };
    let mirror = camera("evil/mirror", &[key.public()]);
    let rig = Rig::new(config, vec![mirror.clone()]).await;
    for name in ["acme/yard", "root"] {
        let mut client = rig.dbclient(&key, name, &TUNNEL, &[]);
        assert_eq!(client.wait(SOON).await.unwrap().code(), Some(1), "{name}");
        assert_eq!(rig.tunnel.pending()[0].reason, "unknown_name");
    }
    let yard = camera("acme/yard", &[key.public()]);
    rig.directory.set(vec![mirror, yard]);
    let _client = rig.dbclient(&key, "acme/yard", &TUNNEL, &[]);
    rig.told("the camera by its own name", |seen| {
        let yard = "acme/yard".parse().unwrap();
        seen.iter()
            .any(|seen| matches!(seen, Seen::Up(_, id) if *id == yard))
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_revoked_key_and_a_disabled_camera_end_their_sessions_at_once() {
    let (rig, key) = Rig::with_yard(config()).await;
    let mut client = rig.dbclient(&key, "yard", &TUNNEL, &[]);
    let session = rig.up(0).await;
    rig.directory
        .set(vec![camera("yard", &[ed25519().public()])]);
    assert_eq!(rig.ended(session).await, TunnelEnd::Lost);
    client.wait(SOON).await.unwrap();
    rig.directory.set(vec![camera("yard", &[key.public()])]);
    let _client = rig.dbclient(&key, "yard", &TUNNEL, &[]);
    let session = rig.up(1).await;
    let mut off = camera("yard", &[key.public()]);
    off.enabled = Enabled::Disabled;
    rig.directory.set(vec![off]);
    assert_eq!(rig.ended(session).await, TunnelEnd::Lost);
}

#[tokio::test]
async fn revoking_one_key_of_a_camera_leaves_the_session_of_its_other_key() {
    let (tunnel_key, check_key) = (ed25519(), ed25519());
    let both = camera("yard", &[tunnel_key.public(), check_key.public()]);
    let rig = Rig::new(config(), vec![both]).await;
    let echo = echo_server("rtsp").await;
    let forward = format!("0:127.0.0.1:{}", echo.port());
    let _client = rig.dbclient(&tunnel_key, "yard", &["-N", "-R", &forward], &[]);
    let session = rig.up(0).await;
    // Each client has its key in memory before the next one's file takes its place.
    let mut check = rig.dbclient(&check_key, "yard", &["-T"], &[]);
    let opened = |seen: &[Seen]| {
        seen.iter().find_map(|seen| match seen {
            Seen::Opened(session) => Some(*session),
            _ => None,
        })
    };
    let other = rig.told("the check's channel", opened).await;

    rig.directory
        .set(vec![camera("yard", &[tunnel_key.public()])]);
    rig.told("the end of the check", move |seen| {
        seen.contains(&Seen::Closed(other)).then_some(())
    })
    .await;
    check.wait(SOON).await.unwrap();
    let (mut stream, generation) = rig.connect("yard").await.unwrap();
    assert_eq!(generation.0, 1);
    assert_echo(&mut stream, "rtsp").await;

    rig.directory
        .set(vec![camera("yard", &[check_key.public()])]);
    assert_eq!(rig.ended(session).await, TunnelEnd::Lost);
}

/// What a stranger sends who wants to stay.
async fn stay(address: std::net::SocketAddr, say: &'static [u8]) -> Duration {
    let start = Instant::now();
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(say).await.unwrap();
    let (mut read, mut write) = socket.split();
    let chatting = async {
        // Plain SSH_MSG_IGNORE packets: any packet resets russh's own timers.
        let ignore = [0, 0, 0, 12, 6, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let mut pause = tokio::time::interval(Duration::from_millis(100));
        loop {
            pause.tick().await;
            if say.is_empty() || write.write_all(&ignore).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let mut all = Vec::new();
    tokio::select! {
        () = chatting => unreachable!(),
        _ = tokio::time::timeout(3 * SOON, read.read_to_end(&mut all)) => {}
    }
    start.elapsed()
}

/// P9.
#[tokio::test]
async fn strangers_who_say_nothing_or_chatter_are_gone_after_the_grace() {
    let config = TunnelConfig {
        // The camera's login has to fit into it beside two hundred strangers.
        login_grace: Duration::from_secs(15),
        ..config()
    };
    let (rig, key) = Rig::with_yard(config).await;
    let mut strangers = tokio::task::JoinSet::new();
    for nth in 0..200 {
        let say: &[u8] = if nth % 2 == 0 {
            b""
        } else {
            b"SSH-2.0-chatter\r\n"
        };
        strangers.spawn(stay(rig.address, say));
    }
    let _client = rig.dbclient(&key, "yard", &TUNNEL, &[]);
    rig.up(0).await;
    while let Some(stayed) = strangers.join_next().await {
        let stayed = stayed.unwrap();
        assert!(stayed < patience(Duration::from_secs(30)), "{stayed:?}");
    }
    let session = rig.up(0).await;
    let ended = tokio::time::timeout(Duration::from_millis(500), rig.ended(session)).await;
    assert!(ended.is_err(), "the grace ended a camera: {ended:?}");
}

/// What it sends buys it no time, and costs the camera beside it none.
#[tokio::test]
async fn p9_a_stranger_who_floods_keepalives_is_gone_after_the_grace() {
    let config = TunnelConfig {
        // The camera's login and the strangers' handshakes have to fit into it.
        login_grace: Duration::from_secs(15),
        ..config()
    };
    let (rig, key) = Rig::with_yard(config).await;
    let rtsp = echo_server("rtsp").await;
    let target = format!("0:127.0.0.1:{}", rtsp.port());
    let _client = rig.dbclient(&key, "yard", &["-N", "-R", &target], &[]);
    rig.up(0).await;
    let floods = [(); 2].map(|()| tokio::spawn(flood_keepalives(rig.address)));
    let (mut stream, _) = rig.connect("yard").await.unwrap();
    assert_echo(&mut stream, "rtsp").await;
    for flood in floods {
        let gone = tokio::time::timeout(patience(Duration::from_secs(60)), flood).await;
        gone.expect("it is still there").unwrap();
    }
    let (mut stream, generation) = rig.connect("yard").await.unwrap();
    assert_eq!(generation.0, 1, "the camera's tunnel is the same");
    assert_echo(&mut stream, "rtsp").await;
}

/// P9, S9.
#[tokio::test]
async fn a_flood_crowds_out_itself_and_a_camera_gets_in() {
    let config = TunnelConfig {
        unauthenticated: 40,
        unauthenticated_per_prefix: 20,
        ..config()
    };
    let (rig, key) = Rig::with_yard(config).await;
    let mut sockets = Vec::new();
    for _ in 0..100 {
        sockets.push(TcpStream::connect(rig.address).await.unwrap());
    }
    let _client = rig.dbclient(&key, "yard", &TUNNEL, &[]);
    rig.up(0).await;
    // The first of the flood was crowded out: its socket is closed, after our version line.
    let mut all = Vec::new();
    let closed = tokio::time::timeout(SOON, sockets[0].read_to_end(&mut all)).await;
    assert!(closed.is_ok(), "the oldest stranger is still there");
}

#[tokio::test]
async fn garbage_is_closed_and_harms_nobody() {
    let (rig, key) = Rig::with_yard(config()).await;
    for say in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"SSH-2.0-x\r\n\xff\xff\xff\xff\xff\xff\xff\xff",
        b"SSH-2.0-x\r\n\0\0\0\x0c\x06\x14garbage!!!",
    ] {
        let mut socket = TcpStream::connect(rig.address).await.unwrap();
        socket.write_all(say).await.unwrap();
        let mut all = Vec::new();
        let closed = tokio::time::timeout(SOON, socket.read_to_end(&mut all)).await;
        assert!(closed.is_ok(), "{say:?} is still connected");
    }
    let _client = rig.dbclient(&key, "yard", &TUNNEL, &[]);
    rig.up(0).await;
}

/// S9: after a tenant was removed its cameras call on until somebody switches them off, and other people's beside them want to come in.
#[tokio::test]
async fn a_removed_camera_that_calls_on_does_not_hold_its_network_off() {
    let config = TunnelConfig {
        penalties: true,
        ..config()
    };
    let (rig, key) = Rig::with_yard(config).await;
    let removed = ed25519();
    for _ in 0..4 {
        let mut client = rig.dbclient(&removed, "gate", &TUNNEL, &[]);
        client.wait(SOON).await.unwrap();
    }
    let _client = rig.dbclient(&key, "yard", &TUNNEL, &[]);
    rig.up(0).await;
}

/// S9.
#[tokio::test]
async fn a_network_that_fails_again_and_again_is_held_off_unless_a_camera_of_it_is_connected() {
    let config = TunnelConfig {
        penalties: true,
        ..config()
    };
    let (rig, key) = Rig::with_yard(config).await;
    let says = |address| async move {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let mut said = [0; 8];
        let read = tokio::time::timeout(SOON, socket.read_exact(&mut said)).await;
        read.unwrap().map(|_| said)
    };
    let mut client = rig.dbclient(&key, "yard", &TUNNEL, &[]);
    let session = rig.up(0).await;
    for _ in 0..4 {
        let mut client = rig.dbclient(&ed25519(), "gate", &TUNNEL, &[]);
        client.wait(SOON).await.unwrap();
    }
    let said = says(rig.address).await;
    assert_eq!(said.ok(), Some(*b"SSH-2.0-"), "a camera is connected");
    client.signal(moorline_testkit::child::Signal::KILL);
    client.wait(SOON).await.unwrap();
    rig.ended(session).await;
    moorline_testkit::eventually("held off", SOON, || async {
        says(rig.address).await.is_err().then_some(())
    })
    .await;
    let pending = rig.tunnel.pending();
    let left = pending[0].held_off.expect("it is told who waits for what");
    assert!(left <= Duration::from_secs(600), "{left:?}");
}
