//! When somebody is told: one message for a site, no storm when a camera flaps, one all-clear, also across a restart.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use moorline_core::alarm::{Alarm, AlarmCamera, AlarmKind};
use moorline_core::camera::{Enabled, Record};
use moorline_core::port::{Memory, Statuses as _, TunnelEnd, TunnelEvents as _};
use moorline_core::status::{
    ArchiveReport, ArchiveState, CameraStatus, LinkStatus, OpenGap, RelayState, Waits,
};
use moorline_core::{Camera, Cause, SessionId, Timestamp};

use super::world::{START, World, camera, instance, record, tunnel};
use crate::Settings;
use crate::alarms::Alarms;
use crate::board::Entry;

const MINUTE: u64 = 60;

/// Cameras whose recording a test switches on and off; a look every 5 s, as in the task.
struct Sim {
    alarms: Alarms,
    now: u64,
    cameras: Vec<Simulated>,
    messages: Vec<(u64, String)>,
}

struct Simulated {
    entry: Entry,
    recording: bool,
    /// Its segments are cut at this second of each minute.
    stagger: u64,
}

fn at(seconds: u64) -> Timestamp {
    START + Duration::from_secs(seconds)
}

fn simulated(name: &str, site: Option<&str>, stagger: u64) -> Simulated {
    let camera = Arc::new(Camera {
        site: site.map(str::to_owned),
        ..record(name)
    });
    let status = CameraStatus {
        camera: camera.id.clone(),
        link: LinkStatus::Absent,
        link_since: START,
        relays: Vec::new(),
        archive: None,
        durable_until: Some(START),
        recorded_until: Some(START),
        gaps: Vec::new(),
        said: Vec::new(),
        client: None,
        notices: Vec::new(),
        troubles: Vec::new(),
    };
    Simulated {
        entry: Entry {
            camera,
            status,
            seen: true,
            alarmed_since: None,
            ours: true,
        },
        recording: true,
        stagger,
    }
}

/// `stopped yard gate` or `resumed yard`.
fn short(alarm: &Alarm) -> String {
    let (word, cameras) = match &alarm.kind {
        AlarmKind::RecordingStopped { cameras, .. } => ("stopped", cameras),
        AlarmKind::RecordingResumed { cameras, .. } => ("resumed", cameras),
        AlarmKind::ToldLate { stopped, resumed } => {
            let names = |cameras: &[AlarmCamera]| -> Vec<_> {
                let names = cameras.iter().map(|camera| camera.id.name().to_owned());
                names.collect()
            };
            return format!(
                "late: stopped {} resumed {}",
                names(stopped).join(" "),
                names(resumed).join(" ")
            );
        }
        other => return format!("{other:?}"),
    };
    let names = cameras.iter().map(|camera| camera.id.name());
    std::iter::once(word)
        .chain(names)
        .collect::<Vec<_>>()
        .join(" ")
}

impl Sim {
    fn new(cameras: impl IntoIterator<Item = Simulated>) -> Self {
        Self {
            alarms: Alarms::new(Settings::default()),
            now: 0,
            cameras: cameras.into_iter().collect(),
            messages: Vec::new(),
        }
    }

    fn set(&mut self, name: &str, recording: bool) {
        let now = at(self.now);
        for camera in &mut self.cameras {
            if camera.entry.camera.id.name() != name || camera.recording == recording {
                continue;
            }
            camera.recording = recording;
            let gaps = &mut camera.entry.status.gaps;
            if recording {
                gaps.clear();
                camera.entry.status.durable_until = Some(now);
            } else {
                let cause = Cause::TunnelDown;
                gaps.push((OpenGap { since: now, cause }, None));
            }
        }
    }

    fn run(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += 1;
            for camera in &mut self.cameras {
                // A hundred seconds into each hour the archiver writes the piece of a long gap.
                let cut = camera.recording && self.now % MINUTE == camera.stagger;
                if cut || self.now % 3600 == 100 {
                    camera.entry.status.durable_until = Some(at(self.now));
                }
            }
            if self.now.is_multiple_of(5) {
                self.look();
            }
        }
    }

    fn look(&mut self) {
        let entries: Vec<_> = self
            .cameras
            .iter()
            .map(|camera| Arc::new(camera.entry.clone()))
            .collect();
        let now = Duration::from_secs(self.now);
        let (alarms, changes) = self.alarms.look(&entries, now, at(self.now));
        let told = alarms.iter().flat_map(crate::outbox::cameras);
        let told = told.map(|(id, since)| (id.clone(), since));
        for (id, since) in told.chain(changes) {
            for camera in &mut self.cameras {
                if camera.entry.camera.id == id {
                    camera.entry.alarmed_since = since;
                }
            }
        }
        self.messages
            .extend(alarms.iter().map(|alarm| (self.now, short(alarm))));
    }

    /// The messages since the last call.
    fn told(&mut self) -> Vec<String> {
        let messages = std::mem::take(&mut self.messages).into_iter();
        messages.map(|(_, message)| message).collect()
    }
}

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

