//! Token buckets and the prefixes that strangers are counted by (S9).
//!
//! Pure: instants are arguments. Owns: the arithmetic and a bounded table per prefix. Does not own: what is refused when a bucket is
//! empty.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

/// A bucket that holds up to `capacity` tokens and gains `per_second`.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    capacity: f64,
    per_second: f64,
    tokens: f64,
    updated: Instant,
}

impl TokenBucket {
    /// A full bucket. A rate that is not a positive number never refills.
    #[must_use]
    pub fn new(capacity: u32, per_second: f64, now: Instant) -> Self {
        let capacity = f64::from(capacity);
        TokenBucket {
            capacity,
            per_second: if per_second.is_finite() {
                per_second.max(0.0)
            } else {
                0.0
            },
            tokens: capacity,
            updated: now,
        }
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.updated).as_secs_f64();
        self.tokens = (self.tokens + passed * self.per_second).min(self.capacity);
        self.updated = self.updated.max(now);
    }

    /// Takes one token.
    ///
    /// # Errors
    /// How long until there is one; nothing was taken. [`Duration::MAX`] when the bucket never refills.
    pub fn try_take(&mut self, now: Instant) -> Result<(), Duration> {
        self.try_take_many(1, now)
    }

    /// Takes `count` tokens, or none.
    ///
    /// # Errors
    /// How long until there are so many. [`Duration::MAX`] when there never will be.
    pub fn try_take_many(&mut self, count: u32, now: Instant) -> Result<(), Duration> {
        self.refill(now);
        let count = f64::from(count);
        // A billionth of a token is the rounding of the wait that was told.
        if self.tokens + 1e-9 >= count {
            self.tokens = (self.tokens - count).max(0.0);
            return Ok(());
        }
        if count > self.capacity || self.per_second <= 0.0 {
            return Err(Duration::MAX);
        }
        let wait = (count - self.tokens) / self.per_second;
        Err(Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX))
    }

    /// Gives back a token that was taken for nothing.
    pub fn give_back(&mut self) {
        self.tokens = (self.tokens + 1.0).min(self.capacity);
    }

    /// True when nothing is missing at `now`: then the bucket needs no remembering.
    #[must_use]
    pub fn is_full(&self, now: Instant) -> bool {
        let mut copy = self.clone();
        copy.refill(now);
        copy.tokens >= copy.capacity
    }
}

/// The network that an address is counted in: /24 of IPv4, /48 or /64 of IPv6. An IPv4 address mapped into IPv6 counts as IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Prefix {
    /// The first 24 bits of an IPv4 address.
    V4([u8; 3]),
    /// The first 48 bits of an IPv6 address: a customer's site.
    V6Site([u16; 3]),
    /// The first 64 bits of an IPv6 address: one network.
    V6Network([u16; 4]),
}

impl Prefix {
    /// The narrowest network: /24 or /64.
    #[must_use]
    pub fn narrow(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Prefix::v4(address),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Prefix::V6Network([a, b, c, d])
            }
        }
    }

    /// The widest network: /24 or /48.
    #[must_use]
    pub fn wide(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Prefix::v4(address),
            IpAddr::V6(address) => {
                let [a, b, c, ..] = address.segments();
                Prefix::V6Site([a, b, c])
            }
        }
    }

    /// Its first address.
    #[must_use]
    pub fn first(self) -> IpAddr {
        match self {
            Prefix::V4([a, b, c]) => IpAddr::from([a, b, c, 0]),
            Prefix::V6Site([a, b, c]) => IpAddr::from([a, b, c, 0, 0, 0, 0, 0]),
            Prefix::V6Network([a, b, c, d]) => IpAddr::from([a, b, c, d, 0, 0, 0, 0]),
        }
    }

    /// Every network that an address is counted in, narrow first: one for IPv4, two for IPv6.
    pub fn all(address: IpAddr) -> impl Iterator<Item = Prefix> {
        let (narrow, wide) = (Prefix::narrow(address), Prefix::wide(address));
        std::iter::once(narrow).chain((wide != narrow).then_some(wide))
    }

    fn v4(address: Ipv4Addr) -> Self {
        let [a, b, c, _] = address.octets();
        Prefix::V4([a, b, c])
    }
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Prefix::V4([a, b, c]) => write!(f, "{a}.{b}.{c}.0/24"),
            Prefix::V6Site([a, b, c]) => write!(f, "{}/48", Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)),
            Prefix::V6Network([a, b, c, d]) => {
                write!(f, "{}/64", Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
        }
    }
}

/// One bucket per key (a prefix, a pair of prefix and user, …), of which at most `limit` are remembered.
///
/// A full bucket is forgotten first. When `limit` others are in use, a new key is refused for a second: a flood of addresses must not
/// make the table forget those that it holds back.
#[derive(Debug)]
pub struct Limiter<K> {
    capacity: u32,
    per_second: f64,
    limit: usize,
    buckets: HashMap<K, TokenBucket>,
    swept: Option<Instant>,
}

