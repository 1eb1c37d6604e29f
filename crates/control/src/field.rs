//! The fields of lines: taking them off a line, and the small grammars.

use std::fmt::{self, Display};

use crate::MAX_LINE;
use crate::base64;

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The line ends before it.
    Missing,
    /// It does not follow its grammar or its limits.
    Wrong,
    /// Something follows the last field.
    Extra,
}

/// A known line with a wrong field. Displays as `<line>.<field>`, as `STATUS bad=` reports it: both are from closed lists, nothing of the
/// line's own text is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldError {
    /// The first word of the line; `MOORLINE` for the hello.
    pub line: &'static str,
    /// The field, by its name in the grammar; `extra` for what follows the last.
    pub field: &'static str,
    /// What is wrong with it.
    pub fault: Fault,
}

impl Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.line, self.field)
    }
}

impl std::error::Error for FieldError {}

/// The fields of one line, taken off one after another.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    line: &'static str,
    rest: Option<&'a [u8]>,
}

/// The first word of a line, and what follows its space.
pub(crate) fn first_word(line: &[u8]) -> (&[u8], Option<&[u8]>) {
    match line.iter().position(|byte| *byte == b' ') {
        Some(at) => {
            let (word, rest) = line.split_at(at);
            (word, rest.get(1..))
        }
        None => (line, None),
    }
}

impl<'a> Fields<'a> {
    pub(crate) fn new(line: &'static str, rest: Option<&'a [u8]>) -> Self {
        Fields { line, rest }
    }

    fn error(&self, field: &'static str, fault: Fault) -> FieldError {
        FieldError {
            line: self.line,
            field,
            fault,
        }
    }

    pub(crate) fn wrong(&self, field: &'static str) -> FieldError {
        self.error(field, Fault::Wrong)
    }

    /// The next field, or `None` at the end of the line.
    pub(crate) fn optional<T>(
        &mut self,
        field: &'static str,
        parse: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, FieldError> {
        let Some(word) = self.word() else {
            return Ok(None);
        };
        match parse(word) {
            Some(value) => Ok(Some(value)),
            None => Err(self.wrong(field)),
        }
    }

    /// The next field as it stands there.
    fn word(&mut self) -> Option<&'a [u8]> {
        let (word, rest) = first_word(self.rest?);
        self.rest = rest;
        Some(word)
    }

