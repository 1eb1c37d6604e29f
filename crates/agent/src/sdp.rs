//! What the agent reads of a streamer's SDP (RFC 8866): which stream is video, in which codec, how big and how fast.

use moorline_control::Codec;

use crate::words::{number, place_of};

/// One `m=` section.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Media {
    /// Whether it is video.
    pub video: bool,
    /// Its codec, when it is one that we know.
    pub codec: Option<Codec>,
    /// `a=control`.
    pub control: String,
    /// Width and height.
    pub size: Option<(u16, u16)>,
    /// Pictures per second.
    pub fps: Option<u16>,
    /// Kilobits per second.
    pub kbps: Option<u32>,
}

/// No camera has more (S31).
const MAX_MEDIA: usize = 8;

/// All sections, in their order.
#[must_use]
pub fn media(sdp: &[u8]) -> Vec<Media> {
    let text = String::from_utf8_lossy(sdp);
    let mut all: Vec<Media> = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("m=") {
            if all.len() == MAX_MEDIA {
                break;
            }
            let static_jpeg = rest.split_ascii_whitespace().nth(3) == Some("26");
            all.push(Media {
                video: rest.starts_with("video"),
                codec: static_jpeg.then_some(Codec::Mjpeg),
                ..Media::default()
            });
        } else if let Some(media) = all.last_mut() {
            attribute(media, line);
        }
    }
    all
}

const SETS: &str = "sprop-parameter-sets=";

fn attribute(media: &mut Media, line: &str) {
    let value = |name: &str| line.strip_prefix(name);
    if let Some(rest) = value("a=rtpmap:") {
        let codec = rest.split_ascii_whitespace().nth(1).unwrap_or_default();
        let name = codec.split('/').next().unwrap_or_default();
        media.codec = media.codec.or(match name.to_ascii_uppercase().as_str() {
            "H264" => Some(Codec::H264),
            "H265" | "HEVC" => Some(Codec::H265),
            "JPEG" => Some(Codec::Mjpeg),
            _ => None,
        });
    } else if let Some(rest) = value("a=control:") {
        rest.trim_ascii().clone_into(&mut media.control);
    } else if let Some(rest) = value("b=AS:") {
        media.kbps = number(rest.trim_ascii());
    } else if let Some(rest) = value("a=framerate:") {
        // `25`, `25.0`: whole pictures are near enough.
        media.fps = rest.trim_ascii().split('.').next().and_then(number);
    } else if let Some(rest) = value("a=x-dimensions:") {
        media.size = pair(rest, ',');
    } else if let Some(rest) = value("a=framesize:") {
        media.size = rest
            .split_ascii_whitespace()
            .nth(1)
            .and_then(|size| pair(size, '-'));
    } else if let Some(rest) = value("a=fmtp:") {
        let sets = rest.split(';').find_map(|part| {
            let at = place_of(part, SETS)?;
            part.trim_ascii_end().get(at + SETS.len()..)
        });
        let first = sets.and_then(|sets| sets.split(',').next());
        let size =
            first.and_then(|text| crate::sps::size(&moorline_control::bytes_of_base64(text)?));
        media.size = media.size.or(size);
    }
}

fn pair(text: &str, parted: char) -> Option<(u16, u16)> {
    let (width, height) = text.trim_ascii().split_once(parted)?;
    Some((number(width)?, number(height)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_thingino_and_live555_say() {
        let sdp = b"v=0\r\ns=x\r\na=control:*\r\nm=video 0 RTP/AVP 96\r\nb=AS:3000\r\na=rtpmap:96 H264/90000\r\n\
            a=framerate:25.0\r\na=control:track1\r\na=x-dimensions:1920,1080\r\n\
            m=audio 0 RTP/AVP 97\r\na=rtpmap:97 OPUS/48000/2\r\na=control:track2\r\n\
            m=video 0 RTP/AVP 26\r\na=framesize:26 640-360\r\n";
        let all = media(sdp);
        let expected = Media {
            video: true,
            codec: Some(Codec::H264),
            control: "track1".into(),
            size: Some((1920, 1080)),
            fps: Some(25),
            kbps: Some(3000),
        };
        assert_eq!(all[0], expected);
        assert!(!all[1].video);
        assert_eq!(
            (all[2].codec, all[2].size),
            (Some(Codec::Mjpeg), Some((640, 360)))
        );
    }

    #[test]
    fn the_size_stands_in_the_parameter_sets() {
        let sdp = b"m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n\
            a=fmtp:96 packetization-mode=1;profile-level-id=64001F;sprop-parameter-sets=Z2QAH6zZQFAFuhAAAAMAEAAAAwPA8YMZYA==,aOvjyyLA\r\n";
        assert_eq!(media(sdp)[0].size, Some((1280, 720)));
    }
}
