//! Changes of a camera's record: what each of them does to its sessions and workloads.

use moorline_core::camera::{CameraKey, Enabled, Record};
use moorline_core::lifecycle::EndReason;
use moorline_core::port::*;
use moorline_core::{Camera, SessionId};

use super::{G1, G2, G3, I1, S1, S2, running};
use crate::tests::world::{ClaimMode, Done, World, camera, instance, key, record, tunnel};

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
async fn a_session_of_a_camera_that_was_just_removed_is_ended() {
    let world = World::new([record("yard")]);
    world.settle().await;
    let gone = camera("gone");
    assert!(world.monitor.up(tunnel(S1, &gone)));
    world.monitor.opened(S2, &gone.id);
    world.settle().await;
    let removed = |session| Done::End(session, EndReason::Removed);
    assert_eq!(world.fakes.take(), [removed(S1), removed(S2)]);
}
