//! Wanting a stream: as long as a lease lives, the camera is read.

use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;

use super::Source;
use crate::metrics::Kind;

moorline_core::words! {
    /// Who wants it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum ReaderKind {
        /// The archiver.
        Archiver = "archiver",
        /// A viewer over RTSP.
        Viewer = "viewer",
        /// A browser.
        Browser = "browser",
    }
}

impl Source {
    fn readers_of(&self, kind: ReaderKind) -> Gauge {
        let kind = Kind {
            kind: kind.as_str(),
        };
        self.metrics.readers.get_or_create_owned(&kind)
    }
}

/// A claim on a source; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    source: Arc<Source>,
    kind: ReaderKind,
}

impl Lease {
    /// Wants `source` from now on.
    pub(crate) fn new(source: &Arc<Source>, kind: ReaderKind) -> Self {
        source.demand.send_modify(|demand| {
            if let Some(count) = demand.get_mut(kind as usize) {
                *count += 1;
            }
        });
        source.readers_of(kind).inc();
        Self {
            source: Arc::clone(source),
            kind,
        }
    }

    pub(crate) fn source(&self) -> &Arc<Source> {
        &self.source
    }

    pub(crate) fn kind(&self) -> ReaderKind {
        self.kind
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.source.readers_of(self.kind).dec();
        self.source.demand.send_modify(|demand| {
            if let Some(count) = demand.get_mut(self.kind as usize) {
                *count = count.saturating_sub(1);
            }
        });
    }
}
