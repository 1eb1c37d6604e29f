//! Releases of the agent, as whoever types `moorline agent-release … --cluster` may change them: by their own rights to the ConfigMaps of the installation's
//! namespace. How far each is on cameras stands in the status of the Cameras.

use std::sync::Arc;

use async_trait::async_trait;
use axum::http::StatusCode;
use bytes::Bytes;
use moorline_base::error::Hinted;
use moorline_control::Version;
use moorline_core::camera::Camera;
use moorline_core::segment::Tier;
use moorline_core::{CameraId, TimeRange, Timestamp};
use moorline_kube::{
    Cache, Fault, Going, KubeReleases, ReleaseName, Rollouts, StoredRelease, UpgradeState,
    upgrades_in,
};
use moorline_web::Operations;
use moorline_web::api::{AgentReleaseView, AlertResult, DiskView, DoctorFinding, VerifyView};
use moorline_web::problem::Problem;

use crate::absent::Absent;
use crate::agents::plan::Stage;
use crate::agents::release;
use crate::agents::shelf::{MOST, another, full};
use crate::serve::operations::no_release;

/// What the routes do with releases. Everything else of an installation is [`Absent`].
pub(super) struct Releases {
    kube: KubeReleases,
    cameras: Cache,
}

impl Releases {
    /// Those of an installation, over the cameras that were read.
    pub(super) fn new(kube: KubeReleases, cameras: Cache) -> Self {
        Self { kube, cameras }
    }

    fn failed(&self, fault: &Fault) -> Problem {
        let namespace = self.kube.namespace();
        let (status, kind, hint) = match fault {
            Fault::Forbidden(_) => (
                StatusCode::FORBIDDEN,
                "forbidden",
                format!(
                    "it takes the right to get, list, create and update ConfigMaps in the namespace {namespace}"
                ),
            ),
            Fault::Missing => (
                StatusCode::NOT_FOUND,
                "namespace",
                format!(
                    "is {namespace} the namespace of the installation? --namespace names another one"
                ),
            ),
            _ => (
                StatusCode::SERVICE_UNAVAILABLE,
                "api_server",
                format!("kubectl -n {namespace} get configmaps has to work"),
            ),
        };
        Problem::new(status, kind, fault.to_string()).hint(hint)
    }

    /// In another namespace everything could be made, and nobody would read it.
    async fn must_be_installed(&self) -> Result<(), Problem> {
        let installed = self.kube.is_installed().await;
        match installed.map_err(|fault| self.failed(&fault))? {
            true => Ok(()),
            false => Err(Problem::invalid(
                "--namespace",
                self.kube.namespace(),
                format!(
                    "no installation of Moorline is there: kubectl get configmaps --all-namespaces -l {} shows where one is",
                    KubeReleases::SETTINGS
                ),
            )),
        }
    }

    async fn stored(&self) -> Result<Vec<StoredRelease>, Problem> {
        let stored = self.kube.stored().await;
        stored.map_err(|fault| self.failed(&fault))
    }

    /// The releases that are here, and how far each was before that was asked: what goes since then, another operator has brought and let go meanwhile.
    async fn known(&self) -> Result<(Vec<StoredRelease>, Arc<Rollouts>), Problem> {
        self.must_be_installed().await?;
        self.load().await?;
        let before = self.kube.all();
        Ok((self.stored().await?, before))
    }

    async fn one(&self, name: &ReleaseName) -> Result<AgentReleaseView, Problem> {
        let stored = self.stored().await?;
        let found = stored.iter().find(|release| release.name == *name);
        let found = found.ok_or_else(unknown)?;
        self.load().await?;
        Ok(self.view(found))
    }

    async fn load(&self) -> Result<(), Problem> {
        let loaded = self.kube.load().await;
        loaded.map_err(|fault| self.failed(&fault))
    }

    fn view(&self, release: &StoredRelease) -> AgentReleaseView {
        let going = self.kube.all().get(&release.name).cloned();
        let Going {
            stage,
            part,
            stopped,
            ..
        } = going.unwrap_or_default();
        let stopped = stopped.or_else(|| {
            let part = part?;
            Some(format!("for tenant {} alone: {}", part.tenant, part.why))
        });
        let upgrades = upgrades_in(&self.cameras);
        let names = |wanted: &dyn Fn(UpgradeState) -> bool| -> Vec<String> {
            let of = upgrades
                .iter()
                .filter(|(_, upgrade)| upgrade.of(&release.name).is_some_and(wanted));
            of.map(|(camera, _)| camera.to_string()).collect()
        };
        AgentReleaseView {
            target: release.name.target.clone(),
            version: release.name.version.clone(),
            bytes: release.bytes,
            roll_out: stage,
            stopped,
            cameras: names(&UpgradeState::has_place),
            updated: names(&|state| state == UpgradeState::Updated),
            failed: names(&|state| state == UpgradeState::RolledBack),
        }
    }
}

fn has(stored: &[StoredRelease], name: &ReleaseName) -> bool {
    stored.iter().any(|release| release.name == *name)
}

/// Whoever removed a release removed its ConfigMap alone. Only what went before the releases were listed can be one of those.
fn forget_removed(all: &mut Rollouts, before: &Rollouts, stored: &[StoredRelease]) {
    all.retain(|name, _| has(stored, name) || !before.contains_key(name));
}

