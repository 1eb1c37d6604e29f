//! All connections, and the sums of bytes that wait for a reader.
//!
//! Owns: the table by id and by camera, the cap on a camera's sessions that do not serve, the sums per tenant and in all. Does not own:
//! which session serves (`seats`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use moorline_core::{CameraId, SessionId, TenantId};
use prometheus_client::metrics::gauge::Gauge;

use crate::config::TunnelConfig;
use crate::queue::{Bound, Held, Sums};
use crate::session::{Session, Stage};

#[derive(Debug, Default)]
struct Tables {
    all: HashMap<SessionId, Arc<Session>>,
    by_camera: HashMap<CameraId, Vec<Arc<Session>>>,
    tenants: HashMap<TenantId, Arc<Held>>,
}

/// The table.
#[derive(Debug)]
pub(crate) struct Registry {
    tables: Mutex<Tables>,
    all: Arc<Held>,
    per_session: usize,
    per_tenant: usize,
}

impl Registry {
    pub(crate) fn new(config: &TunnelConfig, queued: Gauge) -> Self {
        Registry {
            tables: Mutex::default(),
            all: Arc::new(Held::counted_by(queued, config.queued)),
            per_session: config.queued_per_session,
            per_tenant: config.queued_per_tenant,
        }
    }

    fn with<T>(&self, look: impl FnOnce(&mut Tables) -> T) -> T {
        look(&mut self.tables.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A connection came.
    pub(crate) fn add(&self, session: &Arc<Session>) {
        self.with(|tables| tables.all.insert(session.id, Arc::clone(session)));
    }

    /// A connection is gone.
    pub(crate) fn remove(&self, session: &Session) {
        self.with(|tables| {
            tables.all.remove(&session.id);
            let Some(proved) = session.proved() else {
                return;
            };
            if let Some(sessions) = tables.by_camera.get_mut(&proved.camera.id) {
                sessions.retain(|one| one.id != session.id);
                if sessions.is_empty() {
                    tables.by_camera.remove(&proved.camera.id);
                }
            }
        });
    }

    pub(crate) fn get(&self, id: SessionId) -> Option<Arc<Session>> {
        self.with(|tables| tables.all.get(&id).cloned())
    }

    pub(crate) fn sessions(&self) -> Vec<Arc<Session>> {
        self.with(|tables| tables.all.values().cloned().collect())
    }

    /// The sums for a session of a tenant.
    pub(crate) fn sums(&self, tenant: &TenantId) -> Sums {
        let tenant = self.with(|tables| {
            let held = tables.tenants.entry(tenant.clone());
            Arc::clone(held.or_insert_with(|| Arc::new(Held::new(self.per_tenant))))
        });
        Sums {
            session: Arc::new(Held::new(self.per_session)),
            tenant,
            all: Arc::clone(&self.all),
        }
    }

    /// A session has proved its camera.
    pub(crate) fn proved(&self, session: &Arc<Session>, camera: &CameraId) {
        self.with(|tables| {
            let sessions = tables.by_camera.entry(camera.clone()).or_default();
            sessions.push(Arc::clone(session));
        });
    }

    /// The camera's oldest session in this stage, if there are more than `most`.
    pub(crate) fn one_too_many(
        &self,
        camera: &CameraId,
        stage: Stage,
        most: usize,
    ) -> Option<Arc<Session>> {
        self.with(|tables| {
            let sessions = tables.by_camera.get(camera)?;
            let so =
                |session: &&Arc<Session>| session.stage() == stage && session.reason().is_none();
            let count = sessions.iter().filter(so).count();
            let oldest = sessions.iter().filter(so).min_by_key(|session| session.id);
            oldest.filter(|_| count > most).cloned()
        })
    }

    /// The session whose fullest channel has the most bytes under a bound that is reached, for a session that has more.
    pub(crate) fn fullest(&self, bound: Bound, session: &Arc<Session>) -> Option<Arc<Session>> {
        let tenant = |one: &Arc<Session>| {
            let of = |session: &Session| {
                session
                    .proved()
                    .map(|proved| proved.camera.id.tenant().clone())
            };
            of(one) == of(session)
        };
        let mut under = match bound {
            Bound::Channel | Bound::Session => vec![Arc::clone(session)],
            Bound::Tenant | Bound::All => self.sessions(),
        };
        if bound == Bound::Tenant {
            under.retain(tenant);
        }
        let fullest = under
            .into_iter()
            .filter_map(|session| session.fullest().map(|(bytes, _)| (bytes, session)));
        fullest
            .max_by_key(|(bytes, _)| *bytes)
            .map(|(_, session)| session)
    }
}
