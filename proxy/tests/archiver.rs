//! The archiver's way in: what the camera sent, and where a take ends.
#![allow(
    clippy::disallowed_methods,
    reason = "tests may bind, write and look at the real clock"
)]

mod stage;

use std::time::Duration;

use futures::StreamExt as _;
use moorline_core::SourceName;
use moorline_core::camera::Record;
use moorline_core::port::{ReaderRole, RelayError, Relays};
use moorline_rtsp::rtp::rtcp::{APP_MOOR, RtcpPacket, unix_from_ntp};
use retina::client::{PlayOptions, Session, SessionOptions, SetupOptions, Transport};
use retina::codec::CodecItem;
use stage::viewer::{Seen, Viewer};
use stage::{PATIENCE, Script, Stage, id, record};

fn recorded(name: &str) -> moorline_core::Camera {
    let mut camera = record(name);
    camera.record = Record::Main;
    camera
}

async fn archiver(stage: &Stage, name: &str) -> Viewer {
    let opened = stage
        .hub
        .open(&id(name), SourceName::Main, ReaderRole::Archiver)
        .await;
    Viewer::on(opened.expect("a relay"), "relay", "any", None)
}

#[tokio::test]
async fn the_archiver_sees_the_cameras_clock_and_which_tunnel_it_reads() {
    let stage = Stage::new(vec![recorded("yard")]).await;
    let generation = stage.yard.up("yard", Script::clip(1));
    let _relay = stage.relay("yard");
    let mut archiver = archiver(&stage, "yard").await;
    let mut report = None;
    let mut described = String::new();
    let mut ssrc = None;
    while report.is_none() || ssrc.is_none() {
        match archiver.next().await {
            Seen::Described(sdp) => described = sdp,
            Seen::Packet { marks, .. } => {
                if ssrc.is_none() {
                    assert!(
                        marks.au_start && marks.parameter_sets,
                        "it begins with a key frame"
                    );
                }
                ssrc = Some(marks.ssrc);
            }
            Seen::Rtcp { packets, .. } => {
                if let Some(RtcpPacket::SenderReport(said)) = packets.first() {
                    report = Some(*said);
                }
            }
            Seen::Closed(end) => panic!("{end:?}"),
            Seen::Playing(_) => {}
        }
    }
    let report = report.unwrap();
    let since = unix_from_ntp(report.ntp).unwrap();
    assert!(
        since < Duration::from_secs(200),
        "the camera booted in 1970: {since:?}"
    );
    assert_eq!(Some(report.ssrc), ssrc);
    let said = format!("(\"moorline-generation\", \"{generation}\")");
    assert!(described.contains(&said), "{described}");
    assert!(!described.contains("999"), "a camera cannot forge it");
}

#[tokio::test]
async fn a_lost_tunnel_ends_the_take_with_a_mark_and_the_next_waits_for_the_camera() {
    let stage = Stage::new(vec![recorded("yard")]).await;
    stage.yard.up("yard", Script::clip(1));
    let running = stage.relay("yard");
    let mut first = archiver(&stage, "yard").await;
    for _ in 0..10 {
        first.picture().await;
    }
    stage.yard.lose("yard");
    let mut marked = false;
    loop {
        match first.next().await {
            Seen::Rtcp { packets, .. } => {
                marked |= packets.iter().any(|packet| {
                    matches!(packet, RtcpPacket::App(_, APP_MOOR, text) if text.starts_with(b"boundary"))
                });
            }
            Seen::Closed(_) => break,
            _ => {}
        }
    }
    assert!(marked, "APP MOOR comes before the end");
    let mut second = archiver(&stage, "yard").await;
    let early = tokio::time::timeout(Duration::from_millis(500), second.next()).await;
    assert!(
        early.is_err(),
        "DESCRIBE is held while the camera is away: {early:?}"
    );
    let generation = stage.yard.up("yard", Script::clip(1));
    running.rebind(generation).await;
    assert!(second.picture().await.idr);
}

#[tokio::test]
async fn nothing_is_recorded_twice_by_the_archiver_that_comes_back() {
    let stage = Stage::new(vec![recorded("yard")]).await;
    stage.yard.up("yard", Script::clip(1));
    let _relay = stage.relay("yard");
    let mut first = archiver(&stage, "yard").await;
    let mut last = 0;
    for _ in 0..20 {
        last = first.picture().await.stamp.expect("a stamp").frame;
    }
    drop(first);
    let mut second = archiver(&stage, "yard").await;
    let next = second.picture().await.stamp.expect("a stamp").frame;
    assert!(next > last, "{next} after {last}");
}

#[tokio::test]
async fn an_unknown_camera_and_one_without_a_relay_are_told_apart() {
    let relay = moorline_proxy::RelayConfig {
        patience: Duration::from_millis(200),
        ..moorline_proxy::RelayConfig::default()
    };
    let door = moorline_proxy::DoorConfig::default();
    let stage = Stage::with(vec![recorded("yard")], relay, door, None).await;
    for (name, error) in [("nowhere", RelayError::Unknown), ("yard", RelayError::Away)] {
        let opened = stage
            .hub
            .open(&id(name), SourceName::Main, ReaderRole::Archiver)
            .await;
        assert_eq!(opened.err(), Some(error), "{name}");
    }
}

#[tokio::test]
async fn retina_reads_pictures_and_sound_over_a_loopback_pair() {
    let stage = Stage::new(vec![recorded("yard")]).await;
    let mut script = Script::clip(1);
    script.sound = Some("8 PCMA/8000");
    stage.yard.up("yard", script);
    let _relay = stage.relay("yard");
    let listener = moorline_base::net::listen(([127, 0, 0, 1], 0).into()).unwrap();
    let address = listener.local_addr().unwrap();
    let mut relay = stage
        .hub
        .open(&id("yard"), SourceName::Main, ReaderRole::Archiver)
        .await
        .unwrap();
    tokio::spawn(async move {
        let (mut pair, _) = listener.accept().await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut pair, &mut relay).await;
    });
    let reading = async {
        let url = format!("rtsp://{address}/take").parse().unwrap();
        let mut session = Session::describe(url, SessionOptions::default())
            .await
            .unwrap();
        for track in 0..session.streams().len() {
            let options = SetupOptions::default().transport(Transport::Tcp(Default::default()));
            session.setup(track, options).await.unwrap();
        }
        let playing = session.play(PlayOptions::default()).await.unwrap();
        let mut demuxed = playing.demuxed().unwrap();
        let (mut pictures, mut sounds, mut reports) = (0, 0, 0);
        while pictures < 30 || sounds < 50 || reports < 1 {
            match demuxed.next().await.expect("it goes on").unwrap() {
                CodecItem::VideoFrame(frame) => {
                    assert!(pictures > 0 || frame.is_random_access_point());
                    assert_eq!(frame.loss(), 0);
                    pictures += 1;
                }
                CodecItem::AudioFrame(_) => sounds += 1,
                CodecItem::Rtcp(_) => reports += 1,
                _ => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading)
        .await
        .expect("in time");
}
