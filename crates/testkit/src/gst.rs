//! A camera that nobody here wrote: GStreamer's RTSP server with a live test picture (a ball and a clock) and, optionally, sound.

use std::{net::SocketAddr, time::Duration};

use serde_json::json;
use tokio::process::Command;

use crate::{Error, child::Child, netns::Netns, patience, peer};

mod pictures;

pub use pictures::fingerprints;

/// The server, as a script for Debian's own Python.
const SCRIPT: &str = include_str!("gst_camera.py");

/// The picture's codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Video {
    /// x264, baseline as cameras send it.
    H264,
    /// x265; its plug-in is optional.
    H265,
}

/// The sound's codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audio {
    /// G.711 A-law, 8 kHz.
    Pcma,
    /// G.711 µ-law, 8 kHz.
    Pcmu,
    /// AAC-LC, 16 kHz (`mpeg4-generic`).
    Aac,
    /// Opus, 48 kHz.
    Opus,
}

/// What the camera sends.
#[derive(Debug, Clone)]
pub struct GstOptions {
    /// Codec of the picture.
    pub video: Video,
    /// Codec of the sound, if there is any.
    pub audio: Option<Audio>,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Pictures a second.
    pub rate: u32,
    /// Pictures from one key frame to the next.
    pub key_interval: u32,
    /// Kilobits a second that the encoder aims at.
    pub kilobits: u32,
    /// User and password; then Digest (MD5) is demanded.
    pub login: Option<(String, String)>,
    /// Path of the stream, with its slash.
    pub path: String,
    /// Whether each picture is told by its fingerprint ([`GstCamera::sent`]). The picture is noise then, so that no two are alike.
    pub tell: bool,
}

impl Default for GstOptions {
    /// H.264, 320×240, 15 pictures and one key frame a second, no sound, no login, `/unicast`.
    fn default() -> Self {
        Self {
            video: Video::H264,
            audio: None,
            width: 320,
            height: 240,
            rate: 15,
            key_interval: 15,
            kilobits: 300,
            login: None,
            path: "/unicast".to_owned(),
            tell: false,
        }
    }
}

/// What the camera tells of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// A picture, by its fingerprint ([`fingerprints`]).
    Picture(u32),
    /// Somebody's PLAY was a seek: time starts anew for all who watch.
    Flush,
}

impl Sent {
    fn of(line: &str) -> Option<Self> {
        if line == "FLUSH" {
            return Some(Self::Flush);
        }
        let fingerprint = line.strip_prefix("PICTURE ")?;
        u32::from_str_radix(fingerprint, 16).ok().map(Self::Picture)
    }
}

/// The running server.
#[derive(Debug)]
pub struct GstCamera {
    child: Child,
    address: SocketAddr,
    options: GstOptions,
}

impl GstCamera {
    /// Starts it on 127.0.0.1, on a free port.
    ///
    /// # Errors
    /// [`Error::Missing`] without Python's GStreamer packages; [`Error::Unavailable`] when only the plug-in of the asked codec is missing.
    pub async fn start(options: GstOptions) -> Result<Self, Error> {
        let command = peer::PYTHON.command()?;
        Self::run(command, options).await
    }

    /// Starts it inside a network namespace.
    ///
    /// # Errors
    /// As [`GstCamera::start`].
    pub async fn start_in(netns: &Netns, options: GstOptions) -> Result<Self, Error> {
        let command = netns.command(peer::PYTHON.find()?.path);
        Self::run(command, options).await
    }

