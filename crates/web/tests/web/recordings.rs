//! What people get of recordings: what is there and what is missing, files, and what is wrong in the store.

use std::time::Duration;

use hyper::StatusCode;
use moorline_core::TimeRange;
use moorline_core::port::{AuditEvent, Unread, Users as _};
use serde_json::{Value, json};

use crate::requests::{problem, send};
use crate::support::scene::{self, ago, id};

/// Rule S26: what lies under the name from before this camera may be another device's.
#[tokio::test]
async fn recordings_from_before_a_camera_was_added_are_for_admins() {
    let house = scene::house().await;
    let (four_days, three_days) = (ago(4 * 86_400), ago(3 * 86_400 - 60));
    let older = TimeRange::new(four_days, four_days + Duration::from_secs(600));
    house.archive.record(&id("yard"), older);
    let path =
        format!("/api/v1/tenants/home/cameras/yard/coverage?from={four_days}&to={three_days}");
    for (login, seen) in [("anna", true), ("vera", false)] {
        let cookie = house.sign_in(login).await;
        let answer = house
            .send(house.ask("GET", &path).with_cookie(&cookie))
            .await;
        let rows = answer.json()["rows"].clone();
        let media = |row: &Value| row["kind"] == "recorded";
        assert_eq!(
            rows.as_array().unwrap().iter().any(media),
            seen,
            "{login}: {rows}"
        );
    }
}

#[tokio::test]
async fn coverage_explains_every_second_since_the_camera_was_added() {
    let house = scene::house().await;
    let (from, to) = (ago(36_000), scene::now());
    let path = format!("/tenants/home/cameras/front-door/coverage?from={from}&to={to}");
    let answer = send(&house, "GET", &path, None).await;
    let rows = answer.json()["rows"].clone();
    let kinds: Vec<String> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
            format!("{} {}{}", text("kind"), text("cause"), text("held"))
        })
        .collect();
    let closed = [
        "gap disabled",
        "recorded store",
        "gap tunnel_down",
        "recorded store",
        "gap camera_silent",
        "recorded store",
        "gap restart",
    ];
    assert_eq!(
        kinds.get(..closed.len()),
        Some(&closed.map(str::to_owned)[..])
    );
    assert_eq!(kinds.last().map(String::as_str), Some("recorded open"));
    for pair in rows.as_array().unwrap().windows(2) {
        assert_eq!(pair[0]["to"], pair[1]["from"], "rows touch");
    }
}

#[tokio::test]
async fn an_export_is_a_file_and_is_audited() {
    let house = scene::house().await;
    let (from, to) = (ago(1500), ago(1490));
    let path = format!("/tenants/home/cameras/front-door/export?from={from}&to={to}");
    let answer = send(&house, "GET", &path, None).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), "video/mp4");
    let disposition = answer.header("content-disposition");
    assert!(
        disposition.starts_with("attachment; filename=\"front-door-"),
        "{disposition}"
    );
    assert_eq!(&answer.body[4..8], b"ftyp");
    let entries = house.audit.0.lock().unwrap();
    let exported = entries
        .iter()
        .find(|entry| entry.event == AuditEvent::Export);
    assert_eq!(exported.map(|entry| entry.actor.as_str()), Some("anna"));
}

#[tokio::test]
async fn what_an_export_leaves_out_is_told_behind_it() {
    let house = scene::house().await;
    let (from, to) = (ago(1500), ago(1490));
    let path = format!("/tenants/home/cameras/front-door/export?from={from}&to={to}");
    let whole = send(&house, "GET", &path, None).await;
    assert!(!whole.headers.contains_key("x-unread"));
    let range = TimeRange::new(ago(1495), ago(1493));
    *house.archive.unread.lock().unwrap() = vec![Unread {
        range,
        key: "v1/one.mp4".to_owned(),
        why: "it is gone".to_owned(),
    }];
    let answer = send(&house, "GET", &path, None).await;
    assert_eq!(&answer.body[4..8], b"ftyp");
    let told: Value = serde_json::from_str(answer.header("x-unread")).unwrap();
    let expected = json!([{
        "from": range.from, "to": range.to, "key": "v1/one.mp4", "why": "it is gone",
    }]);
    assert_eq!(told, expected);
}

