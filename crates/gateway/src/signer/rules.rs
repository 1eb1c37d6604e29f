//! Which puts are signed (rule S20), as a pure function, and what is remembered for it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use moorline_base::rate::TokenBucket;
use moorline_core::port::{PutLimits, PutRequest};
use moorline_core::segment::ObjectKey;
use moorline_core::{CameraId, Timestamp};
use sha2::{Digest as _, Sha256};

/// The greatest object: one PUT, no multipart.
const LARGEST: u64 = 256 * 1024 * 1024;
/// The greatest gap marker: its key says everything.
const LARGEST_GAP: u64 = 4 * 1024;
/// How far ahead a pod's clock may be.
const AHEAD: Duration = Duration::from_secs(300);
/// For so long an earlier generation may still begin segments: its archiver hears of the newer one by a connection to a replica that may stand still, and
/// its clock may be ahead.
const HANDOVER: Duration = Duration::from_secs(60);
/// Digests that are remembered; of the others the store is asked.
const DIGESTS: usize = 65_536;

/// Why a put is not signed: a closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PutRefusal {
    /// The key is another camera's.
    Camera,
    /// Neither the camera's class nor one that it had.
    Class,
    /// Nothing, or more than 256 MiB.
    Length,
    /// A gap marker of more than a few bytes.
    GapLength,
    /// It begins before what any spool still holds.
    TooOld,
    /// It begins in the future.
    Future,
    /// Its generation had long been over when it began.
    GenerationOver,
    /// Its generation is not known here yet: ask again.
    GenerationAhead,
    /// More than the camera may put in an hour: ask again later.
    Quota,
    /// The key has another digest, and has it for ever.
    Digest,
}

impl PutRefusal {
    pub(super) fn answer(self) -> (u16, &'static str) {
        match self {
            Self::Camera => (403, "camera"),
            Self::Class => (403, "class"),
            Self::Length => (413, "length"),
            Self::GapLength => (413, "gap_length"),
            Self::TooOld => (403, "too_old"),
            Self::Future => (403, "future"),
            Self::GenerationOver => (403, "generation_over"),
            Self::GenerationAhead => (503, "generation_ahead"),
            Self::Quota => (429, "quota"),
            Self::Digest => (409, "digest"),
        }
    }
}

/// Judges a put by what its key says. `camera` is whose pod asks.
pub(super) fn judge(
    camera: &CameraId,
    request: &PutRequest,
    limits: &PutLimits,
    now: Timestamp,
    spool_age: Duration,
) -> Result<(), PutRefusal> {
    let place = request.key.place();
    if place.camera != *camera {
        return Err(PutRefusal::Camera);
    }
    if place.retention != limits.retention && !limits.earlier.contains(&place.retention) {
        return Err(PutRefusal::Class);
    }
    let is_gap = matches!(request.key, ObjectKey::Gap(_));
    if request.bytes == 0 || request.bytes > LARGEST {
        return Err(PutRefusal::Length);
    }
    if is_gap && request.bytes > LARGEST_GAP {
        return Err(PutRefusal::GapLength);
    }
    let start = request.key.range().from;
    if start > now + AHEAD {
        return Err(PutRefusal::Future);
    }
    // A gap of a long absence is written when it ends, and costs nothing.
    if !is_gap && start + spool_age < now {
        return Err(PutRefusal::TooOld);
    }
    let generation = request.key.generation();
    if generation > limits.generation {
        return Err(PutRefusal::GenerationAhead);
    }
    if generation < limits.generation && start >= limits.since + HANDOVER {
        return Err(PutRefusal::GenerationOver);
    }
    Ok(())
}

/// One digest per key, for ever: the newest keys from memory, the others from the store.
#[derive(Debug, Default)]
pub(super) struct Digests {
    known: Mutex<Known>,
}

/// By the first half of the key's SHA-256; the oldest first.
type Known = (HashMap<[u8; 16], [u8; 16]>, VecDeque<[u8; 16]>);

fn short(key: &ObjectKey) -> [u8; 16] {
    let digest: [u8; 32] = Sha256::digest(key.to_string()).into();
    let mut short = [0; 16];
    short.copy_from_slice(digest.split_at(16).0);
    short
}

impl Digests {
    /// The digest of a key, if it is remembered.
    pub(super) fn get(&self, key: &ObjectKey) -> Option<[u8; 16]> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.0.get(&short(key)).copied()
    }

    /// Remembers a digest; returns the one that counts, which is the first.
    pub(super) fn fix(&self, key: &ObjectKey, md5: [u8; 16]) -> [u8; 16] {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (digests, order) = &mut *known;
        let key = short(key);
        if let Some(first) = digests.get(&key) {
            return *first;
        }
        if order.len() >= DIGESTS
            && let Some(oldest) = order.pop_front()
        {
            digests.remove(&oldest);
        }
        order.push_back(key);
        digests.insert(key, md5);
        md5
    }
}

/// Bytes per hour and camera, in KiB.
#[derive(Debug, Default)]
pub(super) struct Quotas(Mutex<HashMap<CameraId, (u64, TokenBucket)>>);

impl Quotas {
    /// Takes what an object costs.
    ///
    /// # Errors
    /// How long until there is so much.
    pub(super) fn take(
        &self,
        camera: &CameraId,
        bytes: u64,
        per_hour: u64,
        now: Instant,
    ) -> Result<(), Duration> {
        let kibibytes = |bytes: u64| u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let fresh = || {
            let capacity = kibibytes(per_hour);
            (
                per_hour,
                TokenBucket::new(capacity, f64::from(capacity) / 3600.0, now),
            )
        };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, bucket) = all.entry(camera.clone()).or_insert_with(fresh);
        if *known != per_hour {
            (*known, *bucket) = fresh();
        }
        bucket.try_take_many(kibibytes(bytes), now)
    }
}

