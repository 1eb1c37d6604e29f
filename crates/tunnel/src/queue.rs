//! Bytes that arrived on a channel and wait for their reader (rule S10).
//!
//! russh re-opens the window on receipt and does not stop a peer that overruns it, so these bounds are the only ones: per channel, per
//! session, per tenant and in all. Over one of them the fullest channel under it closes; nobody waits.
//!
//! Owns: one queue per channel ([`Queue`]) and the sums ([`Held`]). Does not own: which channel closes (`handler`, `registry`).

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use prometheus_client::metrics::gauge::Gauge;
use tokio::io::ReadBuf;

/// An empty queue gives back a buffer that is greater than this: an idle channel holds at most so much.
const KEPT: usize = 64 * 1024;

/// A sum of bytes that wait, and its bound. The sum is a gauge, so that one of them can be exported.
#[derive(Debug)]
pub(crate) struct Held {
    bytes: Gauge,
    bound: usize,
}

impl Held {
    pub(crate) fn new(bound: usize) -> Self {
        Held::counted_by(Gauge::default(), bound)
    }

    pub(crate) fn counted_by(bytes: Gauge, bound: usize) -> Self {
        Held { bytes, bound }
    }

    fn bytes(&self) -> usize {
        usize::try_from(self.bytes.get()).unwrap_or(0)
    }

