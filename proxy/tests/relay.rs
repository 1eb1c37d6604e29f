//! What a relay promises its readers: nobody waits for anybody, a flap is no end, and pictures begin with a key frame.
#![allow(
    clippy::disallowed_methods,
    reason = "tests may bind, write and look at the real clock"
)]

mod stage;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use moorline_core::camera::Login;
use moorline_core::status::{RelayState, RtspFault};
use moorline_proxy::{Candidate, Candidates, DoorConfig, RelayConfig, RingLimits};
use moorline_rtsp::rtp::rtcp::{RtcpPacket, unix_from_ntp};
use moorline_testkit::{Starved, eventually};
use stage::camera::unix_micros;
use stage::viewer::{PictureSeen, Seen, Viewer};
use stage::{Fault, PATIENCE, Script, Stage, id, record};

const ANN: Option<(&str, &str)> = Some(("ann", "stream-secret"));

/// Rooms so small that a reader who stops for two seconds has fallen behind: one that the machine keeps waiting for a moment has not.
fn narrow() -> (RelayConfig, DoorConfig) {
    let relay = RelayConfig {
        ring: RingLimits {
            history_time: Duration::from_millis(1_500),
            ..RingLimits::default()
        },
        ..RelayConfig::default()
    };
    let door = DoorConfig {
        send_buffer: 8 * 1024,
        ..DoorConfig::default()
    };
    (relay, door)
}

async fn pictures(viewer: &mut Viewer, count: usize) -> Vec<PictureSeen> {
    let mut seen = Vec::new();
    while seen.len() < count {
        seen.push(viewer.picture().await);
    }
    seen
}

fn frame(picture: &PictureSeen) -> u64 {
    picture.stamp.expect("a stamp").frame
}

/// When the camera sent it, in microseconds since the Unix epoch.
fn sent(picture: &PictureSeen) -> u64 {
    picture.stamp.expect("a stamp").sent_us
}

/// P5, P6.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_viewer_costs_others_nothing_and_goes_on_with_a_key_frame() {
    let (mut relay, door) = narrow();
    // However long the others' pictures take.
    relay.stalled_after = PATIENCE;
    let stage = Stage::with(vec![record("yard")], relay, door, None).await;
    stage
        .yard
        .up("yard", Script::generated(1, 20, 10, 6_000_000));
    let _relay = stage.relay("yard");
    let mut stalled = Viewer::open(stage.address, "yard", ANN).await;
    let mut other = Viewer::open(stage.address, "yard", ANN).await;
    pictures(&mut stalled, 5).await;
    let before = pictures(&mut other, 5).await;
    let starved = Starved::begin();
    stalled.read(false);
    let during = pictures(&mut other, 80).await;
    let numbers: Vec<u64> = during.iter().map(frame).collect();
    let first = frame(&before[4]) + 1;
    let whole: Vec<u64> = (first..first + 80).collect();
    assert_eq!(numbers, whole, "the other viewer misses no picture");
    let gaps = during.windows(2).map(|pair| pair[1].at - pair[0].at);
    let longest = gaps.max().unwrap();
    let most = Duration::from_millis(450) + starved.so_far();
    assert!(longest < most, "frozen for {longest:?}");
    stalled.read(true);
    let mut last: Option<PictureSeen> = None;
    let jump = loop {
        let picture = stalled.picture().await;
        if let Some(last) = last
            && frame(&picture) != frame(&last) + 1
        {
            break picture;
        }
        assert!(frame(&picture) < 200, "it never fell behind");
        last = Some(picture);
    };
    assert!(jump.idr && !jump.damaged, "{jump:?}");
    let after = pictures(&mut stalled, 10).await;
    assert!(
        after
            .windows(2)
            .all(|pair| frame(&pair[1]) == frame(&pair[0]) + 1)
    );
}

