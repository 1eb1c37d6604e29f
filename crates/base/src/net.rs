//! Sockets: listening, accepting for ever, and the limit of open files.
//!
//! Owns: how we bind (backlog 4096: 300 cameras at once overflowed the default), an accept loop that no error ends, and raising
//! `RLIMIT_NOFILE`. Does not own: what is done with a connection, nor any limit on strangers.
//!
//! How the accept loop ends: [`Acceptor::next`] returns `None` once its token is cancelled, and for no other reason.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::clock::{SharedClock, Slept, sleep};

/// How many connections the kernel holds for us before we accept them (it caps this at `net.core.somaxconn`, 4096 since Linux 5.4).
pub const BACKLOG: u32 = 4096;

/// An address that could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot bind {address}: {source}")]
pub struct BindError {
    /// The address asked for.
    pub address: SocketAddr,
    /// The system's answer.
    pub source: io::Error,
}

impl BindError {
    /// What the operator can do, when we know.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let port = self.address.port();
        match self.source.kind() {
            io::ErrorKind::PermissionDenied => {
                Some("choose a port above 1023, or grant CAP_NET_BIND_SERVICE".into())
            }
            io::ErrorKind::AddrInUse => Some(format!(
                "another program listens on port {port} (`ss -ltnp sport = :{port}` names it): stop it, or choose another port"
            )),
            io::ErrorKind::AddrNotAvailable => Some(
                "this machine has no such address: `0.0.0.0` or `[::]` means all of its own".into(),
            ),
            _ => None,
        }
    }
}

/// Listens on an address, with [`BACKLOG`] and `SO_REUSEADDR` (a restart does not wait for TIME_WAIT). Port 0 takes a free one. Must be
/// called inside a runtime.
///
/// # Errors
/// [`BindError`], with a hint for the usual reasons.
pub fn listen(address: SocketAddr) -> Result<TcpListener, BindError> {
    let bind = || {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bind().map_err(|source| BindError { address, source })
}

/// Where connections come from: a [`TcpListener`], or a test's fake.
pub trait Accept: Send {
    /// The next connection. Must be cancel-safe.
    fn accept(&mut self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send;
}

impl Accept for TcpListener {
    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        TcpListener::accept(self).await
    }
}

/// How long to wait when the process has no descriptor left: one that ends in the meantime makes room.
const PAUSE: Duration = Duration::from_millis(100);

/// An accept loop that no error ends. Errors of one connection are skipped; want of descriptors or memory makes a pause, logged once when
/// it begins and once when it is over.
#[derive(Debug)]
pub struct Acceptor<A = TcpListener> {
    name: &'static str,
    listener: A,
    clock: SharedClock,
    cancel: CancellationToken,
    exhausted: u64,
}

impl<A: Accept> Acceptor<A> {
    /// Accepts from `listener`, under `name` for the log, until `cancel` is cancelled.
    pub fn new(
        name: &'static str,
        listener: A,
        clock: SharedClock,
        cancel: CancellationToken,
    ) -> Self {
        Acceptor {
            name,
            listener,
            clock,
            cancel,
            exhausted: 0,
        }
    }

    /// The next connection, with `TCP_NODELAY` set; `None` once the token is cancelled. Cancel-safe.
    pub async fn next(&mut self) -> Option<(TcpStream, SocketAddr)> {
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.cancel.cancelled() => return None,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    if self.exhausted > 0 {
                        tracing::info!(
                            listener = self.name,
                            pauses = self.exhausted,
                            "accepting again"
                        );
                        self.exhausted = 0;
                    }
                    // Refused only on a connection that is already gone: its first read will tell.
                    let _ = stream.set_nodelay(true);
                    return Some((stream, peer));
                }
                Err(error) if of_one_connection(&error) => {
                    tracing::debug!(listener = self.name, %error, "a connection ended before it was accepted");
                    tokio::task::yield_now().await;
                }
                Err(error) => {
                    if self.exhausted == 0 {
                        tracing::warn!(listener = self.name, %error, "cannot accept: pausing until there is room");
                    }
                    self.exhausted = self.exhausted.saturating_add(1);
                    if sleep(&*self.clock, PAUSE, &self.cancel).await == Slept::Cancelled {
                        return None;
                    }
                }
            }
        }
    }

    /// Gives the listener back.
    pub fn into_inner(self) -> A {
        self.listener
    }
}

/// Errors that say something about the connection that was waiting and nothing about the listener (accept(2), *Error handling*).
fn of_one_connection(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let ours = [
        Errno::CONNABORTED,
        Errno::CONNRESET,
        Errno::INTR,
        Errno::AGAIN,
        Errno::PROTO,
        Errno::PERM,
        Errno::NETDOWN,
        Errno::NOPROTOOPT,
        Errno::HOSTDOWN,
        Errno::NONET,
        Errno::HOSTUNREACH,
        Errno::OPNOTSUPP,
        Errno::NETUNREACH,
        Errno::TIMEDOUT,
    ];
    error
        .raw_os_error()
        .is_some_and(|code| ours.iter().any(|errno| errno.raw_os_error() == code))
}

