//! The camera's SSH client: calls, keeps calling, and hands every forwarded connection to its [`Source`] inside the process.
//!
//! ```text
//! Calling ──▶ Up ── lost, killed ──▶ Waiting ── back-off ──▶ Calling
//!              └── hung up ────────▶ Away ─── Tunnel::call ─────┘
//! ```
//! One task per tunnel (and russh's own one per session); it ends with [`Tunnel::stop`] or when the handle is dropped. Written against russh's
//! client, with dropbear's packet size: `dbclient` itself is [`crate::DbclientTunnel`].

mod call;
mod key;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use moorline_base::backoff::{Backoff, Jitter};
use moorline_base::clock::{SharedClock, sleep};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::source::Source;
use call::Ended;

pub use key::{Key, KeyError, KnownHosts};

/// Whom to call, as whom.
#[derive(Debug, Clone)]
pub struct TunnelConfig {
    /// The SSH server.
    pub server: SocketAddr,
    /// The user name: `camera` or `tenant/camera`.
    pub user: String,
    /// The camera's key.
    pub key: Key,
    /// The server's keys.
    pub known_hosts: KnownHosts,
    /// Listen address and port of each remote forward, in their order; all lead to the one source. Port 0 lets the server choose.
    pub forwards: Vec<(String, u32)>,
    /// Whether a session channel is opened on which MOORLINE/1 is spoken: without it PINGs are not answered, as with `dbclient -N`.
    pub monitor: bool,
    /// Time between keepalives.
    pub keepalive: Duration,
    /// Bytes that the server may send on one channel before we grant more: requests and receiver reports are small.
    pub window: u32,
    /// The first and the longest pause before calling again; [`TunnelConfig::new`] says 1 s and 60 s.
    pub retry: (Duration, Duration),
}

impl TunnelConfig {
    /// One forward with a port of the server's choice, MOORLINE/1, a keepalive each 15 s, retries after 1 s to 60 s.
    #[must_use]
    pub fn new(
        server: SocketAddr,
        user: impl Into<String>,
        key: Key,
        known_hosts: KnownHosts,
    ) -> Self {
        Self {
            server,
            user: user.into(),
            key,
            known_hosts,
            forwards: vec![("localhost".to_owned(), 0)],
            monitor: true,
            keepalive: Duration::from_secs(15),
            window: 64 * 1024,
            retry: (Duration::from_secs(1), Duration::from_secs(60)),
        }
    }
}

/// Why a call did not lead to a tunnel.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// Nobody answers at the address.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// A step took longer than 20 s.
    #[error("the server did not answer in time")]
    Late,
    /// The server has another key than the pinned ones.
    #[error("the server's host key is not one of the pinned keys")]
    HostKey,
    /// Key or name were not accepted.
    #[error("the server does not accept this key for this name")]
    Refused,
    /// The forward was not granted.
    #[error("the server does not grant the forward")]
    ForwardDenied,
    /// Anything else that SSH says.
    #[error("SSH: {0}")]
    Ssh(russh::Error),
}

impl From<russh::Error> for TunnelError {
    fn from(error: russh::Error) -> Self {
        match error {
            russh::Error::UnknownKey => Self::HostKey,
            russh::Error::RequestDenied => Self::ForwardDenied,
            error => Self::Ssh(error),
        }
    }
}

/// How a tunnel stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TunnelState {
    /// A session is being opened.
    Calling,
    /// The forwards are granted, with these ports.
    Up {
        /// One for each of [`TunnelConfig::forwards`].
        ports: Vec<u32>,
    },
    /// The last call failed or its session was lost; the next follows.
    Waiting {
        /// Why.
        reason: String,
    },
    /// Hung up; [`Tunnel::call`] calls again.
    Away,
    /// Stopped.
    Stopped,
}

/// How a camera takes its leave: on the monitor's channel. Without [`TunnelConfig::monitor`] the connection is only closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HangUp {
    /// The channel signal HUP.
    Signal,
    /// The line `BYE`.
    Bye,
    /// Closing the monitor's channel.
    Close,
}

#[derive(Debug)]
enum Order {
    HangUp(HangUp),
    Kill,
    Freeze,
    Thaw,
    Say(String),
}

/// Orders that wait for their turn; [`Tunnel`]'s methods wait for room.
const ORDERS: usize = 8;

