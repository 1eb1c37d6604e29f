//! The session's state, its way in and out, authentication and its clock.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::config::{
    DescribeRequest, Description, PlayInfo, ServerConfig, ServerEnd, ServerEvent, SetUpTrack,
};
use crate::auth::{AuthAttempt, Ha1, ServerAuth};
use crate::interleaved::{Item, StrictDemux, StrictError};
use crate::message::{Message, Request, Response};
use crate::url::Target;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Init,
    Ready,
    Playing,
    Closed,
}

/// What the caller owes an answer to.
#[derive(Debug)]
pub(super) enum Waiting {
    Secret(Request, AuthAttempt),
    Describe(Request, Target),
    Play(Request),
}

/// Serves one connection. See the module's documentation.
#[derive(Debug)]
pub struct ServerSession {
    pub(super) config: ServerConfig,
    pub(super) auth: ServerAuth,
    pub(super) state: State,
    input: BytesMut,
    pub(super) output: BytesMut,
    pub(super) events: VecDeque<ServerEvent>,
    demux: StrictDemux,
    pub(super) waiting: Option<Waiting>,
    user: Option<(String, Ha1)>,
    failures: u8,
    pub(super) described: Option<Described>,
    pub(super) tracks: Vec<SetUpTrack>,
    started: Duration,
    /// The last sign of life.
    seen: Duration,
    /// Media was sent for so long since then.
    flowing: Duration,
    last_sent: Option<Duration>,
}

/// What the reader was told.
#[derive(Debug)]
pub(super) struct Described {
    pub(super) path: String,
    pub(super) base: String,
    pub(super) tracks: Vec<Option<u32>>,
}

/// Requests wait while this much of the answers has not been written.
const MAX_OUTPUT: usize = 64 * 1024;
/// The caller stops reading at this, while an answer of its own is awaited. A message has at most 32 KiB.
const MAX_INPUT: usize = 64 * 1024;
/// Wrong passwords of one connection.
const MAX_FAILURES: u8 = 5;
/// Beyond the timeout, before a silent reader is closed: clients keep alive at its half or late.
const SLACK: Duration = Duration::from_secs(15);
/// A longer pause between two sends is no flow: the reader had nothing to be alive for.
const FLOW_PAUSE: Duration = Duration::from_secs(5);

impl ServerSession {
    /// A session of a connection that was just accepted.
    #[must_use]
    pub fn new(config: ServerConfig, now: Duration) -> Self {
        let auth = ServerAuth::new(config.realm.clone(), config.nonce.clone(), config.basic);
        Self {
            config,
            auth,
            state: State::Init,
            input: BytesMut::new(),
            output: BytesMut::new(),
            events: VecDeque::new(),
            demux: StrictDemux::default(),
            waiting: None,
            user: None,
            failures: 0,
            described: None,
            tracks: Vec::new(),
            started: now,
            seen: now,
            flowing: Duration::ZERO,
            last_sent: None,
        }
    }

