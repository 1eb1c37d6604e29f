//! One relayed connection: three threads, two sockets.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::frame::{Cutter, Piece};
use super::pool::Next;
use super::queue::Kind;
use super::talk::{Out, Talk};
use super::{Relay, cut, spawn_and_wait};

/// The streamer is on this camera.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// A streamer that does not even read requests is stuck.
const WRITE_WITHIN: Duration = Duration::from_secs(5);
/// Written at once: what one packet of dbclient takes, and a little more.
const BATCH: usize = 16 * 1024;
const READ: usize = 16 * 1024;

/// Serves one connection of the tunnel until one side ends. The calling thread drains the streamer.
pub(super) fn serve(relay: &Arc<Relay>, serial: u32, tunnel: &TcpStream) {
    let chosen = relay.streamer();
    let Ok(streamer) = TcpStream::connect_timeout(&chosen.address, CONNECT_WITHIN) else {
        cut(&[tunnel]);
        return;
    };
    let _ = streamer.set_nodelay(true);
    let _ = tunnel.set_nodelay(true);
    let _ = streamer.set_write_timeout(Some(WRITE_WITHIN));
    let (Ok(tunnel_in), Ok(tunnel_out), Ok(streamer_out)) =
        (tunnel.try_clone(), tunnel.try_clone(), streamer.try_clone())
    else {
        cut(&[tunnel, &streamer]);
        return;
    };
    let end = Arc::new(Ends {
        relay: Arc::clone(relay),
        serial,
        streamer: streamer_out,
        talk: Mutex::new(Talk::new(chosen.login)),
    });
    let asking = Arc::clone(&end);
    let asked = spawn_and_wait("requests", move || asking.requests(&tunnel_in));
    let writing = Arc::clone(relay);
    let wrote = spawn_and_wait("writer", move || write(&writing, serial, &tunnel_out));
    if asked.is_ok() && wrote.is_ok() {
        end.drain(&streamer);
    }
    cut(&[&streamer]);
    relay.pool().end(serial);
    relay.filled.notify_all();
    // What waits is still written; a writer that cannot is woken by the server's end of the connection.
    if let Ok(writer) = wrote {
        let _ = writer.join();
    }
    cut(&[tunnel]);
    if let Ok(asked) = asked {
        let _ = asked.join();
    }
}

struct Ends {
    relay: Arc<Relay>,
    serial: u32,
    streamer: TcpStream,
    talk: Mutex<Talk>,
}

impl Ends {
    fn talk<T>(&self, with: impl FnOnce(&mut Talk) -> T) -> T {
        with(&mut self.talk.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// False ends the connection.
    fn pass(&self, out: Out) -> bool {
        match out {
            Out::Streamer(bytes) => (&self.streamer).write_all(&bytes).is_ok(),
            Out::Tunnel(bytes) => self.queue(bytes, Kind::Kept),
        }
    }

    fn queue(&self, bytes: Vec<u8>, kind: Kind) -> bool {
        let now = self.relay.moments.now();
        let pushed = self.relay.pool().push(self.serial, bytes, kind, now);
        let counters = self.relay.counters();
        counters
            .pictures
            .fetch_add(pushed.pictures, Ordering::Relaxed);
        counters
            .pictures_dropped
            .fetch_add(pushed.dropped, Ordering::Relaxed);
        if pushed.overflow.is_some() {
            counters.faults.fetch_add(1, Ordering::Relaxed);
        }
        self.relay.filled.notify_all();
        pushed.overflow != Some(self.serial)
    }

    /// From the server to the streamer, until the server ends.
    fn requests(&self, tunnel: &TcpStream) {
        let mut cutter = Cutter::default();
        let mut room = [0; 4096];
        let mut tunnel = tunnel;
        let mut open = true;
        while open {
            let Ok(count @ 1..) = tunnel.read(&mut room) else {
                break;
            };
            cutter.push(room.get(..count).unwrap_or_default(), |piece| {
                let out = match piece {
                    Piece::Text(request) => self.talk(|talk| talk.request(request)),
                    Piece::Frame { bytes, .. } | Piece::Raw(bytes) => Out::Streamer(bytes),
                };
                open &= self.pass(out);
            });
        }
        // The server's end is the connection's end: nobody reads what would still come.
        let _ = tunnel.shutdown(Shutdown::Both);
        let _ = self.streamer.shutdown(Shutdown::Both);
    }

    /// From the streamer to the queue, until the streamer ends. Waits for nothing but the streamer.
    fn drain(&self, streamer: &TcpStream) {
        let mut cutter = Cutter::default();
        let mut room = vec![0; READ];
        let mut streamer = streamer;
        let (mut open, mut raw) = (true, false);
        let counters = self.relay.counters();
        while open {
            let Ok(count @ 1..) = streamer.read(&mut room) else {
                break;
            };
            cutter.push(room.get(..count).unwrap_or_default(), |piece| {
                open &= match piece {
                    Piece::Text(message) => {
                        let out = self.talk(|talk| talk.answer(message));
                        self.pass(out)
                    }
                    Piece::Frame { channel, bytes } => {
                        let now = self.relay.moments.now();
                        let kind = self.talk(|talk| talk.kind(channel, &bytes, now));
                        self.queue(bytes, kind)
                    }
                    Piece::Raw(bytes) => self.queue(bytes, Kind::Kept),
                };
            });
            if cutter.is_raw() && !raw {
                raw = true;
                counters.faults.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// From the queue to dbclient: the one that a slow uplink holds up.
fn write(relay: &Relay, serial: u32, tunnel: &TcpStream) {
    let mut tunnel = tunnel;
    loop {
        let mut pool = relay.pool();
        let bytes = loop {
            match pool.next(serial, BATCH) {
                Next::Bytes(bytes) => break bytes,
                Next::End => {
                    drop(pool);
                    let _ = tunnel.shutdown(Shutdown::Both);
                    return;
                }
                Next::Wait => {
                    let waited = relay.filled.wait(pool);
                    pool = waited.unwrap_or_else(PoisonError::into_inner);
                }
            }
        };
        drop(pool);
        if tunnel.write_all(&bytes).is_err() {
            // Reading it ends too, and with it the connection.
            let _ = tunnel.shutdown(Shutdown::Both);
            return;
        }
        let sent = u32::try_from(bytes.len()).unwrap_or_default();
        relay.counters().sent.fetch_add(sent, Ordering::Relaxed);
    }
}
