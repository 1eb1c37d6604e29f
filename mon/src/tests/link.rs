//! Tunnels, claims, takeover, hang-up, grace, the record's changes.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use moorline_core::camera::{CameraKey, Enabled, Record};
use moorline_core::lifecycle::{EndReason, Role};
use moorline_core::port::*;
use moorline_core::status::{LinkStatus, RelayState};
use moorline_core::{Camera, Generation, SessionId};

use super::world::{ClaimMode, Done, START, World, instance, key, record, tunnel};
use crate::Settings;

pub(super) const S1: SessionId = SessionId(1);
pub(super) const S2: SessionId = SessionId(2);
pub(super) const G1: Generation = Generation(1);
pub(super) const G2: Generation = Generation(2);
pub(super) const G3: Generation = Generation(3);
pub(super) const I1: moorline_core::InstanceId = instance(1, 0);

/// The yard with its tunnel up and its workloads started.
pub(super) async fn running() -> World {
    let world = World::new([record("yard")]);
    world.settle().await;
    world.up(1, "yard").await;
    assert_eq!(
        world.fakes.take(),
        [Done::Serve(S1, G1), Done::Start(I1, G1)]
    );
    world
}

#[tokio::test(start_paused = true)]
async fn p1_nothing_is_served_while_the_claim_is_held_back() {
    let world = World::new([record("yard")]);
    world.fakes.claims(ClaimMode::Hold);
    world.up(1, "yard").await;
    world.pass(4).await;
    assert_eq!(world.fakes.take(), []);
    world.fakes.claims(ClaimMode::Grant);
    world.settle().await;
    assert_eq!(
        world.fakes.take(),
        [Done::Serve(S1, G1), Done::Start(I1, G1)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_is_lost_or_late_ends_the_session() {
    let world = World::new([record("yard")]);
    world.fakes.claims(ClaimMode::Refuse);
    world.up(1, "yard").await;
    assert_eq!(world.fakes.take(), [Done::End(S1, EndReason::ClaimLost)]);
    world.fakes.claims(ClaimMode::Hold);
    world.up(2, "yard").await;
    world.pass(6).await;
    assert_eq!(world.fakes.take(), [Done::End(S2, EndReason::ClaimLost)]);
}

#[tokio::test(start_paused = true)]
async fn p1_the_newest_tunnel_takes_over_and_the_older_one_is_ended() {
    let world = running().await;
    world.up(2, "yard").await;
    assert_eq!(
        world.fakes.take(),
        [
            Done::Serve(S2, G2),
            Done::End(S1, EndReason::Superseded),
            Done::Rebind(I1, G2)
        ]
    );
    let audited: Vec<_> = {
        let entries = world.fakes.audit.lock().unwrap();
        let told = entries
            .iter()
            .map(|entry| (entry.actor.clone(), entry.event, entry.subject.clone()));
        told.collect()
    };
    let what = "home/yard from 192.0.2.2:50001 by 192.0.2.1:50002".to_owned();
    assert_eq!(
        audited,
        [("camera home/yard".to_owned(), AuditEvent::Takeover, what)]
    );
    world.ended(1, TunnelEnd::HungUp).await;
    assert_eq!(world.fakes.take(), [], "old news");
    assert!(matches!(
        world.status("yard").link,
        LinkStatus::Up { session: S2, .. }
    ));
}

#[tokio::test(start_paused = true)]
async fn of_tunnels_that_wait_for_a_claim_only_the_newest_gets_one() {
    let world = World::new([record("yard")]);
    world.fakes.claims(ClaimMode::Hold);
    for session in 1..=3 {
        world.up(session, "yard").await;
    }
    let superseded = |session| Done::End(SessionId(session), EndReason::Superseded);
    assert_eq!(world.fakes.take(), [superseded(1), superseded(2)]);
    assert_eq!(
        *world.fakes.audit.lock().unwrap(),
        [],
        "none of them served"
    );
    world.fakes.claims(ClaimMode::Grant);
    world.settle().await;
    let served = world.fakes.take();
    assert_eq!(
        served.first(),
        Some(&Done::Serve(SessionId(3), G2)),
        "{served:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_that_ends_before_its_claim_is_back_starts_nothing() {
    let world = World::new([record("yard")]);
    world.fakes.claims(ClaimMode::Hold);
    world.up(1, "yard").await;
    world.ended(1, TunnelEnd::Lost).await;
    world.fakes.claims(ClaimMode::Grant);
    world.settle().await;
    assert_eq!(world.fakes.take(), [Done::Release(G1)]);
}

/// The yard is served, and a second tunnel was claimed that had ended by then; the next claim is held back.
async fn missed_while_it_serves() -> World {
    let world = running().await;
    world.fakes.claims(ClaimMode::Hold);
    world.up(2, "yard").await;
    world.ended(2, TunnelEnd::Lost).await;
    world.fakes.claims(ClaimMode::GrantOne);
    world.settle().await;
    assert_eq!(world.fakes.take(), [], "the first one serves on");
    world
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_that_serves_claims_again_when_the_claim_of_a_newer_one_was_missed() {
    let world = missed_while_it_serves().await;
    world.fakes.claims(ClaimMode::Grant);
    world.settle().await;
    assert_eq!(
        world.fakes.take(),
        [Done::Serve(S1, G3), Done::Rebind(I1, G3)]
    );
    world.pass(120).await;
    assert_eq!(world.fakes.take(), [], "once");
    world.ended(1, TunnelEnd::Lost).await;
    world.pass(31).await;
    let mut done = world.fakes.take();
    done.sort_by_key(|done| format!("{done:?}"));
    assert_eq!(done, [Done::Drain(I1), Done::Release(G3)]);
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_that_cannot_claim_again_ends_and_its_workloads_wait_for_the_camera() {
    let world = missed_while_it_serves().await;
    world.fakes.claims(ClaimMode::Refuse);
    world.settle().await;
    assert_eq!(world.fakes.take(), [Done::End(S1, EndReason::ClaimLost)]);
    assert!(matches!(
        world.status("yard").link,
        LinkStatus::Grace { .. }
    ));
    world.ended(1, TunnelEnd::Lost).await;
    world.fakes.claims(ClaimMode::Grant);
    world.pass(5).await;
    assert_eq!(world.fakes.take(), [], "it tries no further");
    world.up(3, "yard").await;
    world.pass(6).await;
    assert_eq!(
        world.fakes.take(),
        [Done::Serve(SessionId(3), G3), Done::Rebind(I1, G3)]
    );
}

#[tokio::test(start_paused = true)]
async fn p1_a_newer_tunnel_takes_over_from_one_that_claims_again_when_its_own_claim_is_back() {
    let world = missed_while_it_serves().await;
    world.up(3, "yard").await;
    assert_eq!(world.fakes.take(), [], "the first one serves until then");
    world.fakes.claims(ClaimMode::Grant);
    world.settle().await;
    assert_eq!(
        world.fakes.take(),
        [Done::Serve(S1, G3), Done::Rebind(I1, G3)]
    );
    world.pass(6).await;
    let (third, fourth) = (SessionId(3), Generation(4));
    assert_eq!(
        world.fakes.take(),
        [
            Done::Serve(third, fourth),
            Done::End(S1, EndReason::Superseded),
            Done::Rebind(I1, fourth)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_was_missed_is_given_back_when_the_tunnel_behind_it_is_not_claimed_either() {
    let world = World::new([record("yard")]);
    world.fakes.claims(ClaimMode::Hold);
    world.up(1, "yard").await;
    world.up(2, "yard").await;
    assert_eq!(world.fakes.take(), [Done::End(S1, EndReason::Superseded)]);
    world.ended(1, TunnelEnd::Lost).await;
    world.fakes.claims(ClaimMode::GrantOne);
    world.settle().await;
    world.ended(2, TunnelEnd::Lost).await;
    world.fakes.claims(ClaimMode::Refuse);
    world.settle().await;
    assert_eq!(world.fakes.take(), [Done::Release(G1)]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_tunnel_keeps_its_workloads_for_the_grace() {
    let world = running().await;
    world.ended(1, TunnelEnd::Lost).await;
    world.pass(29).await;
    assert_eq!(world.fakes.take(), []);
    assert!(matches!(
        world.status("yard").link,
        LinkStatus::Grace { .. }
    ));
    world.pass(2).await;
    let mut done = world.fakes.take();
    done.sort_by_key(|done| format!("{done:?}"));
    assert_eq!(done, [Done::Drain(I1), Done::Release(G1)]);
}

/// A camera that is lost, and 20 s later once more before its claim has come to this end; 28 s after that.
async fn lost_twice(end: ClaimMode) -> World {
    let world = running().await;
    world.ended(1, TunnelEnd::Lost).await;
    world.pass(20).await;
    world.fakes.claims(ClaimMode::Hold);
    world.up(2, "yard").await;
    world.ended(2, TunnelEnd::Lost).await;
    world.fakes.claims(end);
    world.settle().await;
    world.pass(28).await;
    world
}

#[tokio::test(start_paused = true)]
async fn a_second_loss_before_the_claim_is_back_waits_a_whole_grace() {
    let world = lost_twice(ClaimMode::Grant).await;
    assert_eq!(world.fakes.take(), [], "the grace of the second loss");
    world.pass(3).await;
    let mut done = world.fakes.take();
    done.sort_by_key(|done| format!("{done:?}"));
    assert_eq!(done, [Done::Drain(I1), Done::Release(G2)]);
}

#[tokio::test(start_paused = true)]
async fn a_grace_does_not_end_while_the_camera_is_back_and_waits_for_its_claim() {
    let world = running().await;
    world.ended(1, TunnelEnd::Lost).await;
    world.pass(28).await;
    world.fakes.claims(ClaimMode::Hold);
    world.up(2, "yard").await;
    world.pass(4).await;
    assert_eq!(world.fakes.take(), []);
    world.fakes.claims(ClaimMode::Grant);
    world.settle().await;
    let done = world.fakes.take();
    assert_eq!(done.first(), Some(&Done::Serve(S2, G2)), "{done:?}");
    assert!(!done.contains(&Done::Drain(I1)), "{done:?}");
    world.pass(60).await;
    assert!(!world.fakes.take().contains(&Done::Drain(I1)));
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_that_is_lost_while_its_claim_is_refused_waits_a_whole_grace_too() {
    let world = lost_twice(ClaimMode::Refuse).await;
    assert_eq!(world.fakes.take(), []);
    world.pass(3).await;
    assert!(world.fakes.take().contains(&Done::Drain(I1)));
}

#[tokio::test(start_paused = true)]
async fn a_hang_up_drains_at_once_and_an_overdue_instance_is_killed() {
    let world = running().await;
    world.ended(1, TunnelEnd::HungUp).await;
    let done = world.fakes.take();
    assert!(done.contains(&Done::Drain(I1)), "{done:?}");
    world.pass(64).await;
    assert_eq!(world.fakes.take(), []);
    world.pass(2).await;
    assert_eq!(world.fakes.take(), [Done::Kill(I1)]);
    world.say("yard", I1, WorkloadEvent::Drained).await;
    let (report, _) = world.stop().await;
    assert_eq!(report.left, 0);
}

#[tokio::test(start_paused = true)]
async fn bye_and_the_operator_hang_up_too() {
    let world = running().await;
    world.monitor.opened(S1, &"yard".parse().unwrap());
    assert!(world.monitor.line(S1, b"BYE"));
    world.settle().await;
    let done = world.fakes.take();
    assert_eq!(
        done[..2],
        [Done::End(S1, EndReason::HungUp), Done::Drain(I1)]
    );
    world.up(2, "yard").await;
    world.fakes.take();
    world.monitor.hang_up(&"yard".parse().unwrap());
    world.settle().await;
    let done = world.fakes.take();
    assert_eq!(
        done[..2],
        [
            Done::End(S2, EndReason::HungUp),
            Done::Drain(instance(2, 0))
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_session_without_a_tunnel_supersedes_nothing_and_its_bye_ends_it_alone() {
    let world = running().await;
    world.monitor.opened(S2, &"yard".parse().unwrap());
    world.settle().await;
    assert!(world.monitor.line(S2, b"BYE"));
    world.settle().await;
    assert_eq!(world.fakes.take(), [Done::End(S2, EndReason::HungUp)]);
    assert!(matches!(
        world.status("yard").link,
        LinkStatus::Up { session: S1, .. }
    ));
}

#[tokio::test(start_paused = true)]
async fn a_camera_that_stops_answering_ping_is_lost_and_one_that_never_did_is_not() {
    let world = running().await;
    world.monitor.opened(S1, &"yard".parse().unwrap());
    world.pass(15).await;
    assert!(world.monitor.line(S1, b"PONG 1"));
    world.pass(44).await;
    assert_eq!(world.fakes.take(), []);
    world.pass(30).await;
    assert_eq!(world.fakes.take(), [Done::End(S1, EndReason::Silent)]);
    assert!(matches!(
        world.status("yard").link,
        LinkStatus::Grace { .. }
    ));
    world.ended(1, TunnelEnd::HungUp).await;
    assert_eq!(world.fakes.take(), [], "its end is old news");

    let stock = running().await;
    stock.monitor.opened(S1, &"yard".parse().unwrap());
    stock.pass(600).await;
    assert_eq!(stock.fakes.take(), []);
}

#[tokio::test(start_paused = true)]
async fn the_fourth_claim_within_a_minute_waits_and_two_addresses_are_told_once() {
    let world = running().await;
    for session in 2..=3 {
        world.up(session, "yard").await;
    }
    world.fakes.take();
    for turn in 0..3 {
        let session = 4 + turn;
        world.up(session, "yard").await;
        assert_eq!(world.fakes.take(), [], "the older one serves until then");
        world.pass(16).await;
        assert!(matches!(
            world.fakes.take().as_slice(),
            [Done::Serve(..), ..]
        ));
    }
    let alarms = world.fakes.alarms.lock().unwrap().clone();
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    let told = format!("{:?}", alarms[0]);
    assert!(
        told.contains("192.0.2.1:") && told.contains("192.0.2.2:"),
        "{told}"
    );
}

#[tokio::test(start_paused = true)]
async fn disabling_ends_the_session_and_drains_and_enabling_serves_again() {
    let world = running().await;
    let off = Camera {
        enabled: Enabled::Disabled,
        ..record("yard")
    };
    world.fakes.cameras([off]);
    world.settle().await;
    let done = world.fakes.take();
    assert_eq!(
        done[..2],
        [Done::End(S1, EndReason::Disabled), Done::Drain(I1)]
    );
    world.up(2, "yard").await;
    assert_eq!(world.fakes.take(), [Done::End(S2, EndReason::Disabled)]);
    world.fakes.cameras([record("yard")]);
    world.settle().await;
    world.up(3, "yard").await;
    assert_eq!(
        world.fakes.take().first(),
        Some(&Done::Serve(SessionId(3), G2))
    );
}

#[tokio::test(start_paused = true)]
async fn only_a_change_that_matters_to_workloads_restarts_them() {
    let world = running().await;
    let titled = Camera {
        title: "the yard".to_owned(),
        site: Some("farm".to_owned()),
        ..record("yard")
    };
    world.fakes.cameras([titled.clone()]);
    world.settle().await;
    assert_eq!(world.fakes.take(), []);
    world.fakes.cameras([Camera {
        record: Record::Off,
        ..titled
    }]);
    world.settle().await;
    assert_eq!(
        world.fakes.take(),
        [Done::Drain(I1), Done::Start(instance(1, 1), G1)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_revoked_key_ends_its_sessions() {
    let world = running().await;
    let mut other = record("yard");
    other.keys[0].key = key(2);
    world.fakes.cameras([other]);
    world.settle().await;
    assert_eq!(world.fakes.take(), [Done::End(S1, EndReason::Removed)]);
}

#[tokio::test(start_paused = true)]
async fn revoking_one_key_of_a_camera_leaves_the_session_of_its_other_key() {
    let mut both = record("yard");
    both.keys.push(CameraKey {
        key: key(2),
        ..both.keys[0].clone()
    });
    let world = World::new([both.clone()]);
    world.settle().await;
    world.up(1, "yard").await;
    world.fakes.take();
    // The session of the first key serves, one of the second waits for its claim.
    world.fakes.claims(ClaimMode::Hold);
    let second = std::sync::Arc::new(both.clone());
    assert!(world.monitor.up(TunnelUp {
        key: Some(key(2)),
        ..tunnel(S2, &second)
    }));
    world.settle().await;
    let mut without_second = both.clone();
    without_second.keys.truncate(1);
    world.fakes.cameras([without_second]);
    world.settle().await;
    assert_eq!(world.fakes.take(), [Done::End(S2, EndReason::Removed)]);
    world.fakes.claims(ClaimMode::Grant);
    world.settle().await;
    assert_eq!(
        world.fakes.take(),
        [Done::Serve(S1, G3), Done::Rebind(I1, G3)],
        "its claim comes back too late to serve, and the first one's takes its place"
    );
    let mut without_first = both;
    without_first.keys.remove(0);
    world.fakes.cameras([without_first]);
    world.settle().await;
    assert_eq!(world.fakes.take(), [Done::End(S1, EndReason::Removed)]);
}

#[tokio::test(start_paused = true)]
async fn a_removed_camera_is_drained_and_its_name_may_come_back() {
    let world = running().await;
    world.fakes.cameras([]);
    world.settle().await;
    let done = world.fakes.take();
    assert_eq!(
        done[..2],
        [Done::End(S1, EndReason::Removed), Done::Drain(I1)]
    );
    assert!(world.monitor.get(&"yard".parse().unwrap()).is_none());
    world.fakes.cameras([record("yard")]);
    world.settle().await;
    world.ended(1, TunnelEnd::Lost).await;
    world.say("yard", I1, WorkloadEvent::Drained).await;
    world.up(2, "yard").await;
    assert_eq!(world.fakes.take().first(), Some(&Done::Serve(S2, G2)));
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_of_a_camera_that_was_added_a_moment_ago_is_served() {
    let world = World::new([]);
    world.settle().await;
    world.fakes.cameras([record("yard")]);
    world.up(1, "yard").await;
    assert_eq!(
        world.fakes.take(),
        [Done::Serve(S1, G1), Done::Start(I1, G1)]
    );
}

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

#[tokio::test(start_paused = true)]
async fn s5_claims_of_a_tenant_wait_for_their_turn_and_all_come_in() {
    let names: Vec<String> = (0..2_300).map(|index| format!("c{index}")).collect();
    let world = World::new(names.iter().map(|name| record(name)));
    // A yield gives a turn to some sixty tasks; there are thousands.
    let calm = async || {
        for _ in 0..100 {
            world.settle().await;
        }
    };
    calm().await;
    for (session, name) in names.iter().enumerate() {
        let set = world.fakes.snapshot();
        let camera = set.get(&name.parse().unwrap()).unwrap();
        assert!(
            world
                .monitor
                .up(tunnel(SessionId(session as u64 + 1), camera))
        );
    }
    let served = || {
        let done = world.fakes.done.lock().unwrap();
        done.iter()
            .filter(|done| matches!(done, Done::Serve(..)))
            .count()
    };
    calm().await;
    assert_eq!(served(), 2_000, "the burst");
    world.pass(1).await;
    calm().await;
    assert_eq!(served(), 2_200, "200 a second from then on");
    world.pass(1).await;
    calm().await;
    assert_eq!(served(), 2_300);
}

#[tokio::test(start_paused = true)]
async fn a_crashed_workload_is_started_again_with_backoff() {
    let world = running().await;
    let crash = WorkloadEvent::Crashed {
        role: Role::Archiver,
        reason: "panic: index out of range".to_owned(),
    };
    for _ in 0..5 {
        world.say("yard", I1, crash.clone()).await;
        assert_eq!(world.fakes.take(), []);
        world.pass(61).await;
        assert_eq!(world.fakes.take(), [Done::Restart(I1, Role::Archiver)]);
    }
    world.say("yard", I1, crash).await;
    world.ended(1, TunnelEnd::HungUp).await;
    world.fakes.take();
    world.pass(30).await;
    assert_eq!(world.fakes.take(), [], "no longer wanted");
}

#[tokio::test(start_paused = true)]
async fn hello_time_and_ping_are_said_to_every_session() {
    let world = World::new([record("acme/yard")]);
    world.monitor.opened(S1, &"acme/yard".parse().unwrap());
    world.pass(31).await;
    let lines: Vec<_> = world.fakes.done.lock().unwrap().clone();
    let line = |text: &str| Done::Line(S1, text.to_owned());
    let unix = START.as_millis() / 1_000;
    assert_eq!(
        lines,
        [
            line("MOORLINE/1 both acme/yard"),
            line(&format!("TIME {unix}")),
            line("PING 1"),
            line("PING 2")
        ]
    );
    assert!(world.monitor.line(S1, b"STATUS uptime=7"));
    world.settle().await;
    assert_eq!(
        world.status("acme/yard").said,
        [("uptime".to_owned(), "7".to_owned())]
    );
}

#[tokio::test(start_paused = true)]
async fn p8_a_stop_ends_sessions_drains_and_waits() {
    let world = running().await;
    let (report, fakes) = world.stop().await;
    assert_eq!(report.left, 0);
    let done = fakes.take();
    assert!(
        done.contains(&Done::End(S1, EndReason::Shutdown)),
        "{done:?}"
    );
    assert!(done.contains(&Done::Drain(I1)), "{done:?}");
}

#[tokio::test(start_paused = true)]
async fn a_camera_whose_task_panics_is_started_again_and_leaves_nothing_behind() {
    let world = running().await;
    world.fakes.serve_panics.store(true, Ordering::SeqCst);
    world.up(2, "yard").await;
    let mut ended = world.fakes.take();
    ended.sort_by_key(|done| format!("{done:?}"));
    let silent = |session| Done::End(session, EndReason::Silent);
    assert_eq!(
        ended,
        [silent(S1), silent(S2)],
        "so that the camera calls anew"
    );
    world.ended(1, TunnelEnd::Lost).await;
    world.ended(2, TunnelEnd::Lost).await;
    let left = RelayState::NoLanding;
    world.relay("yard", I1, left).await;
    assert_eq!(
        world.fakes.take(),
        [Done::Kill(I1)],
        "the workloads that were left behind"
    );
    world.say("yard", I1, WorkloadEvent::Drained).await;
    world.up(3, "yard").await;
    let third = Generation(3);
    assert_eq!(
        world.fakes.take(),
        [
            Done::Serve(SessionId(3), third),
            Done::Start(instance(3, 0), third)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_session_of_a_camera_that_was_just_removed_is_ended() {
    let world = World::new([record("yard")]);
    world.settle().await;
    let gone = super::world::camera("gone");
    assert!(world.monitor.up(tunnel(S1, &gone)));
    world.monitor.opened(S2, &gone.id);
    world.settle().await;
    let removed = |session| Done::End(session, EndReason::Removed);
    assert_eq!(world.fakes.take(), [removed(S1), removed(S2)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p2_a_thousand_cameras_that_reconnect_at_once_are_all_up_and_none_is_crossed() {
    const CAMERAS: u64 = 1_000;
    let records: Vec<_> = (0..CAMERAS)
        .map(|index| record(&format!("c{index}")))
        .collect();
    let world = World::new(records.clone());
    let tenant = records[0].id.tenant();
    for round in 0..2 {
        let first = 1 + round * CAMERAS;
        for (index, record) in records.iter().enumerate() {
            let session = SessionId(first + index as u64);
            let up = tunnel(session, &std::sync::Arc::new(record.clone()));
            assert!(world.monitor.up(up));
        }
        let all_up = async {
            let mut seen = world.monitor.version();
            loop {
                let statuses = world.monitor.list(tenant);
                let up = statuses.iter().filter(|status| match status.link {
                    LinkStatus::Up { session, .. } => {
                        let index: u64 = status.camera.name()[1..].parse().unwrap();
                        session >= SessionId(first) && {
                            assert_eq!(session, SessionId(first + index), "crossed");
                            true
                        }
                    }
                    _ => false,
                });
                if up.count() == CAMERAS as usize {
                    return;
                }
                seen = world.monitor.changed(seen).await;
            }
        };
        let limit = Duration::from_secs(60);
        tokio::time::timeout(limit, all_up).await.expect("all up");
    }
    let done = world.fakes.take();
    let starts = done
        .iter()
        .filter(|done| matches!(done, Done::Start(..)))
        .count();
    let rebinds = done
        .iter()
        .filter(|done| matches!(done, Done::Rebind(..)))
        .count();
    assert_eq!((starts, rebinds), (CAMERAS as usize, CAMERAS as usize));
}
