//! What a camera's task has not read yet. Written by handlers that must not wait (P7), read by exactly one task.
//!
//! Bounds: at most [`TUNNELS`] tunnels and [`CHANNELS`] monitor's channels of one camera at a time, each of which leaves room for its end,
//! and [`LINES`] unread lines. Reports replace unread ones; crash and drain are one flag per instance and role.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use moorline_core::alarm::NoticeKind;
use moorline_core::lifecycle::Role;
use moorline_core::port::{
    AgentRelease, Memory, TunnelEnd, TunnelUp, WorkloadEvent, WorkloadReport,
};
use moorline_core::status::{ArchiveReport, RelayReport};
use moorline_core::{Camera, Generation, InstanceId, SessionId, SourceName, Timestamp};
use tokio::sync::Notify;

/// Tunnels of one camera that were taken and have not ended.
const TUNNELS: usize = 64;
/// Monitor's channels of one camera that are open.
const CHANNELS: usize = 64;
/// Lines of one camera that wait.
const LINES: usize = 64;
/// Lines of the operator for the agent that wait.
const TOLD: usize = 16;
/// Instances of one camera of which something waits.
const INSTANCES: usize = 64;

/// Something about a session, in the order in which it happened.
#[derive(Debug)]
pub(crate) enum SessionMail {
    Up(TunnelUp),
    Ended(SessionId, TunnelEnd),
    Opened(SessionId),
    Line(SessionId, Vec<u8>),
    Closed(SessionId),
}

/// What an instance has said.
#[derive(Debug, Default)]
pub(crate) struct InstanceMail {
    pub(crate) relays: BTreeMap<SourceName, RelayReport>,
    pub(crate) archive: Option<ArchiveReport>,
    pub(crate) crashed: BTreeMap<Role, String>,
    /// Nothing is heard of the relay since its last report.
    pub(crate) relay_away: bool,
    /// What was said before the rest of this was said by others.
    pub(crate) replaced: bool,
    pub(crate) drained: bool,
}

/// What the directory says of the camera.
#[derive(Debug)]
pub(crate) enum RecordMail {
    Changed(Arc<Camera>),
    Removed,
}

/// All mail, taken at once.
#[derive(Debug, Default)]
pub(crate) struct Mail {
    pub(crate) sessions: VecDeque<SessionMail>,
    pub(crate) instances: BTreeMap<InstanceId, InstanceMail>,
    pub(crate) record: Option<RecordMail>,
    pub(crate) hang_up: bool,
    /// The operator hangs up on this generation, and on none that came later.
    pub(crate) hang_up_of: Option<Generation>,
    pub(crate) diagnose: bool,
    /// What the operator has to say to the agent.
    pub(crate) told: Vec<String>,
    /// The release that its agent is to be offered; a later one replaces it.
    pub(crate) offer: Option<Arc<AgentRelease>>,
    /// The last call of the camera's key while it is reported stolen: from where, with which client.
    pub(crate) stolen: Option<(SocketAddr, String)>,
    /// The last use of its enrolment token by a second key: as `stolen`.
    pub(crate) token_spent: Option<(SocketAddr, String)>,
    /// What somebody else noticed about the camera; each kind once.
    pub(crate) noticed: BTreeSet<NoticeKind>,
    pub(crate) stopping: bool,
    /// Since when recording stands still, as somebody was told; `Some(None)`: cleared.
    pub(crate) alarmed: Option<Option<Timestamp>>,
    /// What another process knew of the camera when it let it go.
    pub(crate) remembered: Option<Memory>,
}

#[derive(Debug, Default)]
struct Inbox {
    mail: Mail,
    lines: usize,
    /// How many tunnels (and monitor's channels) of each live session were taken.
    tunnels: usize,
    channels: HashMap<SessionId, u32>,
}

/// The mailbox of one camera.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    inbox: Mutex<Inbox>,
    arrived: Notify,
}

