//! What cameras' agents say of their uplinks decides which stream is recorded, where the owner left that to the server.
//!
//! Owns: changing the record. The decision is [`moorline_core::uplink`]'s. A record that says who chose
//! (`record_by`) is all that is kept: after a restart the patience begins anew.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moorline_base::clock::sleep;
use moorline_base::{CancellationToken, SharedClock};
use moorline_core::CameraId;
use moorline_core::alarm::NoticeKind;
use moorline_core::camera::{Camera, Record, RecordBy};
use moorline_core::port::{CameraAdmin, CameraAdminError, CameraChange, CameraDirectory, Statuses};
use moorline_core::uplink::{Move, Pictures, Rule, Watched, may_move};

use crate::settings;

/// Statuses change all the time; an agent reports every 15 s at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Moves records.
#[derive(Clone)]
pub struct Uplinks {
    pub cameras: Arc<dyn CameraDirectory>,
    pub admin: Arc<dyn CameraAdmin>,
    pub statuses: Arc<dyn Statuses>,
    pub clock: SharedClock,
    /// `None`: nobody moves, and who was moved goes back.
    pub rule: Option<Rule>,
}

/// The rule of the settings; `None`: off.
pub fn rule(settings: &settings::Uplink) -> Option<Rule> {
    (settings.percent > 0).then(|| Rule {
        percent: settings.percent,
        after: settings.after.get(),
        back: settings.back.get(),
    })
}

impl Uplinks {
    /// Moves cameras, until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        let mut watched = HashMap::new();
        let (mut version, origin) = (0, self.clock.monotonic());
        self.send_back().await;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                next = self.statuses.changed(version) => version = next,
            }
            self.look(&mut watched, origin).await;
            if sleep(&*self.clock, LOOK_EVERY, &stop).await.is_cancelled() {
                return;
            }
        }
    }

    /// With the rule off nobody would move them any more.
    async fn send_back(&self) {
        if self.rule.is_some() {
            return;
        }
        for camera in self.cameras.snapshot().iter() {
            if camera.record_by == RecordBy::Uplink {
                self.carry_out(camera, Move::ToMain).await;
            }
        }
    }

    async fn look(&self, watched: &mut HashMap<CameraId, Watched>, origin: Instant) {
        let Some(rule) = self.rule else { return };
        let now = self.clock.monotonic().saturating_duration_since(origin);
        let cameras = self.cameras.snapshot();
        watched.retain(|id, _| cameras.get(id).is_some_and(|camera| may_move(camera)));
        for camera in cameras.iter().filter(|camera| may_move(camera)) {
            let on_sub = camera.record == Record::Sub;
            let entry = watched
                .entry(camera.id.clone())
                .or_insert_with(|| Watched::new(rule, on_sub, now));
            let said = self
                .statuses
                .get(&camera.id)
                .as_ref()
                .and_then(Pictures::said);
            if let Some(to) = entry.look(rule, on_sub, now, said)
                && !self.carry_out(camera, to).await
            {
                watched.remove(&camera.id);
            }
        }
    }

    /// Changes the record, and says so. `false`: it is as it was.
    async fn carry_out(&self, camera: &Camera, to: Move) -> bool {
        let (record, record_by, what) = match to {
            Move::ToSub => (Record::Sub, RecordBy::Uplink, NoticeKind::MovedToSub),
            Move::ToMain => (Record::Main, RecordBy::Auto, NoticeKind::MovedToMain),
        };
        let change = CameraChange {
            record: Some(record),
            record_by: Some(record_by),
            decided_on: Some(Box::new(camera.clone())),
            ..CameraChange::default()
        };
        match self.admin.set(&camera.id, change).await {
            Ok(_) => {
                tracing::warn!(camera = %camera.id, what = what.as_str(), "the uplink decides which stream is recorded");
                self.statuses.notice(&camera.id, what);
                true
            }
            // The next look decides anew.
            Err(CameraAdminError::Changed(_) | CameraAdminError::Unknown(_)) => false,
            Err(error) => {
                tracing::warn!(camera = %camera.id, %error, "the recorded stream was not changed");
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_percentage_is_no_rule() {
        let settings = settings::Uplink::default();
        assert!(rule(&settings).is_some());
        assert_eq!(
            rule(&settings::Uplink {
                percent: 0,
                ..settings
            }),
            None
        );
    }
}
