//! What the archiver counts. Closed lists alone are labels.

use moorline_core::Cause;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::error::Ended;
use crate::uploader::Reason;

type Label = [(&'static str, &'static str); 1];

/// The counters `moorline_archive_*`; clones are the same.
#[derive(Debug, Clone, Default)]
pub struct ArchiveMetrics {
    fragments: Counter,
    recorded_bytes: Counter,
    segments: Counter,
    uploaded: Counter,
    uploaded_bytes: Counter,
    upload_failures: Family<Label, Counter>,
    evicted: Counter,
    gaps: Family<Label, Counter>,
    takes: Family<Label, Counter>,
    holes: Counter,
    pub(crate) spool_bytes: Gauge,
    pub(crate) spool_objects: Gauge,
}

impl ArchiveMetrics {
    /// Registers them all.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "archive_fragments_synced",
            "Fragments that are on disk for certain",
            self.fragments.clone(),
        );
        registry.register(
            "archive_recorded_bytes",
            "Bytes of synced fragments",
            self.recorded_bytes.clone(),
        );
        registry.register(
            "archive_segments_sealed",
            "Segments sealed",
            self.segments.clone(),
        );
        registry.register(
            "archive_uploads",
            "Objects that the store acknowledged",
            self.uploaded.clone(),
        );
        registry.register(
            "archive_uploaded_bytes",
            "Bytes that the store acknowledged",
            self.uploaded_bytes.clone(),
        );
        registry.register(
            "archive_upload_failures",
            "Uploads that failed, by reason",
            self.upload_failures.clone(),
        );
        registry.register(
            "archive_segments_evicted",
            "Segments given up at the spool's bound",
            self.evicted.clone(),
        );
        registry.register(
            "archive_gaps_written",
            "Gap markers written, by cause",
            self.gaps.clone(),
        );
        registry.register(
            "archive_takes_ended",
            "Takes that ended, by reason",
            self.takes.clone(),
        );
        registry.register(
            "archive_holes",
            "Losses inside segments",
            self.holes.clone(),
        );
        registry.register(
            "archive_spool_bytes",
            "Bytes that the store has not acknowledged",
            self.spool_bytes.clone(),
        );
        registry.register(
            "archive_spool_objects",
            "Sealed objects that the store has not acknowledged",
            self.spool_objects.clone(),
        );
        self.begin_at_zero();
    }

    /// A counter that exists from the start shows its first increase.
    fn begin_at_zero(&self) {
        for reason in Reason::ALL.map(Reason::as_str) {
            drop(self.upload_failures.get_or_create(&[("reason", reason)]));
        }
        for cause in Cause::ALL.map(Cause::as_str) {
            drop(self.gaps.get_or_create(&[("cause", cause)]));
        }
        for reason in Ended::ALL.map(Ended::as_str) {
            drop(self.takes.get_or_create(&[("reason", reason)]));
        }
    }

    pub(crate) fn synced(&self, bytes: u64) {
        self.fragments.inc();
        self.recorded_bytes.inc_by(bytes);
    }

    pub(crate) fn sealed(&self) {
        self.segments.inc();
    }

    pub(crate) fn uploaded(&self, bytes: u64) {
        self.uploaded.inc();
        self.uploaded_bytes.inc_by(bytes);
    }

    pub(crate) fn upload_failed(&self, reason: Reason) {
        self.upload_failures
            .get_or_create(&[("reason", reason.as_str())])
            .inc();
    }

    pub(crate) fn evicted(&self) {
        self.evicted.inc();
    }

    pub(crate) fn gap(&self, cause: Cause) {
        self.gaps.get_or_create(&[("cause", cause.as_str())]).inc();
    }

    pub(crate) fn take_ended(&self, reason: &'static str) {
        self.takes.get_or_create(&[("reason", reason)]).inc();
    }

    pub(crate) fn hole(&self) {
        self.holes.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_is_there_from_the_start() {
        let mut registry = Registry::with_prefix("moorline");
        ArchiveMetrics::default().register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "moorline_archive_upload_failures_total{reason=\"refused\"} 0\n",
            "moorline_archive_gaps_written_total{cause=\"tunnel_down\"} 0\n",
            "moorline_archive_takes_ended_total{reason=\"boundary\"} 0\n",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
