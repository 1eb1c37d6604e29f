//! Releases of the on-camera agent (rule S8: whether one is good is the camera's to say).

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use moorline_core::port::{AuditEntry, AuditEvent};

use crate::access::Access;
use crate::api::{AgentReleaseAdd, AgentReleaseView, AgentRollOut};
use crate::extract::Sent;
use crate::problem::Problem;
use crate::site::Site;

/// An agent of 4,000,000 bytes in base64, and what stands around it.
pub(super) const LARGEST_BODY: usize = 4_000_000 / 3 * 4 + 8 * 1024;

/// `GET /agent-releases`
pub(super) async fn list(
    State(site): State<Site>,
    access: Access,
) -> Result<Json<Vec<AgentReleaseView>>, Problem> {
    access.local()?;
    site.operations.agent_releases().await.map(Json)
}

/// `POST /agent-releases`
pub(super) async fn add(
    State(site): State<Site>,
    access: Access,
    request: Result<Sent<AgentReleaseAdd>, Problem>,
) -> Result<(StatusCode, Json<AgentReleaseView>), Problem> {
    access.local()?;
    let Sent(request) = request?;
    let file = STANDARD
        .decode(&request.release)
        .map_err(|_| Problem::invalid("release", "…", "base64 of a release file"))?;
    let view = site.operations.add_agent_release(file).await?;
    audit(&site, &access, &view);
    Ok((StatusCode::CREATED, Json(view)))
}

/// `PUT /agent-releases/{target}/{version}/roll-out`
pub(super) async fn roll_out(
    State(site): State<Site>,
    access: Access,
    Path((target, version)): Path<(String, String)>,
    request: Result<Sent<AgentRollOut>, Problem>,
) -> Result<Json<AgentReleaseView>, Problem> {
    access.local()?;
    let Sent(request) = request?;
    let rolling = site.operations.roll_out(&target, &version, &request.to);
    let view = rolling.await?;
    audit(&site, &access, &view);
    Ok(Json(view))
}

fn audit(site: &Site, access: &Access, view: &AgentReleaseView) {
    site.audit.write(AuditEntry {
        at: site.now(),
        actor: access.actor(),
        event: AuditEvent::CameraChange,
        subject: format!("agent {} {} {}", view.target, view.version, view.roll_out),
    });
}
