//! What is recorded: coverage and segments.

use axum::Json;
use axum::extract::{Path, State};
use moorline_core::camera::Camera;
use moorline_core::coverage::{Coverage, Held, Row, RowKind};
use moorline_core::segment::Tier;
use moorline_core::user::Role;
use moorline_core::{CameraId, TimeRange, Timestamp};
use serde::Deserialize;
use std::sync::Arc;

use super::coverage::{open_gaps, settle};
use crate::access::Access;
use crate::api::{CoverageView, SegmentView};
use crate::bounds;
use crate::extract::Asked;
use crate::problem::Problem;
use crate::site::Site;

/// A stretch in a query; without a tier all tiers are one archive.
#[derive(Debug, Deserialize)]
pub(super) struct Stretch {
    from: String,
    to: String,
    #[serde(default)]
    pub(super) tier: Option<Tier>,
    #[serde(default)]
    pub(super) full: bool,
    #[serde(default)]
    pub(super) receipt: Option<String>,
}

impl Stretch {
    pub(super) fn range(&self) -> Result<TimeRange, Problem> {
        let from: Timestamp = self.from.parse().map_err(|_| instant("from", &self.from))?;
        let to: Timestamp = self.to.parse().map_err(|_| instant("to", &self.to))?;
        if from < to {
            Ok(TimeRange::new(from, to))
        } else {
            Err(Problem::invalid("to", &self.to, "an instant after from"))
        }
    }
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
    known(site, &access.camera(tenant, camera, role)?)
}

/// The camera of this name, if there is one.
pub(super) fn known(site: &Site, id: &CameraId) -> Result<Arc<Camera>, Problem> {
    let found = site.cameras.snapshot().get(id).cloned();
    found.ok_or_else(|| Problem::unknown("camera"))
}

async fn rows(
    site: &Site,
    access: &Access,
    camera: &Camera,
    stretch: &Stretch,
) -> Result<Coverage, Problem> {
    let range = stretch.range()?;
    bounds::check(range, bounds::COVERAGE, "this")?;
    let now = site.now();
    let from = range.from.max(access.shown_from(camera.created));
    let until = TimeRange::new(from, range.to.min(now));
    // Before the listing: what becomes durable meanwhile is then seen twice, and not left out.
    let status = site.statuses.get(&camera.id);
    let mut coverage = site
        .recordings
        .coverage(&camera.id, stretch.tier, until)
        .await?;
    if let Some(status) = &status {
        open_gaps(status, &mut coverage, now);
        settle(&mut coverage, camera, status, now);
    }
    Ok(coverage)
}

/// What is durable by the monitor's account, and neither recorded nor explained: the store lost it, or somebody took it away. Nothing where
/// that account is not known.
pub(super) async fn unexplained(
    site: &Site,
    camera: &Camera,
    tier: Option<Tier>,
    range: TimeRange,
) -> Result<Vec<TimeRange>, Problem> {
    let Some(status) = site.statuses.get(&camera.id) else {
        return Ok(Vec::new());
    };
    let now = site.now();
    let until = status.durable_until.unwrap_or(camera.created).min(now);
    let known = range.intersection(&TimeRange::new(camera.created, until.max(camera.created)));
    if known.is_empty() {
        return Ok(Vec::new());
    }
    let mut coverage = site.recordings.coverage(&camera.id, tier, known).await?;
    open_gaps(&status, &mut coverage, now);
    settle(&mut coverage, camera, &status, now);
    Ok(coverage.unexplained())
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
            ) => (a.take, a.place.tier, x) == (b.take, b.place.tier, y),
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
        let open = matches!(row.kind, RowKind::Gap { open: true, .. });
        let (kind, cause, held, key) = match row.kind {
            RowKind::Recorded { key, held } => ("recorded", None, Some(held), Some(key)),
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
            open,
            held,
            tier: key.as_ref().map(|key| key.place.tier),
            key: key.map(|key| key.to_string()),
        }
    });
    Ok(Json(told.collect()))
}
