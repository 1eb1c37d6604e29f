//! Recordings out of the archive: one file of a stretch, one segment, and whether all of it is still there. Bounded in length (`bounds`) and
//! in number (`seats`). They end with the session or the account of whoever asked.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use futures::stream;
use http_body_util::StreamBody;
use hyper::body::Frame;
use moorline_core::camera::Camera;
use moorline_core::port::{AuditEntry, AuditEvent, Export, StoreError, Unread};
use moorline_core::segment::{ObjectKey, Tier};
use moorline_core::user::Role;
use moorline_core::{TimeRange, Timestamp};

use super::archive::{Stretch, camera, unexplained};
use crate::access::Access;
use crate::api::{ExportView, UnreadView, VerifyFinding, VerifyView};
use crate::bounds;
use crate::extract::Asked;
use crate::guest::Guest;
use crate::problem::Problem;
use crate::receipts::Receipt;
use crate::seats::{House, Seat};
use crate::site::Site;

/// A client's limit for trailers is 16 KiB or so: this many stretches are told, a longer list is summed up.
const MOST_UNREAD: usize = 30;
/// Bytes of one reason.
const MOST_WHY: usize = 100;
const UNREAD: HeaderName = HeaderName::from_static(UnreadView::TRAILER);

/// One segment is read in pieces of this size.
const PIECE: u64 = 1 << 20;

/// `GET …/export`
pub(super) async fn export(
    State(site): State<Site>,
    access: Access,
    Extension(house): Extension<House>,
    Path((tenant, name)): Path<(String, String)>,
    stretch: Result<Asked<Stretch>, Problem>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let camera = camera(&site, &access, &tenant, &name, Role::Viewer)?;
    let Asked(stretch) = stretch?;
    let range = stretch.range()?;
    bounds::check(range, bounds::EXPORT, "an export")?;
    let range = TimeRange::new(range.from.max(access.shown_from(camera.created)), range.to);
    // First, so that a refusal is known under it too.
    let receipt = match &stretch.receipt {
        Some(receipt) => Some(house.receipts.begin(&access, &camera.id, receipt)?),
        None => None,
    };
    let seat = house.exports.sit(&access)?;
    let guest = Guest::new(&site, &access, &headers);
    let export = site
        .recordings
        .export(&camera.id, stretch.tier, range)
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
    let under_way = Some(UnderWay {
        export,
        guest,
        receipt,
        _seat: seat,
    });
    let body = StreamBody::new(stream::unfold(under_way, piece));
    let mut response = Body::new(body).into_response();
    let disposition = HeaderValue::from_str(&format!("attachment; filename=\"{name}\""));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("video/mp4"));
    headers.insert(
        header::CONTENT_DISPOSITION,
        disposition.map_err(|error| Problem::internal(&error))?,
    );
    headers.insert("x-estimated-length", HeaderValue::from(estimate));
    headers.insert(header::TRAILER, HeaderValue::from(UNREAD));
    Ok(response)
}

/// An export that is being sent.
struct UnderWay {
    export: Box<dyn Export>,
    guest: Guest,
    receipt: Option<Receipt>,
    _seat: Seat,
}

type Piece = std::io::Result<Frame<Bytes>>;

async fn piece(under_way: Option<UnderWay>) -> Option<(Piece, Option<UnderWay>)> {
    let mut under_way = under_way?;
    let next = under_way.export.next().await;
    if !under_way.guest.may_stay() {
        return Some((Err(left()), None));
    }
    match next {
        Ok(Some(bytes)) => Some((Ok(Frame::data(bytes)), Some(under_way))),
        Ok(None) => {
            let told = told(under_way.export.unread());
            let trailers = trailers(&told);
            if let Some(receipt) = under_way.receipt.take() {
                receipt.end(told);
            }
            Some((Ok(Frame::trailers(trailers?)), None))
        }
        Err(error) => {
            tracing::warn!(%error, "export ended early");
            Some((Err(std::io::Error::other(error.to_string())), None))
        }
    }
}

/// What an export left out, as it is told.
fn told(unread: &[Unread]) -> Vec<UnreadView> {
    for Unread { range, key, why } in unread {
        tracing::warn!(from = %range.from, to = %range.to, key, why, "an export left out what cannot be read");
    }
    let view = |Unread { range, key, why }: &Unread| UnreadView {
        from: range.from,
        to: range.to,
        key: key.clone(),
        why: why
            .chars()
            .filter(|c| matches!(c, ' '..='~'))
            .take(MOST_WHY)
            .collect(),
    };
    let mut told: Vec<UnreadView> = unread.iter().take(MOST_UNREAD).map(view).collect();
    let rest = unread.len().saturating_sub(MOST_UNREAD);
    if let (Some(last), Some(end), 1..) = (told.last_mut(), unread.last(), rest) {
        last.to = end.range.to;
        last.why = format!("{} objects cannot be read", rest + 1);
    }
    told
}

