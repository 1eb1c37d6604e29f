//! What the camera says.

use std::fmt::{self, Display};

use crate::MAX_LINE;
use crate::field::{
    FieldError, Fields, Host, Mac, Model, Text, Token, ascii, decimal, first_word, or_dash, port,
};
use crate::host_key::HostKey;
use crate::server::number;
use crate::status::Status;
use crate::words::{Codec, DiagStep, Level, Reason, SourceName, UpState};

/// A line of the agent. `Display` prints it without its LF; a text that would make it longer than [`MAX_LINE`] is cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentLine {
    /// `PONG <n>`: the n of the PING, at once.
    Pong(u64),
    /// `STATUS <k>=<v> …`: how the agent is.
    Status(Status),
    /// `SOURCE …`: what the probe found.
    Source(Source),
    /// `BYE`: hang-up; the camera is being switched off on purpose.
    Bye,
    /// `LOG <level> <text>`: at most 20 a minute.
    Log(Level, Text),
    /// `DIAG <step> <ok|fail> <text>`: the answer to DIAG.
    Diag {
        /// The link of the chain.
        step: DiagStep,
        /// Whether it holds.
        ok: bool,
        /// What was seen.
        text: Text,
    },
    /// `EVENT <name> <value>`: reserved, ignored. One that does not follow the grammar is [`AgentLine::Unknown`].
    Event {
        /// Its name.
        name: Model,
        /// Its value.
        value: Text,
    },
    /// `UPSTATE <state> <host> <port> [<reason>]`: how the streampoint's session stands.
    UpState {
        /// How it stands.
        state: UpState,
        /// The streampoint.
        host: Host,
        /// Its port.
        port: u16,
        /// Why.
        reason: Option<Reason>,
    },
    /// `ENROLL <token> <model> <mac>`: once, in an `enroll` session only.
    Enroll {
        /// What proves that the camera may be enrolled.
        token: Token,
        /// The camera's model.
        model: Model,
        /// Its hardware address.
        mac: Mac,
    },
    /// `NEWKEY <key>`: the answer to REKEY: the public half of the key that it has made.
    NewKey(HostKey),
    /// A line that is not known: ignored.
    Unknown,
}

/// What the agent's probe found of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Which stream.
    pub name: SourceName,
    /// The path of its URL, from `/`, without a login, at most 512 characters.
    pub path: UrlPath,
    /// Its codec, when known.
    pub codec: Option<Codec>,
    /// Width and height, when known.
    pub size: Option<(u16, u16)>,
    /// Pictures per second, when known.
    pub fps: Option<u16>,
    /// Kilobits per second, when known.
    pub kbps: Option<u32>,
}

crate::field::checked_text! {
    /// The path of a URL, from `/`: printable, without spaces, at most 512 characters. It comes from outside: escape it before it is shown.
    UrlPath = |word| {
        let path = ascii(word, 1..=512, |byte| byte.is_ascii_graphic())?;
        path.starts_with('/').then_some(path)
    };
}

impl AgentLine {
    /// Reads a line without its LF.
    ///
    /// # Errors
    /// [`FieldError`] when the line is known and a field of it is wrong.
    pub fn parse(line: &[u8]) -> Result<Self, FieldError> {
        let (word, rest) = first_word(line);
        let fields = |name| Fields::new(name, rest);
        match word {
            b"PONG" => number(fields("PONG"), "n").map(AgentLine::Pong),
            b"STATUS" => Status::take(fields("STATUS")).map(AgentLine::Status),
            b"SOURCE" => Source::take(fields("SOURCE")).map(AgentLine::Source),
            b"BYE" => fields("BYE").end().map(|()| AgentLine::Bye),
            b"LOG" => {
                let mut fields = fields("LOG");
                let level = fields.next("level", Level::of)?;
                Ok(AgentLine::Log(level, fields.text("text")?))
            }
            b"DIAG" => diag(fields("DIAG")),
            b"EVENT" => Ok(event(fields("EVENT")).unwrap_or(AgentLine::Unknown)),
            b"NEWKEY" => {
                let mut fields = fields("NEWKEY");
                let key = fields.next("key", HostKey::of)?;
                fields.end().map(|()| AgentLine::NewKey(key))
            }
            b"UPSTATE" => up_state(fields("UPSTATE")),
            b"ENROLL" => {
                let mut fields = fields("ENROLL");
                let enroll = AgentLine::Enroll {
                    token: fields.next("token", Token::of)?,
                    model: fields.next("model", Model::of)?,
                    mac: fields.next("mac", Mac::of)?,
                };
                fields.end().map(|()| enroll)
            }
            _ => Ok(AgentLine::Unknown),
        }
    }
}

