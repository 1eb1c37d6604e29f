//! A camera that nobody here wrote (GStreamer's server) behind dbclient, and which of its pictures are in a recording.

use std::path::{Path, PathBuf};

use moorline_testkit::child::{Child, run};
use moorline_testkit::gst::{GstCamera, GstOptions, Sent, Video, fingerprints};
use moorline_testkit::{or_skip, peer};
use serde_json::Value;

use super::{Dbclient, Moorline, SOON};

/// GStreamer's camera as `yard`.
pub(crate) struct Foreign {
    /// The camera's own server.
    pub(crate) camera: GstCamera,
    /// Its tunnel, if it calls by one.
    _tunnel: Option<Dbclient>,
    video: Video,
}

impl Foreign {
    /// Adds `yard` and lets it call. `None`, told as a skip, without the plug-ins.
    pub(crate) async fn start(moorline: &Moorline, options: GstOptions) -> Option<Self> {
        let video = options.video;
        let camera = or_skip(GstCamera::start(options).await)?;
        Some(Self::behind(moorline, camera, video).await)
    }

    /// The same with a camera that runs already.
    pub(crate) async fn behind(moorline: &Moorline, camera: GstCamera, video: Video) -> Self {
        let path = camera.url().rsplit_once('/').unwrap().1.to_owned();
        let added = moorline
            .cli(&["camera", "add", "yard", "--path", &format!("/{path}")])
            .await;
        Self {
            _tunnel: Some(Dbclient::start(&added, camera.address())),
            camera,
            video,
        }
    }

    /// The same without a tunnel: a camera of our own network, whose other viewers use the URL that we use. GStreamer shares a stream among those
    /// that name the same port and path, and through a tunnel we cannot know the port.
    pub(crate) async fn near(moorline: &Moorline, camera: GstCamera, video: Video) -> Self {
        moorline
            .cli(&["camera", "add", "yard", "--rtsp", &camera.url()])
            .await;
        Self {
            _tunnel: None,
            camera,
            video,
        }
    }

    /// Somebody in the camera's own network who watches it with ffmpeg, which asks for the beginning.
    pub(crate) fn watched_directly(&self) -> Child {
        watch(&self.camera)
    }

    /// Waits until so many more pictures were sent, and until what was recorded reaches beyond them.
    pub(crate) async fn recorded_further(&self, moorline: &Moorline, more: usize) {
        let enough = pictures(&self.camera.sent()).len() + more;
        let sent = self
            .camera
            .sends("more pictures", SOON, |sent| pictures(sent).len() >= enough);
        sent.await.unwrap_or_else(|error| panic!("{error}"));
        moorline.recorded_up_to_now("yard").await;
    }

    /// The places in what was sent of the pictures in a file. What was not sent, or stands in another order or twice, fails the test.
    pub(crate) async fn places(&self, file: &Path) -> Vec<usize> {
        let found = fingerprints(self.video, &annex_b(file, self.video).await);
        let sent = pictures(&self.camera.sent());
        let mut next = 0;
        let place = |picture: &u32| {
            let rest = sent.get(next..).unwrap_or_default();
            let at = rest.iter().position(|sent| sent == picture);
            let at = next + at.expect("a picture that was not sent, or not once and in this order");
            next = at + 1;
            at
        };
        found.iter().map(place).collect()
    }

    /// Before which pictures time started anew.
    pub(crate) fn flushes(&self) -> Vec<usize> {
        flushes(&self.camera.sent())
    }
}

/// See [`Foreign::watched_directly`].
pub(crate) fn watch(camera: &GstCamera) -> Child {
    let mut command = peer::FFMPEG.command().unwrap();
    command.args(["-v", "error", "-nostdin", "-rtsp_transport", "tcp", "-i"]);
    command.arg(camera.url()).args(["-f", "null", "-"]);
    Child::spawn("ffmpeg at the camera", command).unwrap()
}

/// The pictures alone.
pub(crate) fn pictures(sent: &[Sent]) -> Vec<u32> {
    let pictures = sent.iter().filter_map(|sent| match sent {
        Sent::Picture(picture) => Some(*picture),
        Sent::Flush => None,
    });
    pictures.collect()
}

/// Before which pictures time started anew.
pub(crate) fn flushes(sent: &[Sent]) -> Vec<usize> {
    let (mut pictures, mut flushes) = (0, Vec::new());
    for sent in sent {
        match sent {
            Sent::Picture(_) => pictures += 1,
            Sent::Flush => flushes.push(pictures),
        }
    }
    flushes
}

/// The picture of a file as ffmpeg copies it; what ffmpeg complains of fails the test.
async fn annex_b(file: &Path, video: Video) -> Vec<u8> {
    let format = match video {
        Video::H264 => "h264",
        Video::H265 => "hevc",
    };
    let mut command = peer::FFMPEG.command().unwrap();
    command.args(["-v", "error", "-i"]).arg(file);
    command.args(["-map", "0:v", "-c", "copy", "-f", format, "-"]);
    let output = run("ffmpeg", command, SOON).await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{errors}");
    output.stdout
}

/// Exports the last hour of `yard`.
pub(crate) async fn export(moorline: &Moorline) -> PathBuf {
    let file = moorline.place().join("yard.mp4");
    let path = file.to_str().unwrap();
    moorline
        .cli(&[
            "segments", "export", "yard", "--from", "1h", "--force", "-f", path,
        ])
        .await;
    file
}

/// Codecs and, of sound, sampling rates in a file or at a URL, by ffprobe.
pub(crate) async fn codecs(input: &str) -> Vec<String> {
    let mut command = peer::FFPROBE.command().unwrap();
    command.args(["-v", "error", "-of", "json", "-show_streams"]);
    if input.starts_with("rtsp") {
        command.args(["-rtsp_transport", "tcp"]);
    }
    command.arg(input);
    let output = run("ffprobe", command, SOON).await.unwrap();
    let told: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let streams = told["streams"].as_array().unwrap().iter();
    let text = |stream: &Value| {
        let codec = stream["codec_name"].as_str().unwrap_or("unknown");
        match stream["sample_rate"].as_str() {
            Some(rate) => format!("{codec},{rate}"),
            None => codec.to_owned(),
        }
    };
    streams.map(text).collect()
}

/// ffmpeg decodes all of a file without a word, and says how loud it is at its loudest, in dB, if there is sound.
pub(crate) async fn decodes(file: &Path) -> Option<f64> {
    let mut command = peer::FFMPEG.command().unwrap();
    command.args(["-v", "error", "-err_detect", "explode", "-xerror", "-i"]);
    command.arg(file).args(["-f", "null", "-"]);
    let output = run("ffmpeg", command, SOON).await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && errors.is_empty(),
        "{}: {errors}",
        file.display()
    );
    let mut command = peer::FFMPEG.command().unwrap();
    command.args(["-hide_banner", "-i"]).arg(file);
    command.args(["-vn", "-af", "volumedetect", "-f", "null", "-"]);
    let output = run("ffmpeg", command, SOON).await.unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let (_, loudest) = told.split_once("max_volume: ")?;
    loudest.split(' ').next()?.parse().ok()
}
