//! The task of one session: what russh does not do by itself.
//!
//! Owns: the login grace, the polite end, the closing of channels from outside the session's loop. How it ends: with russh's task, which ends
//! with its socket or by the kill switch.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use moorline_base::{Untrusted, clock};
use russh::Disconnect;
use russh::server::run_stream;
use tokio::net::TcpStream;

use super::{Inner, Monitor};
use crate::closed::Closed;
use crate::handler::CameraHandler;
use crate::session::Session;
use crate::wire::Wire;

/// How long a session that we end politely gets to take its goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// One session, from its socket to its end.
pub(super) async fn run(
    inner: Arc<Inner>,
    monitor: Monitor,
    session: Arc<Session>,
    socket: TcpStream,
) {
    let wire = Wire::new(socket, Arc::clone(&session), &inner.metrics);
    let handler = CameraHandler::new(Arc::clone(&inner), monitor, Arc::clone(&session));
    let ssh = inner.ssh();
    // russh returns from the first only after the client's version line.
    // Boxed, since what it needs until then is much and is needed no longer than that.
    let running = async { Box::pin(run_stream(ssh, wire, handler)).await?.await };
    let attending = async {
        tokio::join!(
            login_grace(&inner, &session),
            goodbye(&inner, &session),
            close_channels(&session)
        )
    };
    let mut running = pin!(running);
    let mut attending = pin!(attending);
    let result = tokio::select! {
        biased;
        result = &mut running => result,
        // Ends with the kill switch alone, which ends the other.
        _ = &mut attending => running.await,
    };
    let closed = session.reason().unwrap_or_else(|| Closed::of(&result));
    inner.metrics.closed(closed);
    let (id, reason) = (session.id, closed.as_str());
    match session.proved() {
        Some(proved) => {
            tracing::info!(session = %id, camera = %proved.camera.id, peer = %session.peer, reason, "camera disconnected");
        }
        None => {
            let error = result.err().map(|error| error.to_string());
            let error = Untrusted::new(error.unwrap_or_default());
            tracing::debug!(session = %id, peer = %session.peer, reason, %error, "connection ended without a login");
        }
    }
}

/// russh knows no login grace: any packet resets its inactivity timer.
async fn login_grace(inner: &Inner, session: &Session) {
    let proved = session.proved_key.cancelled();
    let in_time = clock::timeout(&*inner.clock, inner.config.login_grace, proved).await;
    if in_time.is_err() {
        session.end(Closed::LoginGrace);
    }
    session.kill.cancelled().await;
}

/// A session that is to end politely, or that russh shuts down, gets a second.
async fn goodbye(inner: &Inner, session: &Session) {
    tokio::select! {
        () = session.goodbye.cancelled() => {}
        () = session.kill.cancelled() => return,
    }
    let saying = async {
        if let Some(handle) = session.handle() {
            let reason = session.reason().map_or("", Closed::as_str);
            // Not heard if the session is on its way out already.
            let _ = handle
                .disconnect(Disconnect::ByApplication, reason.to_owned(), String::new())
                .await;
        }
        std::future::pending::<()>().await;
    };
    let _ = clock::timeout(&*inner.clock, GOODBYE, saying).await;
    session.kill.cancel();
}

/// Closes channels whose stream was dropped, or that another session's bytes crowded out.
async fn close_channels(session: &Session) {
    let closing = async {
        loop {
            session.closing.notified().await;
            for channel in session.take_closing() {
                if let Some(handle) = session.handle() {
                    // Not heard if the session is over: its channels are closed then.
                    let _ = handle.close(channel).await;
                }
            }
        }
    };
    tokio::select! {
        () = session.kill.cancelled() => {}
        () = closing => {}
    }
}
