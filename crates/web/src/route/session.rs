//! Signing in and out.

use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use moorline_core::Masked;
use moorline_core::port::{AuditEntry, AuditEvent, PortError, UsersError};
use moorline_core::user::User;

use crate::access::{Access, COOKIE, token};
use crate::api::{Me, SignIn, UserView};
use crate::extract::Sent;
use crate::problem::Problem;
use crate::serve::Peer;
use crate::site::Site;

/// 30 days, as long as a session lives at most.
const COOKIE_AGE: u32 = 30 * 86_400;

/// `POST /session`
pub(super) async fn sign_in(
    State(site): State<Site>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
    Sent(request): Sent<SignIn>,
) -> Result<impl IntoResponse, Problem> {
    let password = Masked::new(request.password);
    let verified = site
        .users
        .verify_web(&request.login, &password, peer.ip())
        .await;
    let audit = |event, actor: &str| {
        let actor = actor.chars().take(64).collect();
        site.audit.write(AuditEntry {
            at: site.now(),
            actor,
            event,
            subject: peer.ip().to_string(),
        });
    };
    let user = match verified {
        Ok(user) => user,
        Err(error) => {
            if matches!(error, UsersError::Wrong) {
                audit(AuditEvent::SignInFailed, &request.login);
            }
            return Err(error.into());
        }
    };
    if let Some(old) = token(&headers) {
        let closed = site.sessions.close(old).await;
        closed.map_err(|error| unopened(&error))?;
    }
    let opened = site.sessions.open(&user.login).await;
    let opened = opened.map_err(|error| unopened(&error))?;
    audit(AuditEvent::SignIn, user.login.as_str());
    let cookie = format!(
        "{COOKIE}={}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={COOKIE_AGE}",
        opened.reveal()
    );
    let cookie = HeaderValue::from_str(&cookie).map_err(|error| Problem::internal(&error))?;
    Ok(([(header::SET_COOKIE, cookie)], Json(view(&user))))
}

/// Passwords are verified from memory, and a session has to be written: an outage of the database shows here first.
fn unopened(error: &PortError) -> Problem {
    tracing::warn!(%error, "somebody could not be signed in");
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "people_unavailable",
        "nobody can be signed in at this moment, since the database of users does not take it",
    )
    .hint("who is signed in stays so, and streams go on; try again in a minute")
}

/// `DELETE /session`
pub(super) async fn sign_out(
    State(site): State<Site>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    if let Some(token) = token(&headers) {
        site.sessions.close(token).await?;
    }
    let gone = format!("{COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0");
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, gone)]))
}

/// `GET /me`
pub(super) async fn me(State(site): State<Site>, access: Access) -> Result<Json<Me>, Problem> {
    let Access::User(user) = access else {
        return Err(Problem::unknown("user"));
    };
    let password = site.users.stream_password(&user.login).await?;
    Ok(Json(Me {
        user: view(&user),
        stream_password: password.reveal().clone(),
        public_host: site.place.viewer_host.clone(),
        ports: site.place.ports,
    }))
}

/// A user as the API shows them.
pub(super) fn view(user: &User) -> UserView {
    UserView {
        login: user.login.clone(),
        tenant: user.tenant.clone(),
        role: user.role,
        created: user.created,
    }
}
