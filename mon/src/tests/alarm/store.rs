//! A store that takes nothing is a stop too, and told as such; a long segment and a camera that has just come back are none.

use std::sync::Arc;
use std::time::Duration;

use moorline_core::Cause;
use moorline_core::alarm::AlarmKind;
use moorline_core::status::{ArchiveReport, ArchiveState, OpenGap, Waits};

use super::{MINUTE, Sim, at, simulated};
use crate::Settings;
use crate::alarms::Alarms;
use crate::board::Entry;
use crate::tests::world::START;

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
        shut_out: false,
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
        shut_out: false,
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
