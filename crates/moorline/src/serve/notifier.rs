//! Who is told, from the settings.

use std::sync::Arc;

use moorline_base::Secret;
use moorline_base::clock::{SharedClock, SystemClock};
use moorline_base::error::Hinted;
use moorline_core::port::Notifier;
use moorline_notify::{Config, Heartbeat, Outlets, Security};

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

fn wrong(error: &moorline_notify::ConfigError) -> Hinted {
    Hinted::new(
        format!("alert.{} = {:?}", error.field, error.value),
        error.expected.clone(),
    )
}
