//! A configuration that is wrong: every mistake at once, each with file, line, field and what would be right; nothing starts.

use moorline_simcam::Key;

use crate::faults_rig::{SHORT, Server, command, said};

async fn check(text: &str) -> String {
    let place = moorline_testkit::temp_dir().unwrap();
    let file = place.path().join("moorline.toml");
    std::fs::write(&file, text).unwrap();
    let data = place.path().join("data");
    let mut told = Vec::new();
    for arguments in [["config", "check"].as_slice(), ["serve"].as_slice()] {
        let output = command(&data, Some(&file), arguments).await;
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(output.stdout.is_empty(), "a pipe would have got it");
        told.push(said(&output).replace(&*file.to_string_lossy(), "moorline.toml"));
    }
    assert_eq!(told[0], told[1], "check and serve differ");
    assert!(!data.exists(), "something was made nevertheless");
    told.remove(0)
}

#[tokio::test]
async fn an_unknown_field_is_told_with_its_line_and_the_right_name() {
    assert_eq!(
        check("[archive]\nstore = \"directory\"\nkeep_day = 3\n").await,
        "error: moorline.toml:3: unknown field \"keep_day\" in [archive]\nhint: did you mean \"keep_days\"?\n"
    );
    let far = check("[archive]\nretension = 3\n").await;
    assert!(
        far.contains("moorline.toml:2: unknown field \"retension\" in [archive]\nhint: "),
        "{far}"
    );
    assert!(far.contains("keep_days"), "no right name is told: {far}");
}

/// P11.
#[tokio::test]
async fn all_mistakes_are_told_at_once() {
    let told = check(
        "[archive]\nsegment = \"60\"\nstore = \"tape\"\n[tunel]\ngrace = \"1s\"\n[alert]\nafter = \"soon\"\n",
    )
    .await;
    for part in [
        "moorline.toml:2: archive.segment = \"60\": a duration needs a unit\nhint: write \"60s\"",
        "moorline.toml:3: archive.store = \"tape\"",
        "moorline.toml:4: unknown section [tunel]\nhint: did you mean \"tunnel\"?",
        "moorline.toml:7: alert.after = \"soon\"",
    ] {
        assert!(told.contains(part), "{part:?} is not in:\n{told}");
    }
    assert_eq!(told.matches("hint:").count(), 4, "{told}");
}

#[tokio::test]
async fn a_value_that_cannot_work_is_told_with_its_range() {
    let told = check("[archive]\nsegment = \"1h\"\n").await;
    assert!(told.contains("archive.segment"), "{told}");
    assert!(told.contains("hint: write 2s to 300s"), "{told}");
}

#[tokio::test]
async fn a_certificate_that_serve_could_not_use_is_refused_by_the_check_too() {
    let lone = check("[server]\ntls_certificate = \"cert.pem\"\n").await;
    assert!(
        lone.contains("moorline.toml:2: server.tls_certificate = \"cert.pem\"")
            && lone.contains("hint: set both"),
        "{lone}"
    );
    let nowhere =
        "[server]\ntls_certificate = \"/nowhere/cert.pem\"\ntls_key = \"/nowhere/key.pem\"\n";
    let place = moorline_testkit::temp_dir().unwrap();
    let file = place.path().join("moorline.toml");
    std::fs::write(&file, nowhere).unwrap();
    let output = command(place.path(), Some(&file), &["config", "check"]).await;
    let told = said(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.contains("cannot read the certificate /nowhere/cert.pem"),
        "{told}"
    );
}

#[tokio::test]
async fn a_port_in_use_leaves_no_directory_in_the_way_of_a_restore() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let place = moorline_testkit::temp_dir().unwrap();
    let data = place.path().join("data");
    let free = "127.0.0.1:0";
    let mut arguments = vec!["serve", "--listen-admin", &taken];
    for door in ["--listen-ssh", "--listen-rtsp", "--listen-https"] {
        arguments.extend([door, free]);
    }
    let output = command(&data, None, &arguments).await;
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains(&taken), "{}", said(&output));
    assert!(!data.exists(), "something was made nevertheless");
}

#[tokio::test]
async fn a_host_that_was_guessed_is_told_with_the_lines_to_type() {
    let server = Server::start(SHORT).await;
    let key = || Key::generate().unwrap().public_line();
    let key_line = key();
    let set = ["camera", "add", "gate", "--key", &key_line];
    let told = said(&server.command(&set).await);
    assert!(told.contains("gate@localhost"), "{told}");
    assert!(!told.contains("guessed"), "it was set: {told}");
    let data = server.data().to_owned();
    let _place = server.stop_and_keep().await;

    // Nobody has set it for a command without a server.
    let key_line = key();
    let guessed = ["camera", "add", "yard", "--key", &key_line];
    let output = command(&data, None, &guessed).await;
    let told = String::from_utf8_lossy(&output.stderr);
    for part in ["was guessed: server.public_host is not set", "hint: "] {
        assert!(told.contains(part), "{told}");
    }
    let key_line = key();
    let guessed = [
        "--output", "json", "camera", "add", "shed", "--key", &key_line,
    ];
    let output = command(&data, None, &guessed).await;
    let added: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(added["host_guessed"], true, "{added}");
    let lan = ["camera", "add", "hall", "--rtsp", "rtsp://127.0.0.1:9/"];
    let told = said(&command(&data, None, &lan).await);
    assert!(
        !told.contains("guessed"),
        "there is nothing to type: {told}"
    );
}
