//! Penalties of networks, after OpenSSH's `PerSourcePenalties`: each failure adds seconds; from 15 s on, the network is held off until they
//! have passed.
//!
//! Pure: instants are arguments. Owns: the bounded table. Does not own: the exemption of networks with a live session (`admission`).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use moorline_base::rate::Prefix;

/// What a connection did that ended without a proven key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offence {
    /// It offered keys, and none was accepted.
    Refused,
    /// It offered only keys that were refused to its network before: a camera that was removed calls on, and those beside it are not to suffer.
    /// Whoever guesses has to offer others.
    RefusedAgain,
    /// It left without having tried.
    NoAttempt,
    /// It used up the login grace.
    GraceExceeded,
}

impl Offence {
    /// OpenSSH's defaults (sshd_config(5), `PerSourcePenalties`).
    fn cost(self) -> Duration {
        Duration::from_secs(match self {
            Offence::Refused => 5,
            // As for whoever offers none: OpenSSH does not tell them apart.
            Offence::RefusedAgain | Offence::NoAttempt => 1,
            Offence::GraceExceeded => 10,
        })
    }
}

/// Less than this holds nobody off: a few mistakes are human.
const THRESHOLD: Duration = Duration::from_secs(15);
/// No network is held off for longer.
const MOST: Duration = Duration::from_secs(600);
/// How many networks are remembered.
const NETWORKS: usize = 65_536;

#[derive(Debug, Clone, Copy)]
struct Penalty {
    until: Instant,
    active: bool,
}

/// The table. When it is full of penalties that still run, a further network gets none.
#[derive(Debug, Default)]
pub(crate) struct Penalties {
    networks: HashMap<Prefix, Penalty>,
}

impl Penalties {
    /// Notes an offence. The time for which the network is held off, if that begins now.
    pub(crate) fn add(
        &mut self,
        network: Prefix,
        offence: Offence,
        now: Instant,
    ) -> Option<Duration> {
        if self.networks.len() >= NETWORKS && !self.networks.contains_key(&network) {
            self.networks.retain(|_, penalty| penalty.until > now);
            if self.networks.len() >= NETWORKS {
                return None;
            }
        }
        let penalty = self.networks.entry(network).or_insert(Penalty {
            until: now,
            active: false,
        });
        if penalty.until <= now {
            *penalty = Penalty {
                until: now,
                active: false,
            };
        }
        penalty.until = (penalty.until + offence.cost()).min(now + MOST);
        let left = penalty.until.saturating_duration_since(now);
        let begins = !penalty.active && left >= THRESHOLD;
        penalty.active |= begins;
        begins.then_some(left)
    }

    /// How long a network is still held off, if it is.
    pub(crate) fn held_off(&self, network: Prefix, now: Instant) -> Option<Duration> {
        let penalty = self.networks.get(&network)?;
        (penalty.active && penalty.until > now).then(|| penalty.until - now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn three_refusals_in_a_row_hold_a_network_off_and_time_frees_it() {
        let (mut penalties, now) = (Penalties::default(), Instant::now());
        let network = Prefix::V4([192, 0, 2]);
        for second in 0..2 {
            let begins = penalties.add(network, Offence::Refused, now + second * SECOND / 10);
            assert_eq!(begins, None);
            assert_eq!(penalties.held_off(network, now + SECOND), None);
        }
        let begins = penalties.add(network, Offence::Refused, now);
        assert_eq!(begins, Some(15 * SECOND), "told once");
        assert_eq!(penalties.held_off(network, now), Some(15 * SECOND));
        assert_eq!(penalties.held_off(Prefix::V4([192, 0, 3]), now), None);
        assert_eq!(
            penalties.held_off(network, now + 14 * SECOND),
            Some(SECOND),
            "held off to the end, not to the threshold"
        );
        assert_eq!(penalties.held_off(network, now + 15 * SECOND), None);
        penalties.add(network, Offence::Refused, now + 16 * SECOND);
        assert_eq!(penalties.held_off(network, now + 16 * SECOND), None);
    }

    #[test]
    fn removed_cameras_that_call_on_hold_nobody_off() {
        let (mut penalties, start) = (Penalties::default(), Instant::now());
        let network = Prefix::V4([192, 0, 2]);
        for _ in 0..2 {
            penalties.add(network, Offence::Refused, start);
        }
        for turn in 1..1_000 {
            let now = start + turn * 5 * SECOND;
            for _ in 0..4 {
                penalties.add(network, Offence::RefusedAgain, now);
                assert_eq!(penalties.held_off(network, now), None, "{turn}");
            }
        }
    }

    #[test]
    fn nobody_is_held_off_for_more_than_ten_minutes_and_the_table_is_bounded() {
        let (mut penalties, now) = (Penalties::default(), Instant::now());
        let network = Prefix::V4([192, 0, 2]);
        for _ in 0..1000 {
            penalties.add(network, Offence::GraceExceeded, now);
        }
        assert_eq!(penalties.held_off(network, now), Some(MOST));
        for count in 0..NETWORKS + 10 {
            let [_, b, c, d] = (count as u32).to_be_bytes();
            penalties.add(Prefix::V4([b, c, d]), Offence::Refused, now);
        }
        assert_eq!(penalties.networks.len(), NETWORKS);
        assert_eq!(penalties.held_off(network, now), Some(MOST));
    }
}
