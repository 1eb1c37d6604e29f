//! The state of one connection, shared by its russh handler, its landing and whoever ends it.
//!
//! ```text
//! Stranger ── key proved ──▶ Idle ── first forward ──▶ Waiting ── serve(g) ──▶ Serving(g)
//!     └──────────────────────┴─────────────────────────┴──────────────────────┴──▶ Ended (never left)
//! ```
//!
//! Owns: the stage, the kill switch and the reason, the channels that we opened with their queues, the monitor's queue of lines. Does not
//! own: the socket (`wire`), the table of all sessions (`registry`). Locks here are held for a few instructions and never while a port is
//! called: a port may call back.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use moorline_base::CancellationToken;
use moorline_core::{Camera, Generation, PublicKey, SessionId};
use russh::ChannelId;
use russh::server::Handle;
use tokio::sync::{Notify, mpsc};

use crate::closed::Closed;
use crate::forward::Forwards;
use crate::queue::{Queue, Sums};

/// Who a session proved to be.
#[derive(Debug)]
pub(crate) struct Proved {
    pub(crate) camera: Arc<Camera>,
    pub(crate) key: PublicKey,
    pub(crate) sums: Sums,
}

/// What a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// No key is proved.
    Stranger,
    /// The key is proved, no forward granted.
    Idle,
    /// A forward is granted; the claim is not back.
    Waiting,
    /// The landing is this session.
    Serving(Generation),
    /// It is over, and the monitor knows.
    Ended,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) peer: SocketAddr,
    /// Cancelled: every read and write of the socket fails.
    pub(crate) kill: CancellationToken,
    /// Cancelled: the key is proved.
    pub(crate) proved_key: CancellationToken,
    /// Cancelled: say goodbye, and kill a second later.
    pub(crate) goodbye: CancellationToken,
    /// Channels that wait to be closed by us.
    pub(crate) closing: Notify,
    /// A key was refused.
    pub(crate) refused_key: AtomicBool,
    /// A key was refused that had not been refused to this network before.
    pub(crate) refused_stranger: AtomicBool,
    client: OnceLock<Box<str>>,
    proved: OnceLock<Proved>,
    handle: OnceLock<Handle>,
    reason: OnceLock<Closed>,
    stage: Mutex<Stage>,
    forwards: Mutex<Forwards>,
    queues: Mutex<HashMap<ChannelId, Arc<Queue>>>,
    to_close: Mutex<Vec<ChannelId>>,
    channels: AtomicUsize,
    lines: Mutex<Option<mpsc::Sender<Bytes>>>,
}

