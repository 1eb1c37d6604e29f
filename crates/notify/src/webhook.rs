//! The webhook: the alarm as JSON, with the sentence that a person reads in `text` (where chat services look for it).

use moorline_core::alarm::Alarm;
use serde::Serialize;
use url::Url;

use crate::call::call;
use crate::config::{Config, ConfigError};
use crate::guard::Guard;
use crate::message::Message;
use crate::retry::Failure;

/// Where alarms are posted.
#[derive(Clone)]
pub(crate) struct Webhook {
    guard: Guard,
    url: Url,
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(flatten)]
    alarm: &'a Alarm,
    subject: &'a str,
    text: &'a str,
}

impl Webhook {
    pub(crate) fn new(config: &Config, guard: &Guard) -> Result<Option<Self>, ConfigError> {
        if config.webhook.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self {
            url: guard.parse("webhook", &config.webhook)?,
            guard: guard.clone(),
        }))
    }

    /// One try.
    pub(crate) async fn post(&self, alarm: &Alarm, message: &Message) -> Result<(), Failure> {
        let body = Body {
            alarm,
            subject: &message.subject,
            text: &message.text,
        };
        let body = serde_json::to_vec(&body).map_err(Failure::lasting)?;
        call(&self.guard, &self.url, Some(body)).await
    }
}

impl std::fmt::Debug for Webhook {
    /// The host alone: the rest of the URL is a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook")
            .field("host", &self.url.host_str())
            .finish_non_exhaustive()
    }
}
