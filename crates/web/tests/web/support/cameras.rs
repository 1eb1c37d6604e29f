//! Camera records and what the cameras do, in memory.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use moorline_core::camera::{Camera, CameraKey, CameraSet};
use moorline_core::port::{
    CameraAdmin, CameraAdminError, CameraChange, CameraDirectory, EnrollTokens, ImportError,
    NewToken, PortError, Statuses, Stocked, Stranger, Strangers, TokenInfo,
};
use moorline_core::segment::Retention;
use moorline_core::status::CameraStatus;
use moorline_core::{CameraId, Masked, PublicKey, TenantId, Timestamp};
use tokio::sync::{Barrier, watch};

/// A key that no other seed gives.
pub(crate) fn key(seed: u8) -> PublicKey {
    let mut blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
    blob.extend([seed; 32]);
    PublicKey::from_blob(&blob).unwrap()
}

/// A camera behind a tunnel, recorded, in Berlin.
pub(crate) fn camera(id: &str, title: &str, seed: u8, created: Timestamp) -> Camera {
    Camera {
        title: title.to_owned(),
        timezone: "Europe/Berlin".to_owned(),
        keys: vec![CameraKey {
            key: key(seed),
            added: created,
            comment: String::new(),
        }],
        ..Camera::new(id.parse().unwrap(), created, Retention::Days(14))
    }
}

/// Records and statuses.
pub(crate) struct FakeCameras {
    set: watch::Sender<(u64, Arc<CameraSet>)>,
    statuses: watch::Sender<(u64, BTreeMap<CameraId, CameraStatus>)>,
    pub(crate) hung_up: Mutex<Vec<CameraId>>,
    /// Another process holds the tunnels.
    pub(crate) elsewhere: AtomicBool,
    /// What that process is told to hang up.
    pub(crate) ordered: Mutex<Vec<CameraId>>,
    /// The next changes begin together: each was decided on the record from before the others.
    pub(crate) together: Mutex<Vec<Arc<Barrier>>>,
}

impl FakeCameras {
    pub(crate) fn new(cameras: Vec<Camera>) -> Self {
        Self {
            set: watch::Sender::new((0, Arc::new(CameraSet::new(cameras)))),
            statuses: watch::Sender::new((0, BTreeMap::new())),
            hung_up: Mutex::default(),
            elsewhere: AtomicBool::default(),
            ordered: Mutex::default(),
            together: Mutex::default(),
        }
    }

    pub(crate) fn tell(&self, status: CameraStatus) {
        self.statuses.send_modify(|(version, statuses)| {
            *version += 1;
            statuses.insert(status.camera.clone(), status);
        });
    }

    fn change<T>(
        &self,
        id: &CameraId,
        change: impl FnOnce(&mut Vec<Camera>, usize) -> Result<T, CameraAdminError>,
    ) -> Result<T, CameraAdminError> {
        let mut cameras: Vec<Camera> = self
            .snapshot()
            .iter()
            .map(|camera| (**camera).clone())
            .collect();
        let at = cameras.iter().position(|camera| camera.id == *id);
        let at = at.ok_or_else(|| CameraAdminError::Unknown(id.clone()))?;
        let result = change(&mut cameras, at)?;
        self.put(cameras);
        Ok(result)
    }

    fn put(&self, cameras: Vec<Camera>) {
        self.set.send_modify(|(version, set)| {
            *version += 1;
            *set = Arc::new(CameraSet::new(cameras));
        });
    }
}

#[async_trait]
impl CameraDirectory for FakeCameras {
    fn snapshot(&self) -> Arc<CameraSet> {
        Arc::clone(&self.set.borrow().1)
    }

    async fn changed(&self, seen: u64) -> u64 {
        let mut set = self.set.subscribe();
        set.wait_for(|(version, _)| *version != seen)
            .await
            .unwrap()
            .0
    }

    fn version(&self) -> u64 {
        self.set.borrow().0
    }
}

#[async_trait]
impl CameraAdmin for FakeCameras {
    async fn add(&self, camera: Camera) -> Result<(), CameraAdminError> {
        let set = self.snapshot();
        if set.get(&camera.id).is_some() {
            return Err(CameraAdminError::Exists(camera.id));
        }
        let taken = camera
            .keys
            .iter()
            .find(|key| !set.having(&key.key).is_empty());
        if let Some(taken) = taken {
            return Err(CameraAdminError::KeyTaken {
                fingerprint: taken.key.fingerprint(),
                owner: set.having(&taken.key)[0].to_string(),
            });
        }
        let mut cameras: Vec<Camera> = set.iter().map(|camera| (**camera).clone()).collect();
        cameras.push(camera);
        self.put(cameras);
        Ok(())
    }

