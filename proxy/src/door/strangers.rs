//! Connections that have not authenticated: counted in all and by prefix, and bounded (P9, S9). When full, the oldest of the biggest prefix
//! makes room; so a flood from one network puts out its own.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use moorline_base::CancellationToken;
use moorline_base::rate::Prefix;

use crate::metrics::ProxyMetrics;

#[derive(Debug)]
struct Entry {
    prefixes: Vec<Prefix>,
    dismiss: CancellationToken,
}

#[derive(Debug, Default)]
struct Present {
    next: u64,
    /// By age.
    entries: BTreeMap<u64, Entry>,
    prefixes: HashMap<Prefix, usize>,
}

/// Who waits in front of the door.
#[derive(Debug)]
pub(crate) struct Strangers {
    present: Mutex<Present>,
    limit: usize,
    per_prefix: usize,
    metrics: ProxyMetrics,
}

/// A stranger's place; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    strangers: Arc<Strangers>,
    id: u64,
}

impl Strangers {
    pub(super) fn new(limit: usize, per_prefix: usize, metrics: ProxyMetrics) -> Self {
        Self {
            present: Mutex::default(),
            limit: limit.max(1),
            per_prefix: per_prefix.max(1),
            metrics,
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Present) -> T) -> T {
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        let value = change(&mut present);
        let count = i64::try_from(present.entries.len()).unwrap_or(i64::MAX);
        self.metrics.strangers.set(count);
        value
    }

    /// Takes a place; whoever has to make room is dismissed.
    pub(super) fn admit(
        strangers: &Arc<Self>,
        address: IpAddr,
        dismiss: &CancellationToken,
    ) -> Place {
        let prefixes: Vec<Prefix> = Prefix::all(address).collect();
        let id = strangers.with(|present| {
            for prefix in &prefixes {
                if present.prefixes.get(prefix).copied().unwrap_or(0) >= strangers.per_prefix {
                    present.evict(*prefix, &strangers.metrics);
                }
            }
            if present.entries.len() >= strangers.limit {
                let biggest = present
                    .prefixes
                    .iter()
                    .max_by_key(|(prefix, count)| (**count, **prefix));
                if let Some(prefix) = biggest.map(|(prefix, _)| *prefix) {
                    present.evict(prefix, &strangers.metrics);
                }
            }
            present.next += 1;
            for prefix in &prefixes {
                *present.prefixes.entry(*prefix).or_default() += 1;
            }
            let entry = Entry {
                prefixes,
                dismiss: dismiss.clone(),
            };
            present.entries.insert(present.next, entry);
            present.next
        });
        Place {
            strangers: Arc::clone(strangers),
            id,
        }
    }
}

impl Present {
    fn evict(&mut self, prefix: Prefix, metrics: &ProxyMetrics) {
        let oldest = self
            .entries
            .iter()
            .find(|(_, entry)| entry.prefixes.contains(&prefix))
            .map(|(id, _)| *id);
        if let Some(entry) = oldest.and_then(|id| self.remove(id)) {
            entry.dismiss.cancel();
            metrics.strangers_evicted.inc();
        }
    }

    fn remove(&mut self, id: u64) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        for prefix in &entry.prefixes {
            if let Some(count) = self.prefixes.get_mut(prefix) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.prefixes.remove(prefix);
                }
            }
        }
        Some(entry)
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
    fn a_flood_puts_out_its_own() {
        let strangers = Arc::new(Strangers::new(4, 3, ProxyMetrics::default()));
        let from = |address: [u8; 4]| {
            let token = CancellationToken::new();
            let place = Strangers::admit(&strangers, IpAddr::from(address), &token);
            (token, place)
        };
        let quiet = from([10, 0, 0, 1]);
        let flood: Vec<_> = (0..5).map(|n| from([192, 0, 2, n])).collect();
        let out: Vec<bool> = flood
            .iter()
            .map(|(token, _)| token.is_cancelled())
            .collect();
        assert_eq!(out, [true, true, false, false, false]);
        let other = from([198, 51, 100, 1]);
        assert!(
            flood[2].0.is_cancelled(),
            "all places taken: the biggest prefix loses one"
        );
        assert!(!quiet.0.is_cancelled() && !other.0.is_cancelled());
        drop((quiet, flood, other));
        assert!(
            strangers.with(|present| present.entries.is_empty() && present.prefixes.is_empty())
        );
    }
}
