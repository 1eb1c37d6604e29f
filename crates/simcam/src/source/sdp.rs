//! What the camera says of its streams (RFC 4566, RFC 6184 §8.2).

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::audio::Audio;
use crate::video::Film;

/// RTP payload type of video.
pub(super) const VIDEO: u8 = 96;

/// The session description; `control` off leaves every `a=control` out.
pub(super) fn describe(film: &dyn Film, audio: Option<Audio>, control: bool) -> String {
    let (sps, pps) = film.parameter_sets();
    let profile = sps
        .get(1..4)
        .unwrap_or_default()
        .iter()
        .fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02X}");
            text
        });
    let rate = 1.0 / film.interval().as_secs_f64();
    let mut text = String::from(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=Simulated camera\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=tool:moorline-simcam\r\na=range:npt=now-\r\n",
    );
    if control {
        text.push_str("a=control:*\r\n");
    }
    let _ = write!(
        text,
        "m=video 0 RTP/AVP {VIDEO}\r\na=rtpmap:{VIDEO} H264/90000\r\n\
         a=fmtp:{VIDEO} packetization-mode=1;profile-level-id={profile};sprop-parameter-sets={},{}\r\na=framerate:{rate:.0}\r\n",
        STANDARD.encode(&sps),
        STANDARD.encode(&pps),
    );
    if control {
        text.push_str("a=control:trackID=0\r\n");
    }
    if let Some(audio) = audio {
        let _ = write!(
            text,
            "m=audio 0 RTP/AVP {}\r\n{}",
            audio.payload_type(),
            audio.description()
        );
        if control {
            text.push_str("a=control:trackID=1\r\n");
        }
    }
    text
}
