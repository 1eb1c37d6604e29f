//! Who may sign in, and what they did.

use moorline_core::port::AuditEvent;
use moorline_core::user::{LoginName, Role};
use moorline_core::{TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use super::Ports;

/// `POST /session`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// The login name.
    pub login: String,
    /// The web password.
    pub password: String,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserView {
    /// How they sign in.
    pub login: LoginName,
    /// Whose cameras they see.
    pub tenant: TenantId,
    /// What they may do.
    pub role: Role,
    /// When they were added.
    pub created: Timestamp,
}

/// `POST /tenants/{tenant}/users`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserAdd {
    /// The login name.
    pub login: String,
    /// What they may do.
    pub role: Role,
    /// The web password; `None`: one is made.
    #[serde(default)]
    pub password: Option<String>,
}

/// What a user signs in with. Shown once.
#[derive(Clone, Serialize, Deserialize)]
pub struct Credentials {
    /// The login name.
    pub login: LoginName,
    /// The web password, if the server made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// The stream password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_password: Option<String>,
}

/// `PUT /tenants/{tenant}/users/{login}/password`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PasswordSet {
    /// The new web password; `None`: one is made.
    #[serde(default)]
    pub password: Option<String>,
}

/// One entry of the audit: who did what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditView {
    /// When.
    pub at: Timestamp,
    /// Who: a login, `camera …`, or `command line` for the machine's own socket (`operator` in entries of versions before).
    pub actor: String,
    /// What.
    pub event: AuditEvent,
    /// On what: a camera, a user, a stretch.
    pub subject: String,
}

/// `GET /me`: who is signed in, and how to watch with a player.
#[derive(Clone, Serialize, Deserialize)]
pub struct Me {
    /// Who.
    pub user: UserView,
    /// The stream password, for the copy button (rule S12).
    pub stream_password: String,
    /// The host name in URLs.
    pub public_host: String,
    /// Ports as the outside sees them.
    pub ports: Ports,
}
