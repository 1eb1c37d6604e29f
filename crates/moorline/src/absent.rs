//! Ports behind which nothing is: for a command that answers itself with the routes of the API, and has only some of what a server has.
//!
//! Each answers as if it were empty, or says that it is not here; none pretends to have done something.

use std::net::IpAddr;
use std::ops::Range;

use async_trait::async_trait;
use axum::http::StatusCode;
use bytes::Bytes;
use moorline_base::Untrusted;
use moorline_core::camera::Camera;
use moorline_core::coverage::Coverage;
use moorline_core::port::{
    Audit, AuditEntry, AuditFilter, ByteStream, CameraAdminError, EnrollTokens, Export, LiveFeed,
    NewToken, Page, Playback, PortError, Poster, ReaderRole, Recordings, RecordingsError,
    RelayError, Relays, SegmentStore, Statuses, Stocked, StoreError, Stranger, Strangers,
    TokenInfo, Users, UsersError, WebSessions,
};
use moorline_core::segment::Tier;
use moorline_core::status::CameraStatus;
use moorline_core::user::{LoginName, Role, StreamSecret, User};
use moorline_core::{CameraId, Masked, PublicKey, SourceName, TenantId, TimeRange, Timestamp};
use moorline_web::Operations;
use moorline_web::api::{AlertResult, DiskView, DoctorFinding, VerifyView};
use moorline_web::problem::Problem;

/// Nothing. No camera is connected, nothing is live, nobody knocks; what a whole installation does is not done here.
#[derive(Debug, Clone, Copy)]
pub struct Absent;

const WHERE: &str = "this command has the cameras alone";

fn elsewhere() -> PortError {
    PortError::new("ask the installation", WHERE)
}

fn refused() -> Problem {
    Problem::new(StatusCode::NOT_IMPLEMENTED, "elsewhere", WHERE)
}

fn no_store() -> StoreError {
    StoreError::Refused(WHERE.to_owned())
}

#[async_trait]
impl Statuses for Absent {
    fn get(&self, _: &CameraId) -> Option<CameraStatus> {
        None
    }

    fn list(&self, _: &TenantId) -> Vec<CameraStatus> {
        Vec::new()
    }

    async fn changed(&self, _: u64) -> u64 {
        std::future::pending().await
    }

    fn version(&self) -> u64 {
        0
    }

    fn hang_up(&self, _: &CameraId) {}
}

#[async_trait]
impl Relays for Absent {
    async fn open(
        &self,
        _: &CameraId,
        _: SourceName,
        _: ReaderRole,
    ) -> Result<ByteStream, RelayError> {
        Err(RelayError::Away)
    }

    async fn live(
        &self,
        _: &CameraId,
        _: SourceName,
        _: &str,
    ) -> Result<Box<dyn LiveFeed>, RelayError> {
        Err(RelayError::Away)
    }

    fn poster(&self, _: &CameraId, _: SourceName) -> Option<Poster> {
        None
    }
}

impl Strangers for Absent {
    fn pending(&self) -> Vec<Stranger> {
        Vec::new()
    }

    fn forget(&self, _: &PublicKey) {}

    fn are_shown(&self) -> bool {
        false
    }
}

#[async_trait]
impl EnrollTokens for Absent {
    fn are_kept(&self) -> bool {
        false
    }

    async fn issue(&self, _: NewToken) -> Result<(Masked<String>, TokenInfo), CameraAdminError> {
        Err(elsewhere().into())
    }

    async fn list(&self, _: &TenantId) -> Result<Vec<TokenInfo>, PortError> {
        Err(elsewhere())
    }

    async fn stock(&self, _: &TenantId) -> Result<Vec<Stocked>, PortError> {
        Err(elsewhere())
    }

    async fn claim(&self, _: &CameraId) -> Result<bool, CameraAdminError> {
        Err(elsewhere().into())
    }

    async fn revoke(&self, _: &TenantId, _: i64) -> Result<bool, CameraAdminError> {
        Err(elsewhere().into())
    }
}

