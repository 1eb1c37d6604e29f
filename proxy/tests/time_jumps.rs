//! A camera whose RTP time jumps: its archiver begins another take and knows why, its viewers see time go on.
#![allow(
    clippy::disallowed_methods,
    reason = "tests may bind, write and look at the real clock"
)]

mod stage;

use std::net::SocketAddr;
use std::time::Duration;

use moorline_base::SystemClock;
use moorline_core::SourceName;
use moorline_core::camera::Record;
use moorline_core::port::{ReaderRole, Relays};
use moorline_rtsp::rtp::rtcp::{APP_MOOR, RtcpPacket};
use moorline_simcam::video::Shape;
use moorline_simcam::{Event, Source, SourceConfig};
use moorline_testkit::Starved;
use stage::viewer::{PictureSeen, Seen, Viewer};
use stage::{Stage, id, record};

const GOP: u32 = 10;

/// A camera of the simulator behind the relay, its archiver, and a viewer at the door. Both have seen some pictures.
async fn watched() -> (Stage, stage::Running, Source, Viewer, Viewer) {
    let shape = Shape {
        fps: 20,
        gop: GOP,
        bitrate: 300_000,
        ..Shape::default()
    };
    let source = Source::new(SourceConfig::generated(1, shape), SystemClock::shared());
    let listener = moorline_base::net::listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let mut camera = record("yard");
    camera.record = Record::Main;
    camera.main.path = Some("/main".to_owned());
    let stage = Stage::new(vec![camera]).await;
    stage.yard.up_at("yard", listener.local_addr().unwrap());
    source.listen(listener);
    let relay = stage.relay("yard");
    let mut archiver = archiver(&stage).await;
    let login = Some(("ann", "stream-secret"));
    let mut viewer = Viewer::open(stage.address, "yard", login).await;
    for _ in 0..15 {
        archiver.picture().await;
        viewer.picture().await;
    }
    (stage, relay, source, archiver, viewer)
}

async fn archiver(stage: &Stage) -> Viewer {
    let opened = stage
        .hub
        .open(&id("yard"), SourceName::Main, ReaderRole::Archiver)
        .await;
    Viewer::on(opened.expect("a relay"), "relay", "any", None)
}

fn frame(picture: &PictureSeen) -> u64 {
    picture.stamp.expect("a stamp").frame
}

/// Reads an archiver to its end: the last picture's number, and what the relay said of the end.
async fn end_of(archiver: &mut Viewer) -> (u64, String) {
    let (mut last, mut said) = (0, String::new());
    loop {
        match archiver.next().await {
            Seen::Packet { packet, .. } => {
                let header = moorline_rtsp::rtp::RtpHeader::parse(&packet).expect("RTP");
                if let Some(stamp) =
                    moorline_simcam::video::Stamp::from_nal(header.payload(&packet))
                {
                    last = stamp.frame;
                }
            }
            Seen::Rtcp { packets, .. } => {
                for packet in packets {
                    if let RtcpPacket::App(_, APP_MOOR, text) = packet {
                        let text = String::from_utf8_lossy(&text);
                        text.trim_end_matches('\0').clone_into(&mut said);
                    }
                }
            }
            Seen::Closed(_) => return (last, said),
            _ => {}
        }
    }
}

async fn jump(event: Event) {
    let (stage, _relay, source, mut first, mut viewer) = watched().await;
    let starved = Starved::begin();
    source.faults().fire(event);
    let (last, said) = end_of(&mut first).await;
    assert_eq!(said, "clock_step", "{event:?}");
    let mut second = archiver(&stage).await;
    // What comes before the next key frame is the archiver's to leave out.
    let begun = loop {
        let picture = second.picture().await;
        if picture.idr {
            break picture;
        }
    };
    assert!(!begun.damaged, "{event:?}: {begun:?}");
    let lost = frame(&begun) - last - 1;
    // At 20 pictures a second, which it films whoever is late.
    let late = u64::try_from(starved.so_far().as_millis()).unwrap();
    let most = u64::from(GOP) + late / 50;
    assert!(lost < most, "{event:?}: {lost} pictures lost");

    // The viewer was not asked anything and keeps its clock; pictures that cannot be decoded are left out.
    let mut before = viewer.picture().await;
    while frame(&before) < frame(&begun) + 5 {
        let next = viewer.picture().await;
        assert_eq!(next.first.ssrc, before.first.ssrc, "{event:?}");
        let step = next.first.timestamp.wrapping_sub(before.first.timestamp);
        let late = starved.so_far().as_millis() * 90;
        assert!(
            (1..90_000 + late).contains(&u128::from(step)),
            "{event:?}: a step of {step} ticks"
        );
        if frame(&next) != frame(&before) + 1 {
            assert!(next.idr, "{event:?}: {next:?}");
        }
        before = next;
    }
    source.stop().await;
}

#[tokio::test]
async fn time_that_goes_back_costs_a_group_and_the_archiver_knows_why() {
    jump(Event::TimestampBack(Duration::from_secs(4))).await;
}

#[tokio::test]
async fn time_that_goes_ahead_costs_a_group_and_the_archiver_knows_why() {
    jump(Event::TimestampJump).await;
}

#[tokio::test]
async fn a_sequence_that_jumps_ends_nothing_and_is_a_hole_for_everybody() {
    let (_stage, _relay, source, mut archiver, mut viewer) = watched().await;
    source.faults().fire(Event::SequenceJump);
    // The archiver gets every picture, and numbers that retina takes.
    let mut before = archiver.picture().await;
    let until = frame(&before) + 3 * u64::from(GOP);
    // It may be the first one already.
    let mut holes = u16::from(before.first.gap > 0);
    while frame(&before) < until {
        let next = archiver.picture().await;
        assert_eq!(frame(&next), frame(&before) + 1, "no picture is missing");
        assert_eq!(next.first.ssrc, before.first.ssrc);
        assert!(!next.first.jumped, "{next:?}");
        holes += u16::from(next.first.gap > 0);
        before = next;
    }
    assert_eq!(holes, 1, "and it is told that something may be");
    // What is missing is unknown, so a viewer goes on with a key frame.
    let mut before = viewer.picture().await;
    while frame(&before) < until {
        let next = viewer.picture().await;
        let step = next.first.sequence.wrapping_sub(before.first.sequence);
        assert!(step < 1_000, "a step of {step}");
        if frame(&next) != frame(&before) + 1 {
            assert!(next.idr, "{next:?}");
        }
        before = next;
    }
    source.stop().await;
}
