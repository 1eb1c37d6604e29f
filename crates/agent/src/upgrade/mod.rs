//! The agent's own upgrade: a pure table. Events come in with the time since the agent's start, actions come out; nothing is done here.
//!
//! ```text
//!         UPGRADE, signed, not older        last part, its digest holds       a session is up
//!   Idle ───────────────────────▶ Receiving ───────────────────────▶ Waiting ───────────────▶ Trial
//!    ▲ │  agent.new and its digest, brought by the owner              ▲                        │ │
//!    │ └──────────────────────────────────────────────────────────────┘      hello: in place, │ │ it ends by itself,
//!    │                                                                  and this agent exits ◀─┘ │ or says no hello in time
//!    └────────────────────────────── agent.bad, and the old agent goes on ◀──────────────────────┘
//! ```
//!
//! Owns: what is taken of UPGRADE and PART, when the new agent is tried, when it has passed. Does not own: files (`store`), the child (`trial`),
//! sessions: while a trial runs this agent has none ([`crate::machine::Event::Pause`]).
//!
//! One that had no session in time is taken back once the old agent has one, which had none meanwhile: else the network was away, and it is tried
//! again.
//!
//! Nothing that a session brings is tried without a signature by a release key of the image (S8). A trial begins only while a session is up: an
//! agent that cannot connect because nobody can proves nothing. A power cut leaves the old agent in each phase: the new one gets the old one's
//! name by one rename, after it has passed.

pub mod ed25519;
mod field;
mod keys;
pub mod sha512;
pub(crate) mod store;
pub(crate) mod trial;

#[cfg(test)]
mod tests;

use std::time::Duration;

use moorline_control::{Data, Level, Offer, Stamp, Version};

pub use keys::Keys;

/// No agent is larger: it would not fit into a camera.
pub const LARGEST: u32 = 4_000_000;

/// A new agent has its hello within this, or it is taken back.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// The agent that tried another one in vain has this long for a session of its own: then the other one is to blame, and not the network.
const DOUBT: Duration = Duration::from_secs(90);

/// What is told to end gets so long.
const ENDS_WITHIN: Duration = Duration::from_secs(2);

/// The offset is told once in so many bytes: a quarter of what a server may send ahead.
const TELL_EVERY: u32 = 8 * Data::MAX as u32;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Nothing but time, or a session that is up now.
    Tick,
    /// `UPGRADE`.
    Offer(Offer),
    /// An answer to [`Action::Open`]: this very agent failed here before.
    Condemned,
    /// `PART`.
    Part(u32, Data),
    /// The answer to [`Action::Open`]: how much is here already; or there is no room.
    Opened(Option<u32>),
    /// The answer to [`Action::Append`]: whether it was written.
    Appended(bool),
    /// The answer to [`Action::Finish`].
    Finished(Received),
    /// A new agent is ready to be tried: the owner brought it, or it was left so by a stop.
    Found(Version),
    /// The answer to [`Action::Begin`]: whether it runs.
    Begun(bool),
    /// The new agent has its hello.
    Hello,
    /// The new agent has ended.
    Ended,
    /// The answer to [`Action::Install`].
    Installed(bool),
}

/// What is to be done. Those with an answer are answered before anything else happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make room for it, or find what is here of it.
    Open(Offer),
    /// Write the next bytes.
    Append(Data),
    /// Sync it, check its digest, make it ready to be tried.
    Finish(Offer),
    /// Say `STATUS upgrade=<offset>`, now.
    Tell(u32),
    /// Report `bad=UPGRADE.<field>`.
    Refuse(&'static str),
    /// End the own sessions, note that a trial has begun, start the new agent.
    Begin,
    /// Tell the new agent to end.
    End,
    /// Kill it and all of its children, if they live.
    Kill,
    /// Give it the agent's name.
    Install,
    /// Keep it as `agent.bad`, for this reason.
    TakeBack(Version, &'static str),
    /// Have sessions again.
    Resume,
    /// Nobody is to blame yet: it stays ready to be tried.
    Postpone,
    /// Exit, to be started again as the new agent.
    Exit,
    /// Tell the console and the endpoint.
    Note(Level, String),
}

/// What became of an agent whose last part has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// It has the digest that was signed, and is ready to be tried.
    Whole,
    /// It has another one.
    Foreign,
    /// The flash did not take it.
    NotKept,
}

/// Why a trial failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failed {
    /// No session in time: perhaps nobody could have had one.
    Silent,
    /// It had one, and cannot be put in place.
    NotInstalled,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Idle,
    Receiving {
        offer: Offer,
        have: u32,
        told: u32,
    },
    Waiting(Version),
    Trial {
        version: Version,
        until: Duration,
    },
    Ending {
        version: Version,
        until: Duration,
        failed: Option<Failed>,
    },
    /// It had no session in time: if this agent has one by then, it is to blame.
    Doubt {
        version: Version,
        until: Duration,
    },
}

