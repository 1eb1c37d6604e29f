//! Who may do what: every route of the table, as a stranger, as a user of another tenant, with too small a role, from a foreign page
//! (rules S13 and S15).

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use axum::body::Body;
use hyper::StatusCode;
use moorline_base::crowd::{Crowd, Place};
use moorline_core::camera::Enabled;
use moorline_core::port::CameraDirectory as _;
use moorline_core::port::Users as _;
use moorline_core::user::Role;
use moorline_web::access::CONNECTIONS;
use moorline_web::route::{Route, Who, routes};
use tower::ServiceExt as _;

use crate::support::client::{Answer, Ask};
use crate::support::scene::{self, ago, id};
use crate::support::server::{House, PASSWORD};

const THEIR_SEGMENT: &str = "v1%2Fr014%2Facme%2Fshop%2F2026%2F11%2F20%2F211005.250Z_00060033_g0000000007_7f3a9c21_000042_b41d0e_full.mp4";

/// The route's path with the parameters of one tenant.
fn path(route: &Route, tenant: &str, camera: &str, login: &str) -> String {
    let path = route
        .path
        .replace("{tenant}", tenant)
        .replace("{camera}", camera)
        .replace("{login}", login)
        .replace("{fingerprint}", "SHA256%3Aabc")
        .replace("{id}", "1")
        .replace("{receipt}", "6e1f")
        .replace("{target}", "mipsel")
        .replace("{version}", "0.2.0")
        .replace("{key}", THEIR_SEGMENT);
    let (from, to) = (ago(3600), ago(60));
    format!("/api/v1{path}?from={from}&to={to}")
}

/// A request to a route that would do something, were it allowed.
fn ask(house: &House, route: &Route, path: &str) -> Ask {
    let ask = house.ask(route.method, path);
    match route.method {
        "GET" => ask,
        _ => ask.with_body(body(route)),
    }
}

fn body(route: &Route) -> &'static str {
    match (route.method, route.path) {
        ("POST", "/tenants/{tenant}/cameras") => r#"{"name": "new", "rtsp": "rtsp://192.0.2.1/"}"#,
        ("POST", "/tenants/{tenant}/camera-import") => {
            r#"{"cameras": [{"name": "new", "rtsp": "rtsp://192.0.2.1/"}]}"#
        }
        ("POST", "/tenants/{tenant}/enrolments") => r#"{"prefix": "new", "count": 2}"#,
        ("POST", "/tenants/{tenant}/cameras/{camera}/agent") => r#"{"line": "REBOOT"}"#,
        ("POST", "/tenants/{tenant}/cameras/{camera}/claim") => r#"{"title": "mine"}"#,
        ("PUT", "/tenants/{tenant}/cameras/{camera}/streampoint") => {
            r#"{"host": "b.example.com", "port": 22, "keys": []}"#
        }
        ("PATCH", _) => r#"{"enabled": "stolen"}"#,
        ("POST", "/tenants/{tenant}/users") => {
            r#"{"login": "mallory", "role": "admin", "password": "0123456789"}"#
        }
        ("PUT", "/log") => r#"{"filter": "trace"}"#,
        _ => "{}",
    }
}

#[track_caller]
fn refused(route: &Route, answer: &Answer, statuses: &[StatusCode]) {
    let what = format!("{} {}: {answer:?}", route.method, route.path);
    assert!(statuses.contains(&answer.status), "{what}");
    assert_eq!(
        answer.header("content-type"),
        "application/problem+json",
        "{what}"
    );
    let body = String::from_utf8_lossy(&answer.body).to_lowercase();
    for secret in ["their shop", "eve", "ssh-ed25519", "recorded"] {
        assert!(!body.contains(secret), "{secret:?} leaks: {what}");
    }
}

/// What belongs to acme is as it was.
async fn untouched(house: &House) {
    let cameras = house.cameras.snapshot();
    let shop = cameras.get(&id("acme/shop")).expect("their camera");
    assert_eq!((shop.enabled, shop.keys.len()), (Enabled::Yes, 1));
    assert_eq!(cameras.len(), 4, "no camera was added or removed");
    assert_eq!(house.people.list(&"acme".parse().unwrap()).len(), 1);
    assert_eq!(house.people.list(&"home".parse().unwrap()).len(), 2);
    assert!(house.people.get("mallory").is_none());
    assert!(house.cameras.hung_up.lock().unwrap().is_empty());
    assert!(house.operations.erased.lock().unwrap().is_empty());
    assert_eq!(
        house.operations.done.lock().unwrap().as_slice(),
        [""; 0],
        "nothing was carried out"
    );
    house.sign_in("eve").await;
}

