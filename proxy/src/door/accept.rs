//! From an accepted socket to a conversation.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use moorline_base::CancellationToken;
use moorline_base::clock::timeout;
use moorline_core::port::ByteStream;
use moorline_core::user::REALM;
use moorline_rtsp::server::{ServerConfig, ServerSession};
use tokio::net::TcpStream;

use super::Shared;
use super::visitor::Visitor;
use crate::hub::random_text;
use crate::reader::{self, Desk};

/// The first byte of a TLS record that carries a handshake (RFC 8446 §5.1). No RTSP method begins with it.
const TLS_HANDSHAKE: u8 = 0x16;

/// How long what was sent may stay unacknowledged (`TCP_USER_TIMEOUT`). A viewer who plays a camera that is away need not say a word (ffmpeg keeps
/// alive only while packets flow), but is sent a report every 5 s: without this, one whose network is gone keeps its place for a quarter of an hour.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

pub(super) async fn serve(
    door: Arc<Shared>,
    stream: TcpStream,
    peer: SocketAddr,
    cancel: CancellationToken,
) {
    let started = door.clock.monotonic();
    let Some(visitor) = Visitor::new(&door, peer.ip()) else {
        return;
    };
    prepare(&stream, door.config.send_buffer);
    let dismissed = visitor.dismissed();
    let greeting = timeout(
        &*door.clock,
        door.config.login_timeout,
        greet(&door, stream),
    );
    let greeted = tokio::select! {
        biased;
        () = cancel.cancelled() => return,
        () = dismissed.cancelled() => return,
        greeted = greeting => greeted,
    };
    let (stream, is_tls) = match greeted {
        Ok(Ok(greeted)) => greeted,
        Ok(Err(error)) => {
            tracing::debug!(%error, "no greeting");
            return;
        }
        Err(_) => {
            tracing::debug!(reason = "login_timeout", "no greeting in time");
            return;
        }
    };
    let mut config = ServerConfig::new(REALM, random_text(), random_text());
    config.basic = is_tls;
    // One limit for both: what the greeting took is gone.
    let took = door.clock.monotonic().saturating_duration_since(started);
    config.login_timeout = door.config.login_timeout.saturating_sub(took);
    let session = ServerSession::new(config, Duration::ZERO);
    let environment = door.hub.environment();
    let desk = Desk::Public(Box::new(visitor));
    reader::serve(stream, session, desk, environment, cancel).await;
}

/// Sets what the system does with a socket.
fn prepare(stream: &TcpStream, send_buffer: usize) {
    use rustix::net::sockopt::{set_socket_send_buffer_size, set_tcp_user_timeout};

    if let Err(error) = set_socket_send_buffer_size(stream, send_buffer) {
        tracing::debug!(%error, "the send buffer stays as the system chose it");
    }
    let timeout = u32::try_from(UNACKNOWLEDGED.as_millis()).unwrap_or(u32::MAX);
    if let Err(error) = set_tcp_user_timeout(stream, timeout) {
        tracing::debug!(%error, "a viewer whose network is gone stays as long as the system chose");
    }
}

/// Looks at the first byte, and shakes hands if it is TLS.
async fn greet(door: &Shared, stream: TcpStream) -> std::io::Result<(ByteStream, bool)> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    if first != [TLS_HANDSHAKE] {
        return Ok((Box::new(stream), false));
    }
    let Some(tls) = &door.tls else {
        return Err(std::io::Error::other("TLS is not configured"));
    };
    let stream = tls.accept(stream).await?;
    Ok((Box::new(stream), true))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// P9.
    #[tokio::test]
    async fn a_viewer_whose_network_is_gone_is_given_up_after_half_a_minute() {
        let listener = moorline_base::net::listen(([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let (viewer, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let ((stream, _), _viewer) = (accepted.unwrap(), viewer.unwrap());
        prepare(&stream, 64 * 1024);
        let given = rustix::net::sockopt::tcp_user_timeout(&stream).unwrap();
        assert_eq!(Duration::from_millis(given.into()), UNACKNOWLEDGED);
    }
}
