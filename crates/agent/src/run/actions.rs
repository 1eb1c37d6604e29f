//! Doing what the table says.

use moorline_control::{AgentLine, DiagStep, Level, Setting, Text};

use super::{Driver, Input};
use crate::check::{Chain, NO_ENDPOINT, Session, server_s, walk};
use crate::client::{Client, Kit};
use crate::machine::{Action, Dial, Event, Link};
use crate::probe::Search;
use crate::relay::{Streamer, spawn};
use crate::system::{self, Watchdog};
use crate::upgrade::{self, trial};
use crate::{files, settings::Settings};

impl Driver {
    /// False ends the agent.
    pub(super) fn act(&mut self, action: Action) -> bool {
        match action {
            Action::MakeKey => self.make_key(),
            Action::MakeNextKey => self.make_next_key(),
            Action::TakeNextKey { owner, key } => {
                if let Err(error) = self.places.take_next_key(owner, &key) {
                    self.note(
                        Level::Error,
                        format_args!("the camera keeps its key: {error}"),
                    );
                }
            }
            Action::Dial(dial) => self.dial(dial),
            Action::Kill(link) => self.kill(link),
            Action::Say(link, line) => self.say(link, &line),
            Action::Offer(_) if self.places.lan().is_some() => {
                self.note(
                    Level::Warn,
                    format_args!("a gateway's agent is upgraded by its owner"),
                );
            }
            Action::Part(..) if self.places.lan().is_some() => {}
            Action::Offer(offer) => self.upgrade(upgrade::Event::Offer(offer)),
            Action::Part(offset, data) => self.upgrade(upgrade::Event::Part(offset, data)),
            Action::Greet if self.places.trial => trial::passed(),
            Action::Greet => {
                // Not at the start: the first call after a boot does not wait for it.
                if self.report.fixed.dbclient.is_none() {
                    self.report.fixed.dbclient = system::dbclient_version();
                }
                let facts = self.facts();
                self.report.upgrade = self.upgrade.offset();
                let lines = self.report.greet(&facts, self.moments.now());
                self.say_all(&lines);
                if let Some(what) = self.taken_back.take() {
                    self.note(Level::Error, format_args!("{what}"));
                }
            }
            Action::Report => self.report_now(),
            Action::Bad(field) => self.report.bad(field),
            Action::Clock(unix) => self.set_clock(unix),
            Action::Apply(setting) => self.apply(setting),
            Action::Keep(settings) => self.kept = self.keep(&settings),
            // The name could not be kept: the token is all that this camera has at its next boot, and the same key may repeat it.
            Action::WipeToken if !self.kept => {}
            Action::WipeToken => self.wipe_token(),
            Action::Diagnose => self.diagnose(),
            Action::Reboot if self.places.lan().is_some() => {
                self.note(
                    Level::Warn,
                    format_args!("a gateway is not rebooted for one camera"),
                );
            }
            Action::Reboot => {
                if let Err(error) = system::reboot() {
                    self.machine.stays();
                    self.note(Level::Error, format_args!("reboot: {error}"));
                }
            }
            Action::Note(level, text) => self.note(level, format_args!("{text}")),
            Action::Exit => {
                self.leave_trial();
                // Armed it cuts a reboot that hangs.
                if let Some(watchdog) = self.watchdog.take()
                    && !self.machine.reboots()
                {
                    watchdog.disarm();
                }
                return false;
            }
        }
        true
    }

    fn make_key(&mut self) {
        let (inputs, path) = (self.inputs.clone(), self.places.key());
        let made = spawn("key", move || {
            let made = system::make_key(&path).map_err(|error| error.to_string());
            inputs.send(Input::Key(made));
        });
        if let Err(error) = made {
            super::console(Level::Error, format_args!("no thread: {error}"));
            self.turn_machine(Event::Key(false));
        }
    }

    fn make_next_key(&mut self) {
        let (inputs, path) = (self.inputs.clone(), self.places.next_key());
        let made = spawn("key", move || {
            // One that a cut session left there is as good as a new one.
            let made = match system::fingerprint(&path) {
                Some(line) => Ok(line),
                None => system::make_key(&path).map_err(|error| error.to_string()),
            };
            inputs.send(Input::NextKey(made));
        });
        if made.is_err() {
            self.turn_machine(Event::NextKey(None));
        }
    }

    fn dial(&mut self, dial: Dial) {
        let link = dial.link;
        let kit = Kit {
            key: self.identity(&dial),
            home: self.places.home(link),
            relay: self.relay_port,
            http: self.local.http,
        };
        let at = format!("calling {}:{}", dial.endpoint.host, dial.endpoint.port);
        super::console(Level::Info, format_args!("{at}"));
        // Before it: both have one file for their pins.
        self.kill(link);
        match Client::start(dial, kit, self.inputs.clone()) {
            Ok(client) => self.clients.push((link, client)),
            Err(error) => {
                // No thread: the deadline of the call will try again.
                super::console(Level::Error, format_args!("dbclient: {error}"));
            }
        }
    }