/// A browser that saves a file shows neither what stands behind it nor why there is none.
#[tokio::test]
async fn how_an_export_ended_is_told_to_who_named_it_and_to_nobody_else() {
    let house = scene::house().await;
    let (from, to) = (ago(1500), ago(1490));
    let door = "/tenants/home/cameras/front-door";
    let path = format!("{door}/export?from={from}&to={to}&receipt=one");
    let asked = format!("{door}/exports/one");
    problem(&send(&house, "GET", &asked, None).await, 404, None);

    let range = TimeRange::new(ago(1495), ago(1493));
    *house.archive.unread.lock().unwrap() = vec![Unread {
        range,
        key: "v1/one.mp4".to_owned(),
        why: "it is gone".to_owned(),
    }];
    house.archive.held.send_replace(true);
    let mut waiting = house.archive.waiting.subscribe();
    let meanwhile = async {
        waiting.wait_for(|count| *count == 1).await.unwrap();
        let running = send(&house, "GET", &asked, None).await.json();
        house.archive.held.send_replace(false);
        running
    };
    let (_, running) = tokio::join!(send(&house, "GET", &path, None), meanwhile);
    assert_eq!(running, json!({"state": "running", "unread": []}));
    let ended = send(&house, "GET", &asked, None).await.json();
    let unread = json!([{
        "from": range.from, "to": range.to, "key": "v1/one.mp4", "why": "it is gone",
    }]);
    assert_eq!(ended, json!({"state": "ended", "unread": unread}));

    let vera = house.sign_in("vera").await;
    let ask = house.ask("GET", &format!("/api/v1{asked}"));
    problem(&house.send(ask.with_cookie(&vera)).await, 404, None);
    let other = "/tenants/home/cameras/yard/exports/one";
    problem(&send(&house, "GET", other, None).await, 404, None);

    let yard = "/tenants/home/cameras/yard";
    let nothing = format!("{yard}/export?from={from}&to={to}&receipt=two");
    assert!(
        !send(&house, "GET", &nothing, None)
            .await
            .status
            .is_success()
    );
    let refused = send(&house, "GET", &format!("{yard}/exports/two"), None).await;
    assert_eq!(refused.json()["state"], "broken");
    let wrong = format!("{door}/export?from={from}&to={to}&receipt=a_b");
    let wrong = send(&house, "GET", &wrong, None).await;
    problem(&wrong, 422, Some("receipt"));
}

#[tokio::test]
async fn a_stretch_that_is_too_long_is_refused_with_where_to_cut_it() {
    let house = scene::house().await;
    let camera = "/tenants/home/cameras/front-door";
    let from = "2026-11-20T00:00:00.000Z";
    for (method, what, to, most, cut) in [
        (
            "GET",
            "export?",
            "2026-11-21T01:00:01Z",
            "25 hours",
            "2026-11-21T01:00:00.000Z",
        ),
        (
            "POST",
            "verify?",
            "2026-12-22T00:00:01Z",
            "32 days",
            "2026-12-22T00:00:00.000Z",
        ),
        (
            "POST",
            "verify?full=true&",
            "2026-11-21T01:00:01Z",
            "25 hours",
            "2026-11-21T01:00:00.000Z",
        ),
        (
            "GET",
            "coverage?",
            "2026-12-22T00:00:01Z",
            "32 days",
            "2026-12-22T00:00:00.000Z",
        ),
    ] {
        let path = format!("{camera}/{what}from={from}&to={to}");
        let told = problem(&send(&house, method, &path, None).await, 422, Some("to"));
        let hint = format!("at most {most} at once: ask up to {cut}, and then from there on");
        assert!(told.contains(&hint), "{what}: {told}");
        let path = format!("{camera}/{what}from={from}&to={cut}");
        let status = send(&house, method, &path, None).await.status;
        assert_ne!(status, StatusCode::UNPROCESSABLE_ENTITY, "{what}");
    }
}

