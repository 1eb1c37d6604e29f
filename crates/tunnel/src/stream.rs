//! A byte stream through a tunnel: what a landing hands out.
//!
//! Owns: one channel that we opened. Reading takes from the channel's queue; writing goes through russh's write half, which respects the
//! camera's window. Reads and writes fail at once when the session is superseded or ends (P1, P2). Dropping the stream closes the channel.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use russh::server::Msg;
use russh::{ChannelId, ChannelWriteHalf};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::queue::Queue;
use crate::session::Session;

/// A channel that is counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Slot(Arc<Session>);

impl Slot {
    /// Counts a channel of the session, unless it has `most` already.
    pub(crate) fn take(session: &Arc<Session>, most: usize) -> Option<Self> {
        session
            .take_channel(most)
            .then(|| Slot(Arc::clone(session)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.free_channel();
    }
}

/// A stream to a camera.
pub(crate) struct TunnelStream {
    channel: ChannelId,
    queue: Arc<Queue>,
    writer: Pin<Box<dyn AsyncWrite + Send>>,
    slot: Slot,
}

impl TunnelStream {
    pub(crate) fn new(slot: Slot, queue: Arc<Queue>, channel: &ChannelWriteHalf<Msg>) -> Self {
        TunnelStream {
            channel: channel.id(),
            queue,
            writer: Box::pin(channel.make_writer()),
            slot,
        }
    }
}

impl Drop for TunnelStream {
    fn drop(&mut self) {
        self.slot.0.drop_channel(self.channel);
    }
}

impl AsyncRead for TunnelStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.queue.poll_read(context, buffer)
    }
}

impl AsyncWrite for TunnelStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // russh's writer waits for a window for ever once the session is gone: the queue wakes it.
        self.queue.poll_writable(context)?;
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.writer.as_mut().poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.queue.poll_writable(context)?;
        self.writer.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.queue.poll_writable(context).is_err() {
            return Poll::Ready(Ok(()));
        }
        self.writer.as_mut().poll_shutdown(context)
    }
}
