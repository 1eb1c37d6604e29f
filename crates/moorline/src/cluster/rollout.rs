//! Brings releases of the agent onto the cameras whose tunnels this replica holds.
//!
//! ```text
//! KubeReleases (stage, first camera, stop) ─ watch ─▶ look, once a second ─ offer ─▶ monitor ─▶ agent
//!       ▲── first camera, refusals, roll-back ────────────┤  ▲── what agents say ── monitor
//!                       KubeUpgrades (who was offered it) ◀┘
//! ```
//! Which cameras a stage is for is [`crate::agents::share`]'s to say, who of them waits is [`crate::agents::plan`]'s, as in `serve`. A camera is offered
//! nothing before that stands in its status: whichever replica hears that it took the release back knows then that it had a place. **Owns** the order of
//! these steps: the stop is written before the camera's own end is, so that a replica that dies between the two leaves a word that counts anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use moorline_base::clock::sleep;
use moorline_base::{CancellationToken, SharedClock};
use moorline_control::Version;
use moorline_core::CameraId;
use moorline_core::port::{AgentRelease, AgentUpgrades, Notifier, Statuses};
use moorline_kube::{
    Fault, Going, HeldCamera, KubeReleases, KubeUpgrades, ReleaseName, UpgradeState,
};

use crate::agents::plan::{self, Progress, Seen, Stage, Tries};
use crate::agents::{release, rollout, share};

/// As in `serve`: an upgrade takes minutes.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After a fault, most often of the API server.
const LOOK_LATER: Duration = Duration::from_secs(5);

/// The roll-out of one replica.
pub(super) struct ClusterRollout {
    pub(super) releases: KubeReleases,
    pub(super) upgrades: KubeUpgrades,
    pub(super) statuses: Arc<dyn Statuses>,
    pub(super) offers: Arc<dyn AgentUpgrades>,
    pub(super) notifier: Arc<dyn Notifier>,
    pub(super) clock: SharedClock,
}

/// What this process remembers of a release.
#[derive(Default)]
struct Local {
    tries: Tries,
    /// Cameras that are left alone: they refused it, or say that it failed on them and had no place.
    left_alone: BTreeSet<CameraId>,
    /// Its bytes, while a camera here waits for them.
    file: Option<Arc<AgentRelease>>,
    /// Cameras here whose status could not be written, and why, as it was logged.
    unwritten: BTreeMap<CameraId, Fault>,
    /// None of them in this look.
    all_written: bool,
    /// Why it waits, as it was logged: that lasts, where the release was removed.
    told: Option<Fault>,
}

impl Local {
    /// Whoever changes a Camera without an end, or a policy that refuses it, keeps its own from the release, and no other.
    fn not_written(&mut self, name: &ReleaseName, camera: &CameraId, fault: Fault) {
        self.all_written = false;
        if self.unwritten.get(camera) != Some(&fault) {
            let (target, version) = (&name.target, &name.version);
            tracing::warn!(%camera, %target, %version, %fault, "a release waits for this camera, whose status cannot be written");
            self.unwritten.insert(camera.clone(), fault);
        }
    }
}

/// A camera of this replica, and what its agent says.
type Camera = (HeldCamera, Seen);

