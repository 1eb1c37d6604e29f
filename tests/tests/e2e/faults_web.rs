//! People who may not: foreign pages, foreign tenants, small roles, and users that were removed.

use futures::StreamExt as _;
use moorline_testkit::{child::Child, patience};
use moorline_web::route::{Who, routes};
use tokio::process::Command;

use crate::{
    faults_http::Person,
    faults_rig::{SHORT, SOON, Server},
};

const LIVE: &str = "/tenants/home/cameras/well/live";

async fn user(server: &Server, login: &str, role: &str) -> (Person, String) {
    let made = server.cli(&["user", "add", login, "--role", role]).await;
    let password = made["password"].as_str().unwrap();
    let stream = made["stream_password"].as_str().unwrap().to_owned();
    let person = Person::sign_in(server.address("https"), login, password).await;
    (person, stream)
}

/// Waits for the first pictures of a live view.
async fn pictures<S>(socket: &mut S)
where
    S: futures::Stream<
            Item = Result<
                tokio_tungstenite::tungstenite::Message,
                tokio_tungstenite::tungstenite::Error,
            >,
        > + Unpin,
{
    let seen = async {
        let mut binary = 0;
        while binary < 2 {
            let message = socket.next().await.expect("the view ended").unwrap();
            binary += u32::from(message.is_binary());
        }
    };
    tokio::time::timeout(patience(SOON), seen)
        .await
        .expect("no pictures in time");
}

/// S13.
#[tokio::test]
async fn a_foreign_page_opens_no_websocket_and_changes_nothing() {
    let server = Server::start(SHORT).await;
    let _well = server.healthy("well", 1).await;
    let (mut person, _) = user(&server, "anna", "operator").await;
    let ours = person.origin.clone();
    let port = server.address("https").port();
    for foreign in [
        "https://evil.example".to_owned(),
        "null".to_owned(),
        format!("https://evil.example:{port}"),
        format!("http://localhost:{port}"),
        format!("https://localhost:{port}.evil.example"),
    ] {
        person.origin = foreign.clone();
        let refused = person.open(LIVE).await.err();
        assert_eq!(refused.map(|answer| answer.status), Some(403), "{foreign}");
        let hang_up = person
            .ask("POST", "/tenants/home/cameras/well/hang-up", None)
            .await;
        assert_eq!(hang_up.status, 403, "{foreign}");
    }
    person.origin = ours;
    let mut socket = person.open(LIVE).await.ok().expect("our own page may");
    pictures(&mut socket).await;
    server.nothing_lost("well", 1).await;
    server.stop().await;
}

/// A request that would be right, but for the tenant.
fn body(method: &str, path: &str) -> Option<String> {
    let body = match (method, path.rsplit('/').next()?) {
        ("POST", "cameras") => r#"{"name":"new","rtsp":"rtsp://127.0.0.1/x"}"#,
        ("POST", "keys") => r#"{"key":"ssh-ed25519 AAAA"}"#,
        ("POST", "users") => r#"{"login":"mallory","role":"admin"}"#,
        ("PATCH" | "PUT" | "POST", _) => "{}",
        _ => return None,
    };
    Some(body.to_owned())
}

