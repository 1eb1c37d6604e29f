//! Who is told, from the settings.

use std::fmt;
use std::sync::Arc;

use moorline_base::Secret;
use moorline_base::clock::{SharedClock, SystemClock};
use moorline_base::error::Hinted;
use moorline_core::port::Notifier;
use moorline_notify::{Config, Heartbeat, Outlets, Security};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::settings::{Alert, SmtpSecurity};

fn config(alert: &Alert) -> Config {
    Config {
        webhook: alert.webhook.expose().to_owned(),
        webhook_private: alert.webhook_private.clone(),
        webhook_http: alert.webhook_http,
        email_to: alert.email_to.clone(),
        email_from: alert.email_from.clone(),
        smtp: alert.smtp.clone(),
        smtp_security: match alert.smtp_security {
            SmtpSecurity::None => Security::None,
            SmtpSecurity::StartTls => Security::StartTls,
            SmtpSecurity::Tls => Security::Tls,
        },
        smtp_user: alert.smtp_user.clone(),
        smtp_password: Secret::new(alert.smtp_password.expose().clone()),
        heartbeat: alert.heartbeat.expose().to_owned(),
        heartbeat_every: alert.heartbeat_every,
    }
}

/// Whether channels and heartbeat can be made of the settings. Connects to nobody.
///
/// # Errors
/// The first setting that is wrong.
pub fn check(alert: &Alert) -> Result<(), moorline_notify::ConfigError> {
    let clock = SystemClock::shared();
    Outlets::new(&config(alert), Arc::clone(&clock))?;
    Heartbeat::new(&config(alert), clock).map(drop)
}

/// The channels that are configured.
///
/// # Errors
/// A setting is wrong; names it.
pub fn of(alert: &Alert, clock: &SharedClock) -> anyhow::Result<Arc<dyn Notifier>> {
    let outlets = Outlets::new(&config(alert), Arc::clone(clock)).map_err(|error| wrong(&error))?;
    Ok(Arc::new(outlets))
}

/// The heartbeat, if one is configured.
///
/// # Errors
/// A setting is wrong; names it.
pub fn heartbeat(alert: &Alert, clock: &SharedClock) -> anyhow::Result<Option<Heartbeat>> {
    Heartbeat::new(&config(alert), Arc::clone(clock)).map_err(|error| wrong(&error).into())
}

/// Tells the metrics of the heartbeat, if there is one.
pub fn register(heartbeat: Option<Heartbeat>, registry: &mut Registry) {
    registry.register_collector(Box::new(Beats(heartbeat)));
}

#[derive(Debug)]
struct Beats(Option<Heartbeat>);

impl Collector for Beats {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let help = "When the heartbeat got out last, in seconds since 1970";
        let name = "heartbeat_last_success_timestamp_seconds";
        let family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        let last = self.0.as_ref().and_then(Heartbeat::last);
        match last {
            Some(last) => ConstGauge::new(last.as_millis() / 1_000).encode(family),
            None => Ok(()),
        }
    }
}

fn wrong(error: &moorline_notify::ConfigError) -> Hinted {
    Hinted::new(
        format!("alert.{} = {:?}", error.field, error.value),
        error.expected.clone(),
    )
}
