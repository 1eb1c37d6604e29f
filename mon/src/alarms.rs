//! When somebody is told that recording stopped, and that it goes on: a pure table over all cameras.
//!
//! ```text
//!  quiet ── durable until stands still (alarm_after) ─▶ settling ─▶ RecordingStopped ─▶ told
//!    ▲            it moved again meanwhile ◀──────────────┘ (site)                       │
//!    └── RecordingResumed ◀─ settling (site) ◀─ moved again for clear_after ◀────────────┘
//! ```
//! - *Standing still* is `durable until`. A step over an open gap (the archiver writes the piece of each full hour) is no recording and
//!   does not count as moving. While there is no open gap, pictures must have waited for the store for `alarm_after`, the gaps before them
//!   not counted: a camera that is back after an hour is not told of before its first segment can be stored. Nor is one that sends a key frame
//!   every half an hour, while its one segment is being written.
//! - Cameras of one site are told together: a message waits until no further camera of the site joins it for `site_settle`, at most
//!   `site_settle_at_most`. A camera without a site waits for nobody.
//! - A camera that flaps sends at most one alarm and one all-clear within `flap_window`; a stop that is held back is told when the window
//!   is over and the camera still stands still.
//! - A camera that is switched off, or that records nothing, never alarms; if it was told, that is forgotten without an all-clear: whoever
//!   switched it off knows. Neither does one that never had a tunnel: it is still being put up.
//! - A camera that another process tells of is not looked at. Once it is ours it is looked at as after a restart, with what was told of it there.
//! - What was told survives a restart, but only once it was told: the channels say so ([`crate::outbox`]). A camera gets `alarm_after` after
//!   the start to come back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use moorline_core::alarm::{Alarm, AlarmCamera, AlarmCause, AlarmKind};
use moorline_core::camera::Record;
use moorline_core::status::Waits;
use moorline_core::{Camera, CameraId, TenantId, Timestamp};

use crate::board::Entry;
use crate::settings::Settings;

/// The longest segment, and some time to seal it: a camera that sends no second key frame.
const LONGEST: Duration = Duration::from_secs(35 * 60);
/// Characters of what the store said.
const DETAIL: usize = 200;

/// What a camera's memory is to hold from now on: since when it stands still, as somebody was told.
pub(crate) type Change = (CameraId, Option<Timestamp>);

/// A message that waits for the rest of its site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pending {
    Stopped,
    Resumed,
}

#[derive(Debug)]
struct Watched {
    durable_until: Option<Timestamp>,
    /// When it moved last, or when it was first seen.
    moved: Duration,
    /// Since when it moves again.
    moving_since: Option<Duration>,
    /// Since when recording stood still, as was told.
    told: Option<(Timestamp, AlarmCause)>,
    last_stopped: Option<Duration>,
    last_resumed: Option<Duration>,
    pending: Option<(Pending, Duration)>,
}

/// All cameras.
#[derive(Debug)]
pub(crate) struct Alarms {
    settings: Settings,
    cameras: BTreeMap<CameraId, Watched>,
}

