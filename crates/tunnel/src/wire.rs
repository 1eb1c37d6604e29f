//! The socket of a session, wrapped: read buffer, kill switch, byte counters, the client's version line.
//!
//! Owns: the socket. The 16 KiB read buffer makes one read of what would be two per packet (64 KiB is no faster and costs 47 KiB more a
//! session). The kill switch fails every read and write, so that a session ends however dead its peer looks (P1).
//!
//! How it ends: dropped with russh's task. When russh shuts it down, the peer gets a second to close: otherwise it could hold the
//! session for as long as the write timeout.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::metrics::TunnelMetrics;
use crate::session::Session;

/// Read buffer, in bytes.
const BUFFER: usize = 16 * 1024;
/// The longest version line (RFC 4253, section 4.2).
const VERSION_LINE: usize = 255;

/// A socket that can be killed.
pub(crate) struct Wire {
    socket: BufReader<TcpStream>,
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
            socket: BufReader::with_capacity(BUFFER, socket),
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
        match Pin::new(&mut this.socket).poll_read(context, buffer) {
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
        let (read, mut wire) = tokio::time::timeout(Duration::from_secs(5), reading)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        assert!(wire.write_all(b"x").await.is_err());
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
        let kind = tokio::time::timeout(Duration::from_secs(5), writing).await;
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
