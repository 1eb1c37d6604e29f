//! What cameras' agents say of their uplinks decides which stream is recorded, where the owner left that open (`spec.recordBy: auto`).
//!
//! ```text
//! agent ─ STATUS ─▶ monitor of its holder ─▶ KubeUplinks ─ PUT ─▶ status.uplink, condition UplinkSlow ─ watch ─▶ every part's record
//!                                                 └────────────▶ Event, notice
//! ```
//! **Owns** the way from the monitor's counters to the status and to whoever is told. The decision is [`moorline_core::uplink`]'s; the spec stays the
//! owner's. The status alone is kept: where another replica takes the camera, and after a restart, window and patience begin anew. How it ends: with its
//! token.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moorline_base::CancellationToken;
use moorline_base::backoff::Backoff;
use moorline_base::clock::sleep;
use moorline_core::alarm::NoticeKind;
use moorline_core::camera::{Record, RecordBy};
use moorline_core::port::Statuses;
use moorline_core::uplink::{Move, Pictures, Rule, Watched, may_move};
use moorline_core::{CameraId, Timestamp};

use crate::cache::Known;
use crate::call::Fault;
use crate::owned::Own;
use crate::pods::Pods;
use crate::resource::{ConditionKind, Newer, UplinkStatus, set_condition};

/// Statuses change all the time; an agent reports every 15 s at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Moves cameras that this replica holds.
#[derive(Debug, Clone)]
pub struct KubeUplinks {
    pods: Pods,
    rule: Option<Rule>,
}

/// What becomes of the camera's status, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Moved(Move),
    /// The owner has chosen since.
    Forgotten,
}

/// What is to be taken back of a camera and could not be: when it is tried again.
#[derive(Debug)]
struct Late {
    backoff: Backoff,
    until: Instant,
}

/// What is known of cameras from one look to the next.
#[derive(Debug, Default)]
struct Seen {
    watched: HashMap<CameraId, Watched>,
    late: HashMap<CameraId, Late>,
}

impl Seen {
    /// What is to be taken back of a camera could not be, at this instant. It is said once.
    fn failed(&mut self, camera: &CameraId, fault: &Fault, now: Instant) {
        let late = self.late.entry(camera.clone()).or_insert_with(|| Late {
            backoff: Backoff::standard(),
            until: now,
        });
        if late.backoff.failures() == 0 {
            tracing::warn!(%camera, %fault, "the recorded stream was not changed: it is tried again until it is");
        }
        late.until = now + late.backoff.next_delay();
    }
}

impl KubeUplinks {
    /// Of the cameras whose pods are these. Without a rule nobody moves, and who was moved goes back.
    pub fn new(pods: Pods, rule: Option<Rule>) -> Self {
        Self { pods, rule }
    }

