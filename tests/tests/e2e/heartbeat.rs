//! The heartbeat, as the service at the other end sees it: it goes on while the server lives, and ends with it.

use std::time::Duration;

use moorline_testkit::child::Signal;
use moorline_testkit::http::{Answer, Receiver};

use crate::support::{Moorline, SOON, Setup};

/// The shortest that may be set is 10 s.
const EVERY: Duration = Duration::from_secs(10);

async fn beating(service: &Receiver) -> Moorline {
    let sections = format!(
        "[alert]\nheartbeat = \"{}\"\nheartbeat_every = \"10s\"\nwebhook_private = [\"127.0.0.0/8\"]\nwebhook_http = true\n",
        service.url("/ping/a-secret-id"),
    );
    Moorline::with(Setup {
        sections,
        ..Setup::default()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_heartbeat_goes_on_while_the_server_lives_and_ends_when_it_is_killed() {
    let service = Receiver::start().await.unwrap();
    let mut moorline = beating(&service).await;
    let first = service.wait_for(1, SOON).await.unwrap();
    assert_eq!(
        (first[0].method.as_str(), &*first[0].target),
        ("GET", "/ping/a-secret-id")
    );
    assert!(
        first[0].body.is_empty(),
        "it tells nothing: {:?}",
        first[0].body
    );

    // The service is out of order for one beat, which is no reason to stop.
    service.answer(Answer {
        status: 503,
        ..Answer::default()
    });
    service.wait_for(2, EVERY + SOON).await.unwrap();
    let log = moorline.child();
    log.wait_for_line("the heartbeat does not get out", SOON)
        .await
        .unwrap();
    service.answer(Answer::default());
    service.wait_for(3, EVERY + SOON).await.unwrap();
    log.wait_for_line("the heartbeat gets out again", SOON)
        .await
        .unwrap();
    assert!(!log.lines().join("\n").contains("a-secret-id"));

    log.signal(Signal::KILL);
    log.wait(SOON).await.unwrap();
    let beats = service.requests().len();
    let more = service.wait_for(beats + 1, EVERY * 3 / 2).await;
    assert!(more.is_err(), "a dead server's heart beats: {more:?}");
}

/// A server that hangs is dead to its cameras, and to whoever listens to its heart.
#[tokio::test(flavor = "multi_thread")]
async fn the_heartbeat_of_a_server_that_hangs_stops_and_goes_on_with_it() {
    let service = Receiver::start().await.unwrap();
    let mut moorline = beating(&service).await;
    service.wait_for(1, SOON).await.unwrap();
    moorline.child().freeze();
    let beats = service.requests().len();
    let more = service.wait_for(beats + 1, EVERY * 3 / 2).await;
    assert!(more.is_err(), "a frozen server's heart beats: {more:?}");
    moorline.child().thaw();
    service.wait_for(beats + 1, EVERY + SOON).await.unwrap();
    moorline.stop().await;
}
