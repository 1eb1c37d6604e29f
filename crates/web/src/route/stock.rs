//! The stock: cameras that a batch made, and that wait for whoever unpacks them. The link that `camera enroll` shows leads here.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use moorline_core::port::{AuditEntry, AuditEvent, CameraChange};
use moorline_core::user::Role;

use super::archive::known;
use super::enrolments::kept;
use super::view::view;
use crate::access::Access;
use crate::api::{CameraView, ClaimAsked, StockView};
use crate::extract::Sent;
use crate::problem::Problem;
use crate::site::Site;

/// What enrolment writes before model and hardware address.
const ENROLLED: &str = "enrolled: ";

/// `GET /tenants/{tenant}/stock`
pub(super) async fn list(
    State(site): State<Site>,
    access: Access,
    Path(tenant): Path<String>,
) -> Result<Json<Vec<StockView>>, Problem> {
    let tenant = access.tenant(&tenant, Role::Operator)?;
    kept(&site)?;
    let stock = site.tokens.stock(&tenant).await?.into_iter();
    let cameras = site.cameras.snapshot();
    let views = stock.filter_map(|stocked| {
        let camera = cameras.get(&stocked.camera)?;
        let mut comments = camera.keys.iter().map(|key| key.comment.as_str());
        let device = comments.find_map(|comment| comment.strip_prefix(ENROLLED));
        Some(StockView {
            camera: stocked.camera.to_string(),
            enrolled: stocked.enrolled,
            device: device.unwrap_or_default().to_owned(),
        })
    });
    Ok(Json(views.collect()))
}

/// `POST …/claim`
pub(super) async fn claim(
    State(site): State<Site>,
    access: Access,
    Path((tenant, camera)): Path<(String, String)>,
    request: Result<Sent<ClaimAsked>, Problem>,
) -> Result<Json<CameraView>, Problem> {
    let id = access.camera(&tenant, &camera, Role::Operator)?;
    kept(&site)?;
    let Sent(request) = request?;
    let camera = known(&site, &id)?;
    let change = CameraChange {
        title: Some(request.title.trim().to_owned()),
        site: request
            .site
            .map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty())
            .map(Some),
        ..CameraChange::default()
    };
    if request.title.trim().is_empty() {
        let expected = "what you call it: any text";
        return Err(Problem::invalid("title", &request.title, expected));
    }
    // A field that would be refused must not cost the claim.
    let mut named = moorline_core::Camera::clone(&camera);
    change.clone().apply(&mut named);
    moorline_core::check::camera(&named, |zone| jiff::tz::db().get(zone).is_ok())?;
    // The claim comes before the name: of two people who scan at once only one names it.
    if !site.tokens.claim(&id).await? {
        let title = "this camera is not in the stock, or somebody has claimed it";
        let problem = Problem::new(StatusCode::CONFLICT, "claimed", title);
        return Err(problem.hint("all cameras stand on the page"));
    }
    let changed = site.admin.set(&id, change).await?;
    site.audit.write(AuditEntry {
        at: site.now(),
        actor: access.actor(),
        event: AuditEvent::CameraChange,
        subject: id.to_string(),
    });
    Ok(Json(view(&site, &changed)))
}
