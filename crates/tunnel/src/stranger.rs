//! The bounded list of refused keys (`camera pending`).
//!
//! Owns: [`Strangers`] of this server. Keys are unproven: they were refused when they were offered, before any signature. Only the key of a
//! camera that was stolen, or that calls from elsewhere, was proved first: its refusal is an alarm.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use moorline_base::rate::Prefix;
use moorline_core::port::{Stranger, Strangers};
use moorline_core::{PublicKey, Timestamp};

/// How many keys are remembered. When full, the least recently seen of the network (/24, /48) with most keys leaves first (S9): keys are invented for
/// nothing, and who invents them pushes out its own.
const MOST: usize = 256;

/// How much of a foreign name or version line is kept, in characters.
const SHOWN: usize = 255;

/// A refused offer.
#[derive(Debug)]
pub(crate) struct Offer<'a> {
    pub(crate) key: PublicKey,
    pub(crate) name: &'a str,
    pub(crate) peer: SocketAddr,
    pub(crate) client: &'a str,
    pub(crate) reason: &'static str,
}

/// The list.
#[derive(Debug, Default)]
pub(crate) struct StrangerList(Mutex<HashMap<PublicKey, Stranger>>);

impl StrangerList {
    fn with<T>(&self, look: impl FnOnce(&mut HashMap<PublicKey, Stranger>) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Remembers a refused offer. `true`: the key was refused before, the last time to the same network (/24, /64).
    pub(crate) fn refused(&self, offer: Offer<'_>, now: Timestamp) -> bool {
        let cut = |text: &str| text.chars().take(SHOWN).collect::<String>();
        self.with(|strangers| {
            if strangers.len() >= MOST && !strangers.contains_key(&offer.key) {
                make_room(strangers);
            }
            let network = Prefix::narrow(offer.peer.ip());
            let known = strangers.get(&offer.key);
            let again = known.is_some_and(|known| Prefix::narrow(known.peer.ip()) == network);
            let stranger = strangers
                .entry(offer.key.clone())
                .or_insert_with(|| Stranger {
                    key: offer.key.clone(),
                    name: String::new(),
                    names: Vec::new(),
                    peer: offer.peer,
                    client: String::new(),
                    first: now,
                    last: now,
                    tries: 0,
                    reason: offer.reason,
                    held_off: None,
                });
            stranger.name = cut(offer.name);
            stranger.names.retain(|name| *name != stranger.name);
            stranger.names.insert(0, stranger.name.clone());
            stranger.names.truncate(Stranger::NAMES);
            stranger.client = cut(offer.client);
            stranger.peer = offer.peer;
            stranger.last = now;
            stranger.tries = stranger.tries.saturating_add(1);
            stranger.reason = offer.reason;
            again
        })
    }
}

/// Forgets the least recently seen key of the network with most keys.
fn make_room(strangers: &mut HashMap<PublicKey, Stranger>) {
    let network = |stranger: &Stranger| Prefix::wide(stranger.peer.ip());
    let mut counts: HashMap<Prefix, usize> = HashMap::new();
    for stranger in strangers.values() {
        *counts.entry(network(stranger)).or_default() += 1;
    }
    let leaves = strangers.values().max_by_key(|stranger| {
        let count = counts.get(&network(stranger)).copied();
        (count, Reverse(stranger.last))
    });
    if let Some(key) = leaves.map(|stranger| stranger.key.clone()) {
        strangers.remove(&key);
    }
}

impl Strangers for StrangerList {
    fn pending(&self) -> Vec<Stranger> {
        let mut all: Vec<Stranger> = self.with(|strangers| strangers.values().cloned().collect());
        all.sort_by(|a, b| (b.last, &b.key).cmp(&(a.last, &a.key)));
        all
    }

