//! People watch: a player through a node's port, a page behind the Service, each with what is their tenant's.

use moorline_testkit::{child::run, cluster::SOON, eventually, peer, temp_dir};
use serde_json::Value;

use crate::support::{Camera, Moorline, Person, Tenant, assert_in_order, exported, ffmpeg, now_us};

/// What a player finds behind a URL: one line a stream.
async fn streams(url: &str) -> Vec<String> {
    let mut command = peer::FFPROBE.command().unwrap();
    command.args(["-v", "error", "-rtsp_transport", "tcp", "-of", "csv=p=0"]);
    command.args(["-show_entries", "stream=codec_name,width,height", url]);
    let output = run("ffprobe", command, SOON).await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    text.lines().map(str::to_owned).collect()
}

/// The front door's viewers are its own: what it reads is replaced behind them.
#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_at_a_nodes_port_keeps_watching_while_the_relay_is_replaced() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("watch").await;
    let [first, _] = moorline.pair().await;
    let yard = tenant.camera("yard", 201).await;
    let _call = yard.call(&moorline, &first);
    let door = moorline.front_door().await;
    let anna = door.user(&tenant, "anna").await;
    tenant.until_recorded(&yard).await;

    let tcp = &["-rtsp_transport", "tcp"][..];
    let player = ffmpeg(tcp, &anna.url("rtsp", door.node_rtsp, "yard"));
    let seen = player.pictures(40).await;
    assert_in_order(&seen, yard.number);
    // Another replica may serve this one; the camera is read once all the same, and over TLS too.
    for (scheme, at) in [("rtsp", door.rtsp), ("rtsps", door.node_rtsp)] {
        let found = streams(&anna.url(scheme, at, "yard")).await;
        assert_eq!(found, ["h264,320,176"], "{scheme}");
    }
    assert_eq!(yard.source.counters().plays, 1);

    let [relay, _] = tenant.pair(&yard).await;
    let words = ["delete", "pod", &relay.name, "--wait=false"];
    tenant.space.kubectl(&words).await.unwrap();
    let another = eventually("another relay reads the camera", SOON, || async {
        let pods = tenant.pods(&yard).await;
        let new = pods
            .iter()
            .any(|pod| pod.role == "relay" && pod.uid != relay.uid && !pod.deleting);
        (new && yard.source.counters().plays > 1).then(now_us)
    })
    .await;
    // The same process on the same connection: ffmpeg does not connect again by itself.
    let seen = player
        .wait_for("pictures of the other relay", |seen| {
            let new = seen.iter().filter(|stamp| stamp.sent_us > another);
            new.count() >= 40
        })
        .await;
    let after: Vec<_> = seen
        .into_iter()
        .filter(|stamp| stamp.sent_us > another)
        .collect();
    assert_in_order(&after, yard.number);
}

/// What was answered, which has to be `200`.
async fn get(person: &Person, path: &str) -> Value {
    let answer = person.ask("GET", path, None).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

/// Names of the cameras that somebody sees.
async fn names(person: &Person) -> Vec<String> {
    let cameras = get(person, "/cameras").await;
    let ids = cameras
        .as_array()
        .unwrap()
        .iter()
        .map(|camera| &camera["id"]);
    ids.map(|id| id.as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_browses_and_exports_what_was_recorded_of_the_own_tenant_alone() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let (tenant, other) = (
        moorline.tenant("browse").await,
        moorline.tenant("neighbour").await,
    );
    let [first, second] = moorline.pair().await;
    let (yard, gate) = (
        tenant.camera("yard", 211).await,
        other.camera("gate", 212).await,
    );
    let called = now_us();
    let (_yard, _gate) = (yard.call(&moorline, &first), gate.call(&moorline, &second));
    let door = moorline.front_door().await;
    let login = door.user(&tenant, "anna").await;
    let anna = Person::sign_in(door.https, &login.name, &login.password).await;
    assert_eq!(names(&anna).await, [format!("{}/yard", tenant.name)]);

    let archive = tenant
        .until_archived(&yard, "three segments", |archive| {
            archive.segments.len() >= 3 && archive.uncovered().is_none()
        })
        .await;
    let of = |tenant: &Tenant<'_>, camera: &Camera| {
        format!("/tenants/{}/cameras/{}", tenant.name, camera.name)
    };
    let (from, to) = (archive.segments[0].start, archive.segments[2].range().to);
    let range = format!("?from={from}&to={to}");
    let path = format!("{}/segments{range}", of(&tenant, &yard));
    let rows = get(&anna, &path).await;
    let rows = rows.as_array().unwrap();
    let stored = rows.iter().filter(|row| row["held"] == "store").count();
    assert!(stored >= 3, "{rows:#?}");
    let unexplained = rows.iter().any(|row| row["kind"] == "unexplained");
    assert!(!unexplained, "{rows:#?}");

    let place = temp_dir().unwrap();
    let file = place.path().join("export.mp4");
    let path = format!("{}/export{range}", of(&tenant, &yard));
    let answer = anna.ask("GET", &path, None).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    std::fs::write(&file, &answer.body).unwrap();
    let pictures = exported(&file).await;
    assert_in_order(&pictures, yard.number);
    // Of three segments, at 20 a second; the first may be short.
    let three = archive.segments[..3].iter();
    let filmed: u128 = three
        .map(|key| key.range().duration().as_millis() / 50)
        .sum();
    let exported = pictures.len() as u128;
    assert!(exported + 3 > filmed, "{exported} pictures of {filmed}");
    assert!(pictures[0].sent_us > called);

    other.until_stored(&gate).await;
    for what in ["", "/segments", "/export", "/poster"] {
        let path = format!("{}{what}{range}", of(&other, &gate));
        let answer = anna.ask("GET", &path, None).await;
        assert!(
            [403, 404].contains(&answer.status),
            "{path}: {}",
            answer.status
        );
    }
    let stranger = Person::new(door.https);
    let path = format!("{}/export{range}", of(&tenant, &yard));
    assert_eq!(stranger.ask("GET", &path, None).await.status, 401);
}
