//! One bound for the queues of all connections, kept after every push: the fullest queue makes room first.

use std::time::Duration;

use super::queue::{Kind, Queue};

/// The queues of all connections.
#[derive(Debug)]
pub(crate) struct Pool {
    queues: Vec<Slot>,
    limit: usize,
}

#[derive(Debug)]
struct Slot {
    connection: u32,
    queue: Queue,
    /// The streamer's side has ended: what waits is still sent.
    ended: bool,
}

/// What a push did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Pushed {
    /// 1 where a picture began with this frame.
    pub(crate) pictures: u32,
    /// Pictures that were dropped, of any connection.
    pub(crate) dropped: u32,
    /// Connections have to be closed: nothing was left that may be dropped.
    pub(crate) overflow: Option<u32>,
}

/// What a writer gets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Whole frames.
    Bytes(Vec<u8>),
    /// Nothing yet.
    Wait,
    /// The connection is over.
    End,
}

impl Pool {
    /// An empty pool with its bound in bytes.
    #[must_use]
    pub(crate) fn new(limit: usize) -> Self {
        let queues = Vec::new();
        Pool { queues, limit }
    }

    /// Another bound. It is kept from the next push on.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// How many connections there are.
    #[must_use]
    pub(crate) fn connections(&self) -> usize {
        self.queues.len()
    }

    /// Bytes that wait, of all connections.
    #[must_use]
    pub(crate) fn bytes(&self) -> usize {
        self.queues.iter().map(|slot| slot.queue.bytes()).sum()
    }

    /// A new connection.
    pub(crate) fn open(&mut self, connection: u32) {
        self.queues.push(Slot {
            connection,
            queue: Queue::default(),
            ended: false,
        });
    }

    /// The streamer has closed its side.
    pub(crate) fn end(&mut self, connection: u32) {
        if let Some(slot) = self.slot(connection) {
            slot.ended = true;
        }
    }

    /// The connection is gone.
    pub(crate) fn close(&mut self, connection: u32) {
        self.queues.retain(|slot| slot.connection != connection);
    }

    fn slot(&mut self, connection: u32) -> Option<&mut Slot> {
        let mut slots = self.queues.iter_mut();
        slots.find(|slot| slot.connection == connection)
    }

    /// Takes a frame; afterwards the bound holds.
    pub(crate) fn push(
        &mut self,
        connection: u32,
        bytes: Vec<u8>,
        kind: Kind,
        now: Duration,
    ) -> Pushed {
        let mut pushed = Pushed::default();
        let Some(slot) = self.slot(connection) else {
            return pushed;
        };
        slot.queue.push(bytes, kind, now);
        pushed.pictures = slot.queue.take_pictures();
        while self.bytes() > self.limit {
            let mut fullest: Vec<&mut Slot> = self.queues.iter_mut().collect();
            fullest.sort_unstable_by_key(|slot| std::cmp::Reverse(slot.queue.bytes()));
            let shrunk = fullest.iter_mut().any(|slot| slot.queue.shrink(now));
            if !shrunk {
                // Text, or one picture, beyond the bound: the fullest connection is nobody's any more.
                pushed.overflow = fullest.first().map(|slot| slot.connection);
                if let Some(slot) = fullest.into_iter().next() {
                    slot.queue = Queue::default();
                    slot.ended = true;
                }
                break;
            }
        }
        let queues = self.queues.iter_mut();
        pushed.dropped = queues.map(|slot| slot.queue.take_dropped()).sum();
        pushed
    }

    /// The next whole frames of a connection, about `at_most` bytes.
    pub(crate) fn next(&mut self, connection: u32, at_most: usize) -> Next {
        let Some(slot) = self.slot(connection) else {
            return Next::End;
        };
        let mut bytes = Vec::new();
        while bytes.len() < at_most
            && let Some(frame) = slot.queue.pop()
        {
            if bytes.is_empty() {
                bytes = frame;
            } else {
                bytes.extend_from_slice(&frame);
            }
        }
        match (bytes.is_empty(), slot.ended) {
            (false, _) => Next::Bytes(bytes),
            (true, false) => Next::Wait,
            (true, true) => Next::End,
        }
    }
}
