//! `moorline camera …` does on a cluster what it does at `moorline serve`, also where a replica alone can: a tunnel is hung up, a stranger is added by its
//! fingerprint, an agent is spoken to, a list of cameras is added. A password that is set reaches the relay that runs.

use std::process::Output;
use std::time::Duration;

use moorline_simcam::{Login, SourceConfig, video::Shape};
use moorline_testkit::{
    child::run,
    cluster::{SOON, condition},
    eventually, temp_dir,
};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{Call, Camera, Moorline, Replica, now_us};

/// Keys that nobody has.
const FIRST: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIC";
const SECOND: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMD";
const THIRD: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";

/// A call that was not refused by then is up.
const A_MOMENT: Duration = Duration::from_secs(10);

/// Until a condition has told what its pods say, or a kubelet has exchanged a mounted Secret and the relay has connected again.
const TOLD: Duration = Duration::from_secs(180);

/// Types a command that may be refused.
async fn tried(moorline: &Moorline, words: &[&str]) -> Output {
    let mut command = Command::new(moorline_tests::moorline());
    command.args(["--output", "json"]).args(words);
    command.arg("--kubeconfig");
    command.arg(moorline.cluster().kubeconfig());
    run("moorline", command, SOON).await.unwrap()
}

/// The row of `camera pending` of whoever called under this name.
async fn pending(moorline: &Moorline, name: &str) -> Option<Value> {
    let all = moorline.cli(&["camera", "pending", "--cluster"]).await;
    let mut rows = all.as_array().unwrap().iter();
    let called = |row: &&Value| row["names"].as_array().unwrap().contains(&json!(name));
    rows.find(called).cloned()
}

/// Calls with its agent, and waits until the replica that holds it has heard the agent.
async fn with_agent(moorline: &Moorline, camera: &Camera, at: &Replica, name: &str) -> Call {
    let mut call = camera.call_with_agent(moorline, at);
    call.child.wait_for_line("MOORLINE/1", SOON).await.unwrap();
    call.child.write(b"STATUS agent=0.1.0\n").await.unwrap();
    let words = ["camera", "agent", name, "watchdog", "off"];
    eventually("its agent", SOON, || async {
        let told = tried(moorline, &words).await;
        told.status.success().then_some(())
    })
    .await;
    call
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_is_hung_up_wherever_it_is_held_and_may_come_back() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("hangup").await;
    let [first, second] = moorline.pair().await;
    let (yard, gate) = (
        tenant.camera("yard", 251).await,
        tenant.camera("gate", 252).await,
    );
    let mut call = yard.call(&moorline, &second);
    let _gate = gate.call(&moorline, &second);
    for camera in [&yard, &gate] {
        tenant.until_recorded(camera).await;
    }
    tenant.until_stored(&yard).await;
    yard.filmed(40).await;
    let kept = tenant.pair(&gate).await;
    let name = format!("{}/yard", tenant.name);
    let typed = now_us();
    let hang_up = ["camera", "hang-up", &name, "--cluster"];
    assert_eq!(moorline.cli(&hang_up).await["id"], name.as_str());
    call.child.wait(SOON).await.unwrap();
    let seen = tenant.until_gone(&yard).await;
    assert_eq!(seen["status"]["away"]["cause"], "operator", "{seen:#}");
    tenant.until_without_pods(&yard).await;
    let archive = tenant.archive(&yard);
    archive.assert_covered();
    let pictures = archive.pictures(&moorline.bucket, yard.number).await;
    let last = pictures.last().unwrap().sent_us;
    assert!(
        last + 1_500_000 > typed,
        "recorded up to its end: {archive:#?}"
    );

    // The order was for that tunnel: the next one stays, at whichever replica.
    let returned = now_us();
    let _call = yard.call(&moorline, &first);
    tenant.until_held(&yard, 2, &first.name).await;
    let archive = tenant.until_goes_on(&yard, returned).await;
    assert_eq!(archive.causes(), ["operator"], "{archive:#?}");
    assert_eq!(tenant.pair(&gate).await, kept, "its neighbour is untouched");
    let none = format!("{}/nobody", tenant.name);
    let refused = tried(&moorline, &["camera", "hang-up", &none]).await;
    let errors = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{errors}");
    assert!(errors.contains("there is no camera"), "{errors}");
}

