//! What viewers lean on dies or stands still: a front door, the database of people. Who watches and who is signed in goes on, and recordings hear
//! nothing of it.

use std::net::SocketAddr;

use moorline_simcam::video::Stamp;
use moorline_testkit::{cluster::SOON, eventually, postgres::Postgres};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{
    Login, Moorline, Person, Replica, assert_in_order, ffmpeg, now_us, people_as, plays,
};

const TCP: &[&str] = &["-rtsp_transport", "tcp"];

/// Where players find a front door, and no other.
fn rtsp(door: &Replica) -> SocketAddr {
    SocketAddr::new(door.ip, 8554)
}

/// The same for the page.
fn https(door: &Replica) -> SocketAddr {
    SocketAddr::new(door.ip, 8443)
}

/// How many pictures were sent after `instant`.
fn after(seen: &[Stamp], instant: u64) -> usize {
    seen.iter().filter(|stamp| stamp.sent_us > instant).count()
}

/// What is answered to who signs in.
async fn sign_in(at: SocketAddr, login: &Login) -> (u16, Value) {
    let body = json!({"login": login.name, "password": login.password});
    let body = Some(body.to_string());
    let answer = Person::new(at).ask("POST", "/session", body).await;
    (answer.status, answer.json())
}

/// Whether the browser of somebody who signed in is known at a front door.
async fn is_known(browser: &Person, door: &Replica) -> bool {
    let mut there = Person::new(https(door));
    there.cookie.clone_from(&browser.cookie);
    there.ask("GET", "/cameras", None).await.status == 200
}

/// For how many seconds a front door has not heard of the database, as Prometheus reads it.
async fn behind(door: &Replica) -> u64 {
    let mut stream = TcpStream::connect((door.ip, 9464)).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nHost: door\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let mut lines = text.lines();
    let seconds = lines.find_map(|line| line.strip_prefix("moorline_people_behind_seconds "));
    let seconds = seconds.and_then(|seconds| seconds.trim().parse().ok());
    seconds.unwrap_or_else(|| panic!("no such metric: {text}"))
}

/// Waits until so many front doors are ready.
async fn until_ready(moorline: &Moorline, doors: u64) {
    let ready = |object: &Value| {
        let ready = object["status"]["readyReplicas"].as_u64();
        (ready.unwrap_or_default() == doors).then_some(())
    };
    let what = "so many front doors that are ready";
    let object = "deployment/moorline-frontdoor";
    let seen = moorline.system.until(object, what, SOON * 2, ready).await;
    seen.unwrap();
}

async fn pair(moorline: &Moorline) -> [Replica; 2] {
    let all = moorline.parts("frontdoor").await;
    <[Replica; 2]>::try_from(all).unwrap_or_else(|all| panic!("two front doors: {all:?}"))
}

/// Its viewers find the other one, be it by connecting again; the others' connections go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_front_door_that_dies_or_stands_still_costs_its_own_viewers_alone() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("doors").await;
    let [first, _] = moorline.pair().await;
    let yard = tenant.camera("yard", 301).await;
    let _call = yard.call(&moorline, &first);
    let door = moorline.front_door().await;
    let anna = door.user(&tenant, "anna").await;
    tenant.until_recorded(&yard).await;
    let [one, other] = pair(&moorline).await;
    let watch = |door: &Replica| ffmpeg(TCP, &anna.url("rtsp", rtsp(door), "yard"));
    let by_service = async || {
        let url = anna.url("rtsp", door.rtsp, "yard");
        eventually("a viewer who connects anew", SOON, || async {
            plays(&url).await.then_some(())
        })
        .await;
    };
    let (at_one, at_other) = (watch(&one), watch(&other));
    at_one.pictures(40).await;
    at_other.pictures(40).await;
    let browser = Person::sign_in(https(&one), &anna.name, &anna.password).await;

    moorline.signal(&one.node, &one.uid, "KILL").await;
    let killed = now_us();
    by_service().await;
    assert!(
        is_known(&browser, &other).await,
        "who signed in at the one is known at the other"
    );
    let seen = at_other.wait_for("pictures meanwhile", |seen| after(seen, killed) >= 60);
    assert_in_order(&seen.await, yard.number);
    let object = format!("pod/{}", one.name);
    let again = |pod: &Value| {
        let container = &pod["status"]["containerStatuses"][0];
        let restarts = container["restartCount"].as_u64().unwrap_or_default();
        (restarts > 0 && container["ready"] == true).then_some(())
    };
    let begun = moorline.system.until(&object, "begun anew", SOON, again);
    begun.await.unwrap();
    let at_one = watch(&one);
    assert_in_order(&at_one.pictures(40).await, yard.number);

    until_ready(&moorline, 2).await;
    let still = moorline.stop(&other.node, &other.uid).await;
    let stopped = now_us();
    // Its kubelet notices; until then every second viewer who connects comes to it.
    until_ready(&moorline, 1).await;
    by_service().await;
    let seen = at_one.wait_for("pictures meanwhile", |seen| after(seen, stopped) >= 60);
    assert_in_order(&seen.await, yard.number);
    still.now();
    let thawed = now_us();
    until_ready(&moorline, 2).await;
    let at_other = watch(&other);
    let seen = at_other.wait_for("pictures at the one that stood still", |seen| {
        after(seen, thawed) >= 40
    });
    seen.await;

    let archive = tenant.goes_on(&yard, now_us(), &[]).await;
    let pictures = archive.pictures(&moorline.bucket, yard.number).await;
    assert_in_order(&pictures, yard.number);
}

