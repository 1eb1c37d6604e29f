//! The camera's RTSP server: any number of clients, interleaved TCP only.
//!
//! [`Source`] serves byte streams: a forwarded SSH channel, half of a duplex, or what a listener accepts. Each connection is one task that reads
//! requests, keeps the rhythm of the film and writes; it ends with its stream or with [`Source::stop`]. What a client does not take is
//! dropped in whole packets beyond [`SourceConfig::queue`] bytes, as modern live555 does: the numbers go on, so the loss shows.
//!
//! Written apart from the server's side of `moorline-rtsp`, of which only parsing and printing are used: a camera must be able to answer
//! wrongly.

mod answer;
mod audio;
mod connection;
mod damage;
mod packetize;
mod player;
mod rtp;
mod sdp;
mod wall;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use moorline_base::clock::SharedClock;
use moorline_base::net::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::fault::{Fault, Faults};
use crate::video::{Clip, Film, Generated, Shape};

pub use audio::Audio;

/// Who may watch.
#[derive(Clone)]
pub struct Login {
    /// The name.
    pub user: String,
    /// The password.
    pub password: String,
    /// Basic is offered too, behind Digest (MD5).
    pub basic: bool,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("user", &self.user)
            .field("basic", &self.basic)
            .finish_non_exhaustive()
    }
}

/// One stream of a camera.
#[derive(Clone)]
pub struct Stream {
    /// Its path without outer slashes: `main`, `ch0`.
    pub path: String,
    /// What is seen. Every client gets the same picture at the same instant, from the one that is next when it asks.
    pub film: Arc<dyn Film>,
    /// What [`crate::Event::Parameters`] changes to: of the same rhythm, with other parameter sets.
    pub other_film: Option<Arc<dyn Film>>,
    /// What is heard.
    pub audio: Option<Audio>,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("path", &self.path)
            .field("audio", &self.audio)
            .finish_non_exhaustive()
    }
}

/// What a camera serves.
#[derive(Debug, Clone)]
pub struct SourceConfig {
    /// The number in its stamps.
    pub camera: u32,
    /// Its streams.
    pub streams: Vec<Stream>,
    /// Who may watch; `None`: everybody.
    pub login: Option<Login>,
    /// The longest RTP payload in bytes, 3 to 65,523.
    pub max_packet: usize,
    /// Bytes that wait for a client before whole packets are dropped.
    pub queue: usize,
    /// Whether pictures carry a [`crate::video::Stamp`].
    pub stamped: bool,
}

impl SourceConfig {
    /// The clip with its running clock at `/main` (with a tone in PCMA) and `/sub`, stamped, without login.
    #[must_use]
    pub fn clip(camera: u32) -> Self {
        let clip: Arc<dyn Film> = Arc::new(Clip::clock());
        let stream = |path: &str, audio| Stream {
            path: path.to_owned(),
            film: clip.clone(),
            other_film: None,
            audio,
        };
        Self::of(
            camera,
            vec![stream("main", Some(Audio::Pcma)), stream("sub", None)],
        )
    }

    /// Generated video of this shape at `/main`; [`crate::Event::Parameters`] halves its width. Stamped, without audio and login.
    #[must_use]
    pub fn generated(camera: u32, shape: Shape) -> Self {
        let half = Shape {
            width: shape.width / 2,
            ..shape
        };
        let main = Stream {
            path: "main".to_owned(),
            film: Generated::shared(shape),
            other_film: Some(Generated::shared(half)),
            audio: None,
        };
        Self::of(camera, vec![main])
    }

    /// These streams, stamped, without login; payloads of 1,400 bytes, 1 MiB of queue.
    #[must_use]
    pub fn of(camera: u32, streams: Vec<Stream>) -> Self {
        Self {
            camera,
            streams,
            login: None,
            max_packet: 1400,
            queue: 1 << 20,
            stamped: true,
        }
    }
}

/// What a source has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections that were served.
    pub connections: u64,
    /// Requests that were read.
    pub requests: u64,
    /// PLAYs that were answered.
    pub plays: u64,
    /// Pictures handed to a client's queue.
    pub pictures: u64,
    /// The highest number of a picture that was handed to a client's queue: later ones are still to come.
    pub newest: u64,
    /// Pictures and sounds dropped because a client's queue was full.
    pub dropped: u64,
    /// Media bytes handed to clients' queues.
    pub bytes: u64,
}

#[derive(Debug, Default)]
struct Counting {
    connections: AtomicU64,
    requests: AtomicU64,
    plays: AtomicU64,
    pictures: AtomicU64,
    newest: AtomicU64,
    dropped: AtomicU64,
    bytes: AtomicU64,
}

/// What all connections of a source share.
struct Shared {
    config: SourceConfig,
    clock: SharedClock,
    epoch: Instant,
    faults: Faults,
    counting: Counting,
}

/// A camera's RTSP server. Clones are the same one; the last to be dropped ends it.
#[derive(Clone)]
pub struct Source {
    shared: Arc<Shared>,
    running: Arc<Running>,
}

struct Running {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("camera", &self.shared.config.camera)
            .finish_non_exhaustive()
    }
}

impl Source {
    /// A camera that starts filming now.
    #[must_use]
    pub fn new(config: SourceConfig, clock: SharedClock) -> Self {
        let epoch = clock.monotonic();
        let shared = Shared {
            config,
            clock,
            epoch,
            faults: Faults::default(),
            counting: Counting::default(),
        };
        let running = Running {
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        Self {
            shared: Arc::new(shared),
            running: Arc::new(running),
        }
    }

    /// Its switches.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// What it has done so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let counting = &self.shared.counting;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            connections: read(&counting.connections),
            requests: read(&counting.requests),
            plays: read(&counting.plays),
            pictures: read(&counting.pictures),
            newest: read(&counting.newest),
            dropped: read(&counting.dropped),
            bytes: read(&counting.bytes),
        }
    }

    /// Serves one client on any stream, in a task of its own. Under [`Fault::Refuse`], or once stopped, the stream is dropped.
    pub fn serve<S: AsyncRead + AsyncWrite + Send + 'static>(&self, stream: S) {
        if self.running.stop.is_cancelled() || self.shared.faults.is_on(Fault::Refuse) {
            return;
        }
        let stop = self.running.stop.clone();
        self.running
            .tasks
            .spawn(connection::run(self.shared.clone(), stream, stop));
    }

    /// Accepts clients in a task of its own, until the source is stopped. Meant for a listener on loopback: nothing is encrypted.
    pub fn listen(&self, listener: TcpListener) {
        let stop = self.running.stop.clone();
        let tasks = self.running.tasks.clone();
        let shared = self.shared.clone();
        self.running.tasks.spawn(async move {
            let mut acceptor = Acceptor::new(
                "simulated camera",
                listener,
                shared.clock.clone(),
                stop.clone(),
            );
            while let Some((stream, _)) = acceptor.next().await {
                if !shared.faults.is_on(Fault::Refuse) {
                    tasks.spawn(connection::run(shared.clone(), stream, stop.clone()));
                }
            }
        });
    }

    /// Ends every connection and waits for its task.
    pub async fn stop(&self) {
        self.running.stop.cancel();
        self.running.tasks.close();
        self.running.tasks.wait().await;
    }
}
