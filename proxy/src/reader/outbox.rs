//! What is to be written to one reader.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

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

    /// Everything is written and flushed.
    pub(super) fn is_done(&self) -> bool {
        self.queue.is_empty() && !self.unflushed
    }

    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.bytes = 0;
        self.unflushed = false;
    }

    /// Writes what one call takes, or flushes; how many bytes were taken. Cancel-safe.
    pub(super) async fn write<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
    ) -> io::Result<usize> {
        if self.queue.is_empty() {
            writer.flush().await?;
            self.unflushed = false;
            return Ok(0);
        }
        let slices: Vec<IoSlice<'_>> = self
            .queue
            .iter()
            .take(SLICES)
            .map(|bytes| IoSlice::new(bytes))
            .collect();
        let count = writer.write_vectored(&slices).await?;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
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
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
            while !outbox.is_done() {
                outbox.write(&mut ours).await.unwrap();
            }
            assert_eq!(outbox.bytes(), 0);
        });
        let mut got = Vec::new();
        theirs.read_to_end(&mut got).await.unwrap();
        writing.await.unwrap();
        assert_eq!(got, text);
    }
}