#[async_trait]
impl Users for Absent {
    async fn verify_web(&self, _: &str, _: &Masked<String>, _: IpAddr) -> Result<User, UsersError> {
        Err(UsersError::Wrong)
    }

    fn stream_secret(&self, _: &str) -> Option<StreamSecret> {
        None
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

    fn get(&self, _: &str) -> Option<User> {
        None
    }

    async fn add(
        &self,
        _: LoginName,
        _: TenantId,
        _: Role,
        _: Masked<String>,
    ) -> Result<Masked<String>, UsersError> {
        Err(elsewhere().into())
    }

    async fn set_password(&self, login: &LoginName, _: Masked<String>) -> Result<(), UsersError> {
        Err(UsersError::Unknown(login.clone()))
    }

    async fn remove(&self, login: &LoginName) -> Result<(), UsersError> {
        Err(UsersError::Unknown(login.clone()))
    }
}

#[async_trait]
impl WebSessions for Absent {
    async fn open(&self, _: &LoginName) -> Result<Masked<String>, PortError> {
        Err(elsewhere())
    }

    fn user(&self, _: &str) -> Option<User> {
        None
    }

    async fn close(&self, _: &str) -> Result<(), PortError> {
        Ok(())
    }
}

#[async_trait]
impl Audit for Absent {
    /// In the log alone; the API server audits its callers itself.
    fn write(&self, entry: AuditEntry) {
        let (actor, subject) = (Untrusted::new(&entry.actor), Untrusted::new(&entry.subject));
        tracing::info!(target: "audit", at = %entry.at, %actor, event = entry.event.as_str(), %subject, "audit");
    }

    async fn read(
        &self,
        _: &TenantId,
        _: &AuditFilter,
        _: u32,
    ) -> Result<Vec<AuditEntry>, PortError> {
        Err(elsewhere())
    }
}

#[async_trait]
impl Recordings for Absent {
    async fn coverage(
        &self,
        _: &CameraId,
        _: Option<Tier>,
        _: TimeRange,
    ) -> Result<Coverage, RecordingsError> {
        Err(no_store().into())
    }

    async fn play(
        &self,
        _: &CameraId,
        _: Option<Tier>,
        _: Timestamp,
    ) -> Result<Box<dyn Playback>, RecordingsError> {
        Err(no_store().into())
    }

    async fn export(
        &self,
        _: &CameraId,
        _: Option<Tier>,
        _: TimeRange,
    ) -> Result<Box<dyn Export>, RecordingsError> {
        Err(no_store().into())
    }
}

#[async_trait]
impl SegmentStore for Absent {
    async fn list(&self, _: &str, _: &str) -> Result<Page, StoreError> {
        Err(no_store())
    }

    async fn get(&self, _: &str, _: Range<u64>) -> Result<Bytes, StoreError> {
        Err(no_store())
    }

    async fn head(&self, _: &str) -> Result<u64, StoreError> {
        Err(no_store())
    }

    async fn delete(&self, _: &str) -> Result<(), StoreError> {
        Err(no_store())
    }

    async fn copy(&self, _: &str, _: &str) -> Result<(), StoreError> {
        Err(no_store())
    }
}

#[async_trait]
impl Operations for Absent {
    fn disk(&self) -> Option<DiskView> {
        None
    }

    fn expired_before(&self, _: &Camera) -> Timestamp {
        Timestamp::default()
    }

    async fn verify(
        &self,
        _: &CameraId,
        _: Option<Tier>,
        _: TimeRange,
        _: bool,
    ) -> Result<VerifyView, Problem> {
        Err(refused())
    }

    async fn erase(&self, _: &CameraId) -> Result<u64, Problem> {
        Err(refused())
    }

    async fn alert_test(&self) -> Vec<AlertResult> {
        Vec::new()
    }

    async fn doctor(&self) -> Vec<DoctorFinding> {
        Vec::new()
    }

    async fn backup(&self) -> Result<Bytes, Problem> {
        Err(refused())
    }

    fn backup_done(&self) {}

    fn set_log(&self, _: &str) -> Result<(), Problem> {
        Err(refused())
    }
}
