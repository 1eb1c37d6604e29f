//! What waits, and what ends the waiting.

use std::time::{Duration, Instant};

use moorline_core::Generation;
use moorline_core::id::ForwardName;
use moorline_core::port::{ControlWriter, LandingError, Landings};
use moorline_tunnel::TunnelConfig;
use russh::client;

use crate::client::Client;
use crate::support::{Rig, SOON, Seen, config};

fn patient() -> TunnelConfig {
    TunnelConfig {
        away_deadline: SOON,
        ..config()
    }
}

#[tokio::test]
async fn a_reader_of_an_absent_camera_gets_its_stream_when_the_camera_comes() {
    let (rig, key) = Rig::with_yard(patient()).await;
    let tunnel = rig.tunnel.clone();
    let asking = tokio::spawn(async move {
        let (yard, rtsp) = ("yard".parse().unwrap(), ForwardName::rtsp());
        let stream = tunnel.connect(&yard, &rtsp, Generation(2)).await;
        stream.map(|(_, generation)| generation)
    });
    let first = Client::login(&rig, &key, "yard").await;
    first.handle.tcpip_forward("localhost", 0).await.unwrap();
    rig.up(0).await;
    let mut second = Client::login(&rig, &key, "yard").await;
    second.handle.tcpip_forward("localhost", 0).await.unwrap();
    // The first tunnel is generation 1: too old for this reader, and it was offered nothing.
    let _channel = tokio::time::timeout(SOON, second.accept()).await.unwrap();
    assert_eq!(asking.await.unwrap(), Ok(Generation(2)));
}

#[tokio::test]
async fn a_reader_whose_tunnel_is_superseded_while_it_asks_is_told_so() {
    let (rig, key) = Rig::with_yard(patient()).await;
    let first = Client::login(&rig, &key, "yard").await;
    first.handle.tcpip_forward("localhost", 0).await.unwrap();
    rig.up(0).await;
    let tunnel = rig.tunnel.clone();
    let asking = tokio::spawn(async move {
        let (yard, rtsp) = ("yard".parse().unwrap(), ForwardName::rtsp());
        let stream = tunnel.connect(&yard, &rtsp, Generation(1)).await;
        stream.map(|(_, generation)| generation)
    });
    // The first client is offered a stream and never answers.
    first.offers_one().await;
    let second = Client::login(&rig, &key, "yard").await;
    second.handle.tcpip_forward("localhost", 0).await.unwrap();
    assert_eq!(asking.await.unwrap(), Err(LandingError::Superseded));
}

/// P7.
#[tokio::test]
async fn lines_for_a_peer_that_does_not_read_are_refused_and_hold_nothing_up() {
    let (rig, key) = Rig::with_yard(config()).await;
    let small = client::Config {
        window_size: 1 << 16,
        channel_buffer_size: 1,
        ..client::Config::default()
    };
    let client = Client::login_with(&rig, &key, "yard", small).await;
    let monitor = client.handle.channel_open_session().await.unwrap();
    monitor.exec(false, "x").await.unwrap();
    let session = rig
        .told("the monitor's channel", |seen| {
            seen.iter().find_map(|seen| match seen {
                Seen::Opened(session) => Some(*session),
                _ => None,
            })
        })
        .await;
    let line = "x".repeat(1000);
    let mut refused_in_a_row = 0;
    let start = Instant::now();
    while refused_in_a_row < 20 {
        assert!(start.elapsed() < SOON, "lines are taken without end");
        refused_in_a_row = match rig.tunnel.send(session, &line) {
            true => 0,
            false => refused_in_a_row + 1,
        };
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    client.cut();
    rig.told("the end of the monitor's channel", |seen| {
        seen.contains(&Seen::Closed(session)).then_some(())
    })
    .await;
    assert!(!rig.tunnel.send(session, "PING 1"));
    let start = Instant::now();
    let shutdown = rig.tunnel.shutdown(SOON).await;
    assert_eq!(shutdown.left, 0);
    assert!(start.elapsed() < SOON / 2, "{:?}", start.elapsed());
}