    fn kill(&mut self, link: Link) {
        if let Some(at) = self.clients.iter().position(|(of, _)| *of == link) {
            self.clients.swap_remove(at).1.kill();
        }
    }

    fn identity(&self, dial: &Dial) -> std::path::PathBuf {
        let keys = self.places.identities(dial.trust);
        let turn = dial.key.checked_rem(keys.len());
        turn.and_then(|turn| keys.into_iter().nth(turn))
            .unwrap_or_else(|| self.places.key())
    }

    fn say_all(&mut self, lines: &[AgentLine]) {
        for line in lines {
            self.say(Link::Endpoint, line);
        }
    }

    pub(super) fn report_now(&mut self) {
        self.report.upgrade = self.upgrade.offset();
        let facts = self.facts();
        let lines = self.report.lines(&facts, self.moments.now());
        self.say_all(&lines);
    }

    fn set_clock(&mut self, unix: u64) {
        /// A slower clock than this is not worth a jump.
        const NEAR: u64 = 2;
        if unix < system::built_at() {
            self.note(
                Level::Warn,
                format_args!("the server's TIME is before this agent was built: not taken"),
            );
            return;
        }
        if self.local.clock
            && system::wall().abs_diff(unix) > NEAR
            && let Err(error) = system::set_wall(unix)
        {
            self.note(
                Level::Warn,
                format_args!("the clock cannot be set: {error}"),
            );
        }
        self.clock = system::uptime().map(|uptime| (unix, uptime));
    }

    fn apply(&mut self, setting: Setting) {
        match setting {
            Setting::Queue(bytes) => self.relay.set_limit(system::queue_limit(Some(bytes))),
            Setting::Watchdog(on) => self.set_watchdog(on),
            Setting::Source(..) => {
                let search = Search::new(&self.local, self.machine.settings());
                if let Some(address) = search.known_address() {
                    self.relay.set_streamer(Streamer {
                        address,
                        login: self.local.login.clone(),
                    });
                }
                self.streams.again();
            }
            Setting::Endpoint(..) | Setting::NoEndpoint(_) | Setting::RebootAfter(_) => {}
        }
    }

    pub(super) fn set_watchdog(&mut self, on: bool) {
        if on && self.places.lan().is_some() {
            self.note(
                Level::Warn,
                format_args!("a gateway's watchdog is not a camera's"),
            );
            return;
        }
        if self.places.trial {
            // The agent that tries this one feeds it.
            return;
        }
        match (on, self.watchdog.take()) {
            (true, Some(open)) => self.watchdog = Some(open),
            (true, None) => match Watchdog::open(&self.local.watchdog) {
                Ok(watchdog) => self.watchdog = Some(watchdog),
                Err(error) => {
                    let what = format!(
                        "{}: {error}: the watchdog is not fed by us",
                        self.local.watchdog
                    );
                    self.note(Level::Warn, format_args!("{what}"));
                }
            },
            (false, Some(open)) => open.disarm(),
            (false, None) => {}
        }
    }

    /// False when the flash took it not.
    fn keep(&mut self, settings: &Settings) -> bool {
        let kept = files::change(&self.places.settings_file(), &settings.to_string());
        if let Err(error) = &kept {
            self.note(
                Level::Error,
                format_args!("agent.conf: {error}: what was set is lost at the next boot"),
            );
        }
        kept.is_ok()
    }

    fn wipe_token(&mut self) {
        for path in self.places.enroll_files() {
            if path.exists()
                && let Err(error) = files::wipe(&path)
            {
                self.note(
                    Level::Warn,
                    format_args!("{}: {error}: remove it yourself", files::shown(&path)),
                );
            }
        }
    }

    fn diagnose(&mut self) {
        if std::mem::replace(&mut self.diagnosing, true) {
            return;
        }
        let inputs = self.inputs.clone();
        let chain = self.chain();
        let walking = spawn("diagnosis", move || {
            walk(&chain, &mut |step, ok, text| {
                inputs.send(Input::Step(step, ok, text));
            });
            inputs.send(Input::Diagnosed);
        });
        self.diagnosing = walking.is_ok();
    }

    fn chain(&self) -> Chain {
        let endpoint = self.machine.server();
        let streamer = self.relay.streamer();
        let found = self.streams.found.as_ref();
        Chain {
            endpoint: endpoint
                .map(|call| (call.host.to_string(), call.port))
                .ok_or(NO_ENDPOINT),
            // It is asked for over this very session.
            session: Session::Up {
                forward: Some(self.machine.takes_the_stream()),
            },
            streamer: streamer.address,
            main: found.and_then(|found| Some(found.sources.first()?.path.to_string())),
            login: streamer.login,
            uplink: Some(self.uplink),
            clock: server_s(self.clock),
        }
    }

    pub(super) fn say_step(&mut self, step: DiagStep, ok: bool, text: &str) {
        let text = Text::clean(text);
        self.say(Link::Endpoint, &AgentLine::Diag { step, ok, text });
    }
}