    async fn run(mut command: Command, options: GstOptions) -> Result<Self, Error> {
        let arguments = json!({
            "path": options.path,
            "launch": options.launch(),
            "elements": options.elements(),
            "user": options.login.as_ref().map(|(user, _)| user),
            "password": options.login.as_ref().map(|(_, password)| password),
            "tell": options.tell.then_some(options.video.name()),
        });
        command.arg("-c").arg(SCRIPT).arg(arguments.to_string());
        let child = Child::spawn("GStreamer's RTSP server", command)?;
        let said = child.wait_for_after(0, "its port", Duration::from_secs(60), |line| {
            if let Some(missing) = line.strip_prefix("MISSING ") {
                return Some(Err(missing.to_owned()));
            }
            if line.contains("ModuleNotFoundError")
                || line.contains("Namespace") && line.contains("not available")
            {
                return Some(Err(String::new()));
            }
            line.strip_prefix("PORT ")
                .and_then(|port| port.parse::<u16>().ok())
                .map(Ok)
        });
        let port = match said.await? {
            Ok(port) => port,
            Err(missing) if missing.is_empty() => {
                let package = "gir1.2-gst-rtsp-server-1.0 python3-gi";
                return Err(Error::Missing {
                    peer: "GStreamer's RTSP server for Python",
                    package,
                });
            }
            Err(missing) => {
                return Err(Error::Unavailable {
                    peer: "GStreamer's plug-in",
                    reason: format!("no {missing}"),
                });
            }
        };
        if let Some(version) = child
            .lines()
            .iter()
            .find_map(|line| line.strip_prefix("VERSION "))
        {
            peer::announce("gst-rtsp-server", version);
        }
        Ok(Self {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            options,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL without user and password.
    #[must_use]
    pub fn url(&self) -> String {
        format!("rtsp://{}{}", self.address, self.options.path)
    }

    /// Its URL with user and password, if it wants any.
    #[must_use]
    pub fn url_with_login(&self) -> String {
        match &self.options.login {
            Some((user, password)) => format!(
                "rtsp://{user}:{password}@{}{}",
                self.address, self.options.path
            ),
            None => self.url(),
        }
    }

    /// What it has sent so far, if it tells: the newest of it, some minutes.
    #[must_use]
    pub fn sent(&self) -> Vec<Sent> {
        self.child
            .lines()
            .iter()
            .filter_map(|line| Sent::of(line))
            .collect()
    }

    /// Waits until the newest of what it has sent is as wanted, and gives it.
    ///
    /// # Errors
    /// [`Error::Timeout`] after `deadline`; [`Error::Ended`] when the camera ends first.
    pub async fn sends(
        &self,
        what: &str,
        deadline: Duration,
        mut wanted: impl FnMut(&[Sent]) -> bool,
    ) -> Result<Vec<Sent>, Error> {
        let all = async {
            loop {
                let mark = self.child.mark();
                let sent = self.sent();
                if wanted(&sent) {
                    return Ok(sent);
                }
                let next = self.child.wait_for_after(mark, what, deadline, Sent::of);
                next.await?;
            }
        };
        let patience = patience(deadline);
        let late = |_| {
            Err(Error::Timeout {
                what: what.to_owned(),
                patience,
                detail: self.child.tail(),
            })
        };
        tokio::time::timeout(patience, all)
            .await
            .unwrap_or_else(late)
    }

    /// Its process, to freeze or to end.
    #[must_use]
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }
}

impl Video {
    fn name(self) -> &'static str {
        match self {
            Self::H264 => "h264",
            Self::H265 => "h265",
        }
    }
}

impl GstOptions {
    fn launch(&self) -> String {
        let Self {
            width,
            height,
            rate,
            key_interval,
            kilobits,
            ..
        } = self;
        let encoder = match self.video {
            Video::H264 => format!(
                "x264enc tune=zerolatency speed-preset=ultrafast bitrate={kilobits} key-int-max={key_interval} \
                 ! video/x-h264,profile=constrained-baseline,stream-format=byte-stream,alignment=au ! rtph264pay name=pay0 pt=96 config-interval=-1"
            ),
            Video::H265 => format!(
                "x265enc tune=zerolatency speed-preset=ultrafast bitrate={kilobits} key-int-max={key_interval} \
                 ! video/x-h265,stream-format=byte-stream,alignment=au ! rtph265pay name=pay0 pt=96 config-interval=-1"
            ),
        };
        let pattern = if self.tell { "snow" } else { "ball" };
        let picture = format!(
            "videotestsrc is-live=true pattern={pattern} ! video/x-raw,format=I420,width={width},height={height},framerate={rate}/1 \
             ! {encoder}"
        );
        let sound = |rate: u32, encoder: &str| {
            format!(
                " audiotestsrc is-live=true wave=ticks ! audio/x-raw,rate={rate},channels=1 ! {encoder} name=pay1 pt=97"
            )
        };
        let sound = match self.audio {
            None => String::new(),
            Some(Audio::Pcma) => sound(8000, "alawenc ! rtppcmapay").replace("pt=97", "pt=8"),
            Some(Audio::Pcmu) => sound(8000, "mulawenc ! rtppcmupay").replace("pt=97", "pt=0"),
            Some(Audio::Aac) => sound(16_000, "voaacenc ! rtpmp4gpay"),
            Some(Audio::Opus) => sound(48_000, "opusenc ! rtpopuspay"),
        };
        format!("( {picture}{sound} )")
    }

    fn elements(&self) -> Vec<&'static str> {
        let video = match self.video {
            Video::H264 => ["x264enc", "rtph264pay"],
            Video::H265 => ["x265enc", "rtph265pay"],
        };
        let audio = match self.audio {
            None => &[][..],
            Some(Audio::Pcma) => &["alawenc"],
            Some(Audio::Pcmu) => &["mulawenc"],
            Some(Audio::Aac) => &["voaacenc"],
            Some(Audio::Opus) => &["opusenc"],
        };
        video.into_iter().chain(audio.iter().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{child::run, or_skip};

    const SOON: Duration = Duration::from_secs(30);

    async fn codecs(camera: &GstCamera) -> String {
        let mut probe = peer::FFPROBE.command().unwrap();
        probe.args([
            "-v",
            "error",
            "-rtsp_transport",
            "tcp",
            "-show_entries",
            "stream=codec_name",
            "-of",
            "csv=p=0",
        ]);
        probe.arg(camera.url_with_login());
        let output = run("ffprobe", probe, SOON).await.unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout)
            .trim()
            .replace('\n', " ")
    }

    #[tokio::test]
    async fn ffprobe_reads_picture_and_sound_behind_a_digest_login() {
        let login = Some(("camera".to_owned(), "secret".to_owned()));
        let options = GstOptions {
            audio: Some(Audio::Pcma),
            login,
            ..GstOptions::default()
        };
        let camera = GstCamera::start(options).await.unwrap();
        assert_eq!(codecs(&camera).await, "h264 pcm_alaw");
        let mut probe = peer::FFPROBE.command().unwrap();
        probe
            .args(["-v", "error", "-rtsp_transport", "tcp"])
            .arg(camera.url());
        let output = run("ffprobe", probe, SOON).await.unwrap();
        assert!(
            String::from_utf8_lossy(&output.stderr).contains("401"),
            "served without a login"
        );
    }

    #[tokio::test]
    async fn h265_and_aac() {
        let options = GstOptions {
            video: Video::H265,
            audio: Some(Audio::Aac),
            ..GstOptions::default()
        };
        let Some(camera) = or_skip(GstCamera::start(options).await) else {
            return;
        };
        assert_eq!(codecs(&camera).await, "hevc aac");
    }
}