#[tokio::test]
async fn without_a_session_every_route_but_the_sign_in_is_closed() {
    let house = scene::house().await;
    for route in routes() {
        if route.who == Who::Anybody {
            continue;
        }
        let answer = house
            .send(ask(&house, &route, &path(&route, "acme", "shop", "eve")))
            .await;
        refused(&route, &answer, &[StatusCode::UNAUTHORIZED]);
        let stale = ask(&house, &route, &path(&route, "home", "yard", "vera"))
            .with_cookie("__Host-moorline=token-0");
        refused(
            &route,
            &house.send(stale).await,
            &[StatusCode::UNAUTHORIZED],
        );
    }
    untouched(&house).await;
}

/// S13.
#[tokio::test]
async fn another_tenant_does_not_exist() {
    let house = scene::house().await;
    let anna = house.sign_in("anna").await;
    let mut crossed = 0;
    for route in routes() {
        if !(route.path.contains("{tenant}") || route.path.contains("{key}")) {
            continue;
        }
        let theirs = path(&route, "acme", "shop", "eve");
        let answer = house
            .send(ask(&house, &route, &theirs).with_cookie(&anna))
            .await;
        refused(&route, &answer, &[StatusCode::NOT_FOUND]);
        // The same answer as for a tenant that there is not.
        let nowhere = path(&route, "nobody", "shop", "eve");
        let same = house
            .send(ask(&house, &route, &nowhere).with_cookie(&anna))
            .await;
        assert_eq!(
            (answer.status, &answer.body),
            (same.status, &same.body),
            "{}",
            route.path
        );
        // Their user under our tenant is none of ours either.
        if route.path.contains("{login}") {
            let mixed = path(&route, "home", "shop", "eve");
            let answer = house
                .send(ask(&house, &route, &mixed).with_cookie(&anna))
                .await;
            refused(&route, &answer, &[StatusCode::NOT_FOUND]);
        }
        crossed += 1;
    }
    assert!(crossed >= 20, "only {crossed} routes were crossed");
    untouched(&house).await;

    let list = house
        .send(house.ask("GET", "/api/v1/cameras").with_cookie(&anna))
        .await;
    let ids: Vec<_> = list
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|camera| camera["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids, ["home/front-door", "home/gate", "home/yard"]);
}

#[tokio::test]
async fn what_the_machines_operator_does_is_not_there_over_https() {
    let house = scene::house().await;
    let anna = house.sign_in("anna").await;
    for route in routes() {
        if route.who == Who::Local {
            let answer = house
                .send(ask(&house, &route, &path(&route, "home", "yard", "vera")).with_cookie(&anna))
                .await;
            refused(&route, &answer, &[StatusCode::NOT_FOUND]);
        }
    }
    untouched(&house).await;
}

#[tokio::test]
async fn a_role_that_is_too_small_is_refused() {
    let house = scene::house().await;
    let vera = house.sign_in("vera").await;
    for route in routes() {
        let Who::AtLeast(role) = route.who else {
            continue;
        };
        if role > Role::Viewer {
            let answer = house
                .send(ask(&house, &route, &path(&route, "home", "yard", "anna")).with_cookie(&vera))
                .await;
            refused(&route, &answer, &[StatusCode::FORBIDDEN]);
        }
    }
    let cameras = house.cameras.snapshot();
    assert_eq!(
        cameras.get(&id("yard")).map(|camera| camera.enabled),
        Some(Enabled::Yes)
    );
    untouched(&house).await;
}

/// S13.
#[tokio::test]
async fn a_foreign_page_can_neither_write_nor_open_our_websocket() {
    let house = scene::house().await;
    let anna = house.sign_in("anna").await;
    let port = house.address.port();
    let foreign = [
        Some("https://evil.example".to_owned()),
        Some("null".to_owned()),
        Some(format!("http://localhost:{port}")),
        Some(format!("https://localhost:{port}.evil.example")),
        None,
    ];
    for origin in &foreign {
        for route in routes() {
            if route.method == "GET" {
                continue;
            }
            let ours = path(&route, "home", "yard", "vera");
            let ask = ask(&house, &route, &ours)
                .with_cookie(&anna)
                .with_origin(origin.as_deref());
            refused(&route, &house.send(ask).await, &[StatusCode::FORBIDDEN]);
        }
        for stream in ["live", "play?from=2026-11-20T21:10:05Z"] {
            let path = format!("/api/v1/tenants/home/cameras/front-door/{stream}");
            let ask = house.ask("GET", &path).with_cookie(&anna);
            let opened = house.socket(ask.with_origin(origin.as_deref())).await;
            assert_eq!(
                opened.err(),
                Some(StatusCode::FORBIDDEN),
                "{stream} from {origin:?}"
            );
        }
    }
    untouched(&house).await;
}

#[tokio::test]
async fn a_name_that_is_not_ours_is_misdirected() {
    let house = scene::house().await;
    let port = house.address.port();
    for host in [
        "evil.example",
        "localhost.evil.example",
        "watch.example.com.evil.example",
        "",
    ] {
        for path in ["/", "/api/v1/cameras"] {
            let mut ask = house.ask("GET", path);
            ask.host = host.to_owned();
            assert_eq!(
                house.send(ask).await.status,
                StatusCode::MISDIRECTED_REQUEST,
                "{host:?} {path}"
            );
        }
    }
    for host in [
        "cctv.example.com",
        "watch.example.com",
        "127.0.0.1",
        "[::1]",
        "LOCALHOST",
        "192.0.2.7",
    ] {
        let mut ask = house.ask("GET", "/");
        ask.host = format!("{host}:{port}");
        assert_eq!(house.send(ask).await.status, StatusCode::OK, "{host}");
    }
}

/// S13: a sign-in is a write, from the page of the name that it is sent to.
#[tokio::test]
async fn people_sign_in_under_the_name_that_viewers_know() {
    let house = scene::house().await;
    let port = house.address.port();
    let body = serde_json::json!({"login": "anna", "password": PASSWORD});
    for (host, origin, status) in [
        ("watch.example.com", "watch.example.com", StatusCode::OK),
        ("watch.example.com", "evil.example", StatusCode::FORBIDDEN),
        (
            "evil.example",
            "evil.example",
            StatusCode::MISDIRECTED_REQUEST,
        ),
    ] {
        let mut ask = house.ask("POST", "/api/v1/session").with_body(&body);
        ask.host = format!("{host}:{port}");
        let origin = format!("https://{origin}:{port}");
        let answer = house.send(ask.with_origin(Some(&origin))).await;
        assert_eq!(answer.status, status, "{host} from {origin}");
    }
}

/// S13.
#[tokio::test]
async fn the_session_cookie_is_locked_up_and_renewed_at_each_sign_in() {
    let house = scene::house().await;
    let body = serde_json::json!({"login": "anna", "password": PASSWORD});
    let ask = house.ask("POST", "/api/v1/session").with_body(&body);
    let answer = house.send(ask.clone()).await;
    let cookie = answer.header("set-cookie").to_owned();
    assert!(cookie.starts_with("__Host-moorline="), "{cookie}");
    for attribute in ["Secure", "HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(
            cookie.split("; ").any(|part| part == attribute),
            "{attribute} in {cookie}"
        );
    }
    assert!(!cookie.contains("Domain"), "{cookie}");
    assert!(
        !String::from_utf8_lossy(&answer.body).contains("token"),
        "the token is in the cookie alone"
    );

    let first = cookie.split(';').next().unwrap().to_owned();
    let again = house.send(ask.with_cookie(&first)).await;
    let second = again
        .header("set-cookie")
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    assert_ne!(first, second);
    let me = |cookie: &str| house.ask("GET", "/api/v1/me").with_cookie(cookie);
    assert_eq!(
        house.send(me(&first)).await.status,
        StatusCode::UNAUTHORIZED,
        "the old one is over"
    );
    assert_eq!(house.send(me(&second)).await.status, StatusCode::OK);

    let out = house
        .send(house.ask("DELETE", "/api/v1/session").with_cookie(&second))
        .await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    assert!(out.header("set-cookie").contains("Max-Age=0"));
    assert_eq!(
        house.send(me(&second)).await.status,
        StatusCode::UNAUTHORIZED
    );
}

