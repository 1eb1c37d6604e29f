//! The lines of a control connection: one JSON object a line, LF at its end, bounded; types of their own, so that nothing of the domain gets onto
//! the wire by a derive. **The camera's password is not among them**: the pod has it from its mounted file.
//!
//! | from the holder | when |
//! |---|---|
//! | `spec` | first, on every connection |
//! | `rebind`, `cause`, `drain` | the newest of each that is in force, after `spec`; then on change |
//! | `ticket_keys` | to relays, when the keys change |
//! | `drained_seen` | after each `drained` |
//! | `beat` | every 5 s |
//!
//! | from the pod | when |
//! |---|---|
//! | `relay`, `archive` | the newest of each, on change and at the beginning |
//! | `drained` | when it is, and again on every connection until it was seen |
//! | `beat` | every 5 s |
//!
//! A type that is not known is ignored: a newer peer may say more. Who hears nothing for 12 s closes.

mod line;

use std::sync::Arc;
use std::time::Duration;

use moorline_core::camera::{Access, Camera, Enabled, Login, Record, RecordBy, Source};
use moorline_core::port::{WorkloadReport, WorkloadSpec};
use moorline_core::segment::Retention;
use moorline_core::status::{ArchiveReport, OpenGap, RelayReport};
use moorline_core::{CameraId, Generation, InstanceId, Masked, SourceName, Timestamp};
use serde::{Deserialize, Serialize};

pub(crate) use line::Lines;

/// The protocol, in `Upgrade`.
pub(crate) const PROTOCOL: &str = "moorline-control/1";
/// The longest line to a pod: its spec with the gaps of a long absence.
pub(crate) const LONGEST_TO_POD: usize = 512 * 1024;
/// The longest line from a pod.
pub(crate) const LONGEST_TO_HOLDER: usize = 16 * 1024;
/// How often each side says something.
pub(crate) const BEAT: Duration = Duration::from_secs(5);
/// Who has said nothing for so long is gone. A relay learns so that the replica through which it reads stands still, or is cut off, while another one
/// has the camera: all that time is missing in the recording.
pub(crate) const DEAD: Duration = Duration::from_secs(12);

/// To a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ToPod {
    Spec(Box<Spec>),
    Rebind {
        generation: Generation,
    },
    Cause {
        gap: Option<OpenGap>,
    },
    Drain {
        budget_ms: u64,
    },
    TicketKeys {
        keys: String,
    },
    DrainedSeen,
    Beat,
    #[serde(other)]
    Unknown,
}

/// To the holder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ToHolder {
    Relay {
        report: RelayReport,
    },
    Archive {
        report: ArchiveReport,
    },
    Drained,
    Beat,
    #[serde(other)]
    Unknown,
}

impl From<WorkloadReport> for ToHolder {
    fn from(report: WorkloadReport) -> Self {
        match report {
            WorkloadReport::Relay(report) => Self::Relay { report },
            WorkloadReport::Archive(report) => Self::Archive { report },
        }
    }
}

/// What a workload is started with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spec {
    instance: InstanceId,
    generation: Generation,
    camera: WireCamera,
    gaps: Vec<WireGap>,
    durable_until: Option<Timestamp>,
    recorded_from: Option<Timestamp>,
}

/// A camera without its keys and passwords.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct WireCamera {
    id: CameraId,
    title: String,
    site: Option<String>,
    timezone: String,
    created: Timestamp,
    access: Access,
    main: WireSource,
    sub: Option<WireSource>,
    record: Record,
    retention: Retention,
    enabled: Enabled,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct WireSource {
    path: Option<String>,
    /// The login's name alone.
    user: Option<String>,
    allow_basic: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct WireGap {
    gap: OpenGap,
    until: Option<Timestamp>,
}

impl From<&Source> for WireSource {
    fn from(source: &Source) -> Self {
        Self {
            path: source.path.clone(),
            user: source.login.as_ref().map(|login| login.user.clone()),
            allow_basic: source.allow_basic,
        }
    }
}

impl WireSource {
    /// With the password that the pod has; a login without one stays: the camera will refuse it, and the relay tells why.
    fn into_source(self, password: impl FnOnce() -> Option<Masked<String>>) -> Source {
        Source {
            path: self.path,
            login: self.user.map(|user| Login {
                user,
                password: password().unwrap_or_default(),
            }),
            allow_basic: self.allow_basic,
        }
    }
}

impl From<&WorkloadSpec> for Spec {
    fn from(spec: &WorkloadSpec) -> Self {
        let camera = &spec.camera;
        Self {
            instance: spec.instance,
            generation: spec.generation,
            camera: WireCamera {
                id: camera.id.clone(),
                title: camera.title.clone(),
                site: camera.site.clone(),
                timezone: camera.timezone.clone(),
                created: camera.created,
                access: camera.access.clone(),
                main: (&camera.main).into(),
                sub: camera.sub.as_ref().map(Into::into),
                record: camera.record,
                retention: camera.retention,
                enabled: camera.enabled,
            },
            gaps: spec
                .gaps
                .iter()
                .map(|(gap, until)| WireGap {
                    gap: *gap,
                    until: *until,
                })
                .collect(),
            durable_until: spec.durable_until,
            recorded_from: spec.recorded_from,
        }
    }
}

impl Spec {
    pub(crate) fn camera(&self) -> &CameraId {
        &self.camera.id
    }

    pub(crate) fn generation(&self) -> Generation {
        self.generation
    }

    /// Stretches without media, in order.
    pub(crate) fn stretches(&self) -> Vec<(OpenGap, Option<Timestamp>)> {
        self.gaps.iter().map(|gap| (gap.gap, gap.until)).collect()
    }

    /// The workload's spec, with each source's own password from the pod's mounted files; asked for only where there is a login.
    pub(crate) fn into_workload(
        self,
        passwords: impl Fn(SourceName) -> Option<Masked<String>>,
    ) -> WorkloadSpec {
        let gaps = self.stretches();
        let camera = self.camera;
        WorkloadSpec {
            instance: self.instance,
            camera: Arc::new(Camera {
                id: camera.id,
                title: camera.title,
                site: camera.site,
                timezone: camera.timezone,
                created: camera.created,
                keys: Vec::new(),
                access: camera.access,
                main: camera.main.into_source(|| passwords(SourceName::Main)),
                sub: camera
                    .sub
                    .map(|source| source.into_source(|| passwords(SourceName::Sub))),
                record: camera.record,
                retention: camera.retention,
                enabled: camera.enabled,
                record_by: RecordBy::Owner,
                streampoint: None,
                allow_from: Vec::new(),
            }),
            generation: self.generation,
            gaps,
            durable_until: self.durable_until,
            recorded_from: self.recorded_from,
        }
    }
}

/// A line of a message, with its LF.
pub(crate) fn line<M: Serialize>(message: &M) -> Vec<u8> {
    // Neither maps with other keys than texts nor failing types are in these messages, so this cannot fail; an empty line is ignored.
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests;
