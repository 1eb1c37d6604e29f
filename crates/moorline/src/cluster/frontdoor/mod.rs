//! `moorline frontdoor`: the viewers' side of a cluster, for all tenants: RTSP and RTSPS on one port, the page and its API on another.
//!
//! ```text
//! players ─RTSP(S)─▶ front door ─▶ readings (a ring per watched camera) ─ ticket, TLS ─▶ relay pods
//! browsers ─HTTPS─▶ routes ─┬─ live: the same rings      └─ who and where: signer
//!                           ├─ recordings: store, with a key that may get and list
//!                           ├─ people: PostgreSQL       └─ cameras, what they do: watch of Cameras
//! ```
//! - Whoever asks is a user of one tenant, and every name that is looked up is put under that tenant first (S13, `moorline_web::access`, and the
//!   front door of `proxy`).
//! - It holds no key that may put or delete, no ticket key, and reads no pods (S18).
//! - Viewers stay while relays, `mon`, the signer, the API server or PostgreSQL are restarted. Its own end costs them their connections.

pub mod behind;
mod certificate;
mod operations;
mod people;
mod present;
mod readings;
mod relays;
#[cfg(test)]
mod tests;
mod view;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use moorline_base::logging::LogHandle;
use moorline_base::{SharedClock, net};
use moorline_core::port::{
    Audit, CameraAdmin, CameraDirectory, EnrollTokens, PutPolicy as _, SegmentStore, Statuses,
    Users,
};
use moorline_core::segment::Retention;
use moorline_core::{CameraId, Timestamp};
use moorline_gateway::{Dialer, Endpoint, RelayLandings, TicketRelays, Trust};
use moorline_kube::resource::DEFAULT_CLASS;
use moorline_kube::{Cache, KubeAdmin, KubePlaces, KubeStatuses, PodCache};
use moorline_proxy::{Candidates, FrontDoor, Hub, ProxyMetrics};
use moorline_recordings::{Archive as Reader, Kept};
use moorline_store::{TenantRead, TenantReads, expired_by_age};
use moorline_web::api::Ports;
use moorline_web::{Place, Site};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::role::{LISTED, Role, address, service};
use super::stores::{Keys, Stores};
use super::unchanged::Unchanged;
use crate::absent::Absent;
use crate::args::Global;
use crate::serve::place::{in_url, public_port, viewer_host};
use crate::serve::{self, tls};
use operations::{FrontOperator, HostKeyFiles, NoSpool};
use people::{Kept as KeptPeople, People};
use present::{Present, Since};
use readings::{Readings, Sign, Signs};

/// Viewers get to take their BYE, requests to end.
const GOODBYE: Duration = Duration::from_secs(6);

/// What a front door is made of: which adapter stands behind which port.
struct Inside {
    clock: SharedClock,
    cameras: Arc<dyn CameraDirectory>,
    admin: Arc<dyn CameraAdmin>,
    tokens: Arc<dyn EnrollTokens>,
    statuses: Arc<dyn Statuses>,
    signs: Arc<dyn Signs>,
    tickets: TicketRelays,
    people: People,
    tenants: Since,
    store: Arc<dyn SegmentStore>,
    classes: Classes,
    place: Place,
    host_keys: HostKeyFiles,
    log: Option<LogHandle>,
    metrics: ProxyMetrics,
    streams_per_user: usize,
}

/// The retention classes that a camera has used.
type Classes = Arc<dyn Fn(&CameraId) -> Vec<Retention> + Send + Sync>;

/// A front door that only needs its listeners.
struct Opened {
    hub: Hub,
    readings: Readings,
    users: Arc<dyn Users>,
    audit: Arc<dyn Audit>,
    router: axum::Router,
    people: KeptPeople,
}