    /// The next field.
    pub(crate) fn next<T>(
        &mut self,
        field: &'static str,
        parse: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<T, FieldError> {
        let Some(word) = self.word() else {
            return Err(self.error(field, Fault::Missing));
        };
        parse(word).ok_or_else(|| self.wrong(field))
    }

    /// Whether nothing is left but one `-`.
    pub(crate) fn is_dash(&self) -> bool {
        self.rest == Some(b"-")
    }

    /// All that is left, as text.
    pub(crate) fn text(mut self, field: &'static str) -> Result<Text, FieldError> {
        let rest = self.rest.take();
        let rest = rest.ok_or_else(|| self.error(field, Fault::Missing))?;
        Text::of(rest).ok_or_else(|| self.wrong(field))
    }

    /// Nothing may be left.
    pub(crate) fn end(self) -> Result<(), FieldError> {
        match self.rest {
            None => Ok(()),
            Some(_) => Err(self.error("extra", Fault::Extra)),
        }
    }
}

/// Decimal digits and nothing else, at most `max`.
pub(crate) fn decimal(word: &[u8], max: u64) -> Option<u64> {
    if word.is_empty() || word.len() > 20 {
        return None;
    }
    let mut value = 0u64;
    for byte in word {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value = value.checked_mul(10)?.checked_add(digit)?;
    }
    (value <= max).then_some(value)
}

/// A TCP port, 1 to 65535.
pub(crate) fn port(word: &[u8]) -> Option<u16> {
    let port = decimal(word, u64::from(u16::MAX))?;
    u16::try_from(port).ok().filter(|port| *port > 0)
}

/// `-` is unknown; else what `parse` says.
pub(crate) fn or_dash<T>(word: &[u8], parse: impl FnOnce(&[u8]) -> Option<T>) -> Option<Option<T>> {
    if word == b"-" {
        Some(None)
    } else {
        parse(word).map(Some)
    }
}

/// An ASCII string of `length` bytes whose every byte is allowed.
pub(crate) fn ascii(
    word: &[u8],
    length: std::ops::RangeInclusive<usize>,
    allowed: impl Fn(u8) -> bool,
) -> Option<String> {
    ascii_by(word, length, &allowed)
}

/// Compiled once, not for each grammar.
fn ascii_by(
    word: &[u8],
    length: std::ops::RangeInclusive<usize>,
    allowed: &dyn Fn(u8) -> bool,
) -> Option<String> {
    if !length.contains(&word.len()) || !word.iter().all(|byte| byte.is_ascii() && allowed(*byte)) {
        return None;
    }
    String::from_utf8(word.to_vec()).ok()
}

/// A string with a grammar: `new` checks it, `as_str` and `Display` give it back.
macro_rules! checked_text {
    ($($(#[$doc:meta])* $name:ident = $check:expr;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub struct $name(String);

        impl $name {
            /// `None` when the text does not follow the grammar.
            #[must_use]
            pub fn new(text: &str) -> Option<Self> {
                Self::of(text.as_bytes())
            }

            pub(crate) fn of(word: &[u8]) -> Option<Self> {
                let check: fn(&[u8]) -> Option<String> = $check;
                check(word).map($name)
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    )+};
}
pub(crate) use checked_text;

checked_text! {
    /// A camera's id: `tenant/camera`, two DNS labels (RFC 1123, lower case, 1 to 63 characters each).
    Id = |word| {
        let at = word.iter().position(|byte| *byte == b'/')?;
        let (tenant, camera) = word.split_at(at);
        let valid = dns_label(tenant) && dns_label(camera.get(1..)?);
        valid.then(|| String::from_utf8_lossy(word).into_owned())
    };

    /// A host name or address that is safe as an argument of dbclient: `[A-Za-z0-9.:-]`, at most 253, no `-` first (CVE-2025-47203).
    Host = |word| {
        let host = ascii(word, 1..=253, |byte| byte.is_ascii_alphanumeric() || b".:-".contains(&byte))?;
        (!host.starts_with('-')).then_some(host)
    };

    /// A camera's model, or the target of a build: `[A-Za-z0-9._-]`, at most 64.
    Model = |word| ascii(word, 1..=64, |byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));

    /// Printable ASCII with spaces, one to 1013 characters: what the longest line leaves behind `LOG error `. A line that would be longer
    /// than [`MAX_LINE`] is cut when printed. It comes from outside: escape it before it is shown (S33).
    Text = |word| ascii(word, 1..=MAX_LINE - 11, |byte| byte == b' ' || byte.is_ascii_graphic());
}

impl Text {
    /// A text of anything: what is not printable ASCII becomes `?`, what is too long is cut, nothing becomes `-`.
    #[must_use]
    pub fn clean(text: &str) -> Self {
        let clean: String = text
            .chars()
            .take(MAX_LINE - 11)
            .map(|character| match character {
                ' '..='~' => character,
                _ => '?',
            })
            .collect();
        Text(if clean.is_empty() { "-".into() } else { clean })
    }
}

/// RFC 1123: letters, digits and inner hyphens; in lower case.
fn dns_label(label: &[u8]) -> bool {
    let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    (1..=63).contains(&label.len())
        && label.iter().all(inner)
        && label.first() != Some(&b'-')
        && label.last() != Some(&b'-')
}

/// An enrolment token: 22 to 256 characters of `[A-Za-z0-9._~+/=-]` (22 of base64 are 128 bits: S3). Not shown by `Debug` (P10).
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// `None` when the text does not follow the grammar.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        Self::of(text.as_bytes())
    }

    pub(crate) fn of(word: &[u8]) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._~+/=-".contains(&byte);
        ascii(word, 22..=256, allowed).map(Token)
    }

    /// The token itself: for hashing and for the line, not for logs.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A MAC address; printed as six pairs of lower-case hexadecimal digits with `:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    pub(crate) fn of(word: &[u8]) -> Option<Self> {
        let mut mac = [0u8; 6];
        let mut pairs = word.split(|byte| *byte == b':');
        for slot in &mut mac {
            let &[high, low] = pairs.next()? else {
                return None;
            };
            let high = char::from(high).to_digit(16)?;
            let low = char::from(low).to_digit(16)?;
            *slot = u8::try_from(high << 4 | low).ok()?;
        }
        pairs.next().is_none().then_some(Mac(mac))
    }
}

impl Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// An agent's version `a.b.c`, ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u16, pub u16, pub u16);

impl Version {
    /// `None` when the text is not `a.b.c`, each at most 65,535.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        Self::of(text.as_bytes())
    }

    pub(crate) fn of(word: &[u8]) -> Option<Self> {
        let mut parts = word.split(|byte| *byte == b'.');
        let mut part = || {
            let value = decimal(parts.next()?, u64::from(u16::MAX))?;
            u16::try_from(value).ok()
        };
        let version = Version(part()?, part()?, part()?);
        parts.next().is_none().then_some(version)
    }
}

impl Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// One part of an upgrade: 1 to 756 bytes, so that `PART`, a nine-digit offset and the base64 fill a line of exactly 1,024.
#[derive(Clone, PartialEq, Eq)]
pub struct Data(Vec<u8>);

impl Data {
    /// The greatest number of bytes in a part.
    pub const MAX: usize = 756;

    /// `None` when there are none or more than [`Data::MAX`].
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        (1..=Self::MAX)
            .contains(&bytes.len())
            .then_some(Data(bytes))
    }

    pub(crate) fn of(word: &[u8]) -> Option<Self> {
        base64::decode(word).and_then(Data::new)
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Display for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base64::encode(&self.0))
    }
}
