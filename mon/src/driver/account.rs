//! After each turn: why there is no media, what must be known again, what is shown.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moorline_base::clock::timeout;
use moorline_core::camera::Record;
use moorline_core::lifecycle::Link;
use moorline_core::port::{Memory, WorkloadOrder};
use moorline_core::status::{CameraStatus, LinkStatus, RelayReport, RelayState};
use moorline_core::{Cause, Timestamp};
use tokio::task::JoinHandle;
use tracing::Instrument;

use super::{By, Driver};
use crate::board::Entry;
use crate::cause::{LinkSeen, SILENT, Seen, decide};

const STORE_DEADLINE: Duration = Duration::from_secs(5);
/// `durable until` alone is stored at most so often, and a store that failed is tried again after so long.
const STORE_EVERY: Duration = Duration::from_secs(10);
/// A workload that says since when there is no media is believed for so long.
const LATE: Duration = Duration::from_secs(60);

/// What was stored last, and the store under way.
#[derive(Debug)]
pub(super) struct Keeper {
    stored: Memory,
    storing: Memory,
    not_before: Instant,
    failed: bool,
    waiting: bool,
    pub(super) task: Option<JoinHandle<Result<(), String>>>,
}

impl Keeper {
    pub(super) fn new(memory: Memory, now: Instant) -> Self {
        Self {
            storing: memory.clone(),
            stored: memory,
            not_before: now,
            failed: false,
            waiting: false,
            task: None,
        }
    }

    /// When something that waits may be stored.
    pub(super) fn due(&self) -> Option<Instant> {
        (self.waiting && self.task.is_none()).then_some(self.not_before)
    }

    /// The process stops: one more try, whatever the last one came to.
    pub(super) fn last_try(&mut self) {
        self.failed = false;
    }

    /// Nothing waits and nothing is under way; or the adapter failed and the process stops anyway.
    pub(super) fn is_settled(&self) -> bool {
        self.task.is_none() && (!self.waiting || self.failed)
    }
}

impl Driver {
    /// Everything that follows from the state as it is now.
    pub(super) fn account(&mut self) {
        let ticked = self.shared.clock.monotonic();
        if ticked.saturating_duration_since(self.last_tick) >= super::TICK {
            self.last_tick = ticked;
        }
        self.explain();
        self.count_gap();
        self.remember();
        self.show();
    }

    fn recorded_relay(&self) -> Option<&RelayReport> {
        let source = self.camera.record.source()?;
        let running = self.table.running()?;
        self.instances.get(&running)?.relays.get(&source)
    }

    /// A silence that began before the present tunnel is not this tunnel's: the relay still reads the older one.
    fn speaks_of_an_older_tunnel(&self, report: &RelayReport) -> bool {
        let up = matches!(self.table.link(), Link::Up { .. });
        up && report.state == RelayState::Silent && report.since <= self.link_since + SILENT
    }

    /// Decides the cause; a change is told to the archiver.
    fn explain(&mut self) {
        let now = self.shared.now();
        let running = self
            .table
            .running()
            .and_then(|running| self.instances.get(&running));
        let relay = self.recorded_relay();
        let archive = running.and_then(|running| running.archive.as_ref());
        let seen = Seen {
            wanted: self.camera.enabled.is_yes() && self.camera.record != Record::Off,
            stopping: self.stopping,
            link: match self.table.link() {
                _ if self.hung_up == Some(By::Camera) => LinkSeen::HungUp,
                _ if self.hung_up == Some(By::Operator) => LinkSeen::Operator,
                Link::Up { .. } => LinkSeen::Up,
                Link::Grace { .. } | Link::Absent => LinkSeen::Down,
            },
            restarting: running.is_some_and(|running| !running.down.is_empty()),
            relay_away: running.is_some_and(|running| running.relay_away),
            rebound: running.is_some_and(|running| {
                running.rebound
                    || !running.played
                        && relay.is_some_and(|report| self.speaks_of_an_older_tunnel(report))
            }),
            relay: relay.map(|report| (report.state, now.since(report.since))),
            archive: archive.map(|report| {
                let silent = report.silent_since.map(|since| now.since(since));
                (report.state, silent)
            }),
            shut_out: archive.is_some_and(|report| report.shut_out),
            before: self.ledger.open_gap().map(|gap| gap.cause),
        };
        let cause = decide(&seen);
        let since = match cause {
            Some(Cause::CameraSilent | Cause::RtspError) => relay.map(|report| report.since),
            Some(Cause::NoIdr) => archive.and_then(|report| report.silent_since),
            _ => None,
        };
        let at = since.map_or(now, |since| since.clamp(now - LATE, now));
        if !self.ledger.set(cause, at) {
            return;
        }
        match cause {
            Some(cause) => tracing::info!(%cause, "no media"),
            None => tracing::info!("media is recorded"),
        }
        if let Some(instance) = self.table.running() {
            let gap = self.ledger.open_gap();
            let order = WorkloadOrder::Cause { gap };
            self.ports.workloads.order(&self.camera.id, instance, order);
        }
    }

