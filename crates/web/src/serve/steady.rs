//! A connection whose peer has to take what it asked for: a write that makes no progress for too long fails (P9), so that nobody holds an
//! answer, its buffers and its place for ever by not reading. The place of the connection lives as long as it, also after an upgrade.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use moorline_base::clock::{SharedClock, sleep};
use moorline_base::crowd::Place;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

/// A stream with a deadline on each step of writing.
pub(super) struct Steady<S> {
    stream: S,
    clock: SharedClock,
    stalled_after: Duration,
    /// Runs while a write waits.
    deadline: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    _place: Option<Place>,
}

impl<S> Steady<S> {
    pub(super) fn new(
        stream: S,
        clock: SharedClock,
        stalled_after: Duration,
        place: Option<Place>,
    ) -> Self {
        Self {
            stream,
            clock,
            stalled_after,
            deadline: None,
            _place: place,
        }
    }

    /// What a step of writing came to, once the deadline has been looked at.
    fn judged<T>(
        &mut self,
        context: &mut Context<'_>,
        step: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if step.is_ready() {
            self.deadline = None;
            return step;
        }
        let (clock, after) = (&self.clock, self.stalled_after);
        let deadline = self.deadline.get_or_insert_with(|| {
            let clock = clock.clone();
            Box::pin(async move {
                let _ = sleep(&*clock, after, &CancellationToken::new()).await;
            })
        });
        ready!(deadline.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Steady<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Steady<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let step = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judged(context, step)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let step = Pin::new(&mut self.stream).poll_flush(context);
        self.judged(context, step)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let step = Pin::new(&mut self.stream).poll_shutdown(context);
        self.judged(context, step)
    }
}
