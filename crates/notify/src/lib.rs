//! Tells people: a webhook, e-mail, and a heartbeat for the day the server itself dies.
//!
//! Owns: the messages ([`Message`]), the channels behind the port `Notifier` ([`Outlets`]), the heartbeat ([`Heartbeat`]) and the guard on
//! outgoing calls. Does not own: when somebody is told (`mon` decides, and keeps storms away), the configuration file.
//!
//! Rule S17, kept by `guard` and `call`: https, each name resolved once and that very address dialled; private, loopback, link-local and
//! CGNAT ranges refused unless the operator lists them; no proxy, no redirects; answers are not shown, not even read. P10: URLs of
//! webhooks are secrets, so that errors name the host at most. S33: titles and sites are foreign text, escaped in every message.
//!
//! Nothing here starts a task: [`Outlets`] works while `tell` is awaited (at most 10 minutes), [`Heartbeat::run`] ends with its token.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "tests may bind, write and look at the real clock"
    )
)]

mod call;
mod config;
mod email;
mod guard;
mod heartbeat;
mod message;
mod outlets;
mod retry;
mod webhook;

pub use config::{Config, ConfigError, Security};
pub use heartbeat::Heartbeat;
pub use message::Message;
pub use outlets::Outlets;
