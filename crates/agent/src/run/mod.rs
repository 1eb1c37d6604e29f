//! The agent's one loop: waits for an event or for time, steps the table, does its actions, feeds the watchdog.

mod actions;
mod places;
mod start;
mod streams;
mod upgrade;

use std::fmt;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use moorline_control::{DiagStep, Level};

use crate::client::Client;
use crate::command::name;
use crate::files;
use crate::local::Local;
use crate::machine::{Action, Event, Link, Machine, State};
use crate::mailbox::{Empty, Receiver, Sender, mailbox};
use crate::moment::Moments;
use crate::relay::Relay;
use crate::report::{Facts, Report};
use crate::system::{self, Watchdog};
use crate::upgrade::store::Store;
use crate::upgrade::trial::Trial;
use crate::upgrade::{self as upgrading, Upgrade};
use crate::uplink::{Recent, Uplink};

pub use places::{Lan, Places};
use start::Read;
pub(crate) use start::{RESET, RESET_KEY};
use streams::{Answer, Streams};

/// What the loop waits for.
#[derive(Debug)]
pub(crate) enum Input {
    /// For the table.
    Event(Event),
    /// A line of dbclient's stderr.
    Said(String),
    /// The streamer was asked.
    Probed(Answer),
    /// A step of the diagnosis.
    Step(DiagStep, bool, String),
    /// The diagnosis is over.
    Diagnosed,
    /// Another key lies aside: its public line.
    NextKey(Result<String, String>),
    /// The camera's key is there: its public line.
    Key(Result<String, String>),
    /// It is to forget whose camera it is, and with `true` its keys, too.
    Reset(bool),
    /// The new agent on trial says something.
    Upgrade(upgrading::Event),
}

/// Events that wait for the loop: senders wait when it is full.
const INPUTS: usize = 64;
/// The watchdog's own timeout is the driver's; the shortest known is 10 s.
const FEED_EVERY: Duration = Duration::from_secs(3);
/// How often the place of an SD card is looked at.
const ENROLL_EVERY: Duration = Duration::from_secs(10);

struct Driver {
    places: Places,
    local: Local,
    machine: Machine,
    /// One of a link at most.
    clients: Vec<(Link, Client)>,
    relay: Arc<Relay>,
    relay_port: u16,
    report: Report,
    streams: Streams,
    watchdog: Option<Watchdog>,
    moments: Moments,
    inputs: Sender<Input>,
    next_enroll: Duration,
    next_feed: Duration,
    /// Whether what is to outlive a reboot is on the flash.
    kept: bool,
    diagnosing: bool,
    /// What the server's clock said last, and the camera's uptime then.
    clock: Option<(u64, u64)>,
    state: String,
    /// What the relay dropped in the last minutes, and the counters behind it.
    uplink: Uplink,
    recent: Recent,
    store: Store,
    upgrade: Upgrade,
    trial: Option<Trial>,
    /// Why a new agent was taken back: told when a session is up again.
    taken_back: Option<String>,
    /// A session of this agent has held: it works.
    settled: bool,
    /// It is to forget whose camera it is when it ends, and with `true` its keys, too.
    reset: Option<bool>,
    /// It was told to end because the camera is being switched off.
    hang_up: bool,
    /// It ended to be started again as the new agent.
    replaced: bool,
    over: bool,
}

/// How the agent ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Told,
    /// A new agent has its place, or the camera is nobody's now: it is to be started again.
    Replaced,
}