impl Inside {
    fn open(self) -> Opened {
        let mut config = serve::relay_config(self.streams_per_user);
        config.landing_per_source = true;
        // At a relay there is one path, and no login: a ticket opened it.
        config.candidates = Candidates::default();
        let at_relays = Arc::new(view::AtRelays::new(Arc::clone(&self.cameras)));
        let hub = Hub::new(Arc::clone(&self.clock), at_relays, config, self.metrics);
        let landings = relays::InForce(RelayLandings::new(self.tickets.clone()));
        let readings = Readings {
            hub: hub.clone(),
            landings: Arc::new(landings),
            cameras: Arc::clone(&self.cameras),
            signs: self.signs,
            clock: Arc::clone(&self.clock),
        };
        let (retained, classes) = (Arc::clone(&self.cameras), Arc::clone(&self.classes));
        let kept = move |camera: &CameraId, now: Timestamp| {
            let set = retained.snapshot();
            let present = set.get(camera).map(|found| found.retention);
            let classes = classes(camera);
            let known = classes.iter().copied().chain(present);
            Kept {
                expired_before: expired_by_age(known, now),
                classes,
            }
        };
        let recordings = Reader::new(
            Arc::clone(&self.store),
            Arc::new(NoSpool),
            kept,
            Arc::clone(&self.clock),
        );
        let operator = FrontOperator {
            clock: Arc::clone(&self.clock),
            cameras: Arc::clone(&self.cameras),
            store: Arc::clone(&self.store),
            classes: self.classes,
            people: self.people.kept.database(),
            log: self.log,
            host_keys: self.host_keys,
        };
        let relays = relays::Shared {
            hub: hub.clone(),
            tickets: self.tickets,
        };
        let people = Arc::new(Present {
            users: self.people.users,
            sessions: self.people.sessions,
            since: self.tenants,
        });
        let router = moorline_web::router(Site {
            cameras: self.cameras,
            admin: self.admin,
            tokens: self.tokens,
            users: Arc::clone(&people) as _,
            sessions: Arc::clone(&people) as _,
            audit: Arc::clone(&self.people.audit),
            statuses: self.statuses,
            relays: Arc::new(relays),
            landings: None,
            recordings: Arc::new(recordings),
            store: self.store,
            strangers: Arc::new(Absent),
            operations: Arc::new(operator),
            clock: self.clock,
            place: Arc::new(self.place),
        });
        Opened {
            hub,
            readings,
            users: people,
            audit: self.people.audit,
            router,
            people: self.people.kept,
        }
    }
}

/// Runs until SIGTERM.
///
/// # Errors
/// A setting or a file is wrong, or the API server or the people's database cannot be reached at all.
pub async fn run(global: &Global) -> anyhow::Result<()> {
    let mut role = Role::new(global, GOODBYE).await?;
    let settings = Arc::new(role.settings.clone());
    let (cluster, clock) = (&settings.cluster, Arc::clone(&role.clock));
    let server = &settings.server;
    std::fs::create_dir_all(&global.data)
        .with_context(|| format!("cannot make {}", global.data.display()))?;
    let rtsp = net::listen(address("server.listen_rtsp", &server.listen_rtsp)?)?;
    let https = net::listen(address("server.listen_https", &server.listen_https)?)?;
    let viewers = viewer_host(server, &server.public_host);
    let certificate = certificate::Watched::load(server, &global.data, &viewers)?;
    let opening = People::open(&settings, &global.data, &clock);
    let Some(people) = role.unless_stopped(opening).await else {
        return role.leave().await;
    };
    let people = people?;
    behind::register(people.kept.database(), &mut role.metrics.registry);
    let Some(listed) = role.listed(false, LISTED).await else {
        people.kept.close().await;
        return role.leave().await;
    };
    if !listed {
        tracing::warn!("the API server does not answer: no cameras are known until it does");
    }
    let stores = Stores::new(&role, |_| Keys::Get, &cluster.store_get)?;
    let (keeping, stop) = (stores.clone(), role.doors.token());
    role.doors
        .spawn("tenants' stores", async move { keeping.run(stop).await });
    let (directory, cache) = (role.directory.clone(), role.directory.cache().clone());
    let (admin, tokens): (Arc<dyn CameraAdmin>, Arc<dyn EnrollTokens>) = if cluster.camera_changes {
        let admin = KubeAdmin::new(directory.clone(), Arc::clone(&clock), DEFAULT_CLASS);
        // Else a list that is under way would be left as far as it has come, and nobody told.
        let (making, stop) = (admin.clone(), role.work.token());
        role.work.spawn("lists of cameras", async move {
            stop.cancelled().await;
            making.wind_up().await;
        });
        (Arc::new(admin.clone()), Arc::new(admin))
    } else {
        (Arc::new(Unchanged::BY_THE_PAGE), Arc::new(Absent))
    };
    let ssh = address("server.listen_ssh", &server.listen_ssh)?;
    let host_keys = HostKeyFiles {
        directory: (&cluster.known_hosts).into(),
        host: server.public_host.clone(),
    };
    let known_hosts = host_keys
        .known_hosts()
        .context("cluster.known_hosts cannot be used: moorline keys init makes the Secret")?;
    let next_host_keys = host_keys
        .next()
        .context("cluster.known_hosts cannot be used")?;
    let place = Place {
        public_host: in_url(&server.public_host),
        viewer_host: in_url(&viewers),
        hosts: Vec::new(),
        ports: Ports {
            ssh: public_port(server.public_ssh_port, ssh),
            rtsp: public_port(server.public_rtsp_port, rtsp.local_addr()?),
            https: public_port(server.public_https_port, https.local_addr()?),
        },
        known_hosts,
        next_host_keys,
        store: format!("bucket {}", settings.s3.bucket),
        version: env!("CARGO_PKG_VERSION"),
        retention: match settings.archive.keep_days {
            0 => Retention::Keep,
            days => Retention::Days(days.min(999)),
        },
    };
    let streams_per_user = settings.rtsp.streams_per_user as usize;
    let inside = Inside {
        cameras: Arc::new(directory),
        admin,
        tokens,
        statuses: Arc::new(KubeStatuses::new(cache.clone())),
        signs: Arc::new(KubeSigns(cache.clone())),
        tickets: TicketRelays::new(signer(cluster, &clock)?),
        people,
        tenants: made(cache.clone()),
        store: Arc::new(recordings(stores)),
        classes: classes(cache),
        place,
        host_keys,
        log: Some(role.log.clone()),
        metrics: ProxyMetrics::register(&mut role.metrics.registry),
        streams_per_user,
        clock: Arc::clone(&clock),
    };
    let opened = inside.open();
    let (people, readings, router) = (opened.people, opened.readings, opened.router);
    let tls = |protocols: &[&[u8]]| -> anyhow::Result<TlsAcceptor> {
        Ok(TlsAcceptor::from(tls::config(
            certificate.resolver(),
            protocols,
        )?))
    };
    let door = FrontDoor::new(
        opened.hub,
        opened.users,
        opened.audit,
        Some(tls(&[])?),
        serve::door_config(streams_per_user),
    );
    let stop = role.work.token();
    role.work
        .spawn_vital("rtsp", async move { door.run(rtsp, stop).await });
    let stop = role.work.token();
    let page = moorline_web::serve::https(https, tls(&[b"http/1.1"])?, router.clone(), stop);
    role.work.spawn_vital("https", page);
    let socket = serve::open_socket(&global.data)?;
    let commands = moorline_web::serve::local(socket, router, role.work.token());
    role.work.spawn("command line", commands);
    // After the viewers: a reading that ends first would take their goodbye.
    let stop = role.doors.token();
    role.doors
        .spawn("readings", async move { readings.run(stop).await });
    if let Some(database) = people.database() {
        let (data, config) = (global.data.clone(), global.config.clone());
        let read = move || {
            let settings = crate::settings::load(&data, config.as_deref());
            settings.map(|settings| settings.postgres.url)
        };
        let (used, time) = (settings.postgres.url.clone(), Arc::clone(&clock));
        let renewing = people::renew(database, used, read, time, role.doors.token());
        role.doors.spawn("people's database", renewing);
    }
    let watching = certificate.watch(clock, role.doors.token());
    role.doors.spawn("certificate", watching);
    let ended = role.run().await;
    people.close().await;
    ended
}

