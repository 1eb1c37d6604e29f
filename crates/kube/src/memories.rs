//! `Memories` in a cluster: the archiver's answers rebuild them, and the last one of a camera that nobody holds lies in its status.
//!
//! While an archiver pod runs it knows itself up to where its archive is durable, and says so to each new holder; nothing is stored for it.
//! When a camera's pods have gone, the write that empties the session also says since when and why there is no media (`status.away`): that is
//! what a replica knows after a restart. So a memory costs no write of its own. What is lost is finer: of several causes in a row while no
//! archiver runs, the last one stands for all of them, an alarm that was raised already may be raised once more, and the networks that a
//! camera came from (rule S4) are known only while the replica that it is connected to lives.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use moorline_core::port::{Memories, Memory, PortError};
use moorline_core::status::OpenGap;
use moorline_core::{CameraId, Cause, Timestamp};

use crate::cache::Known;
use crate::directory::KubeDirectory;
use crate::resource::Away;

/// `Memories` of this replica. Clones are the same.
#[derive(Debug, Clone)]
pub struct KubeMemories {
    directory: KubeDirectory,
    latest: Arc<Mutex<HashMap<CameraId, Memory>>>,
}

impl KubeMemories {
    /// Over what the watch says.
    pub fn new(directory: KubeDirectory) -> Self {
        Self {
            directory,
            latest: Arc::default(),
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut HashMap<CameraId, Memory>) -> T) -> T {
        change(&mut self.latest.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is to be written when the camera's pods have gone: the stretch that is open, or one that begins now.
    pub(crate) fn away(&self, camera: &CameraId, cause: Cause, now: Timestamp) -> Away {
        let memory = self
            .with(|latest| latest.get(camera).cloned())
            .unwrap_or_default();
        let open = memory.gaps.last().filter(|(_, end)| end.is_none());
        let (since, cause) = open.map_or((now, cause), |(gap, _)| (gap.since, gap.cause));
        Away {
            since,
            cause: cause.to_string(),
            durable_until: memory.durable_until,
            recorded_until: memory.recorded_until,
        }
    }
}

fn remembered(known: &Known) -> Option<Memory> {
    let away = known.object.status.as_ref()?.away.as_ref()?;
    let cause: Cause = away.cause.parse().ok()?;
    let gap = OpenGap {
        since: away.since,
        cause,
    };
    Some(Memory {
        durable_until: away.durable_until,
        recorded_until: away.recorded_until,
        gaps: vec![(gap, None)],
        ..Memory::default()
    })
}

#[async_trait]
impl Memories for KubeMemories {
    async fn load(&self) -> Result<Vec<(CameraId, Memory)>, PortError> {
        let cameras = self.directory.cache().cameras();
        let all = cameras.into_iter();
        Ok(all
            .filter_map(|(id, known)| Some((id, remembered(&known)?)))
            .collect())
    }

    async fn alive(&self, _: Timestamp) -> Result<(), PortError> {
        // The replica's Lease is its sign of life; what is remembered here is true until somebody claims the camera.
        Ok(())
    }

    async fn store(&self, camera: &CameraId, memory: &Memory) -> Result<(), PortError> {
        let known = self.directory.cache().camera(camera).is_some();
        self.with(|latest| match known {
            true => latest.insert(camera.clone(), memory.clone()),
            false => latest.remove(camera),
        });
        Ok(())
    }
}
