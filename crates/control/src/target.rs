//! Where a camera connects to: `<user> <host> <port> <key>[,<key>] [<ttl>]`, of REFER and of CONFIG's endpoints.

use std::fmt::{self, Display};

use crate::field::{FieldError, Fields, Host, ascii, checked_text, decimal, port};
use crate::host_key::HostKey;

/// The longest ttl of a referral: 7 days (S7).
pub const MAX_TTL_SECONDS: u32 = 7 * 24 * 3600;

checked_text! {
    /// An SSH user name that is safe as an argument of dbclient: `[a-z0-9/-]`, at most 127, no `-` first.
    SshUser = |word| {
        let user = ascii(word, 1..=127, |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"/-".contains(&byte))?;
        (!user.starts_with('-')).then_some(user)
    };
}

/// A server to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The SSH user name.
    pub user: SshUser,
    /// Its host. Which addresses may be dialled is the agent's to check (S7).
    pub host: Host,
    /// Its port, 1 to 65535.
    pub port: u16,
    /// A pinned key.
    pub key: HostKey,
    /// A second one, of the other algorithm or for a rotation.
    pub second_key: Option<HostKey>,
    /// How long it may be used while the endpoint is away, in seconds, at most [`MAX_TTL_SECONDS`].
    pub ttl: Option<u32>,
}

impl Target {
    pub(crate) fn take(fields: &mut Fields<'_>) -> Result<Self, FieldError> {
        let user = fields.next("user", SshUser::of)?;
        let host = fields.next("host", Host::of)?;
        let port = fields.next("port", port)?;
        let (key, second_key) = fields.next("key", keys)?;
        let ttl = fields.optional("ttl", |word| {
            let seconds = decimal(word, u64::from(MAX_TTL_SECONDS))?;
            u32::try_from(seconds).ok()
        })?;
        Ok(Target {
            user,
            host,
            port,
            key,
            second_key,
            ttl,
        })
    }
}

fn keys(word: &[u8]) -> Option<(HostKey, Option<HostKey>)> {
    let mut keys = word.split(|byte| *byte == b',');
    let key = HostKey::of(keys.next()?)?;
    let second = match keys.next() {
        Some(word) => Some(HostKey::of(word)?),
        None => None,
    };
    keys.next().is_none().then_some((key, second))
}

impl Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.user, self.host, self.port, self.key)?;
        if let Some(second) = &self.second_key {
            write!(f, ",{second}")?;
        }
        if let Some(ttl) = self.ttl {
            write!(f, " {ttl}")?;
        }
        Ok(())
    }
}