    /// Where the caller appends what it reads, while [`Self::wants_read`].
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.input
    }

    /// Whether more bytes may be read: not while answers pile up.
    #[must_use]
    pub fn wants_read(&self) -> bool {
        self.state != State::Closed
            && self.input.len() < MAX_INPUT
            && self.output.len() < MAX_OUTPUT
    }

    /// What is to be written, whole messages only, and is then forgotten here.
    pub fn take_output(&mut self) -> Bytes {
        if self.output.is_empty() {
            return Bytes::new();
        }
        self.output.split().freeze()
    }

    /// Who has authenticated.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_ref().map(|(user, _)| user.as_str())
    }

    /// Whether media may be sent.
    #[must_use]
    pub fn is_playing(&self) -> bool {
        self.state == State::Playing
    }

    /// When [`Self::on_time`] wants to be called.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        match self.state {
            State::Closed => None,
            _ if !self.is_known() => Some(self.started + self.config.login_timeout),
            State::Init | State::Ready if self.waiting.is_none() && !self.config.trusted => {
                Some(self.seen + self.config.timeout + SLACK)
            }
            _ => None,
        }
    }

    /// Does what is due.
    pub fn on_time(&mut self, now: Duration) {
        if self.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.close(if self.is_known() {
                ServerEnd::Idle
            } else {
                ServerEnd::LoginTimeout
            });
        }
    }

    /// The connection ended.
    pub fn on_end(&mut self) {
        if self.state != State::Closed {
            self.close(ServerEnd::PeerClosed);
        }
    }

    /// Media was sent. The timer of a playing reader runs only while it is: ffmpeg sends keepalives only while packets flow.
    pub fn media_sent(&mut self, now: Duration) {
        if let Some(before) = self.last_sent.replace(now) {
            let pause = now.saturating_sub(before);
            if pause <= FLOW_PAUSE {
                self.flowing += pause;
            }
        }
        if self.state == State::Playing
            && !self.config.trusted
            && self.flowing > self.config.timeout + SLACK
        {
            self.close(ServerEnd::Idle);
        }
    }

    /// The next event, out of what is buffered. Call until `None`, after each read and after each answer.
    pub fn poll(&mut self, now: Duration) -> Option<ServerEvent> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            if self.state == State::Closed
                || self.waiting.is_some()
                || self.output.len() >= MAX_OUTPUT
            {
                return None;
            }
            match self.demux.next(&mut self.input) {
                Ok(None) => return None,
                Ok(Some(Item::Message(Message::Request(request)))) => {
                    self.sign_of_life(now);
                    self.request(request);
                }
                // We ask nothing of readers.
                Ok(Some(Item::Message(Message::Response(_)))) => {}
                Ok(Some(Item::Frame(channel, packet))) => self.frame(channel, packet, now),
                Err(error) => {
                    if let StrictError::Message(error) = &error {
                        self.respond_plain(error.status());
                    }
                    self.close(ServerEnd::Garbage(error));
                }
            }
        }
    }

    fn frame(&mut self, channel: u8, packet: Bytes, now: Duration) {
        // RTP from a reader (a hole punch, a backchannel that was not granted) is nothing.
        if let Some(track) = self.tracks.iter().find(|track| track.rtcp == channel) {
            let track = track.track;
            self.sign_of_life(now);
            self.events.push_back(ServerEvent::Rtcp { track, packet });
        }
    }

    fn sign_of_life(&mut self, now: Duration) {
        self.seen = now;
        self.flowing = Duration::ZERO;
    }

    fn is_known(&self) -> bool {
        self.config.trusted || self.user.is_some()
    }

    pub(super) fn close(&mut self, end: ServerEnd) {
        self.state = State::Closed;
        self.waiting = None;
        self.input.clear();
        self.events.push_back(ServerEvent::Closed(end));
    }

    /// Authenticates a request, then goes on with it.
    pub(super) fn authenticate(&mut self, request: Request) {
        if self.config.trusted {
            self.authenticated(request);
            return;
        }
        let attempt = request.headers.get("Authorization").and_then(|value| {
            self.auth
                .attempt(value, request.method.as_str(), &request.uri)
        });
        let Some(attempt) = attempt else {
            self.unauthorized(&request);
            return;
        };
        match &self.user {
            Some((user, ha1)) if user == attempt.user() => {
                if attempt.verify(ha1) {
                    self.authenticated(request);
                } else {
                    self.failed(&request, &attempt);
                }
            }
            // One connection, one user, once something is set up.
            Some(_) if self.state != State::Init => self.respond(&request, Response::new(403)),
            _ => {
                self.events.push_back(ServerEvent::Authenticate {
                    user: attempt.user().to_owned(),
                });
                self.waiting = Some(Waiting::Secret(request, attempt));
            }
        }
    }

    /// The answer to [`ServerEvent::Authenticate`]: the user's HA1, or `None` for an unknown one. Where the login is right, `admit` says whether
    /// there is room for one more connection of this user: if not, the request is answered by 503 and the session ends. Ignored if nothing
    /// waits for it.
    pub fn secret(&mut self, secret: Option<Ha1>, admit: impl FnOnce() -> bool) {
        match self.waiting.take() {
            Some(Waiting::Secret(request, attempt)) => {
                // An unknown user costs the same computation (S11).
                let right = attempt.verify(&secret.unwrap_or(Ha1::from_bytes([0; 16])));
                match secret.filter(|_| right) {
                    Some(ha1) => {
                        if admit() {
                            self.user = Some((attempt.user().to_owned(), ha1));
                            self.authenticated(request);
                        } else {
                            self.crowded(&request);
                        }
                    }
                    None => self.failed(&request, &attempt),
                }
            }
            other => self.waiting = other,
        }
    }

    fn crowded(&mut self, request: &Request) {
        let mut response = Response::new(503)
            .header("Retry-After", "5")
            .header("Connection", "close")
            .header("Content-Type", "text/plain");
        response.body =
            "this user has as many connections open as are allowed: close one\r\n".into();
        self.respond(request, response);
        self.close(ServerEnd::TooManyConnections);
    }

    fn failed(&mut self, request: &Request, attempt: &AuthAttempt) {
        self.failures += 1;
        self.events.push_back(ServerEvent::LoginFailed {
            user: attempt.user().to_owned(),
        });
        self.unauthorized(request);
        if self.failures >= MAX_FAILURES {
            self.close(ServerEnd::TooManyFailures);
        }
    }

    fn unauthorized(&mut self, request: &Request) {
        let mut response = Response::new(401);
        for challenge in self.auth.challenges() {
            response.headers.push("WWW-Authenticate", &challenge);
        }
        self.respond(request, response);
    }

    /// The answer to [`ServerEvent::Describe`]. Ignored if nothing waits for it.
    pub fn describe(&mut self, description: Description) {
        match self.waiting.take() {
            Some(Waiting::Describe(request, target)) => {
                self.described(&request, &target, description)
            }
            other => self.waiting = other,
        }
    }

    /// The answer to [`ServerEvent::Play`]: the first packets, as far as they are known (the header is left out otherwise). Ignored if nothing
    /// waits for it. Media may be sent behind what is now in the output.
    pub fn play(&mut self, infos: &[PlayInfo], now: Duration) {
        match self.waiting.take() {
            Some(Waiting::Play(request)) => {
                self.last_sent = None;
                self.sign_of_life(now);
                self.played(&request, infos);
            }
            other => self.waiting = other,
        }
    }

    /// Refuses what waits: 404, 453 (limits), 503 (not ready, with `Retry-After` in seconds). Ignored if nothing waits.
    pub fn reject(&mut self, status: u16, retry_after: Option<u32>) {
        let (Some(Waiting::Describe(request, _)) | Some(Waiting::Play(request))) = self
            .waiting
            .take_if(|waiting| !matches!(waiting, Waiting::Secret(..)))
        else {
            return;
        };
        let mut response = Response::new(status);
        if let Some(seconds) = retry_after {
            response.headers.push("Retry-After", &seconds.to_string());
        }
        self.respond(&request, response);
    }

    pub(super) fn ask_description(&mut self, request: Request, target: Target) {
        let event = DescribeRequest {
            base: target.base(&self.config.fallback_base),
            target: target.clone(),
            user: self.user().map(str::to_owned),
            user_agent: request.headers.get("User-Agent").map(str::to_owned),
        };
        self.events.push_back(ServerEvent::Describe(event));
        self.waiting = Some(Waiting::Describe(request, target));
    }
}
