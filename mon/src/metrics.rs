//! What the monitor counts, and what it reads off the board at each scrape. `camera` is the only open label.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use moorline_base::SharedClock;
use moorline_core::lifecycle::Role;
use moorline_core::port::AlarmChannel;
use moorline_core::status::LinkStatus;
use moorline_core::{Cause, Timestamp};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::alarm_task::{Deliveries, Delivery, Word};
use crate::board::{Board, Entry};

type Label = [(&'static str, &'static str); 1];
type TwoLabels = [(&'static str, &'static str); 2];

/// Counters.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    gap_seconds: Family<Label, Counter<f64, AtomicU64>>,
    alarms: Family<Label, Counter>,
    told: Family<TwoLabels, Counter>,
    restarts: Family<Label, Counter>,
    pub(crate) alarms_dropped: Counter,
    pub(crate) claims_lost: Counter,
    pub(crate) claims_waited: Counter,
    pub(crate) notices_held_back: Counter,
    pub(crate) lines_dropped: Counter,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "gap_seconds",
            "Seconds of cameras without media, by cause",
            metrics.gap_seconds.clone(),
        );
        registry.register(
            "alarms",
            "Messages about cameras, by kind",
            metrics.alarms.clone(),
        );
        registry.register(
            "alarm_deliveries",
            "Deliveries of messages, by channel and result",
            metrics.told.clone(),
        );
        registry.register(
            "alarms_dropped",
            "Notices given up because the channel does not keep up",
            metrics.alarms_dropped.clone(),
        );
        registry.register(
            "workload_restarts",
            "Workloads started again after they ended although nobody asked them to, by role",
            metrics.restarts.clone(),
        );
        registry.register(
            "claims_lost",
            "Tunnels ended because their claim failed",
            metrics.claims_lost.clone(),
        );
        registry.register(
            "claims_waited",
            "Claims that had to wait for the turn of their tenant or of the process",
            metrics.claims_waited.clone(),
        );
        registry.register(
            "notices_held_back",
            "Notices about cameras that were logged and shown, but not sent: too many of them",
            metrics.notices_held_back.clone(),
        );
        registry.register(
            "control_lines_dropped",
            "Lines of cameras dropped because their mailbox was full",
            metrics.lines_dropped.clone(),
        );
        metrics.begin_at_zero();
        metrics
    }

    /// A counter that exists from the start shows its first increase.
    fn begin_at_zero(&self) {
        for cause in Cause::ALL.map(Cause::as_str) {
            drop(self.gap_seconds.get_or_create(&[("cause", cause)]));
        }
        for kind in Word::ALL.map(Word::as_str) {
            drop(self.alarms.get_or_create(&[("kind", kind)]));
        }
        for channel in AlarmChannel::ALL.map(AlarmChannel::as_str) {
            for result in Delivery::ALL.map(Delivery::as_str) {
                let labels = [("channel", channel), ("result", result)];
                drop(self.told.get_or_create(&labels));
            }
        }
        for role in Role::ALL.map(Role::as_str) {
            drop(self.restarts.get_or_create(&[("role", role)]));
        }
    }

    /// Time of a camera has passed without media.
    pub(crate) fn missed(&self, cause: Cause, long: Duration) {
        let label = [("cause", cause.as_str())];
        self.gap_seconds
            .get_or_create(&label)
            .inc_by(long.as_secs_f64());
    }

    /// A message was made.
    pub(crate) fn alarm(&self, kind: Word) {
        let label = [("kind", kind.as_str())];
        self.alarms.get_or_create(&label).inc();
    }

    /// A channel has done with a message.
    pub(crate) fn told(&self, channel: &'static str, result: Delivery) {
        let labels = [("channel", channel), ("result", result.as_str())];
        self.told.get_or_create(&labels).inc();
    }

    /// A workload was started again.
    pub(crate) fn restarted(&self, role: Role) {
        self.restarts
            .get_or_create(&[("role", role.as_str())])
            .inc();
    }
}

/// Gauges, read off the board at each scrape: a camera that is removed leaves nothing behind, nor does one that another process tells of.
pub(crate) struct BoardMetrics {
    board: Arc<Board>,
    deliveries: Arc<Deliveries>,
    clock: SharedClock,
}

