//! The grammar of object keys, ids and instants: what reads prints as it was, and nothing else is a key.
#![no_main]

use libfuzzer_sys::fuzz_target;
use moorline_core::segment::{ObjectKey, camera_prefix, start_after};
use moorline_core::{CameraId, Cause, PublicKey, Timestamp};

fuzz_target!(|text: &str| {
    for line in text.lines() {
        if let Ok(key) = line.parse::<ObjectKey>() {
            assert_eq!(key.to_string(), line);
            let place = key.place();
            let prefix = camera_prefix(&place.camera, place.retention);
            assert!(line.starts_with(&prefix));
            assert!(start_after(&place.camera, place.retention, key.range().from).as_str() < line);
            assert!(key.range().from <= key.range().to);
        }
        if let Ok(camera) = line.parse::<CameraId>() {
            assert_eq!(camera.to_string().parse(), Ok(camera));
        }
        if let Ok(cause) = line.parse::<Cause>() {
            assert_eq!(cause.as_str(), line);
        }
        if let Ok(at) = line.parse::<Timestamp>() {
            assert_eq!(at.to_string().parse(), Ok(at), "{at}");
        }
        if let Ok(key) = line.parse::<PublicKey>() {
            assert_eq!(PublicKey::from_blob(key.blob()).as_ref(), Ok(&key));
        }
    }
});
