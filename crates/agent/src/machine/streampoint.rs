//! A second session, with the server that REFER named, beside the endpoint's.

use std::time::Duration;

use moorline_control::{AgentLine, Level, MAX_TTL_SECONDS, Reason, Role, Target, UpState};

use super::leg::Stage;
use super::{Action, Dial, Forwards, HELD, Link, Machine};
use crate::endpoint::Endpoint;
use crate::settings::Trust;

/// Where the camera was sent.
#[derive(Debug)]
pub(super) struct Referral {
    target: Target,
    /// When it ends, while the endpoint is away.
    ends: Option<Duration>,
}

impl Referral {
    pub(super) fn ends(&self) -> Option<Duration> {
        self.ends
    }

    /// The endpoint is away: from now on the ttl runs.
    pub(super) fn endpoint_lost(&mut self, now: Duration) {
        let ttl = self.target.ttl.unwrap_or(MAX_TTL_SECONDS);
        let end = now + Duration::from_secs(ttl.into());
        self.ends.get_or_insert(end);
    }

    pub(super) fn endpoint_back(&mut self) {
        self.ends = None;
    }
}

impl Machine {
    /// `REFER`: go there. The same place again is an answer to a loss, and dialled at once.
    pub(super) fn refer(&mut self, now: Duration, target: Target, out: &mut Vec<Action>) {
        let same = self
            .referral
            .as_ref()
            .is_some_and(|referral| Endpoint::from(&referral.target) == Endpoint::from(&target));
        self.referral = Some(Referral { target, ends: None });
        if same && self.streampoint.runs() {
            return;
        }
        if self.streampoint.runs() {
            out.push(Action::Kill(Link::Streampoint));
        }
        if !same {
            self.streampoint.backoff.reset();
        }
        self.streampoint.wait(now);
    }

    pub(super) fn pass_streampoint(&mut self, now: Duration, out: &mut Vec<Action>) {
        if self
            .referral
            .as_ref()
            .is_some_and(|referral| referral.ends.is_some_and(|ends| now >= ends))
        {
            let what = "the referral's time is over and the endpoint is away";
            out.push(Action::Note(Level::Warn, what.into()));
            out.push(Action::Kill(Link::Streampoint));
            self.referral = None;
            self.streampoint.stage = Stage::Idle;
        }
        match self.streampoint.stage {
            Stage::Waiting { until } if now >= until => self.dial_streampoint(now, out),
            Stage::Dialling { until, .. } if now >= until => {
                out.push(Action::Kill(Link::Streampoint));
                self.streampoint_lost(now, Reason::Hello, out);
            }
            Stage::Up { until, .. } if now >= until => {
                out.push(Action::Kill(Link::Streampoint));
                self.streampoint_lost(now, Reason::Ping, out);
            }
            _ => {}
        }
    }

    fn dial_streampoint(&mut self, now: Duration, out: &mut Vec<Action>) {
        let Some(endpoint) = self.referred() else {
            self.streampoint.stage = Stage::Idle;
            return;
        };
        let serial = self.next_serial();
        let call = (endpoint.clone(), Trust::Told);
        let all = std::slice::from_ref(&call);
        let turn = self.streampoint.dial(now, serial, &call, all);
        self.say_up_state(UpState::Trying, None, out);
        out.push(Action::Dial(Dial {
            link: Link::Streampoint,
            serial,
            pins: endpoint.pins(turn.pin),
            endpoint,
            trust: Trust::Told,
            key: turn.key,
            address: turn.address,
            forwards: Forwards::RtspOrEnd,
            private: self.may_be_private(),
        }));
    }

    fn referred(&self) -> Option<Endpoint> {
        self.referral
            .as_ref()
            .map(|referral| Endpoint::from(&referral.target))
    }

    pub(super) fn streampoint_hello(&mut self, now: Duration, role: Role, out: &mut Vec<Action>) {
        self.streampoint.hello(now, role);
        self.say_up_state(UpState::Up, None, out);
    }

    pub(super) fn streampoint_lost(
        &mut self,
        now: Duration,
        reason: Reason,
        out: &mut Vec<Action>,
    ) {
        self.streampoint.ended(reason);
        if self.streampoint.held(now).is_some_and(|held| held >= HELD) {
            self.streampoint.backoff.reset();
        }
        // Told at once: an endpoint that knows a better place answers with a REFER, which does not wait.
        self.say_up_state(UpState::Down, Some(reason), out);
        let wait = self.streampoint.backoff.after_failure(self.dice.roll());
        self.streampoint.wait(now + wait);
    }

    fn say_up_state(&mut self, state: UpState, reason: Option<Reason>, out: &mut Vec<Action>) {
        if let Some(referral) = &self.referral
            && self.endpoint.is_up()
        {
            let line = AgentLine::UpState {
                state,
                host: referral.target.host.clone(),
                port: referral.target.port,
                reason,
            };
            out.push(Action::Say(Link::Endpoint, line));
        }
    }
}
