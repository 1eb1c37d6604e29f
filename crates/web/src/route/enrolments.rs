//! Tokens by which strangers become cameras (rule S3).

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use moorline_core::port::{AuditEntry, AuditEvent, CameraLike, NewToken, TokenInfo, TokenMakes};
use moorline_core::segment::Retention;
use moorline_core::user::Role;
use moorline_core::{CameraId, Timestamp};

use crate::access::Access;
use crate::api::{EnrolmentAdd, EnrolmentMade, EnrolmentView, RecordAsked, ReuseView};
use crate::extract::Sent;
use crate::problem::Problem;
use crate::site::Site;

/// How long a token may be used unless it is said.
const DAY: u64 = 86_400;
/// The longest: a pallet of cameras in a warehouse.
const LONGEST: u64 = 366 * DAY;

/// Whether tokens are kept here: on a cluster only where cameras are changed.
///
/// # Errors
/// What is done instead.
pub(super) fn kept(site: &Site) -> Result<(), Problem> {
    if site.tokens.are_kept() {
        return Ok(());
    }
    let title = "this part of the cluster keeps no enrolment tokens";
    Err(Problem::new(StatusCode::NOT_IMPLEMENTED, "not_here", title)
        .hint("moorline camera enroll NAME --cluster makes one, by your own rights"))
}

/// `GET /tenants/{tenant}/enrolments`
pub(super) async fn list(
    State(site): State<Site>,
    access: Access,
    Path(tenant): Path<String>,
) -> Result<Json<Vec<EnrolmentView>>, Problem> {
    let tenant = access.tenant(&tenant, Role::Operator)?;
    kept(&site)?;
    let now = site.now();
    let tokens = site.tokens.list(&tenant).await?;
    Ok(Json(
        tokens.into_iter().map(|info| view(info, now)).collect(),
    ))
}

/// `POST /tenants/{tenant}/enrolments`
pub(super) async fn add(
    State(site): State<Site>,
    access: Access,
    Path(tenant): Path<String>,
    request: Result<Sent<EnrolmentAdd>, Problem>,
) -> Result<(StatusCode, Json<EnrolmentMade>), Problem> {
    let tenant = access.tenant(&tenant, Role::Operator)?;
    kept(&site)?;
    let Sent(request) = request?;
    let makes = match (&request.camera, &request.prefix) {
        (Some(name), None) => {
            if request.count.is_some() {
                let expected = "only with a prefix: one camera has one token";
                return Err(Problem::invalid("count", "", expected));
            }
            let label = name
                .parse()
                .map_err(|_| Problem::invalid("camera", name, "a-z, 0-9 and '-'"))?;
            let id = CameraId::new(tenant.clone(), label);
            if !request.again {
                is_new(&site, &id)?;
            }
            TokenMakes::Camera(id)
        }
        (None, Some(prefix)) => TokenMakes::Batch {
            prefix: prefix.clone(),
            count: request.count.unwrap_or(1),
        },
        _ => {
            let expected = "either a camera, or a prefix for a batch";
            return Err(Problem::invalid("camera", "", expected));
        }
    };
    let seconds = request.expires_in.unwrap_or(DAY);
    if !(1..=LONGEST).contains(&seconds) {
        let expected = "from 1 second to 366 days";
        return Err(Problem::invalid(
            "expires_in",
            &seconds.to_string(),
            expected,
        ));
    }
    let now = site.now();
    let lives = i64::try_from(seconds)
        .unwrap_or(i64::MAX)
        .saturating_mul(1_000);
    let new = NewToken {
        makes,
        like: like(&site, &request)?,
        expires: Timestamp::from_millis(now.as_millis().saturating_add(lives)),
        comment: request.comment,
        tenant,
    };
    let (token, info) = site.tokens.issue(new).await?;
    let subject = match &info.token.makes {
        TokenMakes::Camera(id) => id.to_string(),
        TokenMakes::Batch { prefix, .. } => format!("{}/{prefix}", info.token.tenant),
    };
    audit(&site, &access, subject);
    let view = view(info, now);
    let made = EnrolmentMade {
        token: token.reveal().clone(),
        view,
    };
    Ok((StatusCode::CREATED, Json(made)))
}

