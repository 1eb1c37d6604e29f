//! What a field of the configuration may be.

use std::fmt::{self, Display};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use super::secret_url::SecretUrl;
use super::units::{ByteSize, Complaint, HumanDuration};
use crate::secret::{MASKED, Secret};

/// A value as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Raw {
    /// A string of the file.
    Text(String),
    /// An integer of the file.
    Integer(i128),
    /// A boolean of the file.
    Boolean(bool),
    /// An array of the file.
    List(Vec<Raw>),
    /// A value of the environment: always text; a list is parted by commas.
    Environment(String),
    /// Something of the file that no field takes: its TOML type and text.
    Other(&'static str, String),
}

impl Display for Raw {
    /// As it would stand in the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Raw::Text(text) | Raw::Environment(text) => f.write_str(&quoted(text)),
            Raw::Integer(number) => write!(f, "{number}"),
            Raw::Boolean(value) => write!(f, "{value}"),
            Raw::List(items) => {
                let items: Vec<_> = items.iter().map(ToString::to_string).collect();
                write!(f, "[{}]", items.join(", "))
            }
            Raw::Other(_, text) => f.write_str(text),
        }
    }
}

/// A TOML basic string.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            other if other.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(other))),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// A type that a field may have. For an enumeration of words use [`config_choice!`](crate::config_choice).
pub trait FieldType: Sized {
    /// True for secrets: they are masked and have a `_file` variant.
    const SECRET: bool = false;

    /// The type for the reference: `duration`, `list of address`.
    fn type_name() -> String;

    /// Reads what was written.
    ///
    /// # Errors
    /// What is wrong with it, and what would be right.
    fn read(raw: &Raw) -> Result<Self, Complaint>;

    /// As it would stand in the file; empty when there is no value.
    fn show(&self) -> String;
}

/// The text of a string, of either source.
fn text<'a>(raw: &'a Raw, type_name: &str, example: &str) -> Result<&'a str, Complaint> {
    match raw {
        Raw::Text(text) | Raw::Environment(text) => Ok(text),
        other => Err(Complaint::new(
            format!("{type_name} is written as text in quotes"),
            match other {
                Raw::Integer(number) if example.is_empty() => format!("write \"{number}\""),
                _ => format!("write for example \"{example}\""),
            },
        )),
    }
}

impl FieldType for bool {
    fn type_name() -> String {
        "true or false".into()
    }