    fn forget(&self, key: &PublicKey) {
        self.with(|strangers| strangers.remove(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u16) -> PublicKey {
        let mut blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
        blob.extend([0; 30]);
        blob.extend(seed.to_be_bytes());
        PublicKey::from_blob(&blob).unwrap()
    }

    fn refuse(list: &StrangerList, seed: u16, name: &str, at: i64) {
        refuse_from(list, "192.0.2.7:40000", seed, name, at);
    }

    fn refuse_from(list: &StrangerList, peer: &str, seed: u16, name: &str, at: i64) -> bool {
        let offer = Offer {
            key: key(seed),
            name,
            peer: peer.parse().unwrap(),
            client: "SSH-2.0-dropbear_2022.83",
            reason: "unknown_key",
        };
        list.refused(offer, Timestamp::from_millis(at))
    }

    #[test]
    fn a_key_that_was_refused_to_its_network_before_is_known() {
        let list = StrangerList::default();
        let again = |peer, seed| refuse_from(&list, peer, seed, "yard", 1);
        assert!(!again("192.0.2.7:40000", 1));
        assert!(again("192.0.2.8:50000", 1), "the same network");
        assert!(!again("192.0.2.7:40000", 2), "another key");
        assert!(!again("198.51.100.7:40000", 1), "another network");
        assert!(!again("192.0.2.7:40000", 1), "it was elsewhere meanwhile");
    }

    #[test]
    fn a_key_is_listed_once_with_how_often_and_when() {
        let list = StrangerList::default();
        refuse(&list, 1, "yard", 10);
        refuse(&list, 2, &"x".repeat(1000), 20);
        refuse(&list, 1, "gate", 30);
        let pending = list.pending();
        assert_eq!(pending.len(), 2);
        assert_eq!((pending[0].tries, pending[0].name.as_str()), (2, "gate"));
        assert_eq!(
            (pending[0].first, pending[0].last),
            (Timestamp::from_millis(10), Timestamp::from_millis(30))
        );
        assert_eq!(pending[1].name.len(), SHOWN);
        assert_eq!(pending[0].names, ["gate", "yard"]);
        list.forget(&key(1));
        assert_eq!(list.pending().len(), 1);
    }

    #[test]
    fn the_names_that_a_key_tried_are_few_and_the_last_ones() {
        let list = StrangerList::default();
        for at in 0..100 {
            refuse(&list, 1, &format!("camera-{}", at % 20), at);
            refuse(&list, 1, "yard", at);
        }
        let names = list.pending().remove(0).names;
        assert_eq!(names.len(), Stranger::NAMES);
        assert_eq!(names[..3], ["yard", "camera-19", "camera-18"]);
    }

    #[test]
    fn the_least_recently_seen_leaves_first() {
        let list = StrangerList::default();
        for seed in 0..300 {
            refuse(&list, seed, "x", i64::from(seed));
            refuse(&list, 0, "x", i64::from(seed));
        }
        let pending = list.pending();
        assert_eq!(pending.len(), MOST);
        assert!(pending.iter().any(|stranger| stranger.key == key(0)));
        assert!(!pending.iter().any(|stranger| stranger.key == key(1)));
    }

    /// S9.
    #[test]
    fn keys_that_one_network_invents_push_out_its_own_alone() {
        for network in ["203.0.113.7:1", "[2001:db8:1:2::7]:1"] {
            let list = StrangerList::default();
            refuse_from(&list, "192.0.2.7:40000", 0, "yard", 0);
            for seed in 1..1000 {
                refuse_from(&list, network, seed, "x", i64::from(seed));
            }
            refuse_from(&list, "192.0.2.9:40000", 1000, "gate", 1000);
            let pending = list.pending();
            assert_eq!(pending.len(), MOST);
            for (seed, is_kept) in [(0, true), (1, false), (999, true), (1000, true)] {
                let found = pending.iter().any(|stranger| stranger.key == key(seed));
                assert_eq!(found, is_kept, "{seed} beside {network}");
            }
        }
    }
}
