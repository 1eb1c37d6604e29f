//! Requests that are wrong get an answer that helps (promise P11), and what is right is carried out.

use std::sync::atomic::Ordering;

use hyper::StatusCode;
use moorline_core::port::{AuditEvent, CameraDirectory as _};
use moorline_web::route::{openapi, routes};
use serde_json::json;

use crate::support::client::Answer;
use crate::support::scene::{self, ago, id};
use crate::support::server::House;

/// Sends as an admin of `home`.
pub(crate) async fn send(house: &House, method: &str, path: &str, body: Option<&str>) -> Answer {
    let anna = house.sign_in("anna").await;
    let ask = house
        .ask(method, &format!("/api/v1{path}"))
        .with_cookie(&anna);
    house
        .send(match body {
            Some(body) => ask.with_body(body),
            None => ask,
        })
        .await
}

/// Which problem it is, and of which field; in words.
#[track_caller]
pub(crate) fn problem(answer: &Answer, status: u16, field: Option<&str>) -> String {
    assert_eq!(answer.status.as_u16(), status, "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let told = answer.json();
    assert_eq!(told["status"], status);
    assert_eq!(told["field"].as_str(), field, "{told}");
    assert!(
        told["title"]
            .as_str()
            .is_some_and(|title| !title.is_empty())
    );
    told.to_string()
}

#[tokio::test]
async fn a_body_that_is_wrong_is_refused_with_its_field() {
    let house = scene::house().await;
    let yard = "/tenants/home/cameras/yard";
    let add = "/tenants/home/cameras";
    for (method, path, body, status, field) in [
        ("PATCH", yard, "{\"record\":", 400, None),
        ("PATCH", yard, "", 400, None),
        ("PATCH", yard, "[1]", 422, None),
        ("PATCH", yard, r#"{"record": "all"}"#, 422, Some("record")),
        ("PATCH", yard, r#"{"recrod": "main"}"#, 422, Some("recrod")),
        (
            "PATCH",
            yard,
            r#"{"new_title": "x", "keep_days": 1000}"#,
            422,
            Some("keep_days"),
        ),
        (
            "PATCH",
            yard,
            r#"{"new_title": "x", "timezone": "Mars/Base"}"#,
            422,
            Some("timezone"),
        ),
        (
            "PATCH",
            yard,
            r#"{"rtsp": "rtsp://a:b@192.0.2.1/"}"#,
            422,
            Some("rtsp"),
        ),
        (
            "POST",
            add,
            r#"{"name": "new", "rtsp": "rtsp://192.0.2.1/", "recrod": "main"}"#,
            422,
            Some("recrod"),
        ),
        ("POST", add, r#"{"title": "x"}"#, 422, Some("name")),
        ("POST", add, r#"{"name": "No Label"}"#, 422, Some("name")),
        ("POST", add, r#"{"name": "new"}"#, 422, Some("keys")),
        (
            "POST",
            add,
            r#"{"name": "new", "keys": ["ssh-dss AAAA"]}"#,
            422,
            Some("keys"),
        ),
        (
            "POST",
            add,
            r#"{"name": "yard", "rtsp": "rtsp://192.0.2.1/"}"#,
            409,
            Some("name"),
        ),
        (
            "POST",
            "/tenants/home/users",
            r#"{"login": "x", "role": "root"}"#,
            422,
            Some("role"),
        ),
        (
            "POST",
            "/tenants/home/users",
            r#"{"login": "x", "role": "viewer", "password": "short"}"#,
            422,
            Some("password"),
        ),
    ] {
        let answer = send(&house, method, path, Some(body)).await;
        problem(&answer, status, field);
    }
    let cameras = house.cameras.snapshot();
    let title = cameras.get(&id("yard")).map(|camera| camera.title.clone());
    assert_eq!(
        title.as_deref(),
        Some("Yard <b>& garden</b>"),
        "nothing is half applied"
    );
    assert_eq!(cameras.len(), 4);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_not_read() {
    let house = scene::house().await;
    let body = json!({"login": "anna", "password": "x".repeat(70 << 10)});
    let answer = house
        .send(house.ask("POST", "/api/v1/session").with_body(body))
        .await;
    problem(&answer, 413, None);
}

#[tokio::test]
async fn a_body_of_another_kind_is_refused() {
    let house = scene::house().await;
    // A form of a foreign page could send this without asking first.
    let ask = house.ask("POST", "/api/v1/session");
    let answer = house.send(ask).await;
    problem(&answer, 415, None);
}

#[tokio::test]
async fn a_wrong_password_is_audited_and_never_says_which_was_wrong() {
    let house = scene::house().await;
    let mut told = Vec::new();
    for login in ["anna", "nobody"] {
        let body = json!({"login": login, "password": "wrong password"});
        let answer = house
            .send(house.ask("POST", "/api/v1/session").with_body(body))
            .await;
        told.push(problem(&answer, 401, None));
        assert_eq!(answer.header("set-cookie"), "");
    }
    assert_eq!(told[0], told[1]);
    let entries = house.audit.0.lock().unwrap();
    let failed = entries
        .iter()
        .filter(|entry| entry.event == AuditEvent::SignInFailed);
    assert_eq!(failed.count(), 2);
}

#[tokio::test]
async fn a_question_that_is_wrong_is_refused_with_its_parameter() {
    let house = scene::house().await;
    let path = "/tenants/home/cameras/front-door";
    let day = "from=2026-11-20T00:00:00Z&to=2026-11-21T00:00:00Z";
    for (query, status, field) in [
        (
            format!("{path}/coverage?to=2026-11-20T00:00:00Z"),
            422,
            Some("from"),
        ),
        (
            format!("{path}/coverage?from=yesterday&to=2026-11-20T00:00:00Z"),
            422,
            Some("from"),
        ),
        (
            format!("{path}/coverage?from=2026-11-20T00:00:00Z&to=2026-11-20T00:00:00Z"),
            422,
            Some("to"),
        ),
        (
            format!("{path}/coverage?from=2026-01-20T00:00:00Z&to=2026-11-20T00:00:00Z"),
            422,
            Some("to"),
        ),
        (
            format!("{path}/coverage?{day}&tier=best"),
            422,
            Some("tier"),
        ),
        (format!("{path}/play?from=2026-11-20T00:00:00Z"), 426, None),
        (format!("{path}/live"), 426, None),
        ("/tenants/home/cameras/none".to_owned(), 404, None),
        ("/tenants/home/cameras/none/poster".to_owned(), 404, None),
        ("/segments/..%2F..%2Fetc%2Fpasswd".to_owned(), 404, None),
        ("/nothing".to_owned(), 404, None),
    ] {
        problem(&send(&house, "GET", &query, None).await, status, field);
    }
    problem(&send(&house, "PUT", path, Some("{}")).await, 405, None);
}

#[tokio::test]
async fn what_was_done_to_a_camera_is_told_apart_in_the_audit() {
    let house = scene::house().await;
    let cameras = "/tenants/home/cameras";
    let yard = format!("{cameras}/yard");
    let new = r#"{"name": "new", "rtsp": "rtsp://192.0.2.1/"}"#;
    for (method, path, body) in [
        ("POST", cameras, Some(new)),
        ("PATCH", &*yard, Some(r#"{"new_title": "Yard"}"#)),
        ("POST", &*format!("{yard}/hang-up"), None),
        ("DELETE", &*yard, None),
    ] {
        let answer = send(&house, method, path, body).await;
        assert!(answer.status.is_success(), "{method} {path}: {answer:?}");
    }
    let entries = house.audit.0.lock().unwrap();
    let done: Vec<_> = entries
        .iter()
        .filter(|entry| entry.subject.starts_with("home/"))
        .map(|entry| (entry.event, entry.subject.as_str()))
        .collect();
    assert_eq!(
        done,
        [
            (AuditEvent::CameraAdd, "home/new"),
            (AuditEvent::CameraChange, "home/yard"),
            (AuditEvent::CameraHangUp, "home/yard"),
            (AuditEvent::CameraRemove, "home/yard"),
        ]
    );
}

/// In a cluster the process that answers holds no tunnel.
#[tokio::test]
async fn a_tunnel_that_another_process_holds_is_ended_by_an_order_to_it() {
    let house = scene::house().await;
    house.cameras.elsewhere.store(true, Ordering::Relaxed);
    let hang_up = "/tenants/home/cameras/yard/hang-up";
    let answer = send(&house, "POST", hang_up, None).await;
    assert!(answer.status.is_success(), "{answer:?}");
    assert!(house.cameras.hung_up.lock().unwrap().is_empty());
    let yard: moorline_core::CameraId = "home/yard".parse().unwrap();
    assert_eq!(*house.cameras.ordered.lock().unwrap(), [yard]);
}

#[tokio::test]
async fn what_is_said_to_a_camera_names_the_command_that_goes_to_its_tunnel_or_that_there_is_none()
{
    let house = scene::house().await;
    house.cameras.elsewhere.store(true, Ordering::Relaxed);
    let asked = [
        ("agent", Some(r#"{"line": "REBOOT"}"#), "agent"),
        ("diagnose", None, "diagnose"),
        ("rekey", None, "rekey"),
    ];
    for (route, body, command) in asked {
        let at = |camera: &str| format!("/tenants/home/cameras/{camera}/{route}");
        let held = send(&house, "POST", &at("front-door"), body).await;
        problem(&held, 501, None);
        let hint = held.json()["hint"].as_str().unwrap_or_default().to_owned();
        assert!(
            hint.starts_with(&format!("moorline camera {command} front-door"))
                && hint.contains(" --cluster "),
            "{hint}"
        );
        let away = send(&house, "POST", &at("gate"), body).await;
        let told = problem(&away, 409, None);
        assert!(told.contains("it has no tunnel now"), "{told}");
    }
}

#[tokio::test]
async fn two_changes_of_one_camera_at_once_both_stay() {
    let house = scene::house().await;
    let yard = "/tenants/home/cameras/yard";
    let meet = std::sync::Arc::new(tokio::sync::Barrier::new(2));
    let both = vec![std::sync::Arc::clone(&meet), meet];
    *house.cameras.together.lock().unwrap() = both;
    let (one, other) = tokio::join!(
        send(&house, "PATCH", yard, Some(r#"{"path": "/stream1"}"#)),
        send(
            &house,
            "PATCH",
            yard,
            Some(r#"{"user": "admin", "password": "hunter22"}"#)
        ),
    );
    assert_eq!((one.status, other.status), (StatusCode::OK, StatusCode::OK));
    let set = house.cameras.snapshot();
    let main = &set.get(&id("yard")).unwrap().main;
    assert_eq!(main.path.as_deref(), Some("/stream1"));
    let user = main.login.as_ref().map(|login| login.user.as_str());
    assert_eq!(user, Some("admin"));
}

#[test]
fn the_openapi_document_has_every_route() {
    let document = openapi();
    for route in routes() {
        let path = format!("/api/v1{}", route.path);
        let operation = &document["paths"][&path][route.method.to_lowercase()];
        assert_eq!(operation["summary"], route.summary, "{path}");
    }
    assert_eq!(document["openapi"], "3.1.0");
}

#[tokio::test]
async fn a_camera_whose_erasing_failed_can_be_erased_again() {
    let house = scene::house().await;
    let gate = "/tenants/home/cameras/gate?erase=true";
    for _ in 0..2 {
        let answer = send(&house, "DELETE", gate, None).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
    }
    assert_eq!(
        house.operations.erased.lock().unwrap().as_slice(),
        [id("gate"), id("gate")]
    );
    let again = send(&house, "DELETE", "/tenants/home/cameras/gate", None).await;
    assert_eq!(again.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_token_is_shown_once_and_listed_without_itself() {
    let house = scene::house().await;
    let path = "/tenants/home/enrolments";
    let made = send(
        &house,
        "POST",
        path,
        Some(r#"{"prefix": "shop", "count": 3, "expires_in": 3600, "comment": "pallet"}"#),
    )
    .await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    let token = made.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(
        (&made.json()["prefix"], &made.json()["left"]),
        (&json!("shop"), &json!(3))
    );
    let one = send(
        &house,
        "POST",
        path,
        Some(r#"{"camera": "roof", "keep_days": 30, "timezone": "Europe/Berlin"}"#),
    )
    .await;
    assert_eq!(one.json()["camera"], "home/roof");
    let listed = send(&house, "GET", path, None).await;
    assert_eq!(listed.json().as_array().unwrap().len(), 2);
    assert!(!listed.json().to_string().contains(&token), "{listed:?}");
    let gone = send(
        &house,
        "DELETE",
        &format!("{path}/{}", made.json()["id"]),
        None,
    )
    .await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    assert_eq!(
        send(&house, "DELETE", &format!("{path}/99"), None)
            .await
            .status,
        StatusCode::NOT_FOUND
    );
    let revoked = send(&house, "GET", path, None).await.json();
    assert_eq!(
        (&revoked[1]["revoked"], &revoked[1]["left"]),
        (&json!(true), &json!(0))
    );
    // A typing mistake must not give two devices one name.
    let twice = send(&house, "POST", path, Some(r#"{"camera": "yard"}"#)).await;
    problem(&twice, 409, None);
    assert!(twice.json().to_string().contains("--again"), "{twice:?}");
    let meant = r#"{"camera": "yard", "again": true}"#;
    let meant = send(&house, "POST", path, Some(meant)).await;
    assert_eq!(meant.status, StatusCode::CREATED, "{meant:?}");
    for (body, field) in [
        (r#"{}"#, "camera"),
        (r#"{"camera": "a", "prefix": "b"}"#, "camera"),
        (r#"{"camera": "Roof"}"#, "camera"),
        (r#"{"camera": "roof", "count": 2}"#, "count"),
        (r#"{"camera": "roof", "expires_in": 0}"#, "expires_in"),
        (r#"{"camera": "roof", "timezone": "Mars"}"#, "timezone"),
        (r#"{"camera": "roof", "keep_days": 1000}"#, "keep_days"),
    ] {
        problem(
            &send(&house, "POST", path, Some(body)).await,
            422,
            Some(field),
        );
    }
}

/// The page asks again and again: what concerns all cameras is looked up once for all of them.
#[tokio::test]
async fn a_list_of_cameras_looks_once_at_what_is_the_same_for_all() {
    let house = scene::house().await;
    for path in ["/cameras", "/tenants/home/cameras"] {
        let before = house.operations.disk_asked.load(Ordering::Relaxed);
        let list = send(&house, "GET", path, None).await.json();
        assert!(list.as_array().unwrap().len() > 1, "{list}");
        let asked = house.operations.disk_asked.load(Ordering::Relaxed) - before;
        assert_eq!(asked, 1, "{path}");
    }
}

#[tokio::test]
async fn a_camera_of_the_stock_is_claimed_once() {
    let house = scene::house().await;
    let stocked = moorline_core::port::Stocked {
        camera: id("yard"),
        enrolled: ago(60),
    };
    house.tokens.stock.lock().unwrap().push(stocked);
    let claim = "/tenants/home/cameras/yard/claim";
    let nameless = send(&house, "POST", claim, Some(r#"{"title": " "}"#)).await;
    problem(&nameless, 422, Some("title"));
    let long = format!(r#"{{"title": "Goats", "site": "{}"}}"#, "x".repeat(300));
    let long = send(&house, "POST", claim, Some(&long)).await;
    problem(&long, 422, Some("site"));
    let stock = send(&house, "GET", "/tenants/home/stock", None).await;
    assert_eq!(
        stock.json()[0]["camera"],
        "home/yard",
        "refusals claim nothing"
    );
    let claimed = send(&house, "POST", claim, Some(r#"{"title": "Goats"}"#)).await;
    assert_eq!(claimed.json()["title"], "Goats");
    let again = send(&house, "POST", claim, Some(r#"{"title": "Mine"}"#)).await;
    problem(&again, 409, None);
    let stock = send(&house, "GET", "/tenants/home/stock", None).await;
    assert_eq!(stock.json(), json!([]));
}

#[tokio::test]
async fn a_stream_is_sent_elsewhere_and_back_and_wrong_fields_are_named() {
    let house = scene::house().await;
    let at = "/tenants/home/cameras/yard/streampoint";
    let key = "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
    let wrong = r#"{"host": "b.example.com", "port": 2222, "keys": ["AAAA"]}"#;
    let wrong = send(&house, "PUT", at, Some(wrong)).await;
    problem(&wrong, 422, Some("keys"));
    let right =
        format!(r#"{{"host": "b.example.com", "port": 2222, "keys": ["{key}"], "ttl": 60}}"#);
    let right = send(&house, "PUT", at, Some(&right)).await;
    let told = right.json();
    assert_eq!(told["streampoint"]["user"], "home/yard", "{told}");
    assert!(
        told["notes"].to_string().contains("b.example.com:2222"),
        "{told}"
    );
    let back = send(&house, "DELETE", at, None).await;
    assert!(back.json()["streampoint"].is_null(), "{back:?}");
}
