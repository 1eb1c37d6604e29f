//! Causes, the account of what is missing, and what is known again after a restart (P4).

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use moorline_core::camera::Record;
use moorline_core::port::*;
use moorline_core::status::{RelayState, RtspFault};
use moorline_core::{Camera, CameraId, Cause, InstanceId, Timestamp};

use super::world::{ClaimMode, Done, START, World, instance, record};
use crate::Settings;

const I1: InstanceId = instance(1, 0);

fn causes(world: &World) -> Vec<Option<Cause>> {
    let done = world.fakes.done.lock().unwrap();
    let causes = done.iter().filter_map(|done| match done {
        Done::Cause(_, cause) => Some(*cause),
        _ => None,
    });
    causes.collect()
}

/// The stretches of a camera: from and to in seconds since the test began (none for open), and why.
fn stretches(
    gaps: &[(moorline_core::status::OpenGap, Option<Timestamp>)],
) -> Vec<(u64, Option<u64>, Cause)> {
    let seconds = |at: Timestamp| at.since(START).as_secs();
    let all = gaps.iter();
    all.map(|(gap, end)| (seconds(gap.since), end.map(seconds), gap.cause))
        .collect()
}

fn yard() -> CameraId {
    "yard".parse().unwrap()
}

/// Recording since second 10, everything durable up to then.
async fn recording() -> World {
    let world = World::new([record("yard")]);
    world.pass(10).await;
    world.up(1, "yard").await;
    world.relay("yard", I1, RelayState::Playing).await;
    world.archive("yard", I1, world.now()).await;
    assert_eq!(world.status("yard").open_gap(), None);
    world.fakes.done.lock().unwrap().clear();
    world
}

#[tokio::test(start_paused = true)]
async fn p4_the_archiver_hears_each_change_of_the_cause_once() {
    let world = recording().await;
    world.relay("yard", I1, RelayState::Silent).await;
    world.relay("yard", I1, RelayState::Silent).await;
    world.pass(5).await;
    let fault = RtspFault::Closed;
    world.relay("yard", I1, RelayState::Refused { fault }).await;
    world.relay("yard", I1, RelayState::Connecting).await;
    world.pass(2).await;
    world.ended(1, TunnelEnd::Lost).await;
    world.pass(10).await;
    world.up(2, "yard").await;
    world.archive("yard", I1, START).await;
    world.relay("yard", I1, RelayState::Playing).await;
    assert_eq!(
        causes(&world),
        [
            Some(Cause::CameraSilent),
            Some(Cause::RtspError),
            Some(Cause::TunnelDown),
            None
        ]
    );
    assert_eq!(
        stretches(&world.status("yard").gaps),
        [
            (10, Some(15), Cause::CameraSilent),
            (15, Some(17), Cause::RtspError),
            (17, Some(27), Cause::TunnelDown)
        ],
        "without a second between them"
    );
}

/// A replica that takes a camera over from one that stands still: the relay reads the older tunnel until it has noticed.
#[tokio::test(start_paused = true)]
async fn a_silence_from_before_the_tunnel_is_the_older_tunnels() {
    let world = World::new([record("yard")]);
    world.pass(10).await;
    world.up(1, "yard").await;
    world.pass(5).await;
    world.relay("yard", I1, RelayState::Silent).await;
    world.pass(10).await;
    world.relay("yard", I1, RelayState::Playing).await;
    world.archive("yard", I1, START).await;
    world.relay("yard", I1, RelayState::Silent).await;
    assert_eq!(causes(&world), [None, Some(Cause::CameraSilent)]);
}

#[tokio::test(start_paused = true)]
async fn p4_a_silent_camera_is_missing_from_its_last_picture_on() {
    let world = recording().await;
    world.pass(10).await;
    let mut silent = None;
    for report in world.status("yard").relays {
        silent = Some(moorline_core::status::RelayReport {
            state: RelayState::Silent,
            since: world.now() - Duration::from_secs(5),
            ..report
        });
    }
    let report = WorkloadReport::Relay(silent.unwrap());
    world.say("yard", I1, WorkloadEvent::Report(report)).await;
    assert_eq!(
        stretches(&world.status("yard").gaps),
        [(15, None, Cause::CameraSilent)]
    );
}

