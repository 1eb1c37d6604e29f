//! What a camera is doing, as values: the page, the metrics and the alarms read the same.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::alarm::Notice;
use crate::camera::{Access, Camera};
use crate::cause::Cause;
use crate::id::{CameraId, Generation, SessionId, SourceName};
use crate::time::Timestamp;

/// The link of a camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum LinkStatus {
    /// No tunnel.
    Absent,
    /// A tunnel serves; a camera of our own network plays.
    Up {
        /// Its generation.
        generation: Generation,
        /// Its session.
        session: SessionId,
        /// Where it comes from. `None` for a LAN camera.
        peer: Option<SocketAddr>,
    },
    /// A camera of our own network is to be read, and has not played yet, or no longer plays.
    Connecting {
        /// Its generation.
        generation: Generation,
    },
    /// A camera of our own network that nobody reads: whether it would answer is not known.
    Idle {
        /// Its generation.
        generation: Generation,
    },
    /// Its tunnel was lost a moment ago; relay and archiver wait for it.
    Grace {
        /// The generation that was lost.
        generation: Generation,
    },
}

/// What a relay sees of its camera, one per source that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum RelayState {
    /// Nobody reads.
    Idle,
    /// No landing: the camera is away.
    NoLanding,
    /// A landing; DESCRIBE, SETUP or PLAY is under way.
    Connecting,
    /// A landing, but the camera's RTSP server does not give the stream.
    Refused {
        /// Why, from a closed list.
        fault: RtspFault,
    },
    /// Media flows.
    Playing,
    /// PLAY, but no media for 5 s.
    Silent,
}

impl RelayState {
    /// What to do about it, if there is anything: by the name to type in a command. A camera with a tunnel that is away is told of by its link.
    pub fn hint(self, camera: &Camera) -> Option<String> {
        match (self, &camera.access) {
            (Self::Refused { fault }, _) => Some(fault.hint(camera)),
            (Self::NoLanding, Access::Lan { host, port }) => Some(format!(
                "nothing answers at {host}:{port}: check the camera's power and network, or set its address, moorline camera set {} --rtsp rtsp://HOST:PORT/PATH",
                camera.id.in_command()
            )),
            _ => None,
        }
    }
}

crate::words! {
    /// Why a camera's RTSP server does not give its stream.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum RtspFault {
        /// Nothing listens behind the tunnel, or it closed at once.
        RefusedByCamera = "refused_by_camera",
        /// What listens does not speak RTSP.
        NotRtsp = "not_rtsp",
        /// 401 or 403, with the login we have or without one.
        Unauthorized = "unauthorized",
        /// 404: no stream at that path, nor at a known one.
        NotFound = "not_found",
        /// Another status from the camera.
        Status = "status",
        /// An SDP without a stream that can be read.
        NoMedia = "no_media",
        /// No answer in time.
        Timeout = "timeout",
        /// Interleaved framing was lost and did not come back.
        FramingLost = "framing_lost",
        /// The connection ended.
        Closed = "closed",
    }
}

impl RtspFault {
    /// What a person reads of it.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::RefusedByCamera => "nothing listens there",
            Self::NotRtsp => "what listens there does not speak RTSP",
            Self::Unauthorized => "the camera's login is missing or wrong",
            Self::NotFound => "there is no stream at its path",
            Self::Status => "it answers with an error",
            Self::NoMedia => "it offers no stream that can be read",
            Self::Timeout => "it does not answer in time",
            Self::FramingLost => "its stream is garbled",
            Self::Closed => "it closes the connection",
        }
    }

    /// What to do about it, by the name to type in a command and the way on which the camera is reached.
    pub fn hint(self, camera: &Camera) -> String {
        let is_lan = matches!(camera.access, Access::Lan { .. });
        let text = match self {
            Self::RefusedByCamera if is_lan => {
                "nothing listens at its address: check host and port, moorline camera set CAMERA --rtsp rtsp://HOST:PORT/PATH"
            }
            Self::NotRtsp if is_lan => {
                "what listens at its address does not speak RTSP: check the port, moorline camera set CAMERA --rtsp rtsp://HOST:PORT/PATH"
            }
            Self::RefusedByCamera => {
                "nothing listens at the forwarded port: check the camera's RTSP server and the last part of -R"
            }
            Self::NotRtsp => {
                "what listens at the forwarded port does not speak RTSP: check the port at the end of -R"
            }
            Self::Unauthorized if camera.main.login.is_some() => {
                "the camera does not take the login that is set: give the right one, moorline camera set CAMERA --login USER (the password is asked for)"
            }
            Self::Unauthorized => {
                "set the camera's own login: moorline camera set CAMERA --login USER (the password is asked for)"
            }
            Self::NotFound => "set the stream's path: moorline camera set CAMERA --path /…",
            Self::Status => "the camera's RTSP server is in trouble: restart it",
            Self::NoMedia => {
                "the camera offers no stream that can be read: check its encoder settings"
            }
            Self::Timeout => "the camera's RTSP server hangs: restart it",
            Self::FramingLost => "the camera's stream is garbled: lower its bitrate",
            Self::Closed => {
                "the camera's RTSP server closes the connection: restart it, or lower its bitrate"
            }
        };
        text.replace("CAMERA", &camera.id.in_command())
    }
}

