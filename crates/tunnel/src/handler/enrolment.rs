//! An enrolment session (rule S3): one channel, one `ENROLL`, no forward, inside the strangers' seats and their 20 s.
//!
//! The key is proved, and is nobody's yet: for admission it stays a stranger, and a wrong token is a failed authentication.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use moorline_base::{Untrusted, clock};
use moorline_control::{AgentLine, Id, Role, ServerLine};
use moorline_core::port::{EnrollAsked, EnrollError, Enrolment, TunnelEvents};
use moorline_core::{Masked, PublicKey};
use russh::server::Session as Ssh;
use russh::{ChannelId, Error};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::CameraHandler;
use crate::closed::Closed;
use crate::control::{self, Lines};
use crate::metrics::{EnrolmentEnd, RequestRefused};
use crate::server::Inner;
use crate::session::Session;

/// The SSH user of strangers that hold a token.
pub(super) const USER: &str = "enroll";
/// The port's own deadline.
const DEADLINE: Duration = Duration::from_secs(10);

/// A stranger that proved its key as [`USER`].
pub(super) struct Enrolling {
    key: PublicKey,
    with: Arc<dyn Enrolment>,
    talk: Option<Talk>,
}

/// Its channel, until its one `ENROLL`.
struct Talk {
    channel: ChannelId,
    lines: Lines,
    say: mpsc::Sender<Bytes>,
    written: JoinHandle<()>,
}

impl Enrolling {
    pub(super) fn new(key: PublicKey, with: Arc<dyn Enrolment>) -> Self {
        Enrolling {
            key,
            with,
            talk: None,
        }
    }

    pub(super) fn is_on(&self, channel: ChannelId) -> bool {
        self.talk
            .as_ref()
            .is_some_and(|talk| talk.channel == channel)
    }
}

impl CameraHandler {
    /// Shell or exec of an enrolment session: the hello.
    pub(super) fn open_enrolment(
        &mut self,
        channel: ChannelId,
        ssh: &mut Ssh,
    ) -> Result<(), Error> {
        let writer = match self.peers.get_mut(&channel) {
            Some(writer)
                if self
                    .enrolling
                    .as_ref()
                    .is_some_and(|enrolling| enrolling.talk.is_none()) =>
            {
                writer.take()
            }
            _ => None,
        };
        let (Some(writer), Some(enrolling)) = (writer, &mut self.enrolling) else {
            return self.refuse_on(RequestRefused::SecondCommand, channel, ssh);
        };
        ssh.channel_success(channel)?;
        let (say, lines) = mpsc::channel(control::LINES);
        let ended = self.session.kill.clone();
        let written = self
            .inner
            .tracker
            .spawn(control::write_lines(writer, lines, ended));
        let hello = ServerLine::Hello {
            role: Role::Enroll,
            id: None,
        };
        let _ = say.try_send(line(&hello));
        enrolling.talk = Some(Talk {
            channel,
            lines: Lines::default(),
            say,
            written,
        });
        Ok(())
    }

    /// What comes on it. The first `ENROLL` is asked of the port, in a task of its own (P7); nothing after it counts.
    pub(super) fn take_enrolment(&mut self, data: &[u8]) {
        let Some(enrolling) = &mut self.enrolling else {
            return;
        };
        let Some(talk) = &mut enrolling.talk else {
            return;
        };
        let mut asked = None;
        let too_long = talk.lines.push(data, |line| {
            if let (None, Ok(AgentLine::Enroll { token, model, mac })) =
                (&asked, AgentLine::parse(line))
            {
                asked = Some((token, model, mac));
            }
        });
        if too_long > 0 {
            self.inner.metrics.lines_dropped("too_long", too_long);
        }
        let (Some((token, model, mac)), Some(talk)) = (asked, enrolling.talk.take()) else {
            return;
        };
        let asked = EnrollAsked {
            token: Masked::new(token.expose().to_owned()),
            key: enrolling.key.clone(),
            model: model.to_string(),
            mac: mac.to_string(),
            peer: self.session.peer,
        };
        let (inner, session) = (Arc::clone(&self.inner), Arc::clone(&self.session));
        let deciding = Deciding {
            with: Arc::clone(&enrolling.with),
            events: Arc::clone(&self.monitor.events),
            session,
            inner,
        };
        self.inner.tracker.spawn(deciding.run(asked, talk));
    }
}

fn line(line: &ServerLine) -> Bytes {
    Bytes::from(format!("{line}\n"))
}

/// What a decision needs beside the question.
struct Deciding {
    inner: Arc<Inner>,
    session: Arc<Session>,
    with: Arc<dyn Enrolment>,
    events: Arc<dyn TunnelEvents>,
}

impl Deciding {
    /// Spends the token, answers, and ends the session: the camera calls again as what it is now.
    async fn run(self, asked: EnrollAsked, talk: Talk) {
        let Deciding {
            inner,
            session,
            with,
            events,
        } = self;
        let (key, model) = (asked.key.fingerprint(), Untrusted::new(asked.model.clone()));
        let peer = session.peer;
        let deciding = clock::timeout(&*inner.clock, DEADLINE, with.enroll(asked));
        let (outcome, closed) = match deciding.await {
            Ok(Ok(camera)) => {
                tracing::info!(%camera, %peer, %key, %model, "camera enrolled");
                if let Some(id) = Id::new(&camera.to_string()) {
                    let _ = talk.say.try_send(line(&ServerLine::Enrolled(id)));
                }
                (EnrolmentEnd::Enrolled, Closed::Enrolled)
            }
            Ok(Err(EnrollError::Spent { camera })) => {
                tracing::warn!(%peer, %key, %model, ?camera, "an enrolment token was used by a second key: whoever has it should not");
                if let Some(camera) = camera {
                    events.token_spent(&camera, peer, session.client());
                }
                (EnrolmentEnd::Spent, Closed::EnrolmentRefused)
            }
            Ok(Err(error @ (EnrollError::Refused(_) | EnrollError::Camera(_)))) => {
                tracing::info!(%peer, %key, %model, %error, "enrolment refused");
                (EnrolmentEnd::Refused, Closed::EnrolmentRefused)
            }
            Ok(Err(EnrollError::Port(error))) => {
                tracing::warn!(%peer, %error, "enrolment failed");
                (EnrolmentEnd::Failed, Closed::Enrolled)
            }
            Err(_) => {
                tracing::warn!(%peer, "enrolment was not decided in time");
                (EnrolmentEnd::Failed, Closed::Enrolled)
            }
        };
        inner.metrics.enrolment(outcome);
        // Nothing is said to whom is refused. What was said is written before the goodbye.
        drop(talk.say);
        let _ = clock::timeout(&*inner.clock, DEADLINE, talk.written).await;
        session.end_politely(closed);
    }
}
