//! What is told after a restart, and of what another process held or told.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use moorline_core::alarm::AlarmKind;
use moorline_core::port::{Memory, TunnelEnd};
use moorline_core::status::{OpenGap, RelayState};
use moorline_core::{Cause, Timestamp};

use super::{loses_yard, told, told_beside_a_dead_channel};
use crate::Settings;
use crate::tests::world::{START, World, instance, record};

/// It stops, and starts anew so many seconds after its beginning; with what it remembered of the yard.
async fn restarted(world: World, after: u64) -> (World, Memory) {
    let (_, fakes) = world.stop().await;
    let memories = fakes.memories.lock().unwrap().clone();
    let remembered = memories[&record("yard").id].clone();
    let later = START + Duration::from_secs(after);
    let world = World::starting_at(later, Settings::default(), [record("yard")], memories);
    (world, remembered)
}

/// The yard is recorded for some minutes.
async fn records(world: &World) {
    for _ in 0..15 {
        world
            .relay("yard", instance(1, 0), RelayState::Playing)
            .await;
        world.archive("yard", instance(1, 0), world.now()).await;
        world.pass(10).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_nobody_could_be_told_is_told_after_the_start_with_a_channel() {
    let world = World::new([record("yard")]);
    world.fakes.no_channel.store(true, Ordering::SeqCst);
    loses_yard(&world).await;
    world.pass(300).await;
    let (world, remembered) = restarted(world, 360).await;
    assert_eq!(remembered.alarmed_since, None);
    world.pass(300).await;
    assert_eq!(told(&world), ["stopped yard"]);
}

/// Its stream was faulty from the first day, so that nothing of it was ever stored; it was connected all the same.
#[tokio::test(start_paused = true)]
async fn a_camera_of_which_nothing_was_ever_durable_is_missed_after_a_restart_too() {
    let known = Memory {
        networks: vec!["192.0.2.0".parse().unwrap()],
        ..Memory::default()
    };
    let memories = BTreeMap::from([(record("yard").id, known)]);
    let cameras = [record("yard"), record("new")];
    let world = World::starting_at(START, Settings::default(), cameras, memories);
    world.pass(300).await;
    assert_eq!(
        told(&world),
        ["stopped yard"],
        "the new one is still being put up"
    );
}

#[tokio::test(start_paused = true)]
async fn an_alarm_survives_a_restart_and_its_all_clear_comes_after_it() {
    let first = instance(1, 0);
    let world = World::new([record("yard")]);
    world.up(1, "yard").await;
    world.relay("yard", first, RelayState::Playing).await;
    world.archive("yard", first, world.now()).await;
    world.ended(1, TunnelEnd::Lost).await;
    world.pass(200).await;
    let alarms = world.fakes.alarms.lock().unwrap().clone();
    let AlarmKind::RecordingStopped {
        site: None,
        cameras,
    } = &alarms[0].kind
    else {
        panic!("{alarms:?}");
    };
    assert_eq!(
        (cameras[0].since, cameras[0].cause),
        (
            START,
            moorline_core::alarm::AlarmCause::Gap(Cause::TunnelDown)
        )
    );
    assert_eq!(alarms.len(), 1);

    let (world, remembered) = restarted(world, 300).await;
    assert_eq!(remembered.alarmed_since, Some(START));
    world.pass(400).await;
    assert_eq!(
        world.fakes.alarms.lock().unwrap().len(),
        0,
        "not told again"
    );
    world.up(1, "yard").await;
    records(&world).await;
    assert_eq!(told(&world), ["resumed yard"]);
    let stored = world.fakes.memories.lock().unwrap()[&record("yard").id].clone();
    assert_eq!(stored.alarmed_since, None);
}

#[tokio::test(start_paused = true)]
async fn what_only_a_channel_that_went_had_not_told_is_not_told_again_after_a_restart() {
    let world = told_beside_a_dead_channel().await;
    world.fakes.dead_channel.store(false, Ordering::Relaxed);
    world.monitor.set_alarms(Duration::from_secs(180));
    world.pass(60).await;
    let (world, remembered) = restarted(world, 400).await;
    assert_eq!(remembered.alarmed_since, Some(START));
    world.pass(400).await;
    assert_eq!(told(&world), [""; 0]);
}

fn away(since: Timestamp, alarmed_since: Option<Timestamp>) -> Memory {
    let cause = Cause::TunnelDown;
    Memory {
        durable_until: Some(since),
        gaps: vec![(OpenGap { since, cause }, None)],
        alarmed_since,
        ..Memory::default()
    }
}

/// Two replicas: the one that held the camera knows that it went, the other one tells of cameras that nobody holds.
#[tokio::test(start_paused = true)]
async fn a_camera_that_went_away_at_another_process_is_told_of_here() {
    let yard = record("yard").id;
    let world = World::new([record("yard")]);
    world.fakes.elsewhere.store(true, Ordering::SeqCst);
    world.pass(600).await;
    world.fakes.remembered(&yard, away(world.now(), None));
    world.fakes.elsewhere.store(false, Ordering::SeqCst);
    let since = world.now();
    world.pass(170).await;
    assert!(world.fakes.alarms.lock().unwrap().is_empty());
    world.pass(30).await;
    let alarms = world.fakes.alarms.lock().unwrap().clone();
    let AlarmKind::RecordingStopped { cameras, .. } = &alarms[0].kind else {
        panic!("{alarms:?}");
    };
    assert_eq!((alarms.len(), cameras[0].since), (1, since));
    let stored = world.fakes.memories.lock().unwrap()[&yard].clone();
    assert_eq!(stored.alarmed_since, Some(since));
}

/// The camera comes back to another replica than the one that told of it.
#[tokio::test(start_paused = true)]
async fn what_another_process_told_of_is_cleared_here_and_not_told_again() {
    let world = World::new([record("yard")]);
    world.fakes.elsewhere.store(true, Ordering::SeqCst);
    let gone = away(world.now(), Some(world.now()));
    world.fakes.remembered(&record("yard").id, gone);
    world.pass(600).await;
    world.fakes.elsewhere.store(false, Ordering::SeqCst);
    world.pass(300).await;
    assert!(world.fakes.alarms.lock().unwrap().is_empty(), "told twice");
    world.up(1, "yard").await;
    records(&world).await;
    assert_eq!(told(&world), ["resumed yard"]);
}

/// The camera comes back to the process that told of it, before that was written beside what the claim reads.
#[tokio::test(start_paused = true)]
async fn what_was_told_here_is_cleared_here_although_the_claim_does_not_know_of_it() {
    let yard = record("yard").id;
    let world = World::new([record("yard")]);
    let left = away(world.now(), None);
    world.fakes.remembered(&yard, left.clone());
    world.pass(300).await;
    assert_eq!(told(&world), ["stopped yard"]);
    *world.fakes.left.lock().unwrap() = Some(left);
    world.up(1, "yard").await;
    records(&world).await;
    assert_eq!(told(&world).last().unwrap(), "resumed yard");
}

#[tokio::test(start_paused = true)]
async fn an_alarm_that_did_not_get_out_before_a_restart_is_told_after_it() {
    let world = World::new([record("yard")]);
    world.fakes.away.store(true, Ordering::SeqCst);
    loses_yard(&world).await;
    world.pass(900).await;
    let (world, _) = restarted(world, 1_000).await;
    world.pass(300).await;
    assert_eq!(told(&world), ["stopped yard"]);
}
