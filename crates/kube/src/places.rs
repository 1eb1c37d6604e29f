//! `RelayPlaces` and `PutPolicy`: what the signer asks about a camera, from memory.

use std::net::SocketAddr;

use async_trait::async_trait;
use moorline_core::camera::Record;
use moorline_core::lifecycle::Role;
use moorline_core::port::{
    KeyPin, PodUid, PortError, PutLimits, PutPolicy, RelayPlace, RelayPlaces,
};
use moorline_core::{CameraId, Timestamp};

use crate::cache::{Cache, Known};
use crate::call::Fault;
use crate::convert::retention;
use crate::pods::{PodCache, RELAY_PORT};
use crate::resource::{ConditionKind, Newer, RelayStatus};
use crate::status::{Note, StatusWriter};

/// What a camera may put per hour: 64 Mbit/s, more than twice what one of 4K sends by H.264. Beyond it an archiver is not a camera's; what a camera sends
/// beyond it would fill its spool and be lost.
const BYTES_PER_HOUR: u64 = 64_000_000 / 8 * 3_600;

/// `RelayPlaces` and `PutPolicy` over the watches. Clones are the same.
#[derive(Debug, Clone)]
pub struct KubePlaces {
    cache: Cache,
    pods: PodCache,
    /// `None` at the signer, which writes nothing.
    writer: Option<StatusWriter>,
}

impl KubePlaces {
    /// Those of a mon replica, which writes what a relay announces.
    pub fn of_mon(writer: StatusWriter, pods: PodCache) -> Self {
        Self {
            cache: writer.cache().clone(),
            pods,
            writer: Some(writer),
        }
    }

    /// Those of the signer, which only reads.
    pub fn of_signer(cache: Cache, pods: PodCache) -> Self {
        Self {
            cache,
            pods,
            writer: None,
        }
    }

    /// What is written of a relay that has said its key: all that a connect has to say, in one write.
    fn note(&self, known: &Known, relay: RelayStatus) -> Note {
        let records = known
            .record
            .as_ref()
            .is_ok_and(|record| record.record != Record::Off);
        let pods = self.pods.of(&known.uid);
        let archiver = pods
            .iter()
            .any(|pod| pod.role == Role::Archiver && !pod.deleting && pod.trouble.is_none());
        let archiving = match (records, archiver) {
            (true, true) => (true, "Recording"),
            (true, false) => (false, "NoArchiver"),
            (false, _) => (false, "RecordOff"),
        };
        let ready = archiver || !records;
        let why = match ready {
            true => "",
            false => "its archiver has not started yet: if it cannot, the reason follows",
        };
        Note {
            relay: Some(Some(relay)),
            ..Note::condition(ConditionKind::RelayReady, true, "Announced", "")
        }
        .and(
            ConditionKind::WorkloadsReady,
            ready,
            if ready { "Running" } else { "NoArchiver" },
            why,
        )
        .and(ConditionKind::Archiving, archiving.0, archiving.1, why)
    }
}

#[async_trait]
impl RelayPlaces for KubePlaces {
    fn place(&self, camera: &CameraId) -> Option<RelayPlace> {
        let known = self.cache.camera(camera)?;
        let relay = known.object.status.as_ref()?.relay.as_ref()?;
        // The one that announced its key: a newer one may stand by.
        let pods = self.pods.of(&known.uid);
        let pod = pods.iter().find(|pod| {
            pod.uid.0 == relay.uid && pod.role == Role::Relay && pod.ready && !pod.deleting
        })?;
        Some(RelayPlace {
            pod: pod.uid.clone(),
            address: SocketAddr::new(pod.address?, RELAY_PORT),
            key: relay.spki.parse().ok()?,
            generation: known.generation(),
        })
    }

    async fn announce(
        &self,
        camera: &CameraId,
        pod: &PodUid,
        key: KeyPin,
    ) -> Result<(), PortError> {
        const OPERATION: &str = "write a relay's key";
        let writer = self
            .writer
            .as_ref()
            .ok_or_else(|| PortError::new(OPERATION, "the signer writes nothing"))?;
        let known = self
            .cache
            .camera(camera)
            .ok_or_else(|| Fault::Missing.port(OPERATION))?;
        let own = writer
            .owned()
            .get(camera)
            .ok_or_else(|| Fault::Conflict.port(OPERATION))?;
        let view = self
            .pods
            .get(pod)
            .filter(|view| view.role == Role::Relay && view.owner.as_deref() == Some(&*known.uid));
        if view.is_none_or(|view| view.deleting) {
            return Err(PortError::new(
                OPERATION,
                "the pod is not this camera's relay, or is being deleted",
            ));
        }
        let relay = RelayStatus {
            uid: pod.0.clone(),
            spki: key.to_string(),
            newer: Newer::new(),
        };
        let status = known.object.status.as_ref();
        let written = status.and_then(|status| status.relay.as_ref());
        if written.is_some_and(|written| (&written.uid, &written.spki) == (&relay.uid, &relay.spki))
        {
            return Ok(());
        }
        let note = self.note(&known, relay);
        let noted = writer.noted(camera, own.generation, note).await;
        noted.map_err(|fault| fault.port(OPERATION))
    }
}

impl PutPolicy for KubePlaces {
    fn limits(&self, camera: &CameraId) -> Option<PutLimits> {
        let known = self.cache.camera(camera)?;
        let record = known.record.as_ref().ok()?;
        Some(PutLimits {
            retention: record.retention,
            earlier: known
                .object
                .status
                .iter()
                .flat_map(|status| &status.classes)
                .filter_map(|class| retention("status.classes", class).ok())
                .filter(|class| *class != record.retention)
                .collect(),
            generation: known.generation(),
            since: known
                .session()
                .and_then(|session| session.since)
                .unwrap_or(Timestamp::from_millis(0)),
            bytes_per_hour: BYTES_PER_HOUR,
        })
    }
}