/// Runs the agent until it is told to end, or has put a new one in its place.
///
/// # Errors
/// What makes it impossible to run: no directory, no loopback port, no thread.
pub fn run(places: Places) -> Result<Ended, String> {
    let (inputs, events) = mailbox(INPUTS);
    let read = Read::of(&places).inspect_err(|_| {
        // The flash's fault, not this agent's: a start that ends so counts for nothing.
        if places.upgrades() {
            Store::new(&places).forgive();
        }
    })?;
    let mut driver = Driver::new(places, read, inputs)?;
    driver.announce();
    driver.turn(&events);
    if let Some(key) = driver.reset {
        // Now: until it ended it might have written its settings again.
        let forgotten = driver.places.forget(key);
        forgotten
            .map_err(|error| format!("{}: {error}", files::shown(&driver.places.directory)))?;
        return Ok(Ended::Replaced);
    }
    if driver.replaced {
        return Ok(Ended::Replaced);
    }
    // It did as it was told: a start that ends so counts for nothing.
    if driver.places.upgrades() {
        driver.store.forgive();
    }
    Ok(Ended::Told)
}

impl Driver {
    /// The loop. Ends with [`Action::Exit`].
    fn turn(&mut self, events: &Receiver<Input>) {
        loop {
            self.tend();
            if self.over {
                return;
            }
            let wait = self.wait();
            let input = match events.take_within(wait) {
                Ok(input) => Some(input),
                Err(Empty::Late) => None,
                Err(Empty::Over) => return,
            };
            if !self.take(input) || self.over {
                return;
            }
        }
    }

    /// How long nothing happens by time alone.
    fn wait(&self) -> Duration {
        let now = self.moments.now();
        let mut due = self.next_enroll.min(self.streams.next());
        if let Some(machine) = self.machine.due() {
            due = due.min(machine);
        }
        if let Some(upgrade) = self.upgrade.due(self.machine.reports()) {
            due = due.min(upgrade);
        }
        if self.watchdog.is_some() {
            due = due.min(self.next_feed);
        }
        due.saturating_sub(now)
    }

    /// What is done by time, beside the table.
    fn tend(&mut self) {
        let now = self.moments.now();
        if now >= self.next_feed {
            self.next_feed = now + FEED_EVERY;
            if let Some(watchdog) = &mut self.watchdog
                && !self.machine.reboots()
            {
                watchdog.feed();
            }
        }
        if now >= self.next_enroll {
            self.next_enroll = now + ENROLL_EVERY;
            self.look_at_uplink();
            self.look_for_enroll();
            self.look_for_agent();
        }
        self.settle();
        let session = self.machine.reports();
        if self.upgrade.due(session).is_some_and(|due| now >= due) {
            self.upgrade(upgrading::Event::Tick);
        }
        if self.streams.is_due(now) {
            self.probe();
        }
        self.write_state();
    }

    fn look_at_uplink(&mut self) {
        use std::sync::atomic::Ordering;
        let facts = self.facts();
        let (pictures, dropped) = (facts.pictures, facts.pictures_dropped);
        let sent = self.relay.counters().sent.load(Ordering::Relaxed);
        let waiting = self.relay.waiting();
        self.uplink = self
            .recent
            .look(self.moments.now(), pictures, dropped, sent, waiting);
    }

    fn look_for_enroll(&mut self) {
        let enrolled = self.machine.settings().camera.is_some();
        let (all, wrong) = self.places.enrolls(enrolled);
        // Once, not every ten seconds: a card with a wrong file stays in its slot for days.
        if self.streams.first_time(&wrong.join("\n")) {
            for wrong in wrong {
                self.note(Level::Error, format_args!("{wrong}"));
            }
        }
        if all.is_empty() {
            self.report.enroll = false;
        } else if !self.report.enroll {
            self.report.enroll = enrolled;
            self.turn_machine(Event::Enroll(all));
        }
    }