#[test]
fn pictures_that_the_store_does_not_take_are_an_alarm_too() {
    let mut sim = Sim::new([simulated("yard", None, 0)]);
    sim.cameras[0].recording = false;
    sim.run(5 * MINUTE);
    assert_eq!(sim.told(), ["stopped yard"]);
}

/// Pictures are taken, and the store takes none of them: that is no gap, and no full disk.
#[test]
fn a_store_that_takes_nothing_is_told_as_such_with_its_words_and_the_cameras_zone() {
    use moorline_core::alarm::AlarmCause;
    let mut yard = simulated("yard", None, 0);
    yard.recording = false;
    yard.entry.status.archive = Some(ArchiveReport {
        state: ArchiveState::Recording,
        synced_until: Some(START),
        durable_until: Some(START),
        silent_since: None,
        spool_bytes: 9_000_000,
        audio_note: None,
        store_error: Some("503 SlowDown".repeat(100)),
        waits: Default::default(),
    });
    let entry = Arc::new(yard.entry);
    let mut alarms = Alarms::new(Settings::default());
    let look = |alarms: &mut Alarms, seconds| {
        let now = Duration::from_secs(seconds);
        alarms.look(&[Arc::clone(&entry)], now, at(seconds)).0
    };
    assert_eq!(look(&mut alarms, 0), []);
    let told = look(&mut alarms, 185);
    let AlarmKind::RecordingStopped { cameras, .. } = &told[0].kind else {
        panic!("{told:?}")
    };
    assert_eq!(cameras[0].cause, AlarmCause::StoreWaits);
    assert_eq!(cameras[0].timezone, entry.camera.timezone);
    assert_eq!(cameras[0].detail.as_ref().unwrap().len(), 200);
}

/// The camera writes a segment that begins at the start; everything up to `synced` is on the disk.
fn writing(mut entry: Entry, waits: Waits, synced: u64) -> Arc<Entry> {
    entry.status.durable_until = Some(START);
    entry.status.archive = Some(ArchiveReport {
        state: ArchiveState::Recording,
        synced_until: Some(at(synced)),
        durable_until: Some(START),
        silent_since: None,
        spool_bytes: 0,
        audio_note: None,
        store_error: None,
        waits,
    });
    Arc::new(entry)
}

/// Some cameras send one key frame and then refresh their pictures bit by bit: one segment of half an hour, in which nothing is wrong.
#[test]
fn a_long_segment_is_no_stop_and_a_store_that_takes_nothing_still_is() {
    let yard = simulated("yard", None, 0).entry;
    let mut alarms = Alarms::new(Settings::default());
    let mut look = |waits, synced, minutes: u64| {
        let seconds = minutes * MINUTE;
        let entry = writing(yard.clone(), waits, synced);
        let now = Duration::from_secs(seconds);
        alarms.look(&[entry], now, at(seconds)).0
    };
    for minutes in 0..=30 {
        let told = look(Waits::Nothing, minutes * MINUTE, minutes);
        assert_eq!(told, [], "{minutes} min");
    }
    // It was sealed after 30 min, and is not taken.
    let end = at(30 * MINUTE);
    let sealed = Waits::Store { end };
    assert_eq!(look(sealed, 31 * MINUTE, 31), [], "sealed just now");
    let told = look(sealed, 32 * MINUTE, 32);
    assert_eq!(told.len(), 1, "nobody takes it");
}

#[test]
fn a_segment_that_is_written_for_ever_or_not_at_all_is_a_stop() {
    for (synced, longest) in [(40, 36), (1, 5)] {
        let yard = simulated("yard", None, 0).entry;
        let mut alarms = Alarms::new(Settings::default());
        let mut told = Vec::new();
        for minutes in 0..=longest {
            let entry = writing(yard.clone(), Waits::Nothing, MINUTE * minutes.min(synced));
            let seconds = MINUTE * minutes;
            let now = Duration::from_secs(seconds);
            told.extend(alarms.look(&[entry], now, at(seconds)).0);
        }
        assert_eq!(told.len(), 1, "synced up to minute {synced}");
    }
}