/// The limit of open files, before and after [`raise_open_files`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFiles {
    /// The soft limit that we started with.
    pub before: u64,
    /// The soft limit in force now.
    pub now: u64,
    /// The hard limit: what may be had without privileges. `u64::MAX` means none.
    pub hard: u64,
}

impl OpenFiles {
    /// True when at least `wanted` files may be open: 1,000 cameras need 4–5 thousand.
    #[must_use]
    pub fn enough_for(&self, wanted: u64) -> bool {
        self.now >= wanted
    }
}

/// No limit in force is an unlimited one; more than this no process of ours needs, and some systems refuse more.
const MOST_FILES: u64 = 1 << 20;

/// Raises the soft limit of open files to the hard one (at most 1,048,576; never lowers it). Call it at start.
///
/// Not being allowed to is no error: the result says what is in force.
#[must_use]
pub fn raise_open_files() -> OpenFiles {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let before = limit.current.unwrap_or(u64::MAX);
    let hard = limit.maximum.unwrap_or(u64::MAX);
    let wanted = hard.min(MOST_FILES);
    if before < wanted {
        let raised = Rlimit {
            current: Some(wanted),
            maximum: limit.maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(before, wanted, %error, "cannot raise the limit of open files");
        }
    }
    let now = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    OpenFiles { before, now, hard }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use std::collections::VecDeque;
    use std::net::Ipv4Addr;

    const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    struct Failing {
        errors: VecDeque<rustix::io::Errno>,
        listener: TcpListener,
    }

    impl Accept for Failing {
        async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
            match self.errors.pop_front() {
                Some(errno) => Err(errno.into()),
                None => self.listener.accept().await,
            }
        }
    }

    #[tokio::test]
    async fn no_error_ends_the_accept_loop_and_want_of_descriptors_makes_a_pause() {
        use rustix::io::Errno;
        let listener = listen(LOOPBACK).expect("a free port");
        let address = listener.local_addr().expect("bound");
        let errors = [Errno::CONNABORTED, Errno::MFILE, Errno::NFILE, Errno::NOMEM].into();
        let clock = crate::clock::SimulatedClock::new(0);
        let cancel = CancellationToken::new();
        let fake = Failing { errors, listener };
        let mut acceptor = Acceptor::new("test", fake, std::sync::Arc::new(clock.clone()), cancel);
        let accepting = tokio::spawn(async move { acceptor.next().await });
        let client = TcpStream::connect(address).await.expect("connected");
        for _ in 0..3 {
            clock.sleepers(1).await;
            clock.advance(PAUSE);
        }
        let (stream, peer) = accepting.await.expect("no panic").expect("accepted");
        assert_eq!(peer, client.local_addr().expect("connected"));
        assert!(stream.nodelay().expect("a socket"));
    }

    #[tokio::test]
    async fn cancelling_ends_the_loop() {
        let listener = listen(LOOPBACK).expect("a free port");
        let cancel = CancellationToken::new();
        let mut acceptor = Acceptor::new("test", listener, SystemClock::shared(), cancel.clone());
        cancel.cancel();
        assert!(acceptor.next().await.is_none());
    }

    #[tokio::test]
    async fn a_taken_port_is_named_with_its_cure() {
        let first = listen(LOOPBACK).expect("a free port");
        let address = first.local_addr().expect("bound");
        let error = listen(address).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with(&format!("cannot bind {address}: ")),
            "{error}"
        );
        let told = crate::error::report(&error);
        assert!(
            told.contains(&format!(
                "hint: another program listens on port {}",
                address.port()
            )),
            "{told}"
        );
    }

    #[test]
    fn a_forbidden_port_is_told_how_it_may_be_had() {
        let error = BindError {
            address: SocketAddr::from(([0, 0, 0, 0], 443)),
            source: io::ErrorKind::PermissionDenied.into(),
        };
        assert_eq!(
            crate::error::report(&error),
            "cannot bind 0.0.0.0:443: permission denied\nhint: choose a port above 1023, or grant CAP_NET_BIND_SERVICE"
        );
    }

    #[test]
    fn the_limit_of_open_files_is_at_least_what_it_was() {
        let first = raise_open_files();
        assert!(first.now >= first.before, "{first:?}");
        assert_eq!(first.now, first.hard.min(MOST_FILES).max(first.before));
        assert_eq!(raise_open_files().before, first.now, "it is in force");
    }
}
