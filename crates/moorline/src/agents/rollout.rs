//! Brings releases onto cameras: looks at what agents say, asks [`super::plan`] what is next, offers it, tells a roll-back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use moorline_base::clock::sleep;
use moorline_base::{CancellationToken, SharedClock};
use moorline_control::Version;
use moorline_core::alarm::{Alarm, AlarmKind};
use moorline_core::port::{AgentUpgrades, CameraDirectory, Notifier, Statuses};
use moorline_core::status::CameraStatus;
use moorline_core::{CameraId, Timestamp};
use tracing::Instrument as _;

use super::plan::{self, Seen, Tries};
use super::shelf::{Name, Shelf};

/// Statuses change all the time; an upgrade takes minutes.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The roll-out.
#[derive(Clone)]
pub struct Rollout {
    pub shelf: Arc<Shelf>,
    pub cameras: Arc<dyn CameraDirectory>,
    pub statuses: Arc<dyn Statuses>,
    pub upgrades: Arc<dyn AgentUpgrades>,
    pub notifier: Arc<dyn Notifier>,
    pub clock: SharedClock,
}

impl Rollout {
    /// Until `stop` is cancelled. Transfers that are under way then go on by the next session's offer.
    pub async fn run(self, stop: CancellationToken) {
        let mut tries: HashMap<Name, Tries> = HashMap::new();
        loop {
            self.look(&mut tries, &stop).await;
            if sleep(&*self.clock, LOOK_EVERY, &stop).await.is_cancelled() {
                return;
            }
        }
    }

    async fn look(&self, tries: &mut HashMap<Name, Tries>, stop: &CancellationToken) {
        let releases = self.shelf.all();
        if releases.is_empty() {
            return;
        }
        let cameras = self.cameras.snapshot();
        let statuses = cameras
            .iter()
            .filter_map(|camera| self.statuses.get(&camera.id));
        let seen: Vec<Seen> = statuses.filter_map(|status| seen(&status)).collect();
        for (name, held) in releases {
            let tries = tries.entry(name.clone()).or_default();
            let decided = self.shelf.step(&name, |progress| {
                plan::next((&name.0, name.1), progress, tries, &seen)
            });
            let Some(decision) = decided else { continue };
            if decision.changed {
                let (shelf, name) = (Arc::clone(&self.shelf), name.clone());
                let kept = tokio::task::spawn_blocking(move || shelf.keep(&name)).await;
                if !matches!(kept, Ok(Ok(()))) {
                    tracing::error!("how far a release of the agent is could not be written");
                    // Not offered: after a restart nobody would know of its place.
                    continue;
                }
            }
            if let Some(camera) = decision.rolled_back {
                tell(&self.notifier, &self.clock, camera, name.1, stop);
            }
            for camera in decision.offer {
                if let Err(error) = self.upgrades.offer(&camera, &held.release) {
                    tracing::info!(%camera, %error, "the upgrade is offered again in the next session");
                }
            }
        }
    }
}

/// Tells a roll-back, in a task of its own: a channel is tried for minutes.
pub fn tell(
    notifier: &Arc<dyn Notifier>,
    clock: &SharedClock,
    camera: CameraId,
    version: Version,
    stop: &CancellationToken,
) {
    tracing::error!(%camera, %version, "a camera took the new agent back: its roll-out stops");
    let alarm = Alarm {
        tenant: camera.tenant().clone(),
        at: Timestamp::from_millis(clock.wall_ms()),
        kind: AlarmKind::AgentRolledBack {
            camera,
            version: version.to_string(),
        },
    };
    let (notifier, stop) = (Arc::clone(notifier), stop.clone());
    let telling = async move {
        tokio::select! {
            () = stop.cancelled() => {}
            results = notifier.tell(&alarm) => {
                for error in results.into_iter().filter_map(Result::err) {
                    tracing::warn!(channel = error.channel, why = error.why, "the roll-back was not told");
                }
            }
        }
    };
    tokio::spawn(telling.in_current_span());
}

/// What an agent says of itself, if one is connected; foreign words, each checked by its grammar.
pub fn seen(status: &CameraStatus) -> Option<Seen> {
    let word = |key: &str| {
        let mut said = status.said.iter();
        said.find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    };
    let version = |key: &str| word(key).and_then(Version::new);
    Some(Seen {
        camera: status.camera.clone(),
        target: word("target")?.to_owned(),
        agent: version("agent")?,
        offered: version("offered"),
        rolled_back: version("rolled-back"),
        refused: word("bad")
            .and_then(|bad| bad.strip_prefix("UPGRADE."))
            .map(str::to_owned),
    })
}
