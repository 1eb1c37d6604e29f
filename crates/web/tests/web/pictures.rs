//! Live and recorded pictures over the WebSocket: framing, credit, who is shown out, and what a slow browser costs.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::{SinkExt as _, StreamExt as _};
use moorline_core::port::Users as _;
use moorline_fmp4::{Init, ParsedFragment};
use moorline_testkit::Starved;
use moorline_testkit::{eventually, patience};
use serde_json::Value;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::support::client::Socket;
use crate::support::scene::{self, id};
use crate::support::server::House;

const SOON: Duration = Duration::from_secs(30);

async fn open(house: &House, login: &str, stream: &str) -> Socket {
    let cookie = house.sign_in(login).await;
    let path = format!("/api/v1/tenants/home/cameras/front-door/{stream}");
    let ask = house.ask("GET", &path).with_cookie(&cookie);
    house.socket(ask).await.unwrap()
}

async fn next(socket: &mut Socket) -> Option<Message> {
    match timeout(patience(SOON), socket.next()).await {
        Ok(Some(Ok(Message::Close(_)) | Err(_)) | None) => None,
        Ok(Some(Ok(message))) => Some(message),
        Err(_) => panic!("nothing came for {SOON:?}"),
    }
}

/// A message as a test wants to see it.
#[derive(Debug)]
enum Told {
    Text(Value),
    Init(Init),
    Fragment { wall: i64, bytes: Vec<u8> },
    Over,
}

async fn told(socket: &mut Socket) -> Told {
    match next(socket).await {
        Some(Message::Text(text)) => Told::Text(serde_json::from_str(&text).unwrap()),
        Some(Message::Binary(bytes)) => {
            let wall = i64::from_be_bytes(bytes[1..9].try_into().unwrap());
            match bytes[0] {
                0 => Told::Init(Init::parse(&bytes[21..]).unwrap()),
                _ => Told::Fragment {
                    wall,
                    bytes: bytes[21..].to_vec(),
                },
            }
        }
        Some(other) => panic!("{other:?}"),
        None => Told::Over,
    }
}

/// Reads the announcement and the init.
async fn begin(socket: &mut Socket) -> Init {
    let Told::Text(text) = told(socket).await else {
        panic!("no announcement");
    };
    let mime = text["init"].as_str().unwrap().to_owned();
    let Told::Init(init) = told(socket).await else {
        panic!("no init");
    };
    assert_eq!(mime, init.mime());
    init
}

/// Reads until no picture comes any more. That is within a second, but for the time for which the machine had no core for us.
async fn ends_within_a_second(socket: &mut Socket, what: &str) {
    let (began, starved) = (Instant::now(), Starved::begin());
    let drain = async { while next(socket).await.is_some() {} };
    let ended = timeout(patience(SOON), drain).await;
    let (took, starved) = (began.elapsed(), starved.so_far());
    assert!(ended.is_ok(), "{what}: it goes on");
    assert!(
        took < Duration::from_secs(1) + starved,
        "{what}: {took:?}, of which {starved:?} without a core"
    );
}

async fn want(socket: &mut Socket, count: u32) {
    let text = format!("{{\"want\": {count}}}");
    socket.send(Message::Text(text.into())).await.unwrap();
}

#[tokio::test]
async fn live_pictures_follow_each_other_in_order() {
    let house = scene::house().await;
    let starved = Starved::begin();
    let mut socket = open(&house, "vera", "live").await;
    let init = begin(&mut socket).await;
    let mut end = None;
    for _ in 0..6 {
        let Told::Fragment { wall, bytes } = told(&mut socket).await else {
            panic!("no pictures");
        };
        let (now, late) = (scene::now().as_millis(), starved.so_far().as_millis());
        let apart = u128::from(now.abs_diff(wall));
        assert!(apart < 5_000 + late, "{wall}, {late} ms late at {now}");
        let fragment = ParsedFragment::parse(&init, &bytes).unwrap();
        let begins = fragment.entry.media_time;
        assert!(end.is_none_or(|end| end == begins), "{end:?} {begins}");
        end = Some(fragment.entry.end());
    }
}

#[tokio::test]
async fn recorded_pictures_wait_for_credit_and_a_gap_is_told() {
    let house = scene::house().await;
    // Two seconds before the gap of a restart that ended 70 s ago.
    let stream = format!("play?from={}", house.before(312));
    let mut socket = open(&house, "vera", &stream).await;
    let nothing = timeout(Duration::from_millis(300), socket.next()).await;
    assert!(
        nothing.is_err(),
        "came without being asked for: {nothing:?}"
    );
    want(&mut socket, 2).await;
    begin(&mut socket).await;
    let mut walls = Vec::new();
    for _ in 0..2 {
        let Told::Fragment { wall, .. } = told(&mut socket).await else {
            panic!("no pictures");
        };
        walls.push(wall);
    }
    assert_eq!(walls[1] - walls[0], 1000);
    let nothing = timeout(Duration::from_millis(300), socket.next()).await;
    assert!(nothing.is_err(), "came beyond the credit: {nothing:?}");
    want(&mut socket, 1).await;
    let mut gap = None;
    let after = loop {
        match told(&mut socket).await {
            Told::Text(text) if !text["gap"].is_null() => gap = Some(text["gap"].clone()),
            Told::Text(_) | Told::Init(_) => {}
            Told::Fragment { wall, .. } => break wall,
            Told::Over => panic!("it ended"),
        }
    };
    let gap = gap.expect("the gap is told before what follows it");
    assert_eq!(gap["cause"], "restart");
    assert_eq!(gap["words"], "Moorline or its recorder was restarted");
    assert_eq!(after - walls[1], 241_000, "the pictures behind the gap");
}

