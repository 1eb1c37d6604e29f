//! Whether a camera's pods do their work, by what they say over their control connections: RelayReady and Archiving.
//!
//! ```text
//! reports, broken connections ─▶ Verdict of each role ─▶ held for a while ─▶ a condition and an Event, when it differs from what is written
//! ```
//! A connect writes both conditions as they are to be expected (`places`), so that it costs no further write; what does not come about is taken
//! back here, after [`STARTS`] at the latest. Pure: instants come as arguments. Nothing is judged while the tunnel is lost: a flap says nothing
//! of pods.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use moorline_core::Generation;
use moorline_core::Timestamp;
use moorline_core::camera::{Camera, Record};
use moorline_core::id::SourceName;
use moorline_core::lifecycle::Role;
use moorline_core::port::{PodUid, WorkloadReport};
use moorline_core::status::{ArchiveReport, ArchiveState, RelayReport, RelayState};

use crate::resource::ConditionKind;
use crate::resource::ready::{RECORD_OFF, RECORDING, STARTING, find};

/// A pod that was made, or whose camera is back, may take so long to say that it works.
const STARTS: Duration = Duration::from_secs(120);
/// A pod that works says something every 10 s.
const SILENT: Duration = Duration::from_secs(60);
/// What is wrong is told once it has been wrong for so long: a reconnect takes less.
const HOLD: Duration = Duration::from_secs(30);
/// What is well again is told once it has been well for so long.
const STEADY: Duration = Duration::from_secs(10);
/// Between two changes of one condition.
const BETWEEN: Duration = Duration::from_secs(60);
/// Before another reason is given for what does not hold anyway.
const ANOTHER: Duration = Duration::from_secs(5 * 60);
/// Media that is recorded is in the store after so long: a segment of a minute, and room for an upload.
const LAG: i64 = 5 * 60 * 1_000;
/// The spool gives up its oldest segment when one has no room: of this share of its bound, in hundredths, on it is told.
const FULL: u64 = 80;
/// Why a camera does not archive whose spool is full.
const SPOOL_FULL: &str = "SpoolFull";
/// Without media for so long, in milliseconds.
const NO_MEDIA: i64 = 60 * 1_000;