/// A token for a camera that is there gives its name to another device besides: a typing mistake would have the two take it from each other for ever.
fn is_new(site: &Site, id: &CameraId) -> Result<(), Problem> {
    if site.cameras.snapshot().get(id).is_none() {
        return Ok(());
    }
    let title = format!("camera {} is there already", id.typed());
    Err(
        Problem::new(StatusCode::CONFLICT, "camera_exists", title).hint(
            "--again makes a file by which another device is it; revoke the key of the one before it then",
        ),
    )
}

/// What its cameras begin with, checked as a camera's own fields are: a wrong field must not show only when the camera calls.
fn like(site: &Site, request: &EnrolmentAdd) -> Result<CameraLike, Problem> {
    let text = |field, text: &Option<String>| match text {
        Some(text) if text.chars().count() > 200 || text.contains(char::is_control) => Err(
            Problem::invalid(field, text, "use at most 200 characters on one line"),
        ),
        _ => Ok(text.clone().filter(|text| !text.trim().is_empty())),
    };
    let timezone = request.timezone.clone().unwrap_or_else(|| "UTC".to_owned());
    if jiff::tz::db().get(&timezone).is_err() {
        let expected = "an IANA name, such as Europe/Berlin";
        return Err(Problem::invalid("timezone", &timezone, expected));
    }
    let retention = match request.keep_days {
        None => site.retention(),
        Some(0) => Retention::Keep,
        Some(days @ 1..=999) => Retention::Days(days),
        Some(days) => {
            return Err(Problem::invalid(
                "keep_days",
                &days.to_string(),
                "1 to 999, or 0",
            ));
        }
    };
    let (record, record_by) = request.record.unwrap_or(RecordAsked::Auto).chosen();
    Ok(CameraLike {
        title: text("title", &request.title)?,
        site: text("site", &request.site)?,
        timezone,
        record,
        record_by,
        retention,
    })
}

/// `DELETE /tenants/{tenant}/enrolments/{id}`
pub(super) async fn revoke(
    State(site): State<Site>,
    access: Access,
    Path((tenant, id)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let tenant = access.tenant(&tenant, Role::Operator)?;
    kept(&site)?;
    let number = id
        .parse()
        .map_err(|_| Problem::invalid("id", &id, "a token's number"))?;
    if !site.tokens.revoke(&tenant, number).await? {
        return Err(Problem::unknown("enrolment token"));
    }
    audit(&site, &access, format!("{tenant}/token-{number}"));
    Ok(StatusCode::NO_CONTENT)
}

/// The subject begins with the tenant, by which the audit is read.
fn audit(site: &Site, access: &Access, subject: String) {
    site.audit.write(AuditEntry {
        at: site.now(),
        actor: access.actor(),
        event: AuditEvent::KeyChange,
        subject,
    });
}

fn view(info: TokenInfo, now: Timestamp) -> EnrolmentView {
    let left = info.left(now);
    let (camera, prefix, count) = match info.token.makes {
        TokenMakes::Camera(id) => (Some(id.to_string()), None, 1),
        TokenMakes::Batch { prefix, count } => (None, Some(prefix), count),
    };
    EnrolmentView {
        id: info.id,
        camera,
        prefix,
        count,
        left,
        cameras: info.cameras.iter().map(ToString::to_string).collect(),
        created: info.created,
        expires: info.token.expires,
        revoked: info.revoked,
        comment: info.token.comment,
        reused: info.reused.map(|reuse| ReuseView {
            at: reuse.at,
            from: reuse.from,
            key: reuse.key,
            times: reuse.times,
        }),
    }
}