#[tokio::test]
async fn a_user_exports_four_recordings_at_once_and_the_next_when_one_has_ended() {
    let house = scene::house().await;
    let cookie = house.sign_in("anna").await;
    let (from, to) = (ago(1500), ago(1490));
    let path = format!("/api/v1/tenants/home/cameras/front-door/export?from={from}&to={to}");
    house.archive.held.send_replace(true);
    let mut waiting = house.archive.waiting.subscribe();
    let running = (0..4).map(|_| house.send(house.ask("GET", &path).with_cookie(&cookie)));
    let running = futures::future::join_all(running);
    let fifth = async {
        waiting.wait_for(|count| *count == 4).await.unwrap();
        let refused = house
            .send(house.ask("GET", &path).with_cookie(&cookie))
            .await;
        let told = problem(&refused, 429, None);
        assert!(
            told.contains("at most 4 exports run at once for one user"),
            "{told}"
        );
        house.archive.held.send_replace(false);
    };
    let (done, ()) = tokio::join!(running, fifth);
    assert!(done.iter().all(|answer| answer.status == StatusCode::OK));
    let again = house
        .send(house.ask("GET", &path).with_cookie(&cookie))
        .await;
    assert_eq!(again.status, StatusCode::OK);
}

#[tokio::test]
async fn what_somebody_fetches_ends_when_they_are_removed() {
    let house = scene::house().await;
    let cookie = house.sign_in("anna").await;
    let (from, to) = (ago(1500), ago(1490));
    let path = format!("/api/v1/tenants/home/cameras/front-door/export?from={from}&to={to}");
    house.archive.held.send_replace(true);
    let mut waiting = house.archive.waiting.subscribe();
    let export = house.send(house.ask("GET", &path).with_cookie(&cookie));
    let removal = async {
        waiting.wait_for(|count| *count == 1).await.unwrap();
        house.people.remove(&"anna".parse().unwrap()).await.unwrap();
        house.archive.held.send_replace(false);
    };
    let (answer, ()) = tokio::join!(export, removal);
    // It had begun, and is broken off.
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.body.len(), 0);
}

#[tokio::test]
async fn a_stored_segment_is_given_whole() {
    let house = scene::house().await;
    let key = "v1/r014/home/yard/2026/11/20/211005.250Z_00060033_g0000000007_7f3a9c21_000042_b41d0e_full.mp4";
    let bytes: Vec<u8> = (0..(5 << 19)).map(|byte| (byte % 251) as u8).collect();
    let stored = bytes.clone().into();
    house.store.0.lock().unwrap().insert(key.to_owned(), stored);
    let path = format!("/segments/{}", key.replace('/', "%2F"));
    let answer = send(&house, "GET", &path, None).await;
    assert_eq!(answer.header("content-length"), bytes.len().to_string());
    assert!(answer.body == bytes, "other bytes");
    let entries = house.audit.0.lock().unwrap();
    let taken = entries
        .iter()
        .find(|entry| entry.event == AuditEvent::Export)
        .unwrap();
    assert_eq!(taken.actor, "anna");
    assert_eq!(taken.subject, format!("home/yard {key}"));
}

/// The first and the last segment of a take have no neighbour that would tell of them: what was durable and is nowhere is a loss as well.
#[tokio::test]
async fn a_verify_tells_of_what_was_durable_and_is_nowhere() {
    let house = scene::house().await;
    let stretch = |from, to| format!("from={}&to={}", ago(from), ago(to));
    let verify = |camera: &str, from, to| {
        let path = format!(
            "/tenants/home/cameras/{camera}/verify?{}",
            stretch(from, to)
        );
        let house = &house;
        async move { send(house, "POST", &path, None).await.json() }
    };
    let whole = verify("front-door", 20_000, 0).await;
    assert_eq!(whole["findings"], json!([]), "recorded or explained");
    // Nothing of the yard is stored. It is durable up to 22 s ago, and a gap since 260 s ago.
    let found = verify("yard", 1_000, 0).await;
    let [finding] = found["findings"].as_array().unwrap().as_slice() else {
        panic!("{found}")
    };
    assert_eq!(
        (&finding["camera"], &finding["kind"]),
        (&json!("home/yard"), &json!("lost"))
    );
    let at = |name: &str| -> moorline_core::Timestamp {
        finding[name].as_str().unwrap().parse().unwrap()
    };
    let near = |one: moorline_core::Timestamp, seconds| {
        (one.as_millis() - ago(seconds).as_millis()).abs() < 30_000
    };
    assert!(near(at("from"), 1_000) && near(at("to"), 260), "{finding}");
}
