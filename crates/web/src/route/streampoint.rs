//! Another server for a camera's stream: its agent is told by `REFER`, and goes on reporting here.

use axum::Json;
use axum::extract::{Path, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use moorline_core::port::{AuditEntry, AuditEvent, CameraChange};
use moorline_core::streampoint::Streampoint;
use moorline_core::user::Role;
use moorline_core::{CameraId, PublicKey};

use super::archive::known;
use super::view::view;
use crate::access::Access;
use crate::api::{CameraView, StreampointSet};
use crate::extract::Sent;
use crate::problem::Problem;
use crate::site::Site;

/// `PUT …/streampoint`
pub(super) async fn put(
    State(site): State<Site>,
    access: Access,
    Path((tenant, camera)): Path<(String, String)>,
    request: Result<Sent<StreampointSet>, Problem>,
) -> Result<Json<CameraView>, Problem> {
    let id = access.camera(&tenant, &camera, Role::Admin)?;
    let Sent(request) = request?;
    known(&site, &id)?;
    let keys = request.keys.iter().map(|text| key(text));
    let streampoint = Streampoint {
        user: request.user.unwrap_or_else(|| id.to_string()),
        keys: keys.collect::<Result<_, _>>()?,
        host: request.host,
        port: request.port,
        ttl: request.ttl,
    };
    change(&site, &access, &id, Some(streampoint)).await
}

/// `DELETE …/streampoint`
pub(super) async fn delete(
    State(site): State<Site>,
    access: Access,
    Path((tenant, camera)): Path<(String, String)>,
) -> Result<Json<CameraView>, Problem> {
    let id = access.camera(&tenant, &camera, Role::Admin)?;
    known(&site, &id)?;
    change(&site, &access, &id, None).await
}

async fn change(
    site: &Site,
    access: &Access,
    id: &CameraId,
    streampoint: Option<Streampoint>,
) -> Result<Json<CameraView>, Problem> {
    let change = CameraChange {
        streampoint: Some(streampoint),
        ..CameraChange::default()
    };
    let changed = site.admin.set(id, change).await?;
    site.audit.write(AuditEntry {
        at: site.now(),
        actor: access.actor(),
        event: AuditEvent::CameraChange,
        subject: id.to_string(),
    });
    Ok(Json(view(site, &changed)))
}

/// The third word of a line of `known_hosts`, as a key.
fn key(text: &str) -> Result<PublicKey, Problem> {
    let blob = STANDARD.decode(text).ok();
    let key = blob.and_then(|blob| PublicKey::from_blob(&blob).ok());
    key.ok_or_else(|| {
        Problem::invalid(
            "keys",
            text,
            "base64 of an ed25519 or ecdsa-p256 host key: the third word of a line of known_hosts",
        )
    })
}
