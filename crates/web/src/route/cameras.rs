//! Cameras: list, show, add, change, remove, keys.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use moorline_core::camera::{Access as Reach, Camera, CameraKey, RecordBy};
use moorline_core::port::{AuditEntry, AuditEvent, CameraAdminError, CameraChange, TellError};
use moorline_core::status::LinkStatus;
use moorline_core::user::Role;
use moorline_core::{CameraId, PublicKey, TenantId};
use serde::Deserialize;
use std::sync::Arc;

use super::archive::known;
use super::patch;
use super::view::{disk_days, shown, view};
use crate::access::Access;
use crate::api::{AgentTold, CameraAdd, CameraPatch, CameraView, KeyAdd};
use crate::extract::{Asked, Sent};
use crate::problem::Problem;
use crate::site::Site;

/// How often a change is decided anew because another one came between.
const TRIES: usize = 16;

/// `GET /cameras`
pub(super) async fn all(State(site): State<Site>, access: Access) -> Json<Vec<CameraView>> {
    let set = site.cameras.snapshot();
    let seen = set.iter().filter(|camera| {
        access
            .tenant(camera.id.tenant().as_str(), Role::Viewer)
            .is_ok()
    });
    let days = disk_days(&site);
    Json(seen.map(|camera| shown(&site, camera, days)).collect())
}

/// `GET /tenants/{tenant}/cameras`
pub(super) async fn list(
    State(site): State<Site>,
    access: Access,
    Path(tenant): Path<String>,
) -> Result<Json<Vec<CameraView>>, Problem> {
    let tenant = access.tenant(&tenant, Role::Viewer)?;
    let days = disk_days(&site);
    let set = site.cameras.snapshot();
    let shown = set.of(&tenant).map(|camera| shown(&site, camera, days));
    Ok(Json(shown.collect()))
}

/// `GET …/{camera}`
pub(super) async fn show(
    State(site): State<Site>,
    access: Access,
    Path((tenant, camera)): Path<(String, String)>,
) -> Result<Json<CameraView>, Problem> {
    let id = access.camera(&tenant, &camera, Role::Viewer)?;
    current(&site, &id).map(Json)
}

/// `POST /tenants/{tenant}/cameras`
pub(super) async fn add(
    State(site): State<Site>,
    access: Access,
    Path(tenant): Path<String>,
    request: Result<Sent<CameraAdd>, Problem>,
) -> Result<(StatusCode, Json<CameraView>), Problem> {
    let tenant = access.tenant(&tenant, Role::Operator)?;
    let Sent(request) = request?;
    let camera = record(&site, tenant, request)?;
    let (id, keys) = (camera.id.clone(), camera.keys.clone());
    site.admin.add(camera).await?;
    for key in keys {
        site.strangers.forget(&key.key);
    }
    audit(&site, &access, AuditEvent::CameraAdd, &id);
    Ok((StatusCode::CREATED, Json(current(&site, &id)?)))
}

/// The record of a new camera.
///
/// # Errors
/// The first field that is wrong.
pub(super) fn record(site: &Site, tenant: TenantId, request: CameraAdd) -> Result<Camera, Problem> {
    let name = request
        .name
        .parse()
        .map_err(|error| invalid("name", &request.name, &error))?;
    let id = CameraId::new(tenant, name);
    let now = site.now();
    let key = |line: &String| -> Result<CameraKey, Problem> {
        let key: PublicKey = line
            .parse()
            .map_err(|error| invalid("keys", line, &error))?;
        Ok(CameraKey {
            key,
            added: now,
            comment: String::new(),
        })
    };
    let mut camera = Camera {
        title: request
            .title
            .filter(|title| !title.trim().is_empty())
            .unwrap_or_else(|| id.name().to_owned()),
        keys: request.keys.iter().map(key).collect::<Result<_, _>>()?,
        record_by: RecordBy::Auto,
        ..Camera::new(id, now, site.retention())
    };
    let change = patch::change(&camera, request.change)?;
    change.apply(&mut camera);
    if camera.keys.is_empty() && matches!(camera.access, Reach::Tunnel { .. }) {
        return Err(Problem::invalid(
            "keys",
            "",
            "a camera behind a tunnel needs a key",
        ));
    }
    Ok(camera)
}

/// `PATCH …/{camera}`
pub(super) async fn change(
    State(site): State<Site>,
    access: Access,
    Path((tenant, camera)): Path<(String, String)>,
    request: Result<Sent<CameraPatch>, Problem>,
) -> Result<Json<CameraView>, Problem> {
    let id = access.camera(&tenant, &camera, Role::Operator)?;
    let Sent(request) = request?;
    let changed = carry_out(&site, &id, request).await?;
    audit(&site, &access, AuditEvent::CameraChange, &id);
    Ok(Json(view(&site, &changed)))
}

