//! The metrics by which an operator sees that a part of the cluster does not reach the API server.

use std::fmt;

use moorline_kube::Pulse;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// Tells what `pulse` has heard, at each scrape.
pub fn register(pulse: Pulse, registry: &mut Registry) {
    registry.register_collector(Box::new(Answers(pulse)));
}

#[derive(Debug)]
struct Answers(Pulse);

impl Collector for Answers {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let heard = self.0.heard();
        let help =
            "Whether the API server answered a moment ago: 1, else 0; in the parts of a cluster";
        let name = "api_server_reachable";
        let family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(i64::from(heard.answers)).encode(family)?;
        let help = "When the API server answered last, in seconds since 1970";
        let name = "api_server_answered_timestamp_seconds";
        let family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        match heard.last {
            Some(last) => ConstGauge::new(last.as_millis() / 1_000).encode(family),
            None => Ok(()),
        }
    }
}