/// The database of a cluster's people is away.
#[tokio::test]
async fn who_cannot_be_signed_in_is_told_so_and_who_is_signed_in_stays_so() {
    let house = scene::house().await;
    let anna = house.sign_in("anna").await;
    house.sessions.away.store(true, Ordering::Relaxed);
    let sign_in = async |password: &str| {
        let body = serde_json::json!({"login": "vera", "password": password});
        let ask = house.ask("POST", "/api/v1/session").with_body(body);
        house.send(ask).await
    };
    let refused = sign_in(PASSWORD).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    let problem = refused.json();
    assert_eq!(problem["type"], "people_unavailable", "{problem}");
    let title = problem["title"].as_str().unwrap();
    assert!(title.contains("database of users"), "{problem}");
    assert!(problem["hint"].is_string(), "{problem}");
    assert!(!problem.to_string().contains("db-7"), "{problem}");
    let wrong = sign_in("wrong").await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    let me = house.ask("GET", "/api/v1/me").with_cookie(&anna);
    assert_eq!(house.send(me).await.status, StatusCode::OK);
    house.sessions.away.store(false, Ordering::Relaxed);
    house.sign_in("vera").await;
}

/// The same database: what cannot be changed is told with what to do, and is no fault of the server's.
#[tokio::test]
async fn who_adds_a_user_while_their_database_is_away_is_told_so() {
    let house = scene::house().await;
    let anna = house.sign_in("anna").await;
    house.people.away.store(true, Ordering::Relaxed);
    let body = serde_json::json!({"login": "berta", "password": PASSWORD, "role": "viewer"});
    let ask = house.ask("POST", "/api/v1/tenants/home/users");
    let refused = house.send(ask.with_cookie(&anna).with_body(body)).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    let problem = refused.json();
    assert_eq!(problem["type"], "people_unavailable", "{problem}");
    assert!(
        problem["hint"].as_str().unwrap().contains("try again"),
        "{problem}"
    );
    assert!(!problem.to_string().contains("db-7"), "{problem}");
}