fn with<T, R>(mutex: &Mutex<T>, look: impl FnOnce(&mut T) -> R) -> R {
    look(&mut mutex.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Session {
    pub(crate) fn new(id: SessionId, peer: SocketAddr) -> Arc<Self> {
        Arc::new(Session {
            id,
            peer,
            kill: CancellationToken::new(),
            proved_key: CancellationToken::new(),
            goodbye: CancellationToken::new(),
            closing: Notify::new(),
            refused_key: AtomicBool::new(false),
            refused_stranger: AtomicBool::new(false),
            client: OnceLock::new(),
            proved: OnceLock::new(),
            handle: OnceLock::new(),
            reason: OnceLock::new(),
            stage: Mutex::new(Stage::Stranger),
            forwards: Mutex::new(Forwards::default()),
            queues: Mutex::new(HashMap::new()),
            to_close: Mutex::new(Vec::new()),
            channels: AtomicUsize::new(0),
            lines: Mutex::new(None),
        })
    }

    /// The client's version line, untrusted; empty until it came.
    pub(crate) fn client(&self) -> &str {
        self.client.get().map_or("", |client| client)
    }

    pub(crate) fn set_client(&self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let _ = self.client.set(line.trim_end().into());
    }

    /// Who it is, once the key is proved.
    pub(crate) fn proved(&self) -> Option<&Proved> {
        self.proved.get()
    }

    /// The key is proved.
    pub(crate) fn prove(&self, proved: Proved) {
        let _ = self.proved.set(proved);
        self.step(|stage| (stage == Stage::Stranger).then_some(Stage::Idle));
        self.proved_key.cancel();
    }

    /// russh's handle of an authenticated session.
    pub(crate) fn handle(&self) -> Option<&Handle> {
        self.handle.get()
    }

    pub(crate) fn set_handle(&self, handle: Handle) {
        let _ = self.handle.set(handle);
    }

    pub(crate) fn stage(&self) -> Stage {
        with(&self.stage, |stage| *stage)
    }

    fn step(&self, next: impl FnOnce(Stage) -> Option<Stage>) -> bool {
        with(&self.stage, |stage| {
            let next = next(*stage);
            if let Some(next) = next {
                *stage = next;
            }
            next.is_some()
        })
    }

    /// The first forward is granted. True once.
    pub(crate) fn up(&self) -> bool {
        self.step(|stage| (stage == Stage::Idle).then_some(Stage::Waiting))
    }

    /// The monitor has no room for it: its end is not told either.
    pub(crate) fn not_taken(&self) {
        self.step(|stage| (stage == Stage::Waiting).then_some(Stage::Idle));
    }

    /// It may serve. False if it is no tunnel, or over.
    pub(crate) fn serve(&self, generation: Generation) -> bool {
        self.step(|stage| match stage {
            Stage::Waiting | Stage::Serving(_) => Some(Stage::Serving(generation)),
            _ => None,
        })
    }

    /// It is over: nothing is read or written through it any more. Returns the stage before; `None` if it was over already.
    pub(crate) fn over(&self) -> Option<Stage> {
        let before = with(&self.stage, |stage| std::mem::replace(stage, Stage::Ended));
        if before == Stage::Ended {
            return None;
        }
        with(&self.lines, |lines| *lines = None);
        for queue in self.queues() {
            queue.cut();
        }
        Some(before)
    }

    /// Ends the connection now. The first reason counts.
    pub(crate) fn end(&self, reason: Closed) {
        let _ = self.reason.set(reason);
        self.kill.cancel();
    }

    /// Ends the connection with a goodbye, for at most a second.
    pub(crate) fn end_politely(&self, reason: Closed) {
        let _ = self.reason.set(reason);
        self.goodbye.cancel();
    }

    /// Why we ended it, if we did.
    pub(crate) fn reason(&self) -> Option<Closed> {
        self.reason.get().copied()
    }

    pub(crate) fn forwards<T>(&self, look: impl FnOnce(&mut Forwards) -> T) -> T {
        with(&self.forwards, look)
    }

    /// Counts a channel, unless there are `most` already.
    pub(crate) fn take_channel(&self, most: usize) -> bool {
        self.channels
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
                (open < most).then_some(open + 1)
            })
            .is_ok()
    }

    /// A channel that was counted is gone.
    pub(crate) fn free_channel(&self) {
        self.channels.fetch_sub(1, Ordering::Relaxed);
    }

    /// The queue of a channel that we opened, made at its confirmation or by its opener, whoever is first: bytes may come before the
    /// opener runs.
    pub(crate) fn queue_of(&self, channel: ChannelId, bound: usize) -> Option<Arc<Queue>> {
        let sums = &self.proved()?.sums;
        let queue = with(&self.queues, |queues| {
            let queue = queues.entry(channel);
            Arc::clone(queue.or_insert_with(|| Arc::new(Queue::new(bound, sums.clone()))))
        });
        if self.stage() == Stage::Ended {
            queue.cut();
        }
        Some(queue)
    }

    /// The queue of a channel, if it is one that we opened.
    pub(crate) fn queue(&self, channel: ChannelId) -> Option<Arc<Queue>> {
        with(&self.queues, |queues| queues.get(&channel).cloned())
    }

    /// All queues.
    pub(crate) fn queues(&self) -> Vec<Arc<Queue>> {
        with(&self.queues, |queues| queues.values().cloned().collect())
    }

    /// The queue with the most bytes, if any waits.
    pub(crate) fn fullest(&self) -> Option<(usize, ChannelId)> {
        with(&self.queues, |queues| {
            let lengths = queues.iter().map(|(id, queue)| (queue.len(), *id));
            lengths.filter(|(length, _)| *length > 0).max()
        })
    }

    /// The stream of a channel was dropped: forget its queue, and have it closed if the peer did not.
    pub(crate) fn drop_channel(&self, channel: ChannelId) {
        let queue = with(&self.queues, |queues| queues.remove(&channel));
        if let Some(queue) = queue {
            if !queue.is_closed() {
                self.close_channel(channel);
            }
            queue.cut();
        }
    }

    /// Has a channel closed by the session's task: a callback of another session cannot.
    pub(crate) fn close_channel(&self, channel: ChannelId) {
        with(&self.to_close, |waiting| waiting.push(channel));
        self.closing.notify_one();
    }

    /// Takes the channels that wait to be closed.
    pub(crate) fn take_closing(&self) -> Vec<ChannelId> {
        with(&self.to_close, std::mem::take)
    }

    /// The monitor's channel is open: lines may be sent.
    pub(crate) fn open_lines(&self, sender: mpsc::Sender<Bytes>) {
        with(&self.lines, |lines| *lines = Some(sender));
    }

    /// Queues a line. False if there is no channel or 16 wait.
    pub(crate) fn send_line(&self, line: Bytes) -> bool {
        with(&self.lines, |lines| {
            lines
                .as_ref()
                .is_some_and(|lines| lines.try_send(line).is_ok())
        })
    }
}
