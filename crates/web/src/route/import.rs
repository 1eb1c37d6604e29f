//! Many cameras at once, all or none (promise P11).

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use moorline_core::Camera;
use moorline_core::port::{AuditEvent, ImportError};
use moorline_core::user::Role;

use super::cameras::{audit, record};
use crate::access::Access;
use crate::api::{CamerasImport, CamerasImported};
use crate::extract::Sent;
use crate::problem::Problem;
use crate::site::Site;

/// `POST /tenants/{tenant}/camera-import`
pub(super) async fn import(
    State(site): State<Site>,
    access: Access,
    Path(tenant): Path<String>,
    request: Result<Sent<CamerasImport>, Problem>,
) -> Result<(StatusCode, Json<CamerasImported>), Problem> {
    let tenant = access.tenant(&tenant, Role::Operator)?;
    let Sent(CamerasImport { cameras, dry_run }) = request?;
    if cameras.is_empty() || cameras.len() > CamerasImport::MOST {
        let expected = format!("list 1 to {} cameras", CamerasImport::MOST);
        let given = format!("{} cameras", cameras.len());
        return Err(Problem::invalid("cameras", &given, expected));
    }
    let (mut places, mut records, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
    for (place, camera) in cameras.into_iter().enumerate() {
        match record(&site, tenant.clone(), camera) {
            Ok(record) => {
                places.push(place);
                records.push(record);
            }
            Err(problem) => wrong.push((place, problem)),
        }
    }
    let added = records.clone();
    // Where a row is wrong already the others are only looked at, so that all that is wrong is told at once.
    let only_look = dry_run || !wrong.is_empty();
    match site.admin.import(records, only_look).await {
        Ok(()) => {}
        Err(ImportError::Cameras(refused)) => {
            let place = |at| places.get(at).copied().unwrap_or(at);
            wrong.extend(
                refused
                    .into_iter()
                    .map(|(at, error)| (place(at), error.into())),
            );
        }
        Err(ImportError::NotHere) => {
            let title = "this part of the cluster adds no cameras";
            let problem = Problem::new(StatusCode::NOT_IMPLEMENTED, "not_here", title);
            return Err(
                problem.hint("moorline camera import FILE.csv --cluster does, by your own rights")
            );
        }
        Err(ImportError::Port(error)) => return Err(error.into()),
    }
    if !wrong.is_empty() {
        wrong.sort_by_key(|(place, _)| *place);
        return Err(Problem::rows(wrong));
    }
    if !dry_run {
        done(&site, &access, &added);
    }
    let cameras = added.iter().map(|camera| camera.id.to_string()).collect();
    let status = if dry_run {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    Ok((status, Json(CamerasImported { cameras, dry_run })))
}

fn done(site: &Site, access: &Access, added: &[Camera]) {
    for camera in added {
        for key in &camera.keys {
            site.strangers.forget(&key.key);
        }
        audit(site, access, AuditEvent::CameraAdd, &camera.id);
    }
}
