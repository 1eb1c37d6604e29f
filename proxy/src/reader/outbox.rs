//! What is to be written to one reader.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::AsyncWrite;

/// Slices of one write.
const SLICES: usize = 64;

/// Whole frames and whole messages, in order. Slices of the ring's chunks: what is queued is shared, not copied.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: VecDeque<Bytes>,
    bytes: usize,
    /// Written, and perhaps still held back by TLS.
    unflushed: bool,
}

impl Outbox {
    pub(super) fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.bytes += bytes.len();
            self.queue.push_back(bytes);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many pieces the bytes are in.
    pub(super) fn slices(&self) -> usize {
        self.queue.len()
    }

    /// Everything is written and flushed.
    pub(super) fn is_done(&self) -> bool {
        self.queue.is_empty() && !self.unflushed
    }

    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.bytes = 0;
        self.unflushed = false;
    }

    /// Writes what the peer takes without waiting, and flushes; how many bytes were taken. If that is not all, `context` is woken when more goes.
    ///
    /// A picture is one call, since the socket has room.
    pub(super) fn write_now<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
        context: &mut Context<'_>,
    ) -> io::Result<usize> {
        let mut written = 0;
        while !self.is_done() {
            match self.poll_write(writer, context) {
                Poll::Ready(Ok(count)) => written += count,
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        Ok(written)
    }

    fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.queue.is_empty() {
            ready!(Pin::new(writer).poll_flush(context))?;
            self.unflushed = false;
            return Poll::Ready(Ok(0));
        }
        let mut slices = [IoSlice::new(&[]); SLICES];
        for (slice, bytes) in slices.iter_mut().zip(&self.queue) {
            *slice = IoSlice::new(bytes);
        }
        let slices = slices.get(..self.queue.len()).unwrap_or(&slices);
        let count = ready!(Pin::new(writer).poll_write_vectored(context, slices))?;
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.unflushed = true;
        self.bytes = self.bytes.saturating_sub(count);
        let mut left = count;
        while let Some(front) = self.queue.front_mut() {
            if front.len() > left {
                front.advance(left);
                break;
            }
            left -= front.len();
            self.queue.pop_front();
        }
        Poll::Ready(Ok(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::AsyncReadExt as _;

    #[tokio::test]
    async fn order_is_kept_whatever_a_write_takes() {
        let (mut ours, mut theirs) = tokio::io::duplex(7);
        let mut outbox = Outbox::default();
        let text: Vec<u8> = (0..100).collect();
        for part in text.chunks(9) {
            outbox.push(Bytes::copy_from_slice(part));
        }
        let writing = tokio::spawn(async move {
            poll_fn(|context| {
                outbox.write_now(&mut ours, context).unwrap();
                match outbox.is_done() {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                }
            })
            .await;
            assert_eq!(outbox.bytes(), 0);
        });
        let mut got = Vec::new();
        theirs.read_to_end(&mut got).await.unwrap();
        writing.await.unwrap();
        assert_eq!(got, text);
    }
}