impl Mailbox {
    fn with<T>(&self, change: impl FnOnce(&mut Inbox) -> T) -> T {
        let value = change(&mut self.inbox.lock().unwrap_or_else(PoisonError::into_inner));
        self.arrived.notify_one();
        value
    }

    /// Waits for mail. Cancel-safe.
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Takes all mail.
    pub(crate) fn take(&self) -> Mail {
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        inbox.lines = 0;
        std::mem::take(&mut inbox.mail)
    }

    /// A tunnel. `false`: too many.
    pub(crate) fn up(&self, up: TunnelUp) -> bool {
        self.with(|inbox| {
            let room = inbox.tunnels < TUNNELS;
            if room {
                inbox.tunnels += 1;
                inbox.mail.sessions.push_back(SessionMail::Up(up));
            }
            room
        })
    }

    /// The end of a tunnel that was taken.
    pub(crate) fn ended(&self, session: SessionId, end: TunnelEnd) {
        self.with(|inbox| {
            inbox.tunnels = inbox.tunnels.saturating_sub(1);
            inbox
                .mail
                .sessions
                .push_back(SessionMail::Ended(session, end));
        });
    }

    /// A monitor's channel. Beyond the bound it is not heard.
    pub(crate) fn opened(&self, session: SessionId) -> bool {
        self.with(|inbox| {
            let open: u32 = inbox.channels.values().sum();
            let room = (open as usize) < CHANNELS;
            if room {
                *inbox.channels.entry(session).or_default() += 1;
                inbox.mail.sessions.push_back(SessionMail::Opened(session));
            }
            room
        })
    }

    /// A line of a channel that was opened. `false`: no such channel, or too many lines wait.
    pub(crate) fn line(&self, session: SessionId, line: &[u8]) -> bool {
        self.with(|inbox| {
            let room = inbox.lines < LINES && inbox.channels.contains_key(&session);
            if room {
                inbox.lines += 1;
                let line = line.to_vec();
                inbox
                    .mail
                    .sessions
                    .push_back(SessionMail::Line(session, line));
            }
            room
        })
    }

    /// The end of a channel. Returns whether the session has another one.
    pub(crate) fn closed(&self, session: SessionId) -> bool {
        self.with(|inbox| {
            let Some(open) = inbox.channels.get_mut(&session) else {
                return false;
            };
            *open -= 1;
            let more = *open > 0;
            if !more {
                inbox.channels.remove(&session);
            }
            inbox.mail.sessions.push_back(SessionMail::Closed(session));
            more
        })
    }

    /// An instance says something.
    pub(crate) fn instance(&self, instance: InstanceId, event: WorkloadEvent) {
        self.with(|inbox| {
            let waiting = &mut inbox.mail.instances;
            // Reports of unknown instances must not pile up; the end of one always fits, since each was started by us.
            let report = matches!(event, WorkloadEvent::Report(_));
            if report && waiting.len() >= INSTANCES && !waiting.contains_key(&instance) {
                return;
            }
            let mail = waiting.entry(instance).or_default();
            match event {
                WorkloadEvent::Report(WorkloadReport::Relay(report)) => {
                    mail.relay_away = false;
                    mail.relays.insert(report.source, report);
                }
                WorkloadEvent::Report(WorkloadReport::Archive(report)) => {
                    mail.archive = Some(report);
                }
                WorkloadEvent::Crashed { role, reason } => {
                    mail.crashed.insert(role, reason);
                }
                WorkloadEvent::Away { role: Role::Relay } => {
                    mail.relay_away = true;
                    mail.relays.clear();
                }
                // What it has recorded it says itself, once it is back.
                WorkloadEvent::Away { .. } => {}
                WorkloadEvent::Replaced => {
                    mail.replaced = true;
                    mail.relay_away = false;
                    mail.relays.clear();
                    mail.archive = None;
                }
                WorkloadEvent::Drained => mail.drained = true,
            }
        });
    }

    /// The record is another now. A removal is never replaced.
    pub(crate) fn record(&self, record: RecordMail) {
        self.with(|inbox| {
            if !matches!(inbox.mail.record, Some(RecordMail::Removed)) {
                inbox.mail.record = Some(record);
            }
        });
    }

