//! What the operator writes. Field names are those of the section `[alert]`, so that an error can be told with its field.

use std::time::Duration;

use moorline_base::Secret;
use moorline_base::config::HumanDuration;
use serde::Deserialize;

/// The channels. A channel whose field is empty is not used.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// URL that gets each alarm as JSON by POST.
    pub webhook: String,
    /// Networks that webhook and heartbeat may lie in although they are private: `192.168.1.0/24`, `127.0.0.1`.
    pub webhook_private: Vec<String>,
    /// Whether webhook and heartbeat may be plain http.
    pub webhook_http: bool,
    /// Addresses that get each alarm by e-mail, at most 20.
    pub email_to: Vec<String>,
    /// Sender of the e-mail: `cameras@example.com` or `Cameras <cameras@example.com>`.
    pub email_from: String,
    /// Mail server, `host` or `host:port`. Without a port: 587, 465 or 25, by [`Config::smtp_security`].
    pub smtp: String,
    /// How the mail server is spoken to.
    pub smtp_security: Security,
    /// Login at the mail server. Empty: none.
    pub smtp_user: String,
    /// Its password.
    pub smtp_password: Secret<String>,
    /// URL that is fetched again and again while the server lives.
    pub heartbeat: String,
    /// How often: 10 s to 1 day.
    pub heartbeat_every: HumanDuration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            webhook: String::new(),
            webhook_private: Vec::new(),
            webhook_http: false,
            email_to: Vec::new(),
            email_from: String::new(),
            smtp: String::new(),
            smtp_security: Security::StartTls,
            smtp_user: String::new(),
            smtp_password: Secret::new(String::new()),
            heartbeat: String::new(),
            heartbeat_every: HumanDuration::from_secs(60),
        }
    }
}

impl Config {
    pub(crate) fn heartbeat_interval(&self) -> Result<Duration, ConfigError> {
        let every = self.heartbeat_every.get();
        if (Duration::from_secs(10)..=Duration::from_secs(24 * 3600)).contains(&every) {
            Ok(every)
        } else {
            Err(ConfigError::new(
                "heartbeat_every",
                self.heartbeat_every,
                "use 10s to 1d",
            ))
        }
    }
}

/// How the mail server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    /// In clear text: for a mail server on this machine.
    None,
    /// Clear text that becomes TLS, or fails (RFC 3207).
    #[default]
    StartTls,
    /// TLS from the first byte (RFC 8314).
    Tls,
}

/// A field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} = {value:?}: {expected}")]
pub struct ConfigError {
    /// The field of [`Config`].
    pub field: &'static str,
    /// What was given; of a URL its beginning, since the rest may be a secret.
    pub value: String,
    /// What would be right.
    pub expected: String,
}

impl ConfigError {
    pub(crate) fn new(
        field: &'static str,
        value: impl ToString,
        expected: impl Into<String>,
    ) -> Self {
        Self {
            field,
            value: value.to_string(),
            expected: expected.into(),
        }
    }
}
