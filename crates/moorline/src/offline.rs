//! A command that answers itself: while no server runs, it takes the data directory's lock and uses the same parts and routes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use moorline_core::port::{Memories as _, Statuses};
use moorline_core::status::{CameraStatus, LinkStatus};
use moorline_core::{CameraId, TenantId, Timestamp};
use moorline_tunnel::keyfile::HostKeys;
use moorline_web::serve::local_router;

use crate::absent::Absent;
use crate::agents::shelf::Shelf;
use crate::args::Listen;
use crate::serve::doctor::Facts;
use crate::serve::in_force::InForce;
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
        if let Some(directory) = &parts.store.directory {
            parts.usage.look(directory).await;
        }
        let keys = HostKeys::load_or_create(data)?;
        let addresses = place::Addresses::of(&Listen::default(), &settings.server)?;
        let (host, host_guessed) =
            place::public_host(&Listen::default(), &settings.server, addresses.ssh);
        let facts = Facts {
            public_host: host.clone(),
            host_guessed,
            viewer_host: place::viewer_host(&settings.server, &host),
            running: None,
        };
        let sources = Sources {
            statuses: Arc::new(Remembered::load(&parts).await?),
            relays: Arc::new(Absent),
            landings: None,
            strangers: Arc::new(Absent),
            shelf: Arc::new(Shelf::open(data)),
        };
        let notifier = notifier::of(&settings.alert, &parts.clock)?;
        let place = site::place(&settings, host, addresses, &keys, &parts.store);
        let settings = InForce::new(settings);
        let site = site::site(&parts, sources, place, settings, notifier, None, facts);
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

/// What the last server knew of its cameras when it ended: up to where their recordings are durable, and what is missing since.
struct Remembered(BTreeMap<CameraId, CameraStatus>);

impl Remembered {
    async fn load(parts: &Parts) -> anyhow::Result<Self> {
        let memories = parts.registry.memories().load().await?;
        let now = Timestamp::from_millis(parts.clock.wall_ms());
        let statuses = memories.into_iter().map(|(camera, memory)| {
            let status = CameraStatus {
                durable_until: memory.durable_until,
                recorded_until: memory.recorded_until,
                gaps: memory.gaps,
                ..CameraStatus::new(
                    camera.clone(),
                    LinkStatus::Absent,
                    memory.alive_until.unwrap_or(now),
                )
            };
            (camera, status)
        });
        Ok(Self(statuses.collect()))
    }
}

#[async_trait]
impl Statuses for Remembered {
    fn get(&self, camera: &CameraId) -> Option<CameraStatus> {
        self.0.get(camera).cloned()
    }

    fn list(&self, tenant: &TenantId) -> Vec<CameraStatus> {
        let own = self.0.values();
        own.filter(|status| status.camera.tenant() == tenant)
            .cloned()
            .collect()
    }

    async fn changed(&self, _: u64) -> u64 {
        std::future::pending().await
    }

    fn version(&self) -> u64 {
        0
    }

    fn hang_up(&self, _: &CameraId) {}
}
