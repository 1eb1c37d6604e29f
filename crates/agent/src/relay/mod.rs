//! The relay: listens on loopback for what dbclient forwards, and always reads the streamer (P6).
//!
//! Owns: connections, one bound for all that waits, dropping, the streamer's login. Does not own: what the streams are (`crate::probe`), where
//! the streamer is (the driver says it).
//!
//! Three threads per connection: requests (server to streamer), drain (streamer to queue: waits for nothing but the streamer) and writer
//! (queue to dbclient: the only one that a slow uplink holds up). Each ends when a socket of the connection is shut down, which each does to
//! both when it ends.

mod connection;
mod frame;
mod packet;
mod pool;
mod queue;
mod talk;

#[cfg(test)]
mod tests;

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::local::Login;
use crate::moment::Moments;
use connection::serve;
use pool::Pool;

pub use frame::{Cutter, Piece};

/// Connections at once: each is one relay of a server, or a person's look.
const MAX_CONNECTIONS: usize = 8;
/// Stacks of the relay's threads: their deepest call needs a few KiB.
pub(crate) const STACK: usize = 64 * 1024;

/// What the relay has counted since its start. In 32 bits: MIPS and older ARM have no wider atomic numbers.
#[derive(Debug, Default)]
pub struct Counters {
    /// Pictures that came from the streamer, dropped ones too.
    pub pictures: AtomicU32,
    /// Pictures that were dropped.
    pub pictures_dropped: AtomicU32,
    /// Connections on which framing was lost, or whose queue overflowed.
    pub faults: AtomicU32,
    /// Bytes that went out, to dbclient.
    pub sent: AtomicU32,
}

/// Where the streamer is, and with which login.
#[derive(Debug, Clone)]
pub struct Streamer {
    /// Its address.
    pub address: SocketAddr,
    /// Its login.
    pub login: Option<Login>,
}

/// A running relay.
#[derive(Debug)]
pub struct Relay {
    pub(crate) pool: Mutex<Pool>,
    pub(crate) filled: Condvar,
    streamer: Mutex<Streamer>,
    counters: Counters,
    serial: AtomicU32,
    pub(crate) moments: Moments,
}

impl Relay {
    /// Serves what `listener` accepts, until the process ends. `limit` is the bound in bytes.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn start(
        listener: TcpListener,
        streamer: Streamer,
        limit: usize,
        moments: Moments,
    ) -> std::io::Result<Arc<Self>> {
        let relay = Arc::new(Relay {
            pool: Mutex::new(Pool::new(limit)),
            filled: Condvar::new(),
            streamer: Mutex::new(streamer),
            counters: Counters::default(),
            serial: AtomicU32::new(0),
            moments,
        });
        let accepting = Arc::clone(&relay);
        spawn("relay", move || accepting.accept(&listener))?;
        Ok(relay)
    }

    /// What it has counted.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Bytes that wait, of all connections.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.pool().bytes()
    }

    /// Another streamer, for new connections.
    pub fn set_streamer(&self, streamer: Streamer) {
        *self.streamer.lock().unwrap_or_else(PoisonError::into_inner) = streamer;
    }

    /// The streamer now.
    #[must_use]
    pub fn streamer(&self) -> Streamer {
        let streamer = self.streamer.lock();
        streamer.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Another bound.
    pub fn set_limit(&self, limit: usize) {
        self.pool().set_limit(limit);
    }

    pub(crate) fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: Arc<Self>, listener: &TcpListener) {
        let pause = Condvar::new();
        loop {
            // EMFILE and the like pass: the listener goes on, after a breath.
            let Ok((tunnel, _)) = listener.accept() else {
                let guard = self.pool();
                let wait = std::time::Duration::from_millis(200);
                drop(pause.wait_timeout(guard, wait));
                continue;
            };
            if self.pool().connections() >= MAX_CONNECTIONS {
                let _ = tunnel.shutdown(Shutdown::Both);
                continue;
            }
            let serial = self.serial.fetch_add(1, Ordering::Relaxed);
            self.pool().open(serial);
            let relay = Arc::clone(&self);
            let spawned = spawn("connection", move || {
                serve(&relay, serial, &tunnel);
                relay.pool().close(serial);
                relay.filled.notify_all();
            });
            if spawned.is_err() {
                self.pool().close(serial);
            }
        }
    }
}

/// A thread with a small stack.
pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    alone(name, Box::new(run))
}

/// The same for who waits for its end.
pub(crate) fn spawn_and_wait(
    name: &str,
    run: impl FnOnce() + Send + 'static,
) -> std::io::Result<thread::JoinHandle<()>> {
    boxed(name, Box::new(run))
}

#[inline(never)]
fn alone(name: &str, run: Box<dyn FnOnce() + Send>) -> std::io::Result<()> {
    boxed(name, run).map(drop)
}

/// In a box: std's half of a thread is compiled once, not for each of ours. Flash is small.
#[inline(never)]
fn boxed(name: &str, run: Box<dyn FnOnce() + Send>) -> std::io::Result<thread::JoinHandle<()>> {
    thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK)
        .spawn(run)
}

/// Both directions end: every thread of the connection wakes up.
fn cut(streams: &[&TcpStream]) {
    for stream in streams {
        let _ = stream.shutdown(Shutdown::Both);
    }
}
