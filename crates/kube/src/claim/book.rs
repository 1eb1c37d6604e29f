//! What the tunnel says of sessions, on its way to the monitor.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use moorline_core::port::{TunnelEnd, TunnelEvents, TunnelUp};
use moorline_core::{CameraId, SessionId, Timestamp};

use super::KubeClaims;

/// What is known of a session that lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) since: Timestamp,
    /// It has been claimed: it serves, or did.
    pub(crate) claimed: bool,
}

/// The sessions that live and have a forward: as many as the tunnel has.
#[derive(Debug, Default)]
pub(crate) struct Book(Mutex<HashMap<SessionId, Facts>>);

impl Book {
    fn with<T>(&self, change: impl FnOnce(&mut HashMap<SessionId, Facts>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn facts(&self, session: SessionId) -> Option<Facts> {
        self.with(|sessions| sessions.get(&session).cloned())
    }

    /// A claim of this session was won.
    pub(super) fn claimed(&self, session: SessionId) {
        self.with(|sessions| {
            if let Some(facts) = sessions.get_mut(&session) {
                facts.claimed = true;
            }
        });
    }
}

/// Stands between the tunnel and the monitor's mailbox. Passes everything on; nothing blocks.
pub struct SessionEvents {
    claims: KubeClaims,
    next: Arc<dyn TunnelEvents>,
}

impl std::fmt::Debug for SessionEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionEvents").finish_non_exhaustive()
    }
}

impl SessionEvents {
    pub(super) fn new(claims: KubeClaims, next: Arc<dyn TunnelEvents>) -> Self {
        Self { claims, next }
    }
}

impl TunnelEvents for SessionEvents {
    fn up(&self, up: TunnelUp) -> bool {
        let session = up.session;
        let facts = Facts {
            peer: up.peer,
            since: Timestamp::from_millis(self.claims.0.writer.clock().wall_ms()),
            claimed: false,
        };
        let book = self.claims.book();
        book.with(|sessions| sessions.insert(session, facts));
        let taken = self.next.up(up);
        if !taken {
            book.with(|sessions| sessions.remove(&session));
        }
        taken
    }

    fn stolen(&self, camera: &CameraId, peer: SocketAddr, client: &str) {
        self.next.stolen(camera, peer, client);
    }

    fn token_spent(&self, camera: &CameraId, peer: SocketAddr, client: &str) {
        self.next.token_spent(camera, peer, client);
    }

    fn ended(&self, session: SessionId, end: TunnelEnd) {
        self.claims
            .book()
            .with(|sessions| sessions.remove(&session));
        self.claims.lost(session);
        self.next.ended(session, end);
    }
}
