//! Opening byte streams to cameras: [`Landings`] of the tunnels.
//!
//! Owns: the wait for an absent camera (30 s), the opening of a `forwarded-tcpip` channel and its deadline (10 s). Does not own: which
//! session serves (`seats`).
//!
//! How its tasks end: each opening is a task that is never cancelled, since a late answer to an opening that nobody awaits ends the whole
//! session in russh. It ends with the camera's answer or with the session; a stream that comes too late is dropped, and so closed.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use moorline_base::clock;
use moorline_core::camera::Access;
use moorline_core::id::ForwardName;
use moorline_core::port::{ByteStream, LandingError, Landings};
use moorline_core::{CameraId, Generation};
use tokio::sync::oneshot;

use crate::seats::Serving;
use crate::server::{Inner, Tunnel};
use crate::stream::{Slot, TunnelStream};

/// What the camera is told about who connects: an address inside our process.
const ORIGINATOR: (&str, u32) = ("127.0.0.1", 0);

#[async_trait]
impl Landings for Tunnel {
    async fn connect(
        &self,
        camera: &CameraId,
        forward: &ForwardName,
        least: Generation,
    ) -> Result<(ByteStream, Generation), LandingError> {
        let inner = self.inner();
        let record = inner.directory.snapshot().get(camera).cloned();
        match record.as_deref().map(|camera| &camera.access) {
            Some(Access::Tunnel { forwards })
                if *forward == ForwardName::rtsp() || forwards.contains(forward) => {}
            _ => return Err(LandingError::Unknown),
        }
        let deadline = inner.clock.monotonic() + inner.config.away_deadline;
        let result = connect(inner, camera, forward, least, deadline).await;
        inner.seats.tidy(camera);
        match &result {
            Ok(_) => inner.metrics.stream_opened(),
            Err(error) => inner.metrics.stream_failed(error.into()),
        }
        result
    }
}

async fn connect(
    inner: &Arc<Inner>,
    camera: &CameraId,
    forward: &ForwardName,
    least: Generation,
    deadline: Instant,
) -> Result<(ByteStream, Generation), LandingError> {
    let mut seat = inner.seats.watch(camera);
    loop {
        let ready = seat.wait_for(|serving| {
            serving
                .as_ref()
                .is_some_and(|serving| serving.generation >= least)
        });
        let serving = tokio::select! {
            biased;
            serving = ready => match serving {
                Ok(serving) => serving.clone(),
                Err(_) => return Err(LandingError::Away),
            },
            () = inner.clock.sleep_until(deadline) => return Err(LandingError::Away),
        };
        let Some(serving) = serving else { continue };
        match open(inner, &serving, forward).await {
            Err(Failed::Gone) => {}
            Err(Failed::Port(error)) => return Err(error),
            Ok(stream) => return Ok((Box::new(stream), serving.generation)),
        }
        // The session ended while we asked: for a newer tunnel the caller asks again, for none we wait on.
        let newer = |now: &Serving| now.generation > serving.generation;
        if seat.borrow().as_ref().is_some_and(newer) {
            return Err(LandingError::Superseded);
        }
        let session = serving.session.id;
        let left = seat.wait_for(|now| now.as_ref().is_none_or(|now| now.session.id != session));
        tokio::select! {
            biased;
            left = left => if left.is_err() {
                return Err(LandingError::Away);
            },
            () = inner.clock.sleep_until(deadline) => return Err(LandingError::Away),
        }
    }
}

enum Failed {
    Gone,
    Port(LandingError),
}

async fn open(
    inner: &Arc<Inner>,
    serving: &Serving,
    forward: &ForwardName,
) -> Result<TunnelStream, Failed> {
    let session = &serving.session;
    let named = session.forwards(|forwards| forwards.named(forward).cloned());
    let forward = named.ok_or(Failed::Port(LandingError::Unknown))?;
    let handle = session.handle().cloned().ok_or(Failed::Gone)?;
    // A camera that answers nothing has its room used up at last, and is told to be refusing.
    let slot = Slot::take(session, inner.config.channels);
    let slot = slot.ok_or(Failed::Port(LandingError::RefusedByCamera))?;
    let (sender, answer) = oneshot::channel();
    let (owner, bound) = (Arc::clone(session), inner.config.queued_per_channel);
    inner.tracker.spawn(async move {
        let (from, from_port) = ORIGINATOR;
        let opened = handle
            .channel_open_forwarded_tcpip(forward.address, forward.port, from, from_port)
            .await;
        let stream = match opened {
            Ok(channel) => {
                // An unread read half would block the whole session: its bytes come by `Handler::data`.
                let (unread, writer) = channel.split();
                drop(unread);
                let queue = owner.queue_of(writer.id(), bound);
                queue
                    .map(|queue| TunnelStream::new(slot, queue, &writer))
                    .ok_or(Failed::Gone)
            }
            Err(russh::Error::ChannelOpenFailure(_)) => {
                Err(Failed::Port(LandingError::RefusedByCamera))
            }
            Err(_) => Err(Failed::Gone),
        };
        // Nobody awaits it any more: the stream is dropped, which closes the channel.
        let _ = sender.send(stream);
    });
    let limit = inner.config.open_deadline;
    tokio::select! {
        biased;
        answer = clock::timeout(&*inner.clock, limit, answer) => match answer {
            Ok(Ok(stream)) => stream,
            Ok(Err(_)) => Err(Failed::Gone),
            Err(_) => Err(Failed::Port(LandingError::RefusedByCamera)),
        },
        () = session.kill.cancelled() => Err(Failed::Gone),
    }
}