impl Alarms {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            cameras: BTreeMap::new(),
        }
    }

    /// How long recording may stand still from now on.
    pub(crate) fn set_after(&mut self, alarm_after: Duration) {
        self.settings.alarm_after = alarm_after;
    }

    /// There is somebody to be told, who was not there before: a camera that stands still and of which nobody was told is told of by the next look.
    pub(crate) fn forget_untold(&mut self, entries: &[Arc<Entry>]) {
        for entry in entries.iter().filter(|entry| entry.alarmed_since.is_none()) {
            if let Some(watched) = self.cameras.get_mut(&entry.camera.id) {
                watched.told = None;
                watched.last_stopped = None;
                watched.pending = None;
            }
        }
    }

    /// Looks at all cameras at `now` (monotonic, since any fixed instant; `wall` the same on the wall): messages to send, and the
    /// cameras of which nothing more is to be remembered.
    pub(crate) fn look(
        &mut self,
        entries: &[Arc<Entry>],
        now: Duration,
        wall: Timestamp,
    ) -> (Vec<Alarm>, Vec<Change>) {
        let mut changes = Vec::new();
        self.cameras
            .retain(|id, _| entries.iter().any(|entry| entry.camera.id == *id));
        for entry in entries {
            let id = &entry.camera.id;
            let fresh = || Watched::new(entry, now);
            let watched = self.cameras.entry(id.clone()).or_insert_with(fresh);
            if is_watched(entry) {
                watched.look(entry, now, wall, &self.settings);
            } else if watched.forget(entry, now) {
                changes.push((id.clone(), None));
            }
        }
        let mut alarms = Vec::new();
        for kind in [Pending::Stopped, Pending::Resumed] {
            for (tenant, site, entries) in self.settled(entries, kind, now) {
                let cameras = self.told(&entries, kind, now);
                alarms.push(message(tenant, site, cameras, kind, wall));
            }
        }
        (alarms, changes)
    }

    /// The groups of cameras whose message waits for nobody any more.
    fn settled(
        &self,
        entries: &[Arc<Entry>],
        kind: Pending,
        now: Duration,
    ) -> Vec<(TenantId, Option<String>, Vec<Arc<Entry>>)> {
        type Group = (Vec<Arc<Entry>>, Duration, Duration);
        let mut sites: BTreeMap<(TenantId, String), Group> = BTreeMap::new();
        let mut groups = Vec::new();
        for entry in entries {
            let pending = self
                .cameras
                .get(&entry.camera.id)
                .and_then(|camera| camera.pending);
            let Some((_, since)) = pending.filter(|(pending, _)| *pending == kind) else {
                continue;
            };
            let tenant = entry.camera.id.tenant().clone();
            match &entry.camera.site {
                None => groups.push((tenant, None, vec![Arc::clone(entry)])),
                Some(site) => {
                    let fresh = || (Vec::new(), since, since);
                    let group = sites.entry((tenant, site.clone())).or_insert_with(fresh);
                    group.0.push(Arc::clone(entry));
                    group.1 = group.1.min(since);
                    group.2 = group.2.max(since);
                }
            }
        }
        for ((tenant, site), (entries, first, last)) in sites {
            let quiet = now.saturating_sub(last) >= self.settings.site_settle;
            let late = now.saturating_sub(first) >= self.settings.site_settle_at_most;
            if quiet || late {
                groups.push((tenant, Some(site), entries));
            }
        }
        groups
    }

    /// Marks cameras as told, and gives their lines of the message. Whether it gets out is the channels' business.
    fn told(&mut self, entries: &[Arc<Entry>], kind: Pending, now: Duration) -> Vec<AlarmCamera> {
        let mut lines = Vec::new();
        for entry in entries {
            let Some(watched) = self.cameras.get_mut(&entry.camera.id) else {
                continue;
            };
            watched.pending = None;
            let (since, cause) = match kind {
                Pending::Stopped => {
                    let stood = stands_since(entry);
                    watched.told = Some(stood);
                    watched.last_stopped = Some(now);
                    watched.moving_since = None;
                    stood
                }
                Pending::Resumed => {
                    watched.last_resumed = Some(now);
                    watched.told.take().unwrap_or_else(|| stands_since(entry))
                }
            };
            lines.push(AlarmCamera {
                id: entry.camera.id.clone(),
                title: entry.camera.title.clone(),
                timezone: entry.camera.timezone.clone(),
                since,
                until: None,
                cause,
                detail: detail(entry, cause),
            });
        }
        lines
    }
}

impl Watched {
    fn new(entry: &Entry, now: Duration) -> Self {
        // A restart lost the cause that was told: the one of now stands for it.
        let told = entry
            .alarmed_since
            .map(|since| (since, stands_since(entry).1));
        Self {
            durable_until: entry.status.durable_until,
            moved: now,
            moving_since: None,
            told,
            last_stopped: None,
            last_resumed: None,
            pending: None,
        }
    }

    /// Not watched: back to the beginning. Returns whether something had been told.
    fn forget(&mut self, entry: &Entry, now: Duration) -> bool {
        let told = self.told.take().is_some();
        self.durable_until = entry.status.durable_until;
        self.moved = now;
        self.moving_since = None;
        self.pending = None;
        told
    }

