//! `CONNECT tenant/camera`: finds the holder, waits for an absent camera, and joins relay and landing.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moorline_base::CancellationToken;
use moorline_base::clock::timeout;
use moorline_core::id::ForwardName;
use moorline_core::port::{ByteStream, Holder, Identities, KeyPin, LandingError, PodUid};
use moorline_core::{CameraId, Generation};
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, copy_bidirectional_with_sizes};

use super::{Shared, answer, count, opening, peers, refuse};
use crate::metrics::Reason;
use crate::serving::{Answer, Tls, WRITE};

/// How often a request that is held looks whether the watch still lives.
const LOOK: Duration = Duration::from_secs(2);
/// A newer tunnel is taking over: it is there in a moment.
const SUPERSEDED: Duration = Duration::from_millis(50);
/// For telling where a relay's key is read.
const ANNOUNCE: Duration = Duration::from_secs(10);
/// Bytes in flight towards the relay, and from it: video one way, requests and reports the other. Two thousand cameras are 34 MiB.
const DOWN: usize = 16 * 1024;
const UP: usize = 1024;

/// Counts while it lives.
struct Counted(Gauge);

impl Counted {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Serves a relay that may.
pub(super) async fn serve(
    shared: &Arc<Shared>,
    mut stream: Tls,
    camera: CameraId,
    pod: PodUid,
    least: Generation,
    key: Option<KeyPin>,
    cancel: &CancellationToken,
) {
    let created = shared.parts.identities.created(&pod);
    let place = match shared.streams.enter(&camera, &pod, created) {
        Ok(place) => place,
        Err(reason) => return answer(shared, stream, &refuse(403, reason)).await,
    };
    if let Some(key) = key {
        announce(shared, &camera, &pod, key);
    }
    let found = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(refuse(503, "stopping")),
        () = place.superseded.cancelled() => Err(refuse(403, "superseded")),
        found = find(shared, &camera, least) => found,
        // It says nothing before the answer: what comes is its end, or not ours to pass on.
        early = stream.fill_buf() => match early {
            Ok(bytes) if !bytes.is_empty() => Err(refuse(400, "early")),
            _ => {
                shared.parts.metrics.closed.get_or_create(&Reason { reason: "peer_closed" }).inc();
                return;
            }
        },
    };
    let (mut landing, generation) = match found {
        Ok(found) => found,
        Err(refusal) => return answer(shared, stream, &refusal).await,
    };
    let head = opening(
        shared,
        200,
        &format!("Moorline-Generation: {generation}\r\n"),
    );
    count(shared, 200, "ok");
    let written = async {
        stream.write_all(head.as_bytes()).await?;
        stream.flush().await
    };
    if !matches!(
        timeout(&*shared.parts.clock, WRITE, written).await,
        Ok(Ok(()))
    ) {
        return;
    }
    tracing::info!(%generation, "a relay reads the camera");
    let _open = Counted::new(&shared.parts.metrics.streams);
    let reason = tokio::select! {
        biased;
        () = cancel.cancelled() => "stopping",
        () = place.superseded.cancelled() => "superseded",
        _ = copy_bidirectional_with_sizes(&mut stream, &mut landing, UP, DOWN) => "ended",
    };
    shared
        .parts
        .metrics
        .closed
        .get_or_create(&Reason { reason })
        .inc();
    tracing::info!(%generation, reason, "a relay's stream ended");
}

/// The camera's landing, or the answer that is given instead.
async fn find(
    shared: &Shared,
    camera: &CameraId,
    least: Generation,
) -> Result<(ByteStream, Generation), Answer> {
    let parts = &shared.parts;
    let clock = &*parts.clock;
    let deadline = clock.monotonic() + shared.config.hold;
    let _held = Counted::new(&parts.metrics.held);
    let forward = ForwardName::rtsp();
    loop {
        let left = deadline.saturating_duration_since(clock.monotonic());
        if left.is_zero() {
            return Err(refuse(503, "away"));
        }
        let seen = parts.holders.holder(camera);
        let mut pause = LOOK;
        match &seen {
            Holder::Unknown => return Err(refuse(404, "unknown")),
            Holder::Here(generation) if *generation >= least => {
                let landed = tokio::select! {
                    landed = parts.landings.connect(camera, &forward, least) => landed,
                    _ = parts.holders.changed(camera, &seen) => continue,
                    () = clock.sleep_until(deadline) => continue,
                };
                match landed {
                    Ok(landed) => return Ok(landed),
                    Err(LandingError::RefusedByCamera) => {
                        return Err(refuse(502, "refused_by_camera"));
                    }
                    Err(LandingError::Unknown) => return Err(refuse(404, "unknown")),
                    Err(LandingError::Superseded) => pause = SUPERSEDED,
                    Err(LandingError::Away) => {}
                }
            }
            // Nobody holds it, or only an older session is known: as if there were none.
            _ => {}
        }
        // Who is known as the holder may be gone since: a peer's word is newer.
        if !parts.holders.is_current()
            && let Some(address) = peers::ask(shared, camera, least).await
        {
            return Err(elsewhere(address));
        }
        if let Holder::There {
            address,
            generation,
        } = &seen
            && *generation >= least
        {
            return Err(elsewhere(*address));
        }
        tokio::select! {
            _ = parts.holders.changed(camera, &seen) => {}
            () = clock.sleep_until(clock.monotonic() + pause.min(left)) => {}
        }
    }
}

pub(super) fn elsewhere(address: SocketAddr) -> Answer {
    Answer {
        headers: format!("Location: https://{address}/\r\n"),
        ..refuse(307, "elsewhere")
    }
}

/// The keys that were told, and those that are being told.
#[derive(Debug, Default)]
pub(super) struct Announced(Mutex<HashMap<CameraId, (PodUid, KeyPin)>>);

impl Announced {
    fn with<T>(&self, change: impl FnOnce(&mut HashMap<CameraId, (PodUid, KeyPin)>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Forgets pods that are gone.
    pub(super) fn sweep(&self, identities: &dyn Identities) {
        self.with(|all| all.retain(|_, (pod, _)| identities.is_alive(pod)));
    }
}

/// Tells a relay's key, in the background, once. What fails is told again with the relay's next request or beat.
pub(super) fn announce(shared: &Arc<Shared>, camera: &CameraId, pod: &PodUid, key: KeyPin) {
    let told = (pod.clone(), key);
    let created = |pod: &PodUid| shared.parts.identities.created(pod);
    let news = shared.announced.with(|all| {
        let known = all.get(camera);
        let older = known.is_some_and(|(known, _)| {
            known != pod
                && created(pod)
                    .zip(created(known))
                    .is_some_and(|(new, old)| new < old)
        });
        // An older pod's key would lead readers to a relay that is being replaced.
        let news = !older && known != Some(&told);
        if news {
            all.insert(camera.clone(), told.clone());
        }
        news
    });
    if !news {
        return;
    }
    let (shared, camera) = (Arc::clone(shared), camera.clone());
    tokio::spawn(async move {
        let parts = &shared.parts;
        let announcing = parts.places.announce(&camera, &told.0, told.1);
        let why = match timeout(&*parts.clock, ANNOUNCE, announcing).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(late) => late.to_string(),
        };
        // Only the holder can; whoever is asked between two holders is not one.
        if matches!(parts.holders.holder(&camera), Holder::Here(_)) {
            tracing::warn!(%camera, reason = why, "the relay's key could not be told: trying again with its next beat");
        }
        shared.announced.with(|all| {
            if all.get(&camera) == Some(&told) {
                all.remove(&camera);
            }
        });
    });
}
