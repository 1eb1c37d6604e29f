//! Visits to cameras' own pages. A page is fetched by many connections, and the audit tells of a visit once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use moorline_core::CameraId;

/// Connections that follow each other within this are one visit.
const ONE_VISIT: Duration = Duration::from_secs(300);

/// The cameras that were visited a moment ago. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Visits(Arc<Mutex<HashMap<CameraId, Instant>>>);

impl Visits {
    /// Takes note of a connection, and says whether a visit begins with it.
    pub(crate) fn begins(&self, camera: &CameraId, now: Instant) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.retain(|_, at| now.saturating_duration_since(*at) < ONE_VISIT);
        last.insert(camera.clone(), now).is_none()
    }
}

#[cfg(test)]
mod tests {
    use moorline_base::clock::{Clock as _, SystemClock};

    use super::*;

    #[test]
    fn a_visit_is_told_once_and_one_after_a_while_again() {
        let (visits, start) = (Visits::default(), SystemClock.monotonic());
        let [yard, gate]: [CameraId; 2] = ["yard", "gate"].map(|id| id.parse().unwrap());
        let begins = |camera: &CameraId, seconds: u64| {
            visits.begins(camera, start + Duration::from_secs(seconds))
        };
        assert!(begins(&yard, 0));
        assert!(!begins(&yard, 200));
        assert!(begins(&gate, 201), "another camera's");
        assert!(!begins(&yard, 400), "it goes on");
        assert!(begins(&yard, 700));
        assert_eq!(visits.0.lock().unwrap().len(), 1, "the other is forgotten");
    }
}
