//! The socket of a session, wrapped: read buffer, kill switch, byte counters, the client's version line.
//!
//! Owns: the socket. The read buffer makes one read of what would be two per packet. It exists only while bytes wait in it: a session that
//! hears nothing holds none, and a thousand cameras that send by turns share a few. The kill switch fails every read and write, so that a session ends however dead its peer looks (P1).
//!
//! How it ends: dropped with russh's task. When russh shuts it down, the peer gets a second to close: otherwise it could hold the
//! session for as long as the write timeout.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::io::poll_read_buf;
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::metrics::TunnelMetrics;
use crate::session::Session;

/// Read buffer, in bytes: two packets of dropbear (16 KiB each at most), one of OpenSSH.
const BUFFER: usize = 33 * 1024;
/// The longest version line (RFC 4253, section 4.2).
const VERSION_LINE: usize = 255;

/// A socket that can be killed.
pub(crate) struct Wire {
    socket: TcpStream,
    /// Bytes that were read ahead, without capacity while there are none.
    ahead: Vec<u8>,
    /// How many of these are handed out.
    taken: usize,
    session: Arc<Session>,
    killed: Pin<Box<WaitForCancellationFutureOwned>>,
    /// The version line as far as it came; `None` once it is known.
    version: Option<Vec<u8>>,
    received: Counter,
    sent: Counter,
}

impl Wire {
    pub(crate) fn new(socket: TcpStream, session: Arc<Session>, metrics: &TunnelMetrics) -> Self {
        Wire {
            socket,
            ahead: Vec::new(),
            taken: 0,
            killed: Box::pin(session.kill.clone().cancelled_owned()),
            session,
            version: Some(Vec::new()),
            received: metrics.received.clone(),
            sent: metrics.sent.clone(),
        }
    }

    fn is_killed(&self) -> bool {
        self.session.kill.is_cancelled()
    }

    /// As [`AsyncRead::poll_read`], through the buffer.
    fn poll_ahead(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut waiting = self.ahead.get(self.taken..).unwrap_or_default();
        if waiting.is_empty() {
            if buffer.remaining() >= BUFFER {
                return Pin::new(&mut self.socket).poll_read(context, buffer);
            }
            self.taken = 0;
            self.ahead.clear();
            self.ahead.reserve_exact(BUFFER);
            let socket = Pin::new(&mut self.socket);
            match poll_read_buf(socket, context, &mut self.ahead) {
                Poll::Ready(Ok(_)) => {}
                nothing => {
                    self.ahead = Vec::new();
                    return nothing.map_ok(drop);
                }
            }
            waiting = &self.ahead;
        }
        let count = waiting.len().min(buffer.remaining());
        buffer.put_slice(waiting.get(..count).unwrap_or_default());
        self.taken += count;
        Poll::Ready(Ok(()))
    }

    /// Whether the kill came; else this task is woken when it does.
    fn poll_killed(&mut self, context: &mut Context<'_>) -> bool {
        use std::future::Future;
        self.killed.as_mut().poll(context).is_ready()
    }

    fn note_version(&mut self, bytes: &[u8]) {
        let Some(line) = &mut self.version else {
            return;
        };
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let part = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or(bytes);
        let room = VERSION_LINE.saturating_sub(line.len());
        line.extend_from_slice(part.get(..room).unwrap_or(part));
        if end.is_some() || line.len() >= VERSION_LINE {
            self.session.set_client(line);
            self.version = None;
        }
    }
}

