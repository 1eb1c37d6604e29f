//! Who gets in at the front door, who does not, and who has to leave.
#![allow(
    clippy::disallowed_methods,
    reason = "tests may bind, write and look at the real clock"
)]

mod stage;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moorline_core::camera::Source;
use moorline_core::port::AuditEvent;
use moorline_proxy::{DoorConfig, RelayConfig};
use moorline_rtsp::auth::{AuthError, ClientAuth, Credentials};
use moorline_rtsp::client::ClientError;
use moorline_testkit::Starved;
use stage::viewer::{Seen, Viewer};
use stage::{Fault, PATIENCE, Script, Stage, record};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const ANN: Option<(&str, &str)> = Some(("ann", "stream-secret"));

/// A certificate of our own, and a client that trusts it.
fn tls() -> (TlsAcceptor, TlsConnector) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let certificate = CertificateDer::from(made.cert.der().to_vec());
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (
        TlsAcceptor::from(Arc::new(server)),
        TlsConnector::from(Arc::new(client)),
    )
}

async fn ask<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.windows(4).any(|window| window == b"\r\n\r\n") {
        let read = tokio::time::timeout(PATIENCE, stream.read_buf(&mut answer)).await;
        assert_ne!(read.expect("an answer").unwrap(), 0, "closed: {answer:?}");
    }
    String::from_utf8(answer).unwrap()
}

fn request(method: &str, address: SocketAddr, path: &str, more: &str) -> String {
    format!("{method} rtsp://{address}/{path} RTSP/1.0\r\nCSeq: 3\r\n{more}\r\n")
}

/// `ann:stream-secret`.
const BASIC: &str = "Authorization: Basic YW5uOnN0cmVhbS1zZWNyZXQ=\r\n";

async fn one_camera() -> (Stage, stage::Running) {
    let stage = Stage::new(vec![record("yard")]).await;
    stage.yard.up("yard", Script::clip(1));
    let relay = stage.relay("yard");
    (stage, relay)
}

/// The same behind a door with TLS, and a client that trusts it.
async fn behind_tls(config: RelayConfig) -> (Stage, stage::Running, TlsConnector) {
    let (acceptor, connector) = tls();
    let cameras = vec![record("yard")];
    let stage = Stage::with(cameras, config, DoorConfig::default(), Some(acceptor)).await;
    stage.yard.up("yard", Script::clip(1));
    let relay = stage.relay("yard");
    (stage, relay, connector)
}

/// S12.
#[tokio::test]
async fn only_the_stream_password_of_a_user_of_the_tenant_opens() {
    let mut foreign = record("yard");
    foreign.id = "acme/vault".parse().unwrap();
    let stage = Stage::new(vec![record("yard"), foreign]).await;
    stage.people.add("bob", "acme", "another-secret");
    stage.yard.up("yard", Script::clip(1));
    let _relay = stage.relay("yard");
    let rejected = Err(ClientError::Unauthorized(AuthError::Rejected));
    let nobody = Err(ClientError::Unauthorized(AuthError::NoCredentials));
    for (login, end) in [
        (Some(("ann", "wrong")), rejected.clone()),
        (Some(("nobody", "stream-secret")), rejected),
        (None, nobody),
    ] {
        let mut viewer = Viewer::open(stage.address, "yard", login).await;
        assert_eq!(viewer.end().await, end, "{login:?}");
    }
    let bob = Some(("bob", "another-secret"));
    for (login, path) in [
        (ANN, "vault"),
        (ANN, "acme/vault"),
        (ANN, "nothing"),
        (ANN, "yard/sub"),
        (ANN, ""),
        (bob, "yard"),
        (bob, "home/yard"),
    ] {
        let mut viewer = Viewer::open(stage.address, path, login).await;
        let end = viewer.end().await;
        assert!(
            matches!(end, Err(ClientError::NotFound { .. })),
            "{login:?} {path}: {end:?}"
        );
    }
    let mut viewer = Viewer::open(stage.address, "yard", ANN).await;
    viewer.plays().await;
}

