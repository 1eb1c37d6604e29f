//! From an accepted socket to a conversation.

use std::net::SocketAddr;
use std::sync::Arc;

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
    if let Err(error) =
        rustix::net::sockopt::set_socket_send_buffer_size(&stream, door.config.send_buffer)
    {
        tracing::debug!(%error, "the send buffer stays as the system chose it");
    }
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
    let session = ServerSession::new(config, std::time::Duration::ZERO);
    let environment = door.hub.environment();
    let desk = Desk::Public(Box::new(visitor));
    reader::serve(stream, session, desk, environment, cancel).await;
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
