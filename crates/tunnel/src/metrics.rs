//! What the SSH server counts.
//!
//! Every label is from a closed set; no text of a peer becomes one.

use moorline_core::camera::RefusalReason;
use moorline_core::port::LandingError;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::closed::Closed;
use crate::queue::Bound;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    request: &'static str,
}

type Reasons = Family<Reason, Counter>;

moorline_core::words! {
    /// What a peer asked for, and is refused.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum RequestRefused {
        Agent = "agent",
        ChannelTooMany = "channel_too_many",
        DirectStreamlocal = "direct_streamlocal",
        DirectTcpip = "direct_tcpip",
        Env = "env",
        /// Another server takes its stream: this one is its endpoint alone.
        ForwardAtEndpoint = "forward_at_endpoint",
        /// The camera is read over the LAN.
        ForwardOfLanCamera = "forward_of_lan_camera",
        /// The same address and port twice.
        ForwardRepeated = "forward_repeated",
        /// The session has as many as it may have.
        ForwardTooMany = "forward_too_many",
        /// The camera's record has no name for it.
        ForwardUnnamed = "forward_unnamed",
        ForwardedTcpip = "forwarded_tcpip",
        Pty = "pty",
        SecondCommand = "second_command",
        StreamlocalForward = "streamlocal_forward",
        Subsystem = "subsystem",
        WindowChange = "window_change",
        X11 = "x11",
        X11Channel = "x11_channel",
    }
}

moorline_core::words! {
    /// What became of an enrolment.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum EnrolmentEnd {
        /// It is a camera now.
        Enrolled = "enrolled",
        /// Its token is not accepted, or cannot make that camera.
        Refused = "refused",
        /// Its token was used by another key.
        Spent = "spent",
        /// It could not be decided.
        Failed = "failed",
    }
}

moorline_core::words! {
    /// A [`LandingError`].
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum StreamFailed {
        Away = "away",
        RefusedByCamera = "refused_by_camera",
        Superseded = "superseded",
        Unknown = "unknown",
    }
}

impl From<&LandingError> for StreamFailed {
    fn from(error: &LandingError) -> Self {
        match error {
            LandingError::Away => Self::Away,
            LandingError::RefusedByCamera => Self::RefusedByCamera,
            LandingError::Superseded => Self::Superseded,
            LandingError::Unknown => Self::Unknown,
        }
    }
}

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
    enrolments: Reasons,
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
        all.register(
            "enrolments",
            "Enrolments that were asked for, by what became of them",
            metrics.enrolments.clone(),
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
        metrics.begin_at_zero();
        metrics
    }

    /// A counter that exists from the start shows its first increase.
    fn begin_at_zero(&self) {
        for (family, reasons) in [
            (&self.not_admitted, &["held_off", "full", "stopping"][..]),
            (
                &self.logins_refused,
                &RefusalReason::ALL.map(RefusalReason::as_str),
            ),
            (&self.closed, &Closed::ALL.map(Closed::as_str)),
            (
                &self.streams_failed,
                &StreamFailed::ALL.map(StreamFailed::as_str),
            ),
            (&self.channels_overflowed, &Bound::ALL.map(Bound::as_str)),
            (&self.lines_dropped, &["too_long", "monitor_busy"]),
            (
                &self.enrolments,
                &EnrolmentEnd::ALL.map(EnrolmentEnd::as_str),
            ),
        ] {
            for reason in reasons {
                drop(family.get_or_create(&Reason { reason }));
            }
        }
        for request in RequestRefused::ALL.map(RequestRefused::as_str) {
            drop(self.requests_refused.get_or_create(&Request { request }));
        }
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

    pub(crate) fn login_refused(&self, reason: RefusalReason) {
        let reason = reason.as_str();
        self.logins_refused.get_or_create(&Reason { reason }).inc();
    }

    pub(crate) fn closed(&self, closed: Closed) {
        let reason = closed.as_str();
        self.closed.get_or_create(&Reason { reason }).inc();
    }

    pub(crate) fn request_refused(&self, request: RequestRefused) {
        let request = request.as_str();
        self.requests_refused
            .get_or_create(&Request { request })
            .inc();
    }

    pub(crate) fn stream_opened(&self) {
        self.streams.inc();
    }

    pub(crate) fn stream_failed(&self, failed: StreamFailed) {
        let reason = failed.as_str();
        self.streams_failed.get_or_create(&Reason { reason }).inc();
    }

    pub(crate) fn overflowed(&self, bound: Bound) {
        let reason = bound.as_str();
        self.channels_overflowed
            .get_or_create(&Reason { reason })
            .inc();
    }

    pub(crate) fn enrolment(&self, end: EnrolmentEnd) {
        let reason = end.as_str();
        self.enrolments.get_or_create(&Reason { reason }).inc();
    }

    pub(crate) fn lines_dropped(&self, reason: &'static str, count: u64) {
        self.lines_dropped
            .get_or_create(&Reason { reason })
            .inc_by(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_is_there_from_the_start() {
        let mut registry = Registry::with_prefix("moorline");
        let metrics = TunnelMetrics::register(&mut registry);
        metrics.closed(Closed::Superseded);
        metrics.request_refused(RequestRefused::DirectTcpip);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "moorline_ssh_sessions_closed_total{reason=\"superseded\"} 1\n",
            "moorline_ssh_sessions_closed_total{reason=\"login_grace\"} 0\n",
            "moorline_ssh_requests_refused_total{request=\"direct_tcpip\"} 1\n",
            "moorline_ssh_requests_refused_total{request=\"forward_at_endpoint\"} 0\n",
            "moorline_ssh_logins_refused_total{reason=\"stolen\"} 0\n",
            "moorline_ssh_logins_refused_total{reason=\"key_algorithm\"} 0\n",
            "moorline_ssh_queued_bytes 0\n",
            "moorline_ssh_received_bytes_total 0\n",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
