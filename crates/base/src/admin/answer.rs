//! A connection whose peer has to take each answer in time (P9): else a few that do not read would hold every place of a small server.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use crate::clock::{SharedClock, sleep};

/// A stream that fails when what is written is not all taken in time; the time begins when it does not go at once, however much goes later.
pub(super) struct Answering<S> {
    stream: S,
    clock: SharedClock,
    limit: Duration,
    /// Runs while something waits.
    deadline: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    late: bool,
}

impl<S> Answering<S> {
    pub(super) fn new(stream: S, clock: SharedClock, limit: Duration) -> Self {
        Self {
            stream,
            clock,
            limit,
            deadline: None,
            late: false,
        }
    }

    /// What a step came to, once the deadline has been looked at.
    fn in_time<T>(
        &mut self,
        context: &mut Context<'_>,
        step: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if step.is_pending() && self.deadline.is_none() {
            let (clock, limit) = (self.clock.clone(), self.limit);
            self.deadline = Some(Box::pin(async move {
                let _ = sleep(&*clock, limit, &CancellationToken::new()).await;
            }));
        }
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(context).is_ready()
        {
            self.deadline = None;
            self.late = true;
        }
        if self.late {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        step
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Answering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Answering<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let step = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.in_time(context, step)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let step = Pin::new(&mut self.stream).poll_flush(context);
        if step.is_ready() && !self.late {
            // hyper flushes when it has written all.
            self.deadline = None;
        }
        self.in_time(context, step)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let step = Pin::new(&mut self.stream).poll_shutdown(context);
        self.in_time(context, step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const LIMIT: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn what_is_taken_in_time_leaves_the_next_its_whole_time() {
        let (mut peer, ours) = tokio::io::duplex(16);
        let mut ours = Answering::new(ours, SystemClock::shared(), LIMIT);
        let mut pause = tokio::time::interval(LIMIT * 2 / 3);
        let reading = async {
            for _ in 0..4 {
                pause.tick().await;
                peer.read_exact(&mut [0; 32]).await.expect("an answer");
            }
        };
        let writing = async {
            for _ in 0..4 {
                ours.write_all(&[7; 32]).await.expect("in time");
                ours.flush().await.expect("in time");
            }
        };
        tokio::join!(reading, writing);
    }
}