/// S13.
#[tokio::test]
async fn every_answer_carries_the_strict_headers() {
    let house = scene::house().await;
    let anna = house.sign_in("anna").await;
    for path in [
        "/",
        "/page/main.js",
        "/page/page.css",
        "/nothing",
        "/api/v1/me",
        "/api/v1/cameras",
        "/api/v1/nothing",
        "/api/v1/tenants/home/cameras/front-door/poster",
    ] {
        let answer = house.send(house.ask("GET", path).with_cookie(&anna)).await;
        let policy = answer.header("content-security-policy");
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(part), "{part} at {path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
    }
}

/// What a request with this cookie is answered over a connection of this place.
async fn over(house: &House, cookie: &str, place: Place) -> StatusCode {
    let ask = house.ask("GET", "/api/v1/me").with_cookie(cookie);
    let mut request = ask.request().map(Body::new);
    request.extensions_mut().insert(place);
    house
        .router
        .clone()
        .oneshot(request)
        .await
        .unwrap()
        .status()
}

/// P9: who has signed in is never put out, so nobody may have all places.
#[tokio::test]
async fn one_user_has_no_more_connections_than_a_user_may() {
    let house = scene::house().await;
    let (anna, vera) = (house.sign_in("anna").await, house.sign_in("vera").await);
    let crowd = Crowd::new(4096, 4096);
    let place = || crowd.admit(IpAddr::from([192, 0, 2, 1])).expect("a place");
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        let place = place();
        assert_eq!(over(&house, &anna, place.clone()).await, StatusCode::OK);
        held.push(place);
    }
    let one_more = place();
    let answer = over(&house, &anna, one_more.clone()).await;
    assert_eq!(answer, StatusCode::TOO_MANY_REQUESTS);
    assert!(one_more.is_strangers(), "it makes room for others");
    assert_eq!(over(&house, &vera, place()).await, StatusCode::OK);
    held.pop();
    assert_eq!(over(&house, &anna, one_more).await, StatusCode::OK);
}
