//! E-mail by SMTP: one plain-text mail for each recipient, so that one wrong address keeps nobody else from reading it.

use std::time::Duration;

use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message as Mail};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use moorline_base::clock::{SharedClock, timeout};

use crate::config::{Config, ConfigError, Security};
use crate::message::Message;
use crate::retry::Failure;

/// The deadline of each command.
const COMMAND: Duration = Duration::from_secs(10);
/// The deadline of one mail.
const LIMIT: Duration = Duration::from_secs(60);
/// An alarm is for a few people; a list of hundreds belongs into a mail server.
const RECIPIENTS: usize = 20;

/// The way to the mail server.
#[derive(Debug, Clone)]
pub(crate) struct Email {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
    clock: SharedClock,
}

/// Tells out-of-office robots that nobody reads an answer (RFC 3834).
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".into())
    }
}

impl Email {
    pub(crate) fn new(config: &Config, clock: SharedClock) -> Result<Option<Self>, ConfigError> {
        if config.email_to.is_empty() {
            return Ok(None);
        }
        if config.email_to.len() > RECIPIENTS {
            let count = format!("{} addresses", config.email_to.len());
            return Err(ConfigError::new("email_to", count, "use at most 20"));
        }
        let to = config
            .email_to
            .iter()
            .map(|text| mailbox("email_to", text))
            .collect::<Result<_, _>>()?;
        let from = mailbox("email_from", &config.email_from)?;
        let (host, port) = server(config)?;
        let wrong = |error| ConfigError::new("smtp", &config.smtp, format!("{error}"));
        let tls = |host: &str| TlsParameters::new(host.to_owned()).map_err(wrong);
        let tls = match config.smtp_security {
            Security::None => Tls::None,
            Security::StartTls => Tls::Required(tls(&host)?),
            Security::Tls => Tls::Wrapper(tls(&host)?),
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&host)
            .port(port)
            .tls(tls)
            .timeout(Some(COMMAND));
        if !config.smtp_user.is_empty() {
            if config.smtp_security == Security::None && !is_this_machine(&host) {
                let expected = "the password would travel in clear text: use smtp_security = \"starttls\" or \"tls\"";
                return Err(ConfigError::new("smtp_user", &config.smtp_user, expected));
            }
            let password = config.smtp_password.expose().clone();
            builder = builder.credentials(Credentials::new(config.smtp_user.clone(), password));
        }
        Ok(Some(Self {
            transport: builder.build(),
            from,
            to,
            clock,
        }))
    }

    pub(crate) fn recipients(&self) -> &[Mailbox] {
        &self.to
    }

    /// One try for one recipient.
    pub(crate) async fn send(&self, to: &Mailbox, message: &Message) -> Result<(), Failure> {
        let mail = Mail::builder()
            .from(self.from.clone())
            .to(to.clone())
            .subject(&message.subject)
            .message_id(None)
            .header(AutoSubmitted)
            .header(ContentType::TEXT_PLAIN)
            .body(message.text.clone())
            .map_err(Failure::lasting)?;
        match timeout(&*self.clock, LIMIT, self.transport.send(mail)).await {
            Err(late) => Err(Failure::passing(late)),
            Ok(Err(error)) if lasts(&error) => Err(Failure::lasting(deepest(&error))),
            Ok(Err(error)) => Err(Failure::passing(deepest(&error))),
            Ok(Ok(_)) => Ok(()),
        }
    }
}

fn mailbox(field: &'static str, text: &str) -> Result<Mailbox, ConfigError> {
    let expected = if text.is_empty() && field == "email_from" {
        "mail needs a sender: use an address such as moorline@example.com"
    } else {
        "use an address such as anna@example.com, or Anna <anna@example.com>"
    };
    text.parse()
        .map_err(|_| ConfigError::new(field, text, expected))
}

/// Host and port. An IPv6 address stands in brackets.
fn server(config: &Config) -> Result<(String, u16), ConfigError> {
    let text = config.smtp.trim();
    let wrong = || {
        let expected = if text.is_empty() {
            "mail needs a server: use host or host:port, such as mail.example.com:587"
        } else {
            "use host or host:port, such as mail.example.com:587"
        };
        ConfigError::new("smtp", &config.smtp, expected)
    };
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| wrong())?),
        _ => {
            let usual = match config.smtp_security {
                Security::None => 25,
                Security::StartTls => 587,
                Security::Tls => 465,
            };
            (text, usual)
        }
    };
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let plain = !bare.is_empty()
        && !bare.contains(|sign: char| {
            sign.is_whitespace() || sign.is_control() || "/@[]".contains(sign)
        });
    // An address without brackets would lose its last part to the port.
    let ambiguous = bare == host && bare.contains(':');
    if plain && !ambiguous && port != 0 {
        Ok((bare.to_owned(), port))
    } else {
        Err(wrong())
    }
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Refused, or no TLS to be had with this server: the same in ten minutes. A handshake that fails comes as an I/O error of invalid data.
fn lasts(error: &lettre::transport::smtp::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    let handshake = std::iter::from_fn(|| {
        let present = cause?;
        cause = present.source();
        Some(present)
    })
    .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
    .any(|error| error.kind() == std::io::ErrorKind::InvalidData);
    handshake || error.is_permanent() || error.is_client() || error.is_tls()
}

/// The innermost cause: lettre's own text names the layer, not the reason.
fn deepest(error: &lettre::transport::smtp::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    moorline_base::Untrusted::new(cause).to_string()
}