#[tokio::test]
async fn a_viewer_without_progress_is_closed() {
    let (mut relay, door) = narrow();
    relay.stalled_after = Duration::from_secs(4);
    let stage = Stage::with(vec![record("yard")], relay, door, None).await;
    stage
        .yard
        .up("yard", Script::generated(1, 20, 10, 6_000_000));
    let mut running = stage.relay("yard");
    let mut viewer = Viewer::open(stage.address, "yard", ANN).await;
    pictures(&mut viewer, 3).await;
    viewer.read(false);
    running
        .until("it is there", |state| state == RelayState::Playing)
        .await;
    let gone = running
        .report
        .wait_for(|report| report.as_ref().is_some_and(|r| r.readers == 0));
    tokio::time::timeout(PATIENCE, gone)
        .await
        .expect("it is closed")
        .unwrap();
    viewer.read(true);
    assert!(viewer.end().await.is_err());
}

#[tokio::test]
async fn a_flap_keeps_connection_ssrc_sequence_and_clock() {
    let stage = Stage::new(vec![record("yard")]).await;
    stage.yard.up("yard", Script::clip(1));
    let running = stage.relay("yard");
    let mut viewer = Viewer::open(stage.address, "yard", ANN).await;
    let before = *pictures(&mut viewer, 20).await.last().unwrap();
    let starved = Starved::begin();
    stage.yard.lose("yard");
    // Whatever was on its way.
    let mut last = before;
    while let Ok(picture) = tokio::time::timeout(Duration::from_millis(700), viewer.picture()).await
    {
        last = picture;
    }
    let generation = stage.yard.up("yard", Script::clip(1));
    running.rebind(generation).await;
    let up = Instant::now();
    let mut after = viewer.picture().await;
    // What was on its way for longer than it was waited for.
    while frame(&after) > frame(&last) {
        last = after;
        after = viewer.picture().await;
    }
    let took = up.elapsed();
    let late = starved.so_far();
    assert!(took < Duration::from_secs(1) + late, "{took:?}");
    assert!(after.idr);
    assert_eq!(frame(&after), 0, "the camera began anew");
    assert_eq!(after.first.ssrc, before.first.ssrc);
    assert_eq!(after.first.gap, 0, "the sequence goes on by one");
    let ticks = after.first.timestamp.wrapping_sub(last.first.timestamp);
    let media = Duration::from_micros(u64::from(ticks) * 100 / 9);
    let wall = after.at - last.at;
    let apart = media.abs_diff(wall);
    assert!(
        apart < Duration::from_millis(200) + late,
        "{media:?} of media in {wall:?}"
    );
}

#[tokio::test]
async fn a_camera_that_comes_back_with_another_codec_says_goodbye_to_its_viewers() {
    let stage = Stage::new(vec![record("yard")]).await;
    stage.yard.up("yard", Script::clip(1));
    let running = stage.relay("yard");
    let mut viewer = Viewer::open(stage.address, "yard", ANN).await;
    pictures(&mut viewer, 5).await;
    stage.yard.lose("yard");
    let other = Script {
        codec: "H265",
        ..Script::clip(2)
    };
    let generation = stage.yard.up("yard", other);
    running.rebind(generation).await;
    // What it was told in DESCRIBE no longer holds: it is told so, and asks anew.
    let mut goodbye = false;
    loop {
        match viewer.next().await {
            Seen::Rtcp { packets, .. } => {
                goodbye |= packets
                    .iter()
                    .any(|packet| matches!(packet, RtcpPacket::Bye(_)));
            }
            Seen::Closed(_) => break,
            _ => {}
        }
    }
    assert!(goodbye, "BYE comes before the end");
    let mut again = Viewer::open(stage.address, "yard", ANN).await;
    let tracks = again.plays().await;
    assert_eq!(tracks[0].media.codec().name(), "H.265");
}

