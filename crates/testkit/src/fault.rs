//! A TCP proxy that fails on order.
//!
//! It stands between the code under test and a peer (a store, a camera, a client), and its behaviour can be switched while connections
//! are up. For faults that need to understand HTTP see [`crate::s3fault`]; both can be chained.
//!
//! Each connection has two pumps, each with a queue of 64 chunks of at most 16 KiB: when it is full the source is not read, so that
//! back-pressure passes through. The accept loop and all connections end when the proxy is dropped.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::JoinSet,
};

use crate::{Error, serving::Task};

mod pump;
use pump::{Outcome, Pump};

/// What the proxy does to the bytes. It holds for connections that are up and for new ones, until the next order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: bytes pass.
    None,
    /// New connections get `ECONNREFUSED`, those that are up are reset: the server's process is gone. The port stays ours.
    Refuse,
    /// Connections are accepted and stay up, nothing is passed on; after what the queue holds senders run into a full window.
    BlackHole,
    /// The server's side is closed, the client is never told; what it sends is swallowed.
    HalfOpen,
    /// After this many further bytes (both directions together, per connection) both sides are reset.
    ResetAfter(u64),
    /// After this many further bytes from the server a connection is closed as if all were well.
    TruncateAfter(u64),
    /// Every chunk arrives later by this much; throughput is not limited.
    Delay(Duration),
    /// Each direction of each connection passes at most this many bytes a second.
    Throttle(u64),
}

/// The order in force. The sequence number tells two equal orders apart: counts start anew with each.
#[derive(Debug, Clone, Copy)]
struct Order {
    sequence: u64,
    fault: Fault,
}

/// Bytes and connections that went through a proxy.
#[derive(Debug, Default)]
pub struct Traffic {
    connections: AtomicU64,
    to_server: AtomicU64,
    to_client: AtomicU64,
}

impl Traffic {
    /// Connections accepted so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
    /// Bytes written towards the server so far.
    #[must_use]
    pub fn to_server(&self) -> u64 {
        self.to_server.load(Ordering::Relaxed)
    }
    /// Bytes written towards the client so far.
    #[must_use]
    pub fn to_client(&self) -> u64 {
        self.to_client.load(Ordering::Relaxed)
    }
}

/// The running proxy.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    orders: watch::Sender<Order>,
    /// Sequence number of the order that the accept loop has carried out.
    applied: watch::Receiver<u64>,
    cuts: watch::Sender<u64>,
    traffic: Arc<Traffic>,
    /// Bound, never listening: the port cannot go to somebody else while it is refused.
    _reservation: TcpSocket,
    _accepting: Task,
}

impl FaultProxy {
    /// Listens on 127.0.0.1:0 for connections to `server`.
    ///
    /// # Errors
    /// When no socket can be had.
    pub async fn start(server: SocketAddr) -> Result<Self, Error> {
        Self::start_on(std::net::Ipv4Addr::LOCALHOST, server).await
    }

    /// The same on a free port of another address: of a network namespace without a way out.
    ///
    /// # Errors
    /// When no socket can be had.
    pub async fn start_on(address: std::net::Ipv4Addr, server: SocketAddr) -> Result<Self, Error> {
        Self::start_at(SocketAddr::from((address, 0)), server).await
    }

