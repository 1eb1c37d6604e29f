//! Who is connected to a listener: counted in all and by network, and bounded (P9, S9). When full, the oldest stranger of the network with most
//! strangers makes room, so that a flood puts out its own; who has signed in is never put out.
//!
//! Does not own: sockets and deadlines. A connection that is dismissed closes itself. A server whose connections leave the crowd once they have
//! signed in drops their places; one that counts them on says [`Place::welcome`], or [`Place::welcome_user`] where nobody may take all of them.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio_util::sync::CancellationToken;

use crate::counted::Counted;
use crate::rate::Prefix;

/// The connections of a listener. Clones are the same.
#[derive(Debug, Clone)]
pub struct Crowd(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    present: Mutex<Present>,
    limit: usize,
    per_prefix: usize,
    prefixes: fn(IpAddr) -> Vec<Prefix>,
    here: Gauge,
    evicted: Counter,
}

#[derive(Debug, Default)]
struct Present {
    next: u64,
    /// By age.
    entries: BTreeMap<u64, Entry>,
    prefixes: HashMap<Prefix, Count>,
    /// How many connections each user has.
    users: Counted<String>,
}

#[derive(Debug)]
struct Entry {
    prefixes: Vec<Prefix>,
    is_stranger: bool,
    /// Who has signed in, where that is counted.
    user: Option<String>,
    dismiss: CancellationToken,
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    all: usize,
    strangers: usize,
}

/// The place of a connection: a stranger's until somebody signs in over it. Given back when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Place(Arc<Held>);

#[derive(Debug)]
struct Held {
    crowd: Crowd,
    id: u64,
    dismissed: CancellationToken,
}

impl Crowd {
    /// Room for `limit` connections, `per_prefix` of them from one /24, /48 or /64; at least one each.
    #[must_use]
    pub fn new(limit: usize, per_prefix: usize) -> Self {
        Self::counted(limit, per_prefix, Gauge::default(), Counter::default())
    }

    /// The same, which tells how many are here and how many strangers had to make room.
    #[must_use]
    pub fn counted(limit: usize, per_prefix: usize, here: Gauge, evicted: Counter) -> Self {
        Self(Arc::new(Inner {
            present: Mutex::default(),
            limit: limit.max(1),
            per_prefix: per_prefix.max(1),
            prefixes: |address| Prefix::all(address).collect(),
            here,
            evicted,
        }))
    }

    /// Of a listener inside a cluster, where a /24 or /64 is about a node, and a /48 all of them: a pod that floods puts out its own node's.
    #[must_use]
    pub fn of_nodes(limit: usize, evicted: Counter) -> Self {
        Self(Arc::new(Inner {
            present: Mutex::default(),
            limit: limit.max(1),
            per_prefix: usize::MAX,
            prefixes: |address| vec![Prefix::narrow(address)],
            here: Gauge::default(),
            evicted,
        }))
    }

    fn with<T>(&self, change: impl FnOnce(&mut Present) -> T) -> T {
        let present = &self.0.present;
        let mut present = present.lock().unwrap_or_else(PoisonError::into_inner);
        let value = change(&mut present);
        let count = i64::try_from(present.entries.len()).unwrap_or(i64::MAX);
        self.0.here.set(count);
        value
    }

    /// Takes a place; whoever has to make room is dismissed. `None`: all places belong to people who have signed in.
    #[must_use]
    pub fn admit(&self, address: IpAddr) -> Option<Place> {
        let prefixes = (self.0.prefixes)(address);
        let dismissed = CancellationToken::new();
        let dismiss = dismissed.clone();
        let id = self.with(|present| {
            for prefix in &prefixes {
                let all = present.prefixes.get(prefix).map_or(0, |count| count.all);
                if all >= self.0.per_prefix {
                    present.put_out(*prefix)?;
                    self.0.evicted.inc();
                }
            }
            if present.entries.len() >= self.0.limit {
                let counts = present.prefixes.iter();
                let (prefix, _) =
                    counts.max_by_key(|(prefix, count)| (count.strangers, **prefix))?;
                present.put_out(*prefix)?;
                self.0.evicted.inc();
            }
            for prefix in &prefixes {
                let count = present.prefixes.entry(*prefix).or_default();
                count.all += 1;
                count.strangers += 1;
            }
            present.next += 1;
            let entry = Entry {
                prefixes,
                is_stranger: true,
                user: None,
                dismiss,
            };
            present.entries.insert(present.next, entry);
            Some(present.next)
        })?;
        Some(Place(Arc::new(Held {
            crowd: self.clone(),
            id,
            dismissed,
        })))
    }
}

impl Place {
    /// Cancelled when the connection has to make room.
    #[must_use]
    pub fn dismissed(&self) -> &CancellationToken {
        &self.0.dismissed
    }

    /// Somebody has signed in: the place is theirs.
    pub fn welcome(&self) {
        self.0.crowd.with(|present| present.welcome(self.0.id));
    }

    /// The same, of a user who may have so many connections at once, at least one. `false`: they have as many; nothing changes.
    #[must_use]
    pub fn welcome_user(&self, user: &str, most: usize) -> bool {
        let id = self.0.id;
        self.0
            .crowd
            .with(|present| present.welcome_user(id, user, most))
    }

