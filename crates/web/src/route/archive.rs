//! The archive: coverage, segments, export, verify.

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use futures::stream;
use moorline_core::camera::Camera;
use moorline_core::coverage::{Coverage, Held, Row, RowKind};
use moorline_core::port::{AuditEntry, AuditEvent, Export, StoreError};
use moorline_core::segment::{ObjectKey, Tier};
use moorline_core::user::Role;
use moorline_core::{TimeRange, Timestamp};
use serde::Deserialize;
use std::sync::Arc;

use super::coverage::{explain_by_other, open_gaps, other_of, settle, unexplained};
use crate::access::Access;
use crate::api::{CoverageView, SegmentView, VerifyView};
use crate::extract::Asked;
use crate::problem::Problem;
use crate::seats::{Seat, Seats};
use crate::site::Site;

/// Longest stretch of one coverage answer.
const LONGEST_COVERAGE: u64 = 32 * 86_400;
/// One segment is read in pieces of this size.
const PIECE: u64 = 1 << 20;

/// A stretch and a tier in a query.
#[derive(Debug, Deserialize)]
pub(super) struct Stretch {
    from: String,
    to: String,
    #[serde(default)]
    tier: Option<Tier>,
    #[serde(default)]
    full: bool,
}

impl Stretch {
    fn range(&self) -> Result<TimeRange, Problem> {
        let from: Timestamp = self.from.parse().map_err(|_| instant("from", &self.from))?;
        let to: Timestamp = self.to.parse().map_err(|_| instant("to", &self.to))?;
        if from < to {
            Ok(TimeRange::new(from, to))
        } else {
            Err(Problem::invalid("to", &self.to, "an instant after from"))
        }
    }

    fn tier(&self, camera: &Camera) -> Tier {
        self.tier.unwrap_or_else(|| tier_of(camera))
    }
}

/// The tier in which a camera is recorded; what was recorded before, if it no longer is.
pub(super) fn tier_of(camera: &Camera) -> Tier {
    camera.record.source().map_or(Tier::Full, Tier::of_source)
}

pub(super) fn instant(field: &str, value: &str) -> Problem {
    Problem::invalid(field, value, "write it like 2026-11-20T21:10:05Z")
}

pub(super) fn camera(
    site: &Site,
    access: &Access,
    tenant: &str,
    camera: &str,
    role: Role,
) -> Result<Arc<Camera>, Problem> {
    let id = access.camera(tenant, camera, role)?;
    site.cameras
        .snapshot()
        .get(&id)
        .cloned()
        .ok_or_else(|| Problem::unknown("camera"))
}

async fn rows(
    site: &Site,
    access: &Access,
    camera: &Camera,
    stretch: &Stretch,
) -> Result<Coverage, Problem> {
    let range = stretch.range()?;
    if range.duration().as_secs() > LONGEST_COVERAGE {
        return Err(Problem::invalid(
            "to",
            &stretch.to,
            "at most 32 days after from",
        ));
    }
    let now = site.now();
    let from = range.from.max(access.shown_from(camera.created));
    let until = TimeRange::new(from, range.to.min(now));
    // Before the listing: what becomes durable meanwhile is then seen twice, and not left out.
    let status = site.statuses.get(&camera.id);
    let tier = stretch.tier(camera);
    let mut coverage = site.recordings.coverage(&camera.id, tier, until).await?;
    let finish = |coverage: &mut Coverage| {
        if let Some(status) = &status {
            open_gaps(status, coverage, now);
            settle(coverage, camera, status, now);
        }
    };
    finish(&mut coverage);
    if let Some(missing) = unexplained(&coverage) {
        let other = other_of(tier);
        let mut other = site.recordings.coverage(&camera.id, other, missing).await?;
        finish(&mut other);
        explain_by_other(&mut coverage, &other);
        finish(&mut coverage);
    }
    Ok(coverage)
}

/// `GET …/coverage`
pub(super) async fn coverage(
    State(site): State<Site>,
    access: Access,
    Path((tenant, name)): Path<(String, String)>,
    stretch: Result<Asked<Stretch>, Problem>,
) -> Result<Json<CoverageView>, Problem> {
    let camera = camera(&site, &access, &tenant, &name, Role::Viewer)?;
    let Asked(stretch) = stretch?;
    let coverage = rows(&site, &access, &camera, &stretch).await?;
    let durable_until = site
        .statuses
        .get(&camera.id)
        .and_then(|status| status.durable_until);
    Ok(Json(CoverageView {
        rows: merged(coverage),
        durable_until,
        now: site.now(),
    }))
}

/// Segments of one take as one row: a page draws stretches, not minutes.
fn merged(coverage: Coverage) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for row in coverage.rows {
        let joins = match (rows.last().map(|last| &last.kind), &row.kind) {
            (
                Some(RowKind::Recorded { key: a, held: x }),
                RowKind::Recorded { key: b, held: y },
            ) => a.take == b.take && x == y,
            _ => false,
        };
        match rows.last_mut() {
            Some(last) if joins && last.range.to == row.range.from => last.range.to = row.range.to,
            _ => rows.push(row),
        }
    }
    rows
}