    /// The operator hangs up.
    pub(crate) fn hang_up(&self) {
        self.with(|inbox| inbox.mail.hang_up = true);
    }

    /// The operator hangs up on this generation; an order for a later one replaces one that was not read.
    pub(crate) fn hang_up_of(&self, generation: Generation) {
        self.with(|inbox| {
            inbox.mail.hang_up_of = inbox.mail.hang_up_of.max(Some(generation));
        });
    }

    /// The operator says a line to the agent. `false`: too many wait.
    pub(crate) fn tell(&self, line: String) -> bool {
        self.with(|inbox| {
            let room = inbox.mail.told.len() < TOLD;
            if room {
                inbox.mail.told.push(line);
            }
            room
        })
    }

    /// A release is offered to the agent.
    pub(crate) fn offer(&self, release: Arc<AgentRelease>) {
        self.with(|inbox| inbox.mail.offer = Some(release));
    }

    /// The operator asks for a diagnosis.
    pub(crate) fn diagnose(&self) {
        self.with(|inbox| inbox.mail.diagnose = true);
    }

    /// The key of the stolen camera called; a later call replaces one that was not read.
    pub(crate) fn stolen(&self, peer: SocketAddr, client: &str) {
        self.with(|inbox| inbox.mail.stolen = Some((peer, client.to_owned())));
    }

    /// A second key used the token that made the camera; a later one replaces one that was not read.
    pub(crate) fn token_spent(&self, peer: SocketAddr, client: &str) {
        self.with(|inbox| inbox.mail.token_spent = Some((peer, client.to_owned())));
    }

    /// Somebody else noticed something about the camera.
    pub(crate) fn noticed(&self, what: NoticeKind) {
        self.with(|inbox| {
            inbox.mail.noticed.insert(what);
        });
    }

    /// The process stops.
    pub(crate) fn stop(&self) {
        self.with(|inbox| inbox.mail.stopping = true);
    }

    /// Another process has let the camera go, and knew this; later news replace what was not read.
    pub(crate) fn remembered(&self, memory: Memory) {
        self.with(|inbox| inbox.mail.remembered = Some(memory));
    }

    /// Somebody was told that recording stopped (`Some`) or goes on.
    pub(crate) fn alarmed(&self, since: Option<Timestamp>) {
        self.with(|inbox| inbox.mail.alarmed = Some(since));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::world;

    #[test]
    fn a_full_mailbox_refuses_tunnels_and_lines_but_never_an_end() {
        let mailbox = Mailbox::default();
        let tunnel = |session| world::tunnel(SessionId(session), &world::camera("yard"));
        for session in 0..TUNNELS as u64 {
            assert!(mailbox.up(tunnel(session)));
        }
        assert!(!mailbox.up(tunnel(1_000)));
        mailbox.take();
        assert!(!mailbox.up(tunnel(1_000)), "read, but still alive");
        for session in 0..TUNNELS as u64 {
            mailbox.ended(SessionId(session), TunnelEnd::Lost);
        }
        assert_eq!(mailbox.take().sessions.len(), TUNNELS);
        assert!(mailbox.up(tunnel(1_000)));

        assert!(!mailbox.line(SessionId(1), b"BYE"), "no channel");
        mailbox.opened(SessionId(1));
        let taken = (0..100).filter(|_| mailbox.line(SessionId(1), b"PONG 1"));
        assert_eq!(taken.count(), LINES);
        mailbox.closed(SessionId(1));
        assert!(!mailbox.line(SessionId(1), b"BYE"));
    }

    #[test]
    fn a_removal_is_not_replaced() {
        let mailbox = Mailbox::default();
        mailbox.record(RecordMail::Removed);
        mailbox.record(RecordMail::Changed(world::camera("yard")));
        assert!(matches!(mailbox.take().record, Some(RecordMail::Removed)));
    }
}
