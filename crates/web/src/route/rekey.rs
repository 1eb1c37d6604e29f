//! Another key for a camera, made by its agent: the camera is asked, its answer becomes one of its keys, and it takes it into use.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use moorline_base::clock::timeout;
use moorline_core::camera::CameraKey;
use moorline_core::port::{AuditEntry, AuditEvent, TellError};
use moorline_core::user::Role;
use moorline_core::{CameraId, PublicKey};

use super::archive::known;
use super::cameras::{no_agent, reached};
use super::view::view;
use crate::access::Access;
use crate::api::CameraView;
use crate::problem::Problem;
use crate::site::Site;

/// An old camera gathers entropy and makes a key within this; more than one request does not wait for.
const MADE_WITHIN: Duration = Duration::from_secs(20);

/// `POST …/rekey`
pub(super) async fn rekey(
    State(site): State<Site>,
    access: Access,
    Path((tenant, camera)): Path<(String, String)>,
) -> Result<Json<CameraView>, Problem> {
    let id = access.camera(&tenant, &camera, Role::Admin)?;
    let camera = known(&site, &id)?;
    reached(
        &site,
        &id,
        &format!("moorline camera rekey {}", id.typed()),
        "add another key to the camera here, and put its private half onto the camera",
    )?;
    let before = said(&site, &id);
    tell(&site, &id, "REKEY")?;
    let made = timeout(&*site.clock, MADE_WITHIN, new_key(&site, &id, before)).await;
    let Ok(key) = made else {
        let title = "its agent has not made a key in 20 s";
        return Err(Problem::new(StatusCode::CONFLICT, "agent_away", title)
            .hint("an older agent does not know how: camera show tells its version"));
    };
    let line = format!("REKEYED {}", STANDARD.encode(key.blob()));
    // It has it already when an earlier REKEYED was lost with its session: the agent keeps the key that it has made until it hears that it is the camera's.
    let known_key = camera.keys.iter().any(|own| own.key == key);
    if !known_key {
        let added = CameraKey {
            key,
            added: site.now(),
            comment: "made by its agent".to_owned(),
        };
        site.admin.add_key(&id, added).await?;
        site.audit.write(AuditEntry {
            at: site.now(),
            actor: access.actor(),
            event: AuditEvent::KeyChange,
            subject: id.to_string(),
        });
    }
    tell(&site, &id, &line)?;
    known(&site, &id).map(|camera| Json(view(&site, &camera)))
}

fn tell(site: &Site, id: &CameraId, line: &str) -> Result<(), Problem> {
    site.statuses
        .tell_agent(id, line)
        .map_err(|error| match error {
            TellError::Away => no_agent(site, id),
            error @ TellError::Wrong(_) => Problem::internal(&error),
        })
}

/// The answer, when it is no longer the one to an earlier question: that is forgotten when the question is said.
async fn new_key(site: &Site, id: &CameraId, mut before: Option<PublicKey>) -> PublicKey {
    loop {
        let seen = site.statuses.version();
        match said(site, id) {
            Some(key) if Some(&key) != before.as_ref() => return key,
            Some(_) => {}
            None => before = None,
        }
        site.statuses.changed(seen).await;
    }
}

/// The key that the camera's agent says it has made.
fn said(site: &Site, id: &CameraId) -> Option<PublicKey> {
    let status = site.statuses.get(id)?;
    let (_, value) = status.said.iter().find(|(key, _)| key == "new-key")?;
    PublicKey::from_blob(&STANDARD.decode(value).ok()?).ok()
}
