//! What is new about a camera, and a key in two places: shown, told once, and known after a restart.

use std::collections::BTreeMap;
use std::time::Duration;

use moorline_core::camera::Enabled;
use moorline_core::port::*;
use moorline_core::{Camera, SessionId};

use crate::Settings;
use crate::tests::world::{START, World, record, tunnel};

#[tokio::test(start_paused = true)]
async fn s4_a_restart_hides_no_new_network_and_tells_nothing_anew() {
    use moorline_core::alarm::{AlarmKind, NoticeKind};
    let (home, abroad, elsewhere) = ("203.0.113.9:1", "198.51.100.7:1", "192.0.2.9:1");
    let mut memories = BTreeMap::new();
    let mut start = START;
    // In which network it is seen, and of what somebody is told.
    for (nth, (peer, told)) in [
        (home, vec![]),
        (abroad, vec![NoticeKind::NewNetwork]),
        (home, vec![]),
        (abroad, vec![]),
        // The hour of the first notice is over.
        (elsewhere, vec![NoticeKind::NewNetwork]),
    ]
    .into_iter()
    .enumerate()
    {
        let world = World::starting_at(start, Settings::default(), [record("yard")], memories);
        world.settle().await;
        let camera = world.fakes.snapshot().iter().next().unwrap().clone();
        assert!(world.monitor.up(TunnelUp {
            peer: Some(peer.parse().unwrap()),
            ..tunnel(SessionId(1), &camera)
        }));
        world.pass(1).await;
        let shown = world.status("yard").notices.len();
        assert_eq!(shown, [0, 1, 1, 1, 2][nth], "start {nth}");
        let (_, fakes) = world.stop().await;
        let alarms = fakes.alarms.lock().unwrap();
        let kinds = alarms.iter().filter_map(|alarm| match &alarm.kind {
            AlarmKind::Notice { what, .. } => Some(*what),
            _ => None,
        });
        assert_eq!(kinds.collect::<Vec<_>>(), told, "start {nth}");
        memories = fakes.memories.lock().unwrap().clone();
        start = start + Duration::from_secs(1_300);
    }
}

#[tokio::test(start_paused = true)]
async fn s4_what_is_new_about_a_camera_is_shown_and_told_once() {
    use moorline_core::alarm::{AlarmKind, NoticeKind};
    let world = World::new([record("yard")]);
    world.settle().await;
    world.up(1, "yard").await;
    let camera = world.fakes.snapshot().iter().next().unwrap().clone();
    for (session, peer) in [
        (2, "198.51.100.7:4000"),
        (3, "192.0.2.9:4000"),
        (4, "198.51.100.8:1"),
    ] {
        let up = TunnelUp {
            session: SessionId(session),
            camera: camera.clone(),
            key: camera.keys.first().map(|key| key.key.clone()),
            peer: Some(peer.parse().unwrap()),
            client: "SSH-2.0-OpenSSH_9.2".to_owned(),
        };
        assert!(world.monitor.up(up));
        world.pass(30).await;
    }
    let shown: Vec<_> = world
        .status("yard")
        .notices
        .iter()
        .map(|notice| notice.what)
        .collect();
    assert_eq!(shown, [NoticeKind::NewNetwork, NoticeKind::NewClient]);
    let told = || -> Vec<NoticeKind> {
        let alarms = world.fakes.alarms.lock().unwrap();
        let kinds = alarms.iter().filter_map(|alarm| match &alarm.kind {
            AlarmKind::Notice { camera, what, .. } => {
                assert_eq!(camera.name(), "yard");
                Some(*what)
            }
            _ => None,
        });
        kinds.collect()
    };
    assert_eq!(told(), [NoticeKind::NewNetwork, NoticeKind::NewClient]);
    world.fakes.cameras([Camera {
        enabled: Enabled::Stolen,
        ..record("yard")
    }]);
    world.settle().await;
    for port in 1..50 {
        let peer = format!("203.0.113.5:{port}").parse().unwrap();
        world.monitor.stolen(&camera.id, peer, "SSH-2.0-dropbear");
        world.settle().await;
    }
    assert_eq!(told().last(), Some(&NoticeKind::StolenKey));
    assert_eq!(told().len(), 3, "a key that calls without end is told once");
    assert_eq!(world.status("yard").notices.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn s3_a_token_that_a_second_key_used_is_shown_told_and_known_again() {
    use moorline_core::alarm::{AlarmKind, NoticeKind};
    let world = World::new([record("yard")]);
    world.settle().await;
    let yard = "yard".parse().unwrap();
    let peer = "203.0.113.5:1".parse().unwrap();
    for _ in 0..3 {
        world.monitor.token_spent(&yard, peer, "SSH-2.0-dropbear");
        world.settle().await;
    }
    let unknown = "gone".parse().unwrap();
    world
        .monitor
        .token_spent(&unknown, peer, "SSH-2.0-dropbear");
    let notices = world.status("yard").notices;
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert_eq!(notices[0].what, NoticeKind::SpentToken);
    let (_, fakes) = world.stop().await;
    let told = fakes.alarms.lock().unwrap().clone();
    assert!(
        matches!(&told[..], [alarm] if matches!(&alarm.kind, AlarmKind::Notice { what: NoticeKind::SpentToken, .. })),
        "{told:?}"
    );
    let memories = fakes.memories.lock().unwrap();
    assert_eq!(memories[&yard].notices, notices);
}

#[tokio::test(start_paused = true)]
async fn a_key_in_two_places_is_told_once_an_hour_with_both_and_shown() {
    use moorline_core::alarm::{AlarmKind, NoticeKind};
    let world = World::new([record("yard")]);
    world.settle().await;
    let camera = world.fakes.snapshot().iter().next().unwrap().clone();
    for session in 1..=8 {
        let host = if session % 2 == 0 {
            "198.51.100.7"
        } else {
            "203.0.113.9"
        };
        assert!(world.monitor.up(TunnelUp {
            peer: Some(format!("{host}:{session}").parse().unwrap()),
            ..tunnel(SessionId(session), &camera)
        }));
        world.pass(if session < 4 { 1 } else { 30 }).await;
    }
    let told: Vec<_> = world.fakes.alarms.lock().unwrap().clone();
    let peers: Vec<_> = told
        .iter()
        .filter_map(|alarm| match &alarm.kind {
            AlarmKind::KeyInTwoPlaces { peers, .. } => Some(peers.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(peers, [["203.0.113.9:3", "198.51.100.7:4"]]);
    let notices = world.status("yard").notices;
    assert!(
        notices
            .iter()
            .any(|notice| notice.what == NoticeKind::KeyInTwoPlaces),
        "{notices:?}"
    );
}
