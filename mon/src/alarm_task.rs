//! The tasks of the alarms: one looks at the board every 5 s, and one of each channel tells.
//!
//! Owns: [`Deliveries`], what each channel has still to tell. Each channel has its own, since a message on a dead one is tried for 10 minutes
//! and must delay nothing on the others. What did not get out is told again, as one message, and only what every channel has told is
//! remembered as told beyond this process. Channels may come and go while the process runs ([`crate::Monitor::set_alarms`]). Does not own: when
//! somebody is told ([`crate::alarms`]), nor how (the port `Notifier`).
//!
//! How they end: [`watch()`] when its token is cancelled, [`tell`] when the deliveries are closed and nothing is queued.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use moorline_base::backoff::{Backoff, Jitter};
use moorline_base::clock::{sleep, timeout};
use moorline_base::{CancellationToken, Untrusted};
use moorline_core::alarm::{Alarm, AlarmKind, Untold};
use moorline_core::{CameraId, Timestamp};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tracing::Instrument as _;

use crate::alarms::{Alarms, Change, is_watched};
use crate::monitor::{Ports, Shared};
use crate::outbox::{Outbox, cameras};

const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The notifier tries each channel for at most 10 minutes.
const TELL_DEADLINE: Duration = Duration::from_secs(11 * 60);
/// Pauses before what did not get out is tried again. Each try of a channel that is away takes 10 minutes by itself; one that refuses (a
/// wrong URL) is asked no more than six times an hour.
const AGAIN_AFTER: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(600));

moorline_core::words! {
    /// An [`AlarmKind`] as it is counted and logged.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Word {
        RecordingStopped = "recording_stopped",
        RecordingResumed = "recording_resumed",
        ToldLate = "told_late",
        RecordingsDamaged = "recordings_damaged",
        KeyInTwoPlaces = "key_in_two_places",
        AgentRolledBack = "agent_rolled_back",
        Notice = "notice",
        Test = "test",
    }
}

impl From<&AlarmKind> for Word {
    fn from(kind: &AlarmKind) -> Self {
        match kind {
            AlarmKind::RecordingStopped { .. } => Self::RecordingStopped,
            AlarmKind::RecordingResumed { .. } => Self::RecordingResumed,
            AlarmKind::ToldLate { .. } => Self::ToldLate,
            AlarmKind::RecordingsDamaged { .. } => Self::RecordingsDamaged,
            AlarmKind::KeyInTwoPlaces { .. } => Self::KeyInTwoPlaces,
            AlarmKind::AgentRolledBack { .. } => Self::AgentRolledBack,
            AlarmKind::Notice { .. } => Self::Notice,
            AlarmKind::Test => Self::Test,
        }
    }
}

/// The word of an alarm in logs.
pub(crate) fn word(kind: &AlarmKind) -> &'static str {
    Word::from(kind).as_str()
}

moorline_core::words! {
    /// How a message ends on a channel, as it is counted.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Delivery {
        /// Somebody got it.
        Sent = "sent",
        /// Nobody did.
        Failed = "failed",
    }
}

/// What each channel has still to tell.
#[derive(Debug, Default)]
pub(crate) struct Deliveries {
    channels: Mutex<Vec<Channel>>,
    closed: CancellationToken,
    /// None of those that are open was there when the table of the alarms looked last.
    all_new: AtomicBool,
}

#[derive(Debug)]
struct Channel {
    name: &'static str,
    outbox: Outbox,
    news: Arc<Notify>,
    failing: Option<(Timestamp, String)>,
}

impl Channel {
    /// A message, or one of its addresses, did not get through.
    fn fails(&mut self, why: &str, now: Timestamp) {
        let since = self.failing.take().map_or(now, |(since, _)| since);
        self.failing = Some((since, why.to_owned()));
    }
}