fn killed() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the session was ended")
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_killed() {
            return Poll::Ready(Err(killed()));
        }
        let before = buffer.filled().len();
        match this.poll_ahead(context, buffer) {
            Poll::Pending if this.poll_killed(context) => Poll::Ready(Err(killed())),
            Poll::Ready(Ok(())) => {
                let new = buffer.filled().get(before..).unwrap_or_default();
                this.received.inc_by(new.len() as u64);
                if this.version.is_some() {
                    this.note_version(new);
                }
                Poll::Ready(Ok(()))
            }
            other => other,
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.is_killed() {
            return Poll::Ready(Err(killed()));
        }
        match Pin::new(&mut this.socket).poll_write(context, bytes) {
            Poll::Pending if this.poll_killed(context) => Poll::Ready(Err(killed())),
            Poll::Ready(Ok(written)) => {
                this.sent.inc_by(written as u64);
                Poll::Ready(Ok(written))
            }
            other => other,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_killed() {
            return Poll::Ready(Err(killed()));
        }
        match Pin::new(&mut this.socket).poll_flush(context) {
            Poll::Pending if this.poll_killed(context) => Poll::Ready(Err(killed())),
            other => other,
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.session.goodbye.cancel();
        Pin::new(&mut this.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use moorline_core::SessionId;
    use std::future::{Future as _, poll_fn};
    use std::pin::pin;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn pair() -> (TcpStream, Wire, Arc<Session>) {
        let listener = moorline_base::net::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, server) = tokio::join!(client, listener.accept());
        let (socket, peer) = server.unwrap();
        let session = Session::new(SessionId(1), peer);
        let wire = Wire::new(socket, Arc::clone(&session), &TunnelMetrics::default());
        (client.unwrap(), wire, session)
    }

    #[tokio::test]
    async fn killing_fails_a_read_that_waits_and_everything_after() {
        let (_client, mut wire, session) = pair().await;
        let reading = tokio::spawn(async move {
            let read = wire.read_u8().await;
            (read, wire)
        });
        tokio::task::yield_now().await;
        session.end(crate::closed::Closed::Superseded);
        let (read, mut wire) = tokio::time::timeout(Duration::from_secs(30), reading)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        assert!(wire.write_all(b"x").await.is_err());
    }

    #[tokio::test]
    async fn bytes_pass_in_order_and_a_session_that_hears_nothing_holds_no_buffer() {
        let (mut client, mut wire, _session) = pair().await;
        let sent: Vec<u8> = (0..3 * BUFFER).map(|at| (at * 7 % 251) as u8).collect();
        let writing = async {
            client.write_all(&sent).await.unwrap();
            client
        };
        let reading = async {
            let mut heard = Vec::new();
            // A length, a packet, a length, …: and once more than the buffer holds.
            for most in [4, 1400, 4, BUFFER + 1, 9].into_iter().cycle() {
                let mut room = vec![0; most.min(sent.len() - heard.len())];
                wire.read_exact(&mut room).await.unwrap();
                heard.extend(room);
                if heard.len() == sent.len() {
                    return heard;
                }
            }
            heard
        };
        let (client, heard) = tokio::join!(writing, reading);
        assert!(heard == sent, "bytes were lost, changed or repeated");
        let mut room = [0; 4];
        {
            let mut reading = pin!(wire.read(&mut room));
            let waits = poll_fn(|context| Poll::Ready(reading.as_mut().poll(context).is_pending()));
            assert!(waits.await, "there is nothing to read");
        }
        assert_eq!(wire.ahead.capacity(), 0);
        drop(client);
        assert_eq!(wire.read(&mut room).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_write_that_waits_for_a_dead_peer_is_killed_too() {
        let (_client, mut wire, session) = pair().await;
        let writing = tokio::spawn(async move {
            let block = vec![0; 1 << 16];
            loop {
                if let Err(error) = wire.write_all(&block).await {
                    return error.kind();
                }
            }
        });
        tokio::task::yield_now().await;
        session.end(crate::closed::Closed::Superseded);
        let kind = tokio::time::timeout(Duration::from_secs(30), writing).await;
        assert_eq!(kind.unwrap().unwrap(), io::ErrorKind::ConnectionAborted);
    }

    #[tokio::test]
    async fn the_version_line_is_noted_and_cut() {
        let (mut client, mut wire, session) = pair().await;
        client
            .write_all(b"SSH-2.0-dropbear_2022.83\r\nrest")
            .await
            .unwrap();
        let mut room = [0; 10];
        while session.client().is_empty() {
            let read = wire.read(&mut room).await.unwrap();
            assert!(read > 0);
        }
        assert_eq!(session.client(), "SSH-2.0-dropbear_2022.83");
        let (mut client, mut wire, session) = pair().await;
        client.write_all(&[b'x'; 1000]).await.unwrap();
        let mut room = [0; 300];
        wire.read_exact(&mut room).await.unwrap();
        assert_eq!(session.client().len(), VERSION_LINE);
    }
}
