use super::*;
use crate::resource::set_condition;
use moorline_core::status::RtspFault;

/// A camera's pods on a clock that only the test moves.
struct World {
    health: Health,
    start: Instant,
    now: Duration,
    camera: Camera,
    pods: Vec<(Role, PodUid)>,
    conditions: Vec<Condition>,
    generation: Generation,
    said: Vec<(u64, ConditionKind, bool, &'static str)>,
}

fn uid(role: Role) -> PodUid {
    PodUid(format!("{role:?}"))
}

impl World {
    /// A camera that was announced a moment ago.
    fn recorded() -> Self {
        let object = crate::resource::Camera::new("yard", serde_json::from_str("{}").unwrap());
        let mut object = object;
        object.metadata.namespace = Some("t-acme".into());
        let mut conditions = Vec::new();
        for (kind, reason) in [
            (ConditionKind::Connected, "Claimed"),
            (ConditionKind::RelayReady, "Announced"),
            (ConditionKind::Archiving, RECORDING),
        ] {
            let now = jiff::Timestamp::UNIX_EPOCH;
            set_condition(&mut conditions, kind.as_str(), true, reason, "", now);
        }
        Self {
            health: Health::default(),
            start: Instant::now(),
            now: Duration::ZERO,
            camera: crate::convert::to_record(&object).unwrap(),
            pods: [Role::Relay, Role::Archiver]
                .map(|role| (role, uid(role)))
                .to_vec(),
            conditions,
            generation: Generation(1),
            said: Vec::new(),
        }
    }

    fn instant(&self) -> Instant {
        self.start + self.now
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(1_795_000_000_000 + i64::try_from(self.now.as_millis()).unwrap())
    }

    fn set(&mut self, kind: ConditionKind, holds: bool, reason: &str) {
        let now = jiff::Timestamp::UNIX_EPOCH;
        set_condition(&mut self.conditions, kind.as_str(), holds, reason, "", now);
    }

    /// Looks, as a pass does, and writes what is said.
    fn look(&mut self) -> Option<Duration> {
        let scene = Scene {
            now: self.instant(),
            wall: self.wall(),
            generation: self.generation,
            camera: &self.camera,
            pods: &self.pods,
            conditions: &self.conditions,
            spool: Some(1_000_000),
        };
        let (words, due) = self.health.judge(&scene);
        for word in words {
            assert!(
                word.holds || word.reason == RECORD_OFF || word.message.contains(": "),
                "says what to do: {word:?}"
            );
            self.said
                .push((self.now.as_secs(), word.kind, word.holds, word.reason));
            self.set(word.kind, word.holds, word.reason);
        }
        due
    }

    /// `seconds` pass; each second the pods report as told, and somebody looks.
    fn pass(
        &mut self,
        seconds: u64,
        relay: Option<RelayState>,
        archive: Option<&dyn Fn(&mut ArchiveReport)>,
    ) {
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            if let Some(state) = relay {
                let report = RelayReport {
                    source: SourceName::Main,
                    state,
                    since: self.wall(),
                    path: None,
                    media: Vec::new(),
                    bits_per_second: 0,
                    readers: 1,
                    pictures: 0,
                    pictures_lost: 0,
                    resyncs: 0,
                };
                let now = self.instant();
                self.health
                    .reported(&uid(Role::Relay), &WorkloadReport::Relay(report), now);
            }
            if let Some(change) = archive {
                let mut report = ArchiveReport {
                    state: ArchiveState::Recording,
                    synced_until: Some(self.wall()),
                    durable_until: Some(self.wall()),
                    silent_since: None,
                    spool_bytes: 0,
                    audio_note: None,
                    store_error: None,
                    waits: Default::default(),
                    shut_out: false,
                };
                change(&mut report);
                let now = self.instant();
                self.health
                    .reported(&uid(Role::Archiver), &WorkloadReport::Archive(report), now);
            }
            self.look();
        }
    }
}

const PLAYING: Option<RelayState> = Some(RelayState::Playing);
const WELL: Option<&dyn Fn(&mut ArchiveReport)> = Some(&|_| ());