#[cfg(test)]
mod tests {
    use moorline_core::Generation;
    use moorline_core::segment::Retention;

    use super::*;

    const SEGMENT: &str = "v1/r030/acme/yard/2026/11/20/211005.250Z_00060033_g0000000007_7f3a9c21_000042_b41d0e_full.mp4";
    const GAP: &str =
        "v1/r030/acme/yard/2026/11/20/211105.283Z_00012000_g0000000007_gap_tunnel_down_full.json";
    const DAY: Duration = Duration::from_secs(86_400);

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn limits() -> PutLimits {
        PutLimits {
            retention: Retention::Days(30),
            earlier: vec![Retention::Days(90)],
            generation: Generation(7),
            since: at("2026-11-20T20:00:00Z"),
            bytes_per_hour: 1 << 30,
        }
    }

    fn verdict(key: &str, bytes: u64, limits: &PutLimits, now: &str) -> Result<(), PutRefusal> {
        let request = PutRequest {
            key: key.parse().unwrap(),
            bytes,
            md5: [0; 16],
        };
        judge(
            &"acme/yard".parse().unwrap(),
            &request,
            limits,
            at(now),
            DAY,
        )
    }

    #[test]
    fn each_rule_has_its_refusal() {
        let now = "2026-11-20T21:12:00Z";
        let ok = |key: &str, bytes| verdict(key, bytes, &limits(), now);
        assert_eq!(ok(SEGMENT, 1000), Ok(()));
        assert_eq!(
            ok(&SEGMENT.replace("r030", "r090"), 1000),
            Ok(()),
            "what lay in a spool when the class changed"
        );
        assert_eq!(
            ok(&SEGMENT.replace("yard", "gate"), 1000),
            Err(PutRefusal::Camera)
        );
        assert_eq!(
            ok(&SEGMENT.replace("acme", "evil"), 1000),
            Err(PutRefusal::Camera)
        );
        assert_eq!(
            ok(&SEGMENT.replace("r030", "keep"), 1000),
            Err(PutRefusal::Class)
        );
        assert_eq!(ok(SEGMENT, 0), Err(PutRefusal::Length));
        assert_eq!(ok(SEGMENT, LARGEST), Ok(()));
        assert_eq!(ok(SEGMENT, LARGEST + 1), Err(PutRefusal::Length));
        assert_eq!(ok(GAP, LARGEST_GAP), Ok(()));
        assert_eq!(ok(GAP, LARGEST_GAP + 1), Err(PutRefusal::GapLength));
        assert_eq!(
            ok(&SEGMENT.replace("/20/21", "/20/22"), 1000),
            Err(PutRefusal::Future)
        );
        assert_eq!(
            ok(&SEGMENT.replace("g0000000007", "g0000000008"), 1000),
            Err(PutRefusal::GenerationAhead)
        );
    }

    #[test]
    fn old_media_is_refused_and_an_old_gap_is_not() {
        let late = "2026-11-21T21:10:06Z";
        assert_eq!(
            verdict(SEGMENT, 1000, &limits(), late),
            Err(PutRefusal::TooOld)
        );
        assert_eq!(verdict(GAP, 3, &limits(), late), Ok(()));
        assert_eq!(
            verdict(SEGMENT, 1000, &limits(), "2026-11-21T21:10:05Z"),
            Ok(())
        );
    }

    #[test]
    fn an_earlier_generation_may_put_what_began_before_the_newer_one() {
        let now = "2026-11-20T21:12:00Z";
        let mut newer = PutLimits {
            generation: Generation(8),
            ..limits()
        };
        newer.since = at("2026-11-20T21:10:06Z");
        assert_eq!(verdict(SEGMENT, 1000, &newer, now), Ok(()));
        newer.since = at("2026-11-20T21:09:05.251Z");
        assert_eq!(
            verdict(SEGMENT, 1000, &newer, now),
            Ok(()),
            "its archiver has not heard of the newer one yet"
        );
        newer.since = at("2026-11-20T21:09:05.250Z");
        assert_eq!(
            verdict(SEGMENT, 1000, &newer, now),
            Err(PutRefusal::GenerationOver),
            "a zombie's present"
        );
    }

    #[test]
    fn the_first_digest_of_a_key_counts() {
        let digests = Digests::default();
        let key: ObjectKey = SEGMENT.parse().unwrap();
        assert_eq!(digests.get(&key), None);
        assert_eq!(
            (digests.fix(&key, [1; 16]), digests.fix(&key, [2; 16])),
            ([1; 16], [1; 16])
        );
        assert_eq!(digests.get(&key), Some([1; 16]));
    }

    #[test]
    fn a_camera_puts_so_much_an_hour_and_no_other_pays_for_it() {
        let quotas = Quotas::default();
        let (yard, gate): (CameraId, CameraId) =
            ("acme/yard".parse().unwrap(), "acme/gate".parse().unwrap());
        let start = Instant::now();
        let hour = 1 << 20;
        assert_eq!(quotas.take(&yard, hour, hour, start), Ok(()));
        assert!(quotas.take(&yard, 1, hour, start).is_err());
        assert_eq!(quotas.take(&gate, hour, hour, start), Ok(()));
        let half = start + Duration::from_secs(1801);
        assert_eq!(quotas.take(&yard, hour / 2, hour, half), Ok(()));
        assert!(quotas.take(&yard, hour / 2, hour, half).is_err());
        assert_eq!(
            quotas.take(&yard, 2 * hour, hour, half),
            Err(Duration::MAX),
            "more than any hour"
        );
        assert_eq!(
            quotas.take(&yard, hour, 2 * hour, half),
            Ok(()),
            "another limit begins anew"
        );
    }
}
