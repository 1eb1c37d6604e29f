//! What the operator's routes do in a front door: it reads, and says of everything else where it is done.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::http::StatusCode;
use bytes::Bytes;
use moorline_base::SharedClock;
use moorline_base::error::report;
use moorline_base::logging::LogHandle;
use moorline_core::camera::Camera;
use moorline_core::port::{CameraDirectory, OpenSegment, OpenSegments, SegmentStore, StoreError};
use moorline_core::segment::{GapKey, Tier};
use moorline_core::{CameraId, TimeRange, Timestamp};
use moorline_registry::PeopleRegistry;
use moorline_store::expired_by_age;
use moorline_store::verify;
use moorline_web::Operations;
use moorline_web::api::{AlertResult, DiskView, DoctorFinding, VerifyView};
use moorline_web::problem::Problem;

use crate::cluster::keys;
use crate::serve::operations::{add, depth};

/// Memory that is so far behind the database is worth a word.
const BEHIND: Duration = Duration::from_secs(10);

/// A front door as the operator sees it.
pub(super) struct FrontOperator {
    pub(super) clock: SharedClock,
    pub(super) cameras: Arc<dyn CameraDirectory>,
    pub(super) store: Arc<dyn SegmentStore>,
    pub(super) classes: super::Classes,
    pub(super) people: Option<Arc<PeopleRegistry>>,
    pub(super) log: Option<LogHandle>,
    pub(super) host_keys: HostKeyFiles,
}

/// The mounted public host keys, and the name that cameras know.
#[derive(Debug, Clone)]
pub(super) struct HostKeyFiles {
    pub(super) directory: PathBuf,
    pub(super) host: String,
}

impl HostKeyFiles {
    /// Lines for a camera's known_hosts.
    pub(super) fn known_hosts(&self) -> anyhow::Result<Vec<String>> {
        keys::known_hosts(&self.directory, &self.host)
    }

    /// Those that come next, as base64.
    pub(super) fn next(&self) -> anyhow::Result<Vec<String>> {
        keys::next_host_keys(&self.directory)
    }
}

/// What the files say now. Where they cannot be read, what they said at the start is told on.
fn still(read: anyhow::Result<Vec<String>>) -> Option<Vec<String>> {
    match read {
        Ok(keys) => Some(keys),
        Err(error) => {
            let error = report(error.as_ref());
            tracing::warn!(error, "host keys are told as they were at the start");
            None
        }
    }
}

fn elsewhere(title: &'static str, hint: &'static str) -> Problem {
    Problem::new(StatusCode::NOT_IMPLEMENTED, "elsewhere", title).hint(hint)
}

#[async_trait]
impl Operations for FrontOperator {
    fn disk(&self) -> Option<DiskView> {
        None
    }

    fn shared(&self) -> bool {
        true
    }

    fn known_hosts(&self) -> Option<Vec<String>> {
        still(self.host_keys.known_hosts())
    }

    fn next_host_keys(&self) -> Option<Vec<String>> {
        still(self.host_keys.next())
    }

    fn expired_before(&self, camera: &Camera) -> Timestamp {
        let now = Timestamp::from_millis(self.clock.wall_ms());
        expired_by_age([camera.retention], now)
    }

    async fn verify(
        &self,
        camera: &CameraId,
        wanted: Option<Tier>,
        range: TimeRange,
        full: bool,
    ) -> Result<VerifyView, Problem> {
        let classes = (self.classes)(camera);
        let mut whole = VerifyView::default();
        for tier in Tier::ALL {
            if tier != wanted.unwrap_or(tier) || classes.is_empty() {
                continue;
            }
            let request = verify::Request {
                camera,
                classes: &classes,
                tier,
                range,
                depth: depth(full),
                spool: None,
                digests: None,
            };
            // What is lost is told and not marked: this process' key may not put.
            let report = verify::verify(&*self.store, &request).await?;
            add(&mut whole, camera, &report);
        }
        Ok(whole)
    }

    async fn erase(&self, _: &CameraId) -> Result<u64, Problem> {
        Err(elsewhere(
            "a front door has no key that may delete recordings",
            "remove the camera without erasing: retention removes what it recorded",
        ))
    }

    async fn alert_test(&self) -> Vec<AlertResult> {
        Vec::new()
    }

    async fn doctor(&self) -> Vec<DoctorFinding> {
        let finding =
            |level: &str, check: &str, finding: String, hint: Option<&str>| DoctorFinding {
                level: level.to_owned(),
                check: check.to_owned(),
                finding,
                hint: hint.map(str::to_owned),
            };
        let mut findings = Vec::new();
        if let Some(people) = &self.people {
            let behind = people.behind();
            findings.push(if behind > BEHIND {
                finding(
                    "problem",
                    "people",
                    format!(
                        "PostgreSQL has not answered for {} s: nobody new signs in",
                        behind.as_secs()
                    ),
                    Some("look at the database; who is signed in stays, and streams go on"),
                )
            } else {
                finding("ok", "people", "PostgreSQL answers".to_owned(), None)
            });
        }
        let cameras = self.cameras.snapshot();
        if let Some(camera) = cameras.iter().next() {
            let prefix = moorline_core::segment::camera_prefix(&camera.id, camera.retention);
            findings.push(match self.store.list(&prefix, "").await {
                Ok(_) => finding("ok", "store", "the store answers".to_owned(), None),
                Err(error) => finding(
                    "problem",
                    "store",
                    error.to_string(),
                    Some("the Secret of store.readSecret holds a key that may get and list"),
                ),
            });
        }
        let known = format!("{} cameras are known", cameras.len());
        findings.push(finding("ok", "cameras", known, None));
        findings
    }

    async fn backup(&self) -> Result<Bytes, Problem> {
        Err(elsewhere(
            "a front door keeps nothing that is not in the cluster or in PostgreSQL",
            "back up PostgreSQL with pg_dump, the Secrets that keys init made, and the resources",
        ))
    }

    fn backup_done(&self) {}

    fn set_log(&self, filter: &str) -> Result<(), Problem> {
        crate::serve::operations::set_log(self.log.as_ref(), filter)
    }
}

/// Spools lie in the archivers' pods: what is not in the store yet is not shown yet.
pub(super) struct NoSpool;

#[async_trait]
impl OpenSegments for NoSpool {
    fn of(&self, _: &CameraId, _: Tier) -> (Vec<OpenSegment>, Vec<GapKey>) {
        (Vec::new(), Vec::new())
    }

    async fn read(
        &self,
        segment: &OpenSegment,
        _: std::ops::Range<u64>,
    ) -> Result<Bytes, StoreError> {
        Err(StoreError::Missing(segment.key.to_string()))
    }
}