    /// Moves by what `monitor` hears, until `cancel`.
    pub async fn run(&self, monitor: Arc<dyn Statuses>, cancel: CancellationToken) {
        let mut seen = Seen::default();
        let clock = Arc::clone(self.pods.writer().clock());
        let (mut version, origin) = (0, clock.monotonic());
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                next = monitor.changed(version) => version = next,
            }
            self.look(&*monitor, &mut seen, origin).await;
            if sleep(&*clock, LOOK_EVERY, &cancel).await.is_cancelled() {
                return;
            }
        }
    }

    async fn look(&self, monitor: &dyn Statuses, seen: &mut Seen, origin: Instant) {
        let writer = self.pods.writer();
        let instant = writer.clock().monotonic();
        let now = instant.saturating_duration_since(origin);
        let is_ours = |camera: &CameraId| writer.owned().get(camera).is_some();
        seen.watched.retain(|camera, _| is_ours(camera));
        seen.late.retain(|camera, _| is_ours(camera));
        for (camera, own) in writer.owned().all() {
            // Before it is written a claim takes no change.
            if own.session.is_none() || own.released || own.provisional {
                continue;
            }
            let Some(known) = writer.cache().camera_by_uid(&camera, &own.uid) else {
                continue;
            };
            let Ok(record) = &known.record else { continue };
            let Some(rule) = self.rule.filter(|_| may_move(record)) else {
                seen.watched.remove(&camera);
                let Some(change) = self.undone(&known, record.record_by) else {
                    seen.late.remove(&camera);
                    continue;
                };
                if seen
                    .late
                    .get(&camera)
                    .is_some_and(|late| instant < late.until)
                {
                    continue;
                }
                match self.carry_out(monitor, &camera, &own, &known, change).await {
                    Ok(()) => {
                        seen.late.remove(&camera);
                    }
                    Err(fault) => seen.failed(&camera, &fault, writer.clock().monotonic()),
                }
                continue;
            };
            seen.late.remove(&camera);
            let on_sub = record.record == Record::Sub;
            let entry = seen
                .watched
                .entry(camera.clone())
                .or_insert_with(|| Watched::new(rule, on_sub, now));
            let said = monitor.get(&camera).as_ref().and_then(Pictures::said);
            let Some(to) = entry.look(rule, on_sub, now, said) else {
                continue;
            };
            let change = Change::Moved(to);
            let carried_out = self.carry_out(monitor, &camera, &own, &known, change);
            if let Err(fault) = carried_out.await {
                tracing::warn!(%camera, %fault, "the recorded stream was not changed");
                // The next looks decide anew.
                seen.watched.remove(&camera);
            }
        }
    }

    /// What is to be taken back of a camera that may not be moved (any more).
    fn undone(&self, known: &Known, by: RecordBy) -> Option<Change> {
        let status = known.object.status.as_ref()?;
        status.uplink.as_ref()?;
        match (by, self.rule) {
            // Left to the uplink, and no sub stream to be on: the owner took it away.
            (RecordBy::Owner | RecordBy::Auto, _) => Some(Change::Forgotten),
            (RecordBy::Uplink, None) => Some(Change::Moved(Move::ToMain)),
            // Disabled, say: when it is back it is where it was.
            (RecordBy::Uplink, Some(_)) => None,
        }
    }

    /// Writes the status, and says so.
    ///
    /// # Errors
    /// It is as it was.
    async fn carry_out(
        &self,
        monitor: &dyn Statuses,
        camera: &CameraId,
        own: &Own,
        known: &Known,
        change: Change,
    ) -> Result<(), Fault> {
        let writer = self.pods.writer();
        let now = writer.now();
        let slow = change == Change::Moved(Move::ToSub);
        let uplink = slow.then(|| UplinkStatus {
            since: Timestamp::from_millis(now.as_millisecond()),
            newer: Newer::new(),
        });
        let (reason, message) = self.words(change);
        let put = writer.put_own(camera, own.generation, |status| {
            status.uplink.clone_from(&uplink);
            let (kind, all) = (ConditionKind::UplinkSlow.as_str(), &mut status.conditions);
            set_condition(all, kind, slow, reason, &message, now);
        });
        put.await?;
        let Change::Moved(to) = change else {
            return Ok(());
        };
        let what = match to {
            Move::ToSub => NoticeKind::MovedToSub,
            Move::ToMain => NoticeKind::MovedToMain,
        };
        tracing::warn!(%camera, what = what.as_str(), "the uplink decides which stream is recorded");
        monitor.notice(camera, what);
        self.pods
            .moved(camera, &known.object, reason, &message, !slow);
        Ok(())
    }

    /// Reason and message of the condition and of the Event.
    fn words(&self, change: Change) -> (&'static str, String) {
        match (change, self.rule) {
            (Change::Moved(Move::ToSub), Some(rule)) => {
                let (percent, seconds) = (rule.percent, rule.after.as_secs());
                let message = format!(
                    "more than {percent} % of the pictures were dropped within {seconds} s: the sub stream is recorded until the main one is worth a try"
                );
                ("PicturesDropped", message)
            }
            (Change::Moved(_), Some(_)) => {
                let message = "nearly nothing was dropped: the main stream is recorded again";
                ("MainAgain", message.to_owned())
            }
            (Change::Moved(_), None) => {
                let message =
                    "the uplink decides nothing any more: the main stream is recorded again";
                ("MainAgain", message.to_owned())
            }
            (Change::Forgotten, _) => ("OwnerChose", "the owner chose the stream".to_owned()),
        }
    }
}
