//! Channels and addresses that are away: they hold up no other, and what they did not tell is told when they are back. And channels that are set
//! while the process runs.

use std::sync::atomic::Ordering;
use std::time::Duration;

use moorline_core::alarm::AlarmKind;
use moorline_core::port::{Statuses as _, TunnelEnd};
use moorline_core::status::RelayState;

use super::{loses_yard, short, told, told_beside_a_dead_channel};
use crate::tests::world::{START, World, instance, record};

#[tokio::test(start_paused = true)]
async fn a_dead_channel_delays_no_message_on_the_others() {
    let names = ["yard", "door", "hall"];
    let world = World::new(names.map(record));
    world.fakes.dead_channel.store(true, Ordering::Relaxed);
    let first = instance(1, 0);
    for (session, name) in (1..).zip(names) {
        world.up(session, name).await;
        world.relay(name, first, RelayState::Playing).await;
        world.archive(name, first, world.now()).await;
    }
    for session in 1..=3 {
        world.ended(session, TunnelEnd::Lost).await;
    }
    world.pass(200).await;
    let alarms = world.fakes.alarms.lock().unwrap().clone();
    assert_eq!(alarms.len(), 3, "{alarms:?}");
}

/// Somebody was told, so it is not told again; who was not is not forgotten.
#[tokio::test(start_paused = true)]
async fn an_address_that_takes_nothing_is_shown_until_it_does() {
    let world = World::new([record("yard")]);
    world.up(1, "yard").await;
    world.archive("yard", instance(1, 0), world.now()).await;
    world.fakes.dead_address.store(true, Ordering::SeqCst);
    world.ended(1, TunnelEnd::Lost).await;
    world.pass(600).await;
    assert!(!world.fakes.alarms.lock().unwrap().is_empty());
    let untold = &world.monitor.untold()[0];
    assert_eq!(
        (untold.cameras, untold.why.as_deref()),
        (0, Some("550 no such user"))
    );
    world.fakes.dead_address.store(false, Ordering::SeqCst);
    let told = world.fakes.alarms.lock().unwrap().len();
    world.up(2, "yard").await;
    for _ in 0..30 {
        let (back, now) = (instance(2, 0), world.now());
        world.relay("yard", back, RelayState::Playing).await;
        world.archive("yard", back, now).await;
        world.pass(10).await;
    }
    assert!(world.fakes.alarms.lock().unwrap().len() > told);
    assert_eq!(world.monitor.untold()[0].why, None);
}

/// The uplink is gone: cameras and channel fail together, and one camera comes back before the channel does.
#[tokio::test(start_paused = true)]
async fn an_outage_that_takes_the_channel_along_is_told_when_the_channel_is_back() {
    let names = ["yard", "door"];
    let world = World::new(names.map(record));
    let first = instance(1, 0);
    for (session, name) in (1..).zip(names) {
        world.up(session, name).await;
        world.relay(name, first, RelayState::Playing).await;
        world.archive(name, first, world.now()).await;
    }
    world.fakes.away.store(true, Ordering::SeqCst);
    for session in 1..=2 {
        world.ended(session, TunnelEnd::Lost).await;
    }
    world.pass(1_000).await;
    let memory = || world.fakes.memories.lock().unwrap()[&record("yard").id].clone();
    assert_eq!(memory().alarmed_since, None, "nobody was told");
    let untold = world.monitor.untold();
    assert_eq!((untold[0].channel, untold[0].cameras), ("webhook", 2));
    assert!(untold[0].failing_since.is_some());
    world.up(3, "door").await;
    let records = async |seconds: u64| {
        for _ in 0..seconds / 10 {
            let (back, now) = (instance(2, 0), world.now());
            world.relay("door", back, RelayState::Playing).await;
            world.archive("door", back, now).await;
            world.pass(10).await;
        }
    };
    records(1_000).await;
    assert_eq!(*world.fakes.alarms.lock().unwrap(), []);
    records(1_000).await;
    world.fakes.away.store(false, Ordering::SeqCst);
    records(1_300).await;
    let alarms = world.fakes.alarms.lock().unwrap().clone();
    assert_eq!(
        alarms.iter().map(short).collect::<Vec<_>>(),
        ["late: stopped yard resumed door"]
    );
    let AlarmKind::ToldLate { resumed, .. } = &alarms[0].kind else {
        panic!("{alarms:?}")
    };
    assert!(resumed[0].until > Some(resumed[0].since));
    assert_eq!(memory().alarmed_since, Some(START));
    let untold = world.monitor.untold();
    assert_eq!((untold[0].cameras, untold[0].failing_since), (0, None));
    records(3_600).await;
    assert_eq!(world.fakes.alarms.lock().unwrap().len(), 1, "once");
}

