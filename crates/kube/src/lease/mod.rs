//! One Lease per mon replica, and the janitor's: about 200 lines, since no published crate is on this kube and two compare wall clocks.
//!
//! A replica renews its own every 5 s and gives it back when it stops. Who leads is told by a `watch` channel. Tasks end with `cancel`; a
//! task that dies must end the process, which the binary sees to.

mod book;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::runtime::watcher;
use kube::{Api, Client};
use moorline_base::clock::sleep;
use moorline_base::{CancellationToken, SharedClock};
use tokio::sync::watch;

use crate::call::{Connection, Fault, call};
use crate::directory::{Change, feed_in};
use crate::freshness::Freshness;
use crate::holders::Gone;
use book::{Act, Book, Elector, RENEW, RENEW_AGAIN, RETRY, TERM};

/// The janitor's Lease.
const JANITOR: &str = "moorline-janitor";
/// The label of the replicas' Leases.
const LABEL: &str = "moorline.dev/lease";
/// One call: shorter than the time to lead.
const LIMIT: Duration = Duration::from_secs(4);

/// The Leases of one replica. Clones are the same.
#[derive(Debug, Clone)]
pub struct Leases(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: Connection,
    namespace: String,
    name: String,
    clock: SharedClock,
    book: Mutex<Book>,
    gone: Gone,
    freshness: Freshness,
    leads: watch::Sender<bool>,
}

impl Leases {
    /// Those of the replica `name`, in the installation's namespace. `gone` and `freshness` are kept up to date.
    pub fn new(
        client: Client,
        namespace: impl Into<String>,
        name: impl Into<String>,
        gone: Gone,
        freshness: Freshness,
        clock: SharedClock,
    ) -> Self {
        Self(Arc::new(Inner {
            client: Connection(client),
            namespace: namespace.into(),
            name: name.into(),
            clock,
            book: Mutex::default(),
            gone,
            freshness,
            leads: watch::Sender::new(false),
        }))
    }

    /// Whether this replica is the janitor.
    pub fn leads(&self) -> watch::Receiver<bool> {
        self.0.leads.subscribe()
    }

    /// The replicas that are gone.
    pub fn gone(&self) -> &Gone {
        &self.0.gone
    }

    /// Whether what the watches say is fresh, by its renewals.
    pub(crate) fn freshness(&self) -> &Freshness {
        &self.0.freshness
    }

    fn api(&self) -> Api<Lease> {
        Api::namespaced(self.0.client.0.clone(), &self.0.namespace)
    }

