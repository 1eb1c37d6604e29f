//! The task of one reader.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use moorline_base::{CancellationToken, SharedClock, Untrusted};
use moorline_core::port::ByteStream;
use moorline_rtsp::server::{ServerEvent, ServerSession, SetUpTrack};
use tokio::io::{AsyncReadExt as _, ReadHalf};

use super::describe::{Described, Describing, Refusal, Refused, describe};
use super::feed::{Feed, Over};
use super::lane::Lane;
use super::{Desk, End, Environment};
use crate::alarm::Alarm;
use crate::metrics::Reason;
use crate::source::Following;

/// Sender reports to viewers (RFC 3550 §6.2 wants them at least this often).
const REPORTS: Duration = Duration::from_secs(5);
/// The same while a track has brought nothing yet: players put sound and picture together by the first.
const FIRST_REPORTS: Duration = Duration::from_millis(250);
/// What is queued at the end gets so long.
const GOODBYE: Duration = Duration::from_secs(2);
/// Room for requests and receiver reports.
const READ: usize = 2048;

struct Connection {
    session: ServerSession,
    desk: Desk,
    environment: Environment,
    started: Instant,
    lane: Arc<Lane>,
    /// While media is wanted.
    following: Option<Following>,
    describing: Option<Describing>,
    /// What DESCRIBE was asked for, until it is answered.
    base: String,
    described: Option<Described>,
    next_report: Duration,
    end: Option<(End, Duration)>,
}

/// Serves a reader to its end.
pub(crate) async fn serve(
    stream: ByteStream,
    session: ServerSession,
    desk: Desk,
    environment: Environment,
    cancel: CancellationToken,
) {
    let started = environment.clock.monotonic();
    let (reader, writer) = tokio::io::split(stream);
    let mut connection = Connection {
        started,
        lane: Lane::new(writer, started, environment.metrics.clone()),
        following: None,
        session,
        desk,
        environment,
        describing: None,
        base: String::new(),
        described: None,
        next_report: Duration::ZERO,
        end: None,
    };
    let end = connection.run(reader, &cancel).await;
    connection.finish(end);
}