/// S9: strangers write nothing into the API server, and are told all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_added_by_the_fingerprint_that_a_replica_remembers() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("pending").await;
    let [first, second] = moorline.pair().await;
    let yard = tenant.camera("yard", 261).await;
    // Its key is nobody's then.
    let words = ["delete", "camera", "yard", "--wait=false"];
    tenant.space.kubectl(&words).await.unwrap();
    tenant.space.until_gone("camera/yard", SOON).await.unwrap();
    let name = format!("{}/yard", tenant.name);
    let refused = eventually("the refused key", SOON, || async {
        // Once, as a rule: the replica's watch is a moment behind at most.
        let mut call = yard.call(&moorline, &second);
        call.child.wait(SOON).await.unwrap();
        pending(&moorline, &name).await
    })
    .await;
    let fingerprint = refused["fingerprint"].as_str().unwrap();
    let chain = tried(&moorline, &["camera", "diagnose", &name]).await;
    assert_eq!(chain.status.code(), Some(1), "there is no such camera yet");

    let add = ["camera", "add", &name, "--path", "/main", "--pending"];
    let add = [&add[..], &[fingerprint, "--cluster"]].concat();
    let added = moorline.cli(&add).await;
    assert_eq!(added["id"], name.as_str(), "{added:#}");
    eventually("it is pending no more", SOON, || async {
        pending(&moorline, &name).await.is_none().then_some(())
    })
    .await;
    let _call = yard.call(&moorline, &first);
    tenant.until_recorded(&yard).await;
}

/// S4.
#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_calls_from_elsewhere_is_refused_and_told_with_the_cure() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("networks").await;
    let [first, _] = moorline.pair().await;
    let yard = tenant.camera("yard", 275).await;
    let name = format!("{}/yard", tenant.name);
    let set = |networks| {
        [
            "camera",
            "set",
            &name,
            "--allow-from",
            networks,
            "--cluster",
        ]
    };
    let slip = tried(&moorline, &set("192.0.2.7/24")[..5]).await;
    let errors = String::from_utf8_lossy(&slip.stderr).into_owned();
    assert!(errors.contains("write 192.0.2.0/24 for"), "{errors}");
    let shown = moorline.cli(&set("192.0.2.0/24")).await;
    assert_eq!(shown["allow_from"], json!(["192.0.2.0/24"]), "{shown}");
    let refused = eventually("the refused call", SOON, || async {
        // The replica's watch may be a moment behind: such a call is let in, and is made again.
        let mut call = yard.call(&moorline, &first);
        call.child.wait(A_MOMENT).await.ok()?;
        pending(&moorline, &name).await
    })
    .await;
    assert_eq!(refused["reason"], "other_network", "{refused}");
    let chain = tried(&moorline, &["camera", "diagnose", &name]).await;
    let told = String::from_utf8_lossy(&chain.stdout).into_owned();
    assert_eq!(chain.status.code(), Some(1), "{told}");
    let links: Vec<Value> = serde_json::from_str(&told).unwrap();
    let login = links.iter().find(|link| link["step"] == "login").unwrap();
    let text = login["text"].as_str().unwrap();
    assert!(text.contains("--allow-from"), "{text}");

    moorline.cli(&set("any")).await;
    let _call = yard.keeps_calling(&moorline, first.ssh());
    tenant.until_recorded(&yard).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_told_and_asked_by_the_replica_that_holds_its_camera() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("agent").await;
    let [_, second] = moorline.pair().await;
    let yard = tenant.camera("yard", 271).await;
    let name = format!("{}/yard", tenant.name);
    let mut call = with_agent(&moorline, &yard, &second, &name).await;
    tenant.until_recorded(&yard).await;
    let to = ["camera", "move", &name, "--to", "other.example.com"];
    // The third word of a known_hosts line.
    let key = "AAAAC3NzaC1lZDI1NTE5AAAAIHtSwcjEgyQ6LUwxeGVQbPqjkYhPKxMkqzhJvU8cDhqT";
    let to = [&to[..], &["--key", key, "--cluster"]].concat();
    moorline.cli(&to).await;
    let line = call.child.wait_for_line("CONFIG endpoint.0", SOON).await;
    let line = line.unwrap();
    assert!(line.contains("other.example.com 2222"), "{line}");

    let words = ["camera", "diagnose", &name];
    let answered = async {
        call.child.wait_for_line("DIAG", SOON).await.unwrap();
        let steps = b"DIAG link ok eth0 is up\nDIAG clock ok it is right\n";
        call.child.write(steps).await.unwrap();
    };
    let (chain, ()) = tokio::join!(tried(&moorline, &words), answered);
    let told = String::from_utf8_lossy(&chain.stdout).into_owned();
    assert_eq!(chain.status.code(), Some(0), "{told}");
    let links: Vec<Value> = serde_json::from_str(&told).unwrap();
    let steps: Vec<(&str, &str)> = links
        .iter()
        .map(|link| {
            (
                link["who"].as_str().unwrap(),
                link["step"].as_str().unwrap(),
            )
        })
        .collect();
    let seen = ["tunnel", "pods", "pictures", "archive"].map(|step| ("cluster", step));
    let found = ["link", "clock"].map(|step| ("camera", step));
    assert_eq!(steps, [&seen[..], &found].concat(), "{told}");

    moorline
        .cli(&["camera", "reboot", &name, "--cluster"])
        .await;
    call.child.wait_for_line("REBOOT", SOON).await.unwrap();
}

