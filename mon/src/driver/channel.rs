//! MOORLINE/1 on the monitor's channels of this camera's sessions: every session is greeted and pinged, also one without a tunnel.

use std::sync::Arc;

use moorline_core::SessionId;
use moorline_core::lifecycle::{EndReason, Event, Link};
use moorline_core::port::AgentRelease;

use super::{By, Driver};
use crate::conversation::{Conversation, Outcome};

impl Driver {
    /// A session opened its monitor's channel: hello and the time.
    pub(super) fn channel_opened(&mut self, session: SessionId) {
        let now = self.shared.clock.monotonic();
        let unix = u64::try_from(self.shared.clock.wall_ms() / 1_000).unwrap_or(0);
        let streampoint = self.camera.streampoint.as_ref();
        let (talk, lines) = Conversation::open(&self.camera.id, streampoint, unix, now);
        self.talks.insert(session, talk);
        for line in lines {
            self.ports.control.send(session, &line.to_string());
        }
    }

    /// The camera said a line.
    pub(super) fn channel_line(&mut self, session: SessionId, line: &[u8]) {
        let now = self.shared.clock.monotonic();
        let Some(talk) = self.talks.get_mut(&session) else {
            return;
        };
        let outcome = talk.line(line, now);
        self.send_parts(session);
        if outcome == Outcome::Bye {
            self.bye(session);
        }
    }

    fn bye(&mut self, session: SessionId) {
        tracing::info!(%session, "the camera says BYE");
        let generation = self
            .tunnels
            .get(&session)
            .and_then(|tunnel| tunnel.generation);
        match generation {
            Some(generation) => self.hung_up(generation, By::Camera),
            None => {
                if self.claiming.waiting == Some(session) {
                    self.claiming.waiting = None;
                }
                if self.tunnels.contains_key(&session) && self.table.link() == Link::Absent {
                    self.hung_up = Some(By::Camera);
                }
                self.end_session(session, EndReason::HungUp);
            }
        }
    }

    /// PINGs that are due; sessions that fell silent count as lost.
    pub(super) fn conversations_due(&mut self) {
        let now = self.shared.clock.monotonic();
        let unix = u64::try_from(self.shared.clock.wall_ms() / 1_000).unwrap_or(0);
        let mut silent = Vec::new();
        for (session, talk) in &mut self.talks {
            let (outcome, lines) = talk.tick(unix, now);
            if outcome == Outcome::Silent {
                silent.push(*session);
            }
            for line in lines {
                self.ports.control.send(*session, &line.to_string());
            }
        }
        for session in silent {
            tracing::warn!(%session, "the camera stopped answering PING: lost");
            self.talks.remove(&session);
            self.count_as_lost(session);
        }
    }

    /// The owner sends the stream elsewhere, or has it back. A session that has heard another role must begin anew; one that knows that its
    /// stream goes elsewhere only hears where.
    pub(super) fn streampoint_changed(&mut self, was: bool) {
        let Some(streampoint) = &self.camera.streampoint else {
            self.end_channels(EndReason::HungUp);
            return;
        };
        if !was {
            self.hang_up("its stream is sent to another server");
            self.end_channels(EndReason::HungUp);
            return;
        }
        let Some(line) = crate::conversation::refer(streampoint) else {
            return;
        };
        for session in self.talks.keys() {
            let sent = self.ports.control.send(*session, &line.to_string());
            tracing::info!(%session, sent, "the camera's stream is sent to another server");
        }
    }

    /// The session whose agent is spoken to: the one that serves, or the newest.
    fn spoken_to(&self) -> Option<SessionId> {
        match self.table.link() {
            Link::Up { session, .. } if self.talks.contains_key(&session) => Some(session),
            _ => self.talks.keys().next_back().copied(),
        }
    }

    /// The operator says a line to the agent.
    pub(super) fn tell(&mut self, line: &str) {
        if let Some(session) = self.spoken_to() {
            let word = line.split(' ').next().unwrap_or_default();
            if let Some(talk) = self.talks.get_mut(&session) {
                talk.told(line);
            }
            let sent = self.ports.control.send(session, line);
            tracing::info!(%session, word, sent, "said to the camera's agent");
        }
    }

    /// A release is offered to the agent.
    pub(super) fn offer(&mut self, release: &Arc<AgentRelease>) {
        let Some(session) = self.spoken_to() else {
            return;
        };
        let line = self
            .talks
            .get_mut(&session)
            .and_then(|talk| talk.offer(release));
        if let Some(line) = line {
            let sent = self.ports.control.send(session, &line.to_string());
            tracing::info!(%session, version = release.version, sent, "an upgrade is offered to the camera's agent");
        }
    }

    /// Parts that may go. A full channel stops them until the agent speaks again, or the next PING.
    fn send_parts(&mut self, session: SessionId) {
        let control = &self.ports.control;
        if let Some(talk) = self.talks.get_mut(&session) {
            talk.parts(|part| control.send(session, &part.to_string()));
        }
    }

    /// The operator asks what is wrong: the camera walks the chain.
    pub(super) fn diagnose(&mut self) {
        let now = self.shared.clock.monotonic();
        let unix = u64::try_from(self.shared.clock.wall_ms() / 1_000).unwrap_or(0);
        let Some(session) = self.spoken_to() else {
            return;
        };
        let line = self
            .talks
            .get_mut(&session)
            .and_then(|talk| talk.diagnose(unix, now));
        if let Some(line) = line {
            self.ports.control.send(session, &line.to_string());
        }
    }

    /// What the page shows of the session that serves, or of the newest one.
    pub(super) fn said(&self) -> Vec<(String, String)> {
        let serving = match self.table.link() {
            Link::Up { session, .. } => self.talks.get(&session),
            _ => None,
        };
        let talk = serving.or_else(|| self.talks.values().next_back());
        talk.map(Conversation::said).unwrap_or_default()
    }

    /// A session that served or waited is gone although its connection may still look alive.
    fn count_as_lost(&mut self, session: SessionId) {
        let generation = self
            .tunnels
            .get(&session)
            .and_then(|tunnel| tunnel.generation);
        if self.claiming.waiting == Some(session) {
            self.claiming.waiting = None;
        }
        self.end_session(session, EndReason::Silent);
        if let Some(generation) = generation {
            self.step(Event::Lost { generation });
        }
    }
}
