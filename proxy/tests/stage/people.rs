//! Users and camera records in memory.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, RwLock};

use async_trait::async_trait;
use moorline_core::camera::{Camera, CameraSet};
use moorline_core::port::{
    Audit, AuditEntry, AuditEvent, AuditFilter, CameraDirectory, PortError, Users, UsersError,
};
use moorline_core::user::{LoginName, REALM, Role, StreamSecret, User};
use moorline_core::{CameraId, Masked, TenantId, Timestamp};
use moorline_rtsp::auth::Ha1;
use tokio::sync::watch;

/// Users with stream passwords; what the front door does not ask is not there.
#[derive(Default)]
pub struct People(Mutex<HashMap<String, StreamSecret>>, Mutex<Vec<AuditEntry>>);

impl People {
    pub fn add(&self, login: &str, tenant: &str, password: &str) {
        let ha1 = Ha1::new(login, REALM, password).to_bytes();
        let ha1: String = ha1.iter().map(|byte| format!("{byte:02x}")).collect();
        let user = User {
            login: login.parse().unwrap(),
            tenant: tenant.parse().unwrap(),
            role: Role::Viewer,
            created: Timestamp::default(),
        };
        let secret = StreamSecret {
            user,
            ha1: Masked::new(ha1),
        };
        self.0.lock().unwrap().insert(login.to_owned(), secret);
    }

    /// Who did what on what, from where nobody knows.
    pub fn audited(&self) -> Vec<(String, AuditEvent, String)> {
        let entries = self.1.lock().unwrap();
        let told = entries.iter().map(|entry| {
            let (subject, _) = entry.subject.split_once(" from ").unwrap();
            (entry.actor.clone(), entry.event, subject.to_owned())
        });
        told.collect()
    }

    pub fn take_away(&self, login: &str) {
        self.0.lock().unwrap().remove(login);
    }
}

#[async_trait]
impl Audit for People {
    fn write(&self, entry: AuditEntry) {
        self.1.lock().unwrap().push(entry);
    }

    async fn read(
        &self,
        _: &TenantId,
        _: &AuditFilter,
        _: u32,
    ) -> Result<Vec<AuditEntry>, PortError> {
        Ok(self.1.lock().unwrap().clone())
    }
}

#[async_trait]
impl Users for People {
    async fn verify_web(&self, _: &str, _: &Masked<String>, _: IpAddr) -> Result<User, UsersError> {
        Err(UsersError::Wrong)
    }

    fn stream_secret(&self, login: &str) -> Option<StreamSecret> {
        self.0.lock().unwrap().get(login).cloned()
    }

    async fn stream_password(&self, login: &LoginName) -> Result<Masked<String>, UsersError> {
        Err(UsersError::Unknown(login.clone()))
    }

    async fn rotate_stream_password(
        &self,
        login: &LoginName,
    ) -> Result<Masked<String>, UsersError> {
        Err(UsersError::Unknown(login.clone()))
    }

    fn list(&self, _: &TenantId) -> Vec<User> {
        Vec::new()
    }

    fn get(&self, login: &str) -> Option<User> {
        self.stream_secret(login).map(|secret| secret.user)
    }

    async fn add(
        &self,
        login: LoginName,
        _: TenantId,
        _: Role,
        _: Masked<String>,
    ) -> Result<Masked<String>, UsersError> {
        Err(UsersError::Exists(login))
    }

    async fn set_password(&self, login: &LoginName, _: Masked<String>) -> Result<(), UsersError> {
        Err(UsersError::Unknown(login.clone()))
    }

    async fn remove(&self, login: &LoginName) -> Result<(), UsersError> {
        self.take_away(login.as_str());
        Ok(())
    }
}

/// Camera records.
pub struct Records {
    set: RwLock<Arc<CameraSet>>,
    version: watch::Sender<u64>,
}

impl Records {
    pub fn new(cameras: Vec<Camera>) -> Self {
        Self {
            set: RwLock::new(Arc::new(CameraSet::new(cameras))),
            version: watch::Sender::new(0),
        }
    }

    pub fn get(&self, camera: &CameraId) -> Arc<Camera> {
        Arc::clone(self.snapshot().get(camera).expect("a record"))
    }

    /// Changes one record.
    pub fn change(&self, camera: &CameraId, change: impl FnOnce(&mut Camera)) {
        let mut cameras: Vec<Camera> = self
            .snapshot()
            .iter()
            .map(|camera| (**camera).clone())
            .collect();
        change(
            cameras
                .iter_mut()
                .find(|other| other.id == *camera)
                .expect("a record"),
        );
        *self.set.write().unwrap() = Arc::new(CameraSet::new(cameras));
        self.version.send_modify(|version| *version += 1);
    }
}

#[async_trait]
impl CameraDirectory for Records {
    fn snapshot(&self) -> Arc<CameraSet> {
        Arc::clone(&self.set.read().unwrap())
    }

    async fn changed(&self, seen: u64) -> u64 {
        let mut version = self.version.subscribe();
        let changed = version.wait_for(|version| *version != seen).await;
        changed.map_or(seen, |version| *version)
    }

    fn version(&self) -> u64 {
        *self.version.borrow()
    }
}
