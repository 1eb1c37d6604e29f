//! What every adapter of these ports keeps. Each function takes the port as it is used; an adapter's test file runs them all.

pub(crate) mod audit;
pub(crate) mod cameras;
pub(crate) mod claims;
pub(crate) mod enroll;
pub(crate) mod memories;
pub(crate) mod people;
pub(crate) mod sessions;
pub(crate) mod used_classes;
pub(crate) mod users;

use moorline_core::camera::{Camera, CameraKey};
use moorline_core::segment::Retention;
use moorline_core::{CameraId, Masked, PublicKey, Timestamp};

pub(crate) fn id(text: &str) -> CameraId {
    text.parse().unwrap()
}

pub(crate) fn word(text: &str) -> Masked<String> {
    Masked::new(text.to_owned())
}

pub(crate) fn key(seed: u8) -> CameraKey {
    let mut blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
    blob.extend([seed; 32]);
    CameraKey {
        key: PublicKey::from_blob(&blob).unwrap(),
        added: Timestamp::from_millis(1_000),
        comment: format!("key {seed}"),
    }
}

pub(crate) fn camera(name: &str, keys: &[u8]) -> Camera {
    Camera {
        title: name.to_owned(),
        keys: keys.iter().copied().map(key).collect(),
        ..Camera::new(
            id(name),
            Timestamp::from_millis(1_700_000_000_000),
            Retention::Days(14),
        )
    }
}
