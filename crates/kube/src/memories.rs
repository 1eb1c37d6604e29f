//! `Memories` in a cluster: the archiver's answers rebuild them, and the last one of a camera that nobody holds lies in its status.
//!
//! While an archiver pod runs it knows itself up to where its archive is durable, and says so to each new holder; nothing is stored for it.
//! When a camera's pods have gone, the write that empties the session also says since when and why there is no media (`status.away`): that is
//! what a replica knows after a restart, what the claim of the next holder reads (`Claims::left`), and what the others hear of a camera that they
//! did not hold. So a memory costs no write of its own, but for one that says that somebody was told of a camera that nobody holds. What is lost
//! is finer: of several causes in a row while no archiver runs, the last one stands for all of them, and the networks that a camera came from
//! (rule S4) are known only while the replica that it is connected to lives.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use moorline_core::port::{Memories, Memory, PortError};
use moorline_core::status::OpenGap;
use moorline_core::{CameraId, Cause, Timestamp};

use crate::cache::Known;
use crate::directory::KubeDirectory;
use crate::resource::{Away, Newer};
use crate::wake::{Touched, Which};

/// `Memories` of this replica. Clones are the same.
#[derive(Debug, Clone)]
pub struct KubeMemories {
    directory: KubeDirectory,
    latest: Arc<Mutex<HashMap<CameraId, Memory>>>,
    /// What the monitor has heard already.
    heard: Arc<Mutex<HashMap<CameraId, Away>>>,
    /// What has changed since it was looked at.
    touched: Arc<Touched>,
}

impl KubeMemories {
    /// Over what the watch says.
    pub fn new(directory: KubeDirectory) -> Self {
        let touched = Arc::new(Touched::default());
        directory.cache().wakes().follow(&touched);
        Self {
            directory,
            latest: Arc::default(),
            heard: Arc::default(),
            touched,
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut HashMap<CameraId, Memory>) -> T) -> T {
        change(&mut self.latest.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is to be written when the pods of a camera that this replica held have gone: the stretch that is open, or one that begins now. `said`: up to
    /// where its archiver said last that everything is durable. The monitor stores that every ten seconds; where it is not known, the next holder
    /// would tell a gap where there are pictures.
    pub(crate) fn away(
        &self,
        camera: &CameraId,
        cause: Cause,
        now: Timestamp,
        said: Option<Timestamp>,
    ) -> Away {
        let memory = self
            .with(|latest| latest.get(camera).cloned())
            .unwrap_or_default();
        let open = memory.gaps.last().filter(|(_, end)| end.is_none());
        let (since, cause) = open.map_or((now, cause), |(gap, _)| (gap.since, gap.cause));
        let (durable_until, mut recorded_until) =
            (memory.durable_until.max(said), memory.recorded_until);
        if durable_until > memory.durable_until && memory.gaps.len() <= 1 {
            // Nothing was missing in between.
            recorded_until = recorded_until.max(durable_until.min(Some(since)));
        }
        Away {
            since,
            cause: cause.to_string(),
            durable_until,
            recorded_until,
            alarmed_since: memory.alarmed_since,
            newer: Newer::new(),
        }
    }

    /// Since when the camera stands still, as this replica has told somebody.
    pub(crate) fn alarmed(&self, camera: &CameraId) -> Option<Timestamp> {
        self.with(|latest| latest.get(camera)?.alarmed_since)
    }

    /// What others have let go of and the monitor has not heard yet. It has now.
    fn unheard(&self, which: Which) -> Vec<(CameraId, Memory)> {
        let cache = self.directory.cache();
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let cameras: Vec<(CameraId, Known)> = match which {
            Which::All => {
                heard.retain(|id, _| cache.camera(id).is_some());
                cache.cameras()
            }
            Which::These(cameras) => {
                let known = cameras.into_iter().filter_map(|id| {
                    let known = cache.camera(&id);
                    if known.is_none() {
                        heard.remove(&id);
                    }
                    Some((id, known?))
                });
                known.collect()
            }
        };
        let mut news = Vec::new();
        for (id, known) in cameras {
            let held = known.session().is_some_and(|session| session.mon.is_some());
            let away = away_of(&known).filter(|_| !held);
            if heard.get(&id) == away {
                continue;
            }
            match away {
                Some(away) => heard.insert(id.clone(), away.clone()),
                None => heard.remove(&id),
            };
            news.extend(
                remembered(&known)
                    .filter(|_| !held)
                    .map(|memory| (id, memory)),
            );
        }
        news
    }
}

fn away_of(known: &Known) -> Option<&Away> {
    known.object.status.as_ref()?.away.as_ref()
}

/// What the last holder of a camera has left of it.
pub(crate) fn remembered(known: &Known) -> Option<Memory> {
    let away = away_of(known)?;
    let cause: Cause = away.cause.parse().ok()?;
    let gap = OpenGap {
        since: away.since,
        cause,
    };
    Some(Memory {
        durable_until: away.durable_until,
        recorded_until: away.recorded_until,
        gaps: vec![(gap, None)],
        alarmed_since: away.alarmed_since,
        ..Memory::default()
    })
}

#[async_trait]
impl Memories for KubeMemories {
    async fn load(&self) -> Result<Vec<(CameraId, Memory)>, PortError> {
        Ok(self.unheard(Which::All))
    }

    async fn news(&self) -> Vec<(CameraId, Memory)> {
        loop {
            let news = self.unheard(self.touched.next().await);
            if !news.is_empty() {
                return news;
            }
        }
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
