//! The metric by which an operator sees that a front door does not reach the people's database: it serves from memory, so that nobody else notices.

use std::fmt;
use std::sync::Arc;

use moorline_registry::PeopleRegistry;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// Tells how far memory is behind `database`, at each scrape. A front door whose people are its own has none, and says nothing.
pub fn register(database: Option<Arc<PeopleRegistry>>, registry: &mut Registry) {
    registry.register_collector(Box::new(Behind(database)));
}

#[derive(Debug)]
struct Behind(Option<Arc<PeopleRegistry>>);

impl Collector for Behind {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let help = "Time since a front door read from PostgreSQL last who may watch";
        let name = "people_behind_seconds";
        let family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        match &self.0 {
            Some(database) => {
                let seconds = i64::try_from(database.behind().as_secs()).unwrap_or(i64::MAX);
                ConstGauge::new(seconds).encode(family)
            }
            None => Ok(()),
        }
    }
}