#[tokio::test(start_paused = true)]
async fn between_hang_up_and_the_next_tunnel_the_cause_is_hung_up() {
    let world = recording().await;
    world.ended(1, TunnelEnd::HungUp).await;
    let open = world.status("yard").open_gap().unwrap();
    assert_eq!(open.cause, Cause::HungUp);
    world.pass(60).await;
    world.up(2, "yard").await;
    let second = instance(2, 0);
    world.relay("yard", second, RelayState::Connecting).await;
    world.relay("yard", second, RelayState::Playing).await;
    world.archive("yard", second, START).await;
    assert_eq!(
        stretches(&world.status("yard").gaps),
        [(10, Some(70), Cause::HungUp)]
    );
    world.ended(2, TunnelEnd::Lost).await;
    assert_eq!(
        world.status("yard").open_gap().unwrap().cause,
        Cause::TunnelDown
    );
}

#[tokio::test(start_paused = true)]
async fn what_the_operator_ends_is_not_told_as_the_cameras_doing() {
    let world = recording().await;
    world.monitor.hang_up(&yard());
    world.settle().await;
    let cause = |world: &World| world.status("yard").open_gap().map(|gap| gap.cause);
    assert_eq!(cause(&world), Some(Cause::Operator));
    world.pass(5).await;
    world.up(2, "yard").await;
    assert_eq!(cause(&world), Some(Cause::Operator), "until there is media");
    let second = instance(2, 0);
    world.relay("yard", second, RelayState::Playing).await;
    world.archive("yard", second, START).await;
    assert_eq!(cause(&world), None);
    world.ended(2, TunnelEnd::Lost).await;
    assert_eq!(cause(&world), Some(Cause::TunnelDown));
}

#[tokio::test(start_paused = true)]
async fn a_setting_that_starts_the_stream_anew_is_the_operators_doing() {
    let world = recording().await;
    world.fakes.cameras([Camera {
        record: Record::Sub,
        sub: Some(moorline_core::camera::Source::default()),
        ..record("yard")
    }]);
    world.pass(2).await;
    let second = instance(1, 1);
    let spec = world.fakes.specs.lock().unwrap().pop().unwrap();
    assert_eq!(spec.instance, second);
    assert_eq!(
        stretches(&spec.gaps),
        [(10, None, Cause::Operator)],
        "the archiver knows from its start on"
    );
    assert_eq!(
        spec.recorded_from.map(|from| from.since(START).as_secs()),
        Some(10),
        "what lies before is not the other stream's to explain"
    );
    world.relay("yard", second, RelayState::Connecting).await;
    world.pass(1).await;
    let gap = world.status("yard").open_gap().unwrap();
    assert_eq!(gap.cause, Cause::Operator);
}

#[tokio::test(start_paused = true)]
async fn a_setting_of_a_camera_that_is_away_changes_no_cause() {
    let world = recording().await;
    world.ended(1, TunnelEnd::Lost).await;
    let mut changed = record("yard");
    changed.main.path = Some("/other".to_owned());
    world.fakes.cameras([changed]);
    world.pass(1).await;
    assert_eq!(
        stretches(&world.status("yard").gaps),
        [(10, None, Cause::TunnelDown)]
    );
}

#[tokio::test(start_paused = true)]
async fn p4_a_crash_while_the_camera_is_away_is_a_restart_from_the_last_sign_of_life_on() {
    let world = recording().await;
    world.ended(1, TunnelEnd::HungUp).await;
    world.pass(95).await;
    let alive = world.fakes.alive.lock().unwrap().unwrap();
    let age = world.now().since(alive).as_secs();
    assert!(age <= 10, "the last sign of life is {age} s old");
    let mut memories = world.fakes.memories.lock().unwrap().clone();
    memories.get_mut(&yard()).unwrap().alive_until = Some(alive);
    drop(world);
    let later = START + Duration::from_secs(300);
    let world = World::starting_at(later, Settings::default(), [record("yard")], memories);
    world.settle().await;
    let died = alive.since(START).as_secs();
    let status = world.status("yard");
    assert_eq!(
        stretches(&status.gaps),
        [
            (10, Some(died), Cause::HungUp),
            (died, Some(300), Cause::Restart),
            (300, None, Cause::HungUp)
        ]
    );
    assert_eq!(
        status.link_since.since(START).as_secs(),
        10,
        "it is away since then"
    );
}