    async fn import(&self, cameras: Vec<Camera>, dry_run: bool) -> Result<(), ImportError> {
        let before: Vec<Camera> = self.snapshot().iter().map(|one| (**one).clone()).collect();
        let mut wrong = Vec::new();
        for (at, camera) in cameras.into_iter().enumerate() {
            wrong.extend(self.add(camera).await.err().map(|error| (at, error)));
        }
        if dry_run || !wrong.is_empty() {
            self.put(before);
        }
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(ImportError::Cameras(wrong)),
        }
    }

    async fn set(
        &self,
        id: &CameraId,
        mut change: CameraChange,
    ) -> Result<Camera, CameraAdminError> {
        let meet = self.together.lock().unwrap().pop();
        if let Some(meet) = meet {
            meet.wait().await;
        }
        if change
            .timezone
            .as_deref()
            .is_some_and(|zone| zone.starts_with("Mars"))
        {
            return Err(CameraAdminError::Invalid {
                field: "timezone",
                value: change.timezone.unwrap_or_default(),
                expected: "an IANA name such as Europe/Berlin",
            });
        }
        self.change(id, |cameras, at| {
            let seen = change.decided_on.take();
            if seen.is_some_and(|seen| *seen != cameras[at]) {
                return Err(CameraAdminError::Changed(id.clone()));
            }
            change.apply(&mut cameras[at]);
            Ok(cameras[at].clone())
        })
    }

    async fn remove(&self, id: &CameraId) -> Result<(), CameraAdminError> {
        self.change(id, |cameras, at| {
            cameras.remove(at);
            Ok(())
        })
    }

    async fn hang_up(&self, id: &CameraId) -> Result<(), CameraAdminError> {
        self.ordered.lock().unwrap().push(id.clone());
        Ok(())
    }

    async fn add_key(&self, id: &CameraId, key: CameraKey) -> Result<(), CameraAdminError> {
        self.change(id, |cameras, at| {
            cameras[at].keys.push(key);
            Ok(())
        })
    }

    async fn revoke_key(&self, id: &CameraId, key: &PublicKey) -> Result<(), CameraAdminError> {
        self.change(id, |cameras, at| {
            cameras[at].keys.retain(|present| present.key != *key);
            Ok(())
        })
    }
}

#[async_trait]
impl Statuses for FakeCameras {
    fn get(&self, camera: &CameraId) -> Option<CameraStatus> {
        self.statuses.borrow().1.get(camera).cloned()
    }

    fn list(&self, tenant: &TenantId) -> Vec<CameraStatus> {
        let statuses = self.statuses.borrow();
        let of = statuses
            .1
            .values()
            .filter(|status| status.camera.tenant() == tenant);
        of.cloned().collect()
    }

    async fn changed(&self, seen: u64) -> u64 {
        let mut statuses = self.statuses.subscribe();
        statuses
            .wait_for(|(version, _)| *version != seen)
            .await
            .unwrap()
            .0
    }

    fn version(&self) -> u64 {
        self.statuses.borrow().0
    }

    fn hang_up(&self, camera: &CameraId) {
        self.hung_up.lock().unwrap().push(camera.clone());
    }

    fn holds_tunnels(&self) -> bool {
        !self.elsewhere.load(Ordering::Relaxed)
    }
}

/// Nobody knocked.
pub(crate) struct Nobody;

impl Strangers for Nobody {
    fn pending(&self) -> Vec<Stranger> {
        Vec::new()
    }

    fn forget(&self, _: &PublicKey) {}
}

/// Tokens, kept in order.
#[derive(Default)]
pub(crate) struct FakeTokens {
    tokens: Mutex<Vec<TokenInfo>>,
    pub(crate) stock: Mutex<Vec<Stocked>>,
}

#[async_trait]
impl EnrollTokens for FakeTokens {
    async fn issue(&self, new: NewToken) -> Result<(Masked<String>, TokenInfo), CameraAdminError> {
        let mut all = self.tokens.lock().unwrap();
        let info = TokenInfo {
            id: i64::try_from(all.len()).unwrap() + 1,
            created: new.expires,
            token: new,
            revoked: false,
            cameras: Vec::new(),
            reused: None,
        };
        all.push(info.clone());
        Ok((Masked::new(format!("token-of-{:022}", info.id)), info))
    }

    async fn list(&self, tenant: &TenantId) -> Result<Vec<TokenInfo>, PortError> {
        let all = self.tokens.lock().unwrap();
        let own = all.iter().filter(|info| info.token.tenant == *tenant);
        Ok(own.rev().cloned().collect())
    }

    async fn stock(&self, tenant: &TenantId) -> Result<Vec<Stocked>, PortError> {
        let all = self.stock.lock().unwrap();
        let own = all.iter().filter(|it| it.camera.tenant() == tenant);
        Ok(own.cloned().collect())
    }

    async fn claim(&self, camera: &CameraId) -> Result<bool, CameraAdminError> {
        let mut all = self.stock.lock().unwrap();
        let before = all.len();
        all.retain(|it| it.camera != *camera);
        Ok(all.len() < before)
    }

    async fn revoke(&self, tenant: &TenantId, id: i64) -> Result<bool, CameraAdminError> {
        let mut all = self.tokens.lock().unwrap();
        let own = all
            .iter_mut()
            .find(|info| info.id == id && info.token.tenant == *tenant);
        Ok(own.map(|info| info.revoked = true).is_some())
    }
}
