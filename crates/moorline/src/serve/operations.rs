//! What only the whole process can do: the port behind the operator's routes.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use axum::http::StatusCode;
use bytes::Bytes;
use moorline_base::CancellationToken;
use moorline_base::clock::SharedClock;
use moorline_base::files::{Access, DiskSpace, write_atomic};
use moorline_base::logging::LogHandle;
use moorline_core::alarm::{Alarm, AlarmKind};
use moorline_core::camera::Camera;
use moorline_core::port::{Notifier, Statuses, UsedClass, UsedClasses as _};
use moorline_core::segment::{Retention, Tier, camera_prefix};
use moorline_core::{CameraId, TenantId, TimeRange, Timestamp};
use moorline_registry::Registry;
use moorline_store::SweepState;
use moorline_store::sweep::{Pace, erase_prefix};
use moorline_store::verify::{self, Depth, Finding, Torn};
use moorline_tunnel::keyfile::next;
use moorline_web::Operations;
use moorline_web::api::{
    AgentReleaseView, AlertResult, DiskView, DoctorFinding, VerifyFinding, VerifyView,
};
use moorline_web::problem::Problem;

use super::classes::{self, SearchError};
use super::daily::Daily;
use super::doctor::{self, Facts};
use super::in_force::InForce;
use super::parts::Store;
use super::site;
use super::usage::Usage;
use crate::agents::plan::Stage;
use crate::agents::rollout;
use crate::agents::shelf::{Held, Name, Shelf};
use crate::backup;
use crate::settings;

/// Every n-th segment is looked at by a verify that is not full.
const SAMPLE: usize = 10;

/// How closely a verify looks at each segment.
pub(crate) fn depth(full: bool) -> Depth {
    match full {
        true => Depth::Whole,
        false => Depth::Heads { every: SAMPLE },
    }
}

/// The process as the operator sees it.
pub struct Operator {
    /// The data directory.
    pub data: PathBuf,
    /// The settings in force.
    pub settings: InForce,
    /// Time.
    pub clock: SharedClock,
    /// Cameras and users.
    pub registry: Arc<Registry>,
    /// Segments.
    pub store: Store,
    /// What went for room.
    pub swept: SweepState,
    /// What recordings take.
    pub usage: Usage,
    /// What the daily look at the store found last.
    pub daily: Daily,
    /// The spool.
    pub archive: moorline_archiver::Archive,
    /// What cameras are doing.
    pub statuses: Arc<dyn Statuses>,
    /// Who is told.
    pub notifier: Arc<dyn Notifier>,
    /// Changes what is logged; `None` while no server runs.
    pub log: Option<LogHandle>,
    /// What doctor knows of the running server.
    pub facts: Facts,
    /// Releases of the on-camera agent.
    pub shelf: Arc<Shelf>,
}

impl Operator {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.clock.wall_ms())
    }

    /// Where recordings of a camera lie: all of it, or none. A registry that does not know yet searches first.
    async fn used(&self, camera: &CameraId) -> Result<Vec<UsedClass>, Problem> {
        let used = self.registry.used_classes();
        match classes::search_soon(&*self.store.read, &used).await {
            Ok(()) => Ok(used.of(camera)),
            Err(SearchError::Store(error)) => Err(error.into()),
            Err(SearchError::Registry(error)) => Err(error.into()),
        }
    }
}

/// What recordings may use at most: their share of the disk, and no more than leaves free what is to stay so. They have `used` already.
fn bound(disk: DiskSpace, used: u64, archive: &settings::Archive) -> u64 {
    let share = disk.total / 100 * u64::from(archive.disk_percent);
    let room = used + disk.available.saturating_sub(archive.disk_free.bytes());
    share.min(room)
}

#[async_trait]
impl Operations for Operator {
    fn disk(&self) -> Option<DiskView> {
        let space = self.usage.space()?;
        let settings = self.settings.get();
        let archive = &settings.archive;
        let used = self.usage.bytes();
        Some(DiskView {
            total: space.total,
            free: space.available,
            bound: bound(space, used, archive),
            used,
        })
    }

    fn host_guessed(&self) -> bool {
        self.facts.host_guessed
    }

    fn retention(&self) -> Option<Retention> {
        Some(site::retention(&self.settings.get()))
    }

    fn next_host_keys(&self) -> Option<Vec<String>> {
        match next::next(&self.data) {
            Ok(keys) => Some(keys.iter().map(super::pins::base64).collect()),
            Err(error) => {
                tracing::warn!(%error, "the next host keys are told to nobody");
                None
            }
        }
    }

    fn expired_before(&self, camera: &Camera) -> Timestamp {
        self.swept.expired_before([camera.retention], self.now())
    }

