//! `STATUS <k>=<v> …`: how the agent is.

use std::fmt::{self, Display};

use crate::field::{FieldError, Fields, Model, Version, ascii, decimal};
use crate::words::Probe;

/// What the agent says of itself: after the hello, on change, at most once per PING. What is not known is left out; at least one is there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// `uptime`: seconds since the camera's boot.
    pub uptime: Option<u64>,
    /// `memory`: KiB that are free or can be freed.
    pub memory: Option<u64>,
    /// `probe`: what the streamer answered last.
    pub probe: Option<Probe>,
    /// `agent`: its version, `[A-Za-z0-9._-]`, at most 64.
    pub agent: Option<Model>,
    /// `target`: the target triple that the agent was built for, the same grammar.
    pub target: Option<Model>,
    /// `dbclient`: its version, the same.
    pub dbclient: Option<Model>,
    /// `pictures`: that the relay took in since its start, dropped ones too.
    pub pictures: Option<u64>,
    /// `pictures-dropped`: by the relay, since its start.
    pub pictures_dropped: Option<u64>,
    /// `log-dropped`: lines of the log beyond 20 a minute, since the agent's start.
    pub log_dropped: Option<u64>,
    /// `relay-faults`: connections on which framing was lost, since the agent's start.
    pub relay_faults: Option<u64>,
    /// `enroll=1`: an `enroll` file is there and ignored (S3).
    pub enroll: bool,
    /// `upgrade`: the offset from which the transfer goes on.
    pub upgrade: Option<u64>,
    /// `rolled-back`: the version that failed its trial, while it is kept.
    pub rolled_back: Option<Version>,
    /// `bad`: `<line>.<field>` of a line that was refused.
    pub bad: Option<BadField>,
}

/// `<line>.<field>` of a refused line, as the other side reports it: `[A-Za-z0-9/_-]` and one `.` between, at most 64.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BadField(String);

impl BadField {
    fn of(word: &[u8]) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/_-.".contains(&byte);
        let text = ascii(word, 3..=64, allowed)?;
        let (line, field) = text.split_once('.')?;
        let valid = !line.is_empty() && !field.is_empty() && !field.contains('.');
        valid.then_some(BadField(text))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<FieldError> for BadField {
    fn from(error: FieldError) -> Self {
        BadField(error.to_string())
    }
}

impl Display for BadField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Status {
    pub(crate) fn take(mut fields: Fields<'_>) -> Result<Self, FieldError> {
        let mut status = Status::default();
        status.set(&mut fields, true)?;
        while status.set(&mut fields, false)? {}
        Ok(status)
    }

    /// Takes one `k=v`; false at the end of the line.
    fn set(&mut self, fields: &mut Fields<'_>, first: bool) -> Result<bool, FieldError> {
        let pair = |word: &[u8]| {
            let at = word.iter().position(|byte| *byte == b'=')?;
            let (key, value) = word.split_at(at);
            Some((key.to_vec(), value.get(1..)?.to_vec()))
        };
        let next = if first {
            Some(fields.next("key", pair)?)
        } else {
            fields.optional("key", pair)?
        };
        let Some((key, value)) = next else {
            return Ok(false);
        };
        let number = |value: &[u8]| decimal(value, u64::MAX);
        let (field, stored) = match key.as_slice() {
            b"uptime" => ("uptime", once(&mut self.uptime, number(&value))),
            b"memory" => ("memory", once(&mut self.memory, number(&value))),
            b"probe" => ("probe", once(&mut self.probe, Probe::of(&value))),
            b"agent" => ("agent", once(&mut self.agent, Model::of(&value))),
            b"target" => ("target", once(&mut self.target, Model::of(&value))),
            b"dbclient" => ("dbclient", once(&mut self.dbclient, Model::of(&value))),
            b"pictures" => ("pictures", once(&mut self.pictures, number(&value))),
            b"pictures-dropped" => (
                "pictures-dropped",
                once(&mut self.pictures_dropped, number(&value)),
            ),
            b"log-dropped" => ("log-dropped", once(&mut self.log_dropped, number(&value))),
            b"relay-faults" => ("relay-faults", once(&mut self.relay_faults, number(&value))),
            b"enroll" => {
                let valid = value == b"1" && !self.enroll;
                self.enroll |= valid;
                ("enroll", valid)
            }
            b"upgrade" => ("upgrade", once(&mut self.upgrade, number(&value))),
            b"rolled-back" => (
                "rolled-back",
                once(&mut self.rolled_back, Version::of(&value)),
            ),
            b"bad" => ("bad", once(&mut self.bad, BadField::of(&value))),
            _ => return Err(fields.wrong("key")),
        };
        if stored {
            Ok(true)
        } else {
            Err(fields.wrong(field))
        }
    }
}

/// Stores a value that is right and that was not there before.
fn once<T>(slot: &mut Option<T>, value: Option<T>) -> bool {
    let valid = slot.is_none() && value.is_some();
    if valid {
        *slot = value;
    }
    valid
}

impl Display for Status {
    /// ` k=v` for each that is known, with the space before it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: [(&str, Option<&dyn Display>); 14] = [
            ("uptime", shown(&self.uptime)),
            ("memory", shown(&self.memory)),
            ("probe", shown(&self.probe)),
            ("agent", shown(&self.agent)),
            ("target", shown(&self.target)),
            ("dbclient", shown(&self.dbclient)),
            ("pictures", shown(&self.pictures)),
            ("pictures-dropped", shown(&self.pictures_dropped)),
            ("log-dropped", shown(&self.log_dropped)),
            ("relay-faults", shown(&self.relay_faults)),
            ("enroll", self.enroll.then_some(&1u8 as &dyn Display)),
            ("upgrade", shown(&self.upgrade)),
            ("rolled-back", shown(&self.rolled_back)),
            ("bad", shown(&self.bad)),
        ];
        for (key, value) in pairs {
            if let Some(value) = value {
                write!(f, " {key}={value}")?;
            }
        }
        Ok(())
    }
}

fn shown<T: Display>(value: &Option<T>) -> Option<&dyn Display> {
    value.as_ref().map(|value| value as &dyn Display)
}
