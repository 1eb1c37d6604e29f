//! `moorline camera enroll` on a cluster: the file for the card, and what stands of its token in the Camera.

use serde_json::{Value, json};

use crate::api::Fault;
use crate::cluster::{CAMERAS, Cluster};

const PINS: &str = "cctv.example.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHtSwcjEgyQ6LUwxeGVQbPqjkYhPKxMkqzhJvU8cDhqT";
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB";

/// The values of a key in a file that was written.
fn lines(cluster: &Cluster, file: &str, key: &str) -> Vec<String> {
    let text = std::fs::read_to_string(cluster.directory.path().join(file)).unwrap();
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    let of_key = pairs.filter(|(known, _)| *known == key);
    of_key.map(|(_, value)| value.to_owned()).collect()
}

fn yard(cluster: &Cluster) -> Value {
    cluster.api.get(CAMERAS, "t-acme", "yard").unwrap()
}

/// A device says the token to a replica.
fn spend(cluster: &Cluster) {
    let hash = yard(cluster)["spec"]["enrolment"]["tokenHash"].clone();
    let spent = json!({"status": {"enrolledKey": {
        "key": format!("{KEY} enrolled: t31 02:00:00:00:00:07"), "tokenHash": hash, "since": "2026-11-20T21:10:05Z",
    }}});
    cluster.api.patch(CAMERAS, "t-acme", "yard", &spent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_written_for_a_camera_that_waits_for_its_device() {
    let cluster = Cluster::new(PINS).await;
    cluster.run(&["tenant", "add", "acme"]).await.well();
    let enroll = ["camera", "enroll", "acme/yard"];
    let told = cluster
        .run(&[&enroll[..], &["--title", "Back yard", "--keep", "7d"]].concat())
        .await
        .well();
    assert_eq!(lines(&cluster, "enroll", "host"), ["cctv.example.com"]);
    assert_eq!(lines(&cluster, "enroll", "port"), ["2200"]);
    assert_eq!(
        lines(&cluster, "enroll", "key"),
        [PINS.rsplit(' ').next().unwrap()]
    );
    let token = lines(&cluster, "enroll", "token").remove(0);
    let camera = yard(&cluster);
    assert_eq!(camera["spec"]["title"], "Back yard");
    assert_eq!(camera["spec"]["retention"], "7d");
    assert_eq!(camera["spec"]["keys"], json!([]), "it has to call first");
    for text in [&told, &camera.to_string()] {
        assert!(!text.contains(&token), "{text}");
    }
    let link = "https://watch.example.com:443/?camera=acme/yard";
    assert!(told.contains(link), "{told}");

    let enrolments = ["camera", "enrolments", "--output", "json"];
    let of_acme = [&enrolments[..], &["--tenant", "acme"]].concat();
    let listed = cluster.run(&of_acme).await.json();
    let id = listed[0]["id"].to_string();
    assert!(
        told.contains(&format!(
            "moorline camera unenroll {id} --tenant acme --kubeconfig kubeconfig takes it back"
        )),
        "{told}"
    );
    assert_eq!(listed[0]["camera"], "acme/yard");
    assert_eq!(listed[0]["left"], 1);
    let nobodys = cluster.run(&enrolments).await.refused();
    assert!(nobodys.contains("add --tenant TENANT"), "{nobodys}");

    spend(&cluster);
    let shown = cluster
        .run(&["camera", "show", "acme/yard", "--output", "json"])
        .await
        .json();
    assert_eq!(shown["keys"].as_array().unwrap().len(), 1, "{shown}");
    let listed = cluster.run(&of_acme).await.json();
    assert_eq!(
        (&listed[0]["left"], &listed[0]["cameras"]),
        (&json!(0), &json!(["acme/yard"]))
    );

    // Two devices of one name would take it from each other, unless its owner wants it.
    let second = [&enroll[..], &["--file", "second"]].concat();
    let refused = cluster.run(&second).await.refused();
    assert!(refused.contains("acme/yard is there already"), "{refused}");
    cluster
        .run(&[&second[..], &["--again"]].concat())
        .await
        .well();
    let keys = yard(&cluster)["spec"]["keys"].clone();
    let note = "enrolled: t31 02:00:00:00:00:07";
    assert_eq!(keys, json!([format!("{KEY} {note}")]), "the first stays");

    let listed = cluster.run(&of_acme).await.json();
    let id = listed[0]["id"].to_string();
    let take_back = ["camera", "unenroll", &id, "--tenant", "acme"];
    cluster.run(&take_back).await.well();
    assert_eq!(yard(&cluster)["spec"]["enrolment"]["revoked"], true);
    let unknown = ["camera", "unenroll", "1", "--tenant", "acme"];
    let refused = cluster.run(&unknown).await.refused();
    assert!(refused.contains("enrolment token"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_cannot_be_written_is_told_also_where_its_token_is_not_taken_back() {
    let cluster = Cluster::new(PINS).await;
    cluster.run(&["tenant", "add", "acme"]).await.well();
    let message = "cameras is forbidden: User \"somebody\" cannot update resource";
    let refused = Fault::Refused(403, "Forbidden", message.to_owned());
    cluster
        .api
        .trap(http::Method::PUT, "/cameras/yard", 1, refused);
    let enroll = ["camera", "enroll", "acme/yard", "--file", "nowhere/enroll"];
    let told = cluster.run(&enroll).await.refused();
    assert!(told.contains("cannot write nowhere/enroll"), "{told}");
    assert!(told.contains("cannot update resource"), "{told}");
    let (_, typed) = told.split_once("moorline camera unenroll ").unwrap();
    let (id, _) = typed
        .split_once(" --tenant acme --kubeconfig kubeconfig does")
        .unwrap();
    let unenroll = ["camera", "unenroll", id, "--tenant", "acme"];
    cluster.run(&unenroll).await.well();
    assert_eq!(yard(&cluster)["spec"]["enrolment"]["revoked"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_makes_its_cameras_with_one_token() {
    let cluster = Cluster::new(PINS).await;
    cluster.run(&["tenant", "add", "acme"]).await.well();
    let batch = ["camera", "enroll", "acme/shop", "--batch", "2"];
    let told = cluster.run(&batch).await.well();
    assert!(told.contains("enrols 2 cameras"), "{told}");
    let made = ["shop-1", "shop-2"].map(|name| {
        let camera = cluster.api.get(CAMERAS, "t-acme", name).unwrap();
        camera["spec"]["enrolment"].clone()
    });
    assert_eq!(made[0], made[1]);
    let many = ["camera", "enroll", "acme/mall", "--batch", "1001"];
    let many = [&many[..], &["--file", "many"]].concat();
    let refused = cluster.run(&many).await.refused();
    assert!(refused.contains("from 1 to 1,000"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_file_is_written_that_pins_no_key() {
    let cluster = Cluster::new("").await;
    cluster.run(&["tenant", "add", "acme"]).await.well();
    let refused = cluster
        .run(&["camera", "enroll", "acme/yard"])
        .await
        .refused();
    assert!(refused.contains("host keys are not known"), "{refused}");
    assert!(cluster.api.get(CAMERAS, "t-acme", "yard").is_none());
    assert!(!cluster.directory.path().join("enroll").exists());
}
