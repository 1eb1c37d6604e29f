//! What cameras' agents say of their uplinks decides which stream is recorded, where the owner left that to the server.
//!
//! Owns: reading the counters out of statuses, changing the record. The decision is [`moorline_core::uplink`]'s. A record that says who chose
//! (`record_by`) is all that is kept: after a restart the patience begins anew.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moorline_base::clock::sleep;
use moorline_base::{CancellationToken, SharedClock};
use moorline_core::CameraId;
use moorline_core::alarm::NoticeKind;
use moorline_core::camera::{Access, Camera, Record, RecordBy};
use moorline_core::port::{CameraAdmin, CameraAdminError, CameraChange, CameraDirectory, Statuses};
use moorline_core::status::CameraStatus;
use moorline_core::uplink::{Move, Pictures, Rule, Uplink};

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

/// A camera's table, and the report that it saw last: each counts once.
struct Watched {
    table: Uplink,
    seen: Option<Pictures>,
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
            let new = || Watched {
                table: Uplink::new(rule, on_sub, now),
                seen: None,
            };
            let entry = watched.entry(camera.id.clone()).or_insert_with(new);
            // Somebody else moved it meanwhile.
            if entry.table.on_sub() != on_sub {
                *entry = new();
            }
            let said = self.statuses.get(&camera.id).as_ref().and_then(pictures);
            let Some(pictures) = said.filter(|said| entry.seen != Some(*said)) else {
                continue;
            };
            entry.seen = Some(pictures);
            if let Some(to) = entry.table.seen(now, pictures)
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

/// Whether the server may choose: the owner did not, there are two streams, and an agent can tell of the uplink.
fn may_move(camera: &Camera) -> bool {
    let chosen = match camera.record_by {
        RecordBy::Owner => false,
        RecordBy::Auto => camera.record == Record::Main,
        RecordBy::Uplink => camera.record == Record::Sub,
    };
    let tunnel = matches!(camera.access, Access::Tunnel { .. });
    chosen && tunnel && camera.sub.is_some() && camera.enabled.is_yes()
}

/// The counters that the agent said last.
fn pictures(status: &CameraStatus) -> Option<Pictures> {
    let said = |key: &str| -> Option<u64> {
        let (_, value) = status.said.iter().find(|(name, _)| name == key)?;
        value.parse().ok()
    };
    Some(Pictures {
        all: said("pictures")?,
        dropped: said("pictures-dropped")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use moorline_core::camera::{Enabled, Source};
    use moorline_core::segment::Retention;

    fn camera(record: Record, record_by: RecordBy, sub: bool) -> Camera {
        Camera {
            id: "yard".parse().unwrap(),
            title: String::new(),
            site: None,
            timezone: "UTC".into(),
            created: moorline_core::Timestamp::default(),
            keys: Vec::new(),
            access: Access::Tunnel {
                forwards: Vec::new(),
            },
            main: Source::default(),
            sub: sub.then(Source::default),
            record,
            record_by,
            retention: Retention::Days(1),
            enabled: Enabled::Yes,
            streampoint: None,
            allow_from: Vec::new(),
        }
    }

    #[test]
    fn only_who_has_two_streams_and_no_word_of_its_owner_may_move() {
        use Record::{Main, Off, Sub};
        use RecordBy::{Auto, Owner, Uplink};
        for (record, by, sub, may) in [
            (Main, Auto, true, true),
            (Sub, Uplink, true, true),
            (Main, Auto, false, false),
            (Main, Owner, true, false),
            (Sub, Owner, true, false),
            (Off, Owner, true, false),
        ] {
            let camera = camera(record, by, sub);
            assert_eq!(may_move(&camera), may, "{record:?} {by:?} {sub}");
        }
        let lan = Camera {
            access: Access::Lan {
                host: "192.0.2.1".into(),
                port: 554,
            },
            ..camera(Main, Auto, true)
        };
        assert!(!may_move(&lan));
    }

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