impl Deliveries {
    fn with<T>(&self, change: impl FnOnce(&mut Vec<Channel>) -> T) -> T {
        change(&mut self.channels.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn channel<T>(&self, name: &str, change: impl FnOnce(&mut Channel) -> T) -> Option<T> {
        self.with(|channels| {
            let channel = channels.iter_mut().find(|channel| channel.name == name);
            channel.map(change)
        })
    }

    /// From now on these channels take messages. One that did before keeps what it has still to tell, and one that comes tells it too, since that may be
    /// all that works now. What was under way is owed, and what was wrong forgotten: it may lead elsewhere now. Returns what is given up for that, by
    /// channel; and what every channel has told, now that one which had not is gone.
    pub(crate) fn open(&self, names: &[&'static str]) -> (Vec<(&'static str, Alarm)>, Vec<Change>) {
        self.with(|channels| {
            let mut before = std::mem::take(channels);
            let (mut come, mut given_up) = (Vec::new(), Vec::new());
            for &name in names {
                let Some(at) = before.iter().position(|channel| channel.name == name) else {
                    come.push(name);
                    continue;
                };
                let mut channel = before.swap_remove(at);
                channel.failing = None;
                given_up.extend(channel.outbox.ended(false).map(|alarm| (name, alarm)));
                channels.push(channel);
            }
            let stays = channels.first().map(|stays| stays.outbox.clone());
            if stays.is_none() && !come.is_empty() {
                self.all_new.store(true, Ordering::Release);
            }
            let holds = |camera: &CameraId| channels.iter().any(|one| one.outbox.holds(camera));
            let mut told = Vec::new();
            for gone in before.iter().filter(|_| stays.is_some()) {
                let left = gone.outbox.left().into_iter();
                told.extend(left.filter(|(camera, _)| !holds(camera)));
            }
            let outbox = stays.unwrap_or_default();
            channels.extend(come.into_iter().map(|name| Channel {
                name,
                outbox: outbox.clone(),
                news: Arc::default(),
                failing: None,
            }));
            (given_up, told)
        })
    }

    fn names(&self) -> Vec<&'static str> {
        self.with(|channels| channels.iter().map(|channel| channel.name).collect())
    }

    /// No further message comes: the channels' tasks end after what is queued.
    pub(crate) fn close(&self) {
        self.closed.cancel();
    }

    /// What waits, by channel.
    pub(crate) fn untold(&self) -> Vec<Untold> {
        self.with(|channels| {
            let untold = channels.iter().map(|channel| Untold {
                channel: channel.name,
                cameras: channel.outbox.cameras(),
                failing_since: channel.failing.as_ref().map(|(since, _)| *since),
                why: channel.failing.as_ref().map(|(_, why)| why.clone()),
            });
            untold.collect()
        })
    }

    /// A message has ended on a channel. Returns what every channel has told by that, and a message that is given up.
    fn ended(
        &self,
        name: &str,
        alarm: &Alarm,
        end: &End,
        now: Timestamp,
    ) -> (Vec<Change>, Option<Alarm>) {
        self.with(|channels| {
            let Some(channel) = channels.iter_mut().find(|channel| channel.name == name) else {
                return (Vec::new(), None);
            };
            let given_up = channel.outbox.ended(!matches!(end, End::Failed(_)));
            match end {
                End::Told(None) => channel.failing = None,
                End::Told(Some(why)) => channel.fails(why, now),
                End::Failed(why) => {
                    channel.fails(why, now);
                    return (Vec::new(), given_up);
                }
                End::NotOurs => return (Vec::new(), given_up),
            }
            let told = |camera: &CameraId| channels.iter().all(|other| !other.outbox.holds(camera));
            let told = cameras(alarm).filter(|(camera, _)| told(camera));
            let told = told.map(|(camera, since)| (camera.clone(), since));
            (told.collect(), given_up)
        })
    }
}

/// How a message ended on a channel.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// Somebody got it; if an address did not, why.
    Told(Option<String>),
    /// Nobody did.
    Failed(String),
    /// Another process tells it.
    NotOurs,
}

/// Hands a message to every channel; never waits.
pub(crate) fn queue(shared: &Shared, alarm: Alarm) {
    shared.metrics.alarm(Word::from(&alarm.kind));
    shared.deliveries.with(|channels| {
        for channel in channels {
            if let Some(given_up) = channel.outbox.push(alarm.clone()) {
                lose(shared, channel.name, &given_up);
            }
            channel.news.notify_one();
        }
    });
}

fn lose(shared: &Shared, channel: &str, alarm: &Alarm) {
    shared.metrics.alarms_dropped.inc();
    tracing::error!(
        alarm = word(&alarm.kind),
        channel,
        "a message was given up: the channel does not keep up"
    );
}

/// Looks at all cameras until `cancel` is cancelled.
pub(crate) async fn watch(shared: Arc<Shared>, cancel: CancellationToken) {
    let origin = shared.clock.monotonic();
    let mut table = Alarms::new(shared.settings.clone());
    while !sleep(&*shared.clock, LOOK_EVERY, &cancel)
        .await
        .is_cancelled()
    {
        let now = shared.clock.monotonic().saturating_duration_since(origin);
        let mut entries = shared.board.all();
        entries.retain(|entry| entry.ours);
        table.set_after(*shared.alarm_after.borrow());
        if shared.deliveries.all_new.swap(false, Ordering::AcqRel) {
            table.forget_untold(&entries);
        }
        let (messages, forgotten) = table.look(&entries, now, shared.now());
        remember(&shared, forgotten);
        for message in messages {
            tracing::warn!(
                alarm = word(&message.kind),
                cameras = subjects(&message),
                "alarm"
            );
            queue(&shared, message);
        }
    }
}

fn remember(shared: &Shared, changes: Vec<Change>) {
    for (camera, since) in changes {
        shared.mailbox(&camera).alarmed(since);
    }
}

/// Every channel has told it. A camera that was switched off meanwhile the table has forgotten.
fn remember_told(shared: &Shared, mut told: Vec<Change>) {
    told.retain(|(camera, since)| since.is_none() || is_still_watched(shared, camera));
    remember(shared, told);
}

fn is_still_watched(shared: &Shared, camera: &CameraId) -> bool {
    let entry = shared.board.get(camera);
    entry.is_some_and(|entry| is_watched(&entry))
}