    async fn verify(
        &self,
        camera: &CameraId,
        wanted: Option<Tier>,
        range: TimeRange,
        full: bool,
    ) -> Result<VerifyView, Problem> {
        let used = self.used(camera).await?;
        let mut whole = VerifyView::default();
        for tier in Tier::ALL {
            let classes: Vec<Retention> = used
                .iter()
                .filter(|class| class.tier == tier && tier == wanted.unwrap_or(tier))
                .map(|class| class.retention)
                .collect();
            if classes.is_empty() {
                continue;
            }
            let request = verify::Request {
                camera,
                classes: &classes,
                tier,
                range,
                depth: depth(full),
                spool: Some(&self.archive),
                digests: self.store.digests.as_deref(),
            };
            let report = verify::verify(&*self.store.read, &request).await?;
            report.mark(&*self.store.markers).await?;
            add(&mut whole, camera, &report);
        }
        Ok(whole)
    }

    async fn erase(&self, camera: &CameraId) -> Result<u64, Problem> {
        // Held until all is done: a recorder that began meanwhile would leave what nobody finds any more.
        let _erased = self
            .archive
            .erase(camera)
            .await
            .map_err(|error| Problem::internal(&error))?;
        let used = self.used(camera).await?;
        let classes: BTreeSet<Retention> = used.iter().map(|class| class.retention).collect();
        let mut erased = 0;
        // As fast as the store: the caller waits.
        let pace = Pace::new(0, Arc::clone(&self.clock), CancellationToken::new());
        for class in classes {
            erased += erase_prefix(&*self.store.read, &camera_prefix(camera, class), &pace).await?;
        }
        self.registry.used_classes().forget(camera).await?;
        Ok(erased)
    }

    async fn alert_test(&self) -> Vec<AlertResult> {
        let alarm = Alarm {
            tenant: TenantId::home(),
            at: self.now(),
            kind: AlarmKind::Test,
        };
        let told = self
            .notifier
            .tell(&alarm)
            .await
            .into_iter()
            .map(|result| match result {
                Ok(channel) => AlertResult {
                    channel: channel.to_owned(),
                    error: None,
                },
                Err(error) => AlertResult {
                    channel: error.channel.to_owned(),
                    error: Some(error.why),
                },
            });
        told.collect()
    }

    async fn doctor(&self) -> Vec<DoctorFinding> {
        doctor::examine(self).await
    }

    async fn backup(&self) -> Result<Bytes, Problem> {
        // A name of its own: two backups at once do not spoil each other.
        let copy = self
            .data
            .join(format!("backup-{:016x}.part", rand::random::<u64>()));
        let packed = async {
            self.registry
                .export(&copy)
                .await
                .map_err(|error| Problem::internal(&error))?;
            let (data, copy) = (self.data.clone(), copy.clone());
            tokio::task::spawn_blocking(move || backup::pack(&data, &copy))
                .await
                .map_err(|error| Problem::internal(&error))?
                .map_err(|error| Problem::internal(&format!("{error:#}")))
        };
        let packed = packed.await;
        let _ = std::fs::remove_file(&copy);
        packed.map(Bytes::from)
    }

    fn backup_done(&self) {
        let stamp = self.now().to_string();
        if let Err(error) = write_atomic(
            &self.data.join(backup::MARK),
            stamp.as_bytes(),
            Access::Private,
        ) {
            tracing::warn!(%error, "cannot note that a backup was made");
        }
    }

    fn set_log(&self, filter: &str) -> Result<(), Problem> {
        set_log(self.log.as_ref(), filter)
    }

    async fn agent_releases(&self) -> Result<Vec<AgentReleaseView>, Problem> {
        let all = self.shelf.all();
        Ok(all
            .iter()
            .map(|(name, held)| self.release(name, held))
            .collect())
    }

    async fn add_agent_release(&self, file: Vec<u8>) -> Result<AgentReleaseView, Problem> {
        let shelf = Arc::clone(&self.shelf);
        let name = tokio::task::spawn_blocking(move || shelf.add(&file)).await;
        let name = name
            .map_err(|error| Problem::internal(&error))?
            .map_err(|error| no_release(&error))?;
        self.one_release(&name)
    }

    async fn roll_out(
        &self,
        target: &str,
        version: &str,
        to: &str,
    ) -> Result<AgentReleaseView, Problem> {
        let stage = Stage::asked(to)?;
        let unknown = || Problem::unknown("release of the agent");
        let version = moorline_control::Version::new(version).ok_or_else(unknown)?;
        let name = (target.to_owned(), version);
        self.one_release(&name)?;
        let (shelf, of) = (Arc::clone(&self.shelf), name.clone());
        tokio::task::spawn_blocking(move || shelf.set_stage(&of, stage))
            .await
            .map_err(|error| Problem::internal(&error))?
            .map_err(|error| Problem::internal(&error))?;
        self.one_release(&name)
    }
}

