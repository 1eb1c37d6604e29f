//! A relay read with retina: DESCRIBE, SETUP of what is recorded, PLAY.
//!
//! Owns the choice of tracks: the first H.264 or H.265, and the first sound if it is AAC or G.711. Everything else is left out; of sound
//! that is left out the report tells (docs/design/lifecycle.md: `audio_note`). Bounds: an SDP of at most 16 KiB and 8 tracks (rule S31).

use std::sync::Arc;

use moorline_core::port::ByteStream;
use moorline_fmp4::NtpTime;
use retina::client::{
    Demuxed, InitialTimestampPolicy, PlayOptions, Session, SessionGroup, SessionOptions,
    SetupOptions, TcpTransportOptions, TeardownPolicy, Transport, UnassignedChannelDataPolicy,
};
use retina::codec::{FrameFormat, ParametersRef, VideoFrame};
use retina::rtcp::ReceivedCompoundPacket;

use super::audio::AudioCodec;
use super::bridge::Bridge;
use crate::error::TakeError;

/// Rule S31.
const LONGEST_SDP: usize = 16 * 1024;
const MOST_TRACKS: usize = 8;
const MOORLINE: &str = concat!("moorline-archiver/", env!("CARGO_PKG_VERSION"));

/// A track of sound that is recorded.
#[derive(Debug, Clone)]
pub(crate) struct SoundTrack {
    pub(crate) stream: usize,
    pub(crate) codec: AudioCodec,
    pub(crate) rate: u32,
}

/// A playing session.
pub(crate) struct Playing {
    pub(crate) demuxed: Demuxed,
    pub(crate) video: usize,
    pub(crate) clock_rate: u32,
    hevc: bool,
    pub(crate) sound: Option<SoundTrack>,
    /// Why sound is not recorded.
    pub(crate) audio_note: Option<String>,
    /// Ends the way to the relay when it is dropped: after the session.
    _bridge: Bridge,
}

/// Plays what comes from `relay`. A DESCRIBE may be held while the camera is away: whoever calls this listens for orders meanwhile.
///
/// # Errors
/// [`TakeError`]: the relay ended, or gives nothing that can be recorded.
pub(crate) async fn play(
    relay: ByteStream,
    clock: &moorline_base::SharedClock,
) -> Result<Playing, TakeError> {
    let bridge = Bridge::open(relay, clock).map_err(TakeError::Bridge)?;
    let options = SessionOptions::default()
        .user_agent(MOORLINE.to_owned())
        .session_group(Arc::new(SessionGroup::default()))
        // the relay is ours: closing the connection ends the session
        .teardown(TeardownPolicy::Never)
        .unassigned_channel_data(UnassignedChannelDataPolicy::Ignore);
    let mut session = Session::describe(bridge.url.clone(), options).await?;
    if session.sdp().len() > LONGEST_SDP || session.streams().len() > MOST_TRACKS {
        return Err(TakeError::TooLarge);
    }
    let streams = session.streams();
    let is_video = |name: &str| matches!(name, "h264" | "h265");
    let video = streams
        .iter()
        .position(|stream| stream.media() == "video" && is_video(stream.encoding_name()))
        .ok_or(TakeError::NoVideo)?;
    let clock_rate = streams
        .get(video)
        .map_or(90_000, |stream| stream.clock_rate_hz());
    let hevc = streams
        .get(video)
        .is_some_and(|stream| stream.encoding_name() == "h265");
    let (sound, audio_note) = sound(streams);
    let setup = || {
        SetupOptions::default()
            .transport(Transport::Tcp(TcpTransportOptions::default()))
            .frame_format(FrameFormat::MP4)
    };
    session.setup(video, setup()).await?;
    if let Some(sound) = &sound {
        session.setup(sound.stream, setup()).await?;
    }
    let policy = PlayOptions::default().initial_timestamp(InitialTimestampPolicy::Permissive);
    let demuxed = session.play(policy).await?.demuxed()?;
    Ok(Playing {
        demuxed,
        video,
        clock_rate: clock_rate.max(1),
        hevc,
        sound,
        audio_note,
        _bridge: bridge,
    })
}

impl Playing {
    /// The sample entry that the pictures have now, once it is known.
    ///
    /// # Errors
    /// If retina cannot build one.
    pub(crate) fn entry(&self) -> Result<Option<Vec<u8>>, TakeError> {
        let stream = self.demuxed.streams().get(self.video);
        match stream.and_then(|stream| stream.parameters()) {
            Some(ParametersRef::Video(video)) => {
                let entry = video.mp4_sample_entry().build();
                entry
                    .map(Some)
                    .map_err(|error| TakeError::Parameters(error.to_string()))
            }
            _ => Ok(None),
        }
    }

    /// Whether every picture that comes after a key frame is shown after it. H.265 knows key frames whose leading pictures come later.
    pub(crate) fn has_closed_groups(&self) -> bool {
        !self.hevc
    }

