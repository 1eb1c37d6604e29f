//! What the cluster would tell and do, made up.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use moorline_core::camera::{Camera, CameraSet};
use moorline_core::id::ForwardName;
use moorline_core::port::{
    Audience, ByteStream, Caller, CameraDirectory, Identities, IdentityError, KeyPin, LandingError,
    Landings, PodUid, PortError, PutLimits, PutPolicy, PutRequest, PutSigner, RelayPlace,
    RelayPlaces, SignedPut, Statuses, WorkloadControl, WorkloadOrder, WorkloadReport,
};
use moorline_core::segment::{ObjectKey, Retention, Tier};
use moorline_core::status::{CameraStatus, LinkStatus, RelayReport};
use moorline_core::{CameraId, Generation, Masked, SessionId, TenantId, Timestamp};
use moorline_simcam::Source;
use tokio::sync::watch;

use super::super::readings::{Sign, Signs};

/// Cameras as the watch tells them.
pub(super) struct Cameras {
    set: ArcSwap<CameraSet>,
    version: watch::Sender<u64>,
    signs: Mutex<HashMap<CameraId, Sign>>,
}

impl Default for Cameras {
    fn default() -> Self {
        Self {
            set: ArcSwap::from_pointee(CameraSet::default()),
            version: watch::Sender::new(1),
            signs: Mutex::default(),
        }
    }
}

impl Cameras {
    pub(super) fn put(&self, camera: Camera) {
        let before = self.set.load_full();
        let others = before.iter().filter(|known| known.id != camera.id);
        let mut all: Vec<Camera> = others.map(|known| Camera::clone(known)).collect();
        all.push(camera);
        self.set.store(Arc::new(CameraSet::new(all)));
        self.version.send_modify(|version| *version += 1);
    }

    /// Many at once.
    pub(super) fn put_all(&self, cameras: impl Iterator<Item = Camera>) {
        self.set.store(Arc::new(CameraSet::new(cameras)));
        self.version.send_modify(|version| *version += 1);
    }

    pub(super) fn sign(&self, camera: &CameraId, change: impl FnOnce(&mut Sign)) {
        change(
            self.signs
                .lock()
                .unwrap()
                .entry(camera.clone())
                .or_default(),
        );
        self.version.send_modify(|version| *version += 1);
    }
}

#[async_trait]
impl CameraDirectory for Cameras {
    fn snapshot(&self) -> Arc<CameraSet> {
        self.set.load_full()
    }

    async fn changed(&self, seen: u64) -> u64 {
        let mut version = self.version.subscribe();
        *version.wait_for(|version| *version != seen).await.unwrap()
    }

    fn version(&self) -> u64 {
        *self.version.borrow()
    }
}

impl Signs for Cameras {
    fn of(&self, camera: &CameraId) -> Option<Sign> {
        Some(
            self.signs
                .lock()
                .unwrap()
                .get(camera)
                .cloned()
                .unwrap_or_default(),
        )
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
}

#[async_trait]
impl Statuses for Cameras {
    fn get(&self, camera: &CameraId) -> Option<CameraStatus> {
        self.snapshot().get(camera)?;
        Some(CameraStatus::new(
            camera.clone(),
            LinkStatus::Up {
                generation: Generation(1),
                session: SessionId(0),
                peer: None,
            },
            Timestamp::default(),
        ))
    }

    fn list(&self, tenant: &TenantId) -> Vec<CameraStatus> {
        let set = self.snapshot();
        set.of(tenant)
            .filter_map(|camera| self.get(&camera.id))
            .collect()
    }

    async fn changed(&self, seen: u64) -> u64 {
        CameraDirectory::changed(self, seen).await
    }

    fn version(&self) -> u64 {
        CameraDirectory::version(self)
    }

    fn hang_up(&self, _: &CameraId) {
        panic!("nobody can hang up here");
    }

    fn holds_tunnels(&self) -> bool {
        false
    }
}

/// Where relays are, as the signer knows it.
#[derive(Default)]
pub(super) struct Places(pub(super) Mutex<HashMap<CameraId, RelayPlace>>);

#[async_trait]
impl RelayPlaces for Places {
    fn place(&self, camera: &CameraId) -> Option<RelayPlace> {
        self.0.lock().unwrap().get(camera).cloned()
    }

    async fn announce(&self, _: &CameraId, _: &PodUid, _: KeyPin) -> Result<(), PortError> {
        Ok(())
    }
}

/// The one token that is good.
pub(super) struct FrontDoorAlone;

impl FrontDoorAlone {
    pub(super) const TOKEN: &str = "the front door's token";
}

#[async_trait]
impl Identities for FrontDoorAlone {
    async fn caller(
        &self,
        token: &Masked<String>,
        audience: Audience,
    ) -> Result<Caller, IdentityError> {
        if token.reveal() == Self::TOKEN && audience == Audience::Signer {
            let pod = PodUid("front".to_owned());
            return Ok(Caller::FrontDoor { pod });
        }
        Err(IdentityError::Refused("token"))
    }

    fn is_alive(&self, _: &PodUid) -> bool {
        true
    }
}

/// Nobody puts here.
pub(super) struct Puts;

#[async_trait]
impl PutSigner for Puts {
    async fn sign_put(&self, _: &PutRequest) -> Result<SignedPut, PortError> {
        Err(PortError::new("sign a put", "nobody puts here"))
    }

    async fn digest(&self, _: &ObjectKey) -> Result<Option<[u8; 16]>, PortError> {
        Ok(None)
    }

    async fn last_end(
        &self,
        _: &CameraId,
        _: &[Retention],
        _: Tier,
    ) -> Result<Option<Timestamp>, PortError> {
        Ok(None)
    }
}

impl PutPolicy for Puts {
    fn limits(&self, _: &CameraId) -> Option<PutLimits> {
        None
    }
}

/// The way from a relay to its camera, without a tunnel.
pub(super) struct Landing(pub(super) Source);

#[async_trait]
impl Landings for Landing {
    async fn connect(
        &self,
        _: &CameraId,
        _: &ForwardName,
        least: Generation,
    ) -> Result<(ByteStream, Generation), LandingError> {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        self.0.serve(theirs);
        Ok((Box::new(ours), least))
    }
}

/// The monitor's end of a relay.
pub(super) struct Control(pub(super) watch::Sender<Option<RelayReport>>);

#[async_trait]
impl WorkloadControl for Control {
    async fn order(&mut self) -> Option<WorkloadOrder> {
        std::future::pending().await
    }

    fn report(&self, report: WorkloadReport) {
        if let WorkloadReport::Relay(report) = report {
            self.0.send_replace(Some(report));
        }
    }
}