/// The way to the signer.
fn signer(cluster: &crate::settings::Cluster, clock: &SharedClock) -> anyhow::Result<Dialer> {
    let authority = Path::new(&cluster.tls).join("ca.crt");
    let trust = Trust::load(authority, Arc::clone(clock))
        .context("cluster.tls cannot be used: it holds the authority ca.crt")?;
    let found = service("cluster.signer", &cluster.signer)?;
    let endpoint = Endpoint {
        service: found.name,
        port: found.port,
        address: None,
        token: (&cluster.signer_token).into(),
    };
    Ok(Dialer::new(endpoint, Arc::new(trust), Arc::clone(clock))?)
}

/// All tenants' recordings, each in its bucket and under its storage id (rule S26).
fn recordings(stores: Stores) -> TenantReads {
    TenantReads::new(Arc::new(move |tenant| {
        let found = stores.find(tenant)?;
        Some(TenantRead {
            store: Arc::new(found.store),
            storage_id: found.storage_id,
        })
    }))
}

/// When each tenant was made.
fn made(cache: Cache) -> Since {
    Arc::new(move |tenant| {
        let known = cache.tenant(tenant)?;
        let made = known.metadata.creation_timestamp.as_ref()?;
        Some(Timestamp::from_millis(made.0.as_millisecond()))
    })
}

/// The retention classes of each camera, as its status says.
fn classes(cache: Cache) -> Classes {
    let places = KubePlaces::of_signer(cache, PodCache::default());
    Arc::new(move |camera| {
        let limits = places.limits(camera);
        let used = limits.map(|limits| {
            let mut used = limits.earlier;
            used.push(limits.retention);
            used
        });
        used.unwrap_or_default()
    })
}

/// What the watch of Cameras tells.
struct KubeSigns(Cache);

impl Signs for KubeSigns {
    fn of(&self, camera: &CameraId) -> Option<Sign> {
        let known = self.0.camera(camera)?;
        let status = known.object.status.as_ref();
        let relay = status.and_then(|status| status.relay.as_ref());
        let session = status.and_then(|status| status.session.as_ref());
        Some(Sign {
            relay: relay.map(|relay| relay.uid.clone()),
            held: session.is_some_and(|session| session.mon.is_some()),
            identity: known.uid,
        })
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes()
    }
}
