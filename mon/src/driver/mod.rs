//! One camera's task: the only one that changes the camera's state.
//!
//! ```text
//!  mailbox ─▶ take ─▶ sessions, record, workloads ─┐
//!  timers  ─▶ due ────────────────────────────────┼─▶ Lifecycle::step ─▶ actions, in order ─▶ ports
//!  claim   ─▶ done ───────────────────────────────┘            then: cause ─▶ ledger ─▶ archiver, memory, board
//! ```
//!
//! Every turn is synchronous; only claims, releases and stores of memory await something, each in a task of its own with a deadline of
//! 5 s. Logs of a turn carry camera and generation.
//!
//! How it ends: after the camera was removed or the process stops, once the table is at rest and what must be known again is stored.

mod account;
mod appearance;
mod channel;
mod link;
mod perform;
mod record;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use moorline_base::Backoff;
use moorline_core::alarm::NoticeKind;
use moorline_core::camera::Access;
use moorline_core::lifecycle::{Event, Lifecycle, Link, Role};
use moorline_core::port::Memory;
use moorline_core::{Camera, Cause, Generation, InstanceId, SessionId, SourceName, Timestamp};
use tokio::task::{JoinHandle, JoinSet};
use tracing::Span;

use crate::conversation::Conversation;
use crate::damper::Damper;
use crate::ledger::Ledger;
use crate::mailbox::{Mail, Mailbox, RecordMail, SessionMail};
use crate::monitor::{Ports, Shared};

use account::{Counted, Keeper};
use appearance::{Appearances, Notices};
use link::{Claiming, Tunnel};
use perform::Instance;

/// How often a camera looks at itself although nothing happened.
const TICK: Duration = Duration::from_secs(5);

/// A grace that ends while a tunnel waits for its claim ends so long later, if it is not served by then.
const GRACE_AGAIN: Duration = Duration::from_secs(1);

/// What a timer says when it is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Timer {
    Grace(Generation),
    Overdue(InstanceId),
    Restart(InstanceId, Role),
    ClaimLan,
}

/// Who ended a link on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Camera,
    Operator,
}

impl By {
    /// Who ended the link, where that is the cause.
    fn of(cause: Cause) -> Option<Self> {
        match cause {
            Cause::HungUp => Some(Self::Camera),
            Cause::Operator => Some(Self::Operator),
            _ => None,
        }
    }
}

/// One camera.
pub(crate) struct Driver {
    camera: Arc<Camera>,
    shared: Arc<Shared>,
    ports: Arc<Ports>,
    mailbox: Arc<Mailbox>,
    lan_sessions: Arc<AtomicU64>,
    span: Span,
    origin: Instant,

    table: Lifecycle,
    tunnels: BTreeMap<SessionId, Tunnel>,
    claiming: Claiming,
    damper: Damper,
    lan_backoff: Backoff,
    talks: BTreeMap<SessionId, Conversation>,
    instances: BTreeMap<InstanceId, Instance>,
    timers: Vec<(Instant, Timer)>,
    releases: JoinSet<()>,

    /// The last link was ended on purpose, and by whom.
    hung_up: Option<By>,
    /// The operator hangs up on this generation, whose claim may not be back yet.
    ordered: Option<Generation>,
    /// The loss whose grace goes on because the camera may be elsewhere: told once.
    held: Option<Generation>,
    /// There was a tunnel since the process started, here or at another process.
    seen: bool,
    link_before: Link,
    link_since: Timestamp,
    client: Option<String>,
    appearances: Appearances,
    notices: Notices,
    ledger: Ledger,
    /// The stream that was recorded last, and since when it is another one than before.
    recorded: Option<SourceName>,
    recorded_from: Option<Timestamp>,
    alarmed_since: Option<Timestamp>,
    gap_counted: Counted,
    keeper: Keeper,
    removed: bool,
    stopping: bool,
    last_tick: Instant,
}

