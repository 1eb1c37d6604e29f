//! What tests of this crate share: a workload's spec, and in-memory adapters of the ports.

use std::sync::Arc;

use moorline_core::camera::{Access, Camera, Enabled, Record, RecordBy, Source};
use moorline_core::port::{PodUid, WorkloadSpec};
use moorline_core::segment::Retention;
use moorline_core::{CameraId, Generation, InstanceId, Timestamp};

pub(crate) fn camera() -> CameraId {
    "acme/yard".parse().unwrap()
}

pub(crate) fn pod(name: &str) -> PodUid {
    PodUid(name.to_owned())
}

/// A spec of the camera under this generation.
pub(crate) fn spec(generation: u64) -> WorkloadSpec {
    let generation = Generation(generation);
    WorkloadSpec {
        instance: InstanceId {
            generation,
            ordinal: 0,
        },
        camera: Arc::new(Camera {
            id: camera(),
            title: "Yard".to_owned(),
            site: None,
            timezone: "UTC".to_owned(),
            created: Timestamp::default(),
            keys: Vec::new(),
            access: Access::Tunnel {
                forwards: Vec::new(),
            },
            main: Source::default(),
            sub: None,
            record: Record::Main,
            retention: Retention::Days(30),
            enabled: Enabled::Yes,
            record_by: RecordBy::Owner,
            streampoint: None,
            allow_from: Vec::new(),
        }),
        generation,
        gaps: Vec::new(),
        durable_until: None,
        recorded_from: None,
    }
}