/// Decides a change on the record as it is, and again if somebody else's change came between: each such time one of them is done, so only
/// more of them at once than [`TRIES`] can leave one undone.
async fn carry_out(site: &Site, id: &CameraId, request: CameraPatch) -> Result<Camera, Problem> {
    let mut tries = 0;
    loop {
        let present = known(site, id)?;
        let change = CameraChange {
            decided_on: Some(Box::new(Camera::clone(&present))),
            ..patch::change(&present, request.clone())?
        };
        tries += 1;
        match site.admin.set(id, change).await {
            Err(CameraAdminError::Changed(_)) if tries < TRIES => {}
            done => return Ok(done?),
        }
    }
}

/// What `DELETE …/{camera}` takes.
#[derive(Debug, Deserialize)]
pub(super) struct Removal {
    #[serde(default)]
    erase: bool,
}

/// `DELETE …/{camera}`
pub(super) async fn remove(
    State(site): State<Site>,
    access: Access,
    Path((tenant, camera)): Path<(String, String)>,
    removal: Result<Asked<Removal>, Problem>,
) -> Result<StatusCode, Problem> {
    let id = access.camera(&tenant, &camera, Role::Operator)?;
    let Asked(removal) = removal?;
    if removal.erase {
        access.camera(&tenant, &camera, Role::Admin)?;
    }
    let erases_itself = match removal.erase {
        true => match site.admin.erase_with_it(&id).await {
            // It may have been removed by a try whose erasing failed.
            Err(CameraAdminError::Unknown(_)) => false,
            erases_itself => erases_itself?,
        },
        false => false,
    };
    let removed = site.admin.remove(&id).await;
    let was_there = removed.is_ok();
    match removed {
        Ok(()) => audit(&site, &access, AuditEvent::CameraRemove, &id),
        // It may have been removed by a try whose erasing failed.
        Err(CameraAdminError::Unknown(_)) if removal.erase => {}
        Err(error) => return Err(error.into()),
    }
    if erases_itself {
        audit(&site, &access, AuditEvent::Erase, &id);
    } else if removal.erase {
        let erased = erase(&site, &access, id).await?;
        if !was_there && erased == 0 {
            return Err(Problem::unknown("camera"));
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Erases in a task of its own: a browser that goes away leaves nothing half erased.
async fn erase(site: &Site, access: &Access, id: CameraId) -> Result<u64, Problem> {
    audit(site, access, AuditEvent::Erase, &id);
    let operations = Arc::clone(&site.operations);
    let erasing = tokio::spawn(async move {
        let erased = operations.erase(&id).await;
        if erased.is_err() {
            tracing::error!(camera = %id, "not all recordings were erased: erase the camera again");
        }
        erased
    });
    let erased = erasing.await.map_err(|error| Problem::internal(&error))?;
    erased.map_err(|problem| problem.hint("what was erased stays erased: erase the camera again"))
}

/// Nothing is said to a camera whose tunnel another process holds, or nobody.
///
/// # Errors
/// That, with the command that goes to the holder, and what is done instead.
pub(super) fn reached(
    site: &Site,
    id: &CameraId,
    command: &str,
    instead: &str,
) -> Result<(), Problem> {
    if site.statuses.holds_tunnels() {
        return Ok(());
    }
    if !is_up(site, id) {
        return Err(no_agent(site, id));
    }
    let title = "another part of the cluster holds the tunnel, and it alone reaches the camera";
    let hint =
        format!("{command} --cluster goes there, by your own rights; without them {instead}");
    Err(Problem::new(StatusCode::NOT_IMPLEMENTED, "elsewhere", title).hint(hint))
}

fn is_up(site: &Site, id: &CameraId) -> bool {
    let status = site.statuses.get(id);
    status.is_some_and(|status| matches!(status.link, LinkStatus::Up { .. }))
}

/// No agent speaks on the camera, perhaps for want of a tunnel.
pub(super) fn no_agent(site: &Site, id: &CameraId) -> Problem {
    let (title, command) = (TellError::Away, id.in_command());
    let (title, hint) = match is_up(site, id) {
        true => (
            title.to_string(),
            format!("moorline camera show {command} tells whether an agent speaks on it"),
        ),
        false => (
            format!("{title}: it has no tunnel now"),
            format!("moorline camera show {command} tells since when, and what to do"),
        ),
    };
    Problem::new(StatusCode::CONFLICT, "agent_away", title).hint(hint)
}

/// `POST …/hang-up`
pub(super) async fn hang_up(
    State(site): State<Site>,
    access: Access,
    Path((tenant, camera)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let id = access.camera(&tenant, &camera, Role::Operator)?;
    known(&site, &id)?;
    let ended = if site.statuses.holds_tunnels() {
        site.statuses.hang_up(&id);
        Ok(())
    } else {
        site.admin.hang_up(&id).await
    };
    // Its holder may still end it later.
    if matches!(ended, Ok(()) | Err(CameraAdminError::Unavailable(_))) {
        audit(&site, &access, AuditEvent::CameraHangUp, &id);
    }
    ended?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST …/agent`
pub(super) async fn tell_agent(
    State(site): State<Site>,
    access: Access,
    Path((tenant, camera)): Path<(String, String)>,
    request: Result<Sent<AgentTold>, Problem>,
) -> Result<StatusCode, Problem> {
    let id = access.camera(&tenant, &camera, Role::Admin)?;
    let Sent(request) = request?;
    known(&site, &id)?;
    let typed = id.typed();
    reached(
        &site,
        &id,
        &format!("moorline camera agent {typed} KEY VALUE"),
        "source and endpoints stand in the camera's local.conf, the rest as lines such as CONFIG watchdog on in its agent.conf; start its agent anew then",
    )?;
    match site.statuses.tell_agent(&id, &request.line) {
        Ok(()) => {
            audit(&site, &access, AuditEvent::CameraChange, &id);
            Ok(StatusCode::ACCEPTED)
        }
        Err(TellError::Wrong(field)) => {
            let expected = format!("{field} does not follow docs/reference/moorline-1.md");
            Err(Problem::invalid("line", &request.line, expected))
        }
        Err(TellError::Away) => Err(no_agent(&site, &id)),
    }
}

/// `POST …/diagnose`
pub(super) async fn diagnose(
    State(site): State<Site>,
    access: Access,
    Path((tenant, camera)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let id = access.camera(&tenant, &camera, Role::Operator)?;
    known(&site, &id)?;
    reached(
        &site,
        &id,
        &format!("moorline camera diagnose {}", id.typed()),
        "moorline-agent check on the camera walks the chain and says which link is broken",
    )?;
    site.statuses.diagnose(&id);
    Ok(StatusCode::ACCEPTED)
}

/// `POST …/keys`
pub(super) async fn add_key(
    State(site): State<Site>,
    access: Access,
    Path((tenant, camera)): Path<(String, String)>,
    request: Result<Sent<KeyAdd>, Problem>,
) -> Result<Json<CameraView>, Problem> {
    let id = access.camera(&tenant, &camera, Role::Operator)?;
    let Sent(request) = request?;
    let pending = site
        .strangers
        .pending()
        .into_iter()
        .find(|stranger| stranger.key.fingerprint() == request.key);
    let key = match pending {
        Some(stranger) => stranger.key,
        None => request
            .key
            .parse()
            .map_err(|error| invalid("key", &request.key, &error))?,
    };
    let added = CameraKey {
        key: key.clone(),
        added: site.now(),
        comment: request.comment,
    };
    site.admin.add_key(&id, added).await?;
    // Only now: who could not be added still waits to be.
    site.strangers.forget(&key);
    audit(&site, &access, AuditEvent::KeyChange, &id);
    current(&site, &id).map(Json)
}

/// `DELETE …/keys/{fingerprint}`
pub(super) async fn revoke_key(
    State(site): State<Site>,
    access: Access,
    Path((tenant, camera, fingerprint)): Path<(String, String, String)>,
) -> Result<Json<CameraView>, Problem> {
    let id = access.camera(&tenant, &camera, Role::Operator)?;
    let present = known(&site, &id)?;
    let key = present
        .keys
        .iter()
        .find(|key| key.key.fingerprint() == fingerprint);
    let key = key.ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            "unknown_key",
            "the camera has no such key",
        )
    })?;
    site.admin.revoke_key(&id, &key.key).await?;
    audit(&site, &access, AuditEvent::KeyChange, &id);
    current(&site, &id).map(Json)
}

fn invalid(field: &str, value: &str, error: &dyn std::fmt::Display) -> Problem {
    Problem::invalid(field, value, error.to_string())
}

pub(super) fn audit(site: &Site, access: &Access, event: AuditEvent, camera: &CameraId) {
    site.audit.write(AuditEntry {
        at: site.now(),
        actor: access.actor(),
        event,
        subject: camera.to_string(),
    });
}

fn current(site: &Site, id: &CameraId) -> Result<CameraView, Problem> {
    known(site, id).map(|camera| view(site, &camera))
}