impl Driver {
    /// A camera at process start, or one that was just added.
    pub(crate) fn new(
        camera: Arc<Camera>,
        shared: Arc<Shared>,
        ports: Arc<Ports>,
        memory: Memory,
        lan_sessions: Arc<AtomicU64>,
    ) -> Self {
        let now = shared.clock.monotonic();
        let wall = shared.now();
        let alarmed_since = memory.alarmed_since;
        let stored = Memory {
            alive_until: None,
            ..memory.clone()
        };
        let appearances = Appearances::restore(&memory);
        let notices = Notices::restore(&memory);
        let keeper = Keeper::new(stored, now);
        let (ledger, carried) = Ledger::restore(memory, wall);
        let table = Lifecycle::new(shared.settings.grace);
        Self {
            span: tracing::info_span!(parent: None, "camera", camera = %camera.id, generation = tracing::field::Empty),
            mailbox: shared.mailbox(&camera.id),
            origin: now,
            table,
            tunnels: BTreeMap::new(),
            claiming: Claiming::new(now),
            damper: Damper::default(),
            lan_backoff: Backoff::standard(),
            talks: BTreeMap::new(),
            instances: BTreeMap::new(),
            timers: Vec::new(),
            releases: JoinSet::new(),
            hung_up: carried.and_then(|gap| By::of(gap.cause)),
            ordered: None,
            held: None,
            seen: false,
            link_before: Link::Absent,
            link_since: carried.map_or(wall, |gap| gap.since),
            client: None,
            appearances,
            notices,
            ledger,
            recorded: camera.record.source(),
            recorded_from: None,
            alarmed_since,
            gap_counted: None,
            keeper,
            removed: false,
            stopping: false,
            last_tick: now,
            camera,
            shared,
            ports,
            lan_sessions,
        }
    }

    /// Runs until the camera is gone or the process has stopped.
    pub(crate) async fn run(mut self) {
        let mailbox = Arc::clone(&self.mailbox);
        let clock = Arc::clone(&self.shared.clock);
        self.in_span(Self::begin);
        while !self.is_done() {
            let due = self.next_due();
            let mut claimed = None;
            let mut stored = None;
            tokio::select! {
                () = mailbox.arrived() => {}
                result = joined(&mut self.claiming.task) => claimed = Some(result),
                result = joined(&mut self.keeper.task) => stored = Some(result),
                Some(_) = self.releases.join_next(), if !self.releases.is_empty() => {}
                () = clock.sleep_until(due) => {}
            }
            self.in_span(|driver| {
                if let Some(result) = claimed {
                    driver.claimed(result.unwrap_or_else(|error| Err(error.to_string())));
                }
                if let Some(result) = stored {
                    driver.stored(result.unwrap_or_else(|error| Err(error.to_string())));
                }
                driver.turn();
            });
        }
        if self.removed {
            self.shared.board.remove(&self.camera.id);
        }
    }

    /// Work outside of `await`, under the camera's span.
    fn in_span(&mut self, work: impl FnOnce(&mut Self)) {
        let span = self.span.clone();
        span.in_scope(|| work(self));
    }

    fn begin(&mut self) {
        if !self.camera.enabled.is_yes() {
            self.step(Event::Disabled);
        }
        self.claim_lan();
        self.turn();
    }

    /// Everything that has happened, then everything that follows.
    fn turn(&mut self) {
        let mail = self.mailbox.take();
        self.read(mail);
        self.missed_claim();
        self.timers_due();
        self.conversations_due();
        self.claim_if_due();
        self.account();
    }

    fn read(&mut self, mail: Mail) {
        match mail.record {
            Some(RecordMail::Changed(camera)) => self.record_changed(camera),
            Some(RecordMail::Removed) => {
                self.removed = true;
                self.drop_claim(moorline_core::lifecycle::EndReason::Removed);
                self.step(Event::Removed);
                self.end_channels(moorline_core::lifecycle::EndReason::Removed);
            }
            None => {}
        }
        if mail.stopping {
            self.stopping = true;
            self.keeper.last_try();
            self.drop_claim(moorline_core::lifecycle::EndReason::Shutdown);
            self.step(Event::Stopping);
        }
        for mail in mail.sessions {
            match mail {
                SessionMail::Up(up) => self.tunnel_up(up),
                SessionMail::Ended(session, end) => self.tunnel_ended(session, end),
                SessionMail::Opened(session) => self.channel_opened(session),
                SessionMail::Line(session, line) => self.channel_line(session, &line),
                SessionMail::Closed(session) => {
                    self.talks.remove(&session);
                }
            }
        }
        for (instance, mail) in mail.instances {
            self.instance_said(instance, mail);
        }
        for line in mail.told {
            self.tell(&line);
        }
        if let Some(release) = mail.offer {
            self.offer(&release);
        }
        if mail.diagnose {
            self.diagnose();
        }
        if mail.hang_up {
            self.hung_up_by_operator();
        }
        self.ordered = self.ordered.max(mail.hang_up_of);
        self.obey();
        if let Some((peer, client)) = mail.stolen {
            self.notice(NoticeKind::StolenKey, Some(peer), client);
        }
        if let Some((peer, client)) = mail.token_spent {
            self.notice(NoticeKind::SpentToken, Some(peer), client);
        }
        for what in mail.noticed {
            self.notice(what, None, String::new());
        }
        if let Some(memory) = mail.remembered {
            self.remembered(memory);
        }
        if let Some(alarmed) = mail.alarmed {
            self.alarmed_since = alarmed;
        }
    }