/// The upgrade's state.
#[derive(Debug)]
pub struct Upgrade {
    keys: Keys,
    own: Option<Stamp>,
    patience: Duration,
    phase: Phase,
}

impl Upgrade {
    /// Nothing under way.
    #[must_use]
    pub fn new(keys: Keys, own: Option<Stamp>, patience: Duration) -> Self {
        Upgrade {
            keys,
            own,
            patience,
            phase: Phase::Idle,
        }
    }

    /// Whether the owner's `agent.new` is looked for.
    #[must_use]
    pub fn looks(&self) -> bool {
        matches!(self.phase, Phase::Idle | Phase::Receiving { .. })
    }

    /// Whether a new agent runs, or is being ended.
    #[must_use]
    pub fn tries(&self) -> bool {
        matches!(self.phase, Phase::Trial { .. } | Phase::Ending { .. })
    }

    /// The offset from which a transfer goes on, while one is under way.
    #[must_use]
    pub fn offset(&self) -> Option<u32> {
        match &self.phase {
            Phase::Receiving { have, .. } => Some(*have),
            _ => None,
        }
    }

    /// When [`Event::Tick`] is due, with whether a session is up.
    #[must_use]
    pub fn due(&self, session: bool) -> Option<Duration> {
        match self.phase {
            Phase::Waiting(_) if session => Some(Duration::ZERO),
            Phase::Doubt { .. } if session => Some(Duration::ZERO),
            Phase::Trial { until, .. }
            | Phase::Ending { until, .. }
            | Phase::Doubt { until, .. } => Some(until),
            _ => None,
        }
    }

    /// One event. `session` says whether the running agent has its session.
    pub fn step(&mut self, now: Duration, session: bool, event: Event) -> Vec<Action> {
        match event {
            Event::Offer(offer) => self.offered(offer),
            Event::Opened(have) => self.opened(have),
            Event::Condemned => self.condemned(),
            Event::Part(offset, data) => self.part(offset, data),
            Event::Appended(written) => self.appended(written),
            Event::Finished(received) => self.finished(now, session, received),
            Event::Found(version) if self.looks() => {
                self.phase = Phase::Waiting(version);
                self.pass(now, session)
            }
            Event::Begun(begun) => self.begun(now, begun),
            Event::Hello => match self.phase {
                Phase::Trial { .. } => vec![Action::Install],
                _ => Vec::new(),
            },
            Event::Installed(installed) => self.installed(now, installed),
            Event::Ended => self.ended(now),
            Event::Found(_) | Event::Tick => self.pass(now, session),
        }
    }

    fn offered(&mut self, offer: Offer) -> Vec<Action> {
        if !self.looks() {
            return Vec::new();
        }
        if let Phase::Receiving {
            offer: known,
            have,
            told,
        } = &mut self.phase
            && *known == offer
        {
            // Another session: it goes on where the last one was cut.
            *told = *have;
            return vec![Action::Tell(*have)];
        }
        if let Err(field) = self.keys.check(&offer, self.own.as_ref()) {
            let what = format!("an upgrade to {} is refused: {field}", offer.version);
            return vec![Action::Refuse(field), Action::Note(Level::Warn, what)];
        }
        let open = Action::Open(offer.clone());
        self.phase = Phase::Receiving {
            offer,
            have: 0,
            told: 0,
        };
        vec![open]
    }

    fn opened(&mut self, room: Option<u32>) -> Vec<Action> {
        let Phase::Receiving { offer, have, told } = &mut self.phase else {
            return Vec::new();
        };
        let Some(here) = room.filter(|here| *here <= offer.bytes) else {
            return self.give_up("bytes", "there is no room for it");
        };
        (*have, *told) = (here, here);
        if here == offer.bytes {
            return vec![Action::Finish(offer.clone())];
        }
        vec![Action::Tell(here)]
    }

    fn condemned(&mut self) -> Vec<Action> {
        match self.phase {
            Phase::Receiving { .. } => self.give_up("sha512", "this very agent failed here before"),
            _ => Vec::new(),
        }
    }

