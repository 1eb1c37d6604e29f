//! What the agent does next: a pure table. Events come in with the time since the agent's start, actions come out; nothing is done here.
//!
//! ```text
//!  boot ─▶ Key ─▶ Enrol ─ENROLLED─▶ Connecting ──hello both──────▶ Session
//!                  ▲ │ backoff        ▲  ▲  └────hello endpoint──▶ Session ─REFER─▶ Streaming
//!                  └─┘                │  │                            │ ▲               │
//!                                     │  └── no PING for 45 s, exit ──┘ └─ lost: ask ───┘
//!                                     └───── no hello in 20 s: backoff; after 2 failures the next endpoint
//! ```
//!
//! Owns: which server is called when and with which pins, what each line of a server changes, how the agent ends. Does not own: processes,
//! files, clocks, the relay, what STATUS says (the driver, [`crate::run`]).
//!
//! Trust follows what was dialled, not what a server says that it is (S6): of a session reached by REFER only hello and PING count.

mod endpoint;
mod event;
mod flash;
mod leg;
mod lines;
mod streampoint;
mod tried;

#[cfg(test)]
mod tests;

use std::time::Duration;

use moorline_control::{HostKey, Level, Model, Reason};

pub use event::{Action, Dial, Event, Forwards, Link};
pub use leg::Serial;

use crate::backoff::Dice;
use crate::endpoint::Endpoint;
use crate::enroll::Enroll;
use crate::settings::Settings;
use flash::Flash;
use leg::Leg;
use streampoint::Referral;

/// A hello must come within this of the start of dbclient, which has no deadline of its own.
pub const HELLO_WITHIN: Duration = Duration::from_secs(20);
/// A session without a PING for so long is dead, whatever dbclient's own keepalive says.
pub const PING_WITHIN: Duration = Duration::from_secs(45);
/// A session that stood so long has worked: backoff and order of endpoints begin anew.
const HELD: Duration = Duration::from_secs(60);
/// A hang-up is given so long to be said.
const BYE_WITHIN: Duration = Duration::from_secs(2);
/// A server in a loop cannot keep a camera down.
const NO_REBOOT_BEFORE: Duration = Duration::from_secs(60);

/// Where the agent stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The camera's key is being made.
    Key,
    /// It is nobody's camera yet.
    Enrol,
    /// A server is being called, or the wait before a call.
    Connecting,
    /// The endpoint's session is up.
    Session,
    /// It was referred to a streampoint.
    Streaming,
    /// A new agent is tried, and has the sessions.
    Paused,
    /// It ends.
    Ending,
}

/// What does not change while the agent runs.
#[derive(Debug, Clone)]
pub struct Fixed {
    /// The camera's model, for enrolment.
    pub model: Model,
    /// Its hardware address, for enrolment.
    pub mac: moorline_control::Mac,
    /// Whether its owner lets the server reach its web server.
    pub http: bool,
    /// The owner's word on `source`: see [`crate::local::Local::allows_source`].
    pub source_ports: Vec<u16>,
}

/// The agent's state.
#[derive(Debug)]
pub struct Machine {
    fixed: Fixed,
    settings: Settings,
    /// What the files `enroll` say that were found.
    enrolls: Vec<Enroll>,
    /// How many sessions that were to enrol it did not.
    refused: usize,
    key: Key,
    /// The key that lies aside, as the server that asked for it was told.
    next_key: Option<HostKey>,
    making_next_key: bool,
    flash: Flash,
    endpoint: Leg,
    /// Which endpoint is called, and how often it failed in a row.
    place: usize,
    failures: u32,
    /// Which of them was called last.
    called: Option<Endpoint>,
    /// Why the endpoint's session ended last.
    last_end: Option<Reason>,
    /// Whether the owner's endpoint lay in a private network when it was called last.
    private: bool,
    streampoint: Leg,
    referral: Option<Referral>,
    dice: Dice,
    serial: u32,
    last_served: Duration,
    last_diagnosis: Option<Duration>,
    ending: Option<Duration>,
    paused: bool,
    rebooting: bool,
}

/// The camera's own key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Missing,
    Making,
    There,
    RetryAt(Duration),
}

