//! Real streams from GStreamer, recorded, and read back with ffprobe and ffmpeg.
#![allow(
    clippy::disallowed_methods,
    reason = "tests connect and look at the real clock"
)]

mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use common::{FakeStore, Mood};
use moorline_archiver::Settings;
use moorline_core::port::{ByteStream, LiveFeed, Poster, ReaderRole, RelayError, Relays};
use moorline_core::{CameraId, SourceName};
use moorline_testkit::gst::{Audio, GstCamera, GstOptions, Video};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Stands for a relay in front of GStreamer's server: a relay serves whatever path is asked for.
struct Behind {
    address: SocketAddr,
    url: String,
}

#[async_trait::async_trait]
impl Relays for Behind {
    async fn open(
        &self,
        _: &CameraId,
        _: SourceName,
        _: ReaderRole,
    ) -> Result<ByteStream, RelayError> {
        let mut camera = TcpStream::connect(self.address)
            .await
            .map_err(|_| RelayError::Away)?;
        let (near, mut far) = tokio::io::duplex(1 << 18);
        let url = self.url.clone();
        tokio::spawn(async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                if far.read_buf(&mut head).await.unwrap_or(0) == 0 {
                    return;
                }
            }
            let text = String::from_utf8(head).unwrap();
            let asked = text.split(' ').nth(1).unwrap().to_owned();
            let _ = camera
                .write_all(text.replace(&asked, &url).as_bytes())
                .await;
            let _ = tokio::io::copy_bidirectional(&mut far, &mut camera).await;
        });
        Ok(Box::new(near))
    }

    async fn live(
        &self,
        _: &CameraId,
        _: SourceName,
        _: &str,
    ) -> Result<Box<dyn LiveFeed>, RelayError> {
        Err(RelayError::Unknown)
    }

    fn poster(&self, _: &CameraId, _: SourceName) -> Option<Poster> {
        None
    }
}

/// Records some seconds and returns the segments' paths, and what the recorder said of the sound.
async fn record(
    options: GstOptions,
    folder: &Path,
) -> Option<(Vec<std::path::PathBuf>, Option<String>)> {
    let camera = moorline_testkit::or_skip(GstCamera::start(options).await)?;
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Takes);
    // twice the length of a group of pictures
    let settings = Settings {
        segment: Duration::from_secs(2),
        ..common::settings()
    };
    let archive = common::open(spool.path(), &store, settings).await;
    let relay = Behind {
        address: camera.address(),
        url: camera.url(),
    };
    let running = common::start(&archive, Arc::new(relay), common::spec());
    common::eventually("two segments are stored", || store.segments().len() >= 2).await;
    let report = running.drain(Duration::from_secs(30)).await.unwrap();
    archive.shutdown(Duration::from_secs(1)).await;
    // GStreamer may take its time to begin.
    assert_eq!(store.losses(), []);
    let mut paths = Vec::new();
    for (key, bytes) in store.segments() {
        let path = folder.join(format!("{:03}.mp4", key.sequence));
        std::fs::write(&path, bytes).unwrap();
        paths.push(path);
    }
    Some((paths, report.audio_note))
}

/// Codec, sampling rate and duration of each stream, by ffprobe; ffmpeg must decode it without a word.
#[track_caller]
fn streams(path: &Path) -> Vec<String> {
    let probe = Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-show_entries",
            "stream=codec_name,sample_rate",
            "-of",
            "csv=p=0",
        ])
        .arg(path)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&probe.stderr), "");
    let decode = Command::new("ffmpeg")
        .args(["-v", "error", "-err_detect", "explode", "-xerror", "-i"])
        .arg(path)
        .args(["-f", "null", "-"])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&decode.stderr),
        "",
        "{}",
        path.display()
    );
    assert!(decode.status.success());
    String::from_utf8_lossy(&probe.stdout)
        .lines()
        .map(str::to_owned)
        .collect()
}

/// Presentation times of the packets of a stream, in seconds.
fn times(path: &Path, stream: &str) -> Vec<f64> {
    let probe = Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-select_streams",
            stream,
            "-show_entries",
            "packet=pts_time",
            "-of",
            "csv=p=0",
        ])
        .arg(path)
        .output()
        .unwrap();
    let lines = String::from_utf8_lossy(&probe.stdout).into_owned();
    lines
        .lines()
        .filter_map(|line| line.trim_end_matches(',').parse().ok())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h264_with_g711_plays_as_flac_beside_its_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let options = GstOptions {
        audio: Some(Audio::Pcma),
        ..GstOptions::default()
    };
    let Some((paths, note)) = record(options, folder.path()).await else {
        return;
    };
    assert_eq!(note, None);
    // the last one may be a single picture
    for path in &paths[..2] {
        assert_eq!(streams(path), ["h264", "flac,8000"]);
        let (pictures, sound) = (times(path, "v:0"), times(path, "a:0"));
        assert!(
            (pictures[0]).abs() < 0.001,
            "it plays from 0: {}",
            pictures[0]
        );
        let length = pictures.last().unwrap() - pictures[0];
        let heard = sound.last().unwrap() - sound[0];
        assert!(
            (length - heard).abs() < 0.5,
            "{length} s of pictures, {heard} s of sound"
        );
        assert!(
            (sound[0] - pictures[0]).abs() < 0.5,
            "sound begins at {}",
            sound[0]
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h265_with_aac_passes_through() {
    let folder = tempfile::tempdir().unwrap();
    let options = GstOptions {
        video: Video::H265,
        audio: Some(Audio::Aac),
        ..GstOptions::default()
    };
    let Some((paths, note)) = record(options, folder.path()).await else {
        return;
    };
    assert_eq!(note, None);
    for path in &paths {
        assert_eq!(streams(path), ["hevc", "aac,16000"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opus_is_left_out_and_said_so() {
    let folder = tempfile::tempdir().unwrap();
    let options = GstOptions {
        audio: Some(Audio::Opus),
        ..GstOptions::default()
    };
    let Some((paths, note)) = record(options, folder.path()).await else {
        return;
    };
    assert_eq!(
        note.as_deref(),
        Some("the camera sends Opus, which is not recorded")
    );
    assert_eq!(streams(&paths[0]), ["h264"]);
}
