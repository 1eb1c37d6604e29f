//! How a tunnel ends, and what becomes of its workloads: loss and grace, hang-up, silence, a crash, a stop.

use std::sync::atomic::Ordering;
use std::time::Duration;

use moorline_core::lifecycle::{EndReason, Role};
use moorline_core::port::*;
use moorline_core::status::{LinkStatus, RelayState};
use moorline_core::{Generation, SessionId};

use super::{G1, G2, I1, S1, S2, running};
use crate::tests::world::{ClaimMode, Done, START, World, instance, record};

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

/// A camera that is lost and whose grace is over, while another process may have it and nobody here knows.
async fn lost_and_held() -> World {
    let world = running().await;
    *world.fakes.hold.lock().unwrap() = Duration::from_secs(20);
    world.ended(1, TunnelEnd::Lost).await;
    world.pass(600).await;
    assert_eq!(world.fakes.take(), [], "another process may read by them");
    world
}

#[tokio::test(start_paused = true)]
async fn a_grace_goes_on_until_it_is_known_whether_another_process_has_the_camera() {
    let world = lost_and_held().await;
    assert!(matches!(
        world.status("yard").link,
        LinkStatus::Grace { .. }
    ));
    *world.fakes.hold.lock().unwrap() = Duration::ZERO;
    world.pass(21).await;
    let mut done = world.fakes.take();
    done.sort_by_key(|done| format!("{done:?}"));
    assert_eq!(done, [Done::Drain(I1), Done::Release(G1)]);
}

#[tokio::test(start_paused = true)]
async fn a_camera_that_comes_back_while_its_grace_goes_on_finds_its_workloads() {
    let world = lost_and_held().await;
    world.up(2, "yard").await;
    assert_eq!(
        world.fakes.take(),
        [Done::Serve(S2, G2), Done::Rebind(I1, G2)]
    );
    *world.fakes.hold.lock().unwrap() = Duration::ZERO;
    world.pass(60).await;
    assert_eq!(world.fakes.take(), [], "it is here");
}

#[tokio::test(start_paused = true)]
async fn a_hang_up_ends_a_grace_that_goes_on() {
    let world = lost_and_held().await;
    world.monitor.hang_up(&"yard".parse().unwrap());
    world.settle().await;
    assert!(world.fakes.take().contains(&Done::Drain(I1)));
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

/// P1: an order that is late, or comes while the camera calls anew, ends no tunnel that is newer than it.
#[tokio::test(start_paused = true)]
async fn a_hang_up_by_order_ends_the_generation_that_it_names_and_none_that_came_later() {
    let (world, yard) = (running().await, "yard".parse().unwrap());
    world.fakes.claims(ClaimMode::Hold);
    world.up(2, "yard").await;
    world.monitor.hang_up_of(&yard, G1);
    world.settle().await;
    let done = world.fakes.take();
    assert_eq!(
        done[..2],
        [Done::End(S1, EndReason::HungUp), Done::Drain(I1)]
    );
    world.fakes.claims(ClaimMode::Grant);
    world.settle().await;
    world.monitor.hang_up_of(&yard, G1);
    world.settle().await;
    let done = world.fakes.take();
    assert!(done.contains(&Done::Serve(S2, G2)), "{done:?}");
    assert!(
        !done.contains(&Done::End(S2, EndReason::HungUp)),
        "{done:?}"
    );
    assert!(matches!(
        world.status("yard").link,
        LinkStatus::Up { session: S2, .. }
    ));
}

#[tokio::test(start_paused = true)]
async fn a_hang_up_by_order_waits_for_the_claim_that_it_is_for() {
    let (world, yard) = (World::new([record("yard")]), "yard".parse().unwrap());
    world.settle().await;
    world.fakes.claims(ClaimMode::Hold);
    world.up(1, "yard").await;
    world.monitor.hang_up_of(&yard, G1);
    world.settle().await;
    assert_eq!(world.fakes.take(), []);
    world.fakes.claims(ClaimMode::Grant);
    world.settle().await;
    let done = world.fakes.take();
    assert!(done.contains(&Done::End(S1, EndReason::HungUp)), "{done:?}");
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
