//! Doing what the upgrade's table says.

use moorline_control::{AgentLine, BadField, Fault, FieldError, Level};

use super::Driver;
use crate::machine::{Event, Link};
use crate::stamp;
use crate::upgrade::trial::Trial;
use crate::upgrade::{Action, Event as Step};

impl Driver {
    /// At the start: a trial in which the power went, and what is kept of an earlier one.
    pub(super) fn recover(&mut self) {
        if !self.places.upgrades() {
            return;
        }
        if self.store.recover() {
            self.note(
                Level::Warn,
                format_args!(
                    "the new agent was on trial when this one was last ended: it is taken back"
                ),
            );
        }
        self.report.rolled_back = self.store.bad();
        let (_, wrong) = self.store.keys();
        if wrong > 0 {
            self.note(
                Level::Warn,
                format_args!("release-keys: {wrong} lines are no keys and left out"),
            );
        }
    }

    /// A session has held: whatever was counted against this agent at its starts is void.
    pub(super) fn settle(&mut self) {
        if !self.settled && self.machine.has_held(self.moments.now()) {
            self.settled = true;
            if self.places.upgrades() {
                self.store.settled();
            }
        }
    }

    /// The owner may have brought one.
    pub(super) fn look_for_agent(&mut self) {
        if !self.places.upgrades() || !self.upgrade.looks() {
            return;
        }
        match self.store.find(stamp::own().as_ref()) {
            Some(Ok(version)) => self.upgrade(Step::Found(version)),
            Some(Err(error)) => self.note(Level::Error, format_args!("{error}")),
            None => {}
        }
    }

    /// One event, and what follows from it.
    pub(super) fn upgrade(&mut self, event: Step) {
        if !self.places.upgrades() {
            return;
        }
        let (now, session) = (self.moments.now(), self.machine.reports());
        for action in self.upgrade.step(now, session, event) {
            self.do_upgrade(action);
        }
    }

    fn do_upgrade(&mut self, action: Action) {
        match action {
            Action::Open(offer) if self.store.failed(&offer.sha512) => {
                self.upgrade(Step::Condemned);
            }
            Action::Open(offer) => {
                let here = self.store.open(&offer);
                self.report.rolled_back = self.store.bad();
                self.upgrade(Step::Opened(here));
            }
            Action::Append(data) => {
                let written = self.store.append(data.bytes()).is_ok();
                self.upgrade(Step::Appended(written));
            }
            Action::Finish(offer) => {
                let received = self.store.finish(&offer);
                self.upgrade(Step::Finished(received));
            }
            Action::Tell(offset) => {
                let line: AgentLine = self.report.offset(offset);
                self.say(Link::Endpoint, &line);
            }
            Action::Refuse(field) => self.report.bad(BadField::from(FieldError {
                line: "UPGRADE",
                field,
                fault: Fault::Wrong,
            })),
            Action::Begin => self.begin_trial(),
            Action::End => {
                if let Some(trial) = &mut self.trial {
                    trial.end();
                }
            }
            Action::Kill => {
                if let Some(trial) = self.trial.take() {
                    trial.kill();
                }
            }
            Action::Install => {
                let installed = self.store.install();
                if let Err(error) = &installed {
                    self.note(Level::Error, format_args!("the new agent: {error}"));
                }
                self.upgrade(Step::Installed(installed.is_ok()));
            }
            Action::TakeBack(version, why) => {
                self.store.take_back();
                self.report.rolled_back = Some(version);
                let what = format!("agent {version} is taken back: {why}");
                if self.machine.reports() {
                    self.note(Level::Error, format_args!("{what}"));
                } else {
                    super::console(Level::Error, format_args!("{what}"));
                    self.taken_back = Some(what);
                }
            }
            Action::Postpone => self.store.postpone(),
            Action::Resume => {
                // What could not be kept, or cannot be read, is known here alone.
                let read = self.places.settings(&self.local).ok();
                let settings = read.filter(|_| self.kept);
                let settings = settings.unwrap_or_else(|| self.machine.settings().clone());
                self.turn_machine(Event::Resume(Box::new(settings)));
            }
            Action::Exit => {
                (self.replaced, self.over) = (true, true);
                if let Some(watchdog) = self.watchdog.take() {
                    watchdog.disarm();
                }
            }
            Action::Note(level, text) => self.note(level, format_args!("{text}")),
        }
    }

    fn begin_trial(&mut self) {
        self.turn_machine(Event::Pause);
        let program = self.store.new_agent();
        let started = self
            .store
            .begin()
            .and_then(|()| Trial::start(&program, &self.places, self.inputs.clone()));
        let begun = match started {
            Ok(trial) => {
                self.trial = Some(trial);
                true
            }
            Err(error) => {
                self.note(Level::Error, format_args!("the new agent: {error}"));
                false
            }
        };
        self.upgrade(Step::Begun(begun));
    }

    pub(super) fn turn_machine(&mut self, event: Event) {
        let actions = self.machine.step(self.moments.now(), event);
        self.perform(actions);
    }

    /// The agent ends in the middle of a trial, on purpose.
    pub(super) fn leave_trial(&mut self) {
        if let Some(mut trial) = self.trial.take() {
            if self.hang_up && !self.machine.reboots() {
                trial.hang_up();
            }
            trial.kill();
            self.store.postpone();
        }
    }
}
