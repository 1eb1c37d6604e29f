//! The daily look at what the store has of the last days: what it lost becomes a gap `store_lost`, and somebody is told.
//!
//! Owns: when, of which cameras and for how long; the last result, which outlives the process (`verified.json` in the data directory). Does not
//! own: what a verify is (`moorline_web::route::verified`).
//!
//! One camera after the other, each for at most 10 minutes, with a pause of nine times as long as it took: a tenth of the store's time. Ends
//! with its token; a verify that is under way is dropped then.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use moorline_base::CancellationToken;
use moorline_base::clock::{SharedClock, sleep, timeout};
use moorline_base::files::{Access, write_atomic};
use moorline_core::alarm::{Alarm, AlarmKind};
use moorline_core::camera::Camera;
use moorline_core::port::CameraDirectory;
use moorline_core::{CameraId, TenantId, TimeRange, Timestamp};
use moorline_web::api::{VerifyFinding, VerifyView};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};

const DAY: Duration = Duration::from_secs(86_400);
/// What is looked at: each recording comes up twice.
const LOOKED_AT: Duration = Duration::from_secs(2 * 86_400);
/// A start has other things to do first.
const NOT_BEFORE: Duration = Duration::from_secs(15 * 60);
/// The longest that one camera may take.
const DEADLINE: Duration = Duration::from_secs(600);
/// The pause after a camera, as a multiple of the time that it took.
const PAUSE: u32 = 9;
/// Findings that are remembered; of further ones the number is told.
const REMEMBERED: usize = 1_000;
/// Findings in an alarm, one line each.
const TOLD: usize = 10;

/// The result of the last look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looked {
    /// When it ended.
    pub at: Timestamp,
    /// Objects of all cameras.
    pub objects: u64,
    /// What was lost.
    pub lost: usize,
    /// What was damaged.
    pub damaged: usize,
    /// Cameras that could not be looked at: the store did not answer, or not in time.
    pub failed: usize,
    /// What was found, the first thousand.
    pub findings: Vec<VerifyFinding>,
}

/// The last result. Clones are the same.
#[derive(Debug, Clone)]
pub struct Daily {
    path: PathBuf,
    last: Arc<Mutex<Option<Looked>>>,
}

/// Looks at a stretch of one camera.
pub type Look = Arc<
    dyn Fn(Arc<Camera>, TimeRange) -> BoxFuture<'static, Result<VerifyView, String>> + Send + Sync,
>;

/// Has somebody told.
pub type Tell = Arc<dyn Fn(Alarm) + Send + Sync>;

impl Daily {
    /// With the result that an earlier process left. One that cannot be read is none.
    pub fn open(path: PathBuf) -> Self {
        let text = std::fs::read_to_string(&path).ok();
        let last = text.and_then(|text| serde_json::from_str(&text).ok());
        Self {
            path,
            last: Arc::new(Mutex::new(last)),
        }
    }

    /// The last result; `None` before the first.
    pub fn last(&self) -> Option<Looked> {
        self.last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, looked: Looked) {
        let text = serde_json::to_vec(&looked).unwrap_or_default();
        if let Err(error) = write_atomic(&self.path, &text, Access::Private) {
            tracing::warn!(%error, "what the daily look at the store found is not remembered");
        }
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(looked);
    }

    /// Looks once a day until told to stop.
    pub async fn run(
        self,
        cameras: Arc<dyn CameraDirectory>,
        look: Look,
        tell: Tell,
        clock: SharedClock,
        stop: CancellationToken,
    ) {
        loop {
            let now = Timestamp::from_millis(clock.wall_ms());
            // A wall clock that was set back must not put the next look off for years.
            let since = self.last().map_or(DAY, |last| match last.at <= now {
                true => now.since(last.at),
                false => DAY,
            });
            let wait = DAY.saturating_sub(since).max(NOT_BEFORE);
            if sleep(&*clock, wait, &stop).await.is_cancelled() {
                return;
            }
            let known = self.last().map(|last| last.findings).unwrap_or_default();
            let Some(looked) = look_at_all(&*cameras, &look, &clock, &stop).await else {
                return;
            };
            if looked.lost + looked.damaged > 0 {
                tracing::error!(
                    objects = looked.objects,
                    lost = looked.lost,
                    damaged = looked.damaged,
                    "the store no longer has what it had taken: moorline segments verify"
                );
            } else {
                tracing::info!(
                    objects = looked.objects,
                    failed = looked.failed,
                    "the daily look at the store found nothing missing"
                );
            }
            let found = news(&known, &looked.findings);
            let at = looked.at;
            self.set(looked);
            for alarm in alarms(&found, at) {
                tell(alarm);
            }
        }
    }
}

