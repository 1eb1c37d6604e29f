//! When the streamer is asked, and what follows from its silence.

use std::net::SocketAddr;
use std::time::Duration;

use moorline_control::{Level, Probe};

use super::{Driver, Input};
use crate::probe::{Found, Search};
use crate::relay::{Streamer, spawn};
use crate::streamer::answers;
use crate::system;

const EVERY: Duration = Duration::from_secs(30);
/// While nothing was found yet: a streamer takes a while to start.
const EVERY_AT_FIRST: Duration = Duration::from_secs(5);
/// A streamer that answers is looked at anew so often: it may have other streams than before.
const DESCRIBE_EVERY: Duration = Duration::from_secs(300);
/// So many silences in a row restart it.
const SILENCES: u32 = 3;
/// Until it has answered once it may be starting, after us: three refused connections take ten seconds.
const STARTS_WITHIN: Duration = Duration::from_secs(120);
/// A streamer that does not come back is not restarted more often.
const RESTART_EVERY: Duration = Duration::from_secs(300);

/// How a streamer answered.
#[derive(Debug)]
pub(crate) struct Answer {
    lives: bool,
    /// What a search found.
    found: Option<Found>,
    /// Where it was looked for; `None` when its name is not known.
    address: Option<SocketAddr>,
}

/// What is known of the streamer.
#[derive(Debug, Default)]
pub(super) struct Streams {
    pub(super) found: Option<Found>,
    next: Duration,
    described: Duration,
    asking: bool,
    answered: bool,
    silences: u32,
    restarted: Option<Duration>,
    /// What is wrong with files `enroll`, as it was told last.
    told: String,
}

impl Streams {
    pub(super) fn next(&self) -> Duration {
        // While it is being asked, the answer wakes the loop.
        if self.asking {
            Duration::MAX
        } else {
            self.next
        }
    }

    pub(super) fn is_due(&self, now: Duration) -> bool {
        !self.asking && now >= self.next
    }

    /// It is to be asked anew, at once.
    pub(super) fn again(&mut self) {
        self.found = None;
        self.next = Duration::ZERO;
    }

    fn answered(&mut self) {
        (self.answered, self.silences) = (true, 0);
    }

    /// It did not answer: whether it is to be restarted.
    fn silent(&mut self, now: Duration) -> bool {
        self.silences += 1;
        // What comes back may be another configuration.
        self.found = None;
        let rested = self
            .restarted
            .is_none_or(|last| now >= last + RESTART_EVERY);
        let started = self.answered || now >= STARTS_WITHIN;
        let restarts = self.silences >= SILENCES && rested && started;
        if restarts {
            self.restarted = Some(now);
        }
        restarts
    }

    pub(super) fn first_time(&mut self, text: &str) -> bool {
        let first = self.told != text;
        text.clone_into(&mut self.told);
        first
    }
}

impl Driver {
    /// Asks in a thread of its own: a stuck streamer answers after seconds, or never.
    pub(super) fn probe(&mut self) {
        let inputs = self.inputs.clone();
        let search = Search::new(&self.local, self.machine.settings());
        let known = self.streams.found.clone();
        let now = self.moments.now();
        let anew = now >= self.streams.described + DESCRIBE_EVERY;
        if known.is_none() || anew {
            self.streams.described = now;
        }
        self.streams.asking = true;
        let asked = spawn("probe", move || {
            // Here, not in the loop: a name may take as long as the streamer.
            let answer = match known {
                Some(known) => {
                    let path = known
                        .sources
                        .first()
                        .map_or("/", |source| source.path.as_str());
                    let found = anew.then(|| search.again(&known)).flatten();
                    Answer {
                        lives: found.is_some() || answers(known.address, path),
                        found,
                        address: None,
                    }
                }
                None => {
                    let found = search.run();
                    let address = search.first_address();
                    Answer {
                        lives: found.is_some()
                            || address.is_some_and(|address| answers(address, "/")),
                        found,
                        address,
                    }
                }
            };
            inputs.send(Input::Probed(answer));
        });
        if asked.is_err() {
            self.streams.asking = false;
            self.streams.next = self.moments.now() + EVERY;
        }
    }

    pub(super) fn probed(&mut self, answer: Answer) {
        let Answer {
            lives,
            found,
            address,
        } = answer;
        let now = self.moments.now();
        let before = self.report.probe;
        self.streams.asking = false;
        self.report.probe = Some(if lives { Probe::Ok } else { Probe::Fail });
        if let Some(found) = found {
            self.relay.set_streamer(Streamer {
                address: found.address,
                login: found.login.clone(),
            });
            self.report.sources.clone_from(&found.sources);
            self.streams.found = Some(found);
        } else if let Some(address) = address {
            // Where its name leads now. A name that is not known leads where it led.
            self.relay.set_streamer(Streamer {
                address,
                login: self.local.login.clone(),
            });
        }
        if lives {
            self.streams.answered();
        } else if self.streams.silent(now) && !self.local.restart.is_empty() {
            self.note(Level::Warn, format_args!("the streamer is restarted"));
            system::start(&self.local.restart);
        }
        let settled = lives && self.streams.found.is_some();
        self.streams.next = now + if settled { EVERY } else { EVERY_AT_FIRST };
        if before != self.report.probe {
            let what = if lives {
                "the streamer answers"
            } else {
                "the streamer does not answer"
            };
            self.note(
                if lives { Level::Info } else { Level::Error },
                format_args!("{what}"),
            );
        }
        if self.machine.reports() && before.is_none() {
            // The first finding does not wait for a PING: recording begins with it.
            self.report_now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_streamer_that_is_still_starting_is_not_restarted() {
        let mut streams = Streams::default();
        for second in (0..120).step_by(5) {
            assert!(!streams.silent(s(second)), "after {second} s");
        }
        assert!(streams.silent(s(120)), "it does not start by itself");
        assert!(!streams.silent(s(125)));
        assert!(streams.silent(s(420)));
        // One that has answered has started.
        let mut streams = Streams::default();
        streams.answered();
        let silences = [10, 15, 20, 25].map(|second| streams.silent(s(second)));
        assert_eq!(silences, [false, false, true, false]);
    }
}
