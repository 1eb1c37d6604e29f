//! What relays and front door count. Every label is from a closed set; no text of a peer becomes one.

use moorline_core::status::RtspFault;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::reader::{End, Refusal};
use crate::source::ReaderKind;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Reason {
    pub(crate) reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Kind {
    pub(crate) kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Status {
    status: &'static str,
}

/// Counters and gauges of relays and front door. Clones are the same metrics.
#[derive(Debug, Clone, Default)]
pub struct ProxyMetrics {
    pub(crate) relays: Gauge,
    pub(crate) upstream_plays: Counter,
    pub(crate) upstream_faults: Family<Reason, Counter>,
    pub(crate) resyncs: Counter,
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
    pub(crate) readers: Family<Kind, Gauge>,
    pub(crate) reader_jumps: Family<Kind, Counter>,
    pub(crate) readers_closed: Family<Reason, Counter>,
    pub(crate) connections: Counter,
    pub(crate) strangers: Gauge,
    pub(crate) strangers_evicted: Counter,
    pub(crate) logins_failed: Counter,
    refusals: Family<Status, Counter>,
}

impl ProxyMetrics {
    /// Metrics that `registry` exports under `relay_…` and `rtsp_…` (behind the prefix of the registry).
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let relay = registry.sub_registry_with_prefix("relay");
        relay.register("running", "Relays that run", metrics.relays.clone());
        relay.register(
            "upstream_plays",
            "Times that a camera's stream began to play",
            metrics.upstream_plays.clone(),
        );
        relay.register(
            "upstream_faults",
            "Failed or broken reads of cameras, by reason",
            metrics.upstream_faults.clone(),
        );
        relay.register(
            "resyncs",
            "Times that a camera's framing was lost and found again",
            metrics.resyncs.clone(),
        );
        relay.register_with_unit(
            "received",
            "Read from cameras",
            Unit::Bytes,
            metrics.received.clone(),
        );
        relay.register_with_unit(
            "sent",
            "Written to readers",
            Unit::Bytes,
            metrics.sent.clone(),
        );
        relay.register(
            "readers",
            "Readers that are connected, by kind",
            metrics.readers.clone(),
        );
        relay.register(
            "reader_jumps",
            "Times that a slow reader was moved to the next key frame, by kind",
            metrics.reader_jumps.clone(),
        );
        relay.register(
            "readers_closed",
            "Readers that ended, by reason",
            metrics.readers_closed.clone(),
        );
        let door = registry.sub_registry_with_prefix("rtsp");
        door.register(
            "connections",
            "Connections that the front door accepted",
            metrics.connections.clone(),
        );
        door.register(
            "strangers",
            "Connections that have not authenticated",
            metrics.strangers.clone(),
        );
        door.register(
            "strangers_evicted",
            "Connections closed to make room before they authenticated",
            metrics.strangers_evicted.clone(),
        );
        door.register(
            "logins_failed",
            "Wrong stream passwords and unknown users",
            metrics.logins_failed.clone(),
        );
        door.register(
            "refusals",
            "Requests of authenticated readers that were refused, by status",
            metrics.refusals.clone(),
        );
        metrics.begin_at_zero();
        metrics
    }

    /// A counter that exists from the start shows its first increase.
    fn begin_at_zero(&self) {
        for fault in RtspFault::ALL {
            let reason = fault.as_str();
            drop(self.upstream_faults.get_or_create(&Reason { reason }));
        }
        for kind in ReaderKind::ALL.map(ReaderKind::as_str) {
            drop(self.readers.get_or_create(&Kind { kind }));
            drop(self.reader_jumps.get_or_create(&Kind { kind }));
        }
        for reason in End::ALL.map(End::as_str) {
            drop(self.readers_closed.get_or_create(&Reason { reason }));
        }
        for status in Refusal::ALL.map(Refusal::as_str) {
            drop(self.refusals.get_or_create(&Status { status }));
        }
    }

    /// A reader whom the front door knows was refused.
    pub(crate) fn refused(&self, refusal: Refusal) {
        let status = refusal.as_str();
        self.refusals.get_or_create(&Status { status }).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_is_there_from_the_start() {
        let mut registry = Registry::with_prefix("moorline");
        let _ = ProxyMetrics::register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "moorline_relay_upstream_faults_total{reason=\"not_rtsp\"} 0\n",
            "moorline_relay_readers{kind=\"archiver\"} 0\n",
            "moorline_relay_reader_jumps_total{kind=\"browser\"} 0\n",
            "moorline_relay_readers_closed_total{reason=\"stalled\"} 0\n",
            "moorline_rtsp_refusals_total{status=\"453\"} 0\n",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