impl BoardMetrics {
    pub(crate) fn new(board: Arc<Board>, deliveries: Arc<Deliveries>, clock: SharedClock) -> Self {
        Self {
            board,
            deliveries,
            clock,
        }
    }
}

impl fmt::Debug for BoardMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BoardMetrics")
    }
}

impl Collector for BoardMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let mut entries = self.board.all();
        entries.retain(|entry| entry.ours);
        let now = Timestamp::from_millis(self.clock.wall_ms());
        links(&mut encoder, &entries)?;
        untold(&mut encoder, &self.deliveries)?;
        each(
            &mut encoder,
            &entries,
            "camera_durable_lag_seconds",
            "Time since the instant up to which everything of the camera is durable or explained",
            |entry| Some(now.since(entry.status.durable_until?).as_secs_f64()),
        )?;
        each(
            &mut encoder,
            &entries,
            "camera_readers",
            "Readers of the camera's relay, the archiver included",
            |entry| {
                let relays = entry.status.relays.iter();
                Some(relays.map(|relay| i64::from(relay.readers)).sum::<i64>())
            },
        )?;
        each(
            &mut encoder,
            &entries,
            "camera_bits_per_second",
            "Media received from the camera, all sources",
            |entry| {
                let relays = entry.status.relays.iter();
                let bits: u64 = relays.map(|relay| relay.bits_per_second).sum();
                Some(i64::try_from(bits).unwrap_or(i64::MAX))
            },
        )
    }
}

/// How many cameras are in each state of the link.
fn links(encoder: &mut DescriptorEncoder<'_>, entries: &[Arc<Entry>]) -> fmt::Result {
    let mut counts = BTreeMap::from([
        ("absent", 0_i64),
        ("connecting", 0),
        ("grace", 0),
        ("idle", 0),
        ("up", 0),
    ]);
    for entry in entries {
        let state = match entry.status.link {
            LinkStatus::Absent => "absent",
            LinkStatus::Grace { .. } => "grace",
            LinkStatus::Connecting { .. } => "connecting",
            LinkStatus::Idle { .. } => "idle",
            LinkStatus::Up { .. } => "up",
        };
        *counts.entry(state).or_default() += 1;
    }
    let help = "Cameras, by the state of their link";
    let mut family = encoder.encode_descriptor("cameras", help, None, MetricType::Gauge)?;
    for (state, count) in counts {
        ConstGauge::new(count).encode(family.encode_family(&[("state", state)])?)?;
    }
    Ok(())
}

/// How many cameras' alarms each channel has still to tell.
fn untold(encoder: &mut DescriptorEncoder<'_>, deliveries: &Deliveries) -> fmt::Result {
    let help = "Cameras of whose stop or return the channel has still to tell";
    let mut family = encoder.encode_descriptor("alarms_untold", help, None, MetricType::Gauge)?;
    for untold in deliveries.untold() {
        let count = i64::try_from(untold.cameras).unwrap_or(i64::MAX);
        let label = [("channel", untold.channel)];
        ConstGauge::new(count).encode(family.encode_family(&label)?)?;
    }
    Ok(())
}

/// One gauge per camera that has a value.
fn each<V: EncodeGaugeValue>(
    encoder: &mut DescriptorEncoder<'_>,
    entries: &[Arc<Entry>],
    name: &str,
    help: &str,
    value: impl Fn(&Entry) -> Option<V>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for entry in entries {
        if let Some(value) = value(entry) {
            let label = [("camera", entry.camera.id.to_string())];
            ConstGauge::new(value).encode(family.encode_family(&label)?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_is_there_from_the_start() {
        let mut registry = Registry::with_prefix("moorline");
        let _ = Metrics::register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "moorline_gap_seconds_total{cause=\"spool_full\"} 0.0\n",
            "moorline_alarms_total{kind=\"recording_stopped\"} 0\n",
            "moorline_alarm_deliveries_total{channel=\"email\",result=\"failed\"} 0\n",
            "moorline_workload_restarts_total{role=\"archiver\"} 0\n",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