    /// Whether nobody has signed in over this connection yet.
    #[must_use]
    pub fn is_strangers(&self) -> bool {
        self.0.crowd.with(|present| {
            let entry = present.entries.get(&self.0.id);
            entry.is_none_or(|entry| entry.is_stranger)
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.crowd.with(|present| present.remove(self.id));
    }
}

impl Present {
    /// Dismisses the oldest stranger of a network; `None`: there is none.
    fn put_out(&mut self, prefix: Prefix) -> Option<()> {
        let oldest = self
            .entries
            .iter()
            .find(|(_, entry)| entry.is_stranger && entry.prefixes.contains(&prefix))
            .map(|(id, _)| *id);
        let entry = oldest.and_then(|id| self.remove(id))?;
        entry.dismiss.cancel();
        Some(())
    }

    fn welcome(&mut self, id: u64) {
        let Some(entry) = self.entries.get_mut(&id).filter(|entry| entry.is_stranger) else {
            return;
        };
        entry.is_stranger = false;
        for prefix in &entry.prefixes {
            if let Some(count) = self.prefixes.get_mut(prefix) {
                count.strangers = count.strangers.saturating_sub(1);
            }
        }
    }

    fn welcome_user(&mut self, id: u64, user: &str, most: usize) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else {
            // It was put out, and ends.
            return false;
        };
        if entry.user.as_deref() == Some(user) {
            return true;
        }
        let user = user.to_owned();
        if self.users.of(&user) >= most.max(1) {
            return false;
        }
        self.users.add(user.clone());
        if let Some(before) = entry.user.replace(user) {
            self.users.remove(&before);
        }
        self.welcome(id);
        true
    }

    fn remove(&mut self, id: u64) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        if let Some(user) = &entry.user {
            self.users.remove(user);
        }
        for prefix in &entry.prefixes {
            if let Some(count) = self.prefixes.get_mut(prefix) {
                count.all = count.all.saturating_sub(1);
                count.strangers = count
                    .strangers
                    .saturating_sub(usize::from(entry.is_stranger));
                if count.all == 0 {
                    self.prefixes.remove(prefix);
                }
            }
        }
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(crowd: &Crowd, address: [u8; 4]) -> Option<Place> {
        crowd.admit(IpAddr::from(address))
    }

    /// P9, S9.
    #[test]
    fn a_flood_puts_out_its_own_and_nobody_who_has_signed_in() {
        let (here, evicted) = (Gauge::default(), Counter::default());
        let crowd = Crowd::counted(4, 3, here.clone(), evicted.clone());
        let guest = from(&crowd, [192, 0, 2, 200]).unwrap();
        guest.welcome();
        assert!(!guest.is_strangers());
        let quiet = from(&crowd, [10, 0, 0, 1]).unwrap();
        let flood: Vec<_> = (0..4)
            .map(|host| from(&crowd, [192, 0, 2, host]).unwrap())
            .collect();
        let out: Vec<bool> = flood
            .iter()
            .map(|place| place.dismissed().is_cancelled())
            .collect();
        assert_eq!(out, [true, true, false, false], "at most 3 of a network");
        let other = from(&crowd, [198, 51, 100, 1]).unwrap();
        assert!(flood[2].dismissed().is_cancelled(), "at most 4 in all");
        for place in [&guest, &quiet, &other] {
            assert!(!place.dismissed().is_cancelled());
        }
        assert_eq!((here.get(), evicted.get()), (4, 3));
        drop((guest, quiet, flood, other));
        assert_eq!(here.get(), 0);
        assert!(crowd.with(|present| present.entries.is_empty() && present.prefixes.is_empty()));
    }

    /// P9.
    #[test]
    fn a_user_has_so_many_connections_and_others_have_theirs() {
        let crowd = Crowd::new(8, 8);
        let place = || from(&crowd, [192, 0, 2, 1]).unwrap();
        let (first, second, third) = (place(), place(), place());
        assert!(first.welcome_user("anna", 2) && second.welcome_user("anna", 2));
        assert!(first.welcome_user("anna", 2), "again over the same");
        assert!(!third.welcome_user("anna", 2));
        assert!(third.is_strangers(), "it makes room for others");
        assert!(third.welcome_user("vera", 2));
        drop(first);
        assert!(
            third.welcome_user("anna", 2),
            "another user over the same connection"
        );
        drop((second, third));
        assert!(crowd.with(|present| present.users.is_empty()));
    }

    #[test]
    fn a_pod_that_floods_puts_out_its_own_node_s() {
        let evicted = Counter::default();
        let crowd = Crowd::of_nodes(3, evicted.clone());
        let from = |address: &str| crowd.admit(address.parse().unwrap()).unwrap();
        let quiet = from("fd00:1:1:1::1");
        let flood = [from("fd00:1:1:2::1"), from("fd00:1:1:2::2")];
        let late = from("fd00:1:1:3::1");
        let out = [&quiet, &flood[0], &flood[1], &late];
        let out = out.map(|place| place.dismissed().is_cancelled());
        assert_eq!((out, evicted.get()), ([false, true, false, false], 1));
    }

    #[test]
    fn a_house_full_of_guests_refuses_and_a_clone_keeps_the_place() {
        let crowd = Crowd::new(1, 1);
        let guest = from(&crowd, [10, 0, 0, 1]).unwrap();
        guest.welcome();
        let kept = guest.clone();
        drop(guest);
        assert!(from(&crowd, [10, 0, 0, 2]).is_none(), "of the network");
        assert!(from(&crowd, [192, 0, 2, 1]).is_none(), "in all");
        drop(kept);
        assert!(from(&crowd, [192, 0, 2, 1]).is_some());
    }
}
