//! What tests of this crate share: a workload's spec, and in-memory adapters of the ports.

use std::sync::Arc;

use moorline_core::camera::Camera;
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
        camera: Arc::new(Camera::new(
            camera(),
            Timestamp::default(),
            Retention::Days(30),
        )),
        generation,
        gaps: Vec::new(),
        durable_until: None,
        recorded_from: None,
    }
}
