//! One connection to the camera, from DESCRIBE to its end.

use std::time::Duration;

use bytes::{Buf as _, Bytes};
use moorline_core::Generation;
use moorline_core::port::ByteStream;
use moorline_core::status::{RelayState, RtspFault};
use moorline_rtsp::client::{ClientError, ClientEvent, ClientSession};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::approach::Approach;
use super::{Once, Upstream, record_changed, unwanted};
use crate::alarm::Alarm;
use crate::fault::fault;
use crate::source::{Publisher, Source};

/// Room for one read; packets are slices of it until they are copied into the ring.
const READ: usize = 64 * 1024;
/// Events of one lock.
const BATCH: usize = 256;

struct Driver<'a> {
    upstream: &'a Upstream,
    session: ClientSession,
    publisher: Publisher,
    events: Vec<ClientEvent>,
    /// Whether anything came at all.
    heard: bool,
    played: Option<Duration>,
    path_index: usize,
    /// What `path_index` counts.
    paths: Vec<String>,
    closed: Option<Result<(), ClientError>>,
    resyncs: u64,
}

/// Reads the camera on `stream` until it ends, one way or another.
pub(super) async fn drive(
    upstream: &mut Upstream,
    approach: &mut Approach,
    authority: &str,
    stream: ByteStream,
    generation: Generation,
) -> Once {
    let source = std::sync::Arc::clone(&upstream.source);
    let cancel = upstream.cancel.clone();
    let mut least = upstream.least.clone();
    let config = approach.config(authority);
    let mut driver = Driver {
        paths: config.paths.clone(),
        session: ClientSession::new(config, source.now()),
        publisher: Publisher::new(&source, generation),
        events: Vec::new(),
        heard: false,
        played: None,
        path_index: 0,
        closed: None,
        resyncs: 0,
        upstream,
    };
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut output = Bytes::new();
    let mut alarm = Alarm::new(source.clock.clone());
    let mut why: Option<Once> = None;
    let unwanted = unwanted(&source, upstream.recorded, upstream.config.linger);
    let other_record = record_changed(&*upstream.directory, &source, approach.record());
    tokio::pin!(unwanted, other_record);
    loop {
        driver.take_events();
        if output.is_empty() {
            output = driver.session.take_output();
        }
        if let Some(closed) = driver.closed.take() {
            return why.unwrap_or_else(|| driver.ended(closed, approach));
        }
        alarm.set(driver.deadline());
        driver.session.buffer().reserve(READ);
        tokio::select! {
            read = reader.read_buf(driver.session.buffer()) => match read {
                Ok(count) if count > 0 => driver.read(count),
                _ => driver.session.on_end(source.now()),
            },
            // The old tunnel is dead, however it looks (P1): there is nobody to say TEARDOWN to.
            // What is read through the newer one already, since the landing led to it, is not begun anew.
            _ = least.wait_for(|least| *least > generation) => return Once::Again,
            () = cancel.cancelled(), if why.is_none() => {
                driver.session.stop(source.now());
                why = Some(Once::Stopped);
            }
            written = writer.write(&output), if !output.is_empty() => match written {
                Ok(count) if count > 0 => output.advance(count),
                _ => {
                    output.clear();
                    driver.session.on_end(source.now());
                }
            },
            () = alarm.wait() => {
                driver.session.on_time(source.now());
                if driver.silence() && why.is_none() {
                    driver.session.stop(source.now());
                    why = Some(Once::Again);
                }
            }
            () = &mut unwanted, if why.is_none() => {
                driver.session.stop(source.now());
                why = Some(Once::Unwanted);
            }
            () = &mut other_record, if why.is_none() => {
                tracing::info!(source = %source.name, "the camera's record has changed: connecting again");
                driver.session.stop(source.now());
                why = Some(Once::Again);
            }
        }
    }
}

