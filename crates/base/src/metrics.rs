//! The process's metrics: one registry with the prefix `moorline`.
//!
//! Owns: the registry while the parts of a program register themselves, and the metrics that every program has. Does not own: what a part counts.

use std::sync::Arc;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::logging;

/// The registry while parts register themselves.
#[derive(Debug)]
pub struct Metrics {
    /// Where parts register.
    pub registry: Registry,
}

impl Default for Metrics {
    /// A registry that tells what all programs of the workspace have: the version, and how much of the log is lost.
    fn default() -> Self {
        let mut registry = Registry::with_prefix("moorline");
        let labels = vec![("version", env!("CARGO_PKG_VERSION"))];
        let build =
            Family::<Vec<(&'static str, &'static str)>, ConstGauge>::new_with_constructor(|| {
                ConstGauge::new(1_i64)
            });
        let _ = build.get_or_create(&labels);
        registry.register("build", "Version of the program; always 1", build);
        registry.register(
            "log_lines_lost",
            "Lines that are missing in the process's log, since nobody read it",
            logging::lines_lost(),
        );
        Self { registry }
    }
}

impl Metrics {
    /// The finished registry.
    #[must_use]
    pub fn finish(self) -> Arc<Registry> {
        Arc::new(self.registry)
    }
}