    fn book<T>(&self, change: impl FnOnce(&mut Book) -> T) -> T {
        change(&mut self.0.book.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn judge(&self) {
        let now = self.0.clock.monotonic();
        let gone = self.book(|book| book.gone(now));
        self.0.gone.set(gone);
    }

    /// Renews, watches and stands for election until `cancel`; then gives both Leases back.
    pub async fn run(&self, cancel: CancellationToken) {
        tokio::join!(self.renew(&cancel), self.stand(&cancel), async {
            let listed = watch::Sender::new(false);
            let config = watcher::Config::default().labels(LABEL);
            let watching = feed_in::<Lease>(
                self.0.client.0.clone(),
                &self.0.namespace,
                config,
                &listed,
                self.0.freshness.back(),
                |change| self.saw(change),
            );
            tokio::select! {
                () = cancel.cancelled() => {}
                () = watching => {}
            }
        });
        let give_back = [self.0.name.as_str()];
        let janitor = self.0.leads.send_replace(false).then_some(JANITOR);
        for name in give_back.into_iter().chain(janitor) {
            if let Err(fault) = self.write(name, None).await {
                tracing::warn!(lease = name, %fault, "a lease was not given back; it ends by itself");
            }
        }
    }

    /// These replicas are named in sessions: those without a Lease are gone after a while too.
    pub(crate) fn named<'a>(&self, replicas: impl Iterator<Item = &'a str>) {
        let now = self.0.clock.monotonic();
        self.book(|book| replicas.for_each(|name| book.named(name, now)));
    }

    fn saw(&self, change: Change<Lease>) {
        let now = self.0.clock.monotonic();
        let leases = match change {
            Change::All(all) => all,
            Change::Now(lease) => vec![*lease],
            Change::Gone(_) | Change::Unreadable(_) | Change::Broke => return,
        };
        self.book(|book| {
            for lease in leases {
                let holder = lease
                    .spec
                    .as_ref()
                    .and_then(|spec| spec.holder_identity.as_deref());
                let held = holder.is_some_and(|holder| !holder.is_empty());
                let metadata = &lease.metadata;
                if let (Some(name), Some(version)) = (&metadata.name, &metadata.resource_version) {
                    book.saw(name, version, held, now);
                }
            }
        });
        self.judge();
    }

    async fn renew(&self, cancel: &CancellationToken) {
        loop {
            let begun = self.0.clock.monotonic();
            let pause = match self.write(&self.0.name, Some(&self.0.name)).await {
                Ok(()) => {
                    self.book(|book| book.renewed(begun));
                    self.0.freshness.answered(begun);
                    RENEW
                }
                Err(fault) => {
                    tracing::warn!(lease = %self.0.name, %fault, "the replica's lease was not renewed");
                    RENEW_AGAIN
                }
            };
            self.judge();
            if sleep(&*self.0.clock, pause, cancel).await.is_cancelled() {
                return;
            }
        }
    }

    async fn stand(&self, cancel: &CancellationToken) {
        let mut elector = Elector::default();
        loop {
            let begun = self.0.clock.monotonic();
            match call(&*self.0.clock, LIMIT, self.api().get_opt(JANITOR)).await {
                Ok(lease) => {
                    let seen = lease.as_ref().and_then(|lease| {
                        let holder = lease
                            .spec
                            .as_ref()
                            .and_then(|spec| spec.holder_identity.as_deref());
                        Some((lease.metadata.resource_version.as_deref()?, holder))
                    });
                    match elector.decide(seen, &self.0.name, begun) {
                        Act::Wait => elector.lost(),
                        Act::Take => match self.put(JANITOR, Some(&self.0.name), lease).await {
                            Ok(()) => elector.renewed(begun),
                            Err(Fault::Conflict | Fault::Exists) => elector.lost(),
                            Err(fault) => {
                                tracing::debug!(%fault, "the janitor's lease was not written")
                            }
                        },
                    }
                }
                Err(fault) => tracing::debug!(%fault, "the janitor's lease was not read"),
            }
            let leads = elector.leads(self.0.clock.monotonic());
            if self.0.leads.send_replace(leads) != leads {
                tracing::info!(replica = %self.0.name, leads, "janitor");
            }
            if sleep(&*self.0.clock, RETRY, cancel).await.is_cancelled() {
                return;
            }
        }
    }

    async fn write(&self, name: &str, holder: Option<&str>) -> Result<(), Fault> {
        let lease = call(&*self.0.clock, LIMIT, self.api().get_opt(name)).await?;
        self.put(name, holder, lease).await
    }

    /// Writes the Lease over the version that was read.
    async fn put(
        &self,
        name: &str,
        holder: Option<&str>,
        read: Option<Lease>,
    ) -> Result<(), Fault> {
        let now = jiff::Timestamp::from_millisecond(self.0.clock.wall_ms()).unwrap_or_default();
        let new = read.is_none();
        let mut lease = read.unwrap_or_else(|| Lease {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(self.0.namespace.clone()),
                labels: (name != JANITOR).then(|| [(LABEL.to_owned(), "mon".to_owned())].into()),
                ..ObjectMeta::default()
            },
            spec: None,
        });
        let before = lease.spec.take().unwrap_or_default();
        let same = before.holder_identity.as_deref() == holder;
        lease.spec = Some(LeaseSpec {
            holder_identity: holder.map(str::to_owned),
            lease_duration_seconds: i32::try_from(TERM.as_secs()).ok(),
            // For people: nobody judges by these.
            renew_time: Some(MicroTime(now)),
            acquire_time: if same {
                before.acquire_time.clone()
            } else {
                Some(MicroTime(now))
            },
            lease_transitions: Some(before.lease_transitions.unwrap_or(0) + i32::from(!same)),
            ..before
        });
        let (api, parameters) = (self.api(), PostParams::default());
        if new {
            call(&*self.0.clock, LIMIT, api.create(&parameters, &lease))
                .await
                .map(|_| ())
        } else {
            call(
                &*self.0.clock,
                LIMIT,
                api.replace(name, &parameters, &lease),
            )
            .await
            .map(|_| ())
        }
    }
}