/// The cameras that a message is about, by id.
fn subjects(alarm: &Alarm) -> String {
    let ids: Vec<String> = cameras(alarm).map(|(id, _)| id.to_string()).collect();
    match &alarm.kind {
        AlarmKind::KeyInTwoPlaces { camera, .. }
        | AlarmKind::AgentRolledBack { camera, .. }
        | AlarmKind::Notice { camera, .. } => camera.to_string(),
        _ => ids.join(" "),
    }
}

/// The channels that there are; none where nobody is reached.
pub(crate) fn channels(ports: &Ports) -> Vec<&'static str> {
    match ports.notifier.reaches_anybody() {
        true => ports.notifier.channels(),
        false => Vec::new(),
    }
}

/// Tells on every channel that was opened. Whenever the alarms are `set` anew, it asks which there are now and begins again with those: what is
/// under way may go to an address that nobody means any more.
pub(crate) async fn tell(
    shared: Arc<Shared>,
    ports: Arc<Ports>,
    mut set: watch::Receiver<Duration>,
) {
    loop {
        let mut tasks = JoinSet::new();
        for channel in shared.deliveries.names() {
            let telling = tell_by(Arc::clone(&shared), Arc::clone(&ports), channel);
            tasks.spawn(telling.in_current_span());
        }
        tokio::select! {
            () = over(&mut tasks, &shared.deliveries.closed) => return,
            _ = set.changed() => {}
        }
        tasks.shutdown().await;
        let (given_up, told) = shared.deliveries.open(&channels(&ports));
        for (channel, alarm) in given_up {
            lose(&shared, channel, &alarm);
        }
        remember_told(&shared, told);
    }
}

/// Until every channel has told what it can after the deliveries were closed; at once when its task panicked: what was not told is remembered,
/// and told by the next start.
async fn over(tasks: &mut JoinSet<()>, closed: &CancellationToken) {
    while let Some(done) = tasks.join_next().await {
        if done.is_err() {
            return;
        }
    }
    closed.cancelled().await;
}

/// Tells one message after another on one channel, and what did not get out again.
async fn tell_by(shared: Arc<Shared>, ports: Arc<Ports>, name: &'static str) {
    let (deliveries, clock) = (&shared.deliveries, &*shared.clock);
    let Some(news) = deliveries.channel(name, |channel| Arc::clone(&channel.news)) else {
        return;
    };
    let (shortest, longest) = AGAIN_AFTER;
    let mut pauses = Backoff::new(shortest, longest, longest, Jitter::Equal)
        .unwrap_or_else(|_| Backoff::standard());
    let mut again_at = None::<Instant>;
    loop {
        let due = again_at.is_none_or(|at| at <= clock.monotonic());
        let owed_too = due && !deliveries.closed.is_cancelled();
        let watched = |camera: &CameraId| is_still_watched(&shared, camera);
        let now = shared.now();
        let next = |channel: &mut Channel| channel.outbox.next(owed_too, now, watched);
        let Some(alarm) = deliveries.channel(name, next).flatten() else {
            let (queued, owes) = deliveries
                .channel(name, |channel| {
                    (channel.outbox.is_queued(), channel.outbox.owes())
                })
                .unwrap_or_default();
            if deliveries.closed.is_cancelled() && !queued {
                return;
            }
            let again = async {
                match again_at.filter(|_| owes) {
                    Some(at) => clock.sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = news.notified() => {}
                () = deliveries.closed.cancelled(), if !deliveries.closed.is_cancelled() => {}
                () = again => {}
            }
            continue;
        };
        let end = tell_one(&shared, &ports, name, &alarm).await;
        match &end {
            End::Failed(_) => again_at = Some(clock.monotonic() + pauses.next_delay()),
            End::Told(_) | End::NotOurs => {
                pauses.reset();
                again_at = None;
            }
        }
        let (told, given_up) = deliveries.ended(name, &alarm, &end, shared.now());
        if let Some(given_up) = given_up {
            lose(&shared, name, &given_up);
        }
        remember_told(&shared, told);
    }
}

async fn tell_one(shared: &Shared, ports: &Ports, channel: &'static str, alarm: &Alarm) -> End {
    let kind = word(&alarm.kind);
    let telling = ports.notifier.tell_by(channel, alarm);
    let Ok(results) = timeout(&*shared.clock, TELL_DEADLINE, telling).await else {
        let why = "the notifier did not end in its time";
        tracing::error!(alarm = kind, channel, why);
        return End::Failed(why.to_owned());
    };
    let (mut told, mut failed) = (false, None);
    for result in results {
        match result {
            Ok(channel) => {
                shared.metrics.told(channel, Delivery::Sent);
                tracing::info!(alarm = kind, channel, "told");
                told = true;
            }
            Err(error) => {
                shared.metrics.told(error.channel, Delivery::Failed);
                let why = Untrusted::new(&error.why).to_string();
                tracing::error!(alarm = kind, channel = error.channel, %why, "not told");
                failed.get_or_insert(why);
            }
        }
    }
    match (told, failed) {
        (true, failed) => End::Told(failed),
        (false, Some(why)) => End::Failed(why),
        (false, None) => End::NotOurs,
    }
}