#[tokio::test]
async fn a_newer_tunnel_ends_the_old_connection_at_once() {
    let stage = Stage::new(vec![record("yard")]).await;
    // The old connection looks alive and says nothing.
    stage.yard.up("yard", Script::clip(1).fault(Fault::Mute));
    let mut running = stage.relay("yard");
    let mut viewer = Viewer::open(stage.address, "yard", ANN).await;
    viewer.plays().await;
    running
        .until("plays", |state| state == RelayState::Playing)
        .await;
    let generation = stage.yard.up("yard", Script::clip(2));
    running.rebind(generation).await;
    let (starved, asked) = (Starved::begin(), Instant::now());
    let picture = viewer.picture().await;
    let took = asked.elapsed();
    assert_eq!(picture.stamp.map(|stamp| stamp.camera), Some(2));
    assert!(took < Duration::from_secs(1) + starved.so_far(), "{took:?}");
}

/// The landing leads to the newer tunnel before the monitor says that it is there.
#[tokio::test]
async fn what_is_read_through_the_newer_tunnel_already_is_not_begun_anew() {
    let stage = Stage::new(vec![record("yard")]).await;
    stage.yard.up("yard", Script::generated(1, 20, 10, 500_000));
    let running = stage.relay("yard");
    let mut viewer = Viewer::open(stage.address, "yard", ANN).await;
    pictures(&mut viewer, 5).await;
    stage.yard.lose("yard");
    let generation = stage.yard.up("yard", Script::generated(2, 20, 10, 500_000));
    let of_newer = |picture: &PictureSeen| picture.stamp.is_some_and(|stamp| stamp.camera == 2);
    let mut before = viewer.picture().await;
    while !of_newer(&before) {
        before = viewer.picture().await;
    }
    running.rebind(generation).await;
    let after = pictures(&mut viewer, 30).await;
    let numbers: Vec<u64> = after.iter().map(frame).collect();
    let first = frame(&before) + 1;
    let whole: Vec<u64> = (first..first + 30).collect();
    assert_eq!(numbers, whole);
}

#[tokio::test]
async fn a_viewer_begins_with_the_group_that_runs_and_at_the_present() {
    let stage = Stage::new(vec![record("yard")]).await;
    stage
        .yard
        .up("yard", Script::generated(1, 20, 180, 1_000_000));
    let _relay = stage.relay("yard");
    let mut first = Viewer::open(stage.address, "yard", ANN).await;
    let seen = pictures(&mut first, 30).await;
    let starved = Starved::begin();
    let (asked, since) = (unix_micros(), Instant::now());
    let mut second = Viewer::open(stage.address, "yard", ANN).await;
    let info = second.plays().await[0].rtp_info.clone().expect("RTP-Info");
    let plays = unix_micros();
    let began = second.picture().await;
    let took = since.elapsed();
    assert!(
        took < Duration::from_millis(300) + starved.so_far(),
        "{took:?}"
    );
    assert!(sent(&began) < asked, "it waited for another key frame");
    assert!(began.idr);
    assert_eq!(info.sequence, Some(began.first.sequence));
    assert_eq!(info.rtptime, Some(began.first.timestamp));
    let replayed = pictures(&mut second, 20).await;
    let step = replayed[10]
        .first
        .timestamp
        .wrapping_sub(replayed[9].first.timestamp);
    assert_eq!(step, 90, "replayed pictures lie 1 ms apart");
    let last = loop {
        let picture = second.picture().await;
        if sent(&picture) > plays {
            break picture;
        }
    };
    let same = loop {
        let picture = first.picture().await;
        if frame(&picture) == frame(&last) {
            break picture;
        }
    };
    assert_eq!(
        last.first.timestamp, same.first.timestamp,
        "the present has its own stamp"
    );
    assert_eq!(last.first.sequence, same.first.sequence);
    assert!(frame(&last) > frame(&seen[29]));

    let asked = unix_micros();
    let mut patient = Viewer::open(stage.address, "yard?start=idr", ANN).await;
    let began = patient.picture().await;
    assert!(began.idr);
    assert!(sent(&began) > asked, "the next key frame, not the last");
    let connects = stage.yard.connects.load(Ordering::Relaxed);
    assert_eq!(connects, 1, "the camera is read once, however many watch");
}