impl Machine {
    /// An agent that starts now. `key` says whether the camera has its key.
    #[must_use]
    pub fn new(
        fixed: Fixed,
        settings: Settings,
        enroll: Option<Enroll>,
        key: bool,
        seed: u64,
    ) -> Self {
        Machine {
            fixed,
            settings,
            enrolls: enroll.into_iter().collect(),
            refused: 0,
            key: if key { Key::There } else { Key::Missing },
            next_key: None,
            making_next_key: false,
            flash: Flash::default(),
            endpoint: Leg::default(),
            place: 0,
            failures: 0,
            called: None,
            last_end: None,
            private: false,
            streampoint: Leg::default(),
            referral: None,
            dice: Dice::new(seed),
            serial: 0,
            last_served: Duration::ZERO,
            last_diagnosis: None,
            ending: None,
            paused: false,
            rebooting: false,
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> State {
        if self.ending.is_some() {
            State::Ending
        } else if self.paused {
            State::Paused
        } else if self.key != Key::There {
            State::Key
        } else if self.settings.camera.is_none() {
            State::Enrol
        } else if self.referral.is_some() {
            State::Streaming
        } else if self.endpoint.is_up() {
            State::Session
        } else {
            State::Connecting
        }
    }

    /// What the server set.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether the endpoint listens: an enrolled camera's session with it is up.
    #[must_use]
    pub fn reports(&self) -> bool {
        self.settings.camera.is_some() && self.endpoint.is_up()
    }

    /// Whether the endpoint's session of an enrolled camera has held for a while.
    #[must_use]
    pub fn has_held(&self, now: Duration) -> bool {
        self.reports() && self.endpoint.held(now).is_some_and(|held| held >= HELD)
    }

    /// Whether any server has a session: one that takes the stream while the endpoint is away is one, too.
    fn is_served(&self) -> bool {
        self.endpoint.is_up() || self.streampoint.is_up()
    }

    /// The server that has the endpoint's session, or was called last.
    #[must_use]
    pub fn server(&self) -> Option<&Endpoint> {
        self.called.as_ref()
    }

    /// Why the endpoint's session ended last, if it is not up again.
    #[must_use]
    pub fn last_end(&self) -> Option<Reason> {
        self.last_end
    }

    /// Whether the endpoint took the forward, too.
    #[must_use]
    pub fn takes_the_stream(&self) -> bool {
        self.endpoint.role() == Some(moorline_control::Role::Both)
    }

    /// Whether the camera is going to reboot: nothing may look as if it were switched off on purpose, and a reboot that hangs must be cut.
    #[must_use]
    pub fn reboots(&self) -> bool {
        self.rebooting
    }

    /// The reboot cannot be had: all goes on.
    pub fn stays(&mut self) {
        self.rebooting = false;
    }

    /// When time alone changes something next; `None` for never.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        if self.paused {
            return self.ending;
        }
        let key = match self.key {
            Key::RetryAt(at) => Some(at),
            Key::Missing => Some(Duration::ZERO),
            Key::Making | Key::There => None,
        };
        let idle = self.key == Key::There && self.endpoint.is_idle() && !self.calls().is_empty();
        let reboot = self.settings.reboots_after();
        let reboot = reboot.filter(|_| !self.is_served());
        [
            key,
            idle.then_some(Duration::ZERO),
            self.endpoint.due(),
            self.streampoint.due(),
            self.flash.due(),
            self.referral.as_ref().and_then(Referral::ends),
            reboot.map(|after| self.last_served + after),
            self.ending,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// One event.
    pub fn step(&mut self, now: Duration, event: Event) -> Vec<Action> {
        let mut out = Vec::new();
        match event {
            Event::Tick => {}
            Event::Key(made) => self.key_made(now, made, &mut out),
            Event::NextKey(key) => self.next_key_made(key, &mut out),
            Event::Enroll(enrolls) => self.enroll_seen(now, enrolls, &mut out),
            Event::Line { link, serial, line } => {
                if self.ending.is_none() && self.leg(link).is(serial) {
                    self.line(now, link, &line, &mut out);
                }
            }
            Event::Private { serial, private } => {
                if self.endpoint.is(serial) {
                    self.endpoint.private = private;
                }
            }
            Event::Ended {
                link,
                serial,
                reason,
            } => {
                if self.leg(link).is(serial) {
                    out.push(Action::Kill(link));
                    self.lost(now, link, reason, &mut out);
                }
            }
            Event::Pause => self.pause(&mut out),
            Event::Resume(settings) => self.resume(now, *settings),
            Event::Stop { hang_up } => self.stop(now, hang_up, &mut out),
        }
        if self.ending.is_some() {
            self.end(now, &mut out);
        } else {
            self.pass(now, &mut out);
        }
        out
    }

    /// What time has brought.
    fn pass(&mut self, now: Duration, out: &mut Vec<Action>) {
        if self.paused {
            return;
        }
        let make = match self.key {
            Key::Missing => true,
            Key::RetryAt(at) => now >= at,
            Key::Making | Key::There => false,
        };
        if make {
            self.key = Key::Making;
            out.push(Action::MakeKey);
        }
        if self.is_served() {
            self.last_served = now;
        }
        self.pass_endpoint(now, out);
        self.pass_streampoint(now, out);
        if self.flash.writes(now) {
            self.keep(out);
        }
        if let Some(after) = self.settings.reboots_after()
            && now.saturating_sub(self.last_served) >= after
        {
            self.last_served = now;
            out.push(Action::Note(
                Level::Error,
                "no server for reboot-after: rebooting".into(),
            ));
            self.reboot(out);
        }
    }

    fn keep(&self, out: &mut Vec<Action>) {
        out.push(Action::Keep(Box::new(self.settings.clone())));
    }

    fn reboot(&mut self, out: &mut Vec<Action>) {
        self.keep_last(out);
        self.rebooting = true;
        out.push(Action::Reboot);
    }

    fn keep_last(&mut self, out: &mut Vec<Action>) {
        if self.flash.writes_last() {
            self.keep(out);
        }
    }

    fn key_made(&mut self, now: Duration, made: bool, out: &mut Vec<Action>) {
        if made {
            self.key = Key::There;
        } else {
            let wait = self.endpoint.backoff.after_failure(self.dice.roll());
            self.key = Key::RetryAt(now + wait);
            out.push(Action::Note(
                Level::Error,
                "the camera's key cannot be made".into(),
            ));
        }
    }

    fn next_key_made(&mut self, key: Option<HostKey>, out: &mut Vec<Action>) {
        self.making_next_key = false;
        match key {
            Some(key) if self.endpoint.is_up() => {
                let line = moorline_control::AgentLine::NewKey(key.clone());
                out.push(Action::Say(Link::Endpoint, line));
                self.next_key = Some(key);
            }
            Some(_) => {}
            None => out.push(Action::Note(
                Level::Error,
                "another key for the camera cannot be made".into(),
            )),
        }
    }

    fn leg(&mut self, link: Link) -> &mut Leg {
        match link {
            Link::Endpoint => &mut self.endpoint,
            Link::Streampoint => &mut self.streampoint,
        }
    }

    fn next_serial(&mut self) -> Serial {
        self.serial = self.serial.wrapping_add(1);
        Serial(self.serial)
    }

    fn lost(&mut self, now: Duration, link: Link, reason: Reason, out: &mut Vec<Action>) {
        match link {
            Link::Endpoint => self.endpoint_lost(now, reason, out),
            Link::Streampoint => self.streampoint_lost(now, reason, out),
        }
    }

    /// Both sessions are lost, not hung up: the server waits for the camera (Grace).
    fn pause(&mut self, out: &mut Vec<Action>) {
        self.paused = true;
        self.keep_last(out);
        for link in [Link::Endpoint, Link::Streampoint] {
            out.push(Action::Kill(link));
            self.leg(link).stage = leg::Stage::Idle;
        }
    }

    fn resume(&mut self, now: Duration, settings: Settings) {
        self.paused = false;
        self.settings = settings;
        // The time of the trial is not time without a server.
        self.last_served = now;
        self.endpoint.wait(now);
        if self.referral.is_some() {
            self.streampoint.wait(now);
        }
    }

    fn stop(&mut self, now: Duration, hang_up: bool, out: &mut Vec<Action>) {
        if self.ending.is_some() {
            return;
        }
        let mut until = now;
        // An init script stops the agent before a reboot, too: the camera comes back, the server waits for it.
        let hang_up = hang_up && !self.rebooting;
        for link in [Link::Endpoint, Link::Streampoint] {
            if hang_up && self.leg(link).is_up() {
                out.push(Action::Say(link, moorline_control::AgentLine::Bye));
                until = now + BYE_WITHIN;
            }
        }
        self.ending = Some(until);
    }

    /// All sessions have ended by themselves, or had their time.
    fn end(&mut self, now: Duration, out: &mut Vec<Action>) {
        let quiet = !self.endpoint.runs() && !self.streampoint.runs();
        if self.ending.is_some_and(|until| now >= until) || quiet {
            self.keep_last(out);
            out.extend([
                Action::Kill(Link::Endpoint),
                Action::Kill(Link::Streampoint),
                Action::Exit,
            ]);
        }
    }
}
