//! Who asks: the one extractor of all routes (rule S13). A local operator (Unix socket) may do everything; a signed-in user what their
//! role allows, in their own tenant. A foreign tenant looks exactly like one that does not exist.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use moorline_base::crowd::Place;
use moorline_core::user::{Role, User};
use moorline_core::{CameraId, TenantId, Timestamp};

use crate::problem::Problem;
use crate::site::Site;

/// The session cookie. The prefix makes browsers insist on Secure, no Domain and Path=/.
pub const COOKIE: &str = "__Host-moorline";

/// Connections of one user at once (promise P9): two browsers side by side with as many as a browser opens. A login that leaked, or its owner, takes no
/// place from all others.
pub const CONNECTIONS: usize = 512;

/// Marks requests that came over the 0600 Unix socket, or from the process itself.
#[derive(Debug, Clone, Copy)]
pub struct Local;

/// Who asks.
#[derive(Debug, Clone)]
pub enum Access {
    /// Somebody who owns the machine's account.
    Local,
    /// A signed-in user.
    User(User),
}

impl Access {
    /// The name in the audit. The blank keeps it apart from all logins.
    pub fn actor(&self) -> String {
        match self {
            Self::Local => "command line".to_owned(),
            Self::User(user) => user.login.to_string(),
        }
    }

    /// The login name for limits on streams.
    pub fn login(&self) -> &str {
        match self {
            Self::Local => "operator",
            Self::User(user) => user.login.as_str(),
        }
    }

    /// Whether this is the machine's own operator.
    ///
    /// # Errors
    /// 404: such routes do not exist for others.
    pub fn local(&self) -> Result<(), Problem> {
        if matches!(self, Self::Local) {
            Ok(())
        } else {
            Err(Problem::unknown("page"))
        }
    }

    /// The tenant of a path, if whoever asks may act in it as `role`.
    ///
    /// # Errors
    /// 404 for a foreign tenant, 403 for a role that is too small.
    pub fn tenant(&self, tenant: &str, role: Role) -> Result<TenantId, Problem> {
        let asked: TenantId = tenant.parse().map_err(|_| Problem::unknown("tenant"))?;
        match self {
            Self::Local => Ok(asked),
            Self::User(user) if user.tenant != asked => Err(Problem::unknown("tenant")),
            Self::User(user) if user.role < role => Err(Problem::new(
                StatusCode::FORBIDDEN,
                "forbidden",
                format!("this needs the role {role}, and yours is {}", user.role),
            )),
            Self::User(_) => Ok(asked),
        }
    }

    /// From when on recordings of a camera are shown: those from before it was added may be another device's of the same name, and are
    /// shown to admins only (rule S26).
    pub fn shown_from(&self, created: Timestamp) -> Timestamp {
        match self {
            Self::Local => Timestamp::default(),
            Self::User(user) if user.role == Role::Admin => Timestamp::default(),
            Self::User(_) => created,
        }
    }

    /// The camera of a path, if it may be seen as `role`. Whether it exists is checked by the caller.
    ///
    /// # Errors
    /// As [`Access::tenant`].
    pub fn camera(&self, tenant: &str, camera: &str, role: Role) -> Result<CameraId, Problem> {
        let tenant = self.tenant(tenant, role)?;
        let name = camera.parse().map_err(|_| Problem::unknown("camera"))?;
        Ok(CameraId::new(tenant, name))
    }
}

impl FromRequestParts<Site> for Access {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, site: &Site) -> Result<Self, Problem> {
        if parts.extensions.get::<Local>().is_some() {
            return Ok(Self::Local);
        }
        let user = match token(&parts.headers) {
            Some(token) => site.sessions.find(token).await,
            None => None,
        };
        if let (Some(user), Some(place)) = (&user, parts.extensions.get::<Place>())
            && !place.welcome_user(user.login.as_str(), CONNECTIONS)
        {
            let title = format!("at most {CONNECTIONS} connections at once for one user");
            let status = StatusCode::TOO_MANY_REQUESTS;
            let problem = Problem::new(status, "too_many_connections", title);
            return Err(problem.hint("close some windows"));
        }
        user.map(Self::User)
            .ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, "sign_in", "sign in first"))
    }
}

/// The session token of a request.
pub fn token(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut pairs = cookies
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    pairs
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, token)| token)
}
