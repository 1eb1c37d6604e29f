//! All channels behind the port `Notifier`.

use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use moorline_base::SharedClock;
use moorline_core::alarm::{Alarm, AlarmKind};
use moorline_core::port::{AlarmChannel, Notifier, NotifyError};

use crate::config::{Config, ConfigError};
use crate::email::Email;
use crate::guard::{Guard, Resolver, system_resolver};
use crate::message::Message;
use crate::retry::{LIMIT, retry};
use crate::webhook::Webhook;

const WEBHOOK: &str = AlarmChannel::Webhook.as_str();
const EMAIL: &str = AlarmChannel::Email.as_str();

/// The configured channels. Each works by itself: a mail server that is away delays no webhook.
#[derive(Debug, Clone)]
pub struct Outlets {
    webhook: Option<Webhook>,
    email: Option<Email>,
    clock: SharedClock,
}

impl Outlets {
    /// The channels of a configuration.
    ///
    /// # Errors
    /// [`ConfigError`] for the first field that is wrong.
    pub fn new(config: &Config, clock: SharedClock) -> Result<Self, ConfigError> {
        Self::with_resolver(config, clock, system_resolver())
    }

    pub(crate) fn with_resolver(
        config: &Config,
        clock: SharedClock,
        resolver: Resolver,
    ) -> Result<Self, ConfigError> {
        let guard = Guard::new(config, clock.clone(), resolver)?;
        Ok(Self {
            webhook: Webhook::new(config, &guard)?,
            email: Email::new(config, clock.clone())?,
            clock,
        })
    }

    async fn by_webhook(
        &self,
        alarm: &Alarm,
        message: &Message,
    ) -> Option<Result<&'static str, NotifyError>> {
        let webhook = self.webhook.as_ref()?;
        let told = retry(&*self.clock, limit(alarm), || webhook.post(alarm, message)).await;
        Some(told.map(|()| WEBHOOK).map_err(|why| NotifyError {
            channel: WEBHOOK,
            why,
        }))
    }

    /// Who got it, and who did not, are two results: a message that one recipient has got is not sent to all again for another's sake.
    async fn by_email(
        &self,
        alarm: &Alarm,
        message: &Message,
    ) -> Vec<Result<&'static str, NotifyError>> {
        let limit = limit(alarm);
        let Some(email) = self.email.as_ref() else {
            return Vec::new();
        };
        let mails = email.recipients().iter().map(|to| async move {
            let told = retry(&*self.clock, limit, || email.send(to, message)).await;
            told.map_err(|why| format!("{}: {why}", to.email))
        });
        let mails = join_all(mails).await;
        let mut ended = Vec::new();
        if mails.iter().any(Result::is_ok) {
            ended.push(Ok(EMAIL));
        }
        let failures: Vec<_> = mails.into_iter().filter_map(Result::err).collect();
        if !failures.is_empty() {
            let why = failures.join("; ");
            ended.push(Err(NotifyError {
                channel: EMAIL,
                why,
            }));
        }
        ended
    }
}

/// Somebody waits for the result of a test: it is tried once.
fn limit(alarm: &Alarm) -> Duration {
    match alarm.kind {
        AlarmKind::Test => Duration::ZERO,
        _ => LIMIT,
    }
}

#[async_trait]
impl Notifier for Outlets {
    async fn tell(&self, alarm: &Alarm) -> Vec<Result<&'static str, NotifyError>> {
        let message = Message::of(alarm);
        let (webhook, email) = tokio::join!(
            self.by_webhook(alarm, &message),
            self.by_email(alarm, &message)
        );
        logged(&message, webhook.into_iter().chain(email))
    }

    fn reaches_anybody(&self) -> bool {
        self.webhook.is_some() || self.email.is_some()
    }
    fn channels(&self) -> Vec<&'static str> {
        let webhook = self.webhook.as_ref().map(|_| WEBHOOK);
        let email = self.email.as_ref().map(|_| EMAIL);
        webhook.into_iter().chain(email).collect()
    }

    async fn tell_by(
        &self,
        channel: &'static str,
        alarm: &Alarm,
    ) -> Vec<Result<&'static str, NotifyError>> {
        let message = Message::of(alarm);
        let ended = match channel {
            WEBHOOK => Vec::from_iter(self.by_webhook(alarm, &message).await),
            EMAIL => self.by_email(alarm, &message).await,
            _ => Vec::new(),
        };
        logged(&message, ended)
    }
}

fn logged(
    message: &Message,
    ended: impl IntoIterator<Item = Result<&'static str, NotifyError>>,
) -> Vec<Result<&'static str, NotifyError>> {
    let ended: Vec<_> = ended.into_iter().collect();
    for error in ended.iter().filter_map(|ended| ended.as_ref().err()) {
        tracing::warn!(channel = error.channel, reason = %error.why, subject = %message.subject, "an alarm did not get out");
    }
    ended
}

#[cfg(test)]
mod tests;