    fn read(raw: &Raw) -> Result<Self, Complaint> {
        match raw {
            Raw::Boolean(value) => Ok(*value),
            Raw::Environment(text) if text == "true" => Ok(true),
            Raw::Environment(text) if text == "false" => Ok(false),
            _ => Err(Complaint::new(
                "this is true or false",
                "write true or false, without quotes",
            )),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

macro_rules! whole_numbers {
    ($($number:ty),*) => {$(
        impl FieldType for $number {
            fn type_name() -> String {
                "whole number".into()
            }

            fn read(raw: &Raw) -> Result<Self, Complaint> {
                let number = match raw {
                    Raw::Integer(number) => Some(*number),
                    Raw::Environment(text) => text.trim().parse::<i128>().ok(),
                    _ => None,
                };
                let Some(number) = number else {
                    return Err(Complaint::new("this is a whole number", "write it without quotes"));
                };
                <$number>::try_from(number).map_err(|_| {
                    let range = format!("write a number from {} to {}", <$number>::MIN, <$number>::MAX);
                    Complaint::new("the number is out of range", range)
                })
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

whole_numbers!(u8, u16, u32, u64, usize, i64);

impl FieldType for String {
    fn type_name() -> String {
        "text".into()
    }

    fn read(raw: &Raw) -> Result<Self, Complaint> {
        text(raw, "this", "").map(str::to_owned)
    }

    fn show(&self) -> String {
        quoted(self)
    }
}

impl FieldType for PathBuf {
    fn type_name() -> String {
        "path".into()
    }

    fn read(raw: &Raw) -> Result<Self, Complaint> {
        match text(raw, "a path", "/var/lib/moorline")? {
            "" => Err(Complaint::new(
                "the path is empty",
                "write for example \"/var/lib/moorline\"",
            )),
            path => Ok(path.into()),
        }
    }

    fn show(&self) -> String {
        quoted(&self.to_string_lossy())
    }
}

fn parsed<T: FromStr>(raw: &Raw, type_name: &str, example: &str) -> Result<T, Complaint> {
    text(raw, type_name, example)?.parse().map_err(|_| {
        Complaint::new(
            format!("this is no {type_name}"),
            format!("write for example \"{example}\""),
        )
    })
}

impl FieldType for SocketAddr {
    fn type_name() -> String {
        "address and port".into()
    }

    fn read(raw: &Raw) -> Result<Self, Complaint> {
        parsed(raw, "address and port", "0.0.0.0:8554")
    }

    fn show(&self) -> String {
        quoted(&self.to_string())
    }
}

impl FieldType for IpAddr {
    fn type_name() -> String {
        "IP address".into()
    }

    fn read(raw: &Raw) -> Result<Self, Complaint> {
        parsed(raw, "IP address", "192.0.2.1")
    }

    fn show(&self) -> String {
        quoted(&self.to_string())
    }
}

macro_rules! with_units {
    ($($name:ident: $type_name:literal, $unit:literal),*) => {$(
        impl FieldType for $name {
            fn type_name() -> String {
                $type_name.into()
            }

            fn read(raw: &Raw) -> Result<Self, Complaint> {
                match raw {
                    Raw::Text(text) | Raw::Environment(text) => text.parse(),
                    // An integer lacks its unit just as "60" does, and is told the same.
                    Raw::Integer(number) => number.to_string().parse(),
                    _ => Err(Complaint::new(concat!("a ", $type_name, " is written as text in quotes"), concat!("write for example \"", $unit, "\""))),
                }
            }

            fn show(&self) -> String {
                quoted(&self.to_string())
            }
        }
    )*};
}

with_units!(HumanDuration: "duration", "30s", ByteSize: "size", "2GiB");

impl FieldType for Secret<String> {
    const SECRET: bool = true;

    fn type_name() -> String {
        "secret text".into()
    }

    fn read(raw: &Raw) -> Result<Self, Complaint> {
        match text(raw, "a secret", "…")? {
            "" => Err(Complaint::new(
                "the secret is empty",
                "remove the field, or name a file with the _file variant",
            )),
            secret => Ok(Secret::new(secret.to_owned())),
        }
    }

    fn show(&self) -> String {
        if self.expose().is_empty() {
            String::new()
        } else {
            quoted(MASKED)
        }
    }
}

impl FieldType for SecretUrl {
    const SECRET: bool = true;

    fn type_name() -> String {
        "secret URL".into()
    }

    fn read(raw: &Raw) -> Result<Self, Complaint> {
        text(raw, "a URL", "https://example.com/hook").map(SecretUrl::new)
    }

    fn show(&self) -> String {
        if self.is_empty() {
            String::new()
        } else {
            quoted(&self.to_string())
        }
    }
}

impl<T: FieldType> FieldType for Option<T> {
    const SECRET: bool = T::SECRET;

    fn type_name() -> String {
        T::type_name()
    }

    fn read(raw: &Raw) -> Result<Self, Complaint> {
        T::read(raw).map(Some)
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(String::new, FieldType::show)
    }
}

impl<T: FieldType> FieldType for Vec<T> {
    fn type_name() -> String {
        format!("list of {}", T::type_name())
    }

    fn read(raw: &Raw) -> Result<Self, Complaint> {
        match raw {
            Raw::List(items) => items.iter().map(T::read).collect(),
            Raw::Environment(text) if text.trim().is_empty() => Ok(Vec::new()),
            Raw::Environment(text) => text
                .split(',')
                .map(|item| T::read(&Raw::Environment(item.trim().to_owned())))
                .collect(),
            other => Err(Complaint::new("this is a list", format!("write [{other}]"))),
        }
    }

    fn show(&self) -> String {
        let items: Vec<_> = self.iter().map(FieldType::show).collect();
        format!("[{}]", items.join(", "))
    }
}

/// An enumeration of words as a field's type.
///
/// ```
/// moorline_base::config_choice! {
///     /// Which stream is recorded.
///     pub enum Record { Main = "main", Sub = "sub", Off = "off" }
/// }
/// assert_eq!(Record::Sub.as_str(), "sub");
/// ```
#[macro_export]
macro_rules! config_choice {
    ($(#[doc = $doc:literal])* $vis:vis enum $name:ident { $($(#[doc = $word_doc:literal])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        $vis enum $name {
            $(
                $(#[doc = $word_doc])*
                #[doc = concat!("Written `", $word, "`.")]
                $variant,
            )+
        }

        impl $name {
            /// The word in the file.
            #[must_use]
            $vis const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
        }

        impl $crate::config::FieldType for $name {
            fn type_name() -> String {
                [$(concat!("`", $word, "`")),+].join(", ")
            }

            fn read(raw: &$crate::config::Raw) -> Result<Self, $crate::config::Complaint> {
                match raw {
                    $(
                        $crate::config::Raw::Text(text) | $crate::config::Raw::Environment(text) if text == $word => Ok($name::$variant),
                    )+
                    _ => Err($crate::config::Complaint::new(
                        "this is none of the known words",
                        format!("write one of {}", [$(concat!("\"", $word, "\"")),+].join(", ")),
                    )),
                }
            }

            fn show(&self) -> String {
                format!("\"{}\"", self.as_str())
            }
        }
    };
}
