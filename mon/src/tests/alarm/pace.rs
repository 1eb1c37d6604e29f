//! How soon and how often: what fails together is one message, what flaps is no storm, what nobody wants is none.

use std::sync::Arc;

use moorline_core::camera::{Enabled, Record};
use moorline_core::port::{TunnelEnd, TunnelEvents as _};
use moorline_core::status::RelayState;
use moorline_core::{Camera, SessionId};

use super::{MINUTE, Sim, short, simulated};
use crate::tests::world::{World, camera, record, tunnel};

#[test]
fn a_camera_that_stands_still_for_three_minutes_is_told_once_and_cleared_once() {
    let mut sim = Sim::new([simulated("yard", None, 7)]);
    sim.run(10 * MINUTE);
    assert_eq!(
        sim.told(),
        [""; 0],
        "segments of a minute are no standing still"
    );
    sim.set("yard", false);
    sim.run(100);
    assert_eq!(sim.told(), [""; 0]);
    sim.run(3 * 60 * MINUTE);
    assert_eq!(
        sim.told(),
        ["stopped yard"],
        "the hourly pieces of the gap are no recording"
    );
    sim.set("yard", true);
    sim.run(50);
    assert_eq!(sim.told(), [""; 0], "not yet");
    sim.run(5 * MINUTE);
    assert_eq!(sim.told(), ["resumed yard"]);
}

#[test]
fn the_piece_of_a_gap_that_is_written_at_the_hour_does_not_put_the_alarm_off() {
    let mut sim = Sim::new([simulated("yard", None, 7)]);
    sim.run(3600);
    sim.set("yard", false);
    sim.run(200);
    assert_eq!(sim.told(), ["stopped yard"]);
}

#[test]
fn cameras_of_one_site_that_fail_together_are_one_message() {
    let farm = |name, stagger| simulated(name, Some("farm"), stagger);
    let mut sim = Sim::new([
        farm("a", 0),
        farm("b", 20),
        farm("c", 45),
        simulated("x", None, 3),
    ]);
    sim.run(5 * MINUTE);
    for name in ["a", "b", "c", "x"] {
        sim.set(name, false);
    }
    sim.run(10 * MINUTE);
    let mut told = sim.told();
    told.sort();
    assert_eq!(told, ["stopped a b c", "stopped x"]);
    for name in ["a", "b", "c", "x"] {
        sim.set(name, true);
    }
    sim.run(10 * MINUTE);
    let mut told = sim.told();
    told.sort();
    assert_eq!(told, ["resumed a b c", "resumed x"]);
}

#[test]
fn two_tenants_with_a_site_of_the_same_name_are_told_apart() {
    let site = Some("farm");
    let mut sim = Sim::new([simulated("acme/a", site, 0), simulated("other/b", site, 0)]);
    sim.set("a", false);
    sim.set("b", false);
    sim.run(10 * MINUTE);
    assert_eq!(sim.told().len(), 2);
}

#[test]
fn a_camera_that_flaps_for_hours_is_told_at_most_once_per_half_hour() {
    let mut sim = Sim::new([simulated("yard", None, 0)]);
    sim.run(5 * MINUTE);
    for _ in 0..36 {
        sim.set("yard", false);
        sim.run(5 * MINUTE);
        sim.set("yard", true);
        sim.run(5 * MINUTE);
    }
    let messages = sim.messages.clone();
    for word in ["stopped", "resumed"] {
        let times: Vec<u64> = messages
            .iter()
            .filter(|(_, message)| message.starts_with(word))
            .map(|(time, _)| *time)
            .collect();
        let close = times.windows(2).any(|pair| pair[1] - pair[0] < 30 * MINUTE);
        assert!(!close && times.len() >= 10, "{word}: {times:?}");
    }
    let words: Vec<_> = messages.iter().map(|(_, message)| &message[..7]).collect();
    assert!(
        words.windows(2).all(|pair| pair[0] != pair[1]),
        "in turn: {words:?}"
    );
}

