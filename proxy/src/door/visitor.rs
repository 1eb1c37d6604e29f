//! Whoever is on the other end of a connection of the front door.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use moorline_base::CancellationToken;
use moorline_base::crowd::Place;
use moorline_core::port::{AuditEntry, AuditEvent, Users};
use moorline_core::user::{StreamSecret, User};
use moorline_core::{CameraId, SourceName, Timestamp};
use moorline_rtsp::auth::Ha1;

use super::Shared;
use crate::hub::Hub;

/// One connection: a stranger until it has authenticated, a guest after.
pub(crate) struct Visitor {
    door: Arc<Shared>,
    address: IpAddr,
    dismissed: CancellationToken,
    place: Option<Place>,
    /// Whom the last login named.
    claimed: Option<StreamSecret>,
    guest: Option<Guest>,
    /// What was seen last.
    viewed: Option<(CameraId, SourceName)>,
}

/// An authenticated connection; forgotten when it is dropped.
struct Guest {
    door: Arc<Shared>,
    id: u64,
    user: User,
}

struct Known {
    secret: StreamSecret,
    dismissed: CancellationToken,
}

#[derive(Default)]
struct Present {
    next: u64,
    known: HashMap<u64, Known>,
    /// Connections by login.
    logins: HashMap<String, usize>,
}

/// All authenticated connections, so that one look at each user suffices (S15), and their number by user, which is bounded (P9: a login that
/// leaked costs no more than a user may).
pub(crate) struct Guests {
    present: Mutex<Present>,
    per_user: AtomicUsize,
}

impl Guests {
    pub(super) fn new(per_user: usize) -> Self {
        Self {
            present: Mutex::default(),
            per_user: per_user.max(1).into(),
        }
    }

    pub(super) fn set(&self, per_user: usize) {
        self.per_user.store(per_user.max(1), Ordering::Relaxed);
    }

    fn with<T>(&self, change: impl FnOnce(&mut Present) -> T) -> T {
        change(&mut self.present.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes a place for a user; `None` when all of theirs are taken.
    fn enter(&self, guest: Known) -> Option<u64> {
        self.with(|present| {
            let login = guest.secret.user.login.as_str().to_owned();
            let count = present.logins.entry(login).or_default();
            if *count >= self.per_user.load(Ordering::Relaxed) {
                return None;
            }
            *count += 1;
            present.next += 1;
            present.known.insert(present.next, guest);
            Some(present.next)
        })
    }

    fn leave(&self, id: u64) {
        self.with(|present| {
            let Some(guest) = present.known.remove(&id) else {
                return;
            };
            let login = guest.secret.user.login.as_str();
            if let Some(count) = present.logins.get_mut(login) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    present.logins.remove(login);
                }
            }
        });
    }

    /// Dismisses whoever is gone, has another stream password or another tenant.
    pub(super) fn recheck(&self, users: &dyn Users) {
        self.with(|present| {
            let mut looked: HashMap<&str, Option<StreamSecret>> = HashMap::new();
            for guest in present.known.values() {
                let login = guest.secret.user.login.as_str();
                let now = looked
                    .entry(login)
                    .or_insert_with(|| users.stream_secret(login));
                let same = now.as_ref().is_some_and(|now| {
                    now.ha1.reveal() == guest.secret.ha1.reveal()
                        && now.user.tenant == guest.secret.user.tenant
                });
                if !same {
                    guest.dismissed.cancel();
                }
            }
        });
    }
}

impl Visitor {
    /// `None`: there is no room.
    pub(super) fn new(door: &Arc<Shared>, address: IpAddr) -> Option<Self> {
        let place = door.strangers.admit(address)?;
        let dismissed = place.dismissed().clone();
        Some(Self {
            place: Some(place),
            door: Arc::clone(door),
            address,
            dismissed,
            claimed: None,
            guest: None,
            viewed: None,
        })
    }

    /// Cancelled when the connection has to go.
    pub(crate) fn dismissed(&self) -> CancellationToken {
        self.dismissed.clone()
    }

    pub(crate) fn hub(&self) -> &Hub {
        &self.door.hub
    }

    pub(crate) fn address(&self) -> IpAddr {
        self.address
    }

    /// A stream plays for whoever this is (S35). Once for each stream of a connection: a pause is no other view.
    pub(crate) fn views(&mut self, camera: &CameraId, source: SourceName) {
        let stream = (camera.clone(), source);
        let Some(guest) = &self.guest else {
            return;
        };
        if self.viewed.as_ref() == Some(&stream) {
            return;
        }
        self.door.audit.write(AuditEntry {
            at: Timestamp::from_millis(self.door.clock.wall_ms()),
            actor: guest.user.login.to_string(),
            event: AuditEvent::View,
            subject: format!("{camera} {source} from {}", self.address),
        });
        self.viewed = Some(stream);
    }

    /// Who it is; `None` for a stranger.
    pub(crate) fn user(&self) -> Option<&User> {
        self.guest.as_ref().map(|guest| &guest.user)
    }

    /// What a login is verified against; `None` for an unknown one.
    pub(crate) fn secret(&mut self, login: &str) -> Option<Ha1> {
        self.claimed = self.door.users.stream_secret(login);
        let hex_digits = self.claimed.as_ref()?.ha1.reveal();
        let mut bytes = [0; 16];
        hex::decode_to_slice(hex_digits, &mut bytes).ok()?;
        Some(Ha1::from_bytes(bytes))
    }

    /// The login was right. `false`: the user has too many connections.
    pub(crate) fn welcome(&mut self, login: &str) -> bool {
        let Some(secret) = self
            .claimed
            .take()
            .filter(|secret| secret.user.login.as_str() == login)
        else {
            return false;
        };
        let user = secret.user.clone();
        let guest = Known {
            secret,
            dismissed: self.dismissed.clone(),
        };
        let Some(id) = self.door.guests.enter(guest) else {
            return false;
        };
        self.place = None;
        self.guest = Some(Guest {
            door: Arc::clone(&self.door),
            id,
            user,
        });
        true
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.door.guests.leave(self.id);
    }
}