    /// Another process had the camera and has let it go: what it knew counts, unless the camera is here by now.
    fn remembered(&mut self, memory: Memory) {
        if !self.table.is_at_rest() || !self.tunnels.is_empty() {
            return;
        }
        self.seen = true;
        self.take_over(memory);
    }

    /// What another process has left of the camera counts from here on, as the claim found it: the camera may call before the news of it are here.
    fn left(&mut self, generation: Generation) {
        let left = self.ports.claims.left(&self.camera.id, generation);
        let Some(memory) = left.filter(|_| self.table.is_at_rest()) else {
            return;
        };
        if memory.gaps.iter().all(|(gap, _)| self.ledger.has(gap)) {
            // Known here, and perhaps more: what this process has told of it may not have been written yet.
            self.alarmed_since = memory.alarmed_since.or(self.alarmed_since);
            return;
        }
        self.take_over(memory);
    }

    fn take_over(&mut self, memory: Memory) {
        self.alarmed_since = memory.alarmed_since;
        let Some(gap) = self.ledger.take_over(memory) else {
            return;
        };
        self.hung_up = By::of(gap.cause);
        self.link_since = gap.since;
    }

    /// One step of the table, carried out in order.
    fn step(&mut self, event: Event) {
        let now = self.shared.clock.monotonic();
        let now = now.saturating_duration_since(self.origin);
        let actions = self.table.step(event, now);
        self.span_of_generation();
        self.in_span(|driver| {
            for action in actions {
                driver.perform(action);
            }
        });
    }

    /// Lines from now on carry the generation that serves.
    fn span_of_generation(&mut self) {
        let generation = |link| match link {
            Link::Up { generation, .. } | Link::Grace { generation } => Some(generation),
            Link::Absent => None,
        };
        let link = self.table.link();
        if link == self.link_before {
            return;
        }
        if let Some(newer) = generation(link)
            && generation(self.link_before) != Some(newer)
        {
            self.span = tracing::info_span!(parent: None, "camera", camera = %self.camera.id, generation = %newer);
        }
        self.link_before = link;
        self.link_since = self.shared.now();
    }

    fn timers_due(&mut self) {
        let now = self.shared.clock.monotonic();
        let (due, later) = std::mem::take(&mut self.timers)
            .into_iter()
            .partition::<Vec<_>, _>(|(at, _)| *at <= now);
        self.timers = later;
        for (_, timer) in due {
            match timer {
                // The camera is back: its claim says whether it stays.
                Timer::Grace(_) if self.claiming.is_under_way() => {
                    self.schedule(GRACE_AGAIN, timer);
                }
                Timer::Grace(generation) => self.grace_over(generation),
                Timer::Overdue(instance) => self.step(Event::Overdue { instance }),
                Timer::Restart(instance, role) => self.step(Event::RestartDue { instance, role }),
                Timer::ClaimLan => self.claim_lan(),
            }
        }
    }

    fn schedule(&mut self, after: Duration, timer: Timer) {
        let now = self.shared.clock.monotonic();
        self.timers.push((now + after, timer));
    }

    fn next_due(&self) -> Instant {
        let timers = self.timers.iter().map(|(at, _)| *at);
        let talks = self.talks.values().map(Conversation::due);
        let own = [
            Some(self.last_tick + TICK),
            self.claiming.due(),
            self.keeper.due(),
        ];
        let all = timers.chain(talks).chain(own.into_iter().flatten());
        all.min().unwrap_or(self.last_tick + TICK)
    }

    fn is_done(&self) -> bool {
        (self.removed || self.stopping)
            && self.table.is_at_rest()
            && self.claiming.task.is_none()
            && self.releases.is_empty()
            && (self.removed && self.keeper.task.is_none() || self.keeper.is_settled())
    }

    fn is_lan(&self) -> bool {
        matches!(self.camera.access, Access::Lan { .. })
    }
}

/// The end of a task, if there is one. Cancel-safe: the handle stays until it has ended.
async fn joined<T>(task: &mut Option<JoinHandle<T>>) -> Result<T, tokio::task::JoinError> {
    let result = match task {
        Some(handle) => handle.await,
        None => std::future::pending().await,
    };
    *task = None;
    result
}