/// The whole monitor, with claims, graces and notices: an uplink that drops the tunnel for seconds and for minutes, each time behind another
/// address, and that is back now and then before anybody knows that it was gone.
#[tokio::test(start_paused = true)]
async fn no_storm_when_a_camera_flaps_for_hours_behind_changing_addresses() {
    let world = World::new([record("yard")]);
    let yard = camera("yard");
    let mut session = 0;
    // 80 tunnels in a little less than three hours.
    for _ in 0..16 {
        for (up, away) in [(10, 2), (10, 0), (10, 2), (10, 0), (300, 300)] {
            session += 1;
            let mut comes = tunnel(SessionId(session), &yard);
            let address = format!("198.51.{}.1:4000", session % 250);
            comes.peer = Some(address.parse().unwrap());
            assert!(world.monitor.up(comes));
            for _ in 0..up / 10 {
                world.pass(10).await;
                let specs = world.fakes.specs.lock().unwrap().clone();
                if let Some(newest) = specs.last().map(|spec| spec.instance) {
                    world.relay("yard", newest, RelayState::Playing).await;
                    world.archive("yard", newest, world.now()).await;
                }
            }
            if away > 0 {
                world.ended(session, TunnelEnd::Lost).await;
                world.pass(away).await;
            }
        }
    }
    let alarms = world.fakes.alarms.lock().unwrap().clone();
    let words: Vec<String> = alarms.iter().map(short).collect();
    let count = |kind: &str| words.iter().filter(|word| word.starts_with(kind)).count();
    let (stopped, resumed) = (count("stopped"), count("resumed"));
    let (notices, two_places) = (count("Notice"), count("KeyInTwoPlaces"));
    // One of each in half an hour, and one of each kind of notice in an hour; but somebody is told.
    assert!((3..=6).contains(&stopped), "{words:?}");
    assert!((3..=6).contains(&resumed), "{words:?}");
    assert!((1..=3).contains(&notices) && two_places <= 3, "{words:?}");
    assert_eq!(stopped + resumed + notices + two_places, words.len());
}

#[test]
fn a_stop_that_was_held_back_is_told_when_the_window_is_over() {
    let mut sim = Sim::new([simulated("yard", None, 0)]);
    sim.set("yard", false);
    sim.run(5 * MINUTE);
    sim.set("yard", true);
    sim.run(5 * MINUTE);
    assert_eq!(sim.told(), ["stopped yard", "resumed yard"]);
    sim.set("yard", false);
    sim.run(15 * MINUTE);
    assert_eq!(sim.told(), [""; 0]);
    sim.run(30 * MINUTE);
    assert_eq!(sim.told(), ["stopped yard"]);
}

#[test]
fn what_nobody_wants_recorded_never_alarms() {
    for change in [
        |camera: &mut Camera| camera.record = Record::Off,
        |camera: &mut Camera| camera.enabled = Enabled::Disabled,
    ] {
        let mut off = simulated("yard", None, 0);
        change(Arc::make_mut(&mut off.entry.camera));
        let mut sim = Sim::new([off]);
        sim.set("yard", false);
        sim.run(60 * MINUTE);
        assert_eq!(sim.told(), [""; 0]);
    }
    let mut new = simulated("yard", None, 0);
    new.entry.seen = false;
    new.entry.status.durable_until = None;
    let mut sim = Sim::new([new]);
    sim.cameras[0].recording = false;
    sim.run(60);
    assert_eq!(sim.told(), [""; 0], "it was never connected");
}

#[test]
fn switching_off_an_alarmed_camera_forgets_the_alarm_without_a_message() {
    let mut sim = Sim::new([simulated("yard", None, 0)]);
    sim.set("yard", false);
    sim.run(5 * MINUTE);
    assert_eq!(sim.told(), ["stopped yard"]);
    assert!(sim.cameras[0].entry.alarmed_since.is_some());
    Arc::make_mut(&mut sim.cameras[0].entry.camera).enabled = Enabled::Disabled;
    sim.run(10);
    assert_eq!(sim.told(), [""; 0]);
    assert_eq!(sim.cameras[0].entry.alarmed_since, None);
}