/// S13.
#[tokio::test]
async fn no_route_knows_a_foreign_tenant() {
    let server = Server::start(SHORT).await;
    let _well = server.healthy("well", 1).await;
    server
        .cli(&[
            "camera",
            "add",
            "acme/yard",
            "--rtsp",
            "rtsp://127.0.0.1:1/x",
        ])
        .await;
    let before = server.api("GET", "/tenants/acme/cameras").await.json();
    assert_eq!(before[0]["id"], "acme/yard", "the tenant is there");
    let (viewer, _) = user(&server, "anna", "viewer").await;
    let (admin, _) = user(&server, "berta", "admin").await;

    let mut tried = 0;
    for route in routes() {
        let foreign = route.path.contains("{tenant}");
        if !foreign && route.who != Who::Local {
            continue;
        }
        let path = route
            .path
            .replace("{tenant}", "acme")
            .replace("{camera}", "yard")
            .replace("{fingerprint}", "SHA256:x")
            .replace("{login}", "anna");
        let query = "?from=2026-11-20T00:00:00Z&to=2026-11-20T01:00:00Z";
        for person in [&viewer, &admin] {
            let told = format!("{} {path}", route.method);
            let status = if path.ends_with("/live") || path.ends_with("/play") {
                let opened = person.open(&format!("{path}{query}")).await;
                opened.err().map(|answer| answer.status)
            } else {
                let content = body(route.method, &path);
                let content = match (route.method, route.path) {
                    ("PUT", "/log") => Some(r#"{"filter":"trace"}"#.to_owned()),
                    _ => content,
                };
                let path = format!("{path}{query}");
                Some(person.ask(route.method, &path, content).await.status)
            };
            assert_eq!(status, Some(404), "{told}");
        }
        tried += 1;
    }
    assert!(tried > 20, "only {tried} routes");
    // Keys of objects name a tenant too.
    let encoded = |key: &str| format!("/segments/{}", key.replace('/', "%2F"));
    let rows = server
        .cli(&["segments", "list", "well", "--from", "1h"])
        .await;
    let rows = rows.as_array().unwrap();
    let stored = rows.iter().find(|row| row["held"] == "store").unwrap();
    let key = stored["key"].as_str().unwrap();
    let own = viewer.ask("GET", &encoded(key), None).await;
    assert_eq!(own.status, 200, "{key}: {}", own.text());
    for (person, name) in [(&viewer, "viewer"), (&admin, "admin")] {
        let theirs = encoded(&key.replacen("home", "acme", 1));
        assert_eq!(person.ask("GET", &theirs, None).await.status, 404, "{name}");
        let listed = person.ask("GET", "/cameras", None).await.json();
        let seen = listed.as_array().unwrap().len();
        assert_eq!(seen, 1, "{name} sees {listed}");
    }
    let after = server.api("GET", "/tenants/acme/cameras").await.json();
    assert_eq!(before[0]["keys"], after[0]["keys"]);
    assert_eq!(after.as_array().unwrap().len(), 1, "{after}");
    server.nothing_lost("well", 1).await;
    server.stop().await;
}

#[tokio::test]
async fn a_viewer_watches_and_changes_nothing() {
    let server = Server::start(SHORT).await;
    let _well = server.healthy("well", 1).await;
    let (viewer, _) = user(&server, "anna", "viewer").await;
    let before = server.camera("well").await;
    let mut tried = 0;
    for route in routes() {
        let Who::AtLeast(role) = route.who else {
            continue;
        };
        if role == moorline_core::user::Role::Viewer {
            continue;
        }
        let path = route
            .path
            .replace("{tenant}", "home")
            .replace("{camera}", "well")
            .replace("{fingerprint}", "SHA256:x")
            .replace("{login}", "admin");
        let query = "?from=2026-11-20T00:00:00Z&to=2026-11-20T01:00:00Z";
        let content = body(route.method, &path);
        let answer = viewer
            .ask(route.method, &format!("{path}{query}"), content)
            .await;
        assert_eq!(answer.status, 403, "{} {path}", route.method);
        let title = answer.json()["title"].as_str().unwrap().to_owned();
        assert!(title.contains("yours is viewer"), "{title}");
        tried += 1;
    }
    assert!(tried > 8, "only {tried} routes");
    let after = server.camera("well").await;
    for field in ["keys", "enabled", "record", "title"] {
        assert_eq!(before[field], after[field]);
    }
    let mut socket = viewer.open(LIVE).await.ok().expect("a viewer may watch");
    pictures(&mut socket).await;
    server.nothing_lost("well", 1).await;
    server.stop().await;
}

/// S15.
#[tokio::test]
async fn the_streams_of_a_removed_user_end_and_no_other() {
    let server = Server::start(SHORT).await;
    let _well = server.healthy("well", 1).await;
    let (anna, annas) = user(&server, "anna", "viewer").await;
    let (berta, bertas) = user(&server, "berta", "viewer").await;
    let mut page = anna.open(LIVE).await.ok().unwrap();
    let mut other_page = berta.open(LIVE).await.ok().unwrap();
    pictures(&mut page).await;
    pictures(&mut other_page).await;
    let mut player = player(&server, "anna", &annas);
    let other_player = self::player(&server, "berta", &bertas);
    for player in [&player, &other_player] {
        player.wait_for_line("frame=", SOON).await.unwrap();
    }

    server.cli(&["user", "rm", "anna"]).await;
    let ended = async {
        while let Some(Ok(message)) = page.next().await {
            if message.is_close() {
                break;
            }
        }
    };
    tokio::time::timeout(patience(SOON), ended)
        .await
        .expect("the page of a removed user goes on");
    player
        .wait(SOON)
        .await
        .expect("the player of a removed user goes on");
    assert_eq!(anna.ask("GET", "/me", None).await.status, 401);

    pictures(&mut other_page).await;
    let mark = other_player.mark();
    other_player
        .wait_for_after(mark, "more pictures", SOON, |line| {
            line.starts_with("frame=").then_some(())
        })
        .await
        .unwrap();
    server.nothing_lost("well", 1).await;
    server.stop().await;
}

/// ffmpeg with a person's stream password, telling its progress.
fn player(server: &Server, login: &str, password: &str) -> Child {
    let url = format!("rtsp://{login}:{password}@{}/well", server.address("rtsp"));
    let mut command = Command::new("ffmpeg");
    command.args(["-hide_banner", "-nostdin", "-v", "error"]);
    command.args(["-rtsp_transport", "tcp", "-i", &url]);
    command.args(["-c", "copy", "-f", "null", "-progress", "pipe:1", "-"]);
    Child::spawn("ffmpeg", command).unwrap()
}