    /// One input; false ends the agent.
    fn take(&mut self, input: Option<Input>) -> bool {
        let now = self.moments.now();
        let event = match input {
            None => Event::Tick,
            Some(Input::Event(event)) => {
                if let Event::Stop { hang_up } = event {
                    self.hang_up = hang_up;
                }
                event
            }
            Some(Input::Reset(key)) => {
                self.reset = Some(key);
                self.note(Level::Warn, format_args!("its owner resets this camera"));
                Event::Stop { hang_up: false }
            }
            Some(Input::Upgrade(event)) => {
                self.upgrade(event);
                return true;
            }
            Some(Input::Said(line)) => {
                console(Level::Info, format_args!("{line}"));
                return true;
            }
            Some(Input::Probed(answer)) => {
                self.probed(answer);
                return true;
            }
            Some(Input::Step(step, ok, text)) => {
                self.say_step(step, ok, &text);
                return true;
            }
            Some(Input::Diagnosed) => {
                self.diagnosing = false;
                return true;
            }
            Some(Input::NextKey(made)) => {
                if let Err(error) = &made {
                    console(Level::Error, format_args!("dropbearkey: {error}"));
                }
                Event::NextKey(made.ok().and_then(|told| system::public_half(&told)))
            }
            Some(Input::Key(Ok(key))) => {
                console(Level::Info, format_args!("{key}"));
                Event::Key(true)
            }
            Some(Input::Key(Err(error))) => {
                console(Level::Error, format_args!("dropbearkey: {error}"));
                Event::Key(false)
            }
        };
        let actions = self.machine.step(now, event);
        self.perform(actions)
    }

    fn perform(&mut self, actions: Vec<Action>) -> bool {
        let mut goes_on = true;
        for action in actions {
            goes_on &= self.act(action);
        }
        goes_on
    }

    fn facts(&self) -> Facts {
        use std::sync::atomic::Ordering;
        let counters = self.relay.counters();
        Facts {
            uptime: system::uptime(),
            memory: system::memory(),
            pictures: counters.pictures.load(Ordering::Relaxed).into(),
            pictures_dropped: counters.pictures_dropped.load(Ordering::Relaxed).into(),
            relay_faults: counters.faults.load(Ordering::Relaxed).into(),
        }
    }

    /// For console and server.
    fn note(&mut self, level: Level, text: fmt::Arguments<'_>) {
        console(level, format_args!("{text}"));
        if self.machine.reports()
            && let Some(line) = self
                .report
                .log(level, &text.to_string(), self.moments.now())
        {
            self.say(Link::Endpoint, &line);
        }
    }

    fn say(&mut self, link: Link, line: &moorline_control::AgentLine) {
        // What is on trial is nothing that the server should know of yet.
        if self.places.trial
            && !matches!(
                line,
                moorline_control::AgentLine::Pong(_) | moorline_control::AgentLine::Bye
            )
        {
            return;
        }
        if let Some((_, client)) = self.clients.iter().find(|(of, _)| *of == link) {
            // A server that does not read loses lines, PONGs among them, and then the session.
            client.say(format!("{line}\n"));
        }
    }

    /// The state, for `moorline-agent check`.
    fn write_state(&mut self) {
        let state = match self.machine.state() {
            State::Key => "key",
            State::Enrol => "enrol",
            State::Connecting => "connecting",
            State::Session => "session",
            State::Streaming => "streaming",
            State::Paused => "trial",
            State::Ending => "ending",
        };
        let reason = self.machine.last_end();
        let reason = reason.map_or("-", moorline_control::Reason::as_str);
        let mut text = format!(
            "pid {}\nversion {}\nstate {state}\nlast-end {reason}\nrelay {}\nuplink {}\n",
            std::process::id(),
            name(),
            self.relay_port,
            self.uplink
        );
        if let Some(server) = self.machine.server() {
            text.push_str(&format!("server {} {}\n", server.host, server.port));
        }
        if let Some((told, uptime)) = self.clock {
            text.push_str(&format!("clock {told} {uptime}\n"));
        }
        if text != self.state && files::replace(&self.places.state(), &text).is_ok() {
            self.state = text;
        }
    }
}

/// The console: busybox init shows it, the `daemon` keeps its end.
pub(crate) fn console(level: Level, text: fmt::Arguments<'_>) {
    let line = format!("{level}: {text}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}