/// What stands behind the file; `None`: nothing was left out.
fn trailers(told: &[UnreadView]) -> Option<HeaderMap> {
    if told.is_empty() {
        return None;
    }
    let text = serde_json::to_string(told).ok()?;
    let value = HeaderValue::from_str(&text).ok()?;
    Some(HeaderMap::from_iter([(UNREAD, value)]))
}

/// `GET …/exports/{receipt}`
pub(super) async fn receipt(
    State(site): State<Site>,
    access: Access,
    Extension(house): Extension<House>,
    Path((tenant, name, receipt)): Path<(String, String, String)>,
) -> Result<Json<ExportView>, Problem> {
    let camera = camera(&site, &access, &tenant, &name, Role::Viewer)?;
    let found = house.receipts.find(&access, &camera.id, &receipt);
    found.map(Json).ok_or_else(|| Problem::unknown("export"))
}

/// Breaks the answer off: a client must not take it for whole.
fn left() -> std::io::Error {
    std::io::Error::other("the session has ended")
}

/// `GET /segments/{key}`
pub(super) async fn segment(
    State(site): State<Site>,
    access: Access,
    Extension(house): Extension<House>,
    Path(key): Path<String>,
    headers: HeaderMap,
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
    let held = (
        Guest::new(&site, &access, &headers),
        house.segments.sit(&access)?,
    );
    let length = site.store.head(&key).await?;
    site.audit.write(AuditEntry {
        at: site.now(),
        actor: access.actor(),
        event: AuditEvent::Export,
        subject: format!("{} {key}", parsed.place().camera),
    });
    let pieces = (0..length.div_ceil(PIECE))
        .map(move |piece| piece * PIECE..((piece + 1) * PIECE).min(length));
    let store = Arc::clone(&site.store);
    let body = stream::unfold(
        (pieces, store, key, held),
        |(mut pieces, store, key, held)| async move {
            let range = pieces.next()?;
            let read: Result<Bytes, StoreError> = store.get(&key, range).await;
            let read = match held.0.may_stay() {
                true => read.map_err(|error| std::io::Error::other(error.to_string())),
                false => Err(left()),
            };
            Some((read, (pieces, store, key, held)))
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
    Extension(house): Extension<House>,
    Path((tenant, name)): Path<(String, String)>,
    stretch: Result<Asked<Stretch>, Problem>,
) -> Result<Json<VerifyView>, Problem> {
    let camera = camera(&site, &access, &tenant, &name, Role::Operator)?;
    let Asked(stretch) = stretch?;
    let range = stretch.range()?;
    let (most, what) = match stretch.full {
        true => (bounds::VERIFY_WHOLE, "a verify of every byte"),
        false => (bounds::VERIFY, "a verify"),
    };
    bounds::check(range, most, what)?;
    let _seat = house.verifies.sit(&access)?;
    let verified = verified(&site, &camera, stretch.tier, range, stretch.full).await?;
    Ok(Json(verified))
}

/// Looks for what the store has lost or spoiled of a camera in a stretch, of one tier or of all, and marks it; `full` reads every object.
/// Whoever calls it bounds the stretch (`bounds`) and the time.
///
/// # Errors
/// The store fails.
pub async fn verified(
    site: &Site,
    camera: &Camera,
    tier: Option<Tier>,
    range: TimeRange,
    full: bool,
) -> Result<VerifyView, Problem> {
    let verified = site.operations.verify(&camera.id, tier, range, full);
    let mut verified = verified.await?;
    // After it: what it found lost is explained by its markers from now on.
    for missing in unexplained(site, camera, tier, range).await? {
        verified.findings.push(VerifyFinding {
            camera: camera.id.to_string(),
            kind: "lost".to_owned(),
            key: String::new(),
            why: "neither a recording nor a reason is stored".to_owned(),
            from: Some(missing.from),
            to: Some(missing.to),
        });
    }
    Ok(verified)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_of_what_is_unread_fits_into_a_trailer() {
        let one = |minute: i64| Unread {
            range: TimeRange::new(
                Timestamp::from_millis(minute * 60_000),
                Timestamp::from_millis(minute * 60_000 + 1_000),
            ),
            key: "k".repeat(230),
            why: "Größe ".repeat(100),
        };
        assert_eq!(trailers(&told(&[])), None);
        let many: Vec<Unread> = (0..1_500).map(one).collect();
        let trailers = trailers(&told(&many)).unwrap();
        let text = trailers.get(&UNREAD).unwrap().to_str().unwrap();
        assert!(text.len() < 14 * 1024, "{}", text.len());
        let told: Vec<UnreadView> = serde_json::from_str(text).unwrap();
        let last = told.last().unwrap();
        assert_eq!((told.len(), last.to), (MOST_UNREAD, many[1_499].range.to));
        assert_eq!(last.why, "1471 objects cannot be read");
        assert_eq!(told[0].to, many[0].range.to);
    }
}
