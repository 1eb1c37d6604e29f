//! A front door over real relays, on loopback: two tenants, two people, a signer, TLS everywhere. Only the cluster itself is made up.

mod fakes;
mod viewer;
mod world;

use std::time::Duration;

use axum::http::StatusCode;
use futures::StreamExt as _;
use moorline_testkit::Starved;
use moorline_testkit::{child, eventually, patience, peer};
use moorline_web::route::{Who, routes};
use tokio::net::UnixStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use viewer::{Viewer, refused_with};
use world::World;

/// Nothing here takes longer unless it hangs.
const SOON: Duration = Duration::from_secs(30);

const ACME: u32 = 1;
const SHOP: u32 = 2;

#[tokio::test]
async fn each_tenants_people_see_their_own_cameras_alone() {
    let mut world = World::new().await;
    // The same name in both tenants.
    world.relay("acme/yard", ACME).await;
    world.relay("shop/yard", SHOP).await;
    world.relay("shop/safe", SHOP).await;
    let mut anna = world.watch("yard", "anna").await;
    let mut bert = world.watch("yard", "bert").await;
    for _ in 0..20 {
        assert_eq!(anna.picture().await, ACME, "no picture crosses over");
        assert_eq!(bert.picture().await, SHOP, "no picture crosses over");
    }
    let mut safe = world.watch("safe", "bert").await;
    assert_eq!(safe.picture().await, SHOP);
    for path in [
        "safe",
        "shop/yard",
        "shop%2Fyard",
        "../shop/yard",
        "nothing",
    ] {
        assert_eq!(refused_with(&world, path, "anna").await, 404, "{path}");
    }
    let stream = world.stream_password("anna");
    for (login, password) in [("anna", "wrong"), ("bert", stream.as_str()), ("", "")] {
        let mut stranger = Viewer::open(world.rtsp, "yard", login, password).await;
        assert_eq!(stranger.refusal().await, 401, "{login}");
    }
}

#[tokio::test]
async fn a_relay_that_is_replaced_keeps_its_viewers() {
    let mut world = World::new().await;
    let first = world.relay("acme/yard", ACME).await;
    let mut anna = world.watch("yard", "anna").await;
    for _ in 0..10 {
        anna.picture().await;
    }
    let packets = anna.numbering();
    world.end(first).await;
    world.relay("acme/yard", ACME).await;
    for _ in 0..20 {
        assert_eq!(anna.picture().await, ACME);
    }
    assert_eq!(
        anna.numbering().ssrc,
        packets.ssrc,
        "the same stream on the same connection"
    );
    assert_eq!(anna.numbering().lost, 0, "sequence numbers go on by one");
    assert_eq!(world.door_connections(), 1, "nobody had to connect again");
}

/// What is made of another image serves beside its successor until the Camera names that one.
#[tokio::test]
async fn viewers_go_over_to_a_successor_while_the_old_relay_still_serves() {
    let mut world = World::new().await;
    let first = world.relay("acme/yard", ACME).await;
    let mut anna = world.watch("yard", "anna").await;
    anna.picture().await;
    let before = anna.numbering();
    let second = world.relay("acme/yard", ACME).await;
    eventually("the successor alone is read", SOON, async || {
        let over = world.camera_plays(&second) > 0 && world.relay_readers(&first) == 0;
        over.then_some(())
    })
    .await;
    world.end(first).await;
    for _ in 0..20 {
        assert_eq!(anna.picture().await, ACME);
    }
    assert_eq!(anna.numbering().ssrc, before.ssrc, "the same stream");
    assert_eq!(anna.numbering().lost, 0, "sequence numbers go on by one");
    assert_eq!(world.door_connections(), 1, "nobody had to connect again");
}

#[tokio::test]
async fn a_browsers_live_pictures_go_on_when_the_relay_is_replaced() {
    let mut world = World::new().await;
    let first = world.relay("acme/yard", ACME).await;
    let live = "/tenants/acme/cameras/yard/live";
    let mut socket = world.socket(live).await;
    pieces(&mut socket, 3).await;
    world.end(first).await;
    world.relay("acme/yard", ACME).await;
    pieces(&mut socket, 3).await;
}

