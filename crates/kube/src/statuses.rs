//! `Statuses` as Camera resources tell it: what a command and a role without a connection to the cameras' holders know.
//!
//! Owns: the way from a resource's status to what people see. Does not own: rates and what is durable at this moment: those are never
//! in etcd, the holder and the page have them.

use async_trait::async_trait;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use moorline_core::camera::Record;
use moorline_core::port::Statuses;
use moorline_core::status::{CameraStatus, LinkStatus, OpenGap};
use moorline_core::{CameraId, Cause, SessionId, TenantId, Timestamp};

use crate::cache::{Cache, Known};
use crate::resource::{ConditionKind, Found};

/// What the resources say. Clones are the same.
#[derive(Debug, Clone)]
pub struct KubeStatuses(Cache);

impl KubeStatuses {
    /// Over this cache.
    pub fn new(cache: Cache) -> Self {
        Self(cache)
    }
}

fn condition(known: &Known, kind: ConditionKind) -> Option<&Condition> {
    let conditions = &known.object.status.as_ref()?.conditions;
    conditions
        .iter()
        .find(|condition| condition.type_ == kind.as_str())
}

/// What does not hold, in its own words; each message once. Away from its tunnel a camera has no pods, and nothing is told of them.
fn troubles(known: &Known, is_up: bool) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    let kinds = [
        (ConditionKind::WorkloadsReady, false),
        (ConditionKind::RelayReady, false),
        (ConditionKind::Archiving, false),
        (ConditionKind::Ready, false),
        (ConditionKind::DuplicateKey, true),
    ];
    for (kind, bad) in kinds {
        let Some(condition) = condition(known, kind) else {
            continue;
        };
        let is_bad = (condition.status == "True") == bad;
        let of_pods = !matches!(condition.reason.as_str(), "Invalid") && !bad;
        let is_off = condition.reason == "RecordOff";
        if !is_bad || is_off || condition.message.is_empty() || (of_pods && !is_up) {
            continue;
        }
        let text = format!(
            "{} ({}): {}",
            kind.as_str(),
            condition.reason,
            condition.message
        );
        if !told.iter().any(|known| known.ends_with(&condition.message)) {
            told.push(text);
        }
    }
    told
}

/// What of its agent's words is kept, as the agent says it: frames and bits per second are not.
fn said(found: &Found) -> Vec<(String, String)> {
    let sources = [("main", &found.main), ("sub", &found.sub)];
    let said = sources.into_iter().filter_map(|(name, source)| {
        let source = source.as_ref()?;
        let [codec, size] =
            [&source.codec, &source.size].map(|word| word.as_deref().unwrap_or("-"));
        let words = format!("{} {codec} {size} - -", source.path);
        Some((format!("source.{name}"), words))
    });
    said.collect()
}

fn status(id: &CameraId, known: &Known) -> CameraStatus {
    let resource = known.object.status.clone().unwrap_or_default();
    let session = resource.session.unwrap_or_default();
    let generation = known.generation();
    let connected = condition(known, ConditionKind::Connected);
    let holds = connected.is_none_or(|connected| connected.status == "True");
    let link = match (&session.mon, holds) {
        (Some(_), true) => LinkStatus::Up {
            generation,
            // The number of a session is its replica's own and not in the resource.
            session: SessionId(0),
            peer: session.peer.as_deref().and_then(|peer| peer.parse().ok()),
        },
        (Some(_), false) => LinkStatus::Grace { generation },
        (None, _) => LinkStatus::Absent,
    };
    let is_up = matches!(link, LinkStatus::Up { .. });
    let moved = connected
        .map(|connected| Timestamp::from_millis(connected.last_transition_time.0.as_millisecond()));
    let created = known.object.metadata.creation_timestamp.as_ref();
    let created = created.map(|created| Timestamp::from_millis(created.0.as_millisecond()));
    let away = resource.away.filter(|_| !is_up);
    let since = match is_up {
        true => session.since,
        false => away.as_ref().map(|away| away.since).or(moved),
    };
    let records = known
        .record
        .as_ref()
        .is_ok_and(|record| record.record != Record::Off && record.enabled.is_yes());
    let gap = away.as_ref().filter(|_| records).and_then(|away| {
        Some(OpenGap {
            since: away.since,
            cause: away.cause.parse::<Cause>().ok()?,
        })
    });
    CameraStatus {
        camera: id.clone(),
        link,
        link_since: since.or(created).unwrap_or_default(),
        relays: Vec::new(),
        archive: None,
        durable_until: away.as_ref().and_then(|away| away.durable_until),
        recorded_until: away.and_then(|away| away.recorded_until),
        gaps: gap.map(|gap| (gap, None)).into_iter().collect(),
        said: resource.found.as_ref().map(said).unwrap_or_default(),
        client: None,
        notices: Vec::new(),
        troubles: troubles(known, is_up),
    }
}

#[async_trait]
impl Statuses for KubeStatuses {
    fn get(&self, camera: &CameraId) -> Option<CameraStatus> {
        let known = self.0.camera(camera)?;
        Some(status(camera, &known))
    }

    fn list(&self, tenant: &TenantId) -> Vec<CameraStatus> {
        let all = self.0.cameras().into_iter();
        all.filter(|(id, _)| id.tenant() == tenant)
            .map(|(id, known)| status(&id, &known))
            .collect()
    }

    async fn changed(&self, seen: u64) -> u64 {
        let mut changes = self.0.changes();
        let changed = changes.wait_for(|count| *count != seen).await;
        match changed.map(|count| *count).ok() {
            Some(count) => count,
            None => std::future::pending().await,
        }
    }

    fn version(&self) -> u64 {
        *self.0.changes().borrow()
    }

    /// Only its holder can.
    fn hang_up(&self, camera: &CameraId) {
        tracing::warn!(%camera, "only the holder of a tunnel can end it");
    }

    fn holds_tunnels(&self) -> bool {
        false
    }
}
