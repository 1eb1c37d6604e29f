use std::net::IpAddr;

use async_trait::async_trait;

use super::PortError;
use crate::id::{CameraId, TenantId};
use crate::masked::Masked;
use crate::time::Timestamp;
use crate::user::{LoginName, Role, StreamSecret, User};

/// Why a user was not changed or let in.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// Wrong login or password: never says which.
    #[error("login or password is wrong")]
    Wrong,
    /// Too many sign-ins at once, or too many failures from that place (rule S11).
    #[error("too many sign-ins: try again in a minute")]
    Busy,
    /// The login name is taken; names are unique in the installation.
    #[error("the login {0} is taken: choose another, such as {0}.NAME")]
    Exists(LoginName),
    /// There is no such user.
    #[error("there is no user {0}")]
    Unknown(LoginName),
    /// The last admin must stay.
    #[error("{0} is the last admin: add another first")]
    LastAdmin(LoginName),
    /// A password is too short or too long.
    #[error("the password has {0} characters: use 10 to 200")]
    Password(usize),
    /// The adapter failed.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// People.
#[async_trait]
pub trait Users: Send + Sync {
    /// Checks a web password. Costs the same for unknown logins; runs at most two at once with a short queue (rule S11).
    ///
    /// # Errors
    /// [`UsersError::Wrong`], [`UsersError::Busy`].
    async fn verify_web(
        &self,
        login: &str,
        password: &Masked<String>,
        from: IpAddr,
    ) -> Result<User, UsersError>;

    /// What a stream login is verified against; from memory. `None`: no such user (the caller answers as to a wrong password).
    fn stream_secret(&self, login: &str) -> Option<StreamSecret>;

    /// The stream password itself, to be shown to its owner (rule S12).
    ///
    /// # Errors
    /// [`UsersError::Unknown`].
    async fn stream_password(&self, login: &LoginName) -> Result<Masked<String>, UsersError>;

    /// Makes a new stream password; streams opened with the old one end within 1 s.
    ///
    /// # Errors
    /// [`UsersError::Unknown`].
    async fn rotate_stream_password(&self, login: &LoginName)
    -> Result<Masked<String>, UsersError>;

    /// All users of a tenant, by login; from memory.
    fn list(&self, tenant: &TenantId) -> Vec<User>;

    /// The user as it is now; from memory. Streams and web sessions check it again (rule S15).
    fn get(&self, login: &str) -> Option<User>;

    /// Adds a user with a web password. Returns the stream password that was made.
    ///
    /// # Errors
    /// [`UsersError::Exists`], [`UsersError::Password`].
    async fn add(
        &self,
        login: LoginName,
        tenant: TenantId,
        role: Role,
        password: Masked<String>,
    ) -> Result<Masked<String>, UsersError>;

    /// Changes the web password and ends the user's web sessions.
    ///
    /// # Errors
    /// [`UsersError::Unknown`], [`UsersError::Password`].
    async fn set_password(
        &self,
        login: &LoginName,
        password: Masked<String>,
    ) -> Result<(), UsersError>;

    /// Removes a user; their streams end within 1 s (rule S15).
    ///
    /// # Errors
    /// [`UsersError::Unknown`], [`UsersError::LastAdmin`].
    async fn remove(&self, login: &LoginName) -> Result<(), UsersError>;
}

/// Signed-in browsers. Tokens are stored hashed (rule S13).
#[async_trait]
pub trait WebSessions: Send + Sync {
    /// Opens a session and returns its token (256 random bits, URL-safe text). It ends after 30 days, or 7 days without use.
    ///
    /// # Errors
    /// [`PortError`].
    async fn open(&self, login: &LoginName) -> Result<Masked<String>, PortError>;

    /// Whose session it is; from memory. `None`: unknown or over.
    fn user(&self, token: &str) -> Option<User>;

    /// As [`WebSessions::user`]; where sessions are opened by several processes, one that was opened elsewhere a moment ago is found too. Ends
    /// within 10 s.
    async fn find(&self, token: &str) -> Option<User> {
        self.user(token)
    }

    /// Ends a session. Idempotent.
    ///
    /// # Errors
    /// [`PortError`].
    async fn close(&self, token: &str) -> Result<(), PortError>;
}

/// An entry of the audit: a closed list of events (rule S35).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// Who: a login name, `camera …`, or `command line` for the machine's own socket, which no login is called since none has a blank.
    /// Versions before wrote `operator` for it.
    pub actor: String,
    /// What.
    pub event: AuditEvent,
    /// On what: a camera, a user, a stretch.
    pub subject: String,
}

crate::words! {
    /// What is audited.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum AuditEvent {
        /// Somebody signed in.
        SignIn = "sign_in",
        /// A sign-in failed.
        SignInFailed = "sign_in_failed",
        /// Somebody looked at live pictures or recordings.
        View = "view",
        /// Somebody exported a stretch.
        Export = "export",
        /// A key of a camera was added or revoked.
        KeyChange = "key_change",
        /// A user was added.
        UserAdd = "user_add",
        /// A user got another password for the page.
        UserPassword = "user_password",
        /// A user got another password for players.
        UserStreamPassword = "user_stream_password",
        /// A user was removed.
        UserRemove = "user_remove",
        /// A user was added, changed or removed, as versions before wrote it.
        UserChange = "user_change",
        /// A camera was added.
        CameraAdd = "camera_add",
        /// A camera was changed, enabled or disabled; versions before wrote it of all four.
        CameraChange = "camera_change",
        /// Somebody ended a camera's tunnel.
        CameraHangUp = "camera_hang_up",
        /// A camera was removed; its recordings stay unless they are erased, which is an entry of its own.
        CameraRemove = "camera_remove",
        /// Recordings were erased.
        Erase = "erase",
        /// A tunnel superseded another that served.
        Takeover = "takeover",
        /// An enrolment token was spent, or tried by a second key.
        Enrolment = "enrolment",
        /// The state was backed up.
        Backup = "backup",
        /// Somebody looked at a camera's own page, or fetched a picture from it.
        ReachIn = "reach_in",
    }
}

/// Which entries of a tenant are asked for; without anything all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// From this instant on.
    pub from: Option<Timestamp>,
    /// Before this instant.
    pub to: Option<Timestamp>,
    /// About this camera, or by it.
    pub camera: Option<CameraId>,
    /// By this login, or about it.
    pub user: Option<String>,
}

/// Append-only.
#[async_trait]
pub trait Audit: Send + Sync {
    /// Writes an entry, also to the log. Never blocks; at most 1,024 wait, and what does not fit is in the log alone.
    fn write(&self, entry: AuditEntry);

    /// The newest entries of a tenant that the filter lets through, newest first, at most `limit`.
    ///
    /// # Errors
    /// [`PortError`].
    async fn read(
        &self,
        tenant: &TenantId,
        filter: &AuditFilter,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, PortError>;
}