impl Operator {
    fn one_release(&self, name: &Name) -> Result<AgentReleaseView, Problem> {
        let all = self.shelf.all();
        let held = all.iter().find(|(known, _)| known == name);
        held.map(|(name, held)| self.release(name, held))
            .ok_or_else(|| Problem::unknown("release of the agent"))
    }

    fn release(&self, (target, version): &Name, held: &Held) -> AgentReleaseView {
        let progress = &held.progress;
        let has_it = |camera: &&CameraId| {
            let status = self.statuses.get(camera);
            let seen = status.as_ref().and_then(rollout::seen);
            seen.is_some_and(|seen| seen.agent == *version)
        };
        let names =
            |cameras: &BTreeSet<CameraId>| cameras.iter().map(ToString::to_string).collect();
        AgentReleaseView {
            target: target.clone(),
            version: version.to_string(),
            bytes: held.release.file.len() as u64,
            roll_out: progress.stage.to_string(),
            stopped: progress.stopped.clone(),
            cameras: names(&progress.begun),
            updated: progress
                .begun
                .iter()
                .filter(has_it)
                .map(ToString::to_string)
                .collect(),
            failed: names(&progress.failed),
        }
    }
}

/// Why a release of the agent is not taken.
pub(crate) fn no_release(error: &anyhow::Error) -> Problem {
    let title = moorline_base::error::report(error.as_ref());
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "release", title).field("release")
}

/// Changes what is logged; without a handle no server runs.
pub(crate) fn set_log(log: Option<&LogHandle>, filter: &str) -> Result<(), Problem> {
    let no_server = Problem::new(
        StatusCode::CONFLICT,
        "no_server",
        "no server runs whose log could change",
    );
    let log = log.ok_or(no_server)?;
    log.set(filter).map_err(|error| {
        let hint = error
            .hint()
            .unwrap_or("write info, or info,moorline_tunnel=debug");
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "filter",
            error.to_string(),
        )
        .field("filter")
        .hint(hint)
    })?;
    tracing::info!(filter, "what is logged has changed");
    Ok(())
}

/// Adds what was found of one tier.
pub(crate) fn add(whole: &mut VerifyView, camera: &CameraId, report: &verify::Report) {
    whole.objects += report.segments + report.gaps;
    whole.read += report.read;
    let found = report.findings.iter();
    whole
        .findings
        .extend(found.map(|finding| told(camera, finding)));
}

fn told(camera: &CameraId, finding: &Finding) -> VerifyFinding {
    let (kind, key, why) = match finding {
        Finding::Lost {
            take, first, last, ..
        } => (
            "lost",
            format!("take {take}, {first} to {last}"),
            "the store has lost it".to_owned(),
        ),
        Finding::StillLost { key, .. } => (
            "lost",
            key.clone(),
            "the store had lost it by an earlier verify".to_owned(),
        ),
        Finding::Unreadable { key } => (
            "lost",
            key.clone(),
            "it is listed, but cannot be read".to_owned(),
        ),
        Finding::Torn { key, why } => {
            let why = match why {
                Torn::Empty => "it has no bytes",
                Torn::NoInit => "it does not begin as a segment does",
                Torn::Cut => "its end is cut off, or bytes in it are spoiled",
                Torn::Spoiled => "bytes of it are spoiled: the checksum of a fragment is another",
            };
            ("damaged", key.clone(), why.to_owned())
        }
        Finding::Spoiled { key } => (
            "damaged",
            key.clone(),
            "its bytes are not those that were stored".to_owned(),
        ),
    };
    let range = match finding {
        Finding::Lost { range, .. } | Finding::StillLost { range, .. } => Some(range),
        _ => None,
    };
    VerifyFinding {
        camera: camera.to_string(),
        kind: kind.to_owned(),
        key,
        why,
        from: range.map(|range| range.from),
        to: range.map(|range| range.to),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_80_percent_of_the_disk_or_what_leaves_5_gib_free() {
        const GIB: u64 = 1 << 30;
        let archive = settings::Settings::default().archive;
        let shown = |available: u64, used: u64| {
            let disk = DiskSpace {
                total: 100 * GIB,
                available: available * GIB,
            };
            bound(disk, used * GIB, &archive) / GIB
        };
        assert_eq!(shown(95, 0), 80);
        assert_eq!(shown(40, 50), 80, "others have a tenth of the disk");
        assert_eq!(shown(10, 50), 55, "others have nearly half of it");
        assert_eq!(shown(5, 50), 50, "no room for more");
    }
}
