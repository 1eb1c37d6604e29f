//! The pod's end of its control connection: what a workload is told survives every break, and nothing is told twice.
//!
//! ```text
//! dial ─▶ 101 ─▶ spec (the first starts the workload) ─▶ orders in, newest reports out ─▶ broken ─▶ dial …   the workload goes on
//! ```
//! Each connection begins with everything that is in force: the holder tells spec and orders, the pod its newest reports and, if it is so, that
//! it is drained. What the workload knows already is not told it again. The task ends when its token is cancelled; then
//! [`WorkloadControl::order`] returns `None`, which means: drain with the default budget.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use moorline_base::CancellationToken;
use moorline_base::backoff::{Backoff, Jitter};
use moorline_base::clock::{sleep, timeout};
use moorline_core::port::{KeyPin, WorkloadControl, WorkloadOrder, WorkloadReport, WorkloadSpec};
use moorline_core::status::OpenGap;
use moorline_core::{CameraId, Generation, SourceName, Timestamp};
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::sync::{Notify, watch};

use super::landings::learn;
use super::password::mounted_password;
use super::{ClientStream, Dialer};
use crate::head::Value;
use crate::ticket::TicketCheck;
use crate::wire::{BEAT, DEAD, LONGEST_TO_POD, Lines, PROTOCOL, Spec, ToHolder, ToPod, line};

const SHORTEST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(5);
/// A connection that stood for so long makes the next pause short again.
const STABLE: Duration = Duration::from_secs(30);
const WRITE: Duration = Duration::from_secs(10);

/// What a pod tells of itself when it connects, and what it adds to what it is told.
#[derive(Debug, Default)]
pub struct ControlSettings {
    /// A relay's own key (rule S22).
    pub key: Option<KeyPin>,
    /// Gets the ticket keys.
    pub tickets: Option<Arc<TicketCheck>>,
    /// The mounted directory of the camera's passwords, a file per source that has a login: they never come over this wire.
    pub passwords: Option<PathBuf>,
}

#[derive(Default)]
struct Orders {
    rebind: Option<Generation>,
    causes: VecDeque<Option<OpenGap>>,
    drain: Option<Duration>,
    closed: bool,
    /// What the workload has been given.
    generation: Generation,
    last_cause: Option<Option<OpenGap>>,
    /// Where the newest stretch that it knows began.
    last_since: Option<Timestamp>,
    drain_given: bool,
    /// The present connection has told its spec.
    connected: bool,
}

impl Orders {
    fn cause(&mut self, gap: Option<OpenGap>) {
        if self.last_cause == Some(gap) {
            return;
        }
        self.last_cause = Some(gap);
        self.last_since = self.last_since.max(gap.map(|gap| gap.since));
        self.causes.push_back(gap);
        if self.causes.len() > WorkloadSpec::MOST_GAPS {
            self.causes.pop_front();
        }
    }

    /// Stretches that were noted while the way was broken, or by another holder: the workload has had media since, or not, and knows that better.
    fn missed(&mut self, stretches: &[(OpenGap, Option<Timestamp>)]) {
        for (gap, end) in stretches {
            // Another holder may know better why the newest one began.
            let last = self.last_cause.flatten();
            let corrects = last.is_some_and(|last| last.since == gap.since && last != *gap);
            if self.last_since < Some(gap.since) || corrects {
                self.cause(Some(*gap));
                if end.is_some() {
                    self.cause(None);
                }
            }
        }
    }
}

#[derive(Default)]
struct Reports {
    /// Newest of each kind, and whether this connection has still to send it.
    slots: [Option<(ToHolder, bool)>; 3],
    drained: bool,
}

struct Shared {
    dialer: Dialer,
    camera: CameraId,
    settings: ControlSettings,
    orders: Mutex<Orders>,
    given: Notify,
    reports: Mutex<Reports>,
    said: Notify,
    spec: watch::Sender<Option<WorkloadSpec>>,
    seen: watch::Sender<bool>,
    cancel: CancellationToken,
}

/// A pod's control connection. Clones are the same.
#[derive(Clone)]
pub struct ControlLink(Arc<Shared>);

