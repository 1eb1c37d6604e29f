//! What the server says.

use std::fmt::{self, Display};

use crate::base64;
use crate::field::{
    Data, FieldError, Fields, Host, Id, Model, Version, decimal, first_word, or_dash, port,
};
use crate::host_key::HostKey;
use crate::target::Target;
use crate::words::Role;

/// A line of the server. `Display` prints it without its LF.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerLine {
    /// `MOORLINE/1 <role> <id>`: the hello, the first line, within 20 s. `-` for no id.
    Hello {
        /// What the server is for this camera.
        role: Role,
        /// Which camera it takes the other side for.
        id: Option<Id>,
    },
    /// A hello of another major number, which ends the session. What follows the number is not kept.
    OtherMajor(u32),
    /// `TIME <unix>`: seconds, UTC.
    Time(u64),
    /// `PING <n>`: every 15 s.
    Ping(u64),
    /// `REFER …`: go to that streampoint.
    Refer(Target),
    /// `CONFIG <key> <value>`: stored when valid.
    Config(Setting),
    /// `DIAG`: walk the chain; at most once a minute.
    Diag,
    /// `ENROLLED <id>`: enrolment is done.
    Enrolled(Id),
    /// `REKEY`: make another key for the camera, aside, and say its public half.
    Rekey,
    /// `REKEYED <key>`: that key is the camera's now; it is taken into use.
    Rekeyed(HostKey),
    /// `REBOOT`: sync and reboot.
    Reboot,
    /// `UPGRADE <target> <version> <bytes> <sha512> <signature>`: what the following parts are.
    Upgrade(Offer),
    /// `PART <offset> <data>`.
    Part {
        /// Where the bytes belong, at most 999,999,999.
        offset: u32,
        /// The bytes.
        data: Data,
    },
    /// A line that is not known: ignored.
    Unknown,
}

/// One setting of the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    /// `endpoint.<n>`: a server to report to, n from 0 to 15.
    Endpoint(u8, Target),
    /// `endpoint.<n> -`: no server in that place any more.
    NoEndpoint(u8),
    /// `source`: the streamer's `host:port`. Must be loopback on a port of the local list, which the agent checks (S7).
    Source(Host, u16),
    /// `queue`: the relay's bound in bytes, at most 2,000,000.
    Queue(u32),
    /// `watchdog`: `on` or `off`.
    Watchdog(bool),
    /// `reboot-after`: seconds without a server, 0 for never, else at least 86,400.
    RebootAfter(u32),
}

/// An offered upgrade of the agent. Its signature is checked by the agent (S8).
#[derive(Clone, PartialEq, Eq)]
pub struct Offer {
    /// The target triple of the build.
    pub target: Model,
    /// Its version.
    pub version: Version,
    /// Its size, at most 999,999,999.
    pub bytes: u32,
    /// Its SHA-512.
    pub sha512: [u8; 64],
    /// The Ed25519 signature.
    pub signature: [u8; 64],
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Offer({} {}, {} bytes)",
            self.target, self.version, self.bytes
        )
    }
}

/// Nine digits: more would make a full part's line longer than 1,024 bytes.
const MAX_OFFSET: u64 = 999_999_999;

/// "≤ 2 MB": the agent's RSS must stay below 3 MB.
const MAX_QUEUE: u64 = 2_000_000;

/// A camera that reboots more often than once a day would be a loop.
const MIN_REBOOT_AFTER: u32 = 24 * 3600;

