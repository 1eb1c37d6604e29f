//! Byte streams to cameras of our own network, and the choice between the two kinds of landing.
//!
//! Owns: a plain TCP connection with a deadline of 10 s. A LAN camera is `up` from the start of the process: the monitor claims for it, and
//! its address is a field that only an operator may set, so it is dialled as it stands.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use moorline_base::SharedClock;
use moorline_base::clock;
use moorline_core::camera::Access;
use moorline_core::id::ForwardName;
use moorline_core::port::{ByteStream, CameraDirectory, LandingError, Landings};
use moorline_core::{CameraId, Generation};
use tokio::net::TcpStream;

/// How long a connection may take, name resolution included.
const DEADLINE: Duration = Duration::from_secs(10);

/// [`Landings`] of cameras with [`Access::Lan`]. The only forward is `rtsp`; the generation is the one asked for.
#[derive(Clone)]
pub struct LanLandings {
    directory: Arc<dyn CameraDirectory>,
    clock: SharedClock,
}

impl LanLandings {
    /// Landings of the LAN cameras in `directory`.
    pub fn new(directory: Arc<dyn CameraDirectory>, clock: SharedClock) -> Self {
        LanLandings { directory, clock }
    }
}

#[async_trait]
impl Landings for LanLandings {
    /// As the port's, but an absent camera is not waited for: nothing tells when it is back.
    async fn connect(
        &self,
        camera: &CameraId,
        forward: &ForwardName,
        least: Generation,
    ) -> Result<(ByteStream, Generation), LandingError> {
        let record = self.directory.snapshot().get(camera).cloned();
        let record = record.ok_or(LandingError::Unknown)?;
        let Access::Lan { host, port } = &record.access else {
            return Err(LandingError::Unknown);
        };
        if *forward != ForwardName::rtsp() {
            return Err(LandingError::Unknown);
        }
        let connecting = TcpStream::connect((host.as_str(), *port));
        let stream = match clock::timeout(&*self.clock, DEADLINE, connecting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(refused_or_away(&error)),
            Err(_) => return Err(LandingError::Away),
        };
        // Fails only on a socket that is gone already: its first read will tell.
        let _ = stream.set_nodelay(true);
        Ok((Box::new(stream), least))
    }
}

fn refused_or_away(error: &io::Error) -> LandingError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => {
            LandingError::RefusedByCamera
        }
        _ => LandingError::Away,
    }
}

/// [`Landings`] that choose by the camera's [`Access`].
#[derive(Clone)]
pub struct AnyLandings {
    directory: Arc<dyn CameraDirectory>,
    tunnel: Arc<dyn Landings>,
    lan: Arc<dyn Landings>,
}

impl AnyLandings {
    /// LAN cameras by `lan`, all others by `tunnel`.
    pub fn new(
        directory: Arc<dyn CameraDirectory>,
        tunnel: Arc<dyn Landings>,
        lan: Arc<dyn Landings>,
    ) -> Self {
        AnyLandings {
            directory,
            tunnel,
            lan,
        }
    }
}

#[async_trait]
impl Landings for AnyLandings {
    async fn connect(
        &self,
        camera: &CameraId,
        forward: &ForwardName,
        least: Generation,
    ) -> Result<(ByteStream, Generation), LandingError> {
        let record = self.directory.snapshot().get(camera).cloned();
        let landings = match record.ok_or(LandingError::Unknown)?.access {
            Access::Lan { .. } => &self.lan,
            Access::Tunnel { .. } => &self.tunnel,
        };
        landings.connect(camera, forward, least).await
    }
}