/// `None`: it was told to stop.
async fn look_at_all(
    cameras: &dyn CameraDirectory,
    look: &Look,
    clock: &SharedClock,
    stop: &CancellationToken,
) -> Option<Looked> {
    let mut looked = Looked {
        at: Timestamp::default(),
        objects: 0,
        lost: 0,
        damaged: 0,
        failed: 0,
        findings: Vec::new(),
    };
    for camera in cameras.snapshot().iter() {
        let began = clock.monotonic();
        let now = Timestamp::from_millis(clock.wall_ms());
        let range = TimeRange::new((now - LOOKED_AT).max(camera.created.min(now)), now);
        if range.is_empty() {
            continue;
        }
        let looking = timeout(&**clock, DEADLINE, look(Arc::clone(camera), range));
        let found = tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            found = looking => found,
        };
        let found = match found {
            Ok(found) => found,
            Err(_) => Err("it took longer than 10 minutes".to_owned()),
        };
        match found {
            Ok(found) => {
                looked.objects += found.objects;
                let damaged = found.findings.iter().filter(|one| one.kind == "damaged");
                let damaged = damaged.count();
                looked.damaged += damaged;
                looked.lost += found.findings.len() - damaged;
                let room = REMEMBERED.saturating_sub(looked.findings.len());
                looked
                    .findings
                    .extend(found.findings.into_iter().take(room));
            }
            Err(reason) => {
                looked.failed += 1;
                tracing::warn!(camera = %camera.id, reason, "what the store has of the camera was not looked at");
            }
        }
        let took = clock.monotonic().saturating_duration_since(began);
        if sleep(&**clock, took * PAUSE, stop).await.is_cancelled() {
            return None;
        }
    }
    looked.at = Timestamp::from_millis(clock.wall_ms());
    Some(looked)
}

/// What was not found the last time. A loss that was marked since has another key, and the same time.
fn news(known: &[VerifyFinding], found: &[VerifyFinding]) -> Vec<VerifyFinding> {
    type Same<'a> = (&'a str, Option<Timestamp>, Option<Timestamp>, &'a str);
    let same = |one: &'_ VerifyFinding| -> (String, Option<Timestamp>, Option<Timestamp>, String) {
        let (camera, from, to, key): Same<'_> = match one.from {
            Some(_) => (&one.camera, one.from, one.to, ""),
            None => (&one.camera, None, None, &one.key),
        };
        (camera.to_owned(), from, to, key.to_owned())
    };
    let known: BTreeSet<_> = known.iter().map(same).collect();
    let new = found.iter().filter(|one| !known.contains(&same(one)));
    new.cloned().collect()
}

/// One message for each tenant that has findings.
fn alarms(found: &[VerifyFinding], at: Timestamp) -> Vec<Alarm> {
    let of = |finding: &VerifyFinding| finding.camera.parse::<CameraId>().ok();
    let tenants: BTreeSet<TenantId> = found
        .iter()
        .filter_map(|finding| Some(of(finding)?.tenant().clone()))
        .collect();
    let alarm = |tenant: TenantId| {
        let own = found
            .iter()
            .filter(|finding| of(finding).is_some_and(|camera| *camera.tenant() == tenant));
        let own: Vec<&VerifyFinding> = own.collect();
        let cameras: BTreeSet<CameraId> = own.iter().filter_map(|finding| of(finding)).collect();
        let damaged = own.iter().filter(|one| one.kind == "damaged").count();
        let line = |one: &&VerifyFinding| {
            let place = match (one.from, one.to) {
                (Some(from), Some(to)) => format!("{from} to {to}"),
                _ => one.key.clone(),
            };
            format!("{}: {}, {place}: {}", one.camera, one.kind, one.why)
        };
        let kind = AlarmKind::RecordingsDamaged {
            lost: own.len() - damaged,
            damaged,
            cameras: cameras.into_iter().collect(),
            findings: own.iter().take(TOLD).map(line).collect(),
        };
        Alarm { tenant, at, kind }
    };
    tenants.into_iter().map(alarm).collect()
}

/// Tells the metrics of the last look.
pub fn register(daily: Daily, registry: &mut Registry) {
    registry.register_collector(Box::new(Results(daily)));
}

#[derive(Debug)]
struct Results(Daily);

impl Collector for Results {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let last = self.0.last();
        let help = "What the daily look at the store found, by kind";
        let name = "store_findings";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        if let Some(last) = &last {
            for (kind, count) in [
                ("lost", last.lost),
                ("damaged", last.damaged),
                ("not_looked_at", last.failed),
            ] {
                let count = i64::try_from(count).unwrap_or(i64::MAX);
                ConstGauge::new(count).encode(family.encode_family(&[("kind", kind)])?)?;
            }
        }
        let help = "When the store was looked at last, in seconds since 1970";
        let name = "store_looked_at_timestamp_seconds";
        let family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        match last {
            Some(last) => ConstGauge::new(last.at.as_millis() / 1_000).encode(family),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
