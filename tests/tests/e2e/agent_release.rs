//! New agents for cameras: signed, brought to the server, rolled out, taken back.

use std::path::Path;

use moorline_testkit::eventually;
use moorline_tests::agent;
use serde_json::Value;

use crate::enrol::Camera;
use crate::support::{Moorline, SOON, listening, quick};

/// What a program says of itself in its file.
pub(crate) const MARK: &str = "moorline-agent-stamp ";

/// The agent as if it were another version, without symbols: with them it is larger than an agent may be.
fn newer(directory: &Path, version: &str) -> (String, String) {
    let file = directory.join(format!("agent-{version}"));
    let mut strip = std::process::Command::new("strip");
    assert!(
        strip
            .arg("-o")
            .arg(&file)
            .arg(agent())
            .status()
            .unwrap()
            .success()
    );
    let program = std::fs::read(&file).unwrap();
    let (program, target) = stamped(program, version);
    std::fs::write(&file, program).unwrap();
    (file.display().to_string(), target)
}

/// A program of ours as if it were another version; and what it was built for.
pub(crate) fn stamped(mut program: Vec<u8>, version: &str) -> (Vec<u8>, String) {
    let old = format!("{MARK}{} ", env!("CARGO_PKG_VERSION"));
    let at = program
        .windows(old.len())
        .position(|window| window == old.as_bytes())
        .unwrap();
    let line = program[at..].split(|byte| *byte == b'\n').next().unwrap();
    let target = String::from_utf8_lossy(line)
        .split(' ')
        .nth(2)
        .unwrap()
        .to_owned();
    let new = format!("{MARK}{version} ");
    assert_eq!(old.len(), new.len());
    program[at..at + new.len()].copy_from_slice(new.as_bytes());
    (program, target)
}

pub(crate) fn said<'a>(view: &'a Value, key: &str) -> Option<&'a str> {
    let mut said = view["status"]["said"].as_array()?.iter();
    said.find(|pair| pair[0] == key)?[1].as_str()
}

/// Signs a program and brings it to the server.
pub(crate) async fn release(moorline: &Moorline, program: &str, key: &str, version: &str) {
    let out = format!("{program}.release");
    let made = moorline
        .cli(&[
            "agent-release",
            "sign",
            program,
            "--key",
            key,
            "--out",
            &out,
        ])
        .await;
    assert_eq!(made["version"], version);
    let added = moorline.cli(&["agent-release", "add", &out]).await;
    assert_eq!(
        (&added["version"], &added["roll_out"]),
        (&version.into(), &"off".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_goes_onto_a_camera_and_a_bad_one_is_taken_back_and_stops() {
    let moorline = Moorline::with_short_segments().await;
    let (_source, streamer) = listening(quick(7));
    let camera = Camera::new(streamer);
    let at = |name: &str| camera.path(name).display().to_string();

    let key = at("release.key");
    let made = moorline
        .cli(&["agent-release", "keygen", "--file", &key])
        .await;
    let public = made["public"].as_str().unwrap();
    std::fs::write(camera.path("etc/release-keys"), format!("{public}\n")).unwrap();
    assert!(!made.to_string().contains("PRIVATE"), "{made}");
    moorline
        .cli(&["camera", "enroll", "roof", "--file", &at("card/enroll")])
        .await;
    let _agent = camera.start("daemon");
    moorline.until_recording("roof").await;

    let (program, target) = newer(camera.path("").as_path(), "0.1.9");
    release(&moorline, &program, &key, "0.1.9").await;
    let rolling = ["agent-release", "roll-out", "0.1.9", "--to", "one"];
    moorline.cli(&rolling).await;
    moorline
        .until("roof", "agent 0.1.9", |view| {
            said(view, "agent") == Some("0.1.9")
        })
        .await;
    moorline.until_recording("roof").await;
    let list = moorline.cli(&["agent-release", "list"]).await;
    assert_eq!(list[0]["updated"][0], "home/roof", "{list}");
    assert_eq!(
        std::fs::read(camera.path("etc/moorline-agent")).unwrap(),
        std::fs::read(&program).unwrap()
    );

    // One that crashes: the old one goes on, and nobody else gets it.
    let bad = at("bad");
    std::fs::write(&bad, format!("#!/bin/sh\n# {MARK}0.2.0 {target}\nexit 1\n")).unwrap();
    release(&moorline, &bad, &key, "0.2.0").await;
    moorline
        .cli(&["agent-release", "roll-out", "0.2.0", "--to", "all"])
        .await;
    let view = moorline
        .until("roof", "the roll-back", |view| {
            said(view, "rolled-back") == Some("0.2.0")
        })
        .await;
    assert_eq!(said(&view, "agent"), Some("0.1.9"));
    moorline.until_recording("roof").await;
    eventually("the roll-out stops", SOON, async || {
        let list = moorline.cli(&["agent-release", "list"]).await;
        let stopped = list[1]["stopped"].as_str()?.contains("home/roof");
        (stopped && list[1]["failed"][0] == "home/roof").then_some(())
    })
    .await;
    assert!(camera.path("etc/agent.bad").exists());

    // Signed by another key: refused before a byte is sent.
    let other = at("other.key");
    moorline
        .cli(&["agent-release", "keygen", "--file", &other])
        .await;
    let (program, _) = newer(camera.path("").as_path(), "0.9.9");
    release(&moorline, &program, &other, "0.9.9").await;
    moorline
        .cli(&["agent-release", "roll-out", "0.9.9", "--to", "one"])
        .await;
    moorline
        .until("roof", "the refusal", |view| {
            said(view, "bad") == Some("UPGRADE.signature")
        })
        .await;
    assert!(!camera.path("etc/agent.part").exists());
}
