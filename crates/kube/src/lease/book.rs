//! Leases, judged by the local clock alone.
//!
//! A Lease counts from when *we* last saw it change, never by the times that its holder wrote: clocks of other machines mean nothing here
//! (linkerd2#12469 and others compare them). So whoever begins to watch waits a whole term before it judges anybody.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// A Lease that did not change for so long is over.
pub(crate) const TERM: Duration = Duration::from_secs(20);
/// How often a replica renews its own.
pub(crate) const RENEW: Duration = Duration::from_secs(5);
/// After a renewal that failed: what was missed in an outage is learnt when this succeeds.
pub(crate) const RENEW_AGAIN: Duration = Duration::from_secs(1);
/// Whoever leads and could not renew for so long stops to lead, well before another one takes it.
pub(crate) const LEAD: Duration = Duration::from_secs(10);
/// How often a candidate looks.
pub(crate) const RETRY: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    version: String,
    held: bool,
    since: Instant,
}

/// The Leases of the replicas, as they were seen to change.
#[derive(Debug, Default)]
pub(crate) struct Book {
    seen: BTreeMap<String, Seen>,
    /// When our own was renewed last: while we cannot, we judge nobody.
    renewed: Option<Instant>,
}

impl Book {
    /// A Lease is there, in this version; `held` is false once its holder has given it back.
    pub(crate) fn saw(&mut self, name: &str, version: &str, held: bool, now: Instant) {
        let known = self
            .seen
            .get(name)
            .is_some_and(|seen| seen.version == version);
        if !known {
            let seen = Seen {
                version: version.to_owned(),
                held,
                since: now,
            };
            self.seen.insert(name.to_owned(), seen);
        }
    }

    /// A camera's session names this replica. One that has no Lease (a namespace that was restored, a Lease that somebody deleted) is given a term
    /// from now on to show one.
    pub(crate) fn named(&mut self, name: &str, now: Instant) {
        if !self.seen.contains_key(name) {
            self.saw(name, "", true, now);
        }
    }

    /// Our own was renewed. After an outage everybody gets a whole term again: nobody could renew.
    pub(crate) fn renewed(&mut self, now: Instant) {
        let outage = self
            .renewed
            .is_some_and(|before| now.saturating_duration_since(before) > LEAD);
        if outage {
            self.seen.values_mut().for_each(|seen| seen.since = now);
        }
        self.renewed = Some(now);
    }

    /// The replicas that are gone: given back, or unchanged for a term.
    pub(crate) fn gone(&self, now: Instant) -> BTreeSet<String> {
        let reachable = self
            .renewed
            .is_some_and(|at| now.saturating_duration_since(at) <= LEAD);
        let gone = |seen: &Seen| !seen.held || now.saturating_duration_since(seen.since) >= TERM;
        let all = self.seen.iter().filter(|(_, seen)| reachable && gone(seen));
        all.map(|(name, _)| name.clone()).collect()
    }
}

/// One candidate for the janitor's Lease.
#[derive(Debug, Default)]
pub(crate) struct Elector {
    seen: Option<(String, Instant)>,
    renewed: Option<Instant>,
}

/// What a candidate does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// Writes itself in, by compare-and-swap.
    Take,
    /// Waits.
    Wait,
}

impl Elector {
    /// Decides on the Lease as it is: its version and holder; `None`: there is none.
    pub(crate) fn decide(
        &mut self,
        lease: Option<(&str, Option<&str>)>,
        me: &str,
        now: Instant,
    ) -> Act {
        let Some((version, holder)) = lease else {
            return Act::Take;
        };
        if self.seen.as_ref().is_none_or(|(seen, _)| seen != version) {
            self.seen = Some((version.to_owned(), now));
        }
        let since = self.seen.as_ref().map_or(now, |(_, since)| *since);
        match holder {
            None | Some("") => Act::Take,
            Some(holder) if holder == me => Act::Take,
            Some(_) if now.saturating_duration_since(since) >= TERM => Act::Take,
            Some(_) => Act::Wait,
        }
    }