    /// The same on a port that is given: where whoever calls is let through to no other one.
    ///
    /// # Errors
    /// When the port is somebody's, or no socket can be had.
    pub async fn start_at(address: SocketAddr, server: SocketAddr) -> Result<Self, Error> {
        let failed = |source| Error::io("start the fault proxy", source);
        let reservation = reserve(address).map_err(failed)?;
        let address = reservation.local_addr().map_err(failed)?;
        let listener = listen(address).map_err(failed)?;
        let orders = watch::Sender::new(Order {
            sequence: 0,
            fault: Fault::None,
        });
        let cuts = watch::Sender::new(0);
        let (applied_tx, applied) = watch::channel(0);
        let traffic = Arc::new(Traffic::default());
        let accepting = Task::spawn(accept(Acceptor {
            address,
            server,
            listener: Some(listener),
            orders: orders.subscribe(),
            cuts: cuts.subscribe(),
            applied: applied_tx,
            traffic: Arc::clone(&traffic),
        }));
        Ok(Self {
            address,
            orders,
            applied,
            cuts,
            traffic,
            _reservation: reservation,
            _accepting: accepting,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What went through.
    #[must_use]
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Orders `fault`. When this returns it is in force for new connections, and every live one has been told.
    pub async fn set(&self, fault: Fault) {
        let mut sequence = 0;
        self.orders.send_modify(|order| {
            sequence = order.sequence + 1;
            *order = Order { sequence, fault };
        });
        let mut applied = self.applied.clone();
        // The accept loop lives as long as `self`, so this cannot fail.
        let _ = applied.wait_for(|done| *done >= sequence).await;
    }

    /// Resets every connection that is up; new ones are served.
    pub fn cut(&self) {
        self.cuts.send_modify(|cut| *cut += 1);
    }
}

/// A bound socket that shares its port with others of this process.
fn reserve(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    reserve(address)?.listen(4096)
}

struct Acceptor {
    address: SocketAddr,
    server: SocketAddr,
    listener: Option<TcpListener>,
    orders: watch::Receiver<Order>,
    cuts: watch::Receiver<u64>,
    applied: watch::Sender<u64>,
    traffic: Arc<Traffic>,
}

async fn accept(mut this: Acceptor) {
    let mut connections = JoinSet::new();
    loop {
        let order = *this.orders.borrow_and_update();
        this.listener = match (order.fault, this.listener.take()) {
            (Fault::Refuse, _) => None,
            (_, Some(listener)) => Some(listener),
            // The reservation holds the port, so only a lack of files can make this fail: then it is refused once more.
            (_, None) => listen(this.address).ok(),
        };
        this.applied.send_replace(order.sequence);
        tokio::select! {
            changed = this.orders.changed() => if changed.is_err() { return },
            Some(_) = connections.join_next() => {}
            accepted = next(this.listener.as_ref()) => if let Ok((client, _)) = accepted {
                this.traffic.connections.fetch_add(1, Ordering::Relaxed);
                connections.spawn(carry(
                    client,
                    this.server,
                    this.orders.clone(),
                    this.cuts.clone(),
                    Arc::clone(&this.traffic),
                ));
            },
        }
    }
}

async fn next(listener: Option<&TcpListener>) -> std::io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

/// One connection, from accept to its end.
async fn carry(
    client: TcpStream,
    server: SocketAddr,
    orders: watch::Receiver<Order>,
    mut cuts: watch::Receiver<u64>,
    traffic: Arc<Traffic>,
) {
    cuts.mark_unchanged();
    let client = Arc::new(client);
    let Ok(server) = TcpStream::connect(server).await else {
        let _ = client.set_zero_linger();
        return;
    };
    let server = Arc::new(server);
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
    }
    let spent = Arc::default();
    let up = Pump {
        from: &client,
        to: &server,
        to_client: false,
        spent: Arc::clone(&spent),
        traffic: &traffic,
    };
    let down = Pump {
        from: &server,
        to: &client,
        to_client: true,
        spent,
        traffic: &traffic,
    };
    let both = async {
        let (mut up, mut down) = (
            Box::pin(up.run(orders.clone())),
            Box::pin(down.run(orders.clone())),
        );
        let first =
            tokio::select! { end = &mut up => (end, true), end = &mut down => (end, false) };
        match first {
            (Outcome::Finished, true) => down.await,
            (Outcome::Finished, false) => up.await,
            (other, _) => other,
        }
    };
    let outcome = tokio::select! {
        outcome = both => outcome,
        _ = cuts.changed() => Outcome::Reset,
        () = pump::until(orders.clone(), |fault| fault == Fault::Refuse) => Outcome::Reset,
        () = pump::until(orders.clone(), |fault| fault == Fault::HalfOpen) => Outcome::Abandoned,
    };
    match outcome {
        Outcome::Finished => {}
        Outcome::Reset => {
            let _ = client.set_zero_linger();
            let _ = server.set_zero_linger();
        }
        Outcome::Abandoned => {
            drop(server);
            tokio::select! {
                () = pump::swallow(&client) => {}
                _ = cuts.changed() => { let _ = client.set_zero_linger(); }
                () = pump::until(orders, |fault| fault == Fault::Refuse) => { let _ = client.set_zero_linger(); }
            }
        }
    }
}

#[cfg(test)]
mod tests;
