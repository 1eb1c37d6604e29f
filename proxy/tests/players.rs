//! Real players through the whole front door.
#![allow(
    clippy::disallowed_methods,
    reason = "tests may bind, write and look at the real clock"
)]

mod stage;

use std::time::Duration;

use moorline_testkit::{child, peer};
use stage::{Script, Stage, record};

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn ffmpeg_with_its_own_choice_of_transport_plays_through_461() {
    let stage = Stage::new(vec![record("yard")]).await;
    stage.yard.up("yard", Script::clip(1));
    let _relay = stage.relay("yard");
    let mut ffmpeg = peer::FFMPEG.command().unwrap();
    ffmpeg.args(["-hide_banner", "-err_detect", "explode", "-i"]);
    ffmpeg.arg(stage.url("yard"));
    ffmpeg.args(["-frames:v", "45", "-f", "framemd5", "-"]);
    let output = child::run("ffmpeg", ffmpeg, LONG).await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    let frames = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|line| !line.starts_with('#'))
        .count();
    assert!(frames >= 45, "{frames} pictures\n{errors}");
    assert!(!errors.contains("error while decoding"), "{errors}");
}

#[tokio::test]
async fn ffprobe_sees_the_camera_as_it_is() {
    let stage = Stage::new(vec![record("yard")]).await;
    let mut script = Script::clip(1);
    script.sound = Some("8 PCMA/8000");
    stage.yard.up("yard", script);
    let _relay = stage.relay("yard");
    let mut ffprobe = peer::FFPROBE.command().unwrap();
    ffprobe.args(["-v", "error", "-rtsp_transport", "tcp", "-show_entries"]);
    ffprobe.args([
        "stream=codec_name,width,height,sample_rate",
        "-of",
        "csv=p=0",
    ]);
    ffprobe.arg(stage.url("yard"));
    let output = child::run("ffprobe", ffprobe, LONG).await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    assert!(text.contains("h264,640,360"), "{text}");
    assert!(text.contains("pcm_alaw,8000"), "{text}");
}