    /// Adds the seconds that have gone by under a cause to the counter.
    fn count_gap(&mut self) {
        let now = self.shared.now();
        let counted = self.gap_counted.take();
        // What another process counts is not counted twice.
        if let Some((cause, since)) = counted
            && self.ports.notifier.tells_of(&self.camera.id)
        {
            self.shared.metrics.missed(cause, now.since(since));
        }
        self.gap_counted = self.ledger.open_gap().map(|gap| (gap.cause, now));
    }

    /// Stores what must be known again: a change of causes and another network or client at once, `durable until` at most every 10 s, the rest at the stop.
    fn remember(&mut self) {
        if self.removed || self.keeper.task.is_some() {
            return;
        }
        let now = self.shared.clock.monotonic();
        let mut memory = self.ledger.memory(self.alarmed_since);
        self.appearances.remember(&mut memory);
        memory.notices = self.notices.all();
        let stored = &self.keeper.stored;
        self.keeper.waiting = memory != *stored;
        if !self.keeper.waiting {
            return;
        }
        let urgent = memory.gaps != stored.gaps
            || memory.alarmed_since != stored.alarmed_since
            || memory.networks != stored.networks
            || memory.clients != stored.clients;
        let at_once = !self.keeper.failed && (urgent || self.stopping);
        if !at_once && now < self.keeper.not_before {
            return;
        }
        let memories = Arc::clone(&self.ports.memories);
        let shared = Arc::clone(&self.shared);
        let camera = self.camera.id.clone();
        self.keeper.storing = memory.clone();
        self.keeper.not_before = now + STORE_EVERY;
        let store = async move {
            // The deadline is the adapter's; waiting for the turn is bounded by the turns before it.
            let _turn = shared
                .stores
                .acquire()
                .await
                .map_err(|error| error.to_string())?;
            let store = memories.store(&camera, &memory);
            match timeout(&*shared.clock, STORE_DEADLINE, store).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(error) => Err(error.to_string()),
            }
        };
        self.keeper.task = Some(tokio::spawn(store.in_current_span()));
    }

    /// A store has ended.
    pub(super) fn stored(&mut self, result: Result<(), String>) {
        self.keeper.failed = result.is_err();
        match result {
            Ok(()) => self.keeper.stored = self.keeper.storing.clone(),
            Err(error) => {
                tracing::error!(%error, "what must be known after a restart was not stored");
            }
        }
    }

    fn show(&self) {
        if self.removed {
            self.shared.board.remove(&self.camera.id);
            return;
        }
        let running = self
            .table
            .running()
            .or_else(|| self.table.draining().last());
        let running = running.and_then(|running| self.instances.get(&running));
        let status = CameraStatus {
            camera: self.camera.id.clone(),
            link: self.link_status(),
            link_since: self.link_since,
            relays: running.map_or_else(Vec::new, |running| {
                running.relays.values().cloned().collect()
            }),
            archive: running.and_then(|running| running.archive.clone()),
            durable_until: self.ledger.durable_until(),
            recorded_until: self.ledger.recorded_until(),
            gaps: self.ledger.stretches(),
            said: self.said(),
            client: self.client.clone(),
            notices: self.notices.all(),
            troubles: Vec::new(),
        };
        self.shared.board.publish(Entry {
            camera: Arc::clone(&self.camera),
            seen: self.seen || self.was_seen(&status),
            alarmed_since: self.alarmed_since,
            ours: self.ports.notifier.tells_of(&self.camera.id),
            status,
        });
    }

    /// Whether it had a tunnel, or was recorded, before this process: it is not still being put up then.
    fn was_seen(&self, status: &CameraStatus) -> bool {
        let told = self.alarmed_since.is_some();
        status.durable_until.is_some() || told || self.appearances.any()
    }

    /// Whether any stream of the camera plays; `None`: nobody reads it.
    fn reading(&self) -> Option<bool> {
        let running = self.table.running()?;
        let instance = self.instances.get(&running)?;
        let mut relays = instance.relays.values().peekable();
        let recorded = self.camera.record != Record::Off;
        if relays.peek().is_none() {
            return recorded.then_some(false);
        }
        let read: Vec<RelayState> = relays
            .map(|relay| relay.state)
            .filter(|state| *state != RelayState::Idle)
            .collect();
        let plays = |state: &RelayState| matches!(state, RelayState::Playing | RelayState::Silent);
        (!read.is_empty()).then(|| read.iter().any(plays))
    }

    fn link_status(&self) -> LinkStatus {
        match self.table.link() {
            Link::Absent => LinkStatus::Absent,
            Link::Grace { generation } => LinkStatus::Grace { generation },
            Link::Up { generation, .. } if self.is_lan() && self.reading().is_none() => {
                LinkStatus::Idle { generation }
            }
            Link::Up { generation, .. } if self.is_lan() && self.reading() == Some(false) => {
                LinkStatus::Connecting { generation }
            }
            Link::Up {
                generation,
                session,
            } => LinkStatus::Up {
                generation,
                session,
                peer: self.tunnels.get(&session).and_then(|tunnel| tunnel.peer),
            },
        }
    }
}

/// The cause whose seconds are being counted, and up to when they are.
pub(super) type Counted = Option<(Cause, Timestamp)>;
