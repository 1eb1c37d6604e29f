//! One browser's way through the ring.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use moorline_base::CancellationToken;
use moorline_core::port::{LiveFeed, LiveItem, RelayError};
use tokio::sync::watch;

use super::muxer::Muxer;
use crate::hub::{Found, Seat};
use crate::metrics::Kind;
use crate::reader::Environment;
use crate::ring::{Chunk, Fetch, FrameKind, Position};
use crate::source::{Layout, Lease, Source, Stage};

/// Chunks of one pull: what a browser holds beyond the ring.
const PULL: usize = 4 << 20;
/// A stream that has just begun may bring its first sound so much later than its first picture.
const SOUND_PATIENCE: Duration = Duration::from_millis(1500);

/// A live stream for one browser.
pub(crate) struct Feed {
    lease: Lease,
    layout: Arc<Layout>,
    ending: CancellationToken,
    environment: Environment,
    _seat: Option<Seat>,
    changes: watch::Receiver<u64>,
    cursor: Position,
    epoch: u64,
    muxer: Muxer,
    /// When the browser took something last, and whether it has fallen behind since.
    taken: Duration,
    behind: bool,
    over: Option<RelayError>,
}

/// Opens a feed at the last key frame; waits for the first, without a deadline of its own.
///
/// # Errors
/// [`RelayError::NotPlayable`], [`RelayError::Ended`].
pub(crate) async fn open(found: Found, environment: Environment) -> Result<Feed, RelayError> {
    let Found {
        lease,
        layout,
        ending,
        seat,
        ..
    } = found;
    let source = Arc::clone(lease.source());
    let muxer = Muxer::new(&layout)?;
    let mut changes = source.changes();
    let cursor = loop {
        changes.borrow_and_update();
        let (key, stage, since) = source.look(|inner| {
            let key = inner
                .ring
                .last_key()
                .map(|key| (key, sounds(inner, &muxer, key)));
            (key, inner.stage, inner.played_since)
        });
        let patience = source.instant(since + SOUND_PATIENCE);
        match key {
            Some((key, sounds)) if sounds || environment.clock.monotonic() >= patience => {
                break key;
            }
            _ if stage == Stage::Ended => return Err(RelayError::Ended),
            _ => {}
        }
        tokio::select! {
            changed = changes.changed() => changed.map_err(|_| RelayError::Ended)?,
            () = environment.clock.sleep_until(patience), if key.is_some() => (),
        }
    };
    let kind = lease.kind().as_str();
    tracing::info!(camera = %source.camera, source = %source.name, kind, "a reader plays");
    Ok(Feed {
        epoch: source.look(|inner| inner.ring.epoch()),
        taken: source.now(),
        behind: false,
        lease,
        layout,
        ending,
        environment,
        _seat: seat,
        changes,
        cursor,
        muxer,
        over: None,
    })
}

/// Whether sound has come since the key frame, or none is to be waited for.
fn sounds(inner: &crate::source::Inner, muxer: &Muxer, key: Position) -> bool {
    let Some(track) = muxer.sound_track else {
        return true;
    };
    inner
        .ring
        .marks_from(key)
        .any(|(_, mark)| mark.track == track && matches!(mark.kind, FrameKind::Packet(_)))
}

impl Feed {
    fn source(&self) -> Arc<Source> {
        Arc::clone(self.lease.source())
    }

    /// Takes what the ring has, and makes items of it.
    fn pull(&mut self) -> Result<(), RelayError> {
        let source = self.source();
        self.changes.borrow_and_update();
        let mut bytes = 0;
        while bytes < PULL {
            let (fetch, layout, stage) = source.look(|inner| {
                let fetch = inner.ring.fetch(self.cursor.chunk);
                (fetch, inner.layout.clone(), inner.stage)
            });
            match fetch {
                Fetch::Chunk(chunk) => {
                    if chunk.epoch != self.epoch {
                        self.renew(&layout.ok_or(RelayError::Ended)?)?;
                        self.epoch = chunk.epoch;
                    }
                    bytes += chunk.data.len();
                    self.chunk(&source, &chunk);
                    self.cursor = Position {
                        chunk: chunk.index + 1,
                        frame: 0,
                    };
                }
                Fetch::Overrun => self.jump(&source),
                Fetch::NotYet if stage == Stage::Ended => return Err(RelayError::Ended),
                Fetch::NotYet => break,
            }
        }
        self.muxer.check_sound(source.now());
        self.muxer.emit();
        Ok(())
    }

    /// The camera began anew, perhaps with other tracks. The browser's clock goes on where the tracks are the same.
    fn renew(&mut self, layout: &Arc<Layout>) -> Result<(), RelayError> {
        if layout.id != self.layout.id {
            let mut items = std::mem::take(&mut self.muxer.items);
            self.muxer = Muxer::new(layout)?;
            std::mem::swap(&mut self.muxer.items, &mut items);
        }
        self.layout = Arc::clone(layout);
        self.muxer.wait_for_key();
        Ok(())
    }

    /// The browser fell behind: it goes on with the last key frame, or waits for the next.
    fn jump(&mut self, source: &Source) {
        self.behind = true;
        self.muxer.wait_for_key();
        self.cursor = source.look(|inner| {
            inner.ring.last_key().unwrap_or(Position {
                chunk: inner.ring.next_index(),
                frame: 0,
            })
        });
        let kind = self.lease.kind().as_str();
        self.environment
            .metrics
            .reader_jumps
            .get_or_create(&Kind { kind })
            .inc();
    }

    fn chunk(&mut self, source: &Source, chunk: &Chunk) {
        let age = source.now().saturating_sub(chunk.arrival);
        let wall = source.wall() - age;
        let (video, sound) = (self.muxer.video_track, self.muxer.sound_track);
        let instant = |track: usize| {
            move |timestamp: u32| source.look(|inner| inner.clocks.wall(track, timestamp))
        };
        for mark in chunk.frames.iter().skip(self.cursor.frame) {
            match &mark.kind {
                FrameKind::Packet(marks) => {
                    let packet = chunk.data.slice(mark.start + 4..mark.end);
                    if mark.track == video {
                        self.muxer
                            .picture(&packet, marks.damaged, wall, instant(video));
                    } else if Some(mark.track) == sound {
                        self.muxer
                            .sound(&packet, chunk.arrival, instant(mark.track));
                    }
                }
                FrameKind::Lost { disposable, .. } if mark.track == video && !disposable => {
                    self.muxer.wait_for_key();
                }
                FrameKind::Lost { .. } | FrameKind::SenderReport => {}
            }
        }
    }
}

#[async_trait]
impl LiveFeed for Feed {
    async fn next(&mut self) -> Result<LiveItem, RelayError> {
        let source = self.source();
        loop {
            if let Some(item) = self.muxer.items.pop_front() {
                self.taken = source.now();
                self.behind = false;
                return Ok(item);
            }
            if let Some(over) = &self.over {
                return Err(over.clone());
            }
            if let Err(over) = self.pull() {
                self.over = Some(over);
                continue;
            }
            let since = source.now().saturating_sub(self.taken);
            if self.behind && since >= self.environment.config.stalled_after {
                self.over = Some(RelayError::Stalled);
                self.muxer.items.clear();
                continue;
            }
            if !self.muxer.items.is_empty() {
                continue;
            }
            tokio::select! {
                biased;
                () = self.ending.cancelled() => self.over = Some(RelayError::Ended),
                changed = self.changes.changed() => {
                    if changed.is_err() {
                        self.over = Some(RelayError::Ended);
                    }
                }
            }
        }
    }
}
