//! Calling the endpoints one after another, and being enrolled.

use std::time::Duration;

use moorline_control::{Id, Level, Reason, Role};

use super::leg::Stage;
use super::{Action, Dial, Forwards, HELD, Key, Link, Machine};
use crate::endpoint::Endpoint;
use crate::enroll::{self, Enroll};
use crate::settings::Trust;

/// After so many failures in a row the next server has its turn.
const TRIES: u32 = 2;

/// A server to call, and who named it.
pub(super) type Call = (Endpoint, Trust);

/// Whether two calls lead to one server, perhaps at different ports.
fn is_one_server((one, by): &Call, (other, other_s): &Call) -> bool {
    (&one.user, &one.host, &one.keys, by) == (&other.user, &other.host, &other.keys, other_s)
}

impl Machine {
    /// Where to call, in order: whom the server set, then who enrolled the camera; before that, who may enrol it.
    pub(super) fn calls(&self) -> Vec<Call> {
        if self.is_camera() {
            return self.settings.calls();
        }
        enroll::calls(&self.enrolls)
    }

    /// Of the files `enroll` that name the server which was called the one whose token has its turn.
    fn enroll(&self) -> Option<&Enroll> {
        let called = self.called.as_ref()?;
        let mut all: Vec<&Enroll> = Vec::new();
        for enroll in &self.enrolls {
            if enroll.calls().contains(called) {
                all.push(enroll);
            }
        }
        let turn = self.refused.checked_rem(all.len())?;
        all.get(turn).copied()
    }

    pub(super) fn enroll_seen(
        &mut self,
        now: Duration,
        enrolls: Vec<Enroll>,
        out: &mut Vec<Action>,
    ) {
        if self.settings.camera.is_some() {
            // Whoever can put a card into the camera must not be able to move it to another server (S3).
            let what = "a file enroll is there and ignored: this camera is enrolled";
            out.push(Action::Note(Level::Warn, what.into()));
        } else if self.enrolls != enrolls && !self.endpoint.is_up() {
            self.enrolls = enrolls;
            (self.place, self.failures, self.refused) = (0, 0, 0);
            if !self.endpoint.runs() {
                self.endpoint.wait(now);
            }
        }
    }

    pub(super) fn pass_endpoint(&mut self, now: Duration, out: &mut Vec<Action>) {
        if self.key != Key::There {
            return;
        }
        match self.endpoint.stage {
            Stage::Idle => self.dial_endpoint(now, out),
            Stage::Waiting { until } if now >= until => self.dial_endpoint(now, out),
            Stage::Dialling { until, .. } if now >= until => {
                out.push(Action::Kill(Link::Endpoint));
                self.endpoint_lost(now, Reason::Hello, out);
            }
            Stage::Up { until, .. } if now >= until => {
                out.push(Action::Kill(Link::Endpoint));
                self.endpoint_lost(now, Reason::Ping, out);
            }
            _ => {}
        }
    }

    fn dial_endpoint(&mut self, now: Duration, out: &mut Vec<Action>) {
        let calls = self.calls();
        let place = self.place.checked_rem(calls.len());
        let Some(call) = place.and_then(|place| calls.get(place).cloned()) else {
            self.endpoint.stage = Stage::Idle;
            return;
        };
        let serial = self.next_serial();
        let turn = self.endpoint.dial(now, serial, &call, &calls);
        let (endpoint, trust) = call;
        self.called = Some(endpoint.clone());
        let forwards = match (&self.settings.camera, self.fixed.http) {
            (None, _) => Forwards::None,
            (Some(_), false) => Forwards::Rtsp,
            (Some(_), true) => Forwards::RtspAndHttp,
        };
        out.push(Action::Dial(Dial {
            link: Link::Endpoint,
            serial,
            pins: endpoint.pins(turn.pin),
            endpoint,
            trust,
            key: turn.key,
            address: turn.address,
            forwards,
            private: trust == Trust::Owner || self.may_be_private(),
        }));
    }

    pub(super) fn endpoint_lost(&mut self, now: Duration, reason: Reason, out: &mut Vec<Action>) {
        self.endpoint.ended(reason);
        self.last_end = Some(reason);
        let held = self.endpoint.held(now);
        let enrolled_now = self.endpoint.role() == Some(Role::Enroll) && self.is_camera();
        let what = format!("session with the endpoint ended: {reason}");
        out.push(Action::Note(Level::Info, what));
        if let Some(referral) = &mut self.referral {
            referral.endpoint_lost(now);
        }
        let wait = if enrolled_now {
            // Not a failure: it is called again as the camera that it is now.
            (self.place, self.failures) = (0, 0);
            self.endpoint.backoff.reset();
            Duration::ZERO
        } else {
            if held.is_some_and(|held| held >= HELD) {
                self.endpoint.backoff.reset();
                (self.place, self.failures) = (self.first_place(), 0);
            } else {
                if self.endpoint.role() == Some(Role::Enroll) {
                    // Its token was not taken.
                    self.refused = self.refused.wrapping_add(1);
                }
                self.failures = (self.failures + 1) % TRIES;
                self.place = self.next_place(self.failures > 0);
            }
            self.endpoint.backoff.after_failure(self.dice.roll())
        };
        self.endpoint.wait(now + wait);
    }

