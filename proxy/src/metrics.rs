//! What relays and front door count. Every label is from a closed set; no text of a peer becomes one.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Reason {
    pub(crate) reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Kind {
    pub(crate) kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Status {
    pub(crate) status: u16,
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
    pub(crate) refusals: Family<Status, Counter>,
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
        metrics
    }
}