#[tokio::test(start_paused = true)]
async fn a_camera_of_which_nothing_is_recorded_is_switched_off_on_purpose() {
    let world = World::new([Camera {
        record: Record::Off,
        ..record("yard")
    }]);
    world.settle().await;
    assert_eq!(
        world.status("yard").open_gap().unwrap().cause,
        Cause::Disabled
    );
}

#[tokio::test(start_paused = true)]
async fn a_crashed_workload_is_a_restart_until_it_reports_again() {
    let world = recording().await;
    let crashed = WorkloadEvent::Crashed {
        role: moorline_core::lifecycle::Role::Archiver,
        reason: "panic".to_owned(),
    };
    world.say("yard", I1, crashed).await;
    assert_eq!(
        world.status("yard").open_gap().unwrap().cause,
        Cause::Restart
    );
    world.pass(3).await;
    assert_eq!(
        world.status("yard").open_gap().unwrap().cause,
        Cause::Restart
    );
    world.archive("yard", I1, START).await;
    assert_eq!(world.status("yard").open_gap(), None);
}

/// A pod that was killed is started again by its kubelet: nobody tells us that it crashed, only that nothing is heard of it.
#[tokio::test(start_paused = true)]
async fn a_relay_of_which_nothing_is_heard_is_a_restart_until_media_comes_again() {
    let world = recording().await;
    let away = WorkloadEvent::Away {
        role: moorline_core::lifecycle::Role::Relay,
    };
    world.say("yard", I1, away).await;
    assert_eq!(world.status("yard").open_gap(), None, "pictures come");
    world.waits("yard", I1, START).await;
    let cause = || world.status("yard").open_gap().map(|gap| gap.cause);
    assert_eq!(cause(), Some(Cause::Restart));
    world.relay("yard", I1, RelayState::Connecting).await;
    world.relay("yard", I1, RelayState::Playing).await;
    assert_eq!(cause(), Some(Cause::Restart), "no picture is recorded yet");
    world.archive("yard", I1, START).await;
    assert_eq!(cause(), None);
}

/// As when another image is installed: the pods that stood by take the camera over.
#[tokio::test(start_paused = true)]
async fn others_that_serve_from_now_on_are_a_restart_until_they_record() {
    let world = recording().await;
    world.say("yard", I1, WorkloadEvent::Replaced).await;
    let cause = || world.status("yard").open_gap().map(|gap| gap.cause);
    assert_eq!(cause(), Some(Cause::Restart));
    world.relay("yard", I1, RelayState::Connecting).await;
    assert_eq!(cause(), Some(Cause::Restart));
    world.relay("yard", I1, RelayState::Playing).await;
    assert_eq!(cause(), Some(Cause::Restart), "no picture is recorded yet");
    world.archive("yard", I1, START).await;
    assert_eq!(cause(), None);
}

#[tokio::test(start_paused = true)]
async fn p4_what_is_missing_is_known_after_a_clean_stop() {
    let world = recording().await;
    world.pass(90).await;
    let durable = START + Duration::from_secs(95);
    world.archive("yard", I1, durable).await;
    let (report, fakes) = world.stop().await;
    assert_eq!(report.left, 0);
    let memories = fakes.memories.lock().unwrap().clone();
    assert_eq!(memories[&yard()].durable_until, Some(durable));

    let later = START + Duration::from_secs(200);
    let world = World::starting_at(later, Settings::default(), [record("yard")], memories);
    world.pass(20).await;
    let status = world.status("yard");
    assert_eq!(
        stretches(&status.gaps),
        [
            (100, Some(200), Cause::Restart),
            (200, None, Cause::TunnelDown)
        ]
    );
    assert_eq!(status.durable_until, Some(durable));
    world.up(1, "yard").await;
    let spec = world.fakes.specs.lock().unwrap().pop().unwrap();
    assert_eq!(
        spec.gaps, status.gaps,
        "the archiver learns what lies between"
    );
    assert_eq!(spec.durable_until, Some(durable));
}

