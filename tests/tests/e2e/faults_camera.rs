//! Cameras that answer wrongly: `camera show` says what is wrong and how to mend it, and mending it is enough.

use std::process::Stdio;

use moorline_simcam::{Event, Fault, Login, SourceConfig, video::Stamp};
use moorline_testkit::eventually;
use serde_json::Value;

use crate::faults_device::{missing, small};
use crate::faults_rig::{SHORT, SOON, Server, fault_of, notes};

/// Waits until `camera show` names this fault and this cure, in the API and as text.
async fn told(server: &Server, camera: &str, fault: &str, cure: &str) {
    let shown = server
        .until(camera, fault, |camera| {
            (fault_of(camera)? == fault).then(|| camera.clone())
        })
        .await;
    assert!(notes(&shown).contains(cure), "{camera}: {}", notes(&shown));
    let output = server.command(&["camera", "show", camera]).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains(cure), "{text}");
}

#[tokio::test]
async fn a_camera_without_rtsp_or_with_another_protocol_is_told_and_comes_back_by_itself() {
    let server = Server::start(SHORT).await;
    let _well = server.healthy("well", 1).await;
    let closed = server.device("closed", small(2), &[Fault::Refuse]).await;
    let other = server.device("other", small(3), &[Fault::Garbage]).await;
    told(
        &server,
        "closed",
        "refused_by_camera",
        "nothing listens at the forwarded port",
    )
    .await;
    told(&server, "other", "not_rtsp", "does not speak RTSP").await;

    closed.source.faults().clear();
    other.source.faults().clear();
    server.moves_on("closed").await;
    server.moves_on("other").await;
    for camera in ["closed", "other"] {
        for gap in server.gaps(camera).await {
            assert!(
                gap == "rtsp_error" || gap == "tunnel_down",
                "{camera}: {gap}"
            );
        }
    }
    server.nothing_lost("well", 1).await;
    server.stop().await;
}

/// P10: the password of the camera is nowhere.
#[tokio::test]
async fn a_login_or_path_that_is_missing_is_told_and_setting_it_is_the_cure() {
    let server = Server::start(SHORT).await;
    let _well = server.healthy("well", 1).await;
    let mut config = small(2);
    config.login = Some(Login {
        user: "root".to_owned(),
        password: "secret of the camera".to_owned(),
        basic: false,
    });
    let _locked = server.device("locked", config, &[]).await;
    let key = server.add("lost", &[]).await;
    server
        .cli(&["camera", "set", "lost", "--path", "/nowhere"])
        .await;
    let _lost = server.call("lost", &key, small(3), &[]);
    told(&server, "locked", "unauthorized", "--login USER").await;
    told(&server, "lost", "not_found", "--path").await;

    let file = server.data().with_extension("secret");
    std::fs::write(&file, "secret of the camera\n").unwrap();
    let file = file.to_str().unwrap();
    server
        .cli(&[
            "camera",
            "set",
            "locked",
            "--login",
            "root",
            "--password-file",
            file,
        ])
        .await;
    server
        .cli(&["camera", "set", "lost", "--path", "/main"])
        .await;
    server.moves_on("locked").await;
    server.moves_on("lost").await;
    server.nothing_lost("locked", 2).await;
    server.nothing_lost("well", 1).await;
    for place in [
        server.child().tail(),
        server.camera("locked").await.to_string(),
    ] {
        assert!(!place.contains("secret of the camera"), "{place}");
    }
    server.stop().await;
}

#[tokio::test]
async fn mp3_sound_is_left_out_and_said_so_and_an_sdp_without_control_is_read() {
    let server = Server::start(SHORT).await;
    let _dafang = server
        .device("dafang", SourceConfig::clip(2), &[Fault::Mp3Audio])
        .await;
    let _bare = server.device("bare", small(3), &[Fault::NoControl]).await;
    server.moves_on("dafang").await;
    let shown = server.camera("dafang").await;
    assert!(
        notes(&shown).contains("the camera sends MP3, which is not recorded"),
        "{}",
        notes(&shown)
    );
    server.nothing_lost("dafang", 2).await;
    assert_eq!(streams(&server, "dafang").await, ["h264"]);
    // An SDP without control attributes costs nothing at all.
    server.moves_on("bare").await;
    server.nothing_lost("bare", 3).await;
    server.stop().await;
}

/// The codecs in an export, as ffprobe sees them.
async fn streams(server: &Server, camera: &str) -> Vec<String> {
    let file = server.data().with_extension(format!("{camera}.mp4"));
    let probe = tokio::process::Command::new("ffprobe")
        .args(["-v", "error", "-of", "json", "-show_streams"])
        .arg(file)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let found: Value = serde_json::from_slice(&probe.stdout).unwrap();
    let streams = found["streams"].as_array().unwrap().iter();
    streams
        .map(|stream| stream["codec_name"].as_str().unwrap().to_owned())
        .collect()
}

