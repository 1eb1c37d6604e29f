//! The front door: RTSP and RTSPS on one port.
//!
//! **Owns** accepting, sniffing TLS, admission of strangers (P9, S9), and the dismissal of users who are gone (S15). **Does not own** the
//! conversation (`reader`) nor the limits on readers (`hub`).
//!
//! ```text
//! accept ─▶ admit ─▶ first byte 0x16: TLS ─▶ RTSP (Digest, Basic)
//!                 └▶ any other:             RTSP (Digest)        20 s in all to authenticate
//! ```
//! How it ends: [`FrontDoor::run`] stops accepting when its token is cancelled, ends readers with BYE, and returns when all connections have
//! ended, at the latest after [`crate::DoorConfig::goodbye`] plus a second (P8).

mod accept;
mod visitor;

use std::sync::Arc;

use moorline_base::clock::{sleep, timeout};
use moorline_base::crowd::Crowd;
use moorline_base::net::Acceptor;
use moorline_base::{CancellationToken, SharedClock};
use moorline_core::port::{Audit, Users};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::config::DoorConfig;
use crate::hub::Hub;
use visitor::Guests;
pub(crate) use visitor::Visitor;

pub(crate) struct Shared {
    pub(crate) clock: SharedClock,
    pub(crate) config: DoorConfig,
    pub(crate) hub: Hub,
    pub(crate) users: Arc<dyn Users>,
    pub(crate) audit: Arc<dyn Audit>,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) strangers: Crowd,
    pub(crate) guests: Guests,
}

/// The public side of all relays of this process.
#[derive(Clone)]
pub struct FrontDoor(Arc<Shared>);

impl std::fmt::Debug for FrontDoor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrontDoor")
            .field("tls", &self.0.tls.is_some())
            .finish_non_exhaustive()
    }
}

impl FrontDoor {
    /// A door to the relays of `hub`; who watches what is written to `audit` (S35). Without `tls` a TLS client is closed.
    #[must_use]
    pub fn new(
        hub: Hub,
        users: Arc<dyn Users>,
        audit: Arc<dyn Audit>,
        tls: Option<TlsAcceptor>,
        config: DoorConfig,
    ) -> Self {
        Self(Arc::new(Shared {
            clock: hub.clock().clone(),
            strangers: Crowd::counted(
                config.strangers,
                config.strangers_per_prefix,
                hub.metrics().strangers.clone(),
                hub.metrics().strangers_evicted.clone(),
            ),
            guests: Guests::new(config.connections_per_user),
            config,
            hub,
            users,
            audit,
            tls,
        }))
    }

    /// Changes how many connections one user may hold, for whoever comes from now on.
    pub fn set_connections_per_user(&self, connections: usize) {
        self.0.guests.set(connections);
    }

    /// Serves until `cancel` is cancelled. One listener carries RTSP and RTSPS.
    pub async fn run(&self, listener: TcpListener, cancel: CancellationToken) {
        let door = &self.0;
        let connections = TaskTracker::new();
        let mut acceptor = Acceptor::new("rtsp", listener, door.clock.clone(), cancel.clone());
        let accepting = async {
            while let Some((stream, peer)) = acceptor.next().await {
                door.hub.metrics().connections.inc();
                let span = tracing::info_span!("viewer", %peer);
                let task = accept::serve(Arc::clone(door), stream, peer, cancel.clone());
                connections.spawn(task.instrument(span));
            }
        };
        let rechecking = async {
            while !sleep(&*door.clock, door.config.recheck, &cancel)
                .await
                .is_cancelled()
            {
                door.guests.recheck(&*door.users);
            }
        };
        tokio::join!(accepting, rechecking);
        connections.close();
        let budget = door.config.goodbye + std::time::Duration::from_secs(1);
        if timeout(&*door.clock, budget, connections.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                left = connections.len(),
                reason = "overdue",
                "viewers did not take their goodbye in time"
            );
        }
    }
}
