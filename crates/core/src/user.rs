//! People who watch or operate.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::{TenantId, text_serde};
use crate::masked::Masked;
use crate::time::Timestamp;

/// The one realm of the front door. A stored HA1 contains it: changing it makes every stream password invalid.
pub const REALM: &str = "Moorline";

/// What a user may do. Each role may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Watch and browse the cameras of the tenant.
    Viewer,
    /// Also add, change and switch cameras.
    Operator,
    /// Also users, secrets and erasing.
    Admin,
}

impl Role {
    /// `viewer`, `operator` or `admin`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = InvalidRole;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Viewer, Self::Operator, Self::Admin]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| InvalidRole(text.chars().take(40).collect()))
    }
}

/// A text that is no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("role = {0:?}: use viewer, operator or admin")]
pub struct InvalidRole(String);

/// A login name, unique in the whole installation: 1 to 64 of `a-z0-9._@-`, beginning with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LoginName(Box<str>);

impl LoginName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text that is no login name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "login = {text:?}{}: use 1 to 64 of a-z, 0-9, '.', '_', '@' and '-', beginning with a letter or digit",
    if *long > 64 { format!(" has {long} characters") } else { String::new() }
)]
pub struct InvalidLoginName {
    /// What was given, at most 80 characters of it.
    text: String,
    /// How long it was, in characters.
    long: usize,
}

impl FromStr for LoginName {
    type Err = InvalidLoginName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let valid = (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|byte| plain(byte) || b"._@-".contains(&byte))
            && text.bytes().next().is_some_and(plain);
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(InvalidLoginName {
                text: text.chars().take(80).collect(),
                long: text.chars().count(),
            })
        }
    }
}

impl fmt::Display for LoginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_serde!(LoginName);

/// A person: belongs to one tenant, has one role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// How they sign in, to the page and to streams.
    pub login: LoginName,
    /// Whose cameras they see.
    pub tenant: TenantId,
    /// What they may do.
    pub role: Role,
    /// When they were added.
    pub created: Timestamp,
}

/// What the front door verifies a stream login against (rule S12).
#[derive(Debug, Clone)]
pub struct StreamSecret {
    /// Whose it is.
    pub user: User,
    /// `MD5(login ":" REALM ":" stream password)` as 32 lower-case hex digits (RFC 2617). As good as the password.
    pub ha1: Masked<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn login_names_are_plain() {
        for good in ["admin", "anna.k@example.com", "admin.acme", "0x"] {
            assert!(good.parse::<LoginName>().is_ok(), "{good}");
        }
        for bad in ["", "Admin", ".a", "a b", "a:b", "a/b", "ä", &"x".repeat(65)] {
            assert!(bad.parse::<LoginName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_login_that_is_too_long_is_told_its_length() {
        let long = "x".repeat(108).parse::<LoginName>().unwrap_err();
        assert!(long.to_string().contains("has 108 characters"), "{long}");
    }

    #[test]
    fn roles_are_ordered() {
        assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Admin);
        assert_eq!("operator".parse(), Ok(Role::Operator));
        assert!("root".parse::<Role>().is_err());
    }
}