/// mon sees no password (S23), so no pod is begun anew for one.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_runs_takes_another_password_of_its_camera() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("password").await;
    let [first, _] = moorline.pair().await;
    let shape = Shape {
        width: 320,
        height: 176,
        fps: 20,
        gop: 10,
        bitrate: 300_000,
        ..Shape::default()
    };
    let films = SourceConfig {
        login: Some(Login {
            user: "admin".to_owned(),
            password: "right".to_owned(),
            basic: false,
        }),
        ..SourceConfig::generated(277, shape)
    };
    let spec = json!({"sources": {"main": {"path": "/main"}}});
    let yard = tenant.camera_filming("yard", spec, films).await;
    let name = format!("{}/yard", tenant.name);
    let place = temp_dir().unwrap();
    let set = async |password: &str| {
        let file = place.path().join(password);
        std::fs::write(&file, password).unwrap();
        let file = file.display().to_string();
        let words = ["camera", "set", &name, "--login", "admin", "--cluster"];
        let words = [&words[..], &["--password-file", &file]].concat();
        moorline.cli(&words).await;
    };
    set("wrong").await;
    let _call = yard.call(&moorline, &first);
    let refuses = |camera: &Value| {
        let all = camera["status"]["conditions"].as_array()?;
        let told = all.iter().find(|one| one["reason"] == "CameraRefuses")?;
        Some(told["message"].as_str().unwrap_or_default().to_owned())
    };
    let object = "camera/yard";
    let told = tenant.space.until(object, "refused", TOLD, refuses).await;
    let told = told.unwrap();
    assert!(told.contains("does not take the login"), "{told}");
    assert!(told.contains("camera set "), "{told}");
    let [relay, _] = tenant.pair(&yard).await;

    set("right").await;
    let ready = |camera: &Value| (condition(camera, "Ready") == Some("True")).then_some(());
    let recorded = tenant.space.until(object, "recorded", TOLD, ready).await;
    recorded.unwrap();
    tenant.until_stored(&yard).await;
    let [now, _] = tenant.pair(&yard).await;
    assert_eq!((now.uid, now.restarts), (relay.uid, relay.restarts));
}

