//! Who is connected: counted in all and by network, and bounded (P9, S9). When full, the oldest stranger of the network with most strangers
//! makes room, so that a flood puts out its own; who has signed in is never put out.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use moorline_base::rate::Prefix;
use tokio_util::sync::CancellationToken;

/// The connections of a listener.
#[derive(Debug)]
pub(super) struct Crowd {
    present: Mutex<Present>,
    limit: usize,
    per_prefix: usize,
}

#[derive(Debug, Default)]
struct Present {
    next: u64,
    /// By age.
    entries: BTreeMap<u64, Entry>,
    prefixes: HashMap<Prefix, Count>,
}

#[derive(Debug)]
struct Entry {
    prefixes: Vec<Prefix>,
    is_stranger: bool,
    dismiss: CancellationToken,
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    all: usize,
    strangers: usize,
}

/// The place of a connection: a stranger's until somebody signs in over it. Given back when the last clone is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Place(Arc<Held>);

#[derive(Debug)]
struct Held {
    crowd: Arc<Crowd>,
    id: u64,
    dismissed: CancellationToken,
}

impl Crowd {
    pub(super) fn new(limit: usize, per_prefix: usize) -> Arc<Self> {
        Arc::new(Self {
            present: Mutex::default(),
            limit,
            per_prefix,
        })
    }

    fn with<T>(&self, change: impl FnOnce(&mut Present) -> T) -> T {
        change(&mut self.present.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes a place; whoever has to make room is dismissed. `None`: all places belong to people who have signed in.
    pub(super) fn admit(crowd: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let prefixes: Vec<Prefix> = Prefix::all(address).collect();
        let dismissed = CancellationToken::new();
        let dismiss = dismissed.clone();
        let id = crowd.with(|present| {
            for prefix in &prefixes {
                let all = present.prefixes.get(prefix).map_or(0, |count| count.all);
                if all >= crowd.per_prefix && !present.put_out(*prefix) {
                    return None;
                }
            }
            if present.entries.len() >= crowd.limit {
                let counts = present.prefixes.iter();
                let (prefix, _) =
                    counts.max_by_key(|(prefix, count)| (count.strangers, **prefix))?;
                if !present.put_out(*prefix) {
                    return None;
                }
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
                dismiss,
            };
            present.entries.insert(present.next, entry);
            Some(present.next)
        })?;
        let crowd = Arc::clone(crowd);
        Some(Place(Arc::new(Held {
            crowd,
            id,
            dismissed,
        })))
    }
}

impl Place {
    /// Cancelled when the connection has to make room.
    pub(super) fn dismissed(&self) -> &CancellationToken {
        &self.0.dismissed
    }

    /// Somebody has signed in: the place is theirs.
    pub(crate) fn welcome(&self) {
        self.0.crowd.with(|present| present.welcome(self.0.id));
    }

    /// Whether nobody has signed in over this connection yet.
    pub(super) fn is_strangers(&self) -> bool {
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
    /// Dismisses the oldest stranger of a network, if there is one.
    fn put_out(&mut self, prefix: Prefix) -> bool {
        let oldest = self
            .entries
            .iter()
            .find(|(_, entry)| entry.is_stranger && entry.prefixes.contains(&prefix))
            .map(|(id, _)| *id);
        let entry = oldest.and_then(|id| self.remove(id));
        entry.map(|entry| entry.dismiss.cancel()).is_some()
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

    fn remove(&mut self, id: u64) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
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

    fn from(crowd: &Arc<Crowd>, address: [u8; 4]) -> Option<Place> {
        Crowd::admit(crowd, IpAddr::from(address))
    }

    #[test]
    fn a_flood_puts_out_its_own_and_nobody_who_has_signed_in() {
        let crowd = Crowd::new(4, 3);
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
        drop((guest, quiet, flood, other));
        assert!(crowd.with(|present| present.entries.is_empty() && present.prefixes.is_empty()));
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