/// Waits for so many pieces of pictures.
async fn pieces(socket: &mut WebSocketStream<UnixStream>, count: usize) {
    let mut seen = 0;
    while seen < count {
        let next = tokio::time::timeout(patience(SOON), socket.next()).await;
        match next.expect("pictures come") {
            Some(Ok(Message::Binary(_))) => seen += 1,
            Some(Ok(Message::Close(why))) => panic!("the server closed: {why:?}"),
            Some(Ok(_)) => {}
            other => panic!("the socket ended: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_still_picture_of_a_camera_that_nobody_watches_is_fetched() {
    let mut world = World::new().await;
    let relay = world.relay("acme/yard", ACME).await;
    // Its relay has one once somebody has watched there.
    let mut anna = world.watch("yard", "anna").await;
    anna.picture().await;
    drop(anna);
    let session = world.sign_in("anna").await;
    let poster = "/tenants/acme/cameras/yard/poster";
    eventually("a still picture", SOON, async || {
        let answer = world.ask("GET", poster, Some(&session), "").await;
        (answer.0 == StatusCode::OK).then_some(())
    })
    .await;
    assert_eq!(world.camera_plays(&relay), 1);
}

#[tokio::test]
async fn a_camera_that_is_hung_up_or_disabled_ends_its_viewers() {
    let mut world = World::new().await;
    let relay = world.relay("acme/yard", ACME).await;
    let mut anna = world.watch("yard", "anna").await;
    anna.picture().await;
    world.end(relay).await;
    world.let_go("acme/yard");
    anna.ends().await;
    // It comes back, and its viewers with it.
    world.relay("acme/yard", ACME).await;
    let mut anna = world.watch("yard", "anna").await;
    anna.picture().await;
    world.disable("acme/yard");
    anna.ends().await;
}

#[tokio::test]
async fn a_removed_user_is_shown_nothing_more() {
    let mut world = World::new().await;
    world.relay("acme/yard", ACME).await;
    let mut anna = world.watch("yard", "anna").await;
    anna.picture().await;
    world.remove_user("anna").await;
    let (begin, starved) = (std::time::Instant::now(), Starved::begin());
    anna.ends().await;
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(5) + starved.so_far(), "{took:?}");
    assert_eq!(refused_with(&world, "yard", "anna").await, 401);
}

#[tokio::test]
async fn a_tenant_that_is_made_anew_does_not_let_in_its_predecessors_people() {
    let mut world = World::new().await;
    world.relay("acme/yard", ACME).await;
    let session = world.sign_in("anna").await;
    let mut anna = world.watch("yard", "anna").await;
    anna.picture().await;
    world.make_anew("acme");
    anna.ends().await;
    assert_eq!(refused_with(&world, "yard", "anna").await, 401);
    let cameras = world.ask("GET", "/cameras", Some(&session), "").await;
    assert_eq!(cameras.0, StatusCode::UNAUTHORIZED);
    let removed = world
        .ask_locally("DELETE", "/tenants/acme/users/anna", "")
        .await;
    assert_eq!(
        removed.0,
        StatusCode::NO_CONTENT,
        "the operator finds them: {}",
        removed.1
    );
}

/// Every route of the table, asked by a user of another tenant, against real adapters.
#[tokio::test]
async fn every_route_of_a_foreign_tenant_is_unknown() {
    let mut world = World::new().await;
    world.relay("acme/yard", ACME).await;
    world.relay("shop/yard", SHOP).await;
    let key = world.record("shop/yard");
    let mine = world.record("acme/yard");
    let anna = world.sign_in("anna").await;
    let encoded = |key: &str| key.replace('/', "%2F");
    for route in routes() {
        if route.who == Who::Anybody {
            continue;
        }
        let foreign = route.path.contains("{tenant}") || route.path.contains("{key}");
        let path = route
            .path
            .replace("{tenant}", "shop")
            .replace("{camera}", "yard")
            .replace("{login}", "bert")
            .replace("{fingerprint}", "SHA256%3Aabc")
            .replace("{key}", &encoded(&key));
        let path = format!("{path}?from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z");
        let answer = world.ask(route.method, &path, Some(&anna), "{}").await;
        let (status, body) = (answer.0, answer.1);
        if foreign || route.who == Who::Local {
            assert_eq!(
                status,
                StatusCode::NOT_FOUND,
                "{} {path}: {body}",
                route.method
            );
        }
        for theirs in ["Camera shop/yard", "bert", "storage-shop"] {
            assert!(!body.contains(theirs), "{} {path}: {body}", route.method);
        }
        let stranger = world.ask(route.method, &path, None, "{}").await;
        assert_eq!(
            stranger.0,
            StatusCode::UNAUTHORIZED,
            "{} {path}",
            route.method
        );
    }
    let all = world.ask("GET", "/cameras", Some(&anna), "").await;
    assert!(all.1.contains("acme/yard"), "{}", all.1);
    let own = format!("/segments/{}", encoded(&mine));
    let own = world.ask("GET", &own, Some(&anna), "").await;
    assert_eq!(
        (own.0, own.1.as_str()),
        (StatusCode::OK, "recorded by acme/yard")
    );
    // Under its storage id nobody finds it, not even its owner.
    let stored = encoded(&mine.replace("/acme/", "/storage-acme/"));
    let stored = world
        .ask("GET", &format!("/segments/{stored}"), Some(&anna), "")
        .await;
    assert_eq!(stored.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn people_are_administered_over_the_local_socket() {
    let mut world = World::new().await;
    world.relay("acme/yard", ACME).await;
    let add = r#"{"login": "carla", "role": "viewer", "password": "a long password"}"#;
    let made = world.ask_locally("POST", "/tenants/shop/users", add).await;
    assert_eq!(made.0, StatusCode::CREATED, "{}", made.1);
    let listed = world.ask_locally("GET", "/tenants/shop/users", "").await;
    assert!(
        listed.1.contains("carla") && listed.1.contains("bert"),
        "{}",
        listed.1
    );
    assert!(!listed.1.contains("anna"), "{}", listed.1);
    let foreign = world
        .ask_locally("DELETE", "/tenants/acme/users/carla", "")
        .await;
    assert_eq!(foreign.0, StatusCode::NOT_FOUND);
    let removed = world
        .ask_locally("DELETE", "/tenants/shop/users/carla", "")
        .await;
    assert_eq!(removed.0, StatusCode::NO_CONTENT, "{}", removed.1);
    let doctor = world.ask_locally("GET", "/doctor", "").await;
    assert_eq!(doctor.0, StatusCode::OK, "{}", doctor.1);
    let backup = world.ask_locally("GET", "/backup", "").await;
    assert_eq!(backup.0, StatusCode::NOT_IMPLEMENTED, "{}", backup.1);
}

/// Whatever needs the tunnel, or is kept by `moorline serve` alone, says so and what is done instead: it neither fails as if something were broken
/// nor pretends to have done it.
#[tokio::test]
async fn what_a_cluster_does_not_do_is_refused_with_what_is_done_instead() {
    let mut world = World::new().await;
    world.relay("acme/yard", ACME).await;
    let yard = |what: &str| format!("/tenants/acme/cameras/yard/{what}");
    let own = |what: &str| format!("/tenants/acme/{what}");
    let releases = "/agent-releases";
    for (method, path, body) in [
        ("POST", yard("agent"), r#"{"line": "REBOOT"}"#),
        ("POST", yard("rekey"), "{}"),
        ("POST", yard("diagnose"), "{}"),
        ("POST", yard("claim"), r#"{"title": "Yard"}"#),
        ("GET", own("stock"), ""),
        ("GET", own("enrolments"), ""),
        ("POST", own("enrolments"), r#"{"camera": "roof"}"#),
        ("DELETE", own("enrolments/1"), ""),
        ("GET", releases.to_owned(), ""),
        ("POST", releases.to_owned(), r#"{"release": "AAAA"}"#),
        (
            "PUT",
            format!("{releases}/mipsel/0.2.0/roll-out"),
            r#"{"to": "one"}"#,
        ),
    ] {
        let (status, told) = world.ask_locally(method, &path, body).await;
        assert_eq!(
            status,
            StatusCode::NOT_IMPLEMENTED,
            "{method} {path}: {told}"
        );
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        assert!(told["hint"].is_string(), "{method} {path}: {told}");
        let title = told["title"].as_str().unwrap();
        assert!(title.contains("cluster"), "{method} {path}: {told}");
    }
}

#[tokio::test]
async fn ffmpeg_plays_through_the_front_door() {
    let mut world = World::new().await;
    world.relay("acme/yard", ACME).await;
    let mut ffmpeg = peer::FFMPEG.command().unwrap();
    ffmpeg.args(["-hide_banner", "-err_detect", "explode", "-i"]);
    ffmpeg.arg(world.url("yard", "anna"));
    ffmpeg.args(["-frames:v", "45", "-f", "framemd5", "-"]);
    let output = child::run("ffmpeg", ffmpeg, Duration::from_secs(60))
        .await
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    let pictures = shown.lines().filter(|line| !line.starts_with('#')).count();
    assert!(pictures >= 45, "{pictures} pictures\n{errors}");
    assert!(!errors.contains("error while decoding"), "{errors}");
}

#[tokio::test]
async fn nothing_is_read_of_a_camera_that_nobody_watches() {
    let mut world = World::new().await;
    let relay = world.relay("acme/yard", ACME).await;
    let mut anna = world.watch("yard", "anna").await;
    let mut also = world.watch("yard", "anna").await;
    anna.picture().await;
    also.picture().await;
    assert_eq!(
        world.camera_plays(&relay),
        1,
        "read once, however many watch"
    );
    eventually("the front door is the one reader", SOON, async || {
        (world.relay_readers(&relay) == 1).then_some(())
    })
    .await;
    drop((anna, also));
    eventually("the relay lost its last reader", SOON * 2, async || {
        (world.relay_readers(&relay) == 0).then_some(())
    })
    .await;
}

/// S25: after a theft nobody is told the stolen key any more, without a restart.
#[tokio::test]
async fn the_page_tells_the_host_keys_that_are_mounted_now() {
    let world = World::new().await;
    let anna = world.sign_in("anna").await;
    let mounted = world.path("known-hosts");
    std::fs::create_dir_all(&mounted).unwrap();
    let key = |letter: &str| {
        let blob = format!("AAAAC3NzaC1lZDI1NTE5AAAAI{}", letter.repeat(43));
        (format!("ssh-ed25519 {blob}\n"), blob)
    };
    let ((old, old_blob), (new, new_blob)) = (key("A"), key("E"));
    let told = async || {
        let (status, told) = world.ask("GET", "/server", Some(&anna), "").await;
        assert_eq!(status, StatusCode::OK, "{told}");
        told
    };
    std::fs::write(mounted.join("keys"), &old).unwrap();
    std::fs::write(mounted.join("next"), &new).unwrap();
    let before = told().await;
    let line = format!("localhost ssh-ed25519 {old_blob}");
    assert!(
        before.contains(&line) && before.contains(&format!("[\"{new_blob}\"]")),
        "{before}"
    );
    std::fs::write(mounted.join("keys"), &new).unwrap();
    std::fs::write(mounted.join("next"), "").unwrap();
    let after = told().await;
    assert!(
        after.contains(&new_blob) && !after.contains(&old_blob) && !after.contains("next"),
        "{after}"
    );
}

/// What an installation's cameras cost a front door where nobody watches. Prints memory and processor time.
#[tokio::test]
#[ignore = "long: measures for 20 s"]
async fn cameras_that_nobody_watches_cost_little() {
    const CAMERAS: usize = 5_000;
    let world = World::new().await;
    let resident = || {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: u64 = text.split(' ').nth(1).unwrap().parse().unwrap();
        pages * 4096
    };
    let used = || {
        let text = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<&str> = text.rsplit_once(") ").unwrap().1.split(' ').collect();
        let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
        Duration::from_millis((ticks(11) + ticks(12)) * 10)
    };
    let before = resident();
    let begin = std::time::Instant::now();
    world.know(CAMERAS);
    eventually("all are read", SOON, async || {
        (world.readings() == CAMERAS as u64).then_some(())
    })
    .await;
    let took = begin.elapsed();
    let per_camera = resident().saturating_sub(before) / CAMERAS as u64;
    let busy = used();
    tokio::time::sleep(Duration::from_secs(20)).await;
    let busy = used().saturating_sub(busy).as_secs_f64() / 20.0;
    println!("{CAMERAS} cameras known after {took:?}, {per_camera} B each, {busy:.3} of a core");
    assert!(per_camera < 64 * 1024, "{per_camera} B a camera");
    assert!(busy < 0.5, "{busy} of a core");
}
