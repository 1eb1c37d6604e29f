//! How media gets out to one reader: its way through the ring, what is queued, and the writing half of its stream.
//!
//! **Owns** what two take turns at: the reader's task, and whoever publishes media. While a reader keeps up, the publisher writes each picture
//! to it at once ([`Follower::offer`]): the picture costs the reader no wake-up and no turn of its task. For whatever else there is to do (the
//! socket is full, the reader was overrun, the stream is over) its task is called. **Does not own** the conversation (`connection`).
//!
//! The publisher waits for nobody (P5, P6): it writes what goes without waiting, and where it finds the lock taken it calls the task.

use std::future::Future as _;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use moorline_core::port::ByteStream;
use tokio::io::WriteHalf;
use tokio::sync::Notify;
use tokio::task::coop::unconstrained;

use super::feed::{Feed, Over};
use super::outbox::Outbox;
use crate::metrics::{Kind, ProxyMetrics};
use crate::source::Follower;

/// The task looks so often while media flows: the RTSP session counts how long its peer says nothing.
const LOOK: Duration = Duration::from_secs(1);

/// A reader's lane.
pub(super) struct Lane {
    started: Instant,
    metrics: ProxyMetrics,
    state: Mutex<State>,
    called: Notify,
}

/// What is behind the lock. Moments are on the reader's clock.
pub(super) struct State {
    writer: WriteHalf<ByteStream>,
    pub(super) outbox: Outbox,
    pub(super) feed: Option<Feed>,
    /// The last write, or when there was nothing to write.
    pub(super) progress: Duration,
    /// What was found and the task has not seen yet.
    pub(super) found: Found,
    /// When the task looked last.
    looked: Duration,
}

/// What the task has to know.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Found {
    /// Nothing more will come.
    pub(super) over: Option<Over>,
    /// The stream failed.
    pub(super) broken: bool,
    /// When media was queued last.
    pub(super) media: Option<Duration>,
}

