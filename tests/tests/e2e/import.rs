//! `camera import`: a list of cameras is added whole or not at all (P11), and every wrong row is told.

use moorline_simcam::Key;
use moorline_testkit::eventually;
use serde_json::json;

use crate::faults_device::small;
use crate::faults_rig::{SHORT, SOON, Server, said};

fn written(server: &Server, text: &str) -> String {
    let file = server.data().with_extension("csv");
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_list_becomes_cameras_that_connect_and_a_dry_run_adds_none() {
    let server = Server::start(SHORT).await;
    let (yard, gate) = (Key::generate().unwrap(), Key::generate().unwrap());
    // The gate has knocked already, and is known by its fingerprint.
    let device = server.call("gate", &gate, small(3), &[]);
    let fingerprint = server.until_pending().await;
    let file = written(
        &server,
        &format!(
            "name;title;site;key;rtsp;path;record;keep\n\
             yard;Yard, behind;Farm;{};;/main;auto;7d\n\
             gate;;Farm;{fingerprint};;/main;;\n\
             hall;The hall;;;rtsp://127.0.0.1:9/ch0;;off;\n",
            yard.public_line()
        ),
    );
    let dry = server.cli(&["camera", "import", &file, "--dry-run"]).await;
    let names = json!(["home/yard", "home/gate", "home/hall"]);
    assert_eq!(dry, json!({"cameras": names, "dry_run": true}));
    assert_eq!(server.cli(&["camera", "list"]).await, json!([]));

    let added = server.cli(&["camera", "import", &file]).await;
    assert_eq!(added, json!({"cameras": names, "dry_run": false}));
    let _yard = server.call("yard", &yard, small(2), &[]);
    server.moves_on("yard").await;
    device.up().await;
    let shown = server.camera("yard").await;
    assert_eq!(
        (&shown["title"], &shown["site"], &shown["retention"]),
        (&json!("Yard, behind"), &json!("Farm"), &json!("r007"))
    );
    assert_eq!(server.camera("hall").await["access"]["port"], 9);
    // A call that was refused while it was added may have come later.
    eventually("somebody still waits", SOON, || async {
        (server.cli(&["camera", "pending"]).await == json!([])).then_some(())
    })
    .await;
    server.stop().await;
}

/// With keys in the place of what it leaves out.
#[tokio::test]
async fn the_list_that_the_guide_shows_is_taken() {
    let guide = moorline_tests::repository().join("docs/guide/connect-a-camera.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let (_, list) = guide.split_once("```csv\n").unwrap();
    let (list, _) = list.split_once("```").unwrap();
    let key = || Key::generate().unwrap().public_line();
    let list = list
        .replace("SHA256:…", &key())
        .replace("ssh-ed25519 AAAA…", &key());
    let server = Server::start(SHORT).await;
    let file = written(&server, &list);
    let told = server.cli(&["camera", "import", &file, "--dry-run"]).await;
    assert_eq!(told["cameras"].as_array().unwrap().len(), 3, "{told}");
    server.stop().await;
}

#[tokio::test]
async fn p11_one_wrong_row_and_nothing_is_added_by_the_server_or_without_one() {
    let server = Server::start(SHORT).await;
    server.add("yard", &[]).await;
    let file = written(
        &server,
        "name,rtsp,timezone\n\
         hall,rtsp://127.0.0.1:9/,\n\
         yard,rtsp://127.0.0.1:9/,\n\
         Shed,rtsp://127.0.0.1:9/,\n\
         door,rtsp://127.0.0.1:9/,Mars/One\n",
    );
    let refused = async |told: String| {
        // What the server finds and what is seen without it, line by line.
        let mut before = 0;
        for part in [
            "nothing was added: 3 of 4 rows are wrong",
            &format!("{file}:3: name = \"yard\": camera home/yard exists already"),
            &format!("{file}:4: name = \"Shed\": "),
            &format!("{file}:5: timezone = \"Mars/One\": use a name of the IANA"),
            "hint: correct the file",
        ] {
            let at = told.find(part);
            assert!(at.is_some_and(|at| at >= before), "{part}\n{told}");
            before = at.unwrap_or_default();
        }
    };
    let import = ["camera", "import", &file];
    refused(server.refused(&import).await).await;
    assert_eq!(
        server
            .cli(&["camera", "list"])
            .await
            .as_array()
            .unwrap()
            .len(),
        1
    );

    // The same without a server, and the right list then.
    let data = server.data().to_owned();
    let place = server.stop_and_keep().await;
    let output = crate::faults_rig::command(&data, None, &import).await;
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    refused(said(&output)).await;
    std::fs::write(&file, "name,rtsp\nhall,rtsp://127.0.0.1:9/\n").unwrap();
    let output = crate::faults_rig::command(&data, None, &import).await;
    assert!(output.status.success(), "{}", said(&output));
    let list = crate::faults_rig::command(&data, None, &["camera", "list"]).await;
    assert!(said(&list).contains("hall"), "{}", said(&list));
    drop(place);
}
