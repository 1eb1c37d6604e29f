//! A whole camera: a source behind a tunnel, stopped by one handle.

use std::io;
use std::path::PathBuf;

use moorline_base::clock::SharedClock;
use moorline_base::net::BindError;

use crate::dbclient::DbclientTunnel;
use crate::fault::Faults;
use crate::source::{Source, SourceConfig};
use crate::tunnel::{KeyError, Tunnel, TunnelConfig};

/// Why a camera could not be started.
#[derive(Debug, thiserror::Error)]
pub enum CameraError {
    /// Its key is of no use.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Its source cannot listen.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// `dbclient` cannot be started, or its home not be made.
    #[error("cannot start the camera's SSH client: {0}")]
    Io(#[from] io::Error),
}

/// Which SSH client a camera has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Client {
    /// Ours, in the process.
    BuiltIn,
    /// The real one, a program by name or path.
    Dbclient(PathBuf),
}

/// What a camera is.
#[derive(Debug, Clone)]
pub struct CameraConfig {
    /// What it serves.
    pub source: SourceConfig,
    /// Whom it calls.
    pub tunnel: TunnelConfig,
    /// By what.
    pub client: Client,
}

#[derive(Debug)]
enum Line {
    BuiltIn(Tunnel),
    Dbclient(DbclientTunnel),
}

/// A running camera. Dropping it ends it; [`Camera::stop`] also waits.
#[derive(Debug)]
pub struct Camera {
    source: Source,
    line: Line,
}

impl Camera {
    /// Starts filming and calling. Returns before the tunnel is up: [`Camera::tunnel`] tells.
    ///
    /// # Errors
    /// Only with [`Client::Dbclient`]: [`CameraError`].
    pub async fn start(config: CameraConfig, clock: SharedClock) -> Result<Self, CameraError> {
        let source = Source::new(config.source, clock.clone());
        let line = match config.client {
            Client::BuiltIn => Line::BuiltIn(Tunnel::start(config.tunnel, source.clone(), clock)),
            Client::Dbclient(program) => {
                Line::Dbclient(DbclientTunnel::start(&program, &config.tunnel, &source).await?)
            }
        };
        Ok(Self { source, line })
    }

    /// What it serves.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// What can be wrong with it.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        self.source.faults()
    }

    /// Its SSH client, if it is ours.
    #[must_use]
    pub fn tunnel(&self) -> Option<&Tunnel> {
        match &self.line {
            Line::BuiltIn(tunnel) => Some(tunnel),
            Line::Dbclient(_) => None,
        }
    }

    /// Ends everything and waits until no task, socket, process or file is left.
    pub async fn stop(self) {
        match self.line {
            Line::BuiltIn(tunnel) => tunnel.stop().await,
            Line::Dbclient(tunnel) => tunnel.stop().await,
        }
        self.source.stop().await;
    }
}
