//! Streams to cameras: each is told to the test with its other end.

use std::sync::Mutex;

use async_trait::async_trait;
use moorline_core::id::ForwardName;
use moorline_core::port::{ByteStream, LandingError, Landings};
use moorline_core::{CameraId, Generation};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;

/// Room for the bytes under way.
const ROOM: usize = 1024;

/// The ways to the cameras.
pub(crate) struct FakeLandings {
    /// What they answer, if it is no stream.
    pub(crate) refusing: Mutex<Option<LandingError>>,
    opened: mpsc::Sender<(String, DuplexStream)>,
    seen: tokio::sync::Mutex<mpsc::Receiver<(String, DuplexStream)>>,
}

impl Default for FakeLandings {
    fn default() -> Self {
        let (opened, seen) = mpsc::channel(64);
        Self {
            refusing: Mutex::default(),
            opened,
            seen: tokio::sync::Mutex::new(seen),
        }
    }
}

impl FakeLandings {
    /// The camera's end of the next stream, and `camera forward`.
    pub(crate) async fn opened(&self) -> (String, DuplexStream) {
        self.seen.lock().await.recv().await.unwrap()
    }

    /// Whether no stream was opened that was not taken by [`FakeLandings::opened`].
    pub(crate) async fn is_untouched(&self) -> bool {
        self.seen.lock().await.is_empty()
    }
}

#[async_trait]
impl Landings for FakeLandings {
    async fn connect(
        &self,
        camera: &CameraId,
        forward: &ForwardName,
        _: Generation,
    ) -> Result<(ByteStream, Generation), LandingError> {
        let refusing = self.refusing.lock().unwrap().clone();
        if let Some(error) = refusing {
            return Err(error);
        }
        let (ours, theirs) = duplex(ROOM);
        let told = (format!("{camera} {forward}"), theirs);
        self.opened.send(told).await.unwrap();
        Ok((Box::new(ours), Generation(7)))
    }
}