/// P6.
#[tokio::test]
async fn partial_writes_cost_pictures_but_neither_the_stream_nor_the_recording() {
    let server = Server::start(SHORT).await;
    let _well = server.healthy("well", 1).await;
    let cut = server.healthy("cut", 2).await;
    let again = server.healthy("again", 3).await;
    let resyncs = |camera: &Value| camera["status"]["relays"][0]["resyncs"].as_u64();
    // Now and then, as when an uplink is too slow for a moment.
    for _ in 0..3 {
        cut.source.faults().on(Fault::PartialCut);
        again.source.faults().on(Fault::PartialRepeat);
        for (name, device) in [("cut", &cut), ("again", &again)] {
            let before = resyncs(&server.camera(name).await).unwrap();
            server
                .until(name, "framing was not found again", |camera| {
                    (resyncs(camera)? > before).then_some(())
                })
                .await;
            device.source.faults().clear();
        }
        server.moves_on("cut").await;
        server.moves_on("again").await;
    }
    for (name, number) in [("cut", 2), ("again", 3)] {
        let shown = server.camera(name).await;
        let relay = &shown["status"]["relays"][0];
        assert_eq!(relay["state"]["state"], "playing", "{relay}");
        assert_eq!(shown["status"]["link"]["generation"], 1, "the tunnel stays");
        let stamps = server.exported(name).await;
        let in_order = |pair: &[Stamp]| pair[0].frame < pair[1].frame;
        assert!(stamps.windows(2).all(in_order), "pictures out of order");
        assert!(stamps.iter().all(|stamp| stamp.camera == number));
    }
    let frames: Vec<u64> = server
        .exported("cut")
        .await
        .iter()
        .map(|stamp| stamp.frame)
        .collect();
    assert!(!missing(&frames).is_empty(), "a picture was cut in two");
    assert!(
        frames.len() > missing(&frames).len(),
        "{} of {} pictures are lost",
        missing(&frames).len(),
        frames.len()
    );
    server.nothing_lost("well", 1).await;
    server.stop().await;
}

/// S31.
#[tokio::test]
async fn a_camera_that_believes_it_is_1970_is_recorded_now() {
    let server = Server::start(SHORT).await;
    let _young = server.device("young", small(2), &[Fault::Clock1970]).await;
    server.moves_on("young").await;
    server.nothing_lost("young", 2).await;
    let rows = server
        .cli(&["segments", "list", "young", "--from", "30d"])
        .await;
    let created = server.camera("young").await["created"]
        .as_str()
        .unwrap()
        .to_owned();
    let rows = rows.as_array().unwrap().iter();
    let recorded: Vec<&Value> = rows.filter(|row| row["kind"] == "recorded").collect();
    assert!(!recorded.is_empty());
    for row in recorded {
        assert!(row["from"].as_str().unwrap() >= created.as_str(), "{row}");
    }
    server.stop().await;
}

#[tokio::test]
async fn other_parameters_begin_another_recording_and_an_export_names_the_instant() {
    let server = Server::start(SHORT).await;
    let device = server.healthy("yard", 2).await;
    let before = device.source.counters().newest;
    assert_eq!(device.source.faults().fire(Event::Parameters), 1);
    // One picture may have been on its way out at that moment.
    eventually("it does not film on", SOON, || async {
        (device.source.counters().newest >= before + 2).then_some(())
    })
    .await;
    server.moves_on("yard").await;
    // The first moment at which only the other format is filmed is past when this is.
    server.moves_on("yard").await;

    let whole = server
        .refused(&["segments", "export", "yard", "--from", "1h", "-f", "-"])
        .await;
    let instant = whole
        .split_once("the picture format changes at ")
        .and_then(|(_, rest)| rest.split_once("Z:"))
        .map(|(instant, _)| format!("{instant}Z"))
        .unwrap_or_else(|| panic!("no instant is named: {whole}"));
    let mut frames = Vec::new();
    for (from, to) in [("1h", instant.as_str()), (instant.as_str(), "0s")] {
        let file = server.data().with_extension("part.mp4");
        let path = file.to_str().unwrap();
        server
            .cli(&[
                "segments", "export", "yard", "--from", from, "--to", to, "--force", "-f", path,
            ])
            .await;
        let part = crate::faults_device::stamps(&std::fs::read(&file).unwrap());
        assert!(!part.is_empty(), "nothing from {from} to {to}");
        frames.extend(part.iter().map(|stamp| stamp.frame));
    }
    assert_eq!(
        missing(&frames),
        Vec::<u64>::new(),
        "pictures around the change are lost"
    );
    server.stop().await;
}
