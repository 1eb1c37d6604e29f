//! What an interleaved frame carries, as far as dropping needs to know: timestamp, and whether a decoder may begin with it.
//!
//! Random access by the first payload bytes: H.264 NAL types 5, 7, 8 (RFC 6184), also within STAP-A and at the start of a FU-A; H.265 16 to 21
//! and 32 to 34 (RFC 7798). Of another codec every picture counts: Motion JPEG needs no other.

use moorline_control::Codec;

/// An RTP packet in its interleaved frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Packet {
    /// The RTP timestamp: one picture's packets share it.
    pub(crate) timestamp: u32,
    /// Whether a decoder may begin here.
    pub(crate) random_access: bool,
    /// Whether it only leads to a picture (a delimiter, an SEI): what it leads to is not known yet, and it is not missed.
    pub(crate) prefix: bool,
}

/// Reads a frame, its four bytes of head included. `None` when it is no RTP.
#[must_use]
pub(crate) fn packet(frame: &[u8], codec: Option<Codec>) -> Option<Packet> {
    let rtp = frame.get(4..)?;
    let (head, rest) = rtp.split_at_checked(12)?;
    let &[first, _, _, _, a, b, c, d, ..] = head else {
        return None;
    };
    if first >> 6 != 2 {
        return None;
    }
    let mut payload = rest.get(4 * usize::from(first & 0x0f)..)?;
    if first & 0x10 != 0 {
        let &[_, _, high, low, ..] = payload else {
            return None;
        };
        payload = payload.get(4 + 4 * usize::from(u16::from_be_bytes([high, low]))..)?;
    }
    Some(Packet {
        timestamp: u32::from_be_bytes([a, b, c, d]),
        random_access: has(payload, codec, begins_h264, begins_h265).unwrap_or(true),
        // Anything but a prefix in it, and it is none.
        prefix: has(
            payload,
            codec,
            |kind| !matches!(kind, 6 | 9),
            |kind| !matches!(kind, 35 | 39),
        )
        .is_some_and(|other| !other && begins_a_unit(payload, codec)),
    })
}

fn begins_h264(kind: u8) -> bool {
    matches!(kind, 5 | 7 | 8)
}

fn begins_h265(kind: u8) -> bool {
    matches!(kind, 16..=21 | 32..=34)
}

/// Whether a NAL unit of such a kind begins in the payload. `None` for a codec without NAL units.
fn has(
    payload: &[u8],
    codec: Option<Codec>,
    h264_kind: impl Fn(u8) -> bool,
    h265_kind: impl Fn(u8) -> bool,
) -> Option<bool> {
    match codec? {
        Codec::H264 => Some(h264(payload, h264_kind)),
        Codec::H265 => Some(h265(payload, h265_kind)),
        Codec::Mjpeg => None,
    }
}

fn h264(payload: &[u8], kind: impl Fn(u8) -> bool) -> bool {
    match payload {
        [first, rest @ ..] => match first & 31 {
            24 => inner(rest).any(|nal| nal.first().is_some_and(|first| kind(first & 31))),
            28 => rest
                .first()
                .is_some_and(|head| head & 0x80 != 0 && kind(head & 31)),
            single => kind(single),
        },
        [] => false,
    }
}

fn h265(payload: &[u8], kind: impl Fn(u8) -> bool) -> bool {
    match payload {
        [first, _, rest @ ..] => match first >> 1 & 63 {
            48 => inner(rest).any(|nal| nal.first().is_some_and(|first| kind(first >> 1 & 63))),
            49 => rest
                .first()
                .is_some_and(|head| head & 0x80 != 0 && kind(head & 63)),
            single => kind(single),
        },
        _ => false,
    }
}

/// Whether it is no later part of a fragmented unit, of which nothing is known.
fn begins_a_unit(payload: &[u8], codec: Option<Codec>) -> bool {
    has(payload, codec, |_| true, |_| true) == Some(true)
}

/// The NAL units of an aggregation: each behind its length of two bytes.
fn inner(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, behind) = rest.split_first_chunk::<2>()?;
        let (nal, behind) = behind.split_at_checked(u16::from_be_bytes(*length).into())?;
        rest = behind;
        Some(nal)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(payload: &[u8]) -> Vec<u8> {
        let rtp = [&[0x80, 96, 0, 1, 0, 0, 1, 2, 9, 9, 9, 9], payload].concat();
        let length = u16::try_from(rtp.len()).unwrap().to_be_bytes();
        [&[b'$', 0][..], &length, &rtp].concat()
    }

    #[track_caller]
    fn begins(codec: Codec, payload: &[u8]) -> bool {
        let packet = packet(&frame(payload), Some(codec)).unwrap();
        assert_eq!(packet.timestamp, 258);
        packet.random_access
    }

    #[test]
    fn where_a_decoder_may_begin() {
        for (payload, expected) in [
            (&[0x65, 1][..], true),
            (&[0x67, 1], true),
            (&[0x68, 1], true),
            (&[0x41, 1], false),
            (&[0x06, 1], false),
            (&[0x7c, 0x85], true),
            (&[0x7c, 0x05], false),
            (&[0x7c, 0x81], false),
            (&[0x78, 0, 1, 6, 0, 1, 0x67], true),
            (&[0x78, 0, 1, 6, 0, 1, 0x41], false),
            (&[0x78, 0, 9, 7], false),
            (&[], false),
        ] {
            assert_eq!(begins(Codec::H264, payload), expected, "{payload:x?}");
        }
        for (payload, expected) in [
            (&[0x26, 1, 0][..], true),
            (&[0x40, 1], true),
            (&[0x02, 1], false),
            (&[0x62, 1, 0x93], true),
            (&[0x62, 1, 0x13], false),
            (&[0x60, 1, 0, 1, 0x42], true),
            (&[0x26], false),
        ] {
            assert_eq!(begins(Codec::H265, payload), expected, "{payload:x?}");
        }
    }

    #[test]
    fn what_only_leads_to_a_picture() {
        for (payload, expected) in [
            (&[0x06, 1][..], true),
            (&[0x09, 0xf0], true),
            (&[0x78, 0, 1, 9, 0, 1, 6], true),
            (&[0x78, 0, 1, 6, 0, 1, 0x41], false),
            (&[0x65, 1], false),
            (&[0x41, 1], false),
            (&[0x7c, 0x05], false),
            (&[0x7c, 0x81], false),
        ] {
            let packet = packet(&frame(payload), Some(Codec::H264)).unwrap();
            assert_eq!(packet.prefix, expected, "{payload:x?}");
        }
        let sei = packet(&frame(&[39 << 1, 1, 0]), Some(Codec::H265)).unwrap();
        assert!(sei.prefix && !sei.random_access);
        let jpeg = packet(&frame(&[0, 0]), Some(Codec::Mjpeg)).unwrap();
        assert!(!jpeg.prefix && jpeg.random_access);
    }

    #[test]
    fn csrc_and_extension_are_stepped_over_and_cut_packets_are_none() {
        let mut rtp = vec![0x91, 96, 0, 1, 0, 0, 1, 2, 9, 9, 9, 9, 1, 1, 1, 1];
        rtp.extend([0xbe, 0xde, 0, 1, 7, 7, 7, 7, 0x65]);
        let whole = [&[b'$', 0, 0, 25][..], &rtp].concat();
        assert!(packet(&whole, Some(Codec::H264)).unwrap().random_access);
        for length in 0..whole.len() - 1 {
            assert_eq!(
                packet(&whole[..length], Some(Codec::H264)),
                None,
                "{length}"
            );
        }
    }
}