#[tokio::test]
async fn no_picture_of_one_camera_reaches_a_viewer_of_another() {
    let stage = Stage::new(vec![record("yard"), record("gate")]).await;
    stage.yard.up("yard", Script::clip(1));
    stage.yard.up("gate", Script::clip(2));
    let relays = [stage.relay("yard"), stage.relay("gate")];
    let mut viewers = [
        (1, Viewer::open(stage.address, "yard", ANN).await),
        (2, Viewer::open(stage.address, "gate", ANN).await),
    ];
    for _ in 0..5 {
        for (number, viewer) in &mut viewers {
            for picture in pictures(viewer, 4).await {
                assert_eq!(picture.stamp.map(|stamp| stamp.camera), Some(*number));
            }
        }
        stage.yard.lose("yard");
        stage.yard.lose("gate");
        let gate = stage.yard.up("gate", Script::clip(2));
        let yard = stage.yard.up("yard", Script::clip(1));
        relays[0].rebind(yard).await;
        relays[1].rebind(gate).await;
    }
}

#[tokio::test]
async fn a_camera_that_loses_bytes_costs_pictures_and_never_a_viewer() {
    let stage = Stage::new(vec![record("yard")]).await;
    stage
        .yard
        .up("yard", Script::clip(1).fault(Fault::PartialWrites));
    let mut running = stage.relay("yard");
    let mut viewer = Viewer::open(stage.address, "yard", ANN).await;
    let seen: Vec<u64> = pictures(&mut viewer, 30).await.iter().map(frame).collect();
    // It begins with the group that runs, on a machine that takes its time a later one.
    let begun = seen[0];
    assert!(begun.is_multiple_of(30), "{begun}");
    let whole: Vec<u64> = (begun..begun + 15).chain(begun + 30..begun + 45).collect();
    assert_eq!(
        seen, whole,
        "a hurt key frame costs its group, and nothing is shown broken"
    );
    let report = running
        .until("plays", |state| state == RelayState::Playing)
        .await;
    assert_eq!(report.source, moorline_core::SourceName::Main);
    let mut report = running.report.clone();
    let counted = report.wait_for(|report| {
        report
            .as_ref()
            .is_some_and(|report| report.resyncs > 0 && report.pictures_lost > 0)
    });
    tokio::time::timeout(PATIENCE, counted)
        .await
        .expect("it is counted")
        .unwrap();
    let connects = stage.yard.connects.load(Ordering::Relaxed);
    assert_eq!(connects, 1, "no reconnect");
}

#[tokio::test]
async fn every_fault_has_its_name() {
    let names = ["garbage", "missing", "tracks", "login", "closed"];
    let stage = Stage::new(names.iter().map(|name| record(name)).collect()).await;
    let mut two_tracks = Script::clip(1).fault(Fault::NoControl);
    two_tracks.sound = Some("8 PCMA/8000");
    let mut login = Script::clip(1);
    login.login = Some(("owner", "secret"));
    stage
        .yard
        .up("garbage", Script::clip(1).fault(Fault::Garbage));
    stage
        .yard
        .up("missing", Script::clip(1).fault(Fault::NotFound));
    stage.yard.up("tracks", two_tracks);
    stage.yard.up("login", login);
    stage.yard.up_refusing("closed");
    let mut viewers = Vec::new();
    for (name, fault) in names.into_iter().zip([
        RtspFault::NotRtsp,
        RtspFault::NotFound,
        RtspFault::NoMedia,
        RtspFault::Unauthorized,
        RtspFault::RefusedByCamera,
    ]) {
        let mut running = stage.relay(name);
        viewers.push(Viewer::open(stage.address, name, ANN).await);
        running
            .until(name, |state| state == RelayState::Refused { fault })
            .await;
        if fault == RtspFault::Unauthorized {
            // The owner sets the login: no timer is waited for.
            stage.records.change(&id(name), |camera| {
                camera.main.login = Some(Login {
                    user: "owner".into(),
                    password: "secret".to_owned().into(),
                });
            });
            running
                .until(name, |state| state == RelayState::Playing)
                .await;
        }
    }
}

