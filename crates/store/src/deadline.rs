//! How long a call to a store may take.

use std::time::Duration;

/// The deadline of every call but a put.
pub(crate) const CALL: Duration = Duration::from_secs(30);

/// The deadline of a put: 30 s and 1 s per 100 kB, so that an uplink of 1 Mbit/s still gets a segment through.
pub(crate) fn put(bytes: u64) -> Duration {
    CALL + Duration::from_secs(bytes / 100_000)
}