#[test]
fn pods_that_work_cost_no_word() {
    let mut world = World::recorded();
    world.pass(1_000, PLAYING, WELL);
    assert_eq!(world.said, []);
}

#[test]
fn a_store_that_is_away_is_told_after_half_a_minute_and_unsaid_when_it_is_back() {
    let mut world = World::recorded();
    let away: Option<&dyn Fn(&mut ArchiveReport)> =
        Some(&|report| report.store_error = Some("503 from s3.example.com".into()));
    world.pass(60, PLAYING, WELL);
    world.pass(20, PLAYING, away);
    world.pass(20, PLAYING, WELL);
    assert_eq!(world.said, [], "too short to be told");
    world.pass(200, PLAYING, away);
    world.pass(60, PLAYING, WELL);
    let said: Vec<_> = world
        .said
        .iter()
        .map(|(_, kind, holds, reason)| (*kind, *holds, *reason))
        .collect();
    assert_eq!(
        said,
        [
            (ConditionKind::Archiving, false, "StoreRefuses"),
            (ConditionKind::Archiving, true, RECORDING),
        ]
    );
    assert!((130..135).contains(&world.said[0].0), "{:?}", world.said);
}

/// What waits is safe until the spool is full: that has to be told before, and not behind what was told already.
#[test]
fn a_store_that_stays_away_until_the_spool_is_full_is_told_anew_and_at_once() {
    let waiting = |bytes: u64| {
        move |report: &mut ArchiveReport| {
            report.store_error = Some("503 from s3.example.com".into());
            report.spool_bytes = bytes;
        }
    };
    let mut world = World::recorded();
    world.pass(60, PLAYING, WELL);
    world.pass(40, PLAYING, Some(&waiting(700_000)));
    world.pass(3, PLAYING, Some(&waiting(900_000)));
    let said: Vec<_> = world
        .said
        .iter()
        .map(|(at, .., reason)| (*at, *reason))
        .collect();
    assert_eq!(said, [(91, "StoreRefuses"), (101, "SpoolFull")]);
    // It stays full while the oldest goes: nothing new.
    world.pass(600, PLAYING, Some(&waiting(850_000)));
    assert_eq!(world.said.len(), 2, "{:?}", world.said);
    world.pass(60, PLAYING, WELL);
    assert_eq!(world.said.len(), 3, "{:?}", world.said);
    assert_eq!(world.said[2].3, RECORDING);
}

/// The pass looks when a report says something new.
#[test]
fn a_spool_that_has_become_full_is_worth_a_look() {
    let mut world = World::recorded();
    let waiting = |report: &mut ArchiveReport, bytes: u64| {
        report.store_error = Some("503".into());
        report.spool_bytes = bytes;
    };
    world.pass(5, PLAYING, Some(&|report| waiting(report, 100_000)));
    let report = |world: &mut World, bytes: u64| {
        let now = world.instant();
        let mut report = ArchiveReport {
            state: ArchiveState::Recording,
            synced_until: None,
            durable_until: None,
            silent_since: None,
            spool_bytes: 0,
            audio_note: None,
            store_error: None,
            waits: Default::default(),
            shut_out: false,
        };
        waiting(&mut report, bytes);
        let report = WorkloadReport::Archive(report);
        world.health.reported(&uid(Role::Archiver), &report, now)
    };
    assert!(!report(&mut world, 200_000));
    assert!(report(&mut world, 850_000));
    assert!(!report(&mut world, 900_000));
}

#[test]
fn an_archiver_that_never_says_anything_and_one_that_fell_silent_do_not_archive() {
    let mut world = World::recorded();
    world.pass(119, PLAYING, None);
    assert_eq!(world.said, []);
    world.pass(5, PLAYING, None);
    assert_eq!(world.said.len(), 1);
    assert_eq!(world.said[0].1, ConditionKind::Archiving);
    assert_eq!(world.said[0].3, "ArchiverSilent");
    let mut world = World::recorded();
    world.pass(30, PLAYING, WELL);
    // Its node stands still: the control connection is given up after 12 s.
    world.pass(12, PLAYING, None);
    let now = world.instant();
    world.health.connected(&uid(Role::Archiver), false, now);
    assert!(world.look().is_some_and(|due| due <= HOLD));
    world.pass(35, PLAYING, None);
    assert_eq!(
        world.said,
        [(72, ConditionKind::Archiving, false, "ArchiverSilent")]
    );
    world.pass(120, PLAYING, WELL);
    assert_eq!(world.said.len(), 2, "{:?}", world.said);
}