/// What a relay reports of one source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayReport {
    /// Which stream.
    pub source: SourceName,
    /// What it sees.
    pub state: RelayState,
    /// Since when.
    pub since: Timestamp,
    /// The RTSP path that was found or set, once the camera has answered at it.
    pub path: Option<String>,
    /// Codecs in words (`H.264 1920x1080`, `PCMA 8 kHz`), once known.
    pub media: Vec<String>,
    /// Media received over the last seconds, in bits per second.
    pub bits_per_second: u64,
    /// Who reads it, the archiver included.
    pub readers: u32,
    /// Pictures received since the relay started.
    pub pictures: u64,
    /// Pictures that arrived damaged or not at all, since the relay started.
    pub pictures_lost: u64,
    /// Times that framing was found again, since the relay started.
    pub resyncs: u64,
}

/// What an archiver does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArchiveState {
    /// It waits for the relay.
    Waiting,
    /// Fragments are being synced.
    Recording,
    /// It seals and uploads what it has.
    Draining,
    /// The disk refuses.
    DiskFull,
}

/// What an archiver reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveReport {
    /// What it does.
    pub state: ArchiveState,
    /// The end of the last synced fragment.
    pub synced_until: Option<Timestamp>,
    /// The instant up to which everything is acknowledged by the store or is a gap.
    pub durable_until: Option<Timestamp>,
    /// Since when there is no media, if so.
    pub silent_since: Option<Timestamp>,
    /// Bytes of this camera that wait in the spool.
    pub spool_bytes: u64,
    /// Why audio is not recorded, in words (`the camera sends MP3, which is not recorded`).
    pub audio_note: Option<String>,
    /// The store's last refusal, in words, until an upload succeeds.
    pub store_error: Option<String>,
    /// Whether anything that the store could take waits for it.
    #[serde(default)]
    pub waits: Waits,
    /// Its relay has not been open to it for some seconds. What is missing then is missing between the two, whatever the camera sends. An archiver of
    /// an earlier version does not say.
    #[serde(default)]
    pub shut_out: bool,
}

/// Whether anything that the store could take waits for it. What is being written is not durable either, and a camera that sends one key frame
/// in half an hour makes one segment of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "for")]
pub enum Waits {
    /// An archiver of an earlier version does not say.
    #[default]
    Unknown,
    /// Nothing waits.
    Nothing,
    /// A segment is sealed and not acknowledged.
    Store {
        /// The end of the oldest one.
        end: Timestamp,
    },
}

/// A stretch without media that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenGap {
    /// The first missing instant.
    pub since: Timestamp,
    /// Why, at this moment. A stretch with several causes is split where the cause changes.
    pub cause: Cause,
}

/// What one camera is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CameraStatus {
    /// Which.
    pub camera: CameraId,
    /// Its link.
    pub link: LinkStatus,
    /// Since when the link is in that state.
    pub link_since: Timestamp,
    /// What the relay says, one per source that is read.
    pub relays: Vec<RelayReport>,
    /// What the archiver says; `None` while there is none.
    pub archive: Option<ArchiveReport>,
    /// The instant up to which everything is durable or explained; survives restarts.
    pub durable_until: Option<Timestamp>,
    /// The end of the newest recording that is durable; survives restarts. `None`: none is known.
    pub recorded_until: Option<Timestamp>,
    /// The stretches without media since `durable_until`, in order, closed ones first; the last one may be open.
    pub gaps: Vec<(OpenGap, Option<Timestamp>)>,
    /// What the camera says of itself (`STATUS` of MOORLINE/1), untrusted and bounded, as key and value.
    pub said: Vec<(String, String)>,
    /// The SSH client's version line, untrusted.
    pub client: Option<String>,
    /// What was new about its connections (rule S4), oldest first; the last 8.
    pub notices: Vec<Notice>,
    /// What else keeps it from being watched and recorded, in words; in a cluster the conditions of its resource that do not hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub troubles: Vec<String>,
}

impl CameraStatus {
    /// A camera of which nothing is known beyond its link.
    #[must_use]
    pub fn new(camera: CameraId, link: LinkStatus, link_since: Timestamp) -> Self {
        Self {
            camera,
            link,
            link_since,
            relays: Vec::new(),
            archive: None,
            durable_until: None,
            recorded_until: None,
            gaps: Vec::new(),
            said: Vec::new(),
            client: None,
            notices: Vec::new(),
            troubles: Vec::new(),
        }
    }

    /// The stretch without media that goes on now.
    pub fn open_gap(&self) -> Option<OpenGap> {
        self.gaps
            .last()
            .filter(|(_, end)| end.is_none())
            .map(|(gap, _)| *gap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::Retention;

    #[test]
    fn what_to_type_about_a_fault_can_be_typed_where_the_camera_is() {
        for (id, typed) in [
            ("home/yard", "moorline camera set yard --path"),
            (
                "acme/yard",
                "moorline camera set acme/yard --cluster --path",
            ),
        ] {
            let id = id.parse().unwrap();
            let camera = Camera::new(id, Timestamp::default(), Retention::Days(14));
            let hint = RtspFault::NotFound.hint(&camera);
            assert!(hint.contains(typed), "{hint}");
        }
    }
}