/// The 404 of a path that another firmware has hides nothing.
#[tokio::test]
async fn a_camera_that_wants_a_login_is_told_so_although_known_logins_lead_nowhere() {
    let candidate = |path: &str, login| Candidate {
        path: path.into(),
        login,
    };
    let login = Login {
        user: "root".into(),
        password: "x".to_owned().into(),
    };
    let relay = RelayConfig {
        candidates: Candidates {
            main: vec![candidate("/live", None), candidate("/ch0", Some(login))],
            sub: Vec::new(),
        },
        ..RelayConfig::default()
    };
    let mut yard = record("yard");
    yard.main.path = None;
    let stage = Stage::with(vec![yard], relay, DoorConfig::default(), None).await;
    let mut script = Script::clip(1).fault(Fault::LoginAtPath);
    script.path = "/live";
    stage.yard.up("yard", script);
    let mut running = stage.relay("yard");
    let _viewer = Viewer::open(stage.address, "yard", ANN).await;
    let fault = RtspFault::Unauthorized;
    running
        .until("yard", |state| state == RelayState::Refused { fault })
        .await;
}

#[tokio::test]
async fn silence_is_told_and_ends_with_the_next_picture() {
    let relay = RelayConfig {
        silent_after: Duration::from_millis(500),
        reconnect_silent_after: Duration::from_millis(1500),
        ..RelayConfig::default()
    };
    let stage = Stage::with(vec![record("yard")], relay, DoorConfig::default(), None).await;
    stage
        .yard
        .up("yard", Script::clip(1).fault(Fault::SilentAfter(10)));
    let mut running = stage.relay("yard");
    let mut viewer = Viewer::open(stage.address, "yard", ANN).await;
    pictures(&mut viewer, 5).await;
    running
        .until("silence", |state| state == RelayState::Silent)
        .await;
    // It is connected again, and sends ten more.
    running
        .until("pictures", |state| state == RelayState::Playing)
        .await;
    let seen = pictures(&mut viewer, 8).await;
    assert!(seen.iter().any(|picture| frame(picture) == 0));
}

#[tokio::test]
async fn a_front_door_asks_other_pods_relays_for_each_source_by_its_name() {
    let mut camera = record("yard");
    camera.sub = Some(camera.main.clone());
    for (per_source, expected) in [(true, ["main", "sub"]), (false, ["rtsp", "rtsp"])] {
        let relay = RelayConfig {
            landing_per_source: per_source,
            ..RelayConfig::default()
        };
        let cameras = vec![camera.clone()];
        let stage = Stage::with(cameras, relay, DoorConfig::default(), None).await;
        stage.yard.up("yard", Script::clip(1));
        let _running = stage.relay("yard");
        let mut main = Viewer::open(stage.address, "yard", ANN).await;
        pictures(&mut main, 2).await;
        let mut sub = Viewer::open(stage.address, "yard/sub", ANN).await;
        pictures(&mut sub, 2).await;
        assert_eq!(*stage.yard.forwards.lock().unwrap(), expected);
    }
}