/// Waits for an answer, if one is being looked for.
async fn answered(describing: &mut Option<Describing>) -> Result<Described, Refused> {
    match describing {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn cancelled(token: Option<CancellationToken>) {
    match token {
        Some(token) => token.cancelled().await,
        None => std::future::pending().await,
    }
}

/// Waits until something was written, or nothing waits.
async fn written(lane: &Lane, clock: &SharedClock, started: Instant) {
    poll_fn(|context| {
        let now = clock.monotonic().saturating_duration_since(started);
        match lane.write(now, context) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
}

async fn ended(described: &mut Option<Described>) {
    match described.as_mut().and_then(|held| held.ending.as_mut()) {
        Some(ending) => ending.await,
        None => std::future::pending().await,
    }
}

impl Connection {
    /// The session's clock.
    fn now(&self) -> Duration {
        let now = self.environment.clock.monotonic();
        now.saturating_duration_since(self.started)
    }

    async fn run(&mut self, mut reader: ReadHalf<ByteStream>, cancel: &CancellationToken) -> End {
        let lane = Arc::clone(&self.lane);
        let mut alarm = Alarm::new(self.environment.clock.clone());
        let dismissed = match &self.desk {
            Desk::Public(visitor) => Some(visitor.dismissed()),
            _ => None,
        };
        let mut dismissed = std::pin::pin!(cancelled(dismissed));
        let mut cancelled = std::pin::pin!(cancel.cancelled());
        loop {
            let now = self.now();
            self.take_events(now);
            self.look(now);
            poll_fn(|context| Poll::Ready(lane.write(now, context))).await;
            let (is_done, go_on) = {
                let state = lane.lock();
                let is_behind = state.feed.as_ref().is_some_and(|feed| feed.behind);
                let is_done = state.outbox.is_done();
                (is_done, state.found.broken || (is_done && is_behind))
            };
            if go_on {
                continue;
            }
            if let Some((end, since)) = self.end
                && (is_done || now >= since + GOODBYE)
            {
                return end;
            }
            let due = self.deadline().map(|due| self.started + due);
            alarm.set(due);
            let running = self.end.is_none();
            let wants_read = running && self.session.wants_read();
            if wants_read {
                self.session.buffer().reserve(READ);
            }
            tokio::select! {
                () = &mut dismissed, if running => self.ends(End::Dismissed),
                () = &mut cancelled, if running => self.ends(End::RelayEnded),
                () = ended(&mut self.described), if running => self.ends(End::RelayEnded),
                read = reader.read_buf(self.session.buffer()), if wants_read => match read {
                    Ok(count) if count > 0 => (),
                    _ => self.session.on_end(),
                },
                () = written(&lane, &self.environment.clock, self.started), if !is_done => (),
                answer = answered(&mut self.describing) => self.answer(answer),
                () = lane.called() => (),
                () = alarm.wait() => self.on_time(),
            }
        }
    }

    fn deadline(&self) -> Option<Duration> {
        let state = self.lane.lock();
        let stalled = (!state.outbox.is_done())
            .then(|| state.progress + self.environment.config.stalled_after);
        let reports = state
            .feed
            .as_ref()
            .filter(|feed| !feed.is_archiver())
            .map(|_| self.next_report);
        let goodbye = self.end.map(|(_, since)| since + GOODBYE);
        [self.session.next_deadline(), stalled, reports, goodbye]
            .into_iter()
            .flatten()
            .min()
    }

    fn on_time(&mut self) {
        let now = self.now();
        self.session.on_time(now);
        let stalled_after = self.environment.config.stalled_after;
        let mut guard = self.lane.lock();
        let state = &mut *guard;
        if !state.outbox.is_done() && now >= state.progress + stalled_after {
            state.outbox.clear();
            drop(guard);
            self.ends(End::Stalled);
            return;
        }
        if let Some(feed) = state.feed.as_mut().filter(|feed| !feed.is_archiver())
            && now >= self.next_report
            && self.end.is_none()
        {
            if state.outbox.is_done() {
                state.progress = now;
            }
            let all = feed.report(&mut state.outbox);
            self.next_report = now + if all { REPORTS } else { FIRST_REPORTS };
        }
    }

    /// Answers of the session, then media: both whole, in this order.
    fn look(&mut self, now: Duration) {
        let found = self.lane.look(now, self.session.take_output());
        if let Some(sent) = found.media {
            self.session.media_sent(sent);
        }
        if found.broken {
            self.ends(End::Broken);
        }
        match found.over {
            None => (),
            Some(Over::Boundary) => self.ends(End::Boundary),
            Some(Over::ClockStep) => self.ends(End::ClockStep),
            Some(Over::Layout) => self.ends(End::LayoutChanged),
            Some(Over::Ended) => self.ends(End::RelayEnded),
        }
    }

    /// Says goodbye where somebody is listening; what is queued still goes out.
    fn ends(&mut self, end: End) {
        if self.end.is_some() {
            return;
        }
        self.describing = None;
        let event = match end {
            End::RelayEnded => "end",
            End::ClockStep => "clock_step",
            _ => "boundary",
        };
        let mut state = self.lane.lock();
        if let Some(mut feed) = state.feed.take()
            && !matches!(end, End::Broken | End::Stalled)
        {
            // An archiver that is told to drain gets what is there; then it knows that this was all.
            if end == End::RelayEnded && feed.is_archiver() {
                let _ = feed.fill(&mut state.outbox);
            }
            feed.goodbye(event, &mut state.outbox);
        }
        drop(state);
        self.following = None;
        self.end = Some((end, self.now()));
    }

    fn take_events(&mut self, now: Duration) {
        while let Some(event) = self.session.poll(now) {
            match event {
                ServerEvent::Authenticate { user } => self.authenticate(&user),
                ServerEvent::LoginFailed { user } => {
                    self.environment.metrics.logins_failed.inc();
                    tracing::debug!(user = %Untrusted::new(&user), reason = "wrong_password", "a stream login was refused");
                }
                ServerEvent::Describe(request) => {
                    self.base.clone_from(&request.base);
                    self.describing = Some(describe(&self.desk, &request));
                }
                ServerEvent::Play { tracks } => self.play(&tracks),
                ServerEvent::Pause => self.stop_media(),
                ServerEvent::Teardown => {
                    self.stop_media();
                    self.described = None;
                }
                // Receiver reports refresh the session, which has seen them; nothing is forwarded (docs/design/relay.md, decision 6).
                ServerEvent::Rtcp { .. } => {}
                ServerEvent::Closed(end) => {
                    self.stop_media();
                    self.ends(end.into());
                }
            }
        }
    }

    fn stop_media(&mut self) {
        self.following = None;
        self.lane.lock().feed = None;
    }

    fn authenticate(&mut self, login: &str) {
        let Desk::Public(visitor) = &mut self.desk else {
            self.session.secret(None, || false);
            return;
        };
        let secret = visitor.secret(login);
        let mut crowded = false;
        self.session.secret(secret, || {
            crowded = !visitor.welcome(login);
            !crowded
        });
        if crowded {
            self.environment.metrics.refused(Refusal::Unavailable);
            tracing::warn!(
                user = %Untrusted::new(login), reason = "too_many_connections",
                "a user has as many connections open as are allowed"
            );
        }
    }

    fn answer(&mut self, answer: Result<Described, Refused>) {
        self.describing = None;
        match answer {
            Ok(described) => {
                self.session.describe(described.description(&self.base));
                // A DESCRIBE while media flows leaves what flows as it is.
                if self.lane.lock().feed.is_none() {
                    self.described = Some(described);
                }
            }
            Err(refused) => {
                let Refused {
                    refusal,
                    retry_after,
                } = refused;
                self.environment.metrics.refused(refusal);
                self.session.reject(refusal.status(), retry_after);
            }
        }
    }

    fn play(&mut self, tracks: &[SetUpTrack]) {
        let Some(described) = &self.described else {
            self.session.reject(503, Some(1));
            return;
        };
        let source = Arc::clone(described.lease.source());
        let current = source.look(|inner| inner.layout.as_ref().map(|layout| layout.id));
        if current != Some(described.layout.id) {
            self.session.reject(503, Some(1));
            self.ends(End::LayoutChanged);
            return;
        }
        let (mut feed, infos) = Feed::new(&source, &described.layout, tracks, described.wanted);
        let now = self.now();
        self.session.play(&infos, now);
        let reply = self.session.take_output();
        let mut state = self.lane.lock();
        state.outbox.push(reply);
        let all = feed.report(&mut state.outbox);
        state.feed = Some(feed);
        drop(state);
        self.next_report = now + if all { REPORTS } else { FIRST_REPORTS };
        // Given up before the new one is taken: a second PLAY must not be offered everything twice.
        self.following = None;
        self.following = Some(Following::new(&source, Arc::clone(&self.lane) as _));
        if let Desk::Public(visitor) = &mut self.desk {
            visitor.views(&source.camera, source.name);
        }
        let kind = described.lease.kind().as_str();
        let user = self.session.user().unwrap_or_default();
        tracing::info!(camera = %source.camera, source = %source.name, user = %Untrusted::new(user), kind, "a reader plays");
    }

    fn finish(&mut self, end: End) {
        let reason = end.as_str();
        self.environment
            .metrics
            .readers_closed
            .get_or_create(&Reason { reason })
            .inc();
        if let Some(described) = self.described.take() {
            let source = described.lease.source();
            tracing::info!(camera = %source.camera, source = %source.name, reason, "a reader ended");
        } else {
            tracing::debug!(reason, "a connection ended");
        }
    }
}
