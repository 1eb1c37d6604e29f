//! The certificate of RTSPS and HTTPS, read again when its files change: a mounted Secret is exchanged without a signal.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use moorline_base::clock::sleep;
use moorline_base::{CancellationToken, SharedClock};
use rustls::server::ResolvesServerCert;

use crate::serve::tls::{self, Certificate};
use crate::settings::Server;

/// The kubelet needs a minute to exchange a mounted Secret; nobody waits for the last half of another.
const EVERY: Duration = Duration::from_secs(30);

/// The certificate in force, and where it comes from.
pub(super) struct Watched {
    server: Server,
    data: PathBuf,
    host: String,
    certificate: Arc<Certificate>,
}

impl Watched {
    /// Reads it; makes one that nobody knows where none is named.
    ///
    /// # Errors
    /// A file is missing or wrong; names it.
    pub(super) fn load(server: &Server, data: &Path, host: &str) -> anyhow::Result<Self> {
        let first = tls::load(server, data, host)?;
        if server.tls_certificate.is_empty() {
            tracing::warn!(
                "the certificate was made here, and browsers warn of it: server.tls_certificate names a better one"
            );
        }
        Ok(Self {
            server: server.clone(),
            data: data.to_owned(),
            host: host.to_owned(),
            certificate: Arc::new(Certificate::new(first)),
        })
    }

    /// For new connections, always the certificate in force.
    pub(super) fn resolver(&self) -> Arc<dyn ResolvesServerCert> {
        Arc::clone(&self.certificate) as _
    }

    /// Reads it again and again until `stop`. What is wrong is told once, and what was in force stays.
    pub(super) async fn watch(self, clock: SharedClock, stop: CancellationToken) {
        let mut told = String::new();
        while !sleep(&*clock, EVERY, &stop).await.is_cancelled() {
            match tls::load(&self.server, &self.data, &self.host) {
                Ok(next) => {
                    let before = self.certificate.fingerprint();
                    self.certificate.set(next);
                    if self.certificate.fingerprint() != before {
                        tracing::info!("the certificate was exchanged");
                    }
                    told.clear();
                }
                Err(error) => {
                    let why = format!("{error:#}");
                    if told != why {
                        tracing::error!(why, "the certificate was not exchanged");
                        told = why;
                    }
                }
            }
        }
    }
}
