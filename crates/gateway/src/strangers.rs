//! Connections that have not shown a good token: bounded in all and by prefix, each for at most 20 s (P9, S9). When the room is full the oldest of
//! the biggest prefix makes place. In a cluster a prefix is about a node: a pod that floods puts out its own node's.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use moorline_base::CancellationToken;
use moorline_base::rate::Prefix;
use prometheus_client::metrics::counter::Counter;

#[derive(Debug, Default)]
struct Present {
    next: u64,
    /// By age.
    entries: BTreeMap<u64, (Prefix, CancellationToken)>,
    prefixes: HashMap<Prefix, usize>,
}

/// The room of strangers. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Strangers {
    present: Arc<Mutex<Present>>,
    limit: usize,
    evicted: Counter,
}

/// A stranger's place; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    strangers: Strangers,
    id: u64,
    /// Cancelled when the place is needed.
    pub(crate) dismissed: CancellationToken,
}

impl Strangers {
    pub(crate) fn new(limit: usize, evicted: Counter) -> Self {
        Self {
            present: Arc::default(),
            limit: limit.max(1),
            evicted,
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Present) -> T) -> T {
        change(&mut self.present.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes a place.
    pub(crate) fn admit(&self, address: IpAddr) -> Place {
        let dismissed = CancellationToken::new();
        let prefix = Prefix::narrow(address);
        let id = self.with(|present| {
            if present.entries.len() >= self.limit && present.evict() {
                self.evicted.inc();
            }
            present.next += 1;
            *present.prefixes.entry(prefix).or_default() += 1;
            present
                .entries
                .insert(present.next, (prefix, dismissed.clone()));
            present.next
        });
        Place {
            strangers: self.clone(),
            id,
            dismissed,
        }
    }
}

impl Present {
    fn evict(&mut self) -> bool {
        let biggest = self
            .prefixes
            .iter()
            .max_by_key(|(prefix, count)| (**count, **prefix));
        let Some(biggest) = biggest.map(|(prefix, _)| *prefix) else {
            return false;
        };
        let mut of_it = self
            .entries
            .iter()
            .filter(|(_, (prefix, _))| *prefix == biggest);
        let oldest = of_it.next().map(|(id, (_, token))| (*id, token.clone()));
        let Some((id, token)) = oldest else {
            return false;
        };
        token.cancel();
        self.remove(id);
        true
    }

    fn remove(&mut self, id: u64) {
        let Some((prefix, _)) = self.entries.remove(&id) else {
            return;
        };
        if let Some(count) = self.prefixes.get_mut(&prefix) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.prefixes.remove(&prefix);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.strangers.with(|present| present.remove(self.id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_room_loses_the_oldest_of_the_biggest_prefix() {
        let strangers = Strangers::new(3, Counter::default());
        let from = |address: [u8; 4]| strangers.admit(IpAddr::from(address));
        let quiet = from([10, 0, 0, 1]);
        let flood = [from([10, 0, 1, 1]), from([10, 0, 1, 2])];
        let late = from([10, 0, 2, 1]);
        assert!(flood[0].dismissed.is_cancelled());
        assert!(
            ![&quiet, &flood[1], &late]
                .iter()
                .any(|place| place.dismissed.is_cancelled())
        );
        assert_eq!(strangers.evicted.get(), 1);
        drop((quiet, flood, late));
        assert!(
            strangers.with(|present| present.entries.is_empty() && present.prefixes.is_empty())
        );
    }
}
