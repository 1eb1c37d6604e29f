//! How many may read, by camera, user and source address.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use moorline_core::CameraId;
use moorline_core::port::RelayError;

use crate::config::RelayConfig;

#[derive(Debug, Default)]
struct Counts {
    cameras: HashMap<CameraId, usize>,
    users: HashMap<String, usize>,
    addresses: HashMap<IpAddr, usize>,
}

/// The counts and their bounds. Bounded by the number of readers: an entry at zero is forgotten.
#[derive(Debug)]
pub(crate) struct Limits {
    counts: Mutex<Counts>,
    per_camera: usize,
    per_user: AtomicUsize,
    per_address: AtomicUsize,
}

/// A reader's place; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    limits: Arc<Limits>,
    camera: CameraId,
    login: String,
    address: Option<IpAddr>,
}

impl Limits {
    pub(crate) fn new(config: &RelayConfig) -> Self {
        Self {
            counts: Mutex::default(),
            per_camera: config.readers_per_camera,
            per_user: config.readers_per_user.into(),
            per_address: config.readers_per_address.into(),
        }
    }

    /// Changes the bounds for whoever comes from now on; who sits stays.
    pub(crate) fn set(&self, per_user: usize, per_address: usize) {
        self.per_user.store(per_user, Ordering::Relaxed);
        self.per_address.store(per_address, Ordering::Relaxed);
    }

    fn with<T>(&self, change: impl FnOnce(&mut Counts) -> T) -> T {
        change(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes a place, or none.
    pub(crate) fn sit(
        limits: &Arc<Self>,
        camera: &CameraId,
        login: &str,
        address: Option<IpAddr>,
    ) -> Result<Seat, RelayError> {
        let address = address.map(|address| address.to_canonical());
        let per_user = limits.per_user.load(Ordering::Relaxed);
        let per_address = limits.per_address.load(Ordering::Relaxed);
        limits.with(|counts| {
            let full = at(&counts.cameras, camera) >= limits.per_camera
                || counts.users.get(login).copied().unwrap_or(0) >= per_user
                || address.is_some_and(|address| at(&counts.addresses, &address) >= per_address);
            if full {
                return Err(RelayError::TooMany);
            }
            *counts.cameras.entry(camera.clone()).or_default() += 1;
            *counts.users.entry(login.to_owned()).or_default() += 1;
            if let Some(address) = address {
                *counts.addresses.entry(address).or_default() += 1;
            }
            Ok(())
        })?;
        Ok(Seat {
            limits: Arc::clone(limits),
            camera: camera.clone(),
            login: login.to_owned(),
            address,
        })
    }
}

fn at<K: Eq + Hash>(counts: &HashMap<K, usize>, key: &K) -> usize {
    counts.get(key).copied().unwrap_or(0)
}

fn give_back<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.limits.with(|counts| {
            give_back(&mut counts.cameras, &self.camera);
            give_back(&mut counts.users, &self.login);
            if let Some(address) = self.address {
                give_back(&mut counts.addresses, &address);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_that_is_given_back_can_be_taken_again() {
        let config = RelayConfig {
            readers_per_user: 2,
            readers_per_address: 1,
            ..RelayConfig::default()
        };
        let limits = Arc::new(Limits::new(&config));
        let camera: CameraId = "yard".parse().unwrap();
        let home = Some(IpAddr::from([127, 0, 0, 1]));
        let first = Limits::sit(&limits, &camera, "ann", home).unwrap();
        let second = Limits::sit(&limits, &camera, "ann", home).map(drop);
        assert_eq!(second, Err(RelayError::TooMany), "one of an address");
        let _web = Limits::sit(&limits, &camera, "ann", None).unwrap();
        let third = Limits::sit(&limits, &camera, "ann", None).map(drop);
        assert_eq!(third, Err(RelayError::TooMany), "two of a user");
        drop(first);
        assert!(Limits::sit(&limits, &camera, "ann", home).is_ok());
        assert!(limits.with(|counts| counts.addresses.is_empty()));
    }

    #[test]
    fn bounds_that_change_hold_for_whoever_comes_next() {
        let limits = Arc::new(Limits::new(&RelayConfig::default()));
        let camera: CameraId = "yard".parse().unwrap();
        limits.set(1, 10);
        let first = Limits::sit(&limits, &camera, "ann", None).unwrap();
        let second = Limits::sit(&limits, &camera, "ann", None).map(drop);
        assert_eq!(second, Err(RelayError::TooMany));
        limits.set(2, 10);
        let second = Limits::sit(&limits, &camera, "ann", None).unwrap();
        limits.set(1, 10);
        drop(second);
        assert!(Limits::sit(&limits, &camera, "ann", None).is_err());
        drop(first);
        assert!(Limits::sit(&limits, &camera, "ann", None).is_ok());
    }
}
