//! Which relay pod reads which camera: one pod at a time, the newest, with a few streams (its sources). What a newer pod opens closes what an older
//! one has; an older pod that asks beside a newer one is refused, so that a zombie on a lost node and its successor do not take turns.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use moorline_base::CancellationToken;
use moorline_core::port::{Identities, PodUid};
use moorline_core::{CameraId, Timestamp};

/// Streams of one pod: its sources, and those that it has given up and we have not noticed yet.
const STREAMS: usize = 8;

#[derive(Debug)]
struct Reading {
    pod: PodUid,
    created: Option<Timestamp>,
    streams: Vec<(u64, CancellationToken)>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    cameras: HashMap<CameraId, Reading>,
}

/// The streams between relays and cameras. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Streams(Arc<Mutex<State>>);

/// A stream's place; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Stream {
    streams: Streams,
    camera: CameraId,
    id: u64,
    /// Cancelled when a newer pod asks, or the pod is gone.
    pub(crate) superseded: CancellationToken,
}

impl Streams {
    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes a place for a stream of this pod.
    ///
    /// # Errors
    /// The reason of the refusal.
    pub(crate) fn enter(
        &self,
        camera: &CameraId,
        pod: &PodUid,
        created: Option<Timestamp>,
    ) -> Result<Stream, &'static str> {
        self.with(|state| {
            let reading = state
                .cameras
                .entry(camera.clone())
                .or_insert_with(|| Reading {
                    pod: pod.clone(),
                    created,
                    streams: Vec::new(),
                });
            if reading.pod != *pod {
                if created
                    .zip(reading.created)
                    .is_some_and(|(new, old)| new < old)
                {
                    return Err("older_pod");
                }
                for (_, superseded) in reading.streams.drain(..) {
                    superseded.cancel();
                }
                reading.pod = pod.clone();
                reading.created = created;
            }
            if reading.streams.len() >= STREAMS {
                return Err("too_many_streams");
            }
            state.next += 1;
            let superseded = CancellationToken::new();
            reading.streams.push((state.next, superseded.clone()));
            Ok(Stream {
                streams: self.clone(),
                camera: camera.clone(),
                id: state.next,
                superseded,
            })
        })
    }

    /// Ends the streams of pods that are gone.
    pub(crate) fn sweep(&self, identities: &dyn Identities) {
        let pods: Vec<(CameraId, PodUid)> = self.with(|state| {
            let cameras = state.cameras.iter();
            cameras
                .map(|(camera, reading)| (camera.clone(), reading.pod.clone()))
                .collect()
        });
        for (camera, pod) in pods
            .into_iter()
            .filter(|(_, pod)| !identities.is_alive(pod))
        {
            self.with(|state| {
                if let Some(reading) = state.cameras.get(&camera)
                    && reading.pod == pod
                {
                    reading
                        .streams
                        .iter()
                        .for_each(|(_, superseded)| superseded.cancel());
                }
            });
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.streams.with(|state| {
            if let Some(reading) = state.cameras.get_mut(&self.camera) {
                reading.streams.retain(|(id, _)| *id != self.id);
                if reading.streams.is_empty() {
                    state.cameras.remove(&self.camera);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_pod_closes_an_older_ones_streams_and_an_older_one_is_refused() {
        let streams = Streams::default();
        let camera: CameraId = "acme/yard".parse().unwrap();
        let pod = |name: &str| PodUid(name.to_owned());
        let at = |millis| Some(Timestamp::from_millis(millis));
        let first = streams.enter(&camera, &pod("a"), at(1)).unwrap();
        let second = streams.enter(&camera, &pod("a"), at(1)).unwrap();
        assert!(
            !first.superseded.is_cancelled(),
            "main and sub of one relay"
        );
        let newer = streams.enter(&camera, &pod("b"), at(2)).unwrap();
        assert!(first.superseded.is_cancelled() && second.superseded.is_cancelled());
        drop((first, second));
        assert_eq!(
            streams.enter(&camera, &pod("a"), at(1)).unwrap_err(),
            "older_pod"
        );
        assert!(!newer.superseded.is_cancelled());
        let unknown = streams.enter(&camera, &pod("c"), None).unwrap();
        assert!(
            newer.superseded.is_cancelled(),
            "whoever asks last, where nothing is known"
        );
        drop((newer, unknown));
        assert!(streams.with(|state| state.cameras.is_empty()));
    }

    #[test]
    fn one_pod_has_a_bounded_number_of_streams() {
        let streams = Streams::default();
        let camera: CameraId = "acme/yard".parse().unwrap();
        let pod = PodUid("a".to_owned());
        let held: Vec<_> = (0..STREAMS)
            .map(|_| streams.enter(&camera, &pod, None).unwrap())
            .collect();
        assert_eq!(
            streams.enter(&camera, &pod, None).unwrap_err(),
            "too_many_streams"
        );
        drop(held);
        assert!(streams.enter(&camera, &pod, None).is_ok());
    }
}
