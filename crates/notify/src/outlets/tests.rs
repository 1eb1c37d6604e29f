//! What only a resolver of our own can show: which address is dialled, and how often a name is asked for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use moorline_base::{SimulatedClock, SystemClock};
use moorline_core::alarm::AlarmKind;
use moorline_testkit::http::Receiver;

use super::*;

const SOON: Duration = Duration::from_secs(30);

fn alarm() -> Alarm {
    Alarm {
        tenant: "home".parse().unwrap(),
        at: Default::default(),
        kind: AlarmKind::KeyInTwoPlaces {
            camera: "yard".parse().unwrap(),
            peers: Vec::new(),
        },
    }
}

/// Answers with the addresses of the n-th question, the last ones for ever.
fn answering(answers: Vec<Vec<SocketAddr>>) -> (Resolver, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let resolver: Resolver = Arc::new(move |_, _| {
        let turn = count.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1);
        let addresses = answers[turn].clone();
        Box::pin(async move { Ok(addresses) })
    });
    (resolver, asked)
}

fn config(receiver: &Receiver, private: &[&str]) -> Config {
    Config {
        webhook: format!("http://alarms.example:{}/hook", receiver.address().port()),
        webhook_http: true,
        webhook_private: private.iter().map(|text| (*text).to_owned()).collect(),
        ..Config::default()
    }
}

#[tokio::test]
async fn the_checked_address_is_the_one_that_is_dialled() {
    let receiver = Receiver::start().await.unwrap();
    let (resolver, asked) = answering(vec![vec![receiver.address()]]);
    let outlets = Outlets::with_resolver(
        &config(&receiver, &["127.0.0.1"]),
        SystemClock::shared(),
        resolver,
    )
    .unwrap();
    assert_eq!(outlets.tell(&alarm()).await, [Ok("webhook")]);
    let seen = receiver.wait_for(1, SOON).await.unwrap();
    let host = format!("alarms.example:{}", receiver.address().port());
    assert_eq!(
        seen[0].header("host"),
        Some(host.as_str()),
        "the name stays what was typed"
    );
    assert_eq!(
        asked.load(Ordering::Relaxed),
        1,
        "a second question could have another answer"
    );
}

#[tokio::test]
async fn a_name_that_leads_inside_is_refused_in_every_disguise() {
    let receiver = Receiver::start().await.unwrap();
    let port = receiver.address().port();
    for inside in [
        "127.0.0.1",
        "::ffff:127.0.0.1",
        "10.0.0.1",
        "100.64.1.1",
        "169.254.169.254",
        "fd00::1",
        "fe80::1",
        "0.0.0.0",
        "64:ff9b::7f00:1",
    ] {
        let address = SocketAddr::new(inside.parse().unwrap(), port);
        let (resolver, _) = answering(vec![vec![address]]);
        let outlets = Outlets::with_resolver(
            &config(&receiver, &["192.168.1.0/24"]),
            SystemClock::shared(),
            resolver,
        )
        .unwrap();
        let ended = outlets.tell(&alarm()).await;
        let why = &ended[0].as_ref().unwrap_err().why;
        assert!(
            why.contains("private network") && !why.contains("tried"),
            "{inside}: {why}"
        );
    }
    assert!(receiver.requests().is_empty());
}

#[tokio::test]
async fn each_try_asks_and_checks_again() {
    let receiver = Receiver::start().await.unwrap();
    receiver.answer(moorline_testkit::http::Answer {
        status: 503,
        ..Default::default()
    });
    let metadata = "169.254.169.254:80".parse().unwrap();
    let (resolver, asked) = answering(vec![vec![receiver.address()], vec![metadata]]);
    let clock = SimulatedClock::new(0);
    let outlets = Outlets::with_resolver(
        &config(&receiver, &["127.0.0.1"]),
        Arc::new(clock.clone()),
        resolver,
    )
    .unwrap();
    let telling = tokio::spawn(async move { outlets.tell(&alarm()).await });
    receiver.wait_for(1, SOON).await.unwrap();
    // Past the first pause, and no further: the second answer leads inside.
    while asked.load(Ordering::Relaxed) < 2 {
        clock.sleepers(1).await;
        clock.advance(Duration::from_secs(3));
        tokio::task::yield_now().await;
    }
    let ended = tokio::time::timeout(SOON, telling).await.unwrap().unwrap();
    assert!(
        ended[0]
            .as_ref()
            .unwrap_err()
            .why
            .contains("private network"),
        "{ended:?}"
    );
    assert_eq!(receiver.requests().len(), 1);
}