impl Driver<'_> {
    fn source(&self) -> &Source {
        &self.upstream.source
    }

    fn read(&mut self, count: usize) {
        self.heard = true;
        self.upstream.metrics.received.inc_by(count as u64);
    }

    fn take_events(&mut self) {
        let now = self.source().now();
        while let Some(event) = self.session.poll(now) {
            match event {
                ClientEvent::Closed(result) => self.closed = Some(result),
                event => {
                    if let ClientEvent::Playing(tracks) = &event {
                        self.plays(tracks.len(), now);
                    }
                    if let ClientEvent::Described { path_index, .. } = &event {
                        self.path_index = *path_index;
                    }
                    self.events.push(event);
                }
            }
            if self.events.len() >= BATCH {
                self.publisher.publish(&mut self.events);
            }
        }
        self.publisher.publish(&mut self.events);
        let resyncs = self.session.statistics().resync_total;
        let new = resyncs.saturating_sub(self.resyncs);
        if new > 0 {
            self.resyncs = resyncs;
            self.upstream.metrics.resyncs.inc_by(new);
            self.source().note(|inner| inner.counts.resyncs += new);
        }
    }

    fn plays(&mut self, tracks: usize, now: Duration) {
        self.played = Some(now);
        self.path_index = self.session.path_index();
        let path = self.paths.get(self.path_index).cloned();
        self.source().note(|inner| inner.path = path);
        self.upstream.metrics.upstream_plays.inc();
        tracing::info!(source = %self.source().name, tracks, "the camera plays");
    }

    /// When something is due: the session's own, or silence.
    fn deadline(&self) -> Option<std::time::Instant> {
        let source = self.source();
        let silence = self.played.map(|_| {
            let (last, state) = source.look(|inner| (inner.last_media, inner.state));
            last + match state {
                RelayState::Silent => self.upstream.config.reconnect_silent_after,
                _ => self.upstream.config.silent_after,
            }
        });
        let due = [self.session.next_deadline(), silence]
            .into_iter()
            .flatten()
            .min();
        due.map(|due| source.instant(due))
    }

    /// Notes silence; `true` when it has lasted so long that the camera is to be connected again.
    fn silence(&mut self) -> bool {
        if self.played.is_none() {
            return false;
        }
        let source = self.source();
        let config = &self.upstream.config;
        let quiet = source
            .now()
            .saturating_sub(source.look(|inner| inner.last_media));
        if quiet >= config.silent_after && source.look(|inner| inner.state) == RelayState::Playing {
            tracing::warn!(source = %source.name, reason = "camera_silent", "the camera plays and sends nothing");
            source.set_state(RelayState::Silent);
        }
        quiet >= config.reconnect_silent_after
    }

    fn ended(&self, closed: Result<(), ClientError>, approach: &mut Approach) -> Once {
        let played = self
            .played
            .map(|since| self.source().now().saturating_sub(since));
        if played.is_some() {
            approach.plays(self.path_index);
        }
        let Err(error) = closed else {
            return Once::Again;
        };
        let asked = approach.wants_login();
        let again = match &error {
            ClientError::Ended {
                next_path: Some(next),
            } => approach.go_on_at(*next),
            ClientError::Unauthorized(_) => approach.unauthorized(self.session.path_index()),
            ClientError::NotFound { .. } if asked => approach.unauthorized(self.path_index),
            ClientError::NotFound { .. } => approach.failed(),
            ClientError::Ended { next_path: None } => {
                // Mostly the tunnel is gone and the next landing waits for it; a streamer that dies at once is a fault.
                played.is_some_and(|played| played >= super::STABLE_AFTER)
            }
            _ => false,
        };
        if again {
            tracing::info!(source = %self.source().name, reason = error.reason(), "connecting again");
            return if played.is_some() {
                Once::Again
            } else {
                Once::Next
            };
        }
        if asked && matches!(error, ClientError::NotFound { .. }) {
            let text = "the camera wants a login, and none that known firmware is delivered with";
            return Once::Fault(RtspFault::Unauthorized, text.to_owned());
        }
        let fault = match fault(&error) {
            RtspFault::Closed if !self.heard => RtspFault::RefusedByCamera,
            other => other,
        };
        Once::Fault(fault, error.to_string())
    }
}
