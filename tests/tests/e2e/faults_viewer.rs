//! A viewer that stalls costs another one nothing (P5).

use std::path::{Path, PathBuf};

use moorline_simcam::{SourceConfig, video::Shape};
use moorline_testkit::{
    child::Child,
    eventually,
    fault::{Fault, FaultProxy},
};
use tokio::process::Command;

use crate::faults_device::{missing, stamps};
use crate::faults_rig::{SHORT, SOON, Server};

fn player(address: std::net::SocketAddr, password: &str, file: &Path) -> Child {
    let url = format!("rtsp://admin:{password}@{address}/yard");
    let mut command = Command::new("ffmpeg");
    command.args(["-hide_banner", "-nostdin", "-v", "error"]);
    command.args(["-rtsp_transport", "tcp", "-i", &url]);
    command.args(["-c", "copy", "-flush_packets", "1", "-f", "h264"]);
    command.arg(file);
    Child::spawn("ffmpeg", command).unwrap()
}

fn length(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |file| file.len())
}

fn frames(file: &Path) -> Vec<u64> {
    let bytes = std::fs::read(file).unwrap_or_default();
    stamps(&bytes).iter().map(|stamp| stamp.frame).collect()
}

// The camera must not wait while this thread searches files.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_viewer_is_closed_and_the_other_misses_no_picture() {
    let server = Server::start(SHORT).await;
    // Enough to fill every buffer on the way to the stalled one within seconds.
    let mut film = SourceConfig::generated(
        2,
        Shape {
            fps: 10,
            gop: 10,
            bitrate: 6_000_000,
            idr_weight: 2,
            ..Shape::default()
        },
    );
    // And room for what the camera films while the machine keeps it waiting.
    film.queue = 16 << 20;
    let yard = server.device("yard", film, &[]).await;
    server.moves_on("yard").await;
    let password = server.first_user("stream_password");
    let place = moorline_testkit::temp_dir().unwrap();
    let files: Vec<PathBuf> = ["good", "stalled"]
        .iter()
        .map(|name| place.path().join(name))
        .collect();
    let network = FaultProxy::start(server.address("rtsp")).await.unwrap();
    let _good = player(server.address("rtsp"), &password, &files[0]);
    let _stalled = player(network.address(), &password, &files[1]);
    for file in &files {
        eventually("no pictures arrive", SOON, || async {
            (length(file) > 100_000).then_some(())
        })
        .await;
    }
    let readers = |camera: &serde_json::Value| camera["status"]["relays"][0]["readers"].as_u64();
    server
        .until("yard", "two players and the recorder read", |camera| {
            (readers(camera)? == 3).then_some(())
        })
        .await;

    network.set(Fault::BlackHole).await;
    server
        .until("yard", "the stalled player is still served", |camera| {
            (readers(camera)? == 2).then_some(())
        })
        .await;
    let seen = length(&files[0]);
    eventually("the other player got nothing more", SOON, || async {
        (length(&files[0]) > seen + 1_000_000).then_some(())
    })
    .await;
    // What the camera itself dropped would be nobody's fault here.
    assert_eq!(yard.source.counters().dropped, 0);
    server.nothing_lost("yard", 2).await;
    assert_eq!(
        missing(&frames(&files[0])),
        Vec::<u64>::new(),
        "the other player missed pictures"
    );
    server.stop().await;
}