/// A tunnel that keeps itself up. Dropping it ends it.
///
/// What is ordered ([`Tunnel::hang_up`], [`Tunnel::kill`], [`Tunnel::freeze`], [`Tunnel::say`]) is for a session that is up; without one it is
/// forgotten.
#[derive(Debug)]
pub struct Tunnel {
    state: watch::Receiver<TunnelState>,
    wanted: watch::Sender<bool>,
    orders: mpsc::Sender<Order>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Tunnel {
    /// Begins to call.
    #[must_use]
    pub fn start(config: TunnelConfig, source: Source, clock: SharedClock) -> Self {
        let (state_in, state) = watch::channel(TunnelState::Calling);
        let (orders, orders_out) = mpsc::channel(ORDERS);
        let wanted = watch::Sender::new(true);
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let caller = Caller {
            config,
            source,
            clock,
            state: state_in,
            wanted: wanted.subscribe(),
            not_wanted: wanted.clone(),
            orders: orders_out,
            stop: stop.clone(),
        };
        tasks.spawn(caller.run());
        tasks.close();
        Self {
            state,
            wanted,
            orders,
            stop,
            tasks,
        }
    }

    /// How it stands, to look at or to wait on.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<TunnelState> {
        self.state.clone()
    }

    /// Waits until the forwards are granted and gives their ports; `None` if it was stopped. No deadline of its own: retries go on.
    pub async fn up(&self) -> Option<Vec<u32>> {
        let mut state = self.state.clone();
        let found = state
            .wait_for(|state| matches!(state, TunnelState::Up { .. } | TunnelState::Stopped))
            .await;
        match found.ok().as_deref() {
            Some(TunnelState::Up { ports }) => Some(ports.clone()),
            _ => None,
        }
    }

    /// Takes its leave and stays away until [`Tunnel::call`].
    pub async fn hang_up(&self, how: HangUp) {
        self.order(Order::HangUp(how)).await;
    }

    /// Calls again after a hang-up.
    pub fn call(&self) {
        self.wanted.send_replace(true);
    }

    /// The TCP connection is closed without a word, as by `kill -9`; it calls again after its pause.
    pub async fn kill(&self) {
        self.order(Order::Kill).await;
    }

    /// Nothing is read or written any more, the TCP connection stays open: SIGSTOP, or a network that vanished.
    pub async fn freeze(&self) {
        self.order(Order::Freeze).await;
    }

    /// Undoes [`Tunnel::freeze`].
    pub async fn thaw(&self) {
        self.order(Order::Thaw).await;
    }

    /// Says a line on the monitor's channel, as it is.
    pub async fn say(&self, line: impl Into<String>) {
        self.order(Order::Say(line.into())).await;
    }

    async fn order(&self, order: Order) {
        if matches!(*self.state.borrow(), TunnelState::Up { .. }) {
            // Refused only when the task is gone, and then there is nothing left to order.
            let _ = self.orders.send(order).await;
        }
    }

    /// Ends the session and waits until nothing is left.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Caller {
    config: TunnelConfig,
    source: Source,
    clock: SharedClock,
    state: watch::Sender<TunnelState>,
    wanted: watch::Receiver<bool>,
    not_wanted: watch::Sender<bool>,
    orders: mpsc::Receiver<Order>,
    stop: CancellationToken,
}

impl Caller {
    async fn run(mut self) {
        let (shortest, longest) = self.config.retry;
        let stable = Duration::from_secs(60);
        let mut backoff = Backoff::new(shortest, longest, stable, Jitter::Full)
            .unwrap_or_else(|_| Backoff::standard());
        while !self.stop.is_cancelled() {
            self.state.send_replace(TunnelState::Calling);
            backoff.started(self.clock.monotonic());
            let reason = match call::once(
                &self.config,
                &self.source,
                &self.state,
                &mut self.orders,
                &self.stop,
            )
            .await
            {
                Ok(Ended::Stopped) => break,
                Ok(Ended::HungUp) => {
                    self.away().await;
                    continue;
                }
                Ok(Ended::Lost) => {
                    backoff.reset();
                    "lost".to_owned()
                }
                Err(error) => error.to_string(),
            };
            tracing::debug!(camera = self.config.user, reason, "tunnel ended");
            self.state.send_replace(TunnelState::Waiting { reason });
            let pause = backoff.failed(self.clock.monotonic());
            if sleep(&*self.clock, pause, &self.stop).await.is_cancelled() {
                break;
            }
        }
        self.state.send_replace(TunnelState::Stopped);
    }

    async fn away(&mut self) {
        self.not_wanted.send_replace(false);
        self.state.send_replace(TunnelState::Away);
        tokio::select! {
            () = self.stop.cancelled() => {}
            _ = self.wanted.wait_for(|wanted| *wanted) => {}
        }
    }
}
