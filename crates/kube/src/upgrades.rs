//! Which cameras were offered a release of the on-camera agent, in the status of their Cameras: so a camera keeps its place whichever replica it calls, and
//! what it says of the release counts, or not, at each of them.
//!
//! It costs two writes in a release's life of a camera: when it is offered, and when it is known what became of it.

use moorline_core::{CameraId, Generation};

use crate::cache::Cache;
use crate::call::Fault;
use crate::releases::ReleaseName;
use crate::resource::{AgentUpgrade, Newer};
use crate::status::StatusWriter;

/// What became of a release on a camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpgradeState {
    /// It was offered.
    Offered,
    /// The camera runs it.
    Updated,
    /// It failed there.
    RolledBack,
    /// The camera's agent does not take it.
    Refused,
}

impl UpgradeState {
    const ALL: [Self; 4] = [
        Self::Offered,
        Self::Updated,
        Self::RolledBack,
        Self::Refused,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Offered => "offered",
            Self::Updated => "updated",
            Self::RolledBack => "rolledBack",
            Self::Refused => "refused",
        }
    }

    /// Whether such a camera has a place in the roll-out.
    pub fn has_place(self) -> bool {
        matches!(self, Self::Offered | Self::Updated)
    }
}

impl AgentUpgrade {
    /// What became of this release; `None`: the camera was offered another one last.
    pub fn of(&self, name: &ReleaseName) -> Option<UpgradeState> {
        let is_it = self.target == name.target && self.version == name.version;
        let mut all = UpgradeState::ALL.into_iter();
        all.find(|state| is_it && state.as_str() == self.state)
    }
}

/// A camera whose tunnel this replica holds.
#[derive(Debug, Clone)]
pub struct HeldCamera {
    /// The camera.
    pub camera: CameraId,
    /// Under which claim.
    pub generation: Generation,
    /// The release that it was offered last.
    pub upgrade: Option<AgentUpgrade>,
}

/// The cameras of this replica, and the releases that they were offered.
#[derive(Debug, Clone)]
pub struct KubeUpgrades {
    writer: StatusWriter,
}

impl KubeUpgrades {
    /// Of the cameras that `writer`'s replica holds.
    pub fn new(writer: StatusWriter) -> Self {
        Self { writer }
    }

    /// The cameras whose tunnels are held here. Before a claim is written nothing can be kept of its camera.
    pub fn held(&self) -> Vec<HeldCamera> {
        let all = self.writer.owned().all().into_iter();
        all.filter(|(_, own)| own.session.is_some() && !own.released && !own.provisional)
            .filter_map(|(camera, own)| {
                let known = self.writer.cache().camera_by_uid(&camera, &own.uid)?;
                let status = known.object.status.as_ref();
                Some(HeldCamera {
                    generation: own.generation,
                    upgrade: status.and_then(|status| status.upgrade.clone()),
                    camera,
                })
            })
            .collect()
    }

    /// Writes what became of a release on a camera.
    ///
    /// # Errors
    /// [`Fault`]; it is held by another replica by now, or the definitions of the cluster do not know the field.
    pub async fn write(
        &self,
        held: &HeldCamera,
        name: &ReleaseName,
        state: UpgradeState,
    ) -> Result<(), Fault> {
        let before = held.upgrade.as_ref();
        let upgrade = AgentUpgrade {
            target: name.target.clone(),
            version: name.version.clone(),
            state: state.as_str().to_owned(),
            newer: before.map_or_else(Newer::new, |before| before.newer.clone()),
        };
        let put = self
            .writer
            .put_own(&held.camera, held.generation, |status| {
                status.upgrade = Some(upgrade.clone());
            });
        put.await?;
        let known = self.writer.cache().camera(&held.camera);
        // Removed since then.
        let known = known.ok_or(Fault::Missing)?;
        let status = known.object.status.as_ref();
        let kept = status.and_then(|status| status.upgrade.as_ref());
        if kept.and_then(|kept| kept.of(name)).is_none() {
            return Err(Fault::Invalid(
                "the definition of Cameras keeps no status.upgrade: helm upgrade moorline-crds"
                    .into(),
            ));
        }
        Ok(())
    }
}

/// The release that each camera was offered last.
pub fn upgrades_in(cache: &Cache) -> Vec<(CameraId, AgentUpgrade)> {
    let all = cache.cameras().into_iter();
    let mut all: Vec<(CameraId, AgentUpgrade)> = all
        .filter_map(|(camera, known)| {
            let upgrade = known.object.status.as_ref()?.upgrade.clone()?;
            Some((camera, upgrade))
        })
        .collect();
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    all
}