#[tokio::test(start_paused = true)]
async fn p4_what_is_missing_is_known_after_a_crash_of_the_process() {
    let world = recording().await;
    for _ in 0..4 {
        world.pass(10).await;
        world.archive("yard", I1, world.now()).await;
    }
    world.pass(10).await;
    let memories = world.fakes.memories.lock().unwrap().clone();
    drop(world);
    let later = START + Duration::from_secs(300);
    let world = World::starting_at(later, Settings::default(), [record("yard")], memories);
    world.settle().await;
    assert_eq!(
        stretches(&world.status("yard").gaps),
        [
            (50, Some(300), Cause::Restart),
            (300, None, Cause::TunnelDown)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn durable_until_is_stored_at_most_every_10_s_and_a_cause_at_once() {
    let world = recording().await;
    let stores = || *world.fakes.stores.lock().unwrap();
    let before = stores();
    for _ in 0..60 {
        world.pass(1).await;
        world.archive("yard", I1, world.now()).await;
    }
    assert!(
        (5..=7).contains(&(stores() - before)),
        "{}",
        stores() - before
    );
    let before = stores();
    world.ended(1, TunnelEnd::Lost).await;
    assert_eq!(stores() - before, 1);
    let stored = world.fakes.memories.lock().unwrap()[&yard()].clone();
    assert_eq!(stored.gaps.last().unwrap().0.cause, Cause::TunnelDown);
    world.pass(120).await;
    assert!(stores() - before <= 2, "nothing changes, nothing is stored");
}

#[tokio::test(start_paused = true)]
async fn metrics_show_cameras_lag_and_missing_seconds_and_forget_the_removed() {
    let world = recording().await;
    world.fakes.cameras([record("yard"), record("gate")]);
    world.pass(30).await;
    let text = |world: &World| {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &world.registry).unwrap();
        text
    };
    let shown = text(&world);
    for line in [
        "moorline_cameras{state=\"up\"} 1",
        "moorline_cameras{state=\"absent\"} 1",
        "moorline_camera_durable_lag_seconds{camera=\"home/yard\"} 30.0",
        "moorline_camera_readers{camera=\"home/yard\"} 1",
        "moorline_camera_bits_per_second{camera=\"home/yard\"} 2000000",
    ] {
        assert!(shown.contains(line), "{line} is not in\n{shown}");
    }
    let down = shown
        .lines()
        .find_map(|line| line.strip_prefix("moorline_gap_seconds_total{cause=\"tunnel_down\"} "));
    let down: f64 = down.unwrap().parse().unwrap();
    assert!(
        (35.0..=40.0).contains(&down),
        "10 s of yard, 30 s of gate: {down}"
    );
    world.fakes.cameras([record("yard")]);
    world.settle().await;
    assert!(!text(&world).contains("gate"));
    let counted = |text: String| {
        let lines = text.lines().map(str::to_owned);
        let counted = lines.filter(|line| line.starts_with("moorline_gap_seconds_total{"));
        counted.collect::<Vec<_>>()
    };
    let before = counted(text(&world));
    // Another replica has taken it over: its lag would grow here for ever, and what is missing be counted twice.
    world.fakes.elsewhere.store(true, Ordering::SeqCst);
    world.ended(1, TunnelEnd::Lost).await;
    world.pass(30).await;
    let shown = text(&world);
    assert!(!shown.contains("yard"), "{shown}");
    assert!(shown.contains("moorline_cameras{state=\"absent\"} 0"));
    assert_eq!(counted(shown), before);
}

#[tokio::test(start_paused = true)]
async fn a_page_that_waits_for_a_change_is_woken() {
    let world = World::with(Settings::default(), [record("yard")], BTreeMap::new());
    world.settle().await;
    let seen = world.monitor.version();
    let monitor = std::sync::Arc::clone(&world.monitor);
    let waiting = tokio::spawn(async move { monitor.changed(seen).await });
    world.settle().await;
    assert!(!waiting.is_finished());
    world.fakes.claims(ClaimMode::Grant);
    world.up(1, "yard").await;
    assert!(waiting.await.unwrap() > seen);
    assert_eq!(world.monitor.list(yard().tenant()).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn many_cameras_do_not_store_all_at_once() {
    let cameras: Vec<_> = (0..200).map(|index| record(&format!("c{index}"))).collect();
    let world = World::new(cameras);
    world.pass(10).await;
    assert_eq!(*world.fakes.stores.lock().unwrap(), 200);
    assert_eq!(world.fakes.most_storing.load(Ordering::SeqCst), 4);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_tried_again() {
    let world = World::new([record("yard")]);
    world.fakes.panics.store(true, Ordering::SeqCst);
    world.settle().await;
    assert!(world.fakes.memories.lock().unwrap().is_empty());
    world.pass(16).await;
    assert!(world.fakes.memories.lock().unwrap().contains_key(&yard()));
}