#[tokio::test]
async fn options_need_no_login_and_basic_is_for_tls_alone() {
    let (stage, _relay, connector) = behind_tls(RelayConfig::default()).await;
    let mut plain = TcpStream::connect(stage.address).await.unwrap();
    let answer = ask(&mut plain, &request("OPTIONS", stage.address, "yard", "")).await;
    assert!(
        answer.starts_with("RTSP/1.0 200") && answer.contains("DESCRIBE"),
        "{answer}"
    );
    let answer = ask(
        &mut plain,
        &request("DESCRIBE", stage.address, "yard", BASIC),
    )
    .await;
    assert!(answer.starts_with("RTSP/1.0 401"), "{answer}");
    assert!(
        answer.contains("Digest realm=\"Moorline\"") && !answer.contains("Basic"),
        "{answer}"
    );

    let socket = TcpStream::connect(stage.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut secure = connector.connect(name.clone(), socket).await.unwrap();
    let answer = ask(&mut secure, &request("DESCRIBE", stage.address, "yard", "")).await;
    assert!(
        answer.contains("Digest") && answer.contains("Basic realm=\"Moorline\""),
        "{answer}"
    );
    let answer = ask(
        &mut secure,
        &request("DESCRIBE", stage.address, "yard", BASIC),
    )
    .await;
    assert!(
        answer.starts_with("RTSP/1.0 200") && answer.contains("application/sdp"),
        "{answer}"
    );

    let socket = TcpStream::connect(stage.address).await.unwrap();
    let secure = connector.connect(name, socket).await.unwrap();
    let authority = stage.address.to_string();
    let mut viewer = Viewer::on(secure, &authority, "yard", ANN);
    assert!(viewer.picture().await.idr, "Digest works under TLS too");
}

#[tokio::test]
async fn udp_is_refused_and_the_connection_goes_on() {
    let (stage, _relay, connector) = behind_tls(RelayConfig::default()).await;
    let socket = TcpStream::connect(stage.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut secure = connector.connect(name, socket).await.unwrap();
    let udp = format!("{BASIC}Transport: RTP/AVP;unicast;client_port=4000-4001\r\n");
    let answer = ask(
        &mut secure,
        &request("SETUP", stage.address, "yard/trackID=0", &udp),
    )
    .await;
    assert!(answer.starts_with("RTSP/1.0 461"), "{answer}");
    let tcp = format!("{BASIC}Transport: RTP/AVP/TCP;interleaved=0-1\r\n");
    let answer = ask(
        &mut secure,
        &request("SETUP", stage.address, "yard/trackID=0", &tcp),
    )
    .await;
    assert!(answer.starts_with("RTSP/1.0 200"), "{answer}");
}

#[tokio::test]
async fn a_viewer_waits_for_a_camera_that_comes_and_is_told_to_come_back() {
    let relay = RelayConfig {
        patience: Duration::from_millis(800),
        ..RelayConfig::default()
    };
    let stage = Stage::with(vec![record("yard")], relay, DoorConfig::default(), None).await;
    let mut early = Viewer::open(stage.address, "yard", ANN).await;
    assert_eq!(
        early.end().await,
        Err(ClientError::Status {
            method: "DESCRIBE".into(),
            status: 503
        })
    );
    // With the patience that viewers have.
    let stage = Stage::new(vec![record("yard")]).await;
    let mut waiting = Viewer::open(stage.address, "yard", ANN).await;
    tokio::task::yield_now().await;
    stage.yard.up("yard", Script::clip(1));
    let _relay = stage.relay("yard");
    assert!(waiting.picture().await.idr);
}

#[tokio::test]
async fn too_many_readers_get_453() {
    let relay = RelayConfig {
        readers_per_user: 2,
        ..RelayConfig::default()
    };
    let (stage, _relay, connector) = behind_tls(relay).await;
    let mut first = Viewer::open(stage.address, "yard", ANN).await;
    let mut second = Viewer::open(stage.address, "yard", ANN).await;
    first.plays().await;
    second.plays().await;
    let socket = TcpStream::connect(stage.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut third = connector.connect(name, socket).await.unwrap();
    let describe = request("DESCRIBE", stage.address, "yard", BASIC);
    let answer = ask(&mut third, &describe).await;
    assert!(answer.starts_with("RTSP/1.0 453"), "{answer}");
}

/// S15.
#[tokio::test]
async fn a_removed_user_and_an_old_password_end_within_a_second() {
    let (stage, _relay) = one_camera().await;
    stage.people.add("eve", "home", "first");
    let mut ann = Viewer::open(stage.address, "yard", ANN).await;
    let mut eve = Viewer::open(stage.address, "yard", Some(("eve", "first"))).await;
    let mut other = Viewer::open(stage.address, "yard", Some(("eve", "first"))).await;
    ann.plays().await;
    eve.plays().await;
    other.plays().await;
    let starved = Starved::begin();
    let since = Instant::now();
    stage.people.add("eve", "home", "second");
    assert!(eve.end().await.is_err());
    assert!(other.end().await.is_err());
    let took = since.elapsed();
    assert!(took < Duration::from_secs(1) + starved.so_far(), "{took:?}");
    assert!(ann.picture().await.stamp.is_some(), "another user stays");
    let starved = Starved::begin();
    let since = Instant::now();
    stage.people.take_away("ann");
    assert!(ann.end().await.is_err());
    let took = since.elapsed();
    assert!(took < Duration::from_secs(1) + starved.so_far(), "{took:?}");
}

async fn closed(mut stream: TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut said)).await;
    let _ = read.expect("the door closes it");
    said
}

/// P9.
#[tokio::test]
async fn strangers_are_gone_after_their_time_whatever_they_say() {
    let door = DoorConfig {
        login_timeout: Duration::from_secs(8),
        ..DoorConfig::default()
    };
    let stage = Stage::with(vec![record("yard")], RelayConfig::default(), door, None).await;
    let (starved, since) = (Starved::begin(), Instant::now());
    let quiet = TcpStream::connect(stage.address).await.unwrap();
    let mut polite = TcpStream::connect(stage.address).await.unwrap();
    ask(&mut polite, &request("OPTIONS", stage.address, "yard", "")).await;
    let mut slow = TcpStream::connect(stage.address).await.unwrap();
    slow.write_all(b"OPTIONS rtsp://x RTSP/1.0\r\n")
        .await
        .unwrap();
    let mut tls = TcpStream::connect(stage.address).await.unwrap();
    tls.write_all(&[0x16, 3, 1]).await.unwrap();
    let mut garbage = TcpStream::connect(stage.address).await.unwrap();
    garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let said = closed(garbage).await;
    assert!(
        said.starts_with(b"RTSP/1.0 505"),
        "{}",
        String::from_utf8_lossy(&said)
    );
    for stream in [quiet, polite, slow, tls] {
        closed(stream).await;
    }
    let took = since.elapsed();
    assert!(
        took < Duration::from_secs(20) + starved.so_far(),
        "{took:?}"
    );
}

/// P9, S9.
#[tokio::test]
async fn a_flood_of_strangers_makes_room_for_whoever_comes() {
    let door = DoorConfig {
        strangers: 8,
        ..DoorConfig::default()
    };
    let stage = Stage::with(vec![record("yard")], RelayConfig::default(), door, None).await;
    stage.yard.up("yard", Script::clip(1));
    let _relay = stage.relay("yard");
    let mut flood = Vec::new();
    for _ in 0..30 {
        let mut stream = TcpStream::connect(stage.address).await.unwrap();
        ask(&mut stream, &request("OPTIONS", stage.address, "yard", "")).await;
        flood.push(stream);
    }
    let mut viewer = Viewer::open(stage.address, "yard", ANN).await;
    viewer.plays().await;
    closed(flood.remove(0)).await;
}

#[tokio::test]
async fn the_small_stream_has_its_own_path() {
    let mut camera = record("yard");
    camera.sub = Some(Source {
        path: Some("/ch1".to_owned()),
        ..Source::default()
    });
    let stage = Stage::new(vec![camera]).await;
    let mut script = Script::clip(1);
    script.path = "ch1";
    stage.yard.up("yard", script);
    let _relay = stage.relay("yard");
    let mut viewer = Viewer::open(stage.address, "yard/sub", ANN).await;
    assert!(viewer.picture().await.idr);
}

#[tokio::test]
async fn a_closing_door_says_goodbye() {
    let (stage, _relay) = one_camera().await;
    let mut viewer = Viewer::open(stage.address, "yard", ANN).await;
    viewer.picture().await;
    let idle = TcpStream::connect(stage.address).await.unwrap();
    stage.closing.cancel();
    let closing = tokio::time::timeout(PATIENCE, stage.door).await;
    closing.expect("in time").expect("no panic");
    let mut bye = false;
    loop {
        match viewer.next().await {
            Seen::Rtcp { packets, .. } => bye |= format!("{packets:?}").contains("Bye"),
            Seen::Closed(_) => break,
            _ => {}
        }
    }
    assert!(bye);
    closed(idle).await;
}

#[tokio::test]
async fn a_mute_camera_is_described_and_plays_nothing() {
    let stage = Stage::new(vec![record("yard")]).await;
    stage.yard.up("yard", Script::clip(1).fault(Fault::Mute));
    let _relay = stage.relay("yard");
    let mut viewer = Viewer::open(stage.address, "yard", ANN).await;
    viewer.plays().await;
    let early = tokio::time::timeout(Duration::from_millis(300), viewer.next()).await;
    assert!(early.is_err(), "{early:?}");
}

/// Connects and logs in without asking for anything that plays; what is answered to the DESCRIBE that carries the login.
async fn logged_in(stage: &Stage, path: &str, login: (&str, &str)) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(stage.address).await.unwrap();
    let challenge = ask(&mut stream, &request("DESCRIBE", stage.address, path, "")).await;
    let challenge = challenge.split("WWW-Authenticate: ").nth(1).unwrap();
    let (user, password) = login;
    let credentials = Credentials {
        user: user.to_owned(),
        password: password.to_owned(),
    };
    let mut auth = ClientAuth::new(Some(credentials), false, [7; 16]);
    auth.challenge(challenge.lines().take(1)).unwrap();
    let uri = format!("rtsp://{}/{path}", stage.address);
    let header = auth.authorize("DESCRIBE", &uri).unwrap();
    let header = format!("Authorization: {header}\r\n");
    let answer = ask(
        &mut stream,
        &request("DESCRIBE", stage.address, path, &header),
    )
    .await;
    (stream, answer)
}

