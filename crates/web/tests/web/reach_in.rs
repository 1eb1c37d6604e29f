//! A camera's own page: reached over the Unix socket alone, by whoever has it, and as long as the camera's record says so (rule S14).

use std::path::PathBuf;
use std::time::Duration;

use axum::body::Body;
use hyper::StatusCode;
use hyper::header::HeaderValue;
use moorline_core::camera::{Access, Enabled};
use moorline_core::id::ForwardName;
use moorline_core::port::{AuditEvent, CameraAdmin as _, CameraChange, LandingError};
use moorline_testkit::tempfile::TempDir;
use moorline_testkit::{eventually, patience, temp_dir};
use moorline_web::serve;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::ServiceExt as _;

use crate::support::scene::{self, id};
use crate::support::server::House;

const SOON: Duration = Duration::from_secs(30);
const YARD: &str = "/api/v1/tenants/home/cameras/yard/reach-in";

async fn soon<T>(what: impl Future<Output = T>) -> T {
    let what = tokio::time::timeout(patience(SOON), what).await;
    what.expect("in time")
}

/// The house, and its socket for the command line.
struct Machine {
    house: House,
    socket: PathBuf,
    _place: TempDir,
    _stop: DropGuard,
}

impl Machine {
    /// With the yard's forward `http` granted.
    async fn start() -> Self {
        let house = scene::house().await;
        let place = temp_dir().unwrap();
        let socket = place.path().join("moorline.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(serve::local(listener, house.router.clone(), stop.clone()));
        let machine = Self {
            house,
            socket,
            _place: place,
            _stop: stop.drop_guard(),
        };
        machine.grant(&["http"]).await;
        machine
    }

    /// Sets the yard's forwards.
    async fn grant(&self, names: &[&str]) {
        let name = |name: &&str| name.parse::<ForwardName>().unwrap();
        let forwards = names.iter().map(name).collect();
        self.change(CameraChange {
            access: Some(Access::Tunnel { forwards }),
            ..CameraChange::default()
        })
        .await;
    }

    async fn enable(&self, enabled: Enabled) {
        self.change(CameraChange {
            enabled: Some(enabled),
            ..CameraChange::default()
        })
        .await;
    }

    async fn change(&self, change: CameraChange) {
        self.house.cameras.set(&id("yard"), change).await.unwrap();
    }

    /// A stream to a camera, or what was answered instead.
    async fn ask(&self, camera: &str) -> Result<UnixStream, Value> {
        let mut stream = UnixStream::connect(&self.socket).await.unwrap();
        let path = format!("/api/v1/tenants/home/cameras/{camera}/reach-in");
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: moorline-stream\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(soon(stream.read_u8()).await.unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        if head.starts_with("http/1.1 101 ") {
            assert!(head.contains("\r\nupgrade: moorline-stream\r\n"), "{head}");
            return Ok(stream);
        }
        let (_, length) = head.split_once("\r\ncontent-length: ").unwrap();
        let (length, _) = length.split_once("\r\n").unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        soon(stream.read_exact(&mut body)).await.unwrap();
        Err(serde_json::from_slice(&body).unwrap())
    }

    /// A stream to the yard, and the camera's end of it.
    async fn reach(&self) -> (UnixStream, DuplexStream) {
        let browser = self.ask("yard").await.unwrap();
        let (told, camera) = soon(self.house.landings.opened()).await;
        assert_eq!(told, "home/yard http");
        (browser, camera)
    }

    /// Title and hint of a refusal.
    async fn refused(&self, camera: &str, kind: &str) -> String {
        let problem = self.ask(camera).await.expect_err("a refusal");
        assert_eq!(problem["type"], kind, "{problem}");
        format!("{} {}", problem["title"], problem["hint"])
    }
}

#[tokio::test]
async fn bytes_go_both_ways_and_the_visit_is_audited_once() {
    let machine = Machine::start().await;
    let (mut browser, mut camera) = machine.reach().await;
    let mut piece = [0; 4];
    browser.write_all(b"GET ").await.unwrap();
    soon(camera.read_exact(&mut piece)).await.unwrap();
    assert_eq!(&piece, b"GET ");
    camera.write_all(b"200 ").await.unwrap();
    soon(browser.read_exact(&mut piece)).await.unwrap();
    assert_eq!(&piece, b"200 ");

    // Who has said all may still be answered.
    browser.shutdown().await.unwrap();
    assert_eq!(soon(camera.read(&mut piece)).await.unwrap(), 0);
    camera.write_all(b"last").await.unwrap();
    drop(camera);
    let mut rest = Vec::new();
    soon(browser.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"last");

    machine.reach().await;
    let entries = machine.house.audit.0.lock().unwrap();
    let visits: Vec<_> = entries
        .iter()
        .filter(|entry| entry.event == AuditEvent::ReachIn)
        .map(|entry| (entry.actor.as_str(), entry.subject.as_str()))
        .collect();
    assert_eq!(visits, [("command line", "home/yard")]);
}

/// S14.
#[tokio::test]
async fn over_https_it_is_not_there_whoever_asks() {
    let machine = Machine::start().await;
    let house = &machine.house;
    for (login, status) in [
        (Some("anna"), StatusCode::NOT_FOUND),
        (Some("vera"), StatusCode::NOT_FOUND),
        (Some("eve"), StatusCode::NOT_FOUND),
        (None, StatusCode::UNAUTHORIZED),
    ] {
        let mut ask = house.ask("GET", YARD);
        if let Some(login) = login {
            ask = ask.with_cookie(&house.sign_in(login).await);
        }
        assert_eq!(house.send(ask.clone()).await.status, status, "{login:?}");
        let mut upgrading = ask.request().map(Body::new);
        let headers = upgrading.headers_mut();
        headers.insert("connection", HeaderValue::from_static("upgrade"));
        headers.insert("upgrade", HeaderValue::from_static("moorline-stream"));
        let answer = house.router.clone().oneshot(upgrading).await.unwrap();
        assert_eq!(answer.status(), status, "{login:?}");
    }
    assert!(house.landings.is_untouched().await);
}

/// P9.
#[tokio::test]
async fn eight_streams_are_open_at_most_and_one_that_ends_makes_room() {
    let machine = Machine::start().await;
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(machine.reach().await);
    }
    let told = machine.refused("yard", "too_many_readers").await;
    assert!(told.contains("at most 8 streams"), "{told}");
    assert!(told.contains("when one of them has ended"), "{told}");
    open.pop();
    eventually("a place", SOON, || async { machine.ask("yard").await.ok() }).await;
}

/// Both ends of a stream are told that it is over.
async fn ends((mut browser, mut camera): (UnixStream, DuplexStream)) {
    let mut piece = [0; 1];
    let read = soon(browser.read(&mut piece)).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    assert_eq!(soon(camera.read(&mut piece)).await.unwrap(), 0);
}

/// S14.
#[tokio::test]
async fn a_stream_ends_when_the_record_allows_it_no_longer() {
    let machine = Machine::start().await;
    let open = machine.reach().await;
    machine.grant(&["telnet"]).await;
    ends(open).await;

    machine.grant(&["http"]).await;
    let open = machine.reach().await;
    machine.enable(Enabled::Stolen).await;
    ends(open).await;
    let told = machine.refused("yard", "disabled").await;
    assert!(told.contains("moorline camera enable yard"), "{told}");

    machine.enable(Enabled::Yes).await;
    let open = machine.reach().await;
    machine.house.cameras.remove(&id("yard")).await.unwrap();
    ends(open).await;
}

/// P11.
#[tokio::test]
async fn a_camera_that_is_not_reached_is_told_with_the_cure() {
    let machine = Machine::start().await;
    let both_halves = |told: &str| {
        for half in ["http 80 in local.conf", "a second -R", "camera hang-up"] {
            assert!(told.contains(half), "{half}: {told}");
        }
    };
    let told = machine.refused("gate", "no_forward").await;
    assert!(told.contains("camera set gate --forward http"), "{told}");
    both_halves(&told);
    machine.refused("nowhere", "unknown").await;

    let refusing = |error| *machine.house.landings.refusing.lock().unwrap() = Some(error);
    refusing(LandingError::Unknown);
    let told = machine.refused("yard", "no_forward").await;
    assert!(told.contains("has not asked"), "{told}");
    both_halves(&told);
    refusing(LandingError::Away);
    let told = machine.refused("yard", "away").await;
    assert!(told.contains("moorline camera show yard"), "{told}");
    refusing(LandingError::RefusedByCamera);
    let told = machine.refused("yard", "refused_by_camera").await;
    assert!(told.contains("nothing listens at the port"), "{told}");

    let plain = machine.house.ask("GET", YARD).request().map(Body::new);
    let router = serve::local_router(machine.house.router.clone());
    let answer = router.oneshot(plain).await.unwrap();
    assert_eq!(answer.status(), StatusCode::UPGRADE_REQUIRED);
    let reached = machine.house.audit.0.lock().unwrap();
    assert!(
        reached
            .iter()
            .all(|entry| entry.event != AuditEvent::ReachIn)
    );
}
