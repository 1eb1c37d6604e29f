//! One direction of one connection.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use rustix::net::{Shutdown, shutdown};
use tokio::{
    net::TcpStream,
    sync::{mpsc, watch},
    time::Instant,
};

use super::{Fault, Order, Traffic};

/// How a direction, or a connection, ended.
pub(super) enum Outcome {
    /// Its source said so.
    Finished,
    /// By order: reset both sides.
    Reset,
    /// By order: close the server's side, leave the client alone.
    Abandoned,
}

/// Bytes that a connection has passed under the order with this sequence number.
pub(super) type Spent = Arc<Mutex<(u64, u64)>>;

pub(super) struct Pump<'a> {
    pub(super) from: &'a TcpStream,
    pub(super) to: &'a TcpStream,
    pub(super) to_client: bool,
    pub(super) spent: Spent,
    pub(super) traffic: &'a Traffic,
}

impl Pump<'_> {
    pub(super) async fn run(self, orders: watch::Receiver<Order>) -> Outcome {
        let (queue, chunks) = mpsc::channel(64);
        let reading = read(self.from, queue);
        let writing = self.write(chunks, orders);
        // The reader's end closes the queue, which ends the writer; the writer's error ends both.
        tokio::pin!(reading, writing);
        tokio::select! {
            outcome = &mut writing => outcome,
            () = &mut reading => writing.await,
        }
    }

    async fn write(
        &self,
        mut chunks: mpsc::Receiver<(Instant, Vec<u8>)>,
        mut orders: watch::Receiver<Order>,
    ) -> Outcome {
        while let Some((arrived, chunk)) = chunks.recv().await {
            let mut rest = chunk.as_slice();
            while !rest.is_empty() {
                let order = *orders.borrow_and_update();
                let (allowed, pause) = match order.fault {
                    Fault::BlackHole | Fault::HalfOpen | Fault::Refuse => {
                        if orders.changed().await.is_err() {
                            return Outcome::Reset;
                        }
                        continue;
                    }
                    Fault::None => (rest.len(), Duration::ZERO),
                    Fault::Delay(delay) => {
                        tokio::select! {
                            () = tokio::time::sleep_until(arrived + delay) => {}
                            _ = orders.changed() => continue,
                        }
                        (rest.len(), Duration::ZERO)
                    }
                    Fault::Throttle(rate) => {
                        // 50 pieces a second, so that a slow link flows instead of stuttering.
                        let piece = usize::try_from((rate / 50).max(1))
                            .unwrap_or(usize::MAX)
                            .min(rest.len());
                        (
                            piece,
                            Duration::from_secs_f64(piece as f64 / rate.max(1) as f64),
                        )
                    }
                    Fault::ResetAfter(limit) => match self.spend(order.sequence, rest.len(), limit)
                    {
                        0 => return Outcome::Reset,
                        allowed => (allowed, Duration::ZERO),
                    },
                    Fault::TruncateAfter(limit) if self.to_client => {
                        match self.spend(order.sequence, rest.len(), limit) {
                            0 => return self.finish_both(),
                            allowed => (allowed, Duration::ZERO),
                        }
                    }
                    Fault::TruncateAfter(_) => (rest.len(), Duration::ZERO),
                };
                let (now, later) = rest.split_at(allowed);
                if write_all(self.to, now).await.is_err() {
                    return Outcome::Reset;
                }
                let counter = if self.to_client {
                    &self.traffic.to_client
                } else {
                    &self.traffic.to_server
                };
                counter.fetch_add(now.len() as u64, Ordering::Relaxed);
                rest = later;
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
            }
        }
        let _ = shutdown(self.to, Shutdown::Write);
        Outcome::Finished
    }

    /// How many of `wanted` bytes may still pass.
    fn spend(&self, sequence: u64, wanted: usize, limit: u64) -> usize {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        if spent.0 != sequence {
            *spent = (sequence, 0);
        }
        let allowed = (limit - spent.1.min(limit)).min(wanted as u64);
        spent.1 += allowed;
        usize::try_from(allowed).unwrap_or(wanted)
    }

    /// Ends both directions in good order.
    fn finish_both(&self) -> Outcome {
        for stream in [self.to, self.from] {
            let _ = shutdown(stream, Shutdown::Both);
        }
        Outcome::Finished
    }
}

/// Reads until the end. A full queue stops it, which is how back-pressure (and a black hole) reaches the sender.
async fn read(from: &TcpStream, queue: mpsc::Sender<(Instant, Vec<u8>)>) {
    let mut buffer = vec![0; 16 * 1024];
    while from.readable().await.is_ok() {
        match from.try_read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => {
                let chunk = buffer.get(..length).unwrap_or_default().to_vec();
                if queue.send((Instant::now(), chunk)).await.is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

async fn write_all(to: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        match to.try_write(bytes) {
            Ok(length) => bytes = bytes.get(length..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads and forgets until the client gives up.
pub(super) async fn swallow(client: &TcpStream) {
    let mut buffer = vec![0; 16 * 1024];
    while client.readable().await.is_ok() {
        match client.try_read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// Waits for an order that satisfies `wanted`; for ever, if none comes.
pub(super) async fn until(mut orders: watch::Receiver<Order>, wanted: impl Fn(Fault) -> bool) {
    if orders.wait_for(|order| wanted(order.fault)).await.is_err() {
        std::future::pending().await
    }
}