    /// Where to begin after a session that held: at the first server of the list; at the port of it that held, since another one may lead nowhere.
    fn first_place(&self) -> usize {
        let calls = self.calls();
        let held = self.endpoint.place(&calls).unwrap_or(0);
        let same = |(first, _): &Call, (last, _): &Call| {
            (&first.host, &first.user) == (&last.host, &last.user)
                && first.keys.iter().any(|key| last.keys.contains(key))
        };
        match (calls.first(), calls.get(held)) {
            (Some(first), Some(last)) if same(first, last) => held,
            _ => 0,
        }
    }

    /// Where to go on after a failure: at the same server once more, then at the next one; of its ports at the one that was called longest ago.
    fn next_place(&self, again: bool) -> usize {
        let calls = self.calls();
        let mut servers: Vec<&Call> = Vec::new();
        for call in &calls {
            if !servers.iter().any(|server| is_one_server(server, call)) {
                servers.push(call);
            }
        }
        let last = self.place.checked_rem(calls.len());
        let last = last.and_then(|last| calls.get(last));
        let last = last.and_then(|last| servers.iter().position(|one| is_one_server(one, last)));
        let next = last.map_or(0, |last| last + usize::from(!again));
        let next = next.checked_rem(servers.len());
        let Some(server) = next.and_then(|next| servers.get(next)) else {
            return 0;
        };
        let mut longest: Option<(usize, usize)> = None;
        for (place, call) in calls.iter().enumerate() {
            if is_one_server(server, call) {
                let since = self.endpoint.since(call);
                if longest.is_none_or(|(_, known)| since > known) {
                    longest = Some((place, since));
                }
            }
        }
        longest.map_or(0, |(place, _)| place)
    }

    /// Whether servers may name private addresses.
    pub(super) fn may_be_private(&self) -> bool {
        self.private || self.settings.is_private()
    }

    fn is_camera(&self) -> bool {
        self.settings.camera.is_some()
    }

    /// The hello came on the endpoint's session.
    pub(super) fn endpoint_hello(&mut self, now: Duration, role: Role, out: &mut Vec<Action>) {
        let wants = !self.is_camera();
        if wants != (role == Role::Enroll) || role == Role::Streampoint {
            let what = format!("the endpoint says that it is {role}: not what was called");
            out.push(Action::Note(Level::Error, what));
            out.push(Action::Kill(Link::Endpoint));
            self.endpoint_lost(now, Reason::Exit, out);
            return;
        }
        self.endpoint.hello(now, role);
        self.last_end = None;
        if role == Role::Enroll {
            let lines = self.enroll().map(|enroll| {
                let line = moorline_control::AgentLine::Enroll {
                    token: enroll.token.clone(),
                    model: self.fixed.model.clone(),
                    mac: self.fixed.mac,
                };
                Action::Say(Link::Endpoint, line)
            });
            out.extend(lines);
            return;
        }
        // The pin has held: this is the owner's endpoint, and where it lies is known now (S7). Not kept: its name may have been poisoned.
        if self.endpoint.is_owner_s() {
            self.private = self.endpoint.private;
        }
        if role == Role::Both && self.referral.take().is_some() {
            // It takes the stream itself again.
            out.push(Action::Kill(Link::Streampoint));
            self.streampoint.stage = Stage::Idle;
        }
        if let Some(referral) = &mut self.referral {
            referral.endpoint_back();
        }
        out.push(Action::Greet);
    }

    /// `ENROLLED`: from now on it is this camera.
    pub(super) fn enrolled(&mut self, camera: Id, out: &mut Vec<Action>) {
        let enrolled = self.enroll().map(|enroll| enroll.as_camera(&camera));
        let Some(enrolled) = enrolled else {
            return;
        };
        if self.endpoint.role() != Some(Role::Enroll) || self.is_camera() {
            return;
        }
        self.settings.enrolled = enrolled;
        self.settings.private = self.endpoint.private;
        out.push(Action::Note(Level::Info, format!("enrolled as {camera}")));
        self.settings.camera = Some(camera);
        self.enrolls.clear();
        // In this order: a power cut between them leaves a token that is spent, not a camera without a name.
        out.push(Action::Keep(Box::new(self.settings.clone())));
        out.push(Action::WipeToken);
    }
}