/// `GET …/segments`
pub(super) async fn segments(
    State(site): State<Site>,
    access: Access,
    Path((tenant, name)): Path<(String, String)>,
    stretch: Result<Asked<Stretch>, Problem>,
) -> Result<Json<Vec<SegmentView>>, Problem> {
    let camera = camera(&site, &access, &tenant, &name, Role::Viewer)?;
    let Asked(stretch) = stretch?;
    let coverage = rows(&site, &access, &camera, &stretch).await?;
    let told = coverage.rows.into_iter().map(|row| {
        let (kind, cause, held, key) = match row.kind {
            RowKind::Recorded { key, held } => {
                ("recorded", None, Some(held), Some(key.to_string()))
            }
            RowKind::Gap { cause, .. } => ("gap", Some(cause), None, None),
            RowKind::Expired => ("expired", None, None, None),
            RowKind::Unexplained => ("unexplained", None, None, None),
        };
        let held = held.map(|held| {
            match held {
                Held::Store => "store",
                Held::Spool => "spool",
                Held::Open => "open",
            }
            .to_owned()
        });
        SegmentView {
            from: row.range.from,
            to: row.range.to,
            kind: kind.to_owned(),
            cause,
            held,
            key,
        }
    });
    Ok(Json(told.collect()))
}

/// `GET …/export`
pub(super) async fn export(
    State(site): State<Site>,
    access: Access,
    Extension(seats): Extension<Seats>,
    Path((tenant, name)): Path<(String, String)>,
    stretch: Result<Asked<Stretch>, Problem>,
) -> Result<Response, Problem> {
    let camera = camera(&site, &access, &tenant, &name, Role::Viewer)?;
    let Asked(stretch) = stretch?;
    let range = stretch.range()?;
    let range = TimeRange::new(range.from.max(access.shown_from(camera.created)), range.to);
    let seat = seats.sit(&access)?;
    let export = site
        .recordings
        .export(&camera.id, stretch.tier(&camera), range)
        .await?;
    let subject = format!("{} {} {}", camera.id, range.from, range.to);
    site.audit.write(AuditEntry {
        at: site.now(),
        actor: access.actor(),
        event: AuditEvent::Export,
        subject,
    });
    let name = format!(
        "{}-{}.mp4",
        camera.id.name(),
        range.from.to_string().replace(':', "")
    );
    let estimate = export.estimated_bytes();
    let mut response =
        Body::from_stream(stream::unfold(Some((export, seat)), piece)).into_response();
    let disposition = HeaderValue::from_str(&format!("attachment; filename=\"{name}\""));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("video/mp4"));
    headers.insert(
        header::CONTENT_DISPOSITION,
        disposition.map_err(|error| Problem::internal(&error))?,
    );
    headers.insert("x-estimated-length", HeaderValue::from(estimate));
    Ok(response)
}

async fn piece(
    export: Option<(Box<dyn Export>, Seat)>,
) -> Option<(std::io::Result<Bytes>, Option<(Box<dyn Export>, Seat)>)> {
    let (mut export, seat) = export?;
    match export.next().await {
        Ok(Some(bytes)) => Some((Ok(bytes), Some((export, seat)))),
        Ok(None) => None,
        Err(error) => {
            tracing::warn!(%error, "export ended early");
            Some((Err(std::io::Error::other(error.to_string())), None))
        }
    }
}

/// `GET /segments/{key}`
pub(super) async fn segment(
    State(site): State<Site>,
    access: Access,
    Path(key): Path<String>,
) -> Result<Response, Problem> {
    let parsed: ObjectKey = key.parse().map_err(|_| Problem::unknown("recording"))?;
    access
        .tenant(parsed.place().camera.tenant().as_str(), Role::Viewer)
        .map_err(|_| Problem::unknown("recording"))?;
    let created = site
        .cameras
        .snapshot()
        .get(&parsed.place().camera)
        .map_or(Timestamp::from_millis(i64::MAX), |camera| camera.created);
    if parsed.range().to <= access.shown_from(created) {
        return Err(Problem::unknown("recording"));
    }
    let length = site.store.head(&key).await?;
    let pieces = (0..length.div_ceil(PIECE))
        .map(move |piece| piece * PIECE..((piece + 1) * PIECE).min(length));
    let store = Arc::clone(&site.store);
    let body = stream::unfold(
        (pieces, store, key),
        |(mut pieces, store, key)| async move {
            let range = pieces.next()?;
            let read: Result<Bytes, StoreError> = store.get(&key, range).await;
            Some((
                read.map_err(|error| std::io::Error::other(error.to_string())),
                (pieces, store, key),
            ))
        },
    );
    let mut response = Body::from_stream(body).into_response();
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("video/mp4"));
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    *response.status_mut() = StatusCode::OK;
    Ok(response)
}

/// `POST …/verify`
pub(super) async fn verify(
    State(site): State<Site>,
    access: Access,
    Path((tenant, name)): Path<(String, String)>,
    stretch: Result<Asked<Stretch>, Problem>,
) -> Result<Json<VerifyView>, Problem> {
    let camera = camera(&site, &access, &tenant, &name, Role::Operator)?;
    let Asked(stretch) = stretch?;
    site.operations
        .verify(
            &camera.id,
            stretch.tier(&camera),
            stretch.range()?,
            stretch.full,
        )
        .await
        .map(Json)
}
