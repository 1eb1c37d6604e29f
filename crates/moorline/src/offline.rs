//! A command that answers itself: while no server runs, it takes the data directory's lock and uses the same parts and routes.

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use moorline_tunnel::keyfile::HostKeys;
use moorline_web::serve::local_router;

use crate::absent::Absent;
use crate::args::Listen;
use crate::serve::doctor::Facts;
use crate::serve::parts::Parts;
use crate::serve::site::{self, Sources};
use crate::serve::{notifier, place};
use crate::settings;

/// The parts and routes of one command.
pub struct Offline {
    parts: Parts,
    router: Router,
}

impl Offline {
    /// Opens the data directory.
    ///
    /// # Errors
    /// Another process has it, or a file is damaged.
    pub async fn open(data: &Path, config: Option<&Path>) -> anyhow::Result<Self> {
        let settings = Arc::new(settings::load(data, config)?);
        let parts = Parts::open(data, &settings).await?;
        let keys = HostKeys::load_or_create(data)?;
        let addresses = place::Addresses::of(&Listen::default(), &settings.server)?;
        let (host, host_guessed) =
            place::public_host(&Listen::default(), &settings.server, addresses.ssh);
        let facts = Facts {
            public_host: host.clone(),
            host_guessed,
            open_files: None,
            self_signed: settings.server.tls_certificate.is_empty(),
        };
        let sources = Sources {
            statuses: Arc::new(Absent),
            relays: Arc::new(Absent),
            strangers: Arc::new(Absent),
        };
        let notifier = notifier::of(&settings.alert, &parts.clock)?;
        let place = site::place(&settings, host, addresses, &keys, &parts.store);
        let site = site::site(&parts, sources, place, &settings, notifier, None, facts);
        let router = local_router(moorline_web::router(site));
        Ok(Self { parts, router })
    }

    /// The routes.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// Closes the parts.
    pub async fn close(self) {
        drop(self.router);
        self.parts.close().await;
    }
}
