//! People, and who did what.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use moorline_core::Masked;
use moorline_core::port::{AuditEntry, AuditEvent, AuditFilter};
use moorline_core::user::{LoginName, Role};
use serde::Deserialize;

use super::archive::instant;
use super::session::view;
use crate::access::Access;
use crate::api::{AuditView, Credentials, PasswordSet, UserAdd, UserView};
use crate::extract::{Asked, Sent};
use crate::password::made_password;
use crate::problem::Problem;
use crate::site::Site;

/// Entries of one answer.
const AUDIT_ENTRIES: u32 = 1_000;

/// `GET /tenants/{tenant}/users`
pub(super) async fn list(
    State(site): State<Site>,
    access: Access,
    Path(tenant): Path<String>,
) -> Result<Json<Vec<UserView>>, Problem> {
    let tenant = access.tenant(&tenant, Role::Admin)?;
    Ok(Json(site.users.list(&tenant).iter().map(view).collect()))
}

/// `POST /tenants/{tenant}/users`
pub(super) async fn add(
    State(site): State<Site>,
    access: Access,
    Path(tenant): Path<String>,
    request: Result<Sent<UserAdd>, Problem>,
) -> Result<(StatusCode, Json<Credentials>), Problem> {
    let tenant = access.tenant(&tenant, Role::Admin)?;
    let Sent(request) = request?;
    let login: LoginName = request.login.parse().map_err(|_| {
        Problem::invalid(
            "login",
            &request.login,
            "use a-z, 0-9, '.', '_', '@' and '-'",
        )
    })?;
    let made = request.password.is_none().then(made_password);
    let password = request
        .password
        .or_else(|| made.clone())
        .unwrap_or_default();
    let stream = site
        .users
        .add(login.clone(), tenant, request.role, Masked::new(password))
        .await?;
    audit(&site, &access, AuditEvent::UserAdd, &login);
    let stream_password = Some(stream.reveal().clone());
    Ok((
        StatusCode::CREATED,
        Json(Credentials {
            login,
            password: made,
            stream_password,
        }),
    ))
}

/// `DELETE …/users/{login}`
pub(super) async fn remove(
    State(site): State<Site>,
    access: Access,
    Path((tenant, login)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let login = known(&site, &access, &tenant, &login)?;
    site.users.remove(&login).await?;
    audit(&site, &access, AuditEvent::UserRemove, &login);
    Ok(StatusCode::NO_CONTENT)
}

/// `PUT …/users/{login}/password`
pub(super) async fn password(
    State(site): State<Site>,
    access: Access,
    Path((tenant, login)): Path<(String, String)>,
    request: Result<Sent<PasswordSet>, Problem>,
) -> Result<Json<Credentials>, Problem> {
    let login = known(&site, &access, &tenant, &login)?;
    let Sent(request) = request?;
    let made = request.password.is_none().then(made_password);
    let password = request
        .password
        .or_else(|| made.clone())
        .unwrap_or_default();
    site.users
        .set_password(&login, Masked::new(password))
        .await?;
    audit(&site, &access, AuditEvent::UserPassword, &login);
    Ok(Json(Credentials {
        login,
        password: made,
        stream_password: None,
    }))
}

/// `POST …/users/{login}/stream-password`
pub(super) async fn stream_password(
    State(site): State<Site>,
    access: Access,
    Path((tenant, login)): Path<(String, String)>,
) -> Result<Json<Credentials>, Problem> {
    let login = known(&site, &access, &tenant, &login)?;
    let made = site.users.rotate_stream_password(&login).await?;
    audit(&site, &access, AuditEvent::UserStreamPassword, &login);
    Ok(Json(Credentials {
        login,
        password: None,
        stream_password: Some(made.reveal().clone()),
    }))
}

/// What is asked of the audit.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Wanted {
    from: Option<String>,
    to: Option<String>,
    camera: Option<String>,
    user: Option<String>,
}

/// `GET /tenants/{tenant}/audit`
pub(super) async fn audit_log(
    State(site): State<Site>,
    access: Access,
    Path(tenant): Path<String>,
    wanted: Result<Asked<Wanted>, Problem>,
) -> Result<Json<Vec<AuditView>>, Problem> {
    let tenant = access.tenant(&tenant, Role::Admin)?;
    let Asked(wanted) = wanted?;
    let at = |field: &str, value: Option<String>| {
        let parsed = value.map(|text| text.parse().map_err(|_| instant(field, &text)));
        parsed.transpose()
    };
    let camera = match wanted.camera {
        Some(name) => Some(access.camera(tenant.as_str(), &name, Role::Admin)?),
        None => None,
    };
    let filter = AuditFilter {
        from: at("from", wanted.from)?,
        to: at("to", wanted.to)?,
        camera,
        user: wanted.user,
    };
    let entries = site.audit.read(&tenant, &filter, AUDIT_ENTRIES).await?;
    let told = entries.into_iter().map(|entry| AuditView {
        at: entry.at,
        actor: entry.actor,
        event: entry.event,
        subject: entry.subject,
    });
    Ok(Json(told.collect()))
}

/// A user of that tenant; others do not exist.
fn known(site: &Site, access: &Access, tenant: &str, login: &str) -> Result<LoginName, Problem> {
    let tenant = access.tenant(tenant, Role::Admin)?;
    let user = site.users.get(login).filter(|user| user.tenant == tenant);
    user.map(|user| user.login)
        .ok_or_else(|| Problem::unknown("user"))
}

fn audit(site: &Site, access: &Access, event: AuditEvent, login: &LoginName) {
    let subject = login.to_string();
    site.audit.write(AuditEntry {
        at: site.now(),
        actor: access.actor(),
        event,
        subject,
    });
}