/// Whichever replica a camera calls tells its agent where its stream goes, until it is taken back.
#[tokio::test(flavor = "multi_thread")]
async fn a_camera_is_sent_to_another_server_and_taken_back() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("refer").await;
    let [first, second] = moorline.pair().await;
    let yard = tenant.camera("yard", 276).await;
    let name = format!("{}/yard", tenant.name);
    let mut call = with_agent(&moorline, &yard, &first, &name).await;
    tenant.until_recorded(&yard).await;
    // The third word of a known_hosts line.
    let key = "AAAAC3NzaC1lZDI1NTE5AAAAIHtSwcjEgyQ6LUwxeGVQbPqjkYhPKxMkqzhJvU8cDhqT";
    let refer = ["camera", "refer", &name, "--cluster"];
    let to = [&refer[..], &["--to", "other.example.com", "--key", key]].concat();
    moorline.cli(&to).await;
    call.child.wait(SOON).await.unwrap();
    let seen = tenant.until_gone(&yard).await;
    assert_eq!(seen["status"]["away"]["cause"], "operator", "{seen:#}");
    tenant.until_without_pods(&yard).await;

    let mut call = yard.call_with_agent(&moorline, &second);
    let hello = call.child.wait_for_line("MOORLINE/1", SOON).await.unwrap();
    assert!(hello.contains("MOORLINE/1 endpoint "), "{hello}");
    let line = call.child.wait_for_line("REFER ", SOON).await.unwrap();
    let there = format!("REFER {name} other.example.com 2222 {key}");
    assert!(line.contains(&there), "{line}");
    // It reports there meanwhile, and hears of another server at once.
    let another = [&refer[..], &["--to", "third.example.com", "--key", key]].concat();
    moorline.cli(&another).await;
    let line = call.child.wait_for_line("third.example.com", SOON).await;
    line.unwrap();

    moorline.cli(&[&refer[..], &["--here"]].concat()).await;
    call.child.wait(SOON).await.unwrap();
    let _call = yard.call(&moorline, &first);
    tenant.until_recorded(&yard).await;
}

/// P11.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_cameras_is_added_whole_or_not_at_all() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline
        .tenant_with("import", json!({"cameras": 2, "maxRetention": "30d"}))
        .await;
    let place = temp_dir().unwrap();
    let file = place.path().join("cameras.csv");
    let list = |rows: &[(&str, &str, &str)]| {
        let mut text = "name,key,keep\n".to_owned();
        for (name, key, keep) in rows {
            text.push_str(&format!("{name},{key},{keep}\n"));
        }
        std::fs::write(&file, text).unwrap();
    };
    let path = file.display().to_string();
    let import = ["camera", "import", &path, "--tenant", &tenant.name];
    let none = || async {
        let found = tenant.space.get(&["cameras"]).await.unwrap();
        let standing = found["items"].as_array().into_iter().flatten();
        standing
            .filter(|camera| camera["metadata"]["deletionTimestamp"].is_null())
            .count()
    };

    // What the tenant's policy refuses is told with its line, before anything is made.
    list(&[("yard", FIRST, "14d"), ("gate", SECOND, "90d")]);
    let refused = tried(&moorline, &import).await;
    let errors = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(errors.contains("cameras.csv:3: "), "{errors}");
    assert!(errors.contains("nothing was added"), "{errors}");
    assert_eq!(none().await, 0);

    // What is one too many shows when it is made: the others are taken back.
    list(&[
        ("yard", FIRST, "14d"),
        ("gate", SECOND, "14d"),
        ("shop", THIRD, "14d"),
    ]);
    let refused = tried(&moorline, &import).await;
    let errors = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(errors.contains("as many cameras as it may"), "{errors}");
    assert_eq!(none().await, 0);

    list(&[("barn", FIRST, "14d"), ("shed", SECOND, "14d")]);
    let added = eventually("room again", SOON, || async {
        let added = tried(&moorline, &import).await;
        added.status.success().then_some(added.stdout)
    })
    .await;
    let added: Value = serde_json::from_slice(&added).unwrap();
    let whole = ["barn", "shed"].map(|name| format!("{}/{name}", tenant.name));
    assert_eq!(added["cameras"], json!(whole), "{added}");
}