fn unknown() -> Problem {
    Problem::unknown("release of the agent")
}

fn refused(error: Hinted) -> Problem {
    no_release(&error.into())
}

#[async_trait]
impl Operations for Releases {
    fn disk(&self) -> Option<DiskView> {
        Absent.disk()
    }

    fn expired_before(&self, camera: &Camera) -> Timestamp {
        Absent.expired_before(camera)
    }

    async fn verify(
        &self,
        camera: &CameraId,
        tier: Option<Tier>,
        range: TimeRange,
        full: bool,
    ) -> Result<VerifyView, Problem> {
        Absent.verify(camera, tier, range, full).await
    }

    async fn erase(&self, camera: &CameraId) -> Result<u64, Problem> {
        Absent.erase(camera).await
    }

    async fn alert_test(&self) -> Vec<AlertResult> {
        Absent.alert_test().await
    }

    async fn doctor(&self) -> Vec<DoctorFinding> {
        Absent.doctor().await
    }

    async fn backup(&self) -> Result<Bytes, Problem> {
        Absent.backup().await
    }

    fn backup_done(&self) {}

    fn set_log(&self, filter: &str) -> Result<(), Problem> {
        Absent.set_log(filter)
    }

    async fn agent_releases(&self) -> Result<Vec<AgentReleaseView>, Problem> {
        self.must_be_installed().await?;
        let mut stored = self.stored().await?;
        stored.sort_by_key(|StoredRelease { name, .. }| {
            (name.target.clone(), Version::new(&name.version))
        });
        self.load().await?;
        Ok(stored.iter().map(|release| self.view(release)).collect())
    }

    async fn add_agent_release(&self, file: Vec<u8>) -> Result<AgentReleaseView, Problem> {
        let release = release::read(&file).map_err(|error| no_release(&error))?;
        if file.len() > KubeReleases::LARGEST {
            return Err(refused(Hinted::new(
                format!(
                    "{} bytes are more than a cluster keeps of an agent ({})",
                    file.len(),
                    KubeReleases::LARGEST
                ),
                "strip the program of its symbols before it is signed: cargo xtask dist does",
            )));
        }
        let name = ReleaseName {
            target: release.target,
            version: release.version,
        };
        let (stored, before) = self.known().await?;
        if !has(&stored, &name) {
            if stored.len() >= MOST {
                return Err(refused(full(format!(
                    "remove old ones: kubectl -n {} get configmaps -l moorline.dev/agent-release",
                    self.kube.namespace()
                ))));
            }
            // How far one of this name was that somebody removed: a new one rests.
            let forgotten = self.kube.change(|all| {
                let count = all.len();
                forget_removed(all, &before, &stored);
                all.len() < count
            });
            match forgotten.await {
                Ok(_) | Err(Fault::Missing) => {}
                Err(fault) => return Err(self.failed(&fault)),
            }
        }
        let kept = StoredRelease {
            bytes: release.file.len() as u64,
            name,
        };
        let (name, keeping) = (&kept.name, self.kube.keep(&kept, file).await);
        if !keeping.map_err(|fault| self.failed(&fault))? {
            return Err(refused(another(&name.target, &name.version)));
        }
        self.one(name).await
    }

    async fn roll_out(
        &self,
        target: &str,
        version: &str,
        to: &str,
    ) -> Result<AgentReleaseView, Problem> {
        let stage = Stage::asked(to)?;
        let name = ReleaseName {
            target: target.to_owned(),
            version: version.to_owned(),
        };
        let (stored, before) = self.known().await?;
        if !has(&stored, &name) {
            return Err(unknown());
        }
        let begun = self.kube.begin().await;
        begun.map_err(|fault| self.failed(&fault))?;
        let set = self.kube.change(|all| {
            forget_removed(all, &before, &stored);
            let one = all.entry(name.clone()).or_default();
            one.begin(stage.to_string());
            // Nobody waits for the trial of a camera that was removed.
            let is_there = |first: &CameraId| self.cameras.camera(first).is_some();
            one.first = one.first.take().filter(is_there);
            // Of one target one release goes at a time.
            let others = all.iter_mut().filter(|(other, _)| {
                stage != Stage::Off && other.target == name.target && **other != name
            });
            others.for_each(|(_, going)| going.stage = Stage::Off.to_string());
            true
        });
        set.await.map_err(|fault| self.failed(&fault))?;
        self.one(&name).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_that_another_operator_lets_go_meanwhile_is_not_taken_for_a_removed_one() {
        let name = |version: &str| ReleaseName {
            target: "mipsel".to_owned(),
            version: version.to_owned(),
        };
        let going = |versions: &[&str]| -> Rollouts {
            let all = versions.iter();
            all.map(|version| (name(version), Going::default()))
                .collect()
        };
        let stored = [StoredRelease {
            name: name("0.2.0"),
            bytes: 1,
        }];
        let before = going(&["0.1.0", "0.2.0"]);
        let mut all = going(&["0.1.0", "0.2.0", "0.3.0"]);
        forget_removed(&mut all, &before, &stored);
        assert_eq!(all, going(&["0.2.0", "0.3.0"]), "0.1.0 was removed");
    }
}