impl std::fmt::Debug for ControlLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ControlLink")
            .field("camera", &self.0.camera)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn orders<T>(&self, change: impl FnOnce(&mut Orders) -> T) -> T {
        change(&mut self.orders.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn reports<T>(&self, change: impl FnOnce(&mut Reports) -> T) -> T {
        change(&mut self.reports.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ControlLink {
    /// Connects, in a task of its own, and stays connected until `cancel` is cancelled.
    #[must_use]
    pub fn start(
        dialer: Dialer,
        camera: CameraId,
        settings: ControlSettings,
        cancel: CancellationToken,
    ) -> Self {
        let shared = Arc::new(Shared {
            dialer,
            camera,
            settings,
            orders: Mutex::default(),
            given: Notify::new(),
            reports: Mutex::default(),
            said: Notify::new(),
            spec: watch::Sender::new(None),
            seen: watch::Sender::new(false),
            cancel,
        });
        let task = Arc::clone(&shared);
        tokio::spawn(async move {
            run(&task).await;
            task.orders(|orders| orders.closed = true);
            task.given.notify_one();
        });
        Self(shared)
    }

    /// What the workload is started with: the first spec that comes. `None` if the token was cancelled before.
    pub async fn spec(&self) -> Option<WorkloadSpec> {
        let mut spec = self.0.spec.subscribe();
        tokio::select! {
            biased;
            found = spec.wait_for(Option::is_some) => found.ok().and_then(|spec| spec.clone()),
            () = self.0.cancel.cancelled() => None,
        }
    }

    /// The workload's end.
    #[must_use]
    pub fn control(&self) -> Box<dyn WorkloadControl> {
        Box::new(Control(Arc::clone(&self.0)))
    }

    /// Says that the workload has nothing left to do after its order to drain, on every connection until the holder has heard it. Returns then:
    /// the pod may be deleted at any time, and stays idle until it is. `false` if the token was cancelled before.
    pub async fn drained(&self) -> bool {
        self.0.reports(|reports| reports.drained = true);
        self.0.said.notify_one();
        let mut seen = self.0.seen.subscribe();
        tokio::select! {
            biased;
            heard = seen.wait_for(|seen| *seen) => heard.is_ok(),
            () = self.0.cancel.cancelled() => false,
        }
    }
}

async fn run(shared: &Shared) {
    let clock = Arc::clone(shared.dialer.clock());
    let mut backoff = Backoff::new(SHORTEST, LONGEST, STABLE, Jitter::Equal)
        // The bounds above are in order.
        .unwrap_or_else(|_| Backoff::standard());
    loop {
        backoff.started(clock.monotonic());
        let why = tokio::select! {
            biased;
            () = shared.cancel.cancelled() => return,
            why = connection(shared) => why,
        };
        tracing::info!(camera = %shared.camera, reason = why, "the control connection ended; the workload goes on");
        shared.orders(|orders| orders.connected = false);
        let pause = backoff.failed(clock.monotonic());
        if sleep(&*clock, pause, &shared.cancel).await.is_cancelled() {
            return;
        }
    }
}

async fn connection(shared: &Shared) -> String {
    let mut headers = format!("Upgrade: {PROTOCOL}\r\nConnection: Upgrade\r\n");
    if let Some(key) = shared.settings.key {
        headers.push_str(&format!("Moorline-Relay-Key: {}\r\n", Value(key)));
    }
    let first = format!("GET /v1/control/{}", shared.camera);
    let (reply, stream) = match shared.dialer.ask(&first, &headers).await {
        Ok(answered) => answered,
        Err(error) => return error.to_string(),
    };
    if reply.status != 101 {
        return format!("{} {}", reply.status, reply.reason);
    }
    learn(
        shared.settings.tickets.as_ref(),
        reply.ticket_keys.as_deref(),
    );
    talk(shared, stream).await.to_owned()
}

async fn talk(shared: &Shared, stream: ClientStream) -> &'static str {
    let clock = Arc::clone(shared.dialer.clock());
    let (reading, mut writing) = tokio::io::split(stream);
    let mut reading = BufReader::with_capacity(1024, reading);
    let mut lines = Lines::new(LONGEST_TO_POD);
    let mut heard = clock.monotonic();
    let mut beat = heard + BEAT;
    let mut said_drained = false;
    shared.reports(|reports| {
        let slots = reports.slots.iter_mut().flatten();
        slots.for_each(|(_, unsent)| *unsent = true);
    });
    let mut out = Vec::new();
    loop {
        shared.reports(|reports| {
            for (message, unsent) in reports.slots.iter_mut().flatten() {
                if std::mem::take(unsent) {
                    out.extend(line(message));
                }
            }
            if reports.drained && !said_drained {
                said_drained = true;
                out.extend(line(&ToHolder::Drained));
            }
        });
        if !out.is_empty() {
            let written = async {
                writing.write_all(&out).await?;
                writing.flush().await
            };
            match timeout(&*clock, WRITE, written).await {
                Ok(Ok(())) => out.clear(),
                Ok(Err(_)) => return "peer_closed",
                Err(_) => return "stalled",
            }
        }
        tokio::select! {
            biased;
            told = lines.next::<ToPod, _>(&mut reading) => match told {
                Ok(told) => {
                    heard = clock.monotonic();
                    if let Err(reason) = hear(shared, told) {
                        return reason;
                    }
                }
                Err(end) => return end.reason(),
            },
            () = shared.said.notified() => {}
            () = clock.sleep_until(beat) => {
                let now = clock.monotonic();
                beat = now + BEAT;
                if now.saturating_duration_since(heard) >= DEAD {
                    return "silent";
                }
                out.extend(line(&ToHolder::Beat));
                // Not heard yet: once more.
                said_drained = *shared.seen.borrow();
            }
        }
    }
}

fn hear(shared: &Shared, told: ToPod) -> Result<(), &'static str> {
    match told {
        ToPod::Spec(spec) => hear_spec(shared, *spec)?,
        ToPod::Rebind { generation } => rebind(shared, generation),
        ToPod::Cause { gap } => shared.orders(|orders| orders.cause(gap)),
        ToPod::Drain { budget_ms } => shared.orders(|orders| {
            if !orders.drain_given {
                orders.drain_given = true;
                orders.drain = Some(Duration::from_millis(budget_ms));
            }
        }),
        ToPod::TicketKeys { keys } => learn(shared.settings.tickets.as_ref(), Some(&keys)),
        ToPod::DrainedSeen => {
            shared.seen.send_replace(true);
        }
        ToPod::Beat | ToPod::Unknown => return Ok(()),
    }
    shared.given.notify_one();
    Ok(())
}

fn hear_spec(shared: &Shared, spec: Spec) -> Result<(), &'static str> {
    if *spec.camera() != shared.camera {
        return Err("another_camera");
    }
    if shared.spec.borrow().is_some() {
        // It runs already: what may be new is the generation, and why something was missing meanwhile.
        rebind(shared, spec.generation());
        shared.orders(|orders| {
            orders.missed(&spec.stretches());
            orders.connected = true;
        });
        return Ok(());
    }
    let passwords = |source: SourceName| {
        let directory = shared.settings.passwords.as_deref()?;
        mounted_password(directory, source)
            .inspect_err(
                |error| tracing::warn!(%error, %source, "the camera's password cannot be read"),
            )
            .ok()
    };
    shared.orders(|orders| {
        orders.generation = orders.generation.max(spec.generation());
        let stretches = spec.stretches();
        orders.last_since = stretches.last().map(|(gap, _)| gap.since);
        orders.connected = true;
    });
    shared
        .spec
        .send_replace(Some(spec.into_workload(passwords)));
    Ok(())
}

fn rebind(shared: &Shared, generation: Generation) {
    shared.orders(|orders| {
        if generation > orders.generation {
            orders.generation = generation;
            orders.rebind = Some(generation);
        }
    });
}

/// The workload's end.
struct Control(Arc<Shared>);

#[async_trait]
impl WorkloadControl for Control {
    async fn order(&mut self) -> Option<WorkloadOrder> {
        loop {
            let (order, closed) = self.0.orders(|orders| {
                let rebind = orders
                    .rebind
                    .take()
                    .map(|generation| WorkloadOrder::Rebind { generation });
                let order = rebind
                    .or_else(|| {
                        let gap = orders.causes.pop_front()?;
                        Some(WorkloadOrder::Cause { gap })
                    })
                    .or_else(|| {
                        orders
                            .drain
                            .take()
                            .map(|budget| WorkloadOrder::Drain { budget })
                    });
                (order, orders.closed)
            });
            if order.is_some() || closed {
                return order;
            }
            self.0.given.notified().await;
        }
    }

    fn report(&self, report: WorkloadReport) {
        let slot = match &report {
            WorkloadReport::Relay(report) if report.source == SourceName::Main => 0,
            WorkloadReport::Relay(_) => 1,
            WorkloadReport::Archive(_) => 2,
        };
        self.0.reports(|reports| {
            if let Some(slot) = reports.slots.get_mut(slot) {
                *slot = Some((report.into(), true));
            }
        });
        self.0.said.notify_one();
    }

    fn has_heard(&self, generation: Generation) -> bool {
        self.0.orders(|orders| {
            let unread = orders.rebind.is_some() || !orders.causes.is_empty();
            orders.connected && orders.generation >= generation && !unread
        })
    }
}
