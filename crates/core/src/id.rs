//! Identifiers. Each is its own type, so that a generation cannot be passed where a session is wanted.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not a DNS label (RFC 1123, section 2.1).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a name: use 1 to 63 of a-z, 0-9 and -, beginning and ending with a letter or digit"
)]
pub struct InvalidLabel {
    /// What was given, shortened to 80 characters.
    pub text: String,
}

/// A DNS label: 1 to 63 of `a-z0-9-`, no hyphen at either end (RFC 1123). Never renamed once given.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label(Box<str>);

impl Label {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Label {
    type Err = InvalidLabel;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = text.as_bytes();
        let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
        let valid = (1..=63).contains(&bytes.len())
            && bytes.iter().all(inner)
            && bytes.first() != Some(&b'-')
            && bytes.last() != Some(&b'-');
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(InvalidLabel {
                text: text.chars().take(80).collect(),
            })
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! text_serde {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text =
                    <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use text_serde;

text_serde!(Label);

/// Who owns cameras: a namespace of cameras, keys and objects.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Label);

impl TenantId {
    /// The one tenant of an embedded installation.
    pub const HOME: &'static str = "home";

    /// The one tenant of an embedded installation, `home`.
    pub fn home() -> Self {
        Self(Label(Self::HOME.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for TenantId {
    type Err = InvalidLabel;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

text_serde!(TenantId);

/// A camera of a tenant, printed `tenant/camera`. Parsing takes `camera` alone for `home/camera`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CameraId {
    tenant: TenantId,
    name: Label,
}

impl CameraId {
    /// The camera `name` of `tenant`.
    pub fn new(tenant: TenantId, name: Label) -> Self {
        Self { tenant, name }
    }

    /// Who owns it.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Its name inside the tenant.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// What a person types: the name alone where the tenant is the embedded default's.
    pub fn typed(&self) -> String {
        if self.tenant.as_str() == TenantId::HOME {
            self.name().to_owned()
        } else {
            self.to_string()
        }
    }

    /// The same in a command: `serve` has the embedded default's tenant alone, any other is a cluster's.
    pub fn in_command(&self) -> String {
        if self.tenant.as_str() == TenantId::HOME {
            self.typed()
        } else {
            format!("{self} --cluster")
        }
    }
}

impl FromStr for CameraId {
    type Err = InvalidLabel;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((tenant, name)) => Ok(Self {
                tenant: tenant.parse()?,
                name: name.parse()?,
            }),
            None => Ok(Self {
                tenant: TenantId::home(),
                name: text.parse()?,
            }),
        }
    }
}

impl fmt::Display for CameraId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.name)
    }
}

text_serde!(CameraId);

/// The count of claims of one camera: strictly increasing, persisted. A newer one supersedes every older one (P1).
/// At most ten decimal digits, because object keys carry it at that width.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation of the next claim.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One authenticated SSH connection (or the standing connection of a LAN camera), unique while the process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A started pair of workloads. The generation under which it started makes it unique across restarts of the process, since a
/// restart claims anew; the ordinal tells instances of one generation apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InstanceId {
    /// The generation under which it started.
    pub generation: Generation,
    /// Counts the starts under that generation, from 0.
    pub ordinal: u32,
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.generation, self.ordinal)
    }
}

/// One uninterrupted read of a relay by an archiver: random, printed as eight lower-case hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TakeId(pub u32);

impl fmt::Display for TakeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl FromStr for TakeId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u32::from_str_radix(text, 16).map(Self)
    }
}

text_serde!(TakeId);

/// Which of a camera's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceName {
    /// The full picture.
    Main,
    /// The camera's smaller second stream.
    Sub,
}

impl SourceName {
    /// `main` or `sub`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Sub => "sub",
        }
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One remote forward of a session: the first is `rtsp`, the others take the names in the camera's record, in order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ForwardName(Label);

impl ForwardName {
    /// The first forward of every tunnel: the camera's RTSP server.
    pub fn rtsp() -> Self {
        Self(Label("rtsp".into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for ForwardName {
    type Err = InvalidLabel;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl fmt::Display for ForwardName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

text_serde!(ForwardName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_a_dns_label() {
        for good in ["a", "camera-1", "0", &"x".repeat(63)] {
            assert!(good.parse::<Label>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            "a-",
            "A",
            "a.b",
            "a/b",
            "ä",
            "a b",
            "../x",
            &"x".repeat(64),
        ] {
            assert!(bad.parse::<Label>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_command_about_a_camera_goes_where_the_camera_is() {
        for (id, command) in [("home/yard", "yard"), ("acme/yard", "acme/yard --cluster")] {
            assert_eq!(id.parse::<CameraId>().unwrap().in_command(), command);
        }
    }

    #[test]
    fn a_camera_alone_is_at_home() {
        let camera: CameraId = "yard".parse().unwrap();
        assert_eq!(camera.to_string(), "home/yard");
        assert_eq!(
            "acme/yard".parse::<CameraId>().unwrap().tenant().as_str(),
            "acme"
        );
        assert!("a/b/c".parse::<CameraId>().is_err());
    }

    #[test]
    fn ids_travel_as_text() {
        let camera: CameraId = serde_json::from_str("\"acme/yard\"").unwrap();
        assert_eq!(serde_json::to_string(&camera).unwrap(), "\"acme/yard\"");
        assert!(serde_json::from_str::<CameraId>("\"Acme/yard\"").is_err());
        assert_eq!(TakeId(0x7f3a_9c21).to_string(), "7f3a9c21");
    }
}
