//! NAL units out of one RTP payload: single, aggregated, fragmented (RFC 6184 §5, RFC 7798 §4.4), and Annex B where a camera left it in.

use crate::octets::{from, u8_at, u16_at};
use crate::sdp::Codec;

/// What a payload holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet<'a> {
    /// Whole NAL units.
    Units(Vec<&'a [u8]>),
    /// A part of one.
    Fragment {
        start: bool,
        end: bool,
        header: [u8; 2],
        data: &'a [u8],
    },
    /// Nothing that is known.
    Unknown,
}

/// NAL units of one aggregate.
const MAX_AGGREGATED: usize = 256;

pub(super) fn unpack(codec: Codec, payload: &[u8]) -> Packet<'_> {
    if payload.starts_with(&[0, 0, 1]) || payload.starts_with(&[0, 0, 0, 1]) {
        return Packet::Units(vec![payload]);
    }
    let fragment = if codec == Codec::H265 {
        h265(payload)
    } else {
        h264(payload)
    };
    fragment.unwrap_or(Packet::Unknown)
}

fn h264(payload: &[u8]) -> Option<Packet<'_>> {
    let first = u8_at(payload, 0)?;
    Some(match first & 0x1f {
        1..=23 => Packet::Units(vec![payload]),
        24 => Packet::Units(aggregated(from(payload, 1))),
        28 => {
            let fragment = u8_at(payload, 1)?;
            Packet::Fragment {
                start: fragment & 0x80 != 0,
                end: fragment & 0x40 != 0,
                header: [(first & 0xe0) | (fragment & 0x1f), 0],
                data: from(payload, 2),
            }
        }
        _ => Packet::Unknown,
    })
}

fn h265(payload: &[u8]) -> Option<Packet<'_>> {
    let (first, second) = (u8_at(payload, 0)?, u8_at(payload, 1)?);
    Some(match (first >> 1) & 0x3f {
        48 => Packet::Units(aggregated(from(payload, 2))),
        49 => {
            let fragment = u8_at(payload, 2)?;
            Packet::Fragment {
                start: fragment & 0x80 != 0,
                end: fragment & 0x40 != 0,
                header: [(first & 0x81) | ((fragment & 0x3f) << 1), second],
                data: from(payload, 3),
            }
        }
        0..48 => Packet::Units(vec![payload]),
        _ => Packet::Unknown,
    })
}

fn aggregated(mut rest: &[u8]) -> Vec<&[u8]> {
    let mut units = Vec::new();
    while let Some(length) = u16_at(rest, 0).filter(|_| units.len() < MAX_AGGREGATED) {
        let end = 2 + usize::from(length);
        match rest.get(2..end) {
            Some(unit) if !unit.is_empty() => units.push(unit),
            Some(_) => {}
            None => break,
        }
        rest = from(rest, end);
    }
    units
}

/// Splits at start codes. A NAL unit never holds `00 00 01` itself (emulation prevention), so one is a start code wherever it stands.
pub(super) fn split_annex_b(bytes: &[u8]) -> Vec<&[u8]> {
    let mut units = Vec::new();
    let mut rest = bytes;
    loop {
        let code = rest.windows(3).position(|window| window == [0, 0, 1]);
        let (unit, after) = match code {
            Some(at) => (rest.get(..at).unwrap_or_default(), Some(from(rest, at + 3))),
            None => (rest, None),
        };
        // Zeros before a start code belong to it. At the end they are kept: cabac_zero_words are legal, and harmless.
        let trimmed = match after {
            Some(_) => unit
                .get(
                    ..unit
                        .iter()
                        .rposition(|b| *b != 0)
                        .map_or(0, |last| last + 1),
                )
                .unwrap_or_default(),
            None => unit,
        };
        if !trimmed.is_empty() && units.len() < MAX_AGGREGATED {
            units.push(trimmed);
        }
        match after {
            Some(after) => rest = after,
            None => return units,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annex_b_is_split() {
        let bytes = [0, 0, 0, 1, 0x67, 1, 0, 0, 0, 1, 0x68, 2, 0, 0, 1, 0x65, 3];
        assert_eq!(
            split_annex_b(&bytes),
            [&[0x67, 1][..], &[0x68, 2], &[0x65, 3]]
        );
        assert_eq!(split_annex_b(&[0x65, 3]), [&[0x65, 3][..]]);
        assert_eq!(split_annex_b(&[0, 0, 1]), [&[] as &[u8]; 0]);
    }
}
