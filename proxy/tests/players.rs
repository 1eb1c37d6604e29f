//! Real players through the whole front door.
#![allow(
    clippy::disallowed_methods,
    reason = "tests may bind, write and look at the real clock"
)]

mod stage;

use std::time::Duration;

use moorline_core::camera::Login;
use moorline_testkit::gst::{Audio, GstCamera, GstOptions, Video};
use moorline_testkit::live555::Live555;
use moorline_testkit::{child, or_skip, peer};
use stage::{Script, Stage, record};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

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

#[tokio::test]
async fn gstreamer_plays_after_two_refusals_of_other_transports() {
    let stage = Stage::new(vec![record("yard")]).await;
    let mut script = Script::clip(1);
    script.sound = Some("8 PCMA/8000");
    stage.yard.up("yard", script);
    let _relay = stage.relay("yard");
    let mut gst = peer::GST_LAUNCH.command().unwrap();
    gst.args(["-m", "rtspsrc", "latency=100"]);
    gst.arg(format!("location={}", stage.url("yard")));
    gst.args(["!", "rtph264depay", "!", "h264parse"]);
    gst.args([
        "!",
        "identity",
        "name=seen",
        "eos-after=40",
        "!",
        "fakesink",
        "sync=false",
    ]);
    let output = child::run("gst-launch-1.0", gst, LONG).await.unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{said}");
    assert!(said.contains("Got EOS"), "{said}");
    assert!(!said.contains("ERROR"), "{said}");
}

#[tokio::test]
async fn open_rtsp_plays() {
    let Some(live555) = or_skip(Live555::get().await) else {
        return;
    };
    let stage = Stage::new(vec![record("yard")]).await;
    stage.yard.up("yard", Script::clip(1));
    let _relay = stage.relay("yard");
    let mut command = live555.command("openRTSP");
    command.args(["-v", "-t", "-d", "3", "-V", "-u", "ann", "stream-secret"]);
    command.arg(format!("rtsp://{}/yard", stage.address));
    let output = child::run("openRTSP", command, LONG).await.unwrap();
    let picture = &output.stdout;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(picture.len() > 20_000, "{} bytes\n{errors}", picture.len());
    assert!(picture.starts_with(&[0, 0, 0, 1]), "Annex B");
}

#[tokio::test]
async fn ffmpeg_plays_over_tls() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let certificate = CertificateDer::from(made.cert.der().to_vec());
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let tls = Some(TlsAcceptor::from(std::sync::Arc::new(server)));
    let (relay, door) = Default::default();
    let stage = Stage::with(vec![record("yard")], relay, door, tls).await;
    stage.yard.up("yard", Script::clip(1));
    let _relay = stage.relay("yard");
    let mut ffmpeg = peer::FFMPEG.command().unwrap();
    ffmpeg.args([
        "-hide_banner",
        "-err_detect",
        "explode",
        "-rtsp_transport",
        "tcp",
        "-i",
    ]);
    ffmpeg.arg(stage.url("yard").replacen("rtsp:", "rtsps:", 1));
    ffmpeg.args(["-frames:v", "20", "-f", "null", "-"]);
    let output = child::run("ffmpeg", ffmpeg, LONG).await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    assert!(errors.contains("frame=   20"), "{errors}");
}

/// A camera that nobody here wrote, through the relay to a player that nobody here wrote.
async fn foreign(options: GstOptions, codecs: &[&str]) {
    let Some(camera) = or_skip(GstCamera::start(options.clone()).await) else {
        return;
    };
    let mut yard = record("yard");
    yard.main.path = Some(options.path.clone());
    yard.main.login = options.login.map(|(user, password)| Login {
        user,
        password: password.into(),
    });
    let stage = Stage::new(vec![yard]).await;
    stage.yard.up_at("yard", camera.address());
    let _relay = stage.relay("yard");
    let mut ffmpeg = peer::FFMPEG.command().unwrap();
    ffmpeg.args(["-hide_banner", "-err_detect", "explode", "-i"]);
    ffmpeg.arg(stage.url("yard"));
    ffmpeg.args(["-t", "3", "-f", "null", "-"]);
    let output = child::run("ffmpeg", ffmpeg, LONG).await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    for codec in codecs {
        assert!(errors.contains(codec), "{codec}: {errors}");
    }
    assert!(!errors.contains("error while decoding"), "{errors}");
}

#[tokio::test]
async fn gstreamers_camera_with_a_login_and_aac() {
    let options = GstOptions {
        audio: Some(Audio::Aac),
        login: Some(("owner".into(), "secret".into())),
        ..GstOptions::default()
    };
    foreign(options, &["Video: h264", "Audio: aac"]).await;
}

#[tokio::test]
async fn gstreamers_camera_with_h265_and_opus() {
    let options = GstOptions {
        video: Video::H265,
        audio: Some(Audio::Opus),
        ..GstOptions::default()
    };
    foreign(options, &["Video: hevc", "Audio: opus"]).await;
}