impl ServerLine {
    /// Reads a line without its LF.
    ///
    /// # Errors
    /// [`FieldError`] when the line is known and a field of it is wrong.
    pub fn parse(line: &[u8]) -> Result<Self, FieldError> {
        let (word, rest) = first_word(line);
        if let Some(major) = word.strip_prefix(b"MOORLINE/") {
            return hello(major, Fields::new("MOORLINE", rest));
        }
        let fields = |name| Fields::new(name, rest);
        match word {
            b"TIME" => number(fields("TIME"), "unix").map(ServerLine::Time),
            b"PING" => number(fields("PING"), "n").map(ServerLine::Ping),
            b"REFER" => {
                let mut fields = fields("REFER");
                let target = Target::take(&mut fields)?;
                fields.end().map(|()| ServerLine::Refer(target))
            }
            b"CONFIG" => Setting::take(fields("CONFIG")).map(ServerLine::Config),
            b"DIAG" => fields("DIAG").end().map(|()| ServerLine::Diag),
            b"ENROLLED" => {
                let mut fields = fields("ENROLLED");
                let id = fields.next("id", Id::of)?;
                fields.end().map(|()| ServerLine::Enrolled(id))
            }
            b"REKEY" => fields("REKEY").end().map(|()| ServerLine::Rekey),
            b"REKEYED" => {
                let mut fields = fields("REKEYED");
                let key = fields.next("key", HostKey::of)?;
                fields.end().map(|()| ServerLine::Rekeyed(key))
            }
            b"REBOOT" => fields("REBOOT").end().map(|()| ServerLine::Reboot),
            b"UPGRADE" => Offer::take(fields("UPGRADE")).map(ServerLine::Upgrade),
            b"PART" => {
                let mut fields = fields("PART");
                let offset = fields.next("offset", below_a_billion)?;
                let data = fields.next("data", Data::of)?;
                fields.end().map(|()| ServerLine::Part { offset, data })
            }
            _ => Ok(ServerLine::Unknown),
        }
    }
}

fn hello(major: &[u8], mut fields: Fields<'_>) -> Result<ServerLine, FieldError> {
    let major = decimal(major, u64::from(u32::MAX)).and_then(|major| u32::try_from(major).ok());
    match major {
        Some(1) => {
            let role = fields.next("role", Role::of)?;
            let id = fields.next("id", |word| or_dash(word, Id::of))?;
            fields.end().map(|()| ServerLine::Hello { role, id })
        }
        Some(other) => Ok(ServerLine::OtherMajor(other)),
        None => Err(fields.wrong("major")),
    }
}

/// A line of one number.
pub(crate) fn number(mut fields: Fields<'_>, field: &'static str) -> Result<u64, FieldError> {
    let number = fields.next(field, |word| decimal(word, u64::MAX))?;
    fields.end().map(|()| number)
}

fn below_a_billion(word: &[u8]) -> Option<u32> {
    u32::try_from(decimal(word, MAX_OFFSET)?).ok()
}

impl Setting {
    fn take(mut fields: Fields<'_>) -> Result<Self, FieldError> {
        let key = fields.next("key", |word| Some(word.to_vec()))?;
        let setting = match key.as_slice() {
            b"source" => {
                let (host, port) = fields.next("source", host_and_port)?;
                Setting::Source(host, port)
            }
            b"queue" => Setting::Queue(fields.next("queue", |word| {
                u32::try_from(decimal(word, MAX_QUEUE)?).ok()
            })?),
            b"watchdog" => Setting::Watchdog(fields.next("watchdog", |word| match word {
                b"on" => Some(true),
                b"off" => Some(false),
                _ => None,
            })?),
            b"reboot-after" => Setting::RebootAfter(fields.next("reboot-after", |word| {
                let seconds = u32::try_from(decimal(word, u64::from(u32::MAX))?).ok()?;
                (seconds == 0 || seconds >= MIN_REBOOT_AFTER).then_some(seconds)
            })?),
            other => {
                let place = other
                    .strip_prefix(b"endpoint.")
                    .and_then(|n| decimal(n, 15));
                let place = place.and_then(|n| u8::try_from(n).ok());
                let place = place.ok_or_else(|| fields.wrong("key"))?;
                if fields.is_dash() {
                    return Ok(Setting::NoEndpoint(place));
                }
                let target = Target::take(&mut fields).map_err(of_endpoint)?;
                Setting::Endpoint(place, target)
            }
        };
        fields.end().map(|()| setting)
    }
}

