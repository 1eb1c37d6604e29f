//! Who may be connected without having proved a key (rule S9, promise P9).
//!
//! Pure: instants are arguments. Owns: the count in all and per network, which connection makes room, the networks that were good, the
//! penalties. Does not own: sockets; the caller closes whom it is told to.
//!
//! When it is full, the oldest of the biggest network (/24, /48) goes. Half of the room is kept for networks from which somebody proved a key
//! in the last 24 h. A network with a live session is never held off.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use moorline_base::rate::Prefix;
use moorline_core::SessionId;

use crate::penalty::{Offence, Penalties};

/// How long a network stays good.
const GOOD_FOR: Duration = Duration::from_secs(24 * 3600);
/// How many good networks are remembered.
const GOOD_NETWORKS: usize = 65_536;

/// What becomes of a newcomer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It may try; these, if any, go to make room.
    Admitted {
        /// At most one for each limit that was reached.
        crowded_out: Vec<SessionId>,
    },
    /// Its network is held off.
    HeldOff,
    /// Everything is taken by better networks.
    Full,
}

#[derive(Debug)]
struct Waiting {
    address: IpAddr,
    good: bool,
}

#[derive(Debug)]
struct Good {
    last: Instant,
    live: usize,
}

/// The table of those who have not proved a key.
#[derive(Debug)]
pub(crate) struct Admission {
    total: usize,
    per_prefix: usize,
    penalise: bool,
    /// By age: session ids count up.
    waiting: BTreeMap<SessionId, Waiting>,
    counts: HashMap<Prefix, usize>,
    /// Of networks that are not good, by /24 and /48.
    strangers: HashMap<Prefix, usize>,
    strange: usize,
    good: HashMap<Prefix, Good>,
    penalties: Penalties,
}

impl Admission {
    pub(crate) fn new(total: usize, per_prefix: usize, penalise: bool) -> Self {
        Admission {
            total,
            per_prefix,
            penalise,
            waiting: BTreeMap::new(),
            counts: HashMap::new(),
            strangers: HashMap::new(),
            strange: 0,
            good: HashMap::new(),
            penalties: Penalties::default(),
        }
    }

    /// A connection came. If it is admitted it waits, and those that are crowded out wait no more.
    pub(crate) fn arrive(&mut self, id: SessionId, address: IpAddr, now: Instant) -> Verdict {
        let network = Prefix::narrow(address);
        let known = self.good.get(&network);
        let good =
            known.is_some_and(|good| good.live > 0 || now.duration_since(good.last) < GOOD_FOR);
        if self.held_off(address, now).is_some() {
            return Verdict::HeldOff;
        }
        let mut crowded_out = Vec::new();
        for prefix in Prefix::all(address) {
            if self.counts.get(&prefix).copied().unwrap_or(0) >= self.per_prefix {
                let oldest = self.oldest(|waiting| within(waiting.address, prefix));
                crowded_out.extend(self.crowd_out(oldest));
            }
        }
        let half = self.total / 2;
        if !good && self.strange >= half {
            let oldest = self.oldest_of_biggest(true);
            crowded_out.extend(self.crowd_out(oldest));
        }
        if self.waiting.len() >= self.total {
            if !good && self.strange == 0 {
                return Verdict::Full;
            }
            let oldest = self.oldest_of_biggest(!good || self.strange > 0);
            crowded_out.extend(self.crowd_out(oldest));
        }
        for prefix in Prefix::all(address) {
            *self.counts.entry(prefix).or_default() += 1;
        }
        if !good {
            *self.strangers.entry(Prefix::wide(address)).or_default() += 1;
            self.strange += 1;
        }
        self.waiting.insert(id, Waiting { address, good });
        Verdict::Admitted { crowded_out }
    }

    /// It proved a key: it waits no more, and its network is good.
    pub(crate) fn proved(&mut self, id: SessionId, address: IpAddr, now: Instant) {
        self.remove(id);
        let network = Prefix::narrow(address);
        if self.good.len() >= GOOD_NETWORKS && !self.good.contains_key(&network) {
            self.good
                .retain(|_, good| good.live > 0 || now.duration_since(good.last) < GOOD_FOR);
            if self.good.len() >= GOOD_NETWORKS {
                return;
            }
        }
        let good = self
            .good
            .entry(network)
            .or_insert(Good { last: now, live: 0 });
        good.last = now;
        good.live += 1;
    }

    /// A session that had proved its key ended.
    pub(crate) fn ended(&mut self, address: IpAddr) {
        if let Some(good) = self.good.get_mut(&Prefix::narrow(address)) {
            good.live = good.live.saturating_sub(1);
        }
    }

    /// A connection ended without having proved a key. The time for which its network is held off, if that begins now.
    pub(crate) fn failed(
        &mut self,
        id: SessionId,
        address: IpAddr,
        offence: Option<Offence>,
        now: Instant,
    ) -> Option<Duration> {
        self.remove(id);
        let offence = offence.filter(|_| self.penalise)?;
        let network = Prefix::narrow(address);
        let begins = self.penalties.add(network, offence, now);
        begins.filter(|_| self.held_off(address, now).is_some())
    }

    /// How long connections from an address are still refused, if they are.
    pub(crate) fn held_off(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let network = Prefix::narrow(address);
        let live = self.good.get(&network).is_some_and(|good| good.live > 0);
        let held_off = self.penalties.held_off(network, now);
        held_off.filter(|_| self.penalise && !live)
    }

