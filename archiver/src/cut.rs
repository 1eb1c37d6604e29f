//! Where a segment ends: pure.
//!
//! Marks lie a segment's length apart on the wall clock, staggered by camera, so that a thousand cameras do not upload in one second. A
//! segment ends at the first key frame at or after its mark.

use std::time::Duration;

use moorline_core::CameraId;
use sha2::{Digest, Sha256};

/// Where the marks of a camera lie within the segment's length, in milliseconds.
pub(crate) fn stagger(camera: &CameraId, length: Duration) -> i64 {
    let digest: [u8; 32] = Sha256::digest(camera.to_string().as_bytes()).into();
    let [a, b, c, d, ..] = digest;
    i64::from(u32::from_be_bytes([a, b, c, d])) % millis(length)
}

/// How long after its start at `start_ms` a segment's mark lies. The mark after the next is taken if the next is too near: a segment of a
/// fraction of the length is an object more for nothing, and the first of a take dates it.
pub(crate) fn until_mark(start_ms: i64, stagger: i64, length: Duration) -> Duration {
    let length = millis(length);
    let rest = length - (start_ms - stagger).rem_euclid(length);
    let rest = if rest < length / 3 {
        rest + length
    } else {
        rest
    };
    Duration::from_millis(rest.unsigned_abs())
}

fn millis(length: Duration) -> i64 {
    i64::try_from(length.as_millis())
        .unwrap_or(i64::MAX)
        .max(100)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn cameras_are_spread_over_the_minute() {
        let mut seconds: Vec<i64> = (0..200)
            .map(|n| stagger(&format!("camera-{n}").parse().unwrap(), MINUTE) / 1_000)
            .collect();
        seconds.sort_unstable();
        seconds.dedup();
        assert!(seconds.len() > 50, "{} different seconds", seconds.len());
    }

    proptest! {
        #[test]
        fn a_mark_is_never_nearer_than_a_third_nor_farther_than_four_thirds(start in 0_i64..4_000_000_000_000, stagger in 0_i64..60_000) {
            let rest = until_mark(start, stagger, MINUTE);
            prop_assert!(rest >= MINUTE / 3 && rest < MINUTE + MINUTE / 3, "{rest:?}");
            let mark = start + rest.as_millis() as i64;
            prop_assert_eq!((mark - stagger).rem_euclid(60_000), 0);
            prop_assert_eq!(until_mark(mark, stagger, MINUTE), MINUTE, "from then on it is the length");
        }
    }
}
