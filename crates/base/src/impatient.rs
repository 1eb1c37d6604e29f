//! A connection whose peer has to take in time what it asked for (P9): else whoever does not read holds an answer, its buffers and its place
//! for ever.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::clock::{SharedClock, Sleeping};
use crate::crowd::Place;

/// What a peer has to take in how long. The time begins when something does not go at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// All that is written until the next flush, however much goes meanwhile: hyper flushes when it has written an answer.
    Answer(Duration),
    /// A piece, whatever its size: who takes a whole recording may be slow, and only has to go on.
    Step(Duration),
}

/// A stream that fails, from then on, when what is written is not taken in time.
pub struct Impatient<S> {
    stream: S,
    clock: SharedClock,
    patience: Patience,
    /// Runs while something waits.
    deadline: Option<Sleeping>,
    late: bool,
    _place: Option<Place>,
}

impl<S> Impatient<S> {
    /// Around `stream`, by the time of `clock`.
    #[must_use]
    pub fn new(stream: S, clock: SharedClock, patience: Patience) -> Self {
        Self {
            stream,
            clock,
            patience,
            deadline: None,
            late: false,
            _place: None,
        }
    }

    /// The same, which keeps the connection's place for as long as it lives, also after an upgrade.
    #[must_use]
    pub fn keeping(mut self, place: Option<Place>) -> Self {
        self._place = place;
        self
    }

    /// What a step came to, once the deadline has been looked at; `ends` says whether one that is ready ends the wait.
    fn in_time<T>(
        &mut self,
        context: &mut Context<'_>,
        step: Poll<io::Result<T>>,
        ends: bool,
    ) -> Poll<io::Result<T>> {
        if step.is_ready() && ends {
            self.deadline = None;
        }
        if step.is_pending() && self.deadline.is_none() {
            let (Patience::Answer(limit) | Patience::Step(limit)) = self.patience;
            let until = self.clock.monotonic() + limit;
            self.deadline = Some(self.clock.sleep_until(until));
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

    fn is_by_step(&self) -> bool {
        matches!(self.patience, Patience::Step(_))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let step = Pin::new(&mut self.stream).poll_write(context, bytes);
        let ends = self.is_by_step();
        self.in_time(context, step, ends)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let step = Pin::new(&mut self.stream).poll_flush(context);
        self.in_time(context, step, true)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let step = Pin::new(&mut self.stream).poll_shutdown(context);
        let ends = self.is_by_step();
        self.in_time(context, step, ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, SystemClock};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const LIMIT: Duration = Duration::from_secs(30);

    /// Writes 32 bytes to a peer that has room for 16 and takes one each `pause`: how it ended, and after how long.
    async fn written(patience: Patience, pause: Duration) -> (io::Result<()>, Duration) {
        let (mut peer, ours) = tokio::io::duplex(16);
        let mut ours = Impatient::new(ours, SystemClock::shared(), patience);
        let mut pause = tokio::time::interval(pause);
        let begun = SystemClock.monotonic();
        let reading = async {
            while peer.read_exact(&mut [0; 1]).await.is_ok() {
                pause.tick().await;
            }
        };
        let ended = tokio::select! {
            ended = ours.write_all(&[7; 32]) => ended,
            () = reading => panic!("the stream is gone"),
        };
        (ended, SystemClock.monotonic() - begun)
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_taken_bit_by_bit_fails_when_its_time_is_over() {
        let (ended, after) = written(Patience::Answer(LIMIT), LIMIT * 2 / 3).await;
        let error = ended.expect_err("too late");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!((LIMIT..LIMIT * 4 / 3).contains(&after), "{after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_in_time_leaves_the_next_its_whole_time() {
        let (mut peer, ours) = tokio::io::duplex(16);
        let patience = Patience::Answer(LIMIT);
        let mut ours = Impatient::new(ours, SystemClock::shared(), patience);
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

    #[tokio::test(start_paused = true)]
    async fn each_step_has_its_own_time_and_one_that_is_not_taken_fails() {
        let (ended, after) = written(Patience::Step(LIMIT), LIMIT * 2 / 3).await;
        ended.expect("each step in time");
        assert!(after > 2 * LIMIT, "{after:?}");
        let (ended, after) = written(Patience::Step(LIMIT), 2 * LIMIT).await;
        let error = ended.expect_err("too late");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!((LIMIT..2 * LIMIT).contains(&after), "{after:?}");
    }

    /// hyper may look again after a failure.
    #[tokio::test(start_paused = true)]
    async fn what_was_late_stays_so() {
        for patience in [Patience::Answer(LIMIT), Patience::Step(LIMIT)] {
            let (mut peer, ours) = tokio::io::duplex(16);
            let mut ours = Impatient::new(ours, SystemClock::shared(), patience);
            ours.write_all(&[7; 32]).await.expect_err("nobody reads");
            peer.read_exact(&mut [0; 16]).await.expect("what had room");
            let error = ours.write_all(&[7; 8]).await.expect_err("too late");
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{patience:?}");
        }
    }
}