    /// Whether decoding can begin at this picture. retina says so of IDRs alone; encoders with open GOPs (x265's default) send one IDR and
    /// then CRAs, at which decoding can begin as well.
    pub(crate) fn is_key(&self, frame: &VideoFrame) -> bool {
        frame.is_random_access_point() || (self.hevc && is_irap(frame.data()))
    }
}

/// Whether the first slice of an H.265 picture (NAL units with 4-byte lengths) is of an IRAP picture (ITU-T H.265 table 7-1: 16 to 23).
fn is_irap(mut data: &[u8]) -> bool {
    while let Some((length, rest)) = data.split_first_chunk::<4>() {
        let Some((unit, rest)) = rest.split_at_checked(u32::from_be_bytes(*length) as usize) else {
            return false;
        };
        match unit.first().map(|header| header >> 1 & 0x3f) {
            Some(slice @ 0..32) => return (16..24).contains(&slice),
            _ => data = rest,
        }
    }
    false
}

/// What the relay marks by RTCP APP `MOOR` (RFC 3550 §6.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Media is not continuous any more, or the relay ends: so does the take.
    Boundary,
    /// The same because the camera's clock jumped.
    ClockStep,
    /// We were too slow and were moved to a later key frame: the take goes on.
    Overrun,
}

/// The relay's mark in this packet. A text that is not known ends the take: that is always right.
pub(crate) fn mark(packet: &ReceivedCompoundPacket) -> Option<Mark> {
    let mut marks = packet.pkts().filter_map(|packet| {
        let ours = packet.payload_type() == 204 && packet.raw().get(8..12) == Some(b"MOOR");
        let text = packet.raw().get(12..).filter(|_| ours)?;
        Some(match text {
            _ if text.starts_with(b"overrun") => Mark::Overrun,
            _ if text.starts_with(b"clock_step") => Mark::ClockStep,
            _ => Mark::Boundary,
        })
    });
    marks.next()
}

/// The camera's clock in a sender report, in microseconds since the Unix epoch.
pub(crate) fn reported(packet: &ReceivedCompoundPacket) -> Option<i64> {
    let report = packet.pkts().next()?.as_sender_report().ok()??;
    Some(NtpTime(report.ntp_timestamp().0).unix_micros())
}

fn sound(streams: &[retina::client::Stream]) -> (Option<SoundTrack>, Option<String>) {
    let mut audio = streams
        .iter()
        .enumerate()
        .filter(|(_, stream)| stream.media() == "audio");
    let Some((index, stream)) = audio.next() else {
        return (None, None);
    };
    let rate = stream.clock_rate_hz();
    let mono = stream.channels().is_none_or(|channels| channels.get() == 1);
    let codec = match (stream.encoding_name(), stream.parameters()) {
        ("mpeg4-generic", Some(ParametersRef::Audio(parameters))) => {
            Some(AudioCodec::Aac(parameters.extra_data().to_vec()))
        }
        ("pcma", _) if mono => Some(AudioCodec::Alaw),
        ("pcmu", _) if mono => Some(AudioCodec::Mulaw),
        _ => None,
    };
    match codec.filter(|_| (1..=192_000).contains(&rate)) {
        Some(codec) => (
            Some(SoundTrack {
                stream: index,
                codec,
                rate,
            }),
            None,
        ),
        None => (None, Some(note(stream.encoding_name(), mono))),
    }
}

/// In words that a person can act on. The name is the camera's: bounded, and only its letters.
fn note(encoding: &str, mono: bool) -> String {
    let name: String = match encoding {
        "mpa" | "mpa-robust" => "MP3".to_owned(),
        "opus" => "Opus".to_owned(),
        other => other
            .chars()
            .filter(|letter| letter.is_ascii_alphanumeric() || *letter == '-')
            .take(20)
            .collect::<String>()
            .to_uppercase(),
    };
    let several = !mono && matches!(encoding, "pcma" | "pcmu");
    let stereo = if several {
        " with several channels"
    } else {
        ""
    };
    format!("the camera sends {name}{stereo}, which is not recorded")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cra_is_a_key_frame_and_a_trailing_picture_is_none() {
        let picture = |slice: u8| {
            [
                &[0, 0, 0, 2, 35 << 1, 1, 0, 0, 0, 3][..],
                &[slice << 1, 1, 9],
            ]
            .concat()
        };
        assert!(is_irap(&picture(21)) && is_irap(&picture(19)));
        assert!(!is_irap(&picture(1)) && !is_irap(&[0, 0, 0, 9, 42]) && !is_irap(&[]));
    }

    #[test]
    fn the_note_names_the_codec_and_nothing_else_of_the_cameras_text() {
        assert_eq!(
            note("mpa", true),
            "the camera sends MP3, which is not recorded"
        );
        assert_eq!(
            note("opus", false),
            "the camera sends Opus, which is not recorded"
        );
        assert_eq!(
            note("g726-32\u{1b}[2J", true),
            "the camera sends G726-322J, which is not recorded"
        );
        assert_eq!(
            note("pcma", false),
            "the camera sends PCMA with several channels, which is not recorded"
        );
    }
}
