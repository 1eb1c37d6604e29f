//! What one channel has still to tell: pure.
//!
//! ```text
//!  push ─▶ queue (64) ── next ─▶ under way ── got out ─▶ told
//!            │ full: the oldest        │ did not
//!            └───────────▶ owed ◀──────┘        owed ── next ─▶ one message for all, under way
//! ```
//! - *Owed* is the newest state of each camera: it still stands still, or it did, from when until when. So an outage of any length costs one
//!   message, and memory for the cameras alone.
//! - What is owed is always older than what is queued: a message that was queued later and gets out settles what its cameras were owed.
//! - Of all other messages (notices, one key in two places, damaged recordings) the newest 16 that did not get out are kept, and told one by one
//!   after that.

use std::collections::{BTreeMap, VecDeque};

use moorline_core::alarm::{Alarm, AlarmCamera, AlarmKind};
use moorline_core::{CameraId, TenantId, Timestamp};

/// Messages that wait; further ones are told as one, with what is owed.
pub(crate) const QUEUE: usize = 64;

/// Messages about no camera's recording that did not get out and are kept.
pub(crate) const KEPT: usize = 16;

/// What became of a camera of which nobody was told.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Owed {
    StandsStill(AlarmCamera),
    RecordsAgain(AlarmCamera),
}

/// One channel.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Alarm>,
    under_way: Option<Alarm>,
    owed: BTreeMap<CameraId, Owed>,
    kept: VecDeque<Alarm>,
}

impl Outbox {
    /// A new message. Returns what had to be given up for it: a notice that nobody will get.
    #[must_use]
    pub(crate) fn push(&mut self, alarm: Alarm) -> Option<Alarm> {
        self.queue.push_back(alarm);
        if self.queue.len() <= QUEUE {
            return None;
        }
        let oldest = self.queue.pop_front()?;
        self.owe(oldest, true)
    }

    /// The next message; it is under way until [`Outbox::ended`]. What is owed is told only if `owed_too`, and of cameras that are
    /// `watched` alone: who switched a camera off knows.
    pub(crate) fn next(
        &mut self,
        owed_too: bool,
        at: Timestamp,
        watched: impl Fn(&CameraId) -> bool,
    ) -> Option<Alarm> {
        self.owed.retain(|camera, _| watched(camera));
        let alarm = match self.queue.pop_front() {
            Some(alarm) => Some(alarm),
            None if owed_too => self.late(at).or_else(|| self.kept.pop_front()),
            None => None,
        };
        for (camera, _) in alarm.iter().flat_map(cameras) {
            self.owed.remove(camera);
        }
        self.under_way.clone_from(&alarm);
        alarm
    }

    /// The message under way got out, or did not. Returns what is given up.
    pub(crate) fn ended(&mut self, got_out: bool) -> Option<Alarm> {
        let alarm = self.under_way.take();
        self.owe(alarm.filter(|_| !got_out)?, false)
    }

    /// Whether anything waits that was tried in vain, or for which there was no room.
    pub(crate) fn owes(&self) -> bool {
        !self.owed.is_empty() || !self.kept.is_empty()
    }