    /// How many wait.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn oldest(&self, wanted: impl Fn(&Waiting) -> bool) -> Option<SessionId> {
        let mut waiting = self.waiting.iter();
        waiting.find(|(_, one)| wanted(one)).map(|(id, _)| *id)
    }

    fn oldest_of_biggest(&self, strangers_only: bool) -> Option<SessionId> {
        let wide = |prefix: &&Prefix| !matches!(prefix, Prefix::V6Network(_));
        let counts = if strangers_only {
            &self.strangers
        } else {
            &self.counts
        };
        let biggest = *counts
            .keys()
            .filter(wide)
            .max_by_key(|prefix| counts.get(*prefix))?;
        self.oldest(|waiting| {
            Prefix::wide(waiting.address) == biggest && !(strangers_only && waiting.good)
        })
    }

    fn crowd_out(&mut self, id: Option<SessionId>) -> Option<SessionId> {
        self.remove(id?);
        id
    }

    fn remove(&mut self, id: SessionId) {
        let Some(waiting) = self.waiting.remove(&id) else {
            return;
        };
        for prefix in Prefix::all(waiting.address) {
            take_one(&mut self.counts, prefix);
        }
        if !waiting.good {
            take_one(&mut self.strangers, Prefix::wide(waiting.address));
            self.strange -= 1;
        }
    }
}

fn within(address: IpAddr, prefix: Prefix) -> bool {
    Prefix::all(address).any(|one| one == prefix)
}

fn take_one(counts: &mut HashMap<Prefix, usize>, prefix: Prefix) {
    if let Some(count) = counts.get_mut(&prefix) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&prefix);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn admitted(crowded_out: &[u64]) -> Verdict {
        Verdict::Admitted {
            crowded_out: crowded_out.iter().copied().map(SessionId).collect(),
        }
    }

    #[test]
    fn a_flood_from_one_network_crowds_out_itself_and_others_get_in() {
        let (mut admission, now) = (Admission::new(8, 100, true), Instant::now());
        for id in 0..4 {
            let address = ip("203.0.113.9");
            assert_eq!(admission.arrive(SessionId(id), address, now), admitted(&[]));
        }
        assert_eq!(
            admission.arrive(SessionId(4), ip("203.0.113.10"), now),
            admitted(&[0]),
            "half is kept for good networks"
        );
        assert_eq!(
            admission.arrive(SessionId(5), ip("198.51.100.1"), now),
            admitted(&[1]),
            "the newcomer's network is smaller"
        );
        assert_eq!(
            admission.arrive(SessionId(6), ip("198.51.100.1"), now),
            admitted(&[2])
        );
        assert_eq!(admission.waiting(), 4);
    }

    #[test]
    fn a_network_has_its_own_limit_at_each_width() {
        let (mut admission, now) = (Admission::new(100, 2, true), Instant::now());
        for (id, address, out) in [
            (0, "2001:db8:1:1::1", &[][..]),
            (1, "2001:db8:1:2::1", &[]),
            (2, "2001:db8:1:3::1", &[0]),
            (3, "2001:db8:2:1::1", &[]),
            (4, "192.0.2.1", &[]),
            (5, "192.0.2.2", &[]),
            (6, "::ffff:192.0.2.3", &[4]),
        ] {
            assert_eq!(
                admission.arrive(SessionId(id), ip(address), now),
                admitted(out),
                "{address}"
            );
        }
    }

    #[test]
    fn half_of_the_room_is_kept_for_networks_that_were_good() {
        let (mut admission, now) = (Admission::new(4, 100, true), Instant::now());
        let good = ip("192.0.2.1");
        admission.arrive(SessionId(0), good, now);
        admission.proved(SessionId(0), good, now);
        admission.ended(good);
        for id in 1..=4 {
            assert_eq!(admission.arrive(SessionId(id), good, now), admitted(&[]));
        }
        assert_eq!(
            admission.arrive(SessionId(5), ip("203.0.113.9"), now),
            Verdict::Full
        );
        let (mut admission, later) = (Admission::new(4, 100, true), now + GOOD_FOR);
        admission.proved(SessionId(0), good, now);
        admission.ended(good);
        for id in 1..=2 {
            admission.arrive(SessionId(id), good, later);
        }
        assert_eq!(
            admission.arrive(SessionId(3), good, later),
            admitted(&[1]),
            "a day later it is a stranger again"
        );
    }

    #[test]
    fn a_network_that_fails_is_held_off_unless_a_session_of_it_lives() {
        let (mut admission, now) = (Admission::new(100, 100, true), Instant::now());
        let address = ip("192.0.2.1");
        let fail = |admission: &mut Admission, first: u64| {
            for id in first..first + 4 {
                admission.arrive(SessionId(id), address, now);
                admission.failed(SessionId(id), address, Some(Offence::Refused), now);
            }
        };
        fail(&mut admission, 0);
        assert_eq!(
            admission.arrive(SessionId(10), address, now),
            Verdict::HeldOff
        );
        let (mut admission, id) = (Admission::new(100, 100, true), SessionId(0));
        admission.arrive(id, address, now);
        admission.proved(id, address, now);
        fail(&mut admission, 1);
        assert_eq!(admission.arrive(SessionId(10), address, now), admitted(&[]));
        admission.failed(SessionId(10), address, None, now);
        admission.ended(address);
        assert_eq!(
            admission.arrive(SessionId(11), address, now),
            Verdict::HeldOff
        );
    }

    #[test]
    fn what_leaves_is_forgotten() {
        let (mut admission, now) = (Admission::new(100, 100, false), Instant::now());
        for id in 0..50 {
            let address = IpAddr::from([10, 0, id as u8, 1]);
            admission.arrive(SessionId(id), address, now);
            admission.failed(SessionId(id), address, Some(Offence::NoAttempt), now);
        }
        assert_eq!(admission.waiting(), 0);
        assert_eq!(admission.strange, 0);
        assert!(admission.counts.is_empty() && admission.strangers.is_empty());
    }
}
