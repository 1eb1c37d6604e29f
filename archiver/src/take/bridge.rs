//! retina reads a `TcpStream` only, and a relay is any byte stream: a loopback pair between them, new for each take.
//!
//! Bound to 127.0.0.1 on a free port, good for one connection that asks for a path which nobody can guess; whoever asks for another, or
//! for nothing within two seconds, is closed, and "localhost is trusted" is no rule here. The pump ends with either side, or when the
//! [`Bridge`] is dropped.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use moorline_base::SharedClock;
use moorline_base::clock::timeout;
use moorline_core::port::ByteStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tracing::Instrument as _;
use url::Url;

/// A connection has so long to ask for the path.
const ASKING: Duration = Duration::from_secs(2);
/// Nobody has asked for the path within this: retina never came.
const COMING: Duration = Duration::from_secs(10);
/// Connections that are listened to at a time; further ones wait in the kernel.
const CANDIDATES: usize = 8;
/// The longest request line that is read before the path must have been seen.
const LINE: usize = 512;
/// Copies go through buffers of this size: about one key frame's burst.
const BUFFER: usize = 64 * 1024;

/// The way to the relay, as retina can take it.
#[derive(Debug)]
pub(crate) struct Bridge {
    pub(crate) url: Url,
    pump: JoinHandle<()>,
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

impl Bridge {
    /// Opens the pair in front of `relay`.
    ///
    /// # Errors
    /// The system's, when it has no port or descriptor left.
    pub(crate) fn open(relay: ByteStream, clock: &SharedClock) -> io::Result<Self> {
        let listener = moorline_base::net::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .map_err(|error| error.source)?;
        let address = listener.local_addr()?;
        let path = format!("{:032x}", rand::random::<u128>());
        let url = Url::parse(&format!("rtsp://{address}/{path}")).map_err(io::Error::other)?;
        let clock = Arc::clone(clock);
        let pumping = async move {
            let coming = timeout(&*clock, COMING, ours(&listener, &path, &clock)).await;
            drop(listener);
            match coming {
                Ok(Ok((retina, asked))) => pump(retina, asked, relay).await,
                Ok(Err(error)) => tracing::debug!(%error, "the loopback pair failed"),
                Err(_) => tracing::debug!("nobody came to the loopback pair"),
            }
        };
        let pump = tokio::spawn(pumping.in_current_span());
        Ok(Self { url, pump })
    }
}

/// The connection that asks for `path`, and what it has sent so far.
async fn ours(
    listener: &TcpListener,
    path: &str,
    clock: &SharedClock,
) -> io::Result<(TcpStream, Vec<u8>)> {
    let mut candidates = FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if candidates.len() < CANDIDATES => {
                let (stream, _) = accepted?;
                candidates.push(timeout(&**clock, ASKING, asks_for(stream, path)));
            }
            Some(candidate) = candidates.next(), if !candidates.is_empty() => {
                if let Ok(Some(found)) = candidate {
                    return Ok(found);
                }
                tracing::warn!(reason = "wrong_path", "a stranger came to the archiver's loopback pair");
            }
        }
    }
}

async fn asks_for(mut stream: TcpStream, path: &str) -> Option<(TcpStream, Vec<u8>)> {
    let mut asked = Vec::new();
    let wanted = format!("/{path}");
    while asked.len() < LINE {
        if stream.read_buf(&mut asked).await.ok()? == 0 {
            return None;
        }
        let line = asked.split(|byte| *byte == b'\n').next()?;
        if line.len() < asked.len() {
            let line = String::from_utf8_lossy(line);
            let url = line.split(' ').nth(1)?;
            return url.contains(&wanted).then_some((stream, asked));
        }
    }
    None
}

async fn pump(mut retina: TcpStream, asked: Vec<u8>, mut relay: ByteStream) {
    // small requests and reports must not wait for more
    let _ = retina.set_nodelay(true);
    let done = async {
        relay.write_all(&asked).await?;
        relay.flush().await?;
        tokio::io::copy_bidirectional_with_sizes(&mut retina, &mut relay, LINE, BUFFER).await
    };
    if let Err(error) = done.await {
        tracing::debug!(%error, "the way to the relay ended");
    }
}

#[cfg(test)]
mod tests {
    use moorline_base::SystemClock;

    use super::*;

    #[tokio::test]
    async fn only_who_knows_the_path_gets_the_relay() {
        let (relay, mut far) = tokio::io::duplex(4_096);
        let clock = SystemClock::shared();
        let bridge = Bridge::open(Box::new(relay), &clock).unwrap();
        let address = bridge.url.socket_addrs(|| None).unwrap()[0];

        let mut silent = TcpStream::connect(address).await.unwrap();
        let mut stranger = TcpStream::connect(address).await.unwrap();
        stranger
            .write_all(b"DESCRIBE rtsp://127.0.0.1/camera-1 RTSP/1.0\r\n\r\n")
            .await
            .unwrap();
        let mut nothing = Vec::new();
        let _ = stranger.read_to_end(&mut nothing).await;
        assert_eq!(nothing, b"", "the stranger is closed");

        let mut retina = TcpStream::connect(address).await.unwrap();
        let request = format!("DESCRIBE {} RTSP/1.0\r\n\r\n", bridge.url);
        retina.write_all(request.as_bytes()).await.unwrap();
        let mut heard = vec![0; request.len()];
        far.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, request.as_bytes());
        far.write_all(b"RTSP/1.0 200 OK\r\n\r\n").await.unwrap();
        let mut answer = [0; 19];
        retina.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"RTSP/1.0 200 OK\r\n\r\n");

        let mut rest = Vec::new();
        let _ = silent.read_to_end(&mut rest).await;
        assert_eq!(rest, b"");
    }
}