fn diag(mut fields: Fields<'_>) -> Result<AgentLine, FieldError> {
    let step = fields.next("step", DiagStep::of)?;
    let ok = fields.next("result", |word| match word {
        b"ok" => Some(true),
        b"fail" => Some(false),
        _ => None,
    })?;
    let text = fields.text("text")?;
    Ok(AgentLine::Diag { step, ok, text })
}

fn event(mut fields: Fields<'_>) -> Result<AgentLine, FieldError> {
    let name = fields.next("name", Model::of)?;
    let value = fields.text("value")?;
    Ok(AgentLine::Event { name, value })
}

fn up_state(mut fields: Fields<'_>) -> Result<AgentLine, FieldError> {
    let line = AgentLine::UpState {
        state: fields.next("state", UpState::of)?,
        host: fields.next("host", Host::of)?,
        port: fields.next("port", port)?,
        reason: fields.optional("reason", Reason::of)?,
    };
    fields.end().map(|()| line)
}

impl Source {
    fn take(mut fields: Fields<'_>) -> Result<Self, FieldError> {
        let source = Source {
            name: fields.next("name", SourceName::of)?,
            path: fields.next("path", UrlPath::of)?,
            codec: fields.next("codec", |word| or_dash(word, Codec::of))?,
            size: fields.next("size", |word| or_dash(word, size))?,
            fps: fields.next("fps", |word| or_dash(word, small))?,
            kbps: fields.next("kbps", |word| {
                or_dash(word, |word| {
                    u32::try_from(decimal(word, u64::from(u32::MAX))?).ok()
                })
            })?,
        };
        fields.end().map(|()| source)
    }
}

fn small(word: &[u8]) -> Option<u16> {
    u16::try_from(decimal(word, u64::from(u16::MAX))?).ok()
}

/// `1920x1080`.
fn size(word: &[u8]) -> Option<(u16, u16)> {
    let at = word.iter().position(|byte| *byte == b'x')?;
    let (width, height) = word.split_at(at);
    Some((small(width)?, small(height.get(1..)?)?))
}

/// `-` for what is not known.
struct OrDash<T>(Option<T>);

impl<T: Display> Display for OrDash<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => Display::fmt(value, f),
            None => f.write_str("-"),
        }
    }
}

/// A text behind a beginning of `before` bytes, cut so that the line ends in time.
fn cut(text: &Text, before: usize) -> &str {
    let room = (MAX_LINE - 1).saturating_sub(before);
    // It is ASCII: every byte is a character's beginning.
    text.as_str().get(..room).unwrap_or(text.as_str())
}

impl Display for AgentLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AgentLine::Pong(n) => write!(f, "PONG {n}"),
            AgentLine::Status(status) => write!(f, "STATUS{status}"),
            AgentLine::Source(source) => write!(f, "SOURCE {source}"),
            AgentLine::NewKey(key) => write!(f, "NEWKEY {key}"),
            AgentLine::Bye => f.write_str("BYE"),
            AgentLine::Log(level, text) => {
                let start = format!("LOG {level} ");
                write!(f, "{start}{}", cut(text, start.len()))
            }
            AgentLine::Diag { step, ok, text } => {
                let result = if *ok { "ok" } else { "fail" };
                let start = format!("DIAG {step} {result} ");
                write!(f, "{start}{}", cut(text, start.len()))
            }
            AgentLine::Event { name, value } => {
                let start = format!("EVENT {name} ");
                write!(f, "{start}{}", cut(value, start.len()))
            }
            AgentLine::UpState {
                state,
                host,
                port,
                reason,
            } => {
                write!(f, "UPSTATE {state} {host} {port}")?;
                reason.map_or(Ok(()), |reason| write!(f, " {reason}"))
            }
            AgentLine::Enroll { token, model, mac } => {
                write!(f, "ENROLL {} {model} {mac}", token.expose())
            }
            AgentLine::Unknown => Ok(()),
        }
    }
}

impl Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.size.map(|(width, height)| format!("{width}x{height}"));
        write!(
            f,
            "{} {} {} {} {} {}",
            self.name,
            self.path,
            OrDash(self.codec),
            OrDash(size),
            OrDash(self.fps),
            OrDash(self.kbps)
        )
    }
}
