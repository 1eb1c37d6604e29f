//! Puts the parts behind the routes of the HTTP API.

use std::sync::Arc;

use moorline_base::logging::LogHandle;
use moorline_core::port::{Landings, Notifier, Relays, Statuses, Strangers};
use moorline_core::segment::Retention;
use moorline_tunnel::keyfile::HostKeys;
use moorline_web::api::Ports;
use moorline_web::{Place, Site};

use super::doctor::Facts;
use super::in_force::InForce;
use super::operations::Operator;
use super::parts::{Parts, Store};
use super::place::{Addresses, in_url, public_port, viewer_host};
use crate::agents::shelf::Shelf;
use crate::settings::Settings;

/// What a running server has others of than a command that answers itself.
pub struct Sources {
    /// What cameras are doing.
    pub statuses: Arc<dyn Statuses>,
    /// Live streams.
    pub relays: Arc<dyn Relays>,
    /// Byte streams to cameras.
    pub landings: Option<Arc<dyn Landings>>,
    /// Refused strangers.
    pub strangers: Arc<dyn Strangers>,
    /// Releases of the on-camera agent.
    pub shelf: Arc<Shelf>,
}

/// Names and ports as the outside sees them.
pub fn place(
    settings: &Settings,
    host: String,
    listened: Addresses,
    keys: &HostKeys,
    store: &Store,
) -> Place {
    let server = &settings.server;
    Place {
        known_hosts: keys.known_hosts_dropbear(&host),
        // They may be made while the server runs.
        next_host_keys: Vec::new(),
        hosts: Vec::new(),
        ports: Ports {
            ssh: public_port(server.public_ssh_port, listened.ssh),
            rtsp: public_port(server.public_rtsp_port, listened.rtsp),
            https: public_port(server.public_https_port, listened.https),
        },
        viewer_host: in_url(&viewer_host(server, &host)),
        public_host: in_url(&host),
        store: store.told.clone(),
        version: env!("CARGO_PKG_VERSION"),
        retention: retention(settings),
    }
}

/// How long recordings of a new camera are kept.
pub fn retention(settings: &Settings) -> Retention {
    match settings.archive.keep_days {
        0 => Retention::Keep,
        days => Retention::Days(days.min(999)),
    }
}

/// The site.
pub fn site(
    parts: &Parts,
    sources: Sources,
    place: Place,
    settings: InForce,
    notifier: Arc<dyn Notifier>,
    log: Option<LogHandle>,
    facts: Facts,
) -> Site {
    let operator = Operator {
        data: parts.data.path().to_owned(),
        settings,
        clock: Arc::clone(&parts.clock),
        registry: Arc::clone(&parts.registry),
        store: parts.store.clone(),
        swept: parts.swept.clone(),
        usage: parts.usage.clone(),
        daily: parts.daily.clone(),
        archive: parts.archive.clone(),
        statuses: Arc::clone(&sources.statuses),
        notifier,
        log,
        facts,
        shelf: sources.shelf,
    };
    Site {
        cameras: parts.registry.cameras(),
        admin: parts.registry.cameras(),
        tokens: parts.registry.enrolment(),
        users: parts.registry.users(),
        sessions: parts.registry.sessions(),
        audit: parts.registry.audit(),
        statuses: sources.statuses,
        relays: sources.relays,
        landings: sources.landings,
        recordings: Arc::clone(&parts.reader) as _,
        store: Arc::clone(&parts.store.read),
        strangers: sources.strangers,
        operations: Arc::new(operator),
        clock: Arc::clone(&parts.clock),
        place: Arc::new(place),
    }
}