    fn part(&mut self, offset: u32, data: Data) -> Vec<Action> {
        match &mut self.phase {
            Phase::Receiving { offer, have, .. } if offset == *have => {
                let length = data.bytes().len();
                let end = u32::try_from(length)
                    .ok()
                    .and_then(|n| n.checked_add(offset));
                match end.filter(|end| *end <= offer.bytes) {
                    Some(end) => {
                        *have = end;
                        vec![Action::Append(data)]
                    }
                    None => vec![Action::Refuse("bytes")],
                }
            }
            // What was sent ahead of a cut, or for nothing: the next STATUS tells where it goes on.
            _ => Vec::new(),
        }
    }

    fn appended(&mut self, written: bool) -> Vec<Action> {
        let Phase::Receiving { offer, have, told } = &mut self.phase else {
            return Vec::new();
        };
        if !written {
            return self.give_up("bytes", "it cannot be written");
        }
        if *have == offer.bytes {
            return vec![Action::Finish(offer.clone())];
        }
        if *have - *told >= TELL_EVERY {
            *told = *have;
            return vec![Action::Tell(*have)];
        }
        Vec::new()
    }

    fn finished(&mut self, now: Duration, session: bool, received: Received) -> Vec<Action> {
        let Phase::Receiving { offer, .. } = &self.phase else {
            return Vec::new();
        };
        match received {
            Received::Whole => {}
            Received::Foreign => {
                return self.give_up("sha512", "what came is not what was signed");
            }
            Received::NotKept => return self.give_up("bytes", "it cannot be written"),
        }
        let (bytes, version) = (offer.bytes, offer.version);
        self.phase = Phase::Waiting(version);
        let mut out = vec![Action::Tell(bytes)];
        out.extend(self.pass(now, session));
        out
    }

    fn give_up(&mut self, field: &'static str, why: &str) -> Vec<Action> {
        self.phase = Phase::Idle;
        let what = format!("the upgrade is given up: {why}");
        vec![Action::Refuse(field), Action::Note(Level::Error, what)]
    }

    fn begun(&mut self, now: Duration, begun: bool) -> Vec<Action> {
        let Phase::Waiting(version) = self.phase else {
            return Vec::new();
        };
        if !begun {
            return self.take_back(version, "it cannot be started");
        }
        let until = now + self.patience;
        self.phase = Phase::Trial { version, until };
        Vec::new()
    }

    fn installed(&mut self, now: Duration, installed: bool) -> Vec<Action> {
        let Phase::Trial { version, .. } = self.phase else {
            return Vec::new();
        };
        let failed = (!installed).then_some(Failed::NotInstalled);
        self.end(now, version, failed)
    }

    fn end(&mut self, now: Duration, version: Version, failed: Option<Failed>) -> Vec<Action> {
        let until = now + ENDS_WITHIN;
        self.phase = Phase::Ending {
            version,
            until,
            failed,
        };
        vec![Action::End]
    }

    fn ended(&mut self, now: Duration) -> Vec<Action> {
        match self.phase {
            Phase::Trial { version, .. } => self.take_back(version, "it ended by itself"),
            Phase::Ending { failed: None, .. } => {
                self.phase = Phase::Idle;
                vec![Action::Kill, Action::Exit]
            }
            Phase::Ending {
                version,
                failed: Some(Failed::NotInstalled),
                ..
            } => self.take_back(version, "it cannot be put in place"),
            Phase::Ending {
                version,
                failed: Some(Failed::Silent),
                ..
            } => {
                let until = now + DOUBT;
                self.phase = Phase::Doubt { version, until };
                vec![Action::Kill, Action::Postpone, Action::Resume]
            }
            _ => Vec::new(),
        }
    }

    fn take_back(&mut self, version: Version, why: &'static str) -> Vec<Action> {
        self.phase = Phase::Idle;
        // Its dbclient must not hold the tunnel against ours.
        vec![Action::Kill, Action::TakeBack(version, why), Action::Resume]
    }

    fn pass(&mut self, now: Duration, session: bool) -> Vec<Action> {
        match self.phase {
            Phase::Waiting(version) if session => {
                let what = format!("agent {version} is tried");
                vec![Action::Note(Level::Info, what), Action::Begin]
            }
            Phase::Trial { version, until } if now >= until => {
                self.end(now, version, Some(Failed::Silent))
            }
            // It does not end when it is told to: it is killed.
            Phase::Ending { until, .. } if now >= until => self.ended(now),
            Phase::Doubt { version, .. } if session => {
                self.phase = Phase::Idle;
                let why = "it had no session in time, and this one has";
                vec![Action::TakeBack(version, why)]
            }
            Phase::Doubt { version, until } if now >= until => {
                self.phase = Phase::Waiting(version);
                let what = format!(
                    "agent {version} had no session, and neither has this one: it is tried again"
                );
                vec![Action::Note(Level::Info, what)]
            }
            _ => Vec::new(),
        }
    }
}
