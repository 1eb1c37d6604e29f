//! Which rows are told of a stretch and how, and what is kept of an export.

use axum::body::Body;
use hyper::Response;
use moorline_core::segment::Tier;
use moorline_web::api::{UnreadView, VerifyFinding};

use super::verify::findings;
use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000)
}

fn row(from: i64, to: i64, kind: &str, tier: Option<Tier>) -> SegmentView {
    SegmentView {
        from: at(from),
        to: at(to),
        kind: kind.to_owned(),
        cause: (kind == "gap").then_some(Cause::Disabled),
        open: false,
        held: (kind == "recorded").then(|| "store".to_owned()),
        tier,
        key: None,
    }
}

#[test]
fn a_stretch_in_which_nothing_was_recorded_is_named() {
    let stretch = Stretch {
        from: "2026-11-20T20:10:00Z".parse().unwrap(),
        to: "2026-11-20T20:20:00Z".parse().unwrap(),
        zone: "Europe/Berlin".to_owned(),
        source: None,
    };
    let refused = Hinted::new(RecordingsError::Nothing.to_string(), "look");
    assert_eq!(
        stretch.named_in(refused.into(), "yard").to_string(),
        "nothing was recorded of yard from 2026-11-20 21:10:00 CET to 2026-11-20 21:20:00 CET"
    );
    let other = anyhow::anyhow!("the server went away");
    assert_eq!(
        stretch.named_in(other, "yard").to_string(),
        "the server went away"
    );
}

#[tokio::test]
async fn an_export_that_left_something_out_is_kept_and_says_what() {
    use hyper::HeaderMap;
    use hyper::body::Frame;
    use hyper::header::HeaderValue;
    let unread = UnreadView {
        from: at(60),
        to: at(62),
        key: "v1/one.mp4".to_owned(),
        why: "its last fragment is cut off".to_owned(),
    };
    let told = serde_json::to_string(&[&unread]).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert(UnreadView::TRAILER, HeaderValue::from_str(&told).unwrap());
    let pictures = bytes::Bytes::from_static(b"pictures");
    let frames = [Frame::data(pictures), Frame::trailers(trailers)];
    let frames = frames.map(Ok::<_, std::convert::Infallible>);
    let body = http_body_util::StreamBody::new(futures::stream::iter(frames));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("day.mp4");
    let response = Response::new(Body::new(body));
    let saved = save(response, &file, "exporting").await.unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), b"pictures");
    assert_eq!(saved.unread, [unread]);
    let text = exported(&file, &saved, &[], "UTC");
    assert!(text.contains("cannot be read"), "{text}");
    assert!(text.contains("2s") && text.contains("cut off"), "{text}");
}

#[test]
fn while_the_other_stream_was_recorded_nothing_was_switched_off() {
    let main = row(0, 60, "recorded", Some(Tier::Full));
    let rows = vec![main.clone(), row(60, 300, "gap", None)];
    let low = |from, to| row(from, to, "recorded", Some(Tier::Low));
    let all = [
        main,
        low(60, 120),
        low(120, 200),
        row(200, 300, "gap", None),
    ];
    let text = table(&beside(rows, &all), "UTC");
    let lines: Vec<&str> = text.lines().collect();
    // The last cause is longer than its column, and goes on below.
    assert_eq!(lines.len(), 5, "{text}");
    assert!(lines[1].ends_with("recorded  store"), "{text}");
    assert!(
        lines[2].ends_with("2m 20s  other     only sub was recorded"),
        "{text}"
    );
    assert!(lines[3].contains("1m 40s  gap"), "{text}");
    assert!(table(&[low(0, 60)], "UTC").contains("store, sub"));
}

#[test]
fn a_gap_that_goes_on_says_so() {
    let gap = row(0, 60, "gap", None);
    let goes_on = SegmentView {
        open: true,
        ..gap.clone()
    };
    assert!(!table(std::slice::from_ref(&gap), "UTC").contains("still open"));
    let text = table(std::slice::from_ref(&goes_on), "UTC");
    assert!(text.contains("gap   still open: "), "{text}");
    // Of one stream's gap the end alone goes on.
    let other = row(20, 40, "recorded", Some(Tier::Low));
    let told = beside(vec![goes_on.clone()], &[other]);
    let open: Vec<bool> = told.iter().map(|row| row.open).collect();
    assert_eq!(open, [false, false, true]);
    assert_eq!(serde_json::to_value(&goes_on).unwrap()["open"], true);
    assert!(serde_json::to_value(&gap).unwrap()["open"].is_null());
}

#[test]
fn a_loss_is_told_with_its_camera_and_in_its_time() {
    let view = serde_json::json!({
        "id": "home/yard", "title": "Yard", "site": null, "timezone": "Europe/Berlin", "created": "2026-11-20T20:00:00Z", "keys": [],
        "access": {"kind": "tunnel", "forwards": []}, "main": {"path": null, "user": null, "allow_basic": false}, "sub": null,
        "record": "main", "record_by": "owner", "tier": "full", "retention": "r014", "enabled": "yes", "bytes_per_day": null, "disk_days": null,
        "status": null, "rtsp_url": "rtsp://h:8554/yard", "notes": [],
    });
    let cameras = [serde_json::from_value(view).unwrap()];
    let lost = VerifyFinding {
        camera: "home/yard".to_owned(),
        kind: "lost".to_owned(),
        key: String::new(),
        why: "the store has lost it".to_owned(),
        from: Some("2026-11-20T21:00:00Z".parse().unwrap()),
        to: Some("2026-11-20T21:01:05Z".parse().unwrap()),
    };
    let text = findings(&[lost], &cameras);
    let line = "yard    lost  2026-11-20 22:00:00 CET, 1m 5s  the store has lost it";
    assert!(text.contains(line), "{text}");
}
