//! What cameras send beside H.264: through tunnel and relay to viewers, and into recordings that play.

use std::path::PathBuf;

use moorline_testkit::child::run;
use moorline_testkit::gst::{Audio, GstOptions, Video};
use moorline_testkit::{eventually, peer};
use serde_json::Value;

use crate::support::foreign::{Foreign, codecs, decodes, export};
use crate::support::{Moorline, SOON};

/// Segments that the store has.
async fn stored(moorline: &Moorline, count: usize) -> Vec<Value> {
    eventually("segments in the store", SOON, || async {
        let mut rows = moorline.segments("yard").await;
        rows.retain(|row| row["held"] == "store");
        (rows.len() >= count).then_some(rows)
    })
    .await
}

async fn fetched(moorline: &Moorline, row: &Value, number: usize) -> PathBuf {
    let file = moorline.place().join(format!("{number}.mp4"));
    let key = row["key"].as_str().unwrap();
    moorline
        .cli(&["segments", "get", key, "-f", file.to_str().unwrap()])
        .await;
    file
}

/// How many packets of picture and of sound a viewer at the door gets within some seconds.
async fn watched(moorline: &Moorline) -> (usize, usize) {
    let mut command = peer::FFPROBE.command().unwrap();
    command.args(["-v", "error", "-rtsp_transport", "tcp"]);
    command.args(["-read_intervals", "%+3", "-of", "csv=p=0"]);
    command.args(["-show_entries", "packet=codec_type"]);
    command.arg(moorline.url("rtsp", "yard"));
    let output = run("ffprobe", command, SOON).await.unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let of = |kind: &str| told.lines().filter(|line| line.starts_with(kind)).count();
    (of("video"), of("audio"))
}

/// Each picture of an export was sent, once and in order, and none between first and last is missing.
async fn whole(moorline: &Moorline, yard: &Foreign) -> PathBuf {
    let file = export(moorline).await;
    let recorded = yard.places(&file).await;
    let all: Vec<usize> = (recorded[0]..=*recorded.last().unwrap()).collect();
    assert_eq!(recorded, all);
    assert!(all.len() > 60, "{} pictures", all.len());
    file
}

/// x265 sends one IDR and then CRA pictures: they begin segments all the same.
#[tokio::test(flavor = "multi_thread")]
async fn h265_is_watched_and_recorded_and_opus_is_heard_and_left_out_of_recordings() {
    let moorline = Moorline::with_short_segments().await;
    let options = GstOptions {
        video: Video::H265,
        audio: Some(Audio::Opus),
        width: 160,
        height: 120,
        tell: true,
        ..GstOptions::default()
    };
    let Some(yard) = Foreign::start(&moorline, options).await else {
        return;
    };
    moorline.until_recording("yard").await;
    assert_eq!(
        codecs(&moorline.url("rtsp", "yard")).await,
        ["hevc", "opus,48000"]
    );
    let (pictures, sounds) = watched(&moorline).await;
    assert!(
        pictures > 10 && sounds > 10,
        "{pictures} pictures, {sounds} packets of sound"
    );
    let shown = moorline.camera("yard").await;
    let notes = shown["notes"].to_string();
    assert!(
        notes.contains("the camera sends Opus, which is not recorded"),
        "{notes}"
    );

    let rows = stored(&moorline, 3).await;
    let rows = rows.iter().take(3).enumerate();
    for (number, row) in rows {
        let file = fetched(&moorline, row, number).await;
        assert_eq!(codecs(file.to_str().unwrap()).await, ["hevc"]);
        assert_eq!(decodes(&file).await, None);
    }
    let file = whole(&moorline, &yard).await;
    assert_eq!(codecs(file.to_str().unwrap()).await, ["hevc"]);
    decodes(&file).await;
    let found = moorline.cli(&["segments", "verify", "--full"]).await;
    assert_eq!(found["findings"], Value::Array(Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn g711_is_heard_as_it_is_and_recorded_as_flac() {
    let moorline = Moorline::with_short_segments().await;
    let options = GstOptions {
        audio: Some(Audio::Pcma),
        tell: true,
        ..GstOptions::default()
    };
    let Some(yard) = Foreign::start(&moorline, options).await else {
        return;
    };
    moorline.until_recording("yard").await;
    assert_eq!(
        codecs(&moorline.url("rtsp", "yard")).await,
        ["h264", "pcm_alaw,8000"]
    );
    let row = stored(&moorline, 3).await.swap_remove(1);
    let file = fetched(&moorline, &row, 0).await;
    assert_eq!(codecs(file.to_str().unwrap()).await, ["h264", "flac,8000"]);
    let file = whole(&moorline, &yard).await;
    assert_eq!(codecs(file.to_str().unwrap()).await, ["h264", "flac,8000"]);
    // A tick a second, at the loudness that GStreamer's default has.
    let loudest = decodes(&file).await.expect("sound");
    assert!(loudest > -20.0, "{loudest} dB");
}