impl ClusterRollout {
    /// Until `stop` is cancelled. Transfers that are under way then go on by the next session's offer, at whichever replica.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut local = BTreeMap::new();
        loop {
            let well = tokio::select! {
                () = stop.cancelled() => return,
                well = self.look(&mut local, &stop) => well,
            };
            let pause = if well { LOOK_EVERY } else { LOOK_LATER };
            if sleep(&*self.clock, pause, &stop).await.is_cancelled() {
                return;
            }
        }
    }

    /// Looks at all releases; `false`: something was not done, and is tried again.
    async fn look(
        &self,
        local: &mut BTreeMap<ReleaseName, Local>,
        stop: &CancellationToken,
    ) -> bool {
        let all = self.releases.all();
        local.retain(|name, _| all.contains_key(name));
        if all.is_empty() {
            return true;
        }
        let held = self.upgrades.held().into_iter();
        let held = held.filter_map(|held| {
            let status = self.statuses.get(&held.camera)?;
            let seen = rollout::seen(&status)?;
            Some((held, seen))
        });
        let held: Vec<Camera> = held.collect();
        let mut well = true;
        for name in all.keys() {
            let ours: Vec<&Camera> = held
                .iter()
                .filter(|(_, seen)| seen.target == name.target)
                .collect();
            let local = local.entry(name.clone()).or_default();
            let is_here = |camera: &CameraId| ours.iter().any(|(held, _)| held.camera == *camera);
            local.unwritten.retain(|camera, _| is_here(camera));
            local.all_written = true;
            let fault = self.one(name, local, &ours, stop).await.err();
            if let Some(fault) = &fault
                && local.told.as_ref() != Some(fault)
            {
                let (target, version) = (&name.target, &name.version);
                tracing::warn!(%target, %version, %fault, "the roll-out of a release waits");
            }
            well &= fault.is_none() && local.all_written;
            local.told = fault;
        }
        well
    }

    async fn one(
        &self,
        name: &ReleaseName,
        local: &mut Local,
        ours: &[&Camera],
        stop: &CancellationToken,
    ) -> Result<(), Fault> {
        let version = Version::new(&name.version)
            .ok_or_else(|| Fault::Invalid("its version is not a.b.c".to_owned()))?;
        let mut heard = false;
        for camera in ours {
            heard |= self.heard(name, version, camera, local, stop).await?;
        }
        if heard {
            // What was looked at has changed.
            return Ok(());
        }
        let (going, stage) = self.going(name)?;
        if !going.goes() {
            local.file = None;
            return Ok(());
        }
        let ours = ours.iter().copied();
        let ours: Vec<&Camera> = ours
            .filter(|(held, _)| going.goes_to(held.camera.tenant()))
            .collect();
        let about = (name.target.as_str(), version);
        let mut seen: Vec<Seen> = ours.iter().map(|(_, seen)| seen.clone()).collect();
        let mut progress = Progress {
            failed: local.left_alone.clone(),
            ..Progress::default()
        };
        // At no stage the plan only notes who says that it failed and had no place.
        for (held, _) in &ours {
            match state(held, name) {
                Some(state) if state.has_place() => progress.begun.insert(held.camera.clone()),
                Some(UpgradeState::RolledBack) => progress.failed.insert(held.camera.clone()),
                _ => false,
            };
        }
        plan::next(about, &mut progress, &mut local.tries, &seen);
        local.left_alone.clone_from(&progress.failed);
        // Whoever is not in the stage is not shown to it: the others are all to have it.
        progress.stage = Stage::All;
        if going.first.is_none() && share::names_one(stage) {
            let waiting = plan::waiting(about, &progress, &local.tries, &seen);
            if let Some(camera) = waiting.into_iter().next() {
                self.name_first(name, &going, camera).await?;
            }
        }
        let (going, stage) = self.going(name)?;
        seen.retain(|seen| {
            let camera = &seen.camera;
            progress.begun.contains(camera)
                || share::is_in(stage, version, camera, going.first.as_ref())
        });
        let waiting = plan::waiting(about, &progress, &local.tries, &seen);
        if waiting.is_empty() {
            local.file = None;
            return Ok(());
        }
        // A few whose status cannot be written would be all that are tried, and come behind all others.
        let is_unwritten = |camera: &CameraId| local.unwritten.contains_key(camera);
        if !waiting.iter().all(is_unwritten) {
            seen.retain(|seen| !is_unwritten(&seen.camera));
        }
        let file = match &local.file {
            Some(file) => Arc::clone(file),
            None => Arc::clone(local.file.insert(self.fetch(name).await?)),
        };
        let decision = plan::next(about, &mut progress, &mut local.tries, &seen);
        for (place, camera) in decision.offer.iter().enumerate() {
            match self.offer(name, camera, &ours, &file).await {
                Ok(()) => {
                    local.unwritten.remove(camera);
                }
                Err(fault) if is_elsewhere(&fault) => local.tries.not_offered(camera),
                Err(fault) if is_its_own(&fault) => {
                    local.tries.not_offered(camera);
                    local.not_written(name, camera, fault);
                }
                Err(fault) => {
                    let rest = decision.offer.iter().skip(place);
                    rest.for_each(|camera| local.tries.not_offered(camera));
                    return Err(fault);
                }
            }
        }
        Ok(())
    }

    /// How far a release is, as it is known now.
    fn going(&self, name: &ReleaseName) -> Result<(Going, Stage), Fault> {
        let going = self.releases.all().get(name).cloned().unwrap_or_default();
        let stage = going.stage.parse::<Stage>().map_err(|expected| {
            Fault::Invalid(format!("its stage is {:?}, not {expected}", going.stage))
        })?;
        Ok((going, stage))
    }

    /// What the agent of a camera with a place says of it; `true`: that changed something.
    async fn heard(
        &self,
        name: &ReleaseName,
        version: Version,
        (held, seen): &Camera,
        local: &mut Local,
        stop: &CancellationToken,
    ) -> Result<bool, Fault> {
        let Some(state) = state(held, name).filter(|state| state.has_place()) else {
            return Ok(false);
        };
        let became = if seen.agent == version {
            (state == UpgradeState::Offered).then_some(UpgradeState::Updated)
        } else if seen.agent < version && seen.rolled_back == Some(version) {
            if self.stop(name, &held.camera).await? {
                let camera = held.camera.clone();
                rollout::tell(&self.notifier, &self.clock, camera, version, stop);
            }
            Some(UpgradeState::RolledBack)
        } else if let Some(field) = seen.refused.as_deref()
            && seen.offered == Some(version)
        {
            self.refused(name, &held.camera, field).await?;
            local.left_alone.insert(held.camera.clone());
            Some(UpgradeState::Refused)
        } else {
            None
        };
        let Some(became) = became else {
            return Ok(false);
        };
        match self.upgrades.write(held, name, became).await {
            Ok(()) => {
                local.unwritten.remove(&held.camera);
                Ok(true)
            }
            // Whoever holds it by now hears the same.
            Err(fault) if is_elsewhere(&fault) => Ok(true),
            // As with an offer. What it says for all is written already.
            Err(fault) if is_its_own(&fault) => {
                local.not_written(name, &held.camera, fault);
                Ok(false)
            }
            Err(fault) => Err(fault),
        }
    }

    /// Stops a release for the camera's tenant, or for all; `false`: it rests, or has stopped there before.
    async fn stop(&self, name: &ReleaseName, camera: &CameraId) -> Result<bool, Fault> {
        let stopped = self.releases.change(|all| match all.get_mut(name) {
            Some(going) if going.goes_to(camera.tenant()) => {
                going.stop_for(camera.tenant(), plan::took_back(camera));
                true
            }
            _ => false,
        });
        stopped.await
    }

    /// Passes its place on, and counts it.
    async fn refused(
        &self,
        name: &ReleaseName,
        camera: &CameraId,
        field: &str,
    ) -> Result<(), Fault> {
        tracing::warn!(%camera, version = %name.version, field, "the camera's agent refuses the release");
        let counted = self.releases.change(|all| {
            let Some(going) = all.get_mut(name) else {
                return false;
            };
            let before = going.clone();
            if going.first.as_ref() == Some(camera) {
                going.first = None;
            }
            if going.goes_to(camera.tenant()) && plan::counts(field) {
                let why = plan::refused_by_many(field);
                going.refused_by(camera, plan::REFUSALS, why);
            }
            *going != before
        });
        counted.await.map(|_| ())
    }

    /// Names the first camera, unless another replica has named one.
    async fn name_first(
        &self,
        name: &ReleaseName,
        seen: &Going,
        camera: CameraId,
    ) -> Result<(), Fault> {
        let named = self.releases.change(|all| match all.get_mut(name) {
            Some(going) if *going == *seen => {
                going.first = Some(camera.clone());
                true
            }
            _ => false,
        });
        named.await.map(|_| ())
    }

    /// Writes that a camera has a place, and offers it.
    async fn offer(
        &self,
        name: &ReleaseName,
        camera: &CameraId,
        ours: &[&Camera],
        file: &Arc<AgentRelease>,
    ) -> Result<(), Fault> {
        let held = ours.iter().find(|(held, _)| held.camera == *camera);
        let Some((held, _)) = held else {
            return Ok(());
        };
        if !state(held, name).is_some_and(UpgradeState::has_place) {
            let written = self.upgrades.write(held, name, UpgradeState::Offered);
            written.await?;
        }
        if let Err(error) = self.offers.offer(camera, file) {
            tracing::info!(%camera, %error, "the upgrade is offered again in the next session");
        }
        Ok(())
    }

    async fn fetch(&self, name: &ReleaseName) -> Result<Arc<AgentRelease>, Fault> {
        let file = self.releases.fetch(name).await;
        let file = file.map_err(|fault| match fault {
            Fault::Missing => Fault::Invalid(
                "its ConfigMap was removed: moorline agent-release add brings it back, to rest"
                    .to_owned(),
            ),
            fault => fault,
        })?;
        let release = release::read(&file)
            .map_err(|error| Fault::Invalid(format!("the release is damaged: {error:#}")))?;
        if release.target != name.target || release.version != name.version {
            return Err(Fault::Invalid("the release is another one".to_owned()));
        }
        Ok(Arc::new(release))
    }
}

/// What became of a release on a camera.
fn state(held: &HeldCamera, name: &ReleaseName) -> Option<UpgradeState> {
    held.upgrade.as_ref()?.of(name)
}

/// Another replica holds the camera by now, or it was removed.
fn is_elsewhere(fault: &Fault) -> bool {
    matches!(fault, Fault::Conflict | Fault::Missing)
}

/// A fault of one object, and not of the way to all of them.
fn is_its_own(fault: &Fault) -> bool {
    !matches!(fault, Fault::Unknown(_))
}

#[cfg(test)]
mod tests;