#[test]
fn what_the_relay_sees_of_its_camera_is_told_with_what_to_do() {
    let refused = RelayState::Refused {
        fault: RtspFault::Unauthorized,
    };
    for (state, reason) in [
        (refused, "CameraRefuses"),
        (RelayState::Silent, "CameraSilent"),
        (RelayState::NoLanding, "NoLanding"),
    ] {
        let mut world = World::recorded();
        world.pass(60, PLAYING, WELL);
        world.pass(60, Some(state), WELL);
        assert_eq!(world.said.len(), 1, "{:?}", world.said);
        assert_eq!(world.said[0].1, ConditionKind::RelayReady);
        assert_eq!(world.said[0].3, reason);
    }
    let mut world = World::recorded();
    world.pass(600, Some(RelayState::Idle), WELL);
    assert_eq!(world.said, [], "nobody reads it, and that is well");
}

#[test]
fn what_comes_and_goes_is_told_at_most_once_a_minute() {
    let mut world = World::recorded();
    for _ in 0..30 {
        world.pass(35, Some(RelayState::Silent), WELL);
        world.pass(15, PLAYING, WELL);
    }
    let times: Vec<u64> = world.said.iter().map(|(at, ..)| *at).collect();
    assert!(
        times.windows(2).all(|pair| pair[1] - pair[0] >= 60),
        "{times:?}"
    );
}

#[test]
fn a_flap_says_nothing_of_pods() {
    let mut world = World::recorded();
    world.pass(60, PLAYING, WELL);
    let silent: Option<&dyn Fn(&mut ArchiveReport)> =
        Some(&|report| report.state = ArchiveState::Waiting);
    world.pass(5, Some(RelayState::NoLanding), silent);
    world.set(ConditionKind::Connected, false, "Lost");
    world.pass(100, Some(RelayState::NoLanding), silent);
    world.set(ConditionKind::Connected, true, "Claimed");
    world.generation = Generation(2);
    world.pass(10, Some(RelayState::NoLanding), silent);
    world.pass(60, PLAYING, WELL);
    assert_eq!(world.said, []);
}

#[test]
fn an_archiver_that_uploads_nothing_is_told_from_one_whose_camera_sends_nothing() {
    let stuck = 1_795_000_000_000 + 60_000;
    let nothing: Option<&dyn Fn(&mut ArchiveReport)> =
        Some(&|report| report.durable_until = Some(Timestamp::from_millis(stuck)));
    let mut world = World::recorded();
    world.pass(450, PLAYING, nothing);
    assert_eq!(world.said.len(), 1, "{:?}", world.said);
    assert_eq!(world.said[0].3, "NothingStored");
    let no_media: Option<&dyn Fn(&mut ArchiveReport)> = Some(&|report| {
        report.durable_until = Some(Timestamp::from_millis(stuck));
        report.silent_since = Some(Timestamp::from_millis(stuck));
    });
    let mut world = World::recorded();
    world.pass(450, Some(RelayState::Connecting), no_media);
    assert_eq!(world.said.len(), 1, "{:?}", world.said);
    assert_eq!(world.said[0].3, "NoMedia");
}

#[test]
fn a_camera_that_is_set_not_to_record_says_so_at_once_and_one_that_records_again_too() {
    let mut world = World::recorded();
    world.pass(30, PLAYING, WELL);
    world.camera.record = Record::Off;
    world.pods.pop();
    world.pass(2, PLAYING, None);
    assert_eq!(
        world.said,
        [(31, ConditionKind::Archiving, false, RECORD_OFF)]
    );
    world.camera.record = Record::Main;
    world.pods.push((Role::Archiver, uid(Role::Archiver)));
    world.pass(120, PLAYING, WELL);
    assert_eq!(world.said.len(), 2, "{:?}", world.said);
    assert_eq!(world.said[1].3, RECORDING);
}