    /// Whether a message waits that was not tried yet.
    pub(crate) fn is_queued(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whether the channel has still to tell something of the camera.
    pub(crate) fn holds(&self, camera: &CameraId) -> bool {
        let messages = self.queue.iter().chain(&self.under_way);
        self.owed.contains_key(camera)
            || messages.flat_map(cameras).any(|(other, _)| other == camera)
    }

    /// What is still to be told of each camera, by the newest word: since when it stands still, or that it records again.
    pub(crate) fn left(&self) -> BTreeMap<CameraId, Option<Timestamp>> {
        let owed = self.owed.iter().map(|(camera, owed)| match owed {
            Owed::StandsStill(stopped) => (camera.clone(), Some(stopped.since)),
            Owed::RecordsAgain(_) => (camera.clone(), None),
        });
        let messages = self.under_way.iter().chain(&self.queue);
        let messages = messages.flat_map(cameras);
        owed.chain(messages.map(|(camera, since)| (camera.clone(), since)))
            .collect()
    }

    /// Cameras of which the channel has still to tell something.
    pub(crate) fn cameras(&self) -> usize {
        let messages = self.queue.iter().chain(&self.under_way);
        let waiting = messages.flat_map(cameras).map(|(camera, _)| camera);
        let all: std::collections::BTreeSet<_> = waiting.chain(self.owed.keys()).collect();
        all.len()
    }

    /// Remembers the state of the message's cameras; of one about which there is something already only if `newer`. A message about no
    /// camera's recording is kept itself; returns the one for which there is no room then.
    fn owe(&mut self, alarm: Alarm, newer: bool) -> Option<Alarm> {
        let mut states = Vec::new();
        match &alarm.kind {
            AlarmKind::RecordingStopped { cameras, .. } => {
                states.extend(cameras.iter().cloned().map(Owed::StandsStill));
            }
            AlarmKind::RecordingResumed { cameras, .. } => {
                let again = cameras.iter().cloned().map(|camera| AlarmCamera {
                    until: camera.until.or(Some(alarm.at)),
                    ..camera
                });
                states.extend(again.map(Owed::RecordsAgain));
            }
            AlarmKind::ToldLate { stopped, resumed } => {
                states.extend(stopped.iter().cloned().map(Owed::StandsStill));
                states.extend(resumed.iter().cloned().map(Owed::RecordsAgain));
            }
            AlarmKind::RecordingsDamaged { .. }
            | AlarmKind::KeyInTwoPlaces { .. }
            | AlarmKind::AgentRolledBack { .. }
            | AlarmKind::Notice { .. }
            | AlarmKind::Test => {
                self.kept.push_back(alarm);
                return (self.kept.len() > KEPT)
                    .then(|| self.kept.pop_front())
                    .flatten();
            }
        }
        for state in states {
            let (Owed::StandsStill(camera) | Owed::RecordsAgain(camera)) = &state;
            if newer || !self.owed.contains_key(&camera.id) {
                self.owed.insert(camera.id.clone(), state);
            }
        }
        None
    }

    /// What is owed to one tenant, as one message.
    fn late(&self, at: Timestamp) -> Option<Alarm> {
        let tenant: TenantId = self.owed.keys().next()?.tenant().clone();
        let (mut stopped, mut resumed) = (Vec::new(), Vec::new());
        let own = self.owed.iter().filter(|(id, _)| *id.tenant() == tenant);
        for (_, owed) in own {
            match owed.clone() {
                Owed::StandsStill(camera) => stopped.push(camera),
                Owed::RecordsAgain(camera) => resumed.push(camera),
            }
        }
        let kind = AlarmKind::ToldLate { stopped, resumed };
        Some(Alarm { tenant, at, kind })
    }
}

/// The cameras whose stop or return a message tells, and since when each stands still; `None`: it records again.
pub(crate) fn cameras(alarm: &Alarm) -> impl Iterator<Item = (&CameraId, Option<Timestamp>)> {
    let (stopped, resumed): (&[AlarmCamera], &[AlarmCamera]) = match &alarm.kind {
        AlarmKind::RecordingStopped { cameras, .. } => (cameras, &[]),
        AlarmKind::RecordingResumed { cameras, .. } => (&[], cameras),
        AlarmKind::ToldLate { stopped, resumed } => (stopped, resumed),
        AlarmKind::RecordingsDamaged { .. }
        | AlarmKind::KeyInTwoPlaces { .. }
        | AlarmKind::AgentRolledBack { .. }
        | AlarmKind::Notice { .. }
        | AlarmKind::Test => (&[], &[]),
    };
    let stopped = stopped
        .iter()
        .map(|camera| (&camera.id, Some(camera.since)));
    stopped.chain(resumed.iter().map(|camera| (&camera.id, None)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use moorline_core::Cause;
    use moorline_core::alarm::AlarmCause;

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::default() + Duration::from_secs(seconds)
    }

    fn camera(name: &str, since: u64) -> AlarmCamera {
        AlarmCamera {
            id: name.parse().unwrap(),
            title: name.to_owned(),
            timezone: "UTC".to_owned(),
            since: at(since),
            until: None,
            cause: AlarmCause::Gap(Cause::TunnelDown),
            detail: None,
        }
    }

    fn alarm(seconds: u64, kind: AlarmKind) -> Alarm {
        Alarm {
            tenant: TenantId::home(),
            at: at(seconds),
            kind,
        }
    }

    fn stopped(name: &str, since: u64) -> Alarm {
        let cameras = vec![camera(name, since)];
        let site = None;
        alarm(since + 180, AlarmKind::RecordingStopped { site, cameras })
    }

    fn resumed(name: &str, since: u64, until: u64) -> Alarm {
        let cameras = vec![camera(name, since)];
        let site = None;
        alarm(until, AlarmKind::RecordingResumed { site, cameras })
    }

    /// Takes everything in vain.
    fn fail(outbox: &mut Outbox) {
        while outbox.next(false, at(0), |_| true).is_some() {
            let _ = outbox.ended(false);
        }
    }

    fn late(outbox: &mut Outbox) -> (Vec<String>, Vec<String>) {
        let alarm = outbox.next(true, at(9_000), |_| true).unwrap();
        let AlarmKind::ToldLate { stopped, resumed } = alarm.kind else {
            panic!("{alarm:?}")
        };
        let text = |camera: &AlarmCamera| match camera.until {
            None => camera.title.clone(),
            Some(until) => format!("{} until {}", camera.title, until.as_millis() / 1_000),
        };
        let texts = |cameras: &[AlarmCamera]| cameras.iter().map(text).collect();
        (texts(&stopped), texts(&resumed))
    }

    #[test]
    fn what_did_not_get_out_is_told_as_one_message_with_the_newest_state_of_each_camera() {
        let mut outbox = Outbox::default();
        for name in ["yard", "door", "hall"] {
            assert_eq!(outbox.push(stopped(name, 100)), None);
        }
        fail(&mut outbox);
        assert_eq!(outbox.push(resumed("door", 100, 700)), None);
        fail(&mut outbox);
        assert_eq!(outbox.cameras(), 3);
        let told = late(&mut outbox);
        assert_eq!(told.0, ["hall", "yard"]);
        assert_eq!(told.1, ["door until 700"]);
        assert_eq!(outbox.ended(false), None);
        assert!(outbox.owes(), "it did not get out either");
        assert_eq!(late(&mut outbox).0, ["hall", "yard"]);
        assert_eq!(outbox.ended(true), None);
        assert!(!outbox.owes());
        assert_eq!(outbox.next(true, at(0), |_| true), None);
    }

    #[test]
    fn a_later_message_that_gets_out_settles_what_its_camera_was_owed() {
        let mut outbox = Outbox::default();
        let _ = outbox.push(stopped("yard", 100));
        fail(&mut outbox);
        let _ = outbox.push(resumed("yard", 100, 700));
        assert!(outbox.next(true, at(800), |_| true).is_some());
        assert!(outbox.holds(&"yard".parse().unwrap()), "it is under way");
        assert_eq!(outbox.ended(true), None);
        assert!(!outbox.owes() && !outbox.holds(&"yard".parse().unwrap()));
    }

    #[test]
    fn a_thousand_cameras_at_once_lose_nothing_and_stay_in_order() {
        let mut outbox = Outbox::default();
        for number in 0..1_000 {
            assert_eq!(outbox.push(stopped(&format!("c{number}"), 100)), None);
        }
        let _ = outbox.push(resumed("c0", 100, 300));
        assert_eq!(outbox.cameras(), 1_000);
        let mut first = 0;
        while let Some(alarm) = outbox.next(false, at(0), |_| true) {
            first += cameras(&alarm).count();
            assert_eq!(outbox.ended(true), None);
        }
        assert_eq!(first, QUEUE);
        let told = late(&mut outbox);
        assert_eq!(outbox.ended(true), None);
        assert_eq!(told.0.len() + first, 1_000);
        assert!(!outbox.owes());
    }

    #[test]
    fn a_camera_that_was_switched_off_or_removed_is_owed_nothing() {
        let mut outbox = Outbox::default();
        let _ = outbox.push(stopped("yard", 100));
        fail(&mut outbox);
        assert_eq!(outbox.next(true, at(0), |_| false), None);
        assert!(!outbox.owes());
    }

    #[test]
    fn a_message_is_one_tenants() {
        let mut outbox = Outbox::default();
        let _ = outbox.push(stopped("acme/yard", 100));
        let _ = outbox.push(stopped("other/yard", 100));
        fail(&mut outbox);
        let first = outbox.next(true, at(0), |_| true).unwrap();
        assert_eq!(
            (first.tenant.as_str(), cameras(&first).count()),
            ("acme", 1)
        );
        assert_eq!(outbox.ended(true), None);
        let second = outbox.next(true, at(0), |_| true).unwrap();
        assert_eq!(
            (second.tenant.as_str(), cameras(&second).count()),
            ("other", 1)
        );
    }

    #[test]
    fn of_notices_that_do_not_get_out_the_newest_are_told_later() {
        let notice = |seconds| alarm(seconds, AlarmKind::Test);
        let mut outbox = Outbox::default();
        for number in 0..KEPT as u64 {
            assert_eq!(outbox.push(notice(number)), None);
        }
        fail(&mut outbox);
        assert!(outbox.owes());
        assert_eq!(outbox.push(notice(99)), None);
        assert!(outbox.next(false, at(0), |_| true).is_some());
        assert_eq!(outbox.ended(false), Some(notice(0)), "the oldest goes");
        let mut told = Vec::new();
        while let Some(alarm) = outbox.next(true, at(0), |_| true) {
            told.push(alarm);
            assert_eq!(outbox.ended(true), None);
        }
        assert_eq!(told.len(), KEPT);
        assert_eq!(told.last(), Some(&notice(99)));
        assert!(!outbox.owes());
    }
}