/// The camera was away, and is back: its first segment is not stored before it is full, which is no fault of the store's.
#[test]
fn a_camera_that_has_just_come_back_is_not_told_as_one_that_the_store_refuses() {
    use moorline_core::alarm::AlarmCause;
    let mut yard = simulated("yard", None, 0);
    let away = OpenGap {
        since: at(1),
        cause: Cause::Operator,
    };
    let mut alarms = Alarms::new(Settings::default());
    let mut look = |entry: &Entry, seconds| {
        let now = Duration::from_secs(seconds);
        alarms.look(&[Arc::new(entry.clone())], now, at(seconds)).0
    };
    yard.entry.status.gaps = vec![(away, None)];
    assert_eq!(look(&yard.entry, 0), []);
    assert_eq!(look(&yard.entry, 175), []);
    yard.entry.status.gaps = vec![(away, Some(at(178)))];
    assert_eq!(look(&yard.entry, 180), [], "it is up again");
    assert_eq!(look(&yard.entry, 350), []);
    let told = look(&yard.entry, 360);
    let AlarmKind::RecordingStopped { cameras, .. } = &told[0].kind else {
        panic!("{told:?}")
    };
    assert_eq!(
        cameras[0].cause,
        AlarmCause::StoreWaits,
        "but pictures of three minutes wait by now"
    );
}

#[tokio::test(start_paused = true)]
async fn what_nobody_could_be_told_is_told_after_the_start_with_a_channel() {
    let world = World::new([record("yard")]);
    world.fakes.no_channel.store(true, Ordering::SeqCst);
    world.up(1, "yard").await;
    world.archive("yard", instance(1, 0), world.now()).await;
    world.ended(1, TunnelEnd::Lost).await;
    world.pass(300).await;
    let (_, fakes) = world.stop().await;
    let memories = fakes.memories.lock().unwrap().clone();
    assert_eq!(memories[&record("yard").id].alarmed_since, None);
    let later = START + Duration::from_secs(360);
    let world = World::starting_at(later, Settings::default(), [record("yard")], memories);
    world.pass(300).await;
    let alarms = world.fakes.alarms.lock().unwrap().clone();
    assert_eq!(
        alarms.iter().map(short).collect::<Vec<_>>(),
        ["stopped yard"]
    );
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
    let alarms = world.fakes.alarms.lock().unwrap().clone();
    assert_eq!(
        alarms.iter().map(short).collect::<Vec<_>>(),
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

    let (_, fakes) = world.stop().await;
    let memories = fakes.memories.lock().unwrap().clone();
    assert_eq!(memories[&record("yard").id].alarmed_since, Some(START));
    let later = START + Duration::from_secs(300);
    let world = World::starting_at(later, Settings::default(), [record("yard")], memories);
    world.pass(400).await;
    assert_eq!(
        world.fakes.alarms.lock().unwrap().len(),
        0,
        "not told again"
    );
    world.up(1, "yard").await;
    for _ in 0..15 {
        world.relay("yard", first, RelayState::Playing).await;
        world.archive("yard", first, world.now()).await;
        world.pass(10).await;
    }
    let alarms = world.fakes.alarms.lock().unwrap().clone();
    assert_eq!(
        alarms.iter().map(short).collect::<Vec<_>>(),
        ["resumed yard"]
    );
    let stored = world.fakes.memories.lock().unwrap()[&record("yard").id].clone();
    assert_eq!(stored.alarmed_since, None);
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
    let first = instance(1, 0);
    let world = World::new([record("yard")]);
    world.fakes.elsewhere.store(true, Ordering::SeqCst);
    let told = Some(world.now());
    let gone = away(world.now(), told);
    world.fakes.remembered(&record("yard").id, gone);
    world.pass(600).await;
    world.fakes.elsewhere.store(false, Ordering::SeqCst);
    world.pass(300).await;
    assert!(world.fakes.alarms.lock().unwrap().is_empty(), "told twice");
    world.up(1, "yard").await;
    for _ in 0..15 {
        world.relay("yard", first, RelayState::Playing).await;
        world.archive("yard", first, world.now()).await;
        world.pass(10).await;
    }
    let alarms = world.fakes.alarms.lock().unwrap().clone();
    let words: Vec<_> = alarms.iter().map(short).collect();
    assert_eq!(words, ["resumed yard"]);
}

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

#[tokio::test(start_paused = true)]
async fn an_alarm_that_did_not_get_out_before_a_restart_is_told_after_it() {
    let world = World::new([record("yard")]);
    world.fakes.away.store(true, Ordering::SeqCst);
    world.up(1, "yard").await;
    world.archive("yard", instance(1, 0), world.now()).await;
    world.ended(1, TunnelEnd::Lost).await;
    world.pass(900).await;
    let (_, fakes) = world.stop().await;
    let memories = fakes.memories.lock().unwrap().clone();
    let later = START + Duration::from_secs(1_000);
    let world = World::starting_at(later, Settings::default(), [record("yard")], memories);
    world.pass(300).await;
    let alarms = world.fakes.alarms.lock().unwrap().clone();
    assert_eq!(
        alarms.iter().map(short).collect::<Vec<_>>(),
        ["stopped yard"]
    );
}
