//! The camera of a wall: a 64 MB MIPS machine with the agent that is released, against the real server. Built and run by `cargo xtask test --emu`.
//!
//! Its streamer is a simulated one on the loopback of this machine, which it sees as 10.0.2.2: the way there is part of its firmware's settings.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use moorline_testkit::emu::{Camera, HOST, Wall};
use moorline_testkit::or_skip;
use serde_json::Value;

use crate::support::{Moorline, Setup};

mod deaths;
mod enrolment;
mod first_boot;
mod kernel;
mod malice;
mod memory;
mod servers;

/// What takes a boot, or the 45 s after which a silent camera or server is lost.
const LATER: Duration = Duration::from_secs(90);

/// A server that cameras in QEMU reach, with segments of two seconds.
async fn server(sections: &str) -> Moorline {
    Moorline::with(Setup {
        archive: "segment = \"2s\"\n".to_owned(),
        sections: sections.to_owned(),
        public_host: HOST,
        ..Setup::default()
    })
    .await
}

/// A new camera in front of a streamer; `None` after a skip.
fn wall(streamer: SocketAddr) -> Option<Wall> {
    wall_with(streamer, &[])
}

fn wall_with(streamer: SocketAddr, boot: &[&str]) -> Option<Wall> {
    let source = format!("local.source={HOST}:{}", streamer.port());
    let all = [&[source.as_str(), "local.main=/main"][..], boot].concat();
    or_skip(Wall::new(&all))
}

/// Makes the file for a camera's card.
async fn card(server: &Moorline, name: &str) -> PathBuf {
    let file = server.place().join(format!("card-{name}"));
    let path = file.to_str().unwrap();
    server
        .cli(&["camera", "enroll", name, "--file", path])
        .await;
    file
}

/// A camera that was hung up with nothing but its card, and is recorded.
async fn recorded(server: &Moorline, wall: &Wall, name: &str) -> Camera {
    wall.put(&card(server, name).await, "enroll").await.unwrap();
    let camera = wall.power_on().await.unwrap();
    until_recording(server, &camera, name).await;
    camera
}

/// What the camera does instead is shown when it does not come to that.
async fn until_recording(server: &Moorline, camera: &Camera, name: &str) -> Value {
    until(server, camera, name, "recording", |view| {
        view["status"]["link"]["state"] == "up"
            && view["status"]["archive"]["state"] == "recording"
            && view["status"]["archive"]["synced_until"].is_string()
    })
    .await
}

async fn until(
    server: &Moorline,
    camera: &Camera,
    name: &str,
    what: &str,
    wanted: impl Fn(&Value) -> bool,
) -> Value {
    server
        .until_within(LATER, name, what, wanted, camera.given_up())
        .await
}

/// The session's number: it grows with each call.
fn generation(view: &Value) -> u64 {
    view["status"]["link"]["generation"].as_u64().unwrap_or(0)
}

/// A line of the agent on the camera's console.
async fn says(camera: &Camera, mark: u64, what: &str) {
    let line = camera
        .machine()
        .wait_for_after(mark, what, LATER, |line| line.contains(what).then_some(()));
    if let Err(error) = line.await {
        let shown = camera.given_up().await;
        panic!("{error}\n{shown}");
    }
}

/// A number of `/proc/<pid>/status` of the running agent, in KiB.
async fn memory(camera: &Camera, field: &str) -> u64 {
    let line = format!("sed -n 's/^{field}: *//p' /proc/$(pidof moorline-agent)/status");
    let text = camera.order(&line).await.unwrap();
    let number = text
        .split_whitespace()
        .next()
        .and_then(|word| word.parse().ok());
    number.unwrap_or_else(|| panic!("{field}: {text:?}"))
}

/// Why media was missing before, the newest last.
fn causes(view: &Value) -> Vec<String> {
    let gaps = view["status"]["gaps"].as_array().cloned();
    let causes = gaps.unwrap_or_default();
    let causes = causes.iter().filter_map(|gap| gap[0]["cause"].as_str());
    causes.map(str::to_owned).collect()
}
