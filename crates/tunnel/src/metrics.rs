//! What the SSH server counts.
//!
//! Every label is from a closed set; no text of a peer becomes one.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::closed::Closed;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    request: &'static str,
}

type Reasons = Family<Reason, Counter>;

/// The counters and gauges of the SSH server. Clones are the same metrics.
#[derive(Debug, Clone, Default)]
pub struct TunnelMetrics {
    connections: Counter,
    not_admitted: Reasons,
    logins: Counter,
    logins_refused: Reasons,
    closed: Reasons,
    requests_refused: Family<Request, Counter>,
    streams: Counter,
    streams_failed: Reasons,
    channels_overflowed: Reasons,
    lines_dropped: Reasons,
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
    pub(crate) sessions: Gauge,
    pub(crate) tunnels: Gauge,
    pub(crate) queued: Gauge,
}

impl TunnelMetrics {
    /// Metrics that `registry` exports under `ssh_…` (behind the prefix of the registry).
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = TunnelMetrics::default();
        let all = registry.sub_registry_with_prefix("ssh");
        all.register(
            "connections",
            "TCP connections that were accepted",
            metrics.connections.clone(),
        );
        all.register(
            "not_admitted",
            "Connections that were closed at once, by reason",
            metrics.not_admitted.clone(),
        );
        all.register(
            "logins",
            "Sessions whose key was proved",
            metrics.logins.clone(),
        );
        all.register(
            "logins_refused",
            "Keys that were refused, by reason",
            metrics.logins_refused.clone(),
        );
        all.register(
            "sessions_closed",
            "Connections that ended, by reason",
            metrics.closed.clone(),
        );
        all.register(
            "requests_refused",
            "Requests that cameras may not make, by kind",
            metrics.requests_refused.clone(),
        );
        all.register(
            "streams",
            "Byte streams that were opened through tunnels",
            metrics.streams.clone(),
        );
        all.register(
            "streams_failed",
            "Byte streams that could not be opened, by reason",
            metrics.streams_failed.clone(),
        );
        all.register(
            "channels_overflowed",
            "Channels closed because nobody read them, by the bound that was reached",
            metrics.channels_overflowed.clone(),
        );
        all.register(
            "lines_dropped",
            "Lines of the monitor's channel that were dropped, by reason",
            metrics.lines_dropped.clone(),
        );
        all.register_with_unit(
            "received",
            "Bytes read from sockets",
            Unit::Bytes,
            metrics.received.clone(),
        );
        all.register_with_unit(
            "sent",
            "Bytes written to sockets",
            Unit::Bytes,
            metrics.sent.clone(),
        );
        all.register(
            "sessions",
            "Sessions whose key is proved, now",
            metrics.sessions.clone(),
        );
        all.register(
            "tunnels",
            "Sessions with a granted forward, now",
            metrics.tunnels.clone(),
        );
        all.register_with_unit(
            "queued",
            "Bytes that wait for their reader, now",
            Unit::Bytes,
            metrics.queued.clone(),
        );
        metrics
    }

    pub(crate) fn connected(&self) {
        self.connections.inc();
    }

    pub(crate) fn not_admitted(&self, reason: &'static str) {
        self.not_admitted.get_or_create(&Reason { reason }).inc();
    }

    pub(crate) fn logged_in(&self) {
        self.logins.inc();
    }

    pub(crate) fn login_refused(&self, reason: &'static str) {
        self.logins_refused.get_or_create(&Reason { reason }).inc();
    }

    pub(crate) fn closed(&self, closed: Closed) {
        let reason = closed.as_str();
        self.closed.get_or_create(&Reason { reason }).inc();
    }

    pub(crate) fn request_refused(&self, request: &'static str) {
        self.requests_refused
            .get_or_create(&Request { request })
            .inc();
    }

    pub(crate) fn stream_opened(&self) {
        self.streams.inc();
    }

    pub(crate) fn stream_failed(&self, reason: &'static str) {
        self.streams_failed.get_or_create(&Reason { reason }).inc();
    }

    pub(crate) fn overflowed(&self, reason: &'static str) {
        self.channels_overflowed
            .get_or_create(&Reason { reason })
            .inc();
    }

    pub(crate) fn lines_dropped(&self, reason: &'static str, count: u64) {
        self.lines_dropped
            .get_or_create(&Reason { reason })
            .inc_by(count);
    }
}