    fn add(&self, bytes: usize) {
        self.bytes.inc_by(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    fn take(&self, bytes: usize) {
        self.bytes.dec_by(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    fn over(&self, more: usize) -> bool {
        self.bytes().saturating_add(more) > self.bound
    }
}

/// The sums that a channel counts in.
#[derive(Debug, Clone)]
pub(crate) struct Sums {
    pub(crate) session: Arc<Held>,
    pub(crate) tenant: Arc<Held>,
    pub(crate) all: Arc<Held>,
}

impl Sums {
    fn each(&self) -> [&Held; 3] {
        [&self.session, &self.tenant, &self.all]
    }

    fn add(&self, bytes: usize) {
        for held in self.each() {
            held.add(bytes);
        }
    }

    fn take(&self, bytes: usize) {
        for held in self.each() {
            held.take(bytes);
        }
    }
}

moorline_core::words! {
    /// Which bound is reached.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Bound {
        Channel = "channel",
        Session = "session",
        Tenant = "tenant",
        All = "all",
    }
}

/// How a channel ended for its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// More may come.
    Open,
    /// The camera has sent all that it will; what waits is still read.
    Eof,
    /// The channel or its session is gone; what waited is dropped.
    Cut,
}

#[derive(Debug)]
struct State {
    bytes: VecDeque<u8>,
    end: End,
    /// Whether the peer, or we, closed the channel: nothing can be written.
    closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// The queue of one channel.
#[derive(Debug)]
pub(crate) struct Queue {
    bound: usize,
    sums: Sums,
    state: Mutex<State>,
}

impl Queue {
    pub(crate) fn new(bound: usize, sums: Sums) -> Self {
        let state = State {
            bytes: VecDeque::new(),
            end: End::Open,
            closed: false,
            reader: None,
            writer: None,
        };
        Queue {
            bound,
            sums,
            state: Mutex::new(state),
        }
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many bytes wait.
    pub(crate) fn len(&self) -> usize {
        self.with(|state| state.bytes.len())
    }

    /// Takes bytes in, or says which bound they would break; nothing is taken then. Bytes for a channel that ended are dropped.
    pub(crate) fn push(&self, data: &[u8]) -> Result<(), Bound> {
        let reader = self.with(|state| {
            if state.end != End::Open || state.closed {
                return Ok(None);
            }
            let more = data.len();
            if state.bytes.len().saturating_add(more) > self.bound {
                return Err(Bound::Channel);
            }
            let bounds = [Bound::Session, Bound::Tenant, Bound::All];
            for (held, bound) in self.sums.each().into_iter().zip(bounds) {
                if held.over(more) {
                    return Err(bound);
                }
            }
            state.bytes.extend(data);
            self.sums.add(more);
            Ok(state.reader.take())
        })?;
        wake(reader);
        Ok(())
    }

    /// The camera will send no more.
    pub(crate) fn eof(&self) {
        let reader = self.with(|state| {
            if state.end == End::Open {
                state.end = End::Eof;
            }
            state.reader.take()
        });
        wake(reader);
    }

    /// The camera closed the channel: what waits may still be read, nothing more can be written.
    pub(crate) fn close(&self) {
        self.eof();
        let writer = self.with(|state| {
            state.closed = true;
            state.writer.take()
        });
        wake(writer);
    }

    /// The channel ends at once: what waited is dropped, reads and writes fail.
    pub(crate) fn cut(&self) {
        let (reader, writer) = self.with(|state| {
            self.sums.take(state.bytes.len());
            state.bytes = VecDeque::new();
            // A reader that has the end already keeps it.
            state.end = End::Cut;
            state.closed = true;
            (state.reader.take(), state.writer.take())
        });
        wake(reader);
        wake(writer);
    }

    /// Whether nothing can be written any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.with(|state| state.closed)
    }

    /// As [`tokio::io::AsyncRead::poll_read`].
    pub(crate) fn poll_read(
        &self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.with(|state| {
            if state.bytes.is_empty() {
                return match state.end {
                    End::Open => {
                        register(&mut state.reader, context);
                        Poll::Pending
                    }
                    End::Eof => Poll::Ready(Ok(())),
                    End::Cut => Poll::Ready(Err(cut_off())),
                };
            }
            // Not by `Read`: that wants all the room that the reader offers to be zeroed first, 64 KiB for each packet.
            let (first, second) = state.bytes.as_slices();
            let mut taken = 0;
            for part in [first, second] {
                let count = part.len().min(buffer.remaining());
                buffer.put_slice(part.get(..count).unwrap_or_default());
                taken += count;
            }
            state.bytes.drain(..taken);
            self.sums.take(taken);
            if state.bytes.is_empty() && state.bytes.capacity() > KEPT {
                state.bytes = VecDeque::new();
            }
            Poll::Ready(Ok(()))
        })
    }

    /// Before a write: fails when the channel is closed, and wakes the writer when that happens while it waits.
    pub(crate) fn poll_writable(&self, context: &mut Context<'_>) -> io::Result<()> {
        self.with(|state| {
            if state.closed {
                return Err(cut_off());
            }
            register(&mut state.writer, context);
            Ok(())
        })
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let left = self.with(|state| state.bytes.len());
        self.sums.take(left);
    }
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the channel is closed")
}

fn register(slot: &mut Option<Waker>, context: &Context<'_>) {
    match slot {
        Some(waker) if waker.will_wake(context.waker()) => {}
        _ => *slot = Some(context.waker().clone()),
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sums(session: usize, tenant: usize, all: usize) -> Sums {
        Sums {
            session: Arc::new(Held::new(session)),
            tenant: Arc::new(Held::new(tenant)),
            all: Arc::new(Held::new(all)),
        }
    }

    fn read(queue: &Queue, most: usize) -> Option<Result<Vec<u8>, io::ErrorKind>> {
        let mut room = vec![0; most];
        let mut buffer = ReadBuf::new(&mut room);
        match queue.poll_read(&mut Context::from_waker(Waker::noop()), &mut buffer) {
            Poll::Pending => None,
            Poll::Ready(result) => Some(
                result
                    .map(|()| buffer.filled().to_vec())
                    .map_err(|error| error.kind()),
            ),
        }
    }

    #[test]
    fn each_bound_is_named_and_what_breaks_it_is_not_taken() {
        let all = Arc::new(Held::new(30));
        let of = |session: &Arc<Held>, tenant: &Arc<Held>| Sums {
            session: Arc::clone(session),
            tenant: Arc::clone(tenant),
            all: Arc::clone(&all),
        };
        let (session, tenant) = (Arc::new(Held::new(15)), Arc::new(Held::new(20)));
        let a = Queue::new(10, of(&session, &tenant));
        assert_eq!(a.push(&[0; 11]), Err(Bound::Channel));
        assert_eq!(a.push(&[0; 10]), Ok(()));
        assert_eq!(a.push(&[0; 1]), Err(Bound::Channel));
        let b = Queue::new(10, of(&session, &tenant));
        assert_eq!(b.push(&[0; 6]), Err(Bound::Session));
        let c = Queue::new(100, of(&Arc::new(Held::new(100)), &tenant));
        assert_eq!(c.push(&[0; 11]), Err(Bound::Tenant));
        let other = Arc::new(Held::new(100));
        let d = Queue::new(100, of(&other, &other));
        assert_eq!(d.push(&[0; 21]), Err(Bound::All));
        assert_eq!(all.bytes(), 10);
        a.cut();
        assert_eq!((all.bytes(), session.bytes(), tenant.bytes()), (0, 0, 0));
        assert_eq!(d.push(&[0; 30]), Ok(()));
        drop(d);
        assert_eq!(all.bytes(), 0, "a dropped queue gives its bytes back");
    }

    #[test]
    fn an_end_of_input_is_read_after_what_waits_and_a_cut_before_it() {
        let queue = Queue::new(100, sums(100, 100, 100));
        assert_eq!(read(&queue, 10), None);
        queue.push(b"abc").unwrap();
        queue.close();
        queue.push(b"late").unwrap();
        assert_eq!(read(&queue, 2), Some(Ok(b"ab".to_vec())));
        assert_eq!(read(&queue, 2), Some(Ok(b"c".to_vec())));
        assert_eq!(read(&queue, 2), Some(Ok(Vec::new())));
        assert!(queue.is_closed());
        let queue = Queue::new(100, sums(100, 100, 100));
        queue.push(b"of the old session").unwrap();
        queue.cut();
        assert_eq!(read(&queue, 2), Some(Err(io::ErrorKind::ConnectionReset)));
    }

    #[test]
    fn an_idle_channel_holds_little() {
        let queue = Queue::new(1 << 20, sums(1 << 20, 1 << 20, 1 << 20));
        queue.push(&vec![1; 1 << 20]).unwrap();
        while read(&queue, 1 << 16).is_some() {}
        assert!(queue.with(|state| state.bytes.capacity()) <= KEPT);
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out_and_is_counted(steps in proptest::collection::vec((0usize..200, 1usize..200), 1..50)) {
            let sums = sums(10_000, 10_000, 10_000);
            let queue = Queue::new(10_000, sums.clone());
            let (mut written, mut seen) = (Vec::new(), Vec::new());
            for (more, less) in steps {
                let data: Vec<u8> = (0..more).map(|at| (written.len() + at) as u8).collect();
                queue.push(&data).unwrap();
                written.extend(data);
                if let Some(Ok(bytes)) = read(&queue, less) {
                    seen.extend(bytes);
                }
                prop_assert_eq!(sums.all.bytes(), written.len() - seen.len());
            }
            queue.eof();
            while let Some(Ok(bytes)) = read(&queue, 64) {
                if bytes.is_empty() {
                    break;
                }
                seen.extend(bytes);
            }
            prop_assert_eq!(seen, written);
        }
    }
}