/// A pin is a `key` in REFER's grammar, and `key` in CONFIG's is the setting's name: an endpoint's fields get names of their own.
fn of_endpoint(error: FieldError) -> FieldError {
    let field = match error.field {
        "user" => "endpoint-user",
        "host" => "endpoint-host",
        "port" => "endpoint-port",
        "key" => "endpoint-key",
        "ttl" => "endpoint-ttl",
        other => other,
    };
    FieldError { field, ..error }
}

/// The last colon parts host and port: an IPv6 address has others.
fn host_and_port(word: &[u8]) -> Option<(Host, u16)> {
    let at = word.iter().rposition(|byte| *byte == b':')?;
    let (host, rest) = word.split_at(at);
    Some((Host::of(host)?, port(rest.get(1..)?)?))
}

impl Offer {
    /// What the signature covers: context, target, version, size and digest. The context names this use alone, so that no other signature of
    /// the same key can be taken for one (S24).
    #[must_use]
    pub fn signed_text(&self) -> String {
        format!(
            "moorline-agent-release/1 {} {} {} {}",
            self.target,
            self.version,
            self.bytes,
            base64::encode(&self.sha512)
        )
    }

    fn take(mut fields: Fields<'_>) -> Result<Self, FieldError> {
        let sixty_four = |word: &[u8]| <[u8; 64]>::try_from(base64::decode(word)?).ok();
        let offer = Offer {
            target: fields.next("target", Model::of)?,
            version: fields.next("version", Version::of)?,
            bytes: fields.next("bytes", below_a_billion)?,
            sha512: fields.next("sha512", sixty_four)?,
            signature: fields.next("signature", sixty_four)?,
        };
        fields.end().map(|()| offer)
    }
}

impl Display for ServerLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerLine::Hello { role, id: Some(id) } => write!(f, "MOORLINE/1 {role} {id}"),
            ServerLine::Hello { role, id: None } => write!(f, "MOORLINE/1 {role} -"),
            ServerLine::OtherMajor(major) => write!(f, "MOORLINE/{major}"),
            ServerLine::Time(unix) => write!(f, "TIME {unix}"),
            ServerLine::Ping(n) => write!(f, "PING {n}"),
            ServerLine::Refer(target) => write!(f, "REFER {target}"),
            ServerLine::Config(setting) => write!(f, "CONFIG {setting}"),
            ServerLine::Diag => f.write_str("DIAG"),
            ServerLine::Enrolled(id) => write!(f, "ENROLLED {id}"),
            ServerLine::Rekey => f.write_str("REKEY"),
            ServerLine::Rekeyed(key) => write!(f, "REKEYED {key}"),
            ServerLine::Reboot => f.write_str("REBOOT"),
            ServerLine::Upgrade(offer) => write!(
                f,
                "UPGRADE {} {} {} {} {}",
                offer.target,
                offer.version,
                offer.bytes,
                base64::encode(&offer.sha512),
                base64::encode(&offer.signature)
            ),
            ServerLine::Part { offset, data } => write!(f, "PART {offset} {data}"),
            ServerLine::Unknown => Ok(()),
        }
    }
}

impl Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Setting::Endpoint(place, target) => write!(f, "endpoint.{place} {target}"),
            Setting::NoEndpoint(place) => write!(f, "endpoint.{place} -"),
            Setting::Source(host, port) => write!(f, "source {host}:{port}"),
            Setting::Queue(bytes) => write!(f, "queue {bytes}"),
            Setting::Watchdog(true) => f.write_str("watchdog on"),
            Setting::Watchdog(false) => f.write_str("watchdog off"),
            Setting::RebootAfter(seconds) => write!(f, "reboot-after {seconds}"),
        }
    }
}
