//! What gateway, signer and a relay's ticket door count. Every label is from a closed set; no text of a peer becomes one.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Reason {
    pub(crate) reason: &'static str,
}

/// Counters and gauges of the tunnel gateway. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct GatewayMetrics {
    pub(crate) answers: Family<Answer, Counter>,
    pub(crate) streams: Gauge,
    pub(crate) held: Gauge,
    pub(crate) links: Gauge,
    pub(crate) evicted: Counter,
    pub(crate) closed: Family<Reason, Counter>,
}

impl GatewayMetrics {
    /// Metrics that `registry` exports under `gateway_…`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let gateway = registry.sub_registry_with_prefix("gateway");
        gateway.register(
            "answers",
            "Answers to requests of pods and peers, by status and reason",
            metrics.answers.clone(),
        );
        gateway.register(
            "streams",
            "Streams between relays and cameras",
            metrics.streams.clone(),
        );
        gateway.register(
            "held",
            "Requests that wait for an absent camera",
            metrics.held.clone(),
        );
        gateway.register(
            "links",
            "Control connections of workload pods",
            metrics.links.clone(),
        );
        gateway.register(
            "strangers_evicted",
            "Connections closed to make room before they showed a token",
            metrics.evicted.clone(),
        );
        gateway.register(
            "closed",
            "Connections that ended before an answer, and streams that were ended here, by reason",
            metrics.closed.clone(),
        );
        // What there is from the start shows its first increase, and stands in the reference.
        for status in [200, 101] {
            let granted = Answer {
                status,
                reason: "ok",
            };
            drop(metrics.answers.get_or_create(&granted));
        }
        drop(metrics.closed.get_or_create(&Reason {
            reason: "peer_closed",
        }));
        metrics
    }
}

/// Counters of the signer. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct SignerMetrics {
    pub(crate) answers: Family<SignerAnswer, Counter>,
    pub(crate) signed_bytes: Counter,
    pub(crate) evicted: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct SignerAnswer {
    pub(crate) request: &'static str,
    pub(crate) reason: &'static str,
}

impl SignerMetrics {
    /// Metrics that `registry` exports under `signer_…`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let signer = registry.sub_registry_with_prefix("signer");
        signer.register(
            "answers",
            "Answers, by request and reason; the reason of what was granted is ok",
            metrics.answers.clone(),
        );
        signer.register(
            "signed_bytes",
            "Bytes that may be put by what was signed",
            metrics.signed_bytes.clone(),
        );
        signer.register(
            "strangers_evicted",
            "Connections closed to make room before they showed a token",
            metrics.evicted.clone(),
        );
        for request in ["presign", "confirm", "last_end", "ticket"] {
            let granted = SignerAnswer {
                request,
                reason: "ok",
            };
            drop(metrics.answers.get_or_create(&granted));
        }
        metrics
    }
}

/// Counters of a relay's ticket door. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct TicketMetrics {
    pub(crate) answers: Family<Reason, Counter>,
    pub(crate) streams: Gauge,
    pub(crate) evicted: Counter,
}

impl TicketMetrics {
    /// Metrics that `registry` exports under `tickets_…`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let tickets = registry.sub_registry_with_prefix("tickets");
        tickets.register(
            "answers",
            "Answers to readers with tickets, by reason; the reason of what was opened is ok",
            metrics.answers.clone(),
        );
        tickets.register(
            "streams",
            "Readers that are connected",
            metrics.streams.clone(),
        );
        tickets.register(
            "strangers_evicted",
            "Connections closed to make room before they showed a ticket",
            metrics.evicted.clone(),
        );
        drop(metrics.answers.get_or_create(&Reason { reason: "ok" }));
        metrics
    }
}