/// What is said of one condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) kind: ConditionKind,
    pub(super) holds: bool,
    pub(super) reason: &'static str,
    /// What it is, and what to do about it.
    pub(super) message: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Well(&'static str),
    Wrong(&'static str, String),
    /// A pod says nothing: that was waited for already.
    Mute(&'static str, String),
    /// Nothing is to be recorded.
    Off,
    /// It cannot be said yet.
    Open,
}

#[derive(Debug, Clone)]
struct Heard<T> {
    pod: PodUid,
    at: Instant,
    report: T,
}

/// What lasts, of one condition.
#[derive(Debug, Clone, Copy, Default)]
struct Lasting {
    /// Whether it is well, and since when.
    now: Option<(bool, Instant)>,
    changed: Option<Instant>,
}

/// What one camera's pods have said.
#[derive(Debug, Default)]
pub(super) struct Health {
    relays: BTreeMap<SourceName, Heard<RelayReport>>,
    archive: Option<Heard<ArchiveReport>>,
    /// Pods whose control connection is broken, since when.
    away: BTreeMap<PodUid, Instant>,
    /// Of which claim and pods this is, since when.
    begun: Option<(Generation, Vec<PodUid>, Instant)>,
    /// The bound of the archiver's spool, when it was last judged.
    spool: Option<u64>,
    lasting: BTreeMap<ConditionKind, Lasting>,
}

/// What is judged by.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub(super) now: Instant,
    pub(super) wall: Timestamp,
    pub(super) generation: Generation,
    pub(super) camera: &'a Camera,
    /// The pods that are used, with their roles.
    pub(super) pods: &'a [(Role, PodUid)],
    /// What is written.
    pub(super) conditions: &'a [Condition],
    /// The bound of the archiver's spool, in bytes.
    pub(super) spool: Option<u64>,
}

impl Health {
    /// A pod that is used has reported. `true`: it is something new, so that it is worth a look.
    pub(super) fn reported(&mut self, pod: &PodUid, report: &WorkloadReport, now: Instant) -> bool {
        let back = self.away.remove(pod).is_some();
        let new = match report {
            WorkloadReport::Relay(report) => {
                let heard = Heard {
                    pod: pod.clone(),
                    at: now,
                    report: report.clone(),
                };
                let before = self.relays.insert(report.source, heard);
                before
                    .is_none_or(|before| before.pod != *pod || before.report.state != report.state)
            }
            WorkloadReport::Archive(report) => {
                let heard = Heard {
                    pod: pod.clone(),
                    at: now,
                    report: report.clone(),
                };
                let (before, spool) = (self.archive.replace(heard), self.spool);
                before.is_none_or(|before| {
                    let of = |report: &ArchiveReport| {
                        let (store, silent) = (&report.store_error, report.silent_since);
                        let full = is_full(report, spool);
                        (report.state, store.is_some(), silent.is_some(), full)
                    };
                    before.pod != *pod || of(&before.report) != of(report)
                })
            }
        };
        back || new
    }

    /// A pod's control connection stands, or is broken.
    pub(super) fn connected(&mut self, pod: &PodUid, stands: bool, now: Instant) {
        if stands {
            self.away.remove(pod);
        } else {
            self.away.entry(pod.clone()).or_insert(now);
        }
    }

    /// What is to be said now that is not written, and when to look again.
    pub(super) fn judge(&mut self, scene: &Scene<'_>) -> (Vec<Word>, Option<Duration>) {
        self.spool = scene.spool;
        let connected = find(scene.conditions, ConditionKind::Connected);
        if connected.is_none_or(|connected| connected.status != "True") {
            self.begun = None;
            self.lasting
                .values_mut()
                .for_each(|lasting| lasting.now = None);
            return (Vec::new(), None);
        }
        let pods: Vec<PodUid> = scene.pods.iter().map(|(_, uid)| uid.clone()).collect();
        self.away.retain(|pod, _| pods.contains(pod));
        let begun = match &self.begun {
            Some((generation, known, since))
                if *generation == scene.generation && *known == pods =>
            {
                *since
            }
            _ => {
                self.begun = Some((scene.generation, pods, scene.now));
                scene.now
            }
        };
        let mut words = Vec::new();
        let mut due = self.begun_due(scene, begun);
        for (kind, verdict) in [
            (ConditionKind::RelayReady, self.relay(scene, begun)),
            (ConditionKind::Archiving, self.archive(scene, begun)),
        ] {
            let (word, wait) = self.hold(kind, verdict, scene);
            words.extend(word);
            due = earlier(due, wait);
        }
        (words, due)
    }

    /// When a pod that has not said anything, or is away, is late.
    fn begun_due(&self, scene: &Scene<'_>, begun: Instant) -> Option<Duration> {
        let starts = (begun + STARTS).saturating_duration_since(scene.now);
        let starts = Some(starts).filter(|wait| !wait.is_zero());
        let late = |since: &Instant| {
            let late = ((*since).max(begun) + HOLD).saturating_duration_since(scene.now);
            Some(late).filter(|wait| !wait.is_zero())
        };
        earlier(starts, self.away.values().filter_map(late).min())
    }

    fn pod_of(scene: &Scene<'_>, role: Role) -> Option<PodUid> {
        let mut pods = scene.pods.iter();
        pods.find(|(known, _)| *known == role)
            .map(|(_, uid)| uid.clone())
    }

    /// Whether a pod says nothing: `Some(true)`, or nothing yet: `Some(false)`.
    fn is_silent(
        &self,
        pod: &PodUid,
        heard: Option<Instant>,
        scene: &Scene<'_>,
        begun: Instant,
    ) -> Option<bool> {
        let since = |at: Instant| scene.now.saturating_duration_since(at);
        if let Some(away) = self.away.get(pod) {
            return Some(since((*away).max(begun)) >= HOLD);
        }
        match heard {
            Some(at) if since(at) < SILENT => None,
            Some(_) => Some(true),
            None => Some(since(begun) >= STARTS),
        }
    }

    fn relay(&self, scene: &Scene<'_>, begun: Instant) -> Verdict {
        let source = match scene.camera.record {
            Record::Sub => SourceName::Sub,
            Record::Main | Record::Off => SourceName::Main,
        };
        let Some(pod) = Self::pod_of(scene, Role::Relay) else {
            return Verdict::Open;
        };
        let heard = self.relays.get(&source).filter(|heard| heard.pod == pod);
        match self.is_silent(&pod, heard.map(|heard| heard.at), scene, begun) {
            Some(true) => {
                return Verdict::Mute(
                    "RelaySilent",
                    "the relay pod says nothing: look at its log and at its node; kubectl delete pod costs nothing but a moment".into(),
                );
            }
            Some(false) => return Verdict::Open,
            None => {}
        }
        let Some(Heard { report, .. }) = heard else {
            return Verdict::Open;
        };
        match report.state {
            RelayState::Playing | RelayState::Idle => Verdict::Well("Announced"),
            RelayState::Connecting => Verdict::Open,
            RelayState::Silent => Verdict::Wrong(
                "CameraSilent",
                "the camera's RTSP server answers and sends no media: restart it, or look at its encoder".into(),
            ),
            RelayState::NoLanding => Verdict::Wrong(
                "NoLanding",
                "the relay does not get to the camera's tunnel: look at the logs of the relay and the mon pods, and at the network policies".into(),
            ),
            RelayState::Refused { fault } => Verdict::Wrong(
                "CameraRefuses",
                format!("{}: {}", fault.as_str(), fault.hint(scene.camera)),
            ),
        }
    }

    fn archive(&self, scene: &Scene<'_>, begun: Instant) -> Verdict {
        if scene.camera.record == Record::Off {
            return Verdict::Off;
        }
        let Some(pod) = Self::pod_of(scene, Role::Archiver) else {
            return Verdict::Open;
        };
        let heard = self.archive.as_ref().filter(|heard| heard.pod == pod);
        match self.is_silent(&pod, heard.map(|heard| heard.at), scene, begun) {
            Some(true) => {
                return Verdict::Mute(
                    "ArchiverSilent",
                    "the archiver pod says nothing, so that nobody knows whether it records: look at its log and at its node (one that is not ready may still recover what its spool holds); kubectl delete pod loses nothing that it can still upload".into(),
                );
            }
            Some(false) => return Verdict::Open,
            None => {}
        }
        let Some(Heard { report, .. }) = heard else {
            return Verdict::Open;
        };
        let old = |since: Timestamp| scene.wall.as_millis().saturating_sub(since.as_millis());
        let began = scene.wall.as_millis().saturating_sub(
            i64::try_from(scene.now.saturating_duration_since(begun).as_millis())
                .unwrap_or(i64::MAX),
        );
        let stored = report
            .durable_until
            .map_or(began, |until| until.as_millis().max(began));
        if let Some(why) = &report.store_error {
            if is_full(report, scene.spool) {
                return Verdict::Wrong(
                    SPOOL_FULL,
                    format!(
                        "{why}; the spool is nearly full, and then the oldest of what waits is given up: put the store right, or raise archiver.spool of the class"
                    ),
                );
            }
            return Verdict::Wrong(
                "StoreRefuses",
                format!(
                    "{why}; what is recorded waits in the spool: look at the store, its key and the tenant's StoreReady"
                ),
            );
        }
        match report.state {
            ArchiveState::DiskFull => Verdict::Wrong(
                SPOOL_FULL,
                "the spool's disk refuses: free room on the pod's node, or raise archiver.spool of the class".into(),
            ),
            ArchiveState::Draining => Verdict::Open,
            _ if report.silent_since.is_some_and(|since| old(since) >= NO_MEDIA) => Verdict::Wrong(
                "NoMedia",
                "no media comes from the relay: RelayReady, or its log, says why".into(),
            ),
            ArchiveState::Waiting => Verdict::Open,
            ArchiveState::Recording
                if report.silent_since.is_none()
                    && scene.wall.as_millis().saturating_sub(stored) > LAG =>
            {
                Verdict::Wrong(
                    "NothingStored",
                    "it records and nothing reaches the store: look at the logs of the archiver and the signer pods".into(),
                )
            }
            ArchiveState::Recording => Verdict::Well(RECORDING),
        }
    }

    /// What a verdict makes of a condition: nothing before it has lasted, nor what is written already.
    fn hold(
        &mut self,
        kind: ConditionKind,
        verdict: Verdict,
        scene: &Scene<'_>,
    ) -> (Option<Word>, Option<Duration>) {
        let written = find(scene.conditions, kind);
        let holds = written.is_some_and(|written| written.status == "True");
        let said = written.map_or("", |written| written.reason.as_str());
        let lasting = self.lasting.entry(kind).or_default();
        let (well, reason, message, patience) = match verdict {
            Verdict::Open => return (None, None),
            Verdict::Off if said == RECORD_OFF => return (None, None),
            Verdict::Off => (false, RECORD_OFF, String::new(), Duration::ZERO),
            Verdict::Well(reason) => (true, reason, String::new(), STEADY),
            Verdict::Mute(reason, message) => (false, reason, message, Duration::ZERO),
            Verdict::Wrong(reason, message) => (false, reason, message, HOLD),
        };
        let since = match lasting.now {
            Some((was, since)) if was == well => since,
            _ => {
                lasting.now = Some((well, scene.now));
                scene.now
            }
        };
        // The first good word is the connect's: it comes with the relay's key, in one write.
        let open = well && (written.is_none() || said == STARTING);
        if open || (holds == well && (well || said == reason)) {
            return (None, None);
        }
        let between = match holds == well && !said.is_empty() && said != STARTING {
            // What waits is lost from now on: that is not kept back for what was said before.
            true if reason == SPOOL_FULL => Duration::ZERO,
            true => ANOTHER,
            false => BETWEEN,
        };
        let due = since + patience;
        let due = lasting
            .changed
            .filter(|_| reason != RECORD_OFF)
            .map_or(due, |changed| due.max(changed + between));
        let wait = due.saturating_duration_since(scene.now);
        if !wait.is_zero() {
            return (None, Some(wait));
        }
        lasting.changed = Some(scene.now);
        let word = Word {
            kind,
            holds: well,
            reason,
            message,
        };
        (Some(word), None)
    }
}

/// Whether the spool has no room to speak of.
fn is_full(report: &ArchiveReport, bound: Option<u64>) -> bool {
    bound.is_some_and(|bound| report.spool_bytes >= bound / 100 * FULL)
}

fn earlier(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests;