    /// Our write was taken; it was begun at `now`.
    pub(crate) fn renewed(&mut self, now: Instant) {
        self.renewed = Some(now);
    }

    /// Another one has it.
    pub(crate) fn lost(&mut self) {
        self.renewed = None;
    }

    /// Whether we lead.
    pub(crate) fn leads(&self, now: Instant) -> bool {
        self.renewed
            .is_some_and(|at| now.saturating_duration_since(at) < LEAD)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_replica_is_gone_a_term_after_its_last_change_and_not_before_we_watched_a_term() {
        let (start, second) = (start(), Duration::from_secs(1));
        let mut book = Book::default();
        book.saw("mon-1", "7", true, start);
        for at in 0..=19 {
            book.renewed(start + second * at);
            book.saw("mon-1", "7", true, start + second * at);
            assert!(book.gone(start + second * at).is_empty(), "{at}");
        }
        book.renewed(start + TERM);
        assert_eq!(book.gone(start + TERM).len(), 1);
        book.saw("mon-1", "8", true, start + TERM);
        assert!(book.gone(start + TERM).is_empty());
        book.saw("mon-1", "9", false, start + TERM);
        assert_eq!(book.gone(start + TERM).len(), 1, "given back");
    }

    #[test]
    fn a_replica_that_is_named_and_has_no_lease_is_gone_a_term_later() {
        let (start, second) = (start(), Duration::from_secs(1));
        let mut book = Book::default();
        for at in 0..=20 {
            book.renewed(start + second * at);
            for name in ["mon-7", "mon-8"] {
                book.named(name, start + second * at);
            }
            if at == 12 {
                book.saw("mon-8", "1", true, start + second * at);
            }
        }
        let gone = book.gone(start + TERM);
        assert_eq!(gone, ["mon-7".to_owned()].into(), "the other showed one");
    }

    #[test]
    fn after_an_outage_of_the_api_server_everybody_gets_a_whole_term() {
        let (start, second) = (start(), Duration::from_secs(1));
        let mut book = Book::default();
        book.renewed(start);
        book.saw("mon-1", "7", true, start);
        assert!(
            book.gone(start + second * 60).is_empty(),
            "who cannot renew judges nobody"
        );
        book.renewed(start + second * 60);
        assert!(book.gone(start + second * 60).is_empty());
        for at in (60..=80).step_by(5) {
            book.renewed(start + second * at);
        }
        assert_eq!(book.gone(start + second * 80).len(), 1);
    }

    proptest! {
        /// However candidates and the server are interleaved, and whatever is lost: never two lead.
        #[test]
        fn never_two_lead(steps in proptest::collection::vec((0_usize..3, 0_u64..6_000, 0_u8..4), 1..200)) {
            let mut now = start();
            let mut electors = [Elector::default(), Elector::default(), Elector::default()];
            let mut lease: Option<(u64, usize)> = None;
            for (who, wait, fate) in steps {
                now += Duration::from_millis(wait);
                let me = who.to_string();
                let read = lease.map(|(version, holder)| (version.to_string(), holder.to_string()));
                let seen = read.as_ref().map(|(version, holder)| (version.as_str(), Some(holder.as_str())));
                let act = electors[who].decide(seen, &me, now);
                match (act, fate) {
                    (Act::Take, 0) => {} // the write never arrived
                    (Act::Take, fate) => {
                        lease = Some((lease.map_or(1, |(version, _)| version + 1), who));
                        // The answer may be lost: then it does not count.
                        if fate != 1 {
                            electors[who].renewed(now);
                        }
                    }
                    (Act::Wait, _) => electors[who].lost(),
                }
                let leading = electors.iter().filter(|elector| elector.leads(now)).count();
                prop_assert!(leading <= 1);
            }
        }
    }
}