    fn look(&mut self, entry: &Entry, now: Duration, wall: Timestamp, settings: &Settings) {
        let durable_until = entry.status.durable_until;
        let open = entry.status.open_gap();
        let over_the_gap = open.is_some_and(|gap| durable_until > Some(gap.since));
        let mut moved_for = None;
        if durable_until != self.durable_until {
            self.durable_until = durable_until;
            if !over_the_gap {
                self.moved = now;
                moved_for = Some(now.saturating_sub(*self.moving_since.get_or_insert(now)));
            }
        }
        let stood = now.saturating_sub(self.moved);
        let waited = waiting(entry, wall, settings.alarm_after).unwrap_or(stood);
        let still = stood.min(waited) >= settings.alarm_after;
        if still || open.is_some() {
            self.moving_since = None;
        }
        let resumed = moved_for.is_some_and(|long| long >= settings.clear_after) && open.is_none();
        let free = |last: Option<Duration>| {
            last.is_none_or(|last| now.saturating_sub(last) >= settings.flap_window)
        };
        match (self.pending, self.told.is_some()) {
            (None, false) if still && free(self.last_stopped) => {
                self.pending = Some((Pending::Stopped, now));
            }
            (Some((Pending::Stopped, _)), _) if !still => self.pending = None,
            (None, true) if resumed && free(self.last_resumed) => {
                self.pending = Some((Pending::Resumed, now));
            }
            (Some((Pending::Resumed, _)), _) if still || open.is_some() => self.pending = None,
            _ => {}
        }
    }
}

/// Whether the camera's standing still is anybody's business.
pub(crate) fn is_watched(entry: &Entry) -> bool {
    let camera: &Camera = &entry.camera;
    let elsewhere = camera.streampoint.is_some();
    camera.enabled.is_yes() && camera.record != Record::Off && !elsewhere && entry.seen
}

/// What the store said, where it takes nothing.
fn detail(entry: &Entry, cause: AlarmCause) -> Option<String> {
    let archive = entry.status.archive.as_ref()?;
    let said = archive.store_error.as_ref()?;
    (cause == AlarmCause::StoreWaits).then(|| said.chars().take(DETAIL).collect())
}

/// How long pictures have waited for the store: the time since `durable until` that lies in no gap. `None` while a gap is open, and where
/// that cannot be known.
fn waiting(entry: &Entry, wall: Timestamp, after: Duration) -> Option<Duration> {
    let waited = since_durable(entry, wall)?;
    match entry.status.archive.as_ref().map(|archive| archive.waits) {
        None | Some(Waits::Unknown) => Some(waited),
        // A segment that is still being written keeps no store waiting, if it is: up to half an hour from one key frame to the next.
        Some(Waits::Nothing) if is_writing(entry, wall, after) && waited < LONGEST => {
            Some(Duration::ZERO)
        }
        Some(Waits::Nothing) => Some(waited),
        // A long one has only waited since it was sealed; of the time before that as much counts as of any other.
        Some(Waits::Store { end }) => {
            let since = wall.since(end.min(wall));
            Some(waited.min(since + after / 2))
        }
    }
}

/// Whether media was synced a moment ago.
fn is_writing(entry: &Entry, wall: Timestamp, after: Duration) -> bool {
    let archive = entry.status.archive.as_ref();
    let synced = archive.and_then(|archive| archive.synced_until);
    synced.is_some_and(|synced| wall.since(synced.min(wall)) < after)
}

fn since_durable(entry: &Entry, wall: Timestamp) -> Option<Duration> {
    let durable_until = entry.status.durable_until.filter(|until| *until <= wall)?;
    if entry.status.open_gap().is_some() {
        return None;
    }
    let closed = entry.status.gaps.iter();
    let missing = closed.filter_map(|(gap, end)| Some((*end)?.since(gap.since.max(durable_until))));
    let missing: Duration = missing.sum();
    Some(wall.since(durable_until).saturating_sub(missing))
}

/// Since when recording stands still, and why. Without an open gap pictures are taken and wait in the spool, since the store takes nothing.
fn stands_since(entry: &Entry) -> (Timestamp, AlarmCause) {
    let open = entry.status.open_gap();
    let since = entry.status.durable_until.or(open.map(|gap| gap.since));
    let cause = open.map_or(AlarmCause::StoreWaits, |gap| AlarmCause::Gap(gap.cause));
    (since.unwrap_or(entry.camera.created), cause)
}

fn message(
    tenant: TenantId,
    site: Option<String>,
    cameras: Vec<AlarmCamera>,
    kind: Pending,
    at: Timestamp,
) -> Alarm {
    let kind = match kind {
        Pending::Stopped => AlarmKind::RecordingStopped { site, cameras },
        Pending::Resumed => AlarmKind::RecordingResumed { site, cameras },
    };
    Alarm { tenant, at, kind }
}
