//! The tasks of the alarms: one looks at the board every 5 s, one hands out, and one of each channel tells.
//!
//! Owns: the queues between them, of 64 messages each; beyond that a message is dropped, logged and counted. Each channel has its own, since
//! a message on a dead one is tried for 10 minutes and must delay nothing on the others. Does not own: when somebody is told
//! ([`crate::alarms`]), nor how (the port `Notifier`).
//!
//! How they end: [`watch`] when its token is cancelled, [`tell`] when all senders of its queue are gone and all queues are empty.

use std::sync::Arc;
use std::time::Duration;

use moorline_base::clock::{sleep, timeout};
use moorline_base::{CancellationToken, Untrusted};
use moorline_core::alarm::{Alarm, AlarmKind};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::Instrument as _;

use crate::alarms::{Alarms, Change};
use crate::metrics::Metrics;
use crate::monitor::{Ports, Shared};

/// Messages that wait for the notifier.
pub(crate) const ALARMS: usize = 64;
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The notifier tries each channel for at most 10 minutes.
const TELL_DEADLINE: Duration = Duration::from_secs(11 * 60);

/// The word of an alarm in metrics and logs.
pub(crate) fn word(kind: &AlarmKind) -> &'static str {
    match kind {
        AlarmKind::RecordingStopped { .. } => "recording_stopped",
        AlarmKind::RecordingResumed { .. } => "recording_resumed",
        AlarmKind::KeyInTwoPlaces { .. } => "key_in_two_places",
        AlarmKind::Notice { .. } => "notice",
        AlarmKind::Test => "test",
    }
}

/// Hands a message over; never waits.
pub(crate) fn queue(metrics: &Metrics, alarms: &mpsc::Sender<Alarm>, alarm: Alarm) {
    let kind = word(&alarm.kind);
    metrics.alarm(kind);
    if alarms.try_send(alarm).is_err() {
        metrics.alarms_dropped.inc();
        tracing::error!(
            alarm = kind,
            "a message was dropped: the notifier does not keep up"
        );
    }
}

/// Looks at all cameras until `cancel` is cancelled.
pub(crate) async fn watch(
    shared: Arc<Shared>,
    ports: Arc<Ports>,
    alarms: mpsc::Sender<Alarm>,
    cancel: CancellationToken,
) {
    let origin = shared.clock.monotonic();
    let mut table = Alarms::new(shared.settings.clone());
    while !sleep(&*shared.clock, LOOK_EVERY, &cancel)
        .await
        .is_cancelled()
    {
        let now = shared.clock.monotonic().saturating_duration_since(origin);
        let entries = shared.board.all();
        let (messages, changes) = table.look(&entries, now, shared.now());
        // What nobody can be told is told by the first start that can: it is not remembered beyond this one.
        let told = |(_, since): &Change| since.is_none() || ports.notifier.reaches_anybody();
        for (camera, since) in changes.into_iter().filter(told) {
            shared.mailbox(&camera).alarmed(since);
        }
        for message in messages {
            tracing::warn!(
                alarm = word(&message.kind),
                cameras = subjects(&message.kind),
                "alarm"
            );
            queue(&shared.metrics, &alarms, message);
        }
    }
}

/// The cameras that a message is about, by id.
fn subjects(kind: &AlarmKind) -> String {
    match kind {
        AlarmKind::RecordingStopped { cameras, .. }
        | AlarmKind::RecordingResumed { cameras, .. } => {
            let ids: Vec<String> = cameras.iter().map(|camera| camera.id.to_string()).collect();
            ids.join(" ")
        }
        AlarmKind::KeyInTwoPlaces { camera, .. } | AlarmKind::Notice { camera, .. } => {
            camera.to_string()
        }
        AlarmKind::Test => String::new(),
    }
}

/// Hands each message to every channel.
pub(crate) async fn tell(shared: Arc<Shared>, ports: Arc<Ports>, mut queue: mpsc::Receiver<Alarm>) {
    let (mut channels, mut tasks) = (Vec::new(), JoinSet::new());
    for channel in ports.notifier.channels() {
        let (sender, messages) = mpsc::channel(ALARMS);
        let telling = tell_by(Arc::clone(&shared), Arc::clone(&ports), channel, messages);
        tasks.spawn(telling.in_current_span());
        channels.push((channel, sender));
    }
    while let Some(alarm) = queue.recv().await {
        for (channel, sender) in &channels {
            if sender.try_send(alarm.clone()).is_err() {
                shared.metrics.alarms_dropped.inc();
                let alarm = word(&alarm.kind);
                tracing::error!(
                    alarm,
                    channel,
                    "a message was dropped: the channel does not keep up"
                );
            }
        }
    }
    drop(channels);
    while tasks.join_next().await.is_some() {}
}

/// Tells one message after another on one channel.
async fn tell_by(
    shared: Arc<Shared>,
    ports: Arc<Ports>,
    channel: &'static str,
    mut queue: mpsc::Receiver<Alarm>,
) {
    while let Some(alarm) = queue.recv().await {
        let kind = word(&alarm.kind);
        let telling = ports.notifier.tell_by(channel, &alarm);
        let Ok(results) = timeout(&*shared.clock, TELL_DEADLINE, telling).await else {
            tracing::error!(
                alarm = kind,
                channel,
                "the notifier did not end in its time"
            );
            continue;
        };
        for result in results {
            match result {
                Ok(channel) => {
                    shared.metrics.told(channel, "sent");
                    tracing::info!(alarm = kind, channel, "told");
                }
                Err(error) => {
                    shared.metrics.told(error.channel, "failed");
                    let why = Untrusted::new(&error.why);
                    tracing::error!(alarm = kind, channel = error.channel, %why, "not told");
                }
            }
        }
    }
}