/// Logins, sessions and passwords are looked up from memory; a session that is new has to be written, and who cannot be signed in is told why.
#[tokio::test(flavor = "multi_thread")]
async fn people_go_on_while_their_database_is_dead_or_stands_still() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("no-people").await;
    let [first, _] = moorline.pair().await;
    let yard = tenant.camera("yard", 302).await;
    let _call = yard.call(&moorline, &first);
    let mut door = moorline.front_door().await;
    let anna = door.user(&tenant, "anna").await;
    tenant.until_recorded(&yard).await;
    let doors = pair(&moorline).await;
    let url = anna.url("rtsp", door.rtsp, "yard");
    let player = ffmpeg(TCP, &url);
    player.pictures(40).await;
    let browser = Person::sign_in(door.https, &anna.name, &anna.password).await;
    for replica in &doors {
        assert!(is_known(&browser, replica).await, "at once: {replica:?}");
    }

    for stands_still in [false, true] {
        let since = now_us();
        if stands_still {
            door.postgres.freeze();
        } else {
            door.postgres.stop().await;
        }
        for replica in &doors {
            let known = is_known(&browser, replica).await;
            assert!(known, "stands still: {stands_still}, {replica:?}");
        }
        assert!(plays(&url).await, "stands still: {stands_still}");
        let (status, problem) = sign_in(door.https, &anna).await;
        assert_eq!(status, 503, "{problem:#}");
        assert_eq!(problem["type"], "people_unavailable", "{problem:#}");
        let seen = player.wait_for("pictures meanwhile", |seen| after(seen, since) >= 60);
        assert_in_order(&seen.await, yard.number);
        for replica in &doors {
            eventually("the operator is told", SOON, || async {
                (behind(replica).await >= 3).then_some(())
            })
            .await;
        }
        if stands_still {
            door.postgres.thaw();
        } else {
            door.postgres.resume().await.unwrap();
        }
        eventually("somebody signs in again", SOON, || async {
            let (status, _) = sign_in(door.https, &anna).await;
            (status < 300).then_some(())
        })
        .await;
        for replica in &doors {
            eventually("what is told is over", SOON, || async {
                (behind(replica).await < 3).then_some(())
            })
            .await;
        }
    }
    assert_eq!(pair(&moorline).await, doors, "nobody was replaced");
    let archive = tenant.goes_on(&yard, now_us(), &[]).await;
    let pictures = archive.pictures(&moorline.bucket, yard.number).await;
    assert_in_order(&pictures, yard.number);
}

/// The old one is refused before the front doors have the new one: that is the wrong order, and costs nothing but sign-ins.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a Secret that is exchanged takes its time to get into a pod"]
async fn the_password_of_the_database_is_renewed_under_people_who_watch() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let postgres = Postgres::start_guarded().await.unwrap();
    let role = "CREATE ROLE door LOGIN PASSWORD 'first'; GRANT ALL ON SCHEMA public TO door";
    postgres.sql(role).await.unwrap();
    let _usual = moorline.tell_people(&people_as("door:first")).await;
    let tenant = moorline.tenant("new-password").await;
    let [first, _] = moorline.pair().await;
    let yard = tenant.camera("yard", 303).await;
    let _call = yard.call(&moorline, &first);
    let door = moorline.front_door_over(postgres).await;
    let anna = door.user(&tenant, "anna").await;
    tenant.until_recorded(&yard).await;
    let doors = pair(&moorline).await;
    let player = ffmpeg(TCP, &anna.url("rtsp", door.rtsp, "yard"));
    player.pictures(40).await;
    let browser = Person::sign_in(door.https, &anna.name, &anna.password).await;

    let renewed = now_us();
    let password = "ALTER ROLE door PASSWORD 'second'";
    door.postgres.sql(password).await.unwrap();
    let ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'door'";
    door.postgres.sql(ended).await.unwrap();
    let (status, problem) = sign_in(door.https, &anna).await;
    assert_eq!(status, 503, "{problem:#}");
    assert_eq!(problem["type"], "people_unavailable", "{problem:#}");
    let _new = moorline.tell_people(&people_as("door:second")).await;
    for replica in &doors {
        eventually("somebody signs in again", SOON * 4, || async {
            let (status, _) = sign_in(https(replica), &anna).await;
            (status < 300).then_some(())
        })
        .await;
        assert!(is_known(&browser, replica).await, "{replica:?}");
    }
    assert_eq!(pair(&moorline).await, doors, "nobody was replaced");
    let seen = player.wait_for("pictures all the time", |seen| after(seen, renewed) >= 60);
    assert_in_order(&seen.await, yard.number);
    let archive = tenant.goes_on(&yard, now_us(), &[]).await;
    let pictures = archive.pictures(&moorline.bucket, yard.number).await;
    assert_in_order(&pictures, yard.number);
}
