//! What people watch with: ffmpeg, GStreamer, live555, retina; by RTSP and RTSPS on one port.

use futures::StreamExt as _;
use moorline_simcam::Camera;
use moorline_simcam::video::Stamp;
use moorline_testkit::{child::run, live555::Live555, or_skip, patience, peer};
use retina::{
    client::{Credentials, PlayOptions, Session, SessionOptions, SetupOptions, Transport},
    codec::{CodecItem, ParametersRef},
};
use tokio::process::Command;

use crate::support::{Moorline, Player, SOON, assert_in_order, ffmpeg, simulated, unplayable};

async fn one_camera() -> (Moorline, Camera) {
    let moorline = Moorline::start().await;
    let camera = simulated(&moorline, "yard", 9).await;
    moorline.until_recording("yard").await;
    (moorline, camera)
}

/// Without options ffmpeg asks for UDP first; the refusal makes it ask again for TCP.
#[tokio::test(flavor = "multi_thread")]
async fn ffmpeg_plays_as_it_comes_and_by_rtsps() {
    let (moorline, _camera) = one_camera().await;
    for (options, scheme) in [(&[][..], "rtsp"), (&["-rtsp_transport", "tcp"], "rtsps")] {
        let player = ffmpeg(options, &moorline.url(scheme, "yard"));
        assert_in_order(&player.pictures(30).await, 9);
    }
}

/// `rtspsrc` verifies certificates unless told otherwise; ours is self-signed.
#[tokio::test(flavor = "multi_thread")]
async fn gstreamer_plays_by_rtsp_and_rtsps() {
    let (moorline, _camera) = one_camera().await;
    for scheme in ["rtsp", "rtsps"] {
        let mut command = peer::GST_LAUNCH.command().unwrap();
        command.args(["-q", "rtspsrc", "protocols=tcp", "latency=0"]);
        command.arg("tls-validation-flags=0");
        command.arg(format!("location={}", moorline.url(scheme, "yard")));
        command.args(["!", "rtph264depay", "!", "h264parse", "!"]);
        command.args([
            "video/x-h264,stream-format=byte-stream",
            "!",
            "fdsink",
            "fd=1",
            "sync=false",
        ]);
        let player = Player::start(command);
        assert_in_order(&player.pictures(30).await, 9);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn live555_plays() {
    let Some(live555) = or_skip(Live555::get().await) else {
        return;
    };
    let (moorline, _camera) = one_camera().await;
    let mut command: Command = live555.command("openRTSP");
    let password = moorline.first_user("stream_password");
    // `-v`: the picture alone, to standard output; `-t`: over TCP.
    command.args(["-v", "-t", "-u", "admin", &password]);
    command.arg(format!("rtsp://{}/yard", moorline.address("rtsp")));
    let player = Player::start(command);
    assert_in_order(&player.pictures(30).await, 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn retina_plays() {
    let (moorline, _camera) = one_camera().await;
    let login = Credentials {
        username: "admin".to_owned(),
        password: moorline.first_user("stream_password"),
    };
    let url = format!("rtsp://{}/yard", moorline.address("rtsp"));
    let options = SessionOptions::default().creds(Some(login));
    let mut session = Session::describe(url.parse().unwrap(), options)
        .await
        .unwrap();
    let tcp = SetupOptions::default().transport(Transport::Tcp(Default::default()));
    session.setup(0, tcp).await.unwrap();
    let mut playing = session
        .play(PlayOptions::default())
        .await
        .unwrap()
        .demuxed()
        .unwrap();
    let mut stamps = Vec::new();
    while stamps.len() < 30 {
        let item = tokio::time::timeout(patience(SOON), playing.next()).await;
        if let CodecItem::VideoFrame(frame) = item.unwrap().unwrap().unwrap() {
            stamps.push(stamp_of(frame.data()));
        }
    }
    assert_in_order(&stamps, 9);
    let Some(ParametersRef::Video(video)) = playing.streams()[0].parameters() else {
        panic!("no parameters of the picture");
    };
    assert_eq!(video.pixel_dimensions(), (320, 176));
}

/// The stamp of a frame whose NAL units are prefixed by their length.
fn stamp_of(mut frame: &[u8]) -> Stamp {
    while let Some((length, rest)) = frame.split_first_chunk::<4>() {
        let (unit, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        if let Some(stamp) = Stamp::from_nal(unit) {
            return stamp;
        }
        frame = rest;
    }
    panic!("a picture without a stamp");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_an_unknown_camera_are_told_apart() {
    let (moorline, _camera) = one_camera().await;
    let address = moorline.address("rtsp");
    let web = moorline.first_user("password");
    for url in [
        format!("rtsp://{address}/yard"),
        format!("rtsp://admin:wrong@{address}/yard"),
        // The password of the page is no password for players (rule S12).
        format!("rtsp://admin:{web}@{address}/yard"),
        format!("rtsp://nobody:wrong@{address}/yard"),
        // Who may not watch is not told which cameras there are.
        format!("rtsp://admin:wrong@{address}/attic"),
    ] {
        let said = unplayable(&url).await;
        assert!(said.contains("401"), "{url}: {said}");
    }
    let said = unplayable(&moorline.url("rtsp", "attic")).await;
    assert!(said.contains("404"), "{said}");
}

/// The clip has a tone too.
#[tokio::test(flavor = "multi_thread")]
async fn ffprobe_finds_picture_and_sound() {
    let moorline = Moorline::start().await;
    let clip = moorline_simcam::SourceConfig::clip(9);
    let _camera = crate::support::simulated_with(&moorline, "yard", clip, |_| {}).await;
    moorline.until_recording("yard").await;
    let mut command = peer::FFPROBE.command().unwrap();
    command.args([
        "-v",
        "error",
        "-rtsp_transport",
        "tcp",
        "-of",
        "csv=p=0",
        "-show_entries",
    ]);
    command.arg("stream=codec_name,width,height,sample_rate");
    command.arg(moorline.url("rtsp", "yard"));
    let output = run("ffprobe", command, SOON).await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let streams: Vec<&str> = text.lines().collect();
    assert_eq!(streams, ["h264,640,360", "pcm_alaw,8000"], "{output:?}");
}