#[tokio::test]
async fn a_user_has_so_many_connections_and_no_more_whatever_they_do() {
    let door = DoorConfig {
        connections_per_user: 3,
        ..DoorConfig::default()
    };
    let stage = Stage::with(vec![record("yard")], RelayConfig::default(), door, None).await;
    stage.people.add("bob", "home", "another-secret");
    stage.yard.up("yard", Script::clip(1));
    let _relay = stage.relay("yard");
    // Neither of a camera nor playing: no limit on readers counts them.
    let ann = ("ann", "stream-secret");
    let mut held = Vec::new();
    for _ in 0..3 {
        let (stream, answer) = logged_in(&stage, "nothing", ann).await;
        assert!(answer.starts_with("RTSP/1.0 404"), "{answer}");
        held.push(stream);
    }
    let (mut refused, answer) = logged_in(&stage, "yard", ann).await;
    assert!(answer.starts_with("RTSP/1.0 503"), "{answer}");
    assert!(answer.contains("Retry-After: 5"), "{answer}");
    let mut reason = String::new();
    let read = tokio::time::timeout(PATIENCE, refused.read_to_string(&mut reason)).await;
    read.expect("it is closed").unwrap();
    let told = answer + &reason;
    assert!(told.contains("close one"), "{told}");
    // A wrong password is told nothing of it, another user has places of their own, and a place that is left can be taken.
    let (_, answer) = logged_in(&stage, "yard", ("ann", "wrong")).await;
    assert!(answer.starts_with("RTSP/1.0 401"), "{answer}");
    let (_, answer) = logged_in(&stage, "yard", ("bob", "another-secret")).await;
    assert!(answer.starts_with("RTSP/1.0 200"), "{answer}");
    held.pop();
    moorline_testkit::eventually("there is room again", PATIENCE, || async {
        let (_, answer) = logged_in(&stage, "yard", ann).await;
        answer.starts_with("RTSP/1.0 200").then_some(())
    })
    .await;
}

#[tokio::test]
async fn s35_who_watches_what_is_audited_once_and_a_relays_own_reader_is_nobody() {
    let stage = Stage::new(vec![record("yard")]).await;
    stage.yard.up("yard", Script::clip(1));
    let _relay = stage.relay("yard");
    let mut viewer = Viewer::open(stage.address, "yard", ANN).await;
    viewer.picture().await;
    let mut wrong = Viewer::open(stage.address, "yard", Some(("ann", "wrong"))).await;
    assert!(wrong.end().await.is_err());
    let seen = (
        "ann".to_owned(),
        AuditEvent::View,
        "home/yard main".to_owned(),
    );
    assert_eq!(stage.people.audited(), [seen]);
}