/// The day on which one minute is spoiled is watched all the same; a store that has nothing right any more is told.
#[tokio::test]
async fn damaged_recordings_are_jumped_over_with_words_and_an_end_of_them_is_told() {
    let house = scene::house().await;
    let stream = format!("play?from={}", house.before(312));
    let mut socket = open(&house, "vera", &stream).await;
    house.archive.damaged.store(3, Ordering::Relaxed);
    want(&mut socket, 2).await;
    let mut jumped = 0;
    loop {
        match told(&mut socket).await {
            Told::Text(text) if !text["gap"].is_null() => {
                assert!(text["gap"]["words"].as_str().unwrap().contains("damaged"));
                assert!(text["gap"]["from"].is_string(), "{text}");
                jumped += 1;
            }
            Told::Text(text) => assert!(text["error"].is_null(), "{text}"),
            Told::Init(_) => {}
            Told::Fragment { .. } => break,
            Told::Over => panic!("it ended"),
        }
    }
    assert_eq!(jumped, 3);
    house.archive.damaged.store(1_000, Ordering::Relaxed);
    want(&mut socket, 2).await;
    let error = loop {
        match told(&mut socket).await {
            Told::Text(text) if text["error"].is_string() => break text["error"].clone(),
            Told::Over => panic!("it ended without a word"),
            _ => {}
        }
    };
    assert!(error.as_str().unwrap().contains("is damaged"), "{error}");
}

/// Longer than the looks at whether the user may still watch, which must not begin the read anew.
#[tokio::test]
async fn a_store_that_is_far_away_is_waited_for() {
    let house = scene::house().await;
    *house.archive.slow.lock().unwrap() = Duration::from_millis(700);
    let stream = format!("play?from={}", house.before(312));
    let mut socket = open(&house, "vera", &stream).await;
    want(&mut socket, 2).await;
    begin(&mut socket).await;
    for _ in 0..2 {
        assert!(matches!(told(&mut socket).await, Told::Fragment { .. }));
    }
}

#[tokio::test]
async fn somebody_who_is_removed_or_signs_out_sees_nothing_after_a_second() {
    let house = scene::house().await;
    let from = house.before(1500);
    for stream in ["live".to_owned(), format!("play?from={from}")] {
        let login = format!("guest.{}", stream.len());
        let tenant = "home".parse().unwrap();
        let name: moorline_core::user::LoginName = login.parse().unwrap();
        let password = moorline_core::Masked::new(crate::support::server::PASSWORD.to_owned());
        let role = moorline_core::user::Role::Viewer;
        house
            .people
            .add(name.clone(), tenant, role, password)
            .await
            .unwrap();
        let mut socket = open(&house, &login, &stream).await;
        want(&mut socket, 1).await;
        begin(&mut socket).await;
        house.people.remove(&name).await.unwrap();
        ends_within_a_second(&mut socket, &stream).await;
    }

    let cookie = house.sign_in("vera").await;
    let path = "/api/v1/tenants/home/cameras/front-door/live";
    let ask = house.ask("GET", path).with_cookie(&cookie);
    let mut socket = house.socket(ask).await.unwrap();
    begin(&mut socket).await;
    let out = house.ask("DELETE", "/api/v1/session").with_cookie(&cookie);
    house.send(out).await;
    ends_within_a_second(&mut socket, "after the sign-out").await;
}

#[tokio::test]
async fn a_browser_that_takes_nothing_costs_no_memory() {
    let house = scene::house().await;
    house.relays.flood.store(true, Ordering::Relaxed);
    let _socket = open(&house, "vera", "live").await;
    // Pictures are there without end. What is taken of them stops growing when the sockets' buffers are full.
    let taken = || house.relays.taken.load(Ordering::Relaxed);
    let mut before = (0, Instant::now());
    eventually("the server to stop taking pictures", SOON, || {
        let now = taken();
        if now != before.0 {
            before = (now, Instant::now());
        }
        let still = now > 0 && before.1.elapsed() > Duration::from_millis(500);
        async move { still.then_some(()) }
    })
    .await;
    assert!(taken() < 16 << 20, "{} bytes are held", taken());
}

#[tokio::test]
async fn a_camera_that_is_away_is_said_to_be() {
    let house = scene::house().await;
    house.relays.end(&id("front-door"));
    let mut socket = open(&house, "vera", "live").await;
    let Told::Text(text) = told(&mut socket).await else {
        panic!("nothing was said");
    };
    assert_eq!(text["error"], "the camera is away");
    assert!(matches!(told(&mut socket).await, Told::Over));
}

#[tokio::test]
async fn nothing_recorded_is_said_too() {
    let house = scene::house().await;
    let cookie = house.sign_in("vera").await;
    let path = "/api/v1/tenants/home/cameras/yard/play?from=2026-01-01T00:00:00Z";
    let ask = house.ask("GET", path).with_cookie(&cookie);
    let mut socket = house.socket(ask).await.unwrap();
    let Told::Text(text) = told(&mut socket).await else {
        panic!("nothing was said");
    };
    assert_eq!(text["error"], "nothing was recorded in that stretch");
}
