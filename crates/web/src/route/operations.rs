//! What operators do with the whole installation.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use moorline_base::Untrusted;
use moorline_core::port::{AuditEntry, AuditEvent};

use crate::access::Access;
use crate::api::{AlertResult, DoctorFinding, LogLevel, ServerView, StrangerView};
use crate::extract::Sent;
use crate::problem::Problem;
use crate::site::Site;

/// `GET /server`
pub(super) async fn server(State(site): State<Site>, _access: Access) -> Json<ServerView> {
    Json(ServerView {
        version: site.place.version.to_owned(),
        public_host: site.place.public_host.clone(),
        public_host_guessed: site.operations.host_guessed(),
        viewer_host: site.place.viewer_host.clone(),
        ports: site.place.ports,
        known_hosts: site.known_hosts(),
        next_host_keys: site.next_host_keys(),
        disk: site.operations.disk(),
        store: site.place.store.clone(),
    })
}

/// `GET /strangers`
pub(super) async fn strangers(
    State(site): State<Site>,
    access: Access,
) -> Result<Json<Vec<StrangerView>>, Problem> {
    access.local()?;
    let pending = site
        .strangers
        .pending()
        .into_iter()
        .map(|stranger| StrangerView {
            fingerprint: stranger.key.fingerprint(),
            key: stranger.key,
            name: Untrusted::new(stranger.name).to_string(),
            names: stranger
                .names
                .into_iter()
                .map(|name| Untrusted::new(name).to_string())
                .collect(),
            peer: stranger.peer.to_string(),
            client: Untrusted::new(stranger.client).to_string(),
            first: stranger.first,
            last: stranger.last,
            tries: stranger.tries,
            reason: stranger.reason.to_owned(),
            held_off_seconds: stranger.held_off.map(|left| left.as_secs()),
        });
    Ok(Json(pending.collect()))
}

/// `POST /alert/test`
pub(super) async fn alert_test(
    State(site): State<Site>,
    access: Access,
) -> Result<Json<Vec<AlertResult>>, Problem> {
    access.local()?;
    let results = site.operations.alert_test().await;
    if results.is_empty() {
        let nobody = Problem::new(
            StatusCode::CONFLICT,
            "no_channel",
            "nobody is told: no channel is configured",
        );
        return Err(
            nobody.hint("set alert.webhook, or alert.email_to and alert.smtp, in moorline.toml")
        );
    }
    Ok(Json(results))
}

/// `GET /doctor`
pub(super) async fn doctor(
    State(site): State<Site>,
    access: Access,
) -> Result<Json<Vec<DoctorFinding>>, Problem> {
    access.local()?;
    Ok(Json(site.operations.doctor().await))
}

/// `PUT /log`
pub(super) async fn log(
    State(site): State<Site>,
    access: Access,
    level: Result<Sent<LogLevel>, Problem>,
) -> Result<StatusCode, Problem> {
    access.local()?;
    let Sent(level) = level?;
    site.operations.set_log(&level.filter)?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /backup`
pub(super) async fn backup(State(site): State<Site>, access: Access) -> Result<Bytes, Problem> {
    access.local()?;
    site.operations.backup().await
}

/// `POST /backup/done`
pub(super) async fn backup_done(
    State(site): State<Site>,
    access: Access,
) -> Result<StatusCode, Problem> {
    access.local()?;
    site.operations.backup_done();
    let (actor, subject) = (access.actor(), String::new());
    site.audit.write(AuditEntry {
        at: site.now(),
        actor,
        event: AuditEvent::Backup,
        subject,
    });
    Ok(StatusCode::NO_CONTENT)
}
