//! Who is told, from the settings, and its exchange while the server runs.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use moorline_base::clock::{SharedClock, SystemClock};
use moorline_base::error::Hinted;
use moorline_base::{CancellationToken, Secret};
use moorline_core::alarm::Alarm;
use moorline_core::port::{Notifier, NotifyError};
use moorline_notify::{Config, Heartbeat, Outlets, Security};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

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
    Ok(Arc::new(outlets(alert, clock)?))
}

/// The same, to be put into [`Channels`].
///
/// # Errors
/// As [`of`].
pub fn outlets(alert: &Alert, clock: &SharedClock) -> anyhow::Result<Outlets> {
    Outlets::new(&config(alert), Arc::clone(clock)).map_err(|error| wrong(&error).into())
}

/// The heartbeat, if one is configured.
///
/// # Errors
/// A setting is wrong; names it.
pub fn heartbeat(alert: &Alert, clock: &SharedClock) -> anyhow::Result<Option<Heartbeat>> {
    Heartbeat::new(&config(alert), Arc::clone(clock)).map_err(|error| wrong(&error).into())
}

/// The channels in force. What is under way when they are exchanged goes the old way to its end.
#[derive(Debug)]
pub struct Channels(ArcSwap<Outlets>);

impl Channels {
    /// Begins with those of the settings.
    ///
    /// # Errors
    /// As [`of`].
    pub fn new(alert: &Alert, clock: &SharedClock) -> anyhow::Result<Self> {
        Ok(Self(ArcSwap::from_pointee(outlets(alert, clock)?)))
    }

    /// From now on these.
    pub fn set(&self, next: Outlets) {
        self.0.store(Arc::new(next));
    }
}

#[async_trait]
impl Notifier for Channels {
    async fn tell(&self, alarm: &Alarm) -> Vec<Result<&'static str, NotifyError>> {
        let outlets = self.0.load_full();
        outlets.tell(alarm).await
    }

    fn reaches_anybody(&self) -> bool {
        self.0.load().reaches_anybody()
    }

    fn channels(&self) -> Vec<&'static str> {
        self.0.load().channels()
    }

    async fn tell_by(
        &self,
        channel: &'static str,
        alarm: &Alarm,
    ) -> Vec<Result<&'static str, NotifyError>> {
        let outlets = self.0.load_full();
        outlets.tell_by(channel, alarm).await
    }
}

/// The heartbeat in force, if there is one. Clones are the same.
#[derive(Debug, Clone)]
pub struct Heartbeats(watch::Sender<Option<Heartbeat>>);

impl Heartbeats {
    /// Begins with this one.
    pub fn new(first: Option<Heartbeat>) -> Self {
        Self(watch::Sender::new(first))
    }

    /// The one of now.
    pub fn now(&self) -> Option<Heartbeat> {
        self.0.borrow().clone()
    }

    /// From now on this one; it beats at once.
    pub fn set(&self, next: Option<Heartbeat>) {
        self.0.send_replace(next);
    }

    /// Beats until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        let mut changes = self.0.subscribe();
        while !stop.is_cancelled() {
            let heartbeat = changes.borrow_and_update().clone();
            let beating = async {
                match &heartbeat {
                    Some(heartbeat) => heartbeat.run(stop.clone()).await,
                    None => stop.cancelled().await,
                }
            };
            tokio::select! {
                () = beating => {}
                // It fails only without a sender, and that is in `self`.
                _ = changes.changed() => {}
            }
        }
    }
}

/// Tells the metrics of the heartbeat, if there is one.
pub fn register(heartbeats: Heartbeats, registry: &mut Registry) {
    registry.register_collector(Box::new(heartbeats));
}

impl Collector for Heartbeats {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let help = "When the heartbeat got out last, in seconds since 1970";
        let name = "heartbeat_last_success_timestamp_seconds";
        let family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        let last = self.now().as_ref().and_then(Heartbeat::last);
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
