//! Claims: what is served before and after one, takeover, claims that were lost, late or missed, and how many wait.

use std::time::Duration;

use moorline_core::lifecycle::EndReason;
use moorline_core::port::*;
use moorline_core::status::{LinkStatus, OpenGap};
use moorline_core::{Cause, Generation, SessionId};

use super::{G1, G2, G3, I1, S1, S2, running};
use crate::tests::world::{ClaimMode, Done, World, record, tunnel};

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

/// P4: the operator hung up on it at another process a moment ago, and the news of that are still under way.
#[tokio::test(start_paused = true)]
async fn p4_what_another_process_left_of_a_camera_comes_with_its_claim() {
    let world = World::new([record("yard")]);
    world.pass(20).await;
    let since = world.now() - Duration::from_secs(10);
    let cause = Cause::Operator;
    let gap = (OpenGap { since, cause }, None);
    *world.fakes.left.lock().unwrap() = Some(Memory {
        durable_until: Some(since),
        gaps: vec![gap],
        ..Memory::default()
    });
    world.up(1, "yard").await;
    let status = world.status("yard");
    assert_eq!(
        (status.gaps, status.durable_until),
        (vec![gap], Some(since))
    );
    let specs = world.fakes.specs.lock().unwrap();
    let archiver: Vec<_> = specs.iter().map(|spec| spec.gaps.clone()).collect();
    assert_eq!(archiver, [[gap]], "its archiver is told the same");
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