/// How often a full table is searched for buckets to forget, at most: the search costs its whole length.
const SWEEP: Duration = Duration::from_secs(1);

impl<K: Eq + Hash> Limiter<K> {
    /// Buckets of `capacity` that gain `per_second`, at most `limit` of them.
    #[must_use]
    pub fn new(capacity: u32, per_second: f64, limit: usize) -> Self {
        Limiter {
            capacity,
            per_second,
            limit,
            buckets: HashMap::new(),
            swept: None,
        }
    }

    /// Takes one token of `key`'s bucket.
    ///
    /// # Errors
    /// How long until there is one.
    pub fn try_take(&mut self, key: K, now: Instant) -> Result<(), Duration> {
        if !self.buckets.contains_key(&key) && self.buckets.len() >= self.limit {
            self.sweep(now);
            if self.buckets.len() >= self.limit {
                return Err(SWEEP);
            }
        }
        let (capacity, per_second) = (self.capacity, self.per_second);
        self.buckets
            .entry(key)
            .or_insert_with(|| TokenBucket::new(capacity, per_second, now))
            .try_take(now)
    }

    fn sweep(&mut self, now: Instant) {
        let due = self
            .swept
            .is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP);
        if due {
            self.swept = Some(now);
            self.buckets.retain(|_, bucket| !bucket.is_full(now));
        }
    }

    /// Gives back a token of `key`'s bucket that was taken for nothing.
    pub fn give_back(&mut self, key: &K) {
        if let Some(bucket) = self.buckets.get_mut(key) {
            bucket.give_back();
        }
    }

    /// Forgets a key: after a success, say.
    pub fn forget(&mut self, key: &K) {
        self.buckets.remove(key);
    }

    /// How many keys are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buckets.len()
    }

    /// True when no key is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_passes_then_the_rate_holds_and_the_wait_told_is_true() {
        let now = Instant::now();
        let mut bucket = TokenBucket::new(3, 2.0, now);
        for _ in 0..3 {
            assert_eq!(bucket.try_take(now), Ok(()));
        }
        let wait = bucket.try_take(now).unwrap_err();
        assert_eq!(wait, SECOND / 2);
        assert!(bucket.try_take(now + wait / 2).is_err());
        assert_eq!(bucket.try_take(now + wait), Ok(()));
        assert!(!bucket.is_full(now + SECOND));
        assert!(bucket.is_full(now + 2 * SECOND));
    }

    #[test]
    fn more_than_the_capacity_never_comes() {
        let now = Instant::now();
        let mut bucket = TokenBucket::new(3, 2.0, now);
        assert_eq!(bucket.try_take_many(4, now), Err(Duration::MAX));
        assert_eq!(
            bucket.try_take_many(3, now),
            Ok(()),
            "nothing was taken before"
        );
    }

    #[test]
    fn prefixes_are_those_of_the_rule() {
        let shown = |text: &str| -> Vec<String> {
            let address = text.parse().expect("an address");
            Prefix::all(address)
                .map(|prefix| prefix.to_string())
                .collect()
        };
        assert_eq!(shown("192.0.2.77"), ["192.0.2.0/24"]);
        assert_eq!(shown("::ffff:192.0.2.77"), ["192.0.2.0/24"]);
        assert_eq!(
            shown("2001:db8:1:2:3::4"),
            ["2001:db8:1:2::/64", "2001:db8:1::/48"]
        );
    }

    #[test]
    fn a_flood_of_keys_neither_grows_the_table_nor_frees_those_held_back() {
        let now = Instant::now();
        let mut limiter = Limiter::new(1, 0.1, 2);
        assert!(limiter.try_take(1, now).is_ok());
        assert!(limiter.try_take(2, now).is_ok());
        for key in 3..1000 {
            assert!(limiter.try_take(key, now).is_err());
        }
        assert_eq!(limiter.len(), 2);
        assert!(limiter.try_take(1, now).is_err(), "1 is still held back");
        assert!(
            limiter.try_take(3, now + 10 * SECOND).is_ok(),
            "both are full again and forgotten"
        );
    }

    proptest! {
        #[test]
        fn never_more_than_capacity_plus_rate_passes(steps in proptest::collection::vec(0u64..2_000, 1..200)) {
            let start = Instant::now();
            let mut bucket = TokenBucket::new(5, 3.0, start);
            let mut now = start;
            let mut passed = 0u32;
            for millis in steps {
                now += Duration::from_millis(millis);
                passed += u32::from(bucket.try_take(now).is_ok());
            }
            let most = 5.0 + 3.0 * (now - start).as_secs_f64();
            prop_assert!(f64::from(passed) <= most + 0.001);
        }
    }
}