impl Lane {
    pub(super) fn new(
        writer: WriteHalf<ByteStream>,
        started: Instant,
        metrics: ProxyMetrics,
    ) -> Arc<Self> {
        let state = State {
            writer,
            outbox: Outbox::default(),
            feed: None,
            progress: Duration::ZERO,
            found: Found::default(),
            looked: Duration::ZERO,
        };
        Arc::new(Self {
            started,
            metrics,
            state: Mutex::new(state),
            called: Notify::new(),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the task is called. Cancel-safe.
    pub(super) async fn called(&self) {
        self.called.notified().await;
    }

    /// The task's turn: takes what is there, and gives what was found.
    pub(super) fn look(&self, now: Duration, answers: bytes::Bytes) -> Found {
        let mut state = self.lock();
        state.looked = now;
        state.note_progress(now);
        state.outbox.push(answers);
        state.fill(now, &self.metrics);
        std::mem::take(&mut state.found)
    }

    /// Writes what goes; the task is woken when more goes. `true`: something was written, or nothing waits.
    pub(super) fn write(&self, now: Duration, context: &mut Context<'_>) -> bool {
        self.lock().write(now, &self.metrics, context)
    }
}

impl Follower for Lane {
    fn offer(&self, now: Instant) {
        let Ok(mut state) = self.state.try_lock() else {
            self.call();
            return;
        };
        let now = now.saturating_duration_since(self.started);
        if state.offer(now, &self.metrics) {
            self.call();
        }
    }

    fn call(&self) {
        self.called.notify_one();
    }
}

impl State {
    fn note_progress(&mut self, now: Duration) {
        if self.outbox.is_done() {
            self.progress = now;
        }
    }

    /// Fetches media, if there is a use in it.
    fn fill(&mut self, now: Duration, metrics: &ProxyMetrics) {
        let outbox = &self.outbox;
        let Some(feed) = self.feed.as_mut().filter(|feed| feed.wants(outbox)) else {
            return;
        };
        let jumps = feed.jumps;
        match feed.fill(&mut self.outbox) {
            Ok(true) => self.found.media = Some(now),
            Ok(false) => (),
            Err(over) => self.found.over = Some(over),
        }
        let jumps = feed.jumps - jumps;
        if jumps > 0 {
            let kind = if feed.is_archiver() {
                "archiver"
            } else {
                "viewer"
            };
            let kind = Kind { kind };
            metrics.reader_jumps.get_or_create(&kind).inc_by(jumps);
        }
    }

    fn write(&mut self, now: Duration, metrics: &ProxyMetrics, context: &mut Context<'_>) -> bool {
        match self.outbox.write_now(&mut self.writer, context) {
            Ok(0) => self.outbox.is_done(),
            Ok(count) => {
                metrics.sent.inc_by(count as u64);
                self.progress = now;
                true
            }
            Err(_) => {
                self.outbox.clear();
                self.found.broken = true;
                true
            }
        }
    }

    /// The publisher's turn. `true`: the task is to look.
    fn offer(&mut self, now: Duration, metrics: &ProxyMetrics) -> bool {
        let Some(feed) = &mut self.feed else {
            return false;
        };
        if !self.outbox.is_done() {
            // The task waits for the socket, and goes on from there.
            feed.behind = true;
            return feed.wants(&self.outbox);
        }
        self.note_progress(now);
        self.fill(now, metrics);
        // Without the budget of the publisher's task, which is not a reader's: an empty one looks like a full socket. And without a waker:
        // who waits for a full socket is the reader's task.
        let writing = unconstrained(std::future::poll_fn(|context| {
            Poll::Ready(self.write(now, metrics, context))
        }));
        let _ = pin!(writing).poll(&mut Context::from_waker(Waker::noop()));
        let is_behind = self.feed.as_ref().is_some_and(|feed| feed.behind);
        !self.outbox.is_done()
            || is_behind
            || self.found.broken
            || self.found.over.is_some()
            || (self.found.media.is_some() && now >= self.looked + LOOK)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, DuplexStream};

    use super::super::feed::tests::{feed, picture, playing};
    use super::*;
    use crate::config::RingLimits;
    use crate::source::{Following, Publisher, Source};

    /// A reader whose task has looked once, and the other end of its stream, which holds so many bytes.
    fn reader(source: &Arc<Source>, room: usize) -> (Arc<Lane>, Following, DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(room);
        let (_, writer) = tokio::io::split(Box::new(ours) as ByteStream);
        let lane = Lane::new(
            writer,
            source.instant(Duration::ZERO),
            ProxyMetrics::default(),
        );
        lane.lock().feed = Some(feed(source, 0));
        let following = Following::new(source, Arc::clone(&lane) as _);
        turn(&lane, source);
        (lane, following, theirs)
    }

    /// A turn of the task: what it found.
    fn turn(lane: &Lane, source: &Source) -> Found {
        let found = lane.look(source.now(), bytes::Bytes::new());
        lane.write(source.now(), &mut Context::from_waker(Waker::noop()));
        found
    }

    /// How many bytes have arrived.
    fn arrived(stream: &mut DuplexStream) -> usize {
        let mut bytes = Vec::new();
        while let Some(Ok(1..)) = stream.read_buf(&mut bytes).now_or_never() {}
        bytes.len()
    }

    fn start() -> (Arc<Source>, Publisher) {
        let (source, publisher) = playing(RingLimits::default());
        picture(&publisher, 0);
        (source, publisher)
    }

    #[tokio::test]
    async fn a_picture_reaches_who_keeps_up_without_a_turn_of_its_task() {
        let (source, publisher) = start();
        let (lane, _following, mut stream) = reader(&source, 1 << 20);
        let one = arrived(&mut stream);
        assert!(one > 40_000, "the picture that was there: {one} bytes");
        picture(&publisher, 1);
        assert_eq!(arrived(&mut stream), one);
        assert!(lane.called().now_or_never().is_none(), "its task sleeps");
    }

    #[tokio::test]
    async fn a_full_socket_calls_its_own_task_and_keeps_nothing_from_others() {
        let (source, publisher) = start();
        let (lane, _following, mut stream) = reader(&source, 50_000);
        let (_, _other, mut others) = reader(&source, 1 << 20);
        let one = arrived(&mut others);
        picture(&publisher, 1);
        assert!(lane.called().now_or_never().is_some(), "it has to wait");
        picture(&publisher, 2);
        assert_eq!(arrived(&mut others), 2 * one);
        let mut got = 0;
        while got < 3 * one {
            let more = arrived(&mut stream);
            assert!(more > 0, "{got} bytes, and no more");
            got += more;
            turn(&lane, &source);
        }
        assert!(lane.lock().outbox.is_done());
    }

    #[tokio::test]
    async fn whoever_is_at_work_is_called_and_finds_what_is_new() {
        let (source, publisher) = start();
        let (lane, _following, mut stream) = reader(&source, 1 << 20);
        let one = arrived(&mut stream);
        let at_work = lane.lock();
        picture(&publisher, 1);
        drop(at_work);
        assert_eq!(arrived(&mut stream), 0);
        assert!(lane.called().now_or_never().is_some());
        assert!(turn(&lane, &source).media.is_some());
        assert_eq!(arrived(&mut stream), one);
    }

    #[tokio::test]
    async fn the_end_is_for_the_task_to_tell() {
        let (source, _publisher) = start();
        let (lane, _following, _stream) = reader(&source, 1 << 20);
        source.end();
        assert!(lane.called().now_or_never().is_some());
        assert_eq!(turn(&lane, &source).over, Some(Over::Ended));
    }
}