/// A world in which `yard` has recorded and is lost.
async fn lost() -> World {
    let world = World::new([record("yard")]);
    loses_yard(&world).await;
    world
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_is_set_later_tells_of_what_nobody_was_told() {
    let world = lost().await;
    world.fakes.no_channel.store(true, Ordering::SeqCst);
    world.monitor.set_alarms(Duration::from_secs(180));
    world.pass(300).await;
    assert_eq!(told(&world), [""; 0]);
    assert_eq!(world.monitor.untold(), []);
    world.fakes.no_channel.store(false, Ordering::SeqCst);
    world.monitor.set_alarms(Duration::from_secs(180));
    world.pass(20).await;
    assert_eq!(told(&world), ["stopped yard"]);
    assert_eq!(world.monitor.untold()[0].cameras, 0);
    // Who was told is not told again, however often it is set, and what a second channel has still to tell is its own.
    world.monitor.set_alarms(Duration::from_secs(180));
    world.pass(600).await;
    world.fakes.dead_channel.store(true, Ordering::Relaxed);
    world.monitor.set_alarms(Duration::from_secs(180));
    world.pass(3_600).await;
    assert_eq!(told(&world), ["stopped yard"]);
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_never_worked_and_goes_has_the_others_tell_nothing_twice() {
    let world = told_beside_a_dead_channel().await;
    assert_eq!(world.monitor.untold().len(), 2);
    world.fakes.dead_channel.store(false, Ordering::Relaxed);
    world.monitor.set_alarms(Duration::from_secs(180));
    world.pass(600).await;
    assert_eq!(told(&world), ["stopped yard"]);
    assert_eq!(world.monitor.untold().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_is_set_right_tells_at_once_what_it_could_not() {
    let world = lost().await;
    world.fakes.away.store(true, Ordering::SeqCst);
    world.pass(310).await;
    assert_eq!(world.monitor.untold()[0].cameras, 1);
    // By itself it would be tried again after 425 s.
    world.fakes.away.store(false, Ordering::SeqCst);
    world.monitor.set_alarms(Duration::from_secs(180));
    world.pass(20).await;
    assert_eq!(told(&world), ["late: stopped yard resumed "]);
    assert_eq!(world.monitor.untold()[0].cameras, 0);
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_comes_beside_one_that_fails_tells_what_that_could_not() {
    let world = lost().await;
    world.fakes.away.store(true, Ordering::SeqCst);
    world.pass(310).await;
    world.fakes.dead_channel.store(true, Ordering::Relaxed);
    world.monitor.set_alarms(Duration::from_secs(180));
    world.pass(20).await;
    let mut untold = world.monitor.untold();
    untold.sort_by_key(|one| one.channel);
    let cameras: Vec<_> = untold
        .iter()
        .map(|one| (one.channel, one.cameras))
        .collect();
    assert_eq!(cameras, [("email", 1), ("webhook", 1)]);
}

#[tokio::test(start_paused = true)]
async fn how_long_recording_may_stand_still_can_be_changed() {
    let world = lost().await;
    world.monitor.set_alarms(Duration::from_secs(600));
    world.pass(500).await;
    assert_eq!(told(&world), [""; 0]);
    world.monitor.set_alarms(Duration::from_secs(60));
    world.pass(20).await;
    assert_eq!(told(&world), ["stopped yard"]);
}