#[tokio::test]
async fn known_paths_and_logins_are_tried_where_the_record_names_none() {
    let candidate = |path: &str, login: Option<(&str, &str)>| Candidate {
        path: path.to_owned(),
        login: login.map(|(user, password)| Login {
            user: user.to_owned(),
            password: password.to_owned().into(),
        }),
    };
    let relay = RelayConfig {
        candidates: Candidates {
            main: vec![
                candidate("/unicast", None),
                candidate("/ch0", Some(("thingino", "thingino"))),
            ],
            sub: Vec::new(),
        },
        ..RelayConfig::default()
    };
    let mut camera = record("yard");
    camera.main.path = None;
    let stage = Stage::with(vec![camera], relay, DoorConfig::default(), None).await;
    let mut script = Script::clip(1);
    script.login = Some(("thingino", "thingino"));
    stage.yard.up("yard", script);
    let _relay = stage.relay("yard");
    let mut viewer = Viewer::open(stage.address, "yard", ANN).await;
    assert!(viewer.picture().await.idr);
}

#[tokio::test]
async fn every_codec_passes_and_the_clock_of_the_wall_comes_with_it() {
    let names = [
        ("mp3", "14 MPA/90000"),
        ("opus", "97 opus/48000/2"),
        ("ulaw", "0 PCMU/8000"),
        ("strange", "98 X-Vendor/16000"),
    ];
    let stage = Stage::new(names.iter().map(|(name, _)| record(name)).collect()).await;
    let mut relays = Vec::new();
    for (name, rtpmap) in names {
        let starved = Starved::begin();
        let mut script = Script::clip(1);
        script.sound = Some(rtpmap);
        stage.yard.up(name, script);
        relays.push(stage.relay(name));
        let mut viewer = Viewer::open(stage.address, name, ANN).await;
        let tracks = viewer.plays().await;
        assert_eq!(tracks.len(), 2, "{name}");
        viewer.packet(1).await;
        loop {
            if let Seen::Rtcp { track: 0, packets } = viewer.next().await
                && let Some(RtcpPacket::SenderReport(report)) = packets.first()
            {
                let said = unix_from_ntp(report.ntp).expect("a date").as_micros() as u64;
                let apart = unix_micros().abs_diff(said);
                let most = 2_000_000 + starved.so_far().as_micros();
                assert!(u128::from(apart) < most, "{name}: {apart} µs apart");
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_drained_relay_says_goodbye_to_viewers_and_camera() {
    let stage = Stage::new(vec![record("yard")]).await;
    stage.yard.up("yard", Script::clip(1));
    let running = stage.relay("yard");
    let mut viewer = Viewer::open(stage.address, "yard", ANN).await;
    pictures(&mut viewer, 5).await;
    running.drain().await;
    let mut bye = false;
    loop {
        match viewer.next().await {
            Seen::Rtcp { packets, .. } => {
                bye |= packets
                    .iter()
                    .any(|packet| matches!(packet, RtcpPacket::Bye(_)));
            }
            Seen::Closed(_) => break,
            _ => {}
        }
    }
    assert!(bye, "BYE comes before the end");
}

#[tokio::test]
async fn a_camera_that_nobody_watches_is_let_go_and_a_recorded_one_is_not() {
    let relay = RelayConfig {
        linger: Duration::from_millis(300),
        ..RelayConfig::default()
    };
    let mut recorded = record("shop");
    recorded.record = moorline_core::camera::Record::Main;
    let records = vec![record("yard"), recorded];
    let stage = Stage::with(records, relay, DoorConfig::default(), None).await;
    stage.yard.up("yard", Script::clip(1));
    stage.yard.up("shop", Script::clip(2));
    let mut shop = stage.relay("shop");
    shop.until("recorded", |state| state == RelayState::Playing)
        .await;
    let mut yard = stage.relay("yard");
    let viewer = Viewer::open(stage.address, "yard", ANN).await;
    yard.until("watched", |state| state == RelayState::Playing)
        .await;
    drop(viewer);
    yard.until("not watched", |state| state == RelayState::Idle)
        .await;
    let report = eventually("a measured bitrate", PATIENCE, || {
        let report = shop.report.borrow().clone();
        async move { report.filter(|report| report.bits_per_second > 0) }
    })
    .await;
    assert_eq!((report.state, report.readers), (RelayState::Playing, 0));
    assert_eq!(report.media, ["H.264 640x360"]);
}
