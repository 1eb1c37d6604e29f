//! What a NAL unit is, by its first bytes.

use crate::octets::{from, u8_at};

/// What matters of a NAL unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NalKind {
    /// A slice of a picture.
    pub picture: bool,
    /// A slice of an IDR picture (H.264 type 5; H.265 19–21: IDR and CRA).
    pub idr: bool,
    /// SPS, PPS or VPS.
    pub parameter_set: bool,
    /// A slice to which nothing refers: `nal_ref_idc` 0; H.265 sub-layer non-reference.
    pub disposable: bool,
}

/// By the first byte of an H.264 NAL unit (RFC 6184 §1.3).
#[must_use]
pub fn classify_h264(header: u8) -> NalKind {
    let kind = header & 0x1f;
    let picture = (1..=5).contains(&kind);
    NalKind {
        picture,
        idr: kind == 5,
        parameter_set: kind == 7 || kind == 8,
        disposable: picture && header & 0x60 == 0,
    }
}

/// By the first byte of an H.265 NAL unit (RFC 7798 §1.1.4).
#[must_use]
pub fn classify_h265(header: u8) -> NalKind {
    let kind = (header >> 1) & 0x3f;
    let picture = kind < 32;
    NalKind {
        picture,
        idr: (19..=21).contains(&kind),
        parameter_set: (32..=34).contains(&kind),
        disposable: kind < 16 && kind.is_multiple_of(2),
    }
}

impl NalKind {
    /// Both: what a packet with two NAL units is. Disposable only if every picture in it is.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            picture: self.picture || other.picture,
            idr: self.idr || other.idr,
            parameter_set: self.parameter_set || other.parameter_set,
            disposable: (self.disposable || !self.picture)
                && (other.disposable || !other.picture)
                && (self.picture || other.picture),
        }
    }
}

/// A payload without the Annex B start code that some cameras leave in front of the NAL unit.
pub(crate) fn without_start_code(payload: &[u8]) -> &[u8] {
    payload
        .strip_prefix(&[0, 0, 0, 1])
        .or_else(|| payload.strip_prefix(&[0, 0, 1]))
        .unwrap_or(payload)
}

/// What an H.264 RTP payload holds: single NAL, STAP-A, FU-A. `None` for what has no meaning.
pub(crate) fn packet_h264(payload: &[u8]) -> Option<NalKind> {
    let payload = without_start_code(payload);
    let first = u8_at(payload, 0)?;
    match first & 0x1f {
        24 => aggregate(from(payload, 1), classify_h264),
        28 | 29 => {
            let fragment = u8_at(payload, 1)?;
            let kind = classify_h264((first & 0x60) | (fragment & 0x1f));
            // Only the start of a fragmented IDR begins one.
            Some(NalKind {
                idr: kind.idr && fragment & 0x80 != 0,
                ..kind
            })
        }
        1..=23 => Some(classify_h264(first)),
        _ => None,
    }
}

/// What an H.265 RTP payload holds: single NAL, AP, FU.
pub(crate) fn packet_h265(payload: &[u8]) -> Option<NalKind> {
    let payload = without_start_code(payload);
    let first = u8_at(payload, 0)?;
    match (first >> 1) & 0x3f {
        48 => aggregate(from(payload, 2), classify_h265),
        49 => {
            let fragment = u8_at(payload, 2)?;
            let kind = classify_h265((fragment & 0x3f) << 1);
            Some(NalKind {
                idr: kind.idr && fragment & 0x80 != 0,
                ..kind
            })
        }
        0..48 => Some(classify_h265(first)),
        _ => None,
    }
}

fn aggregate(mut units: &[u8], classify: fn(u8) -> NalKind) -> Option<NalKind> {
    let mut all: Option<NalKind> = None;
    while let Some(length) = crate::octets::u16_at(units, 0) {
        let Some(unit) = units.get(2..2 + usize::from(length)) else {
            break;
        };
        if let Some(header) = unit.first() {
            let kind = classify(*header);
            all = Some(all.map_or(kind, |before| before.and(kind)));
        }
        units = from(units, 2 + usize::from(length));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h264_packets() {
        assert!(packet_h264(&[0x65, 1]).unwrap().idr);
        assert!(packet_h264(&[0, 0, 0, 1, 0x67, 1]).unwrap().parameter_set);
        assert!(packet_h264(&[0x01, 1]).unwrap().disposable);
        assert!(!packet_h264(&[0x41, 1]).unwrap().disposable);
        let stap = packet_h264(&[0x78, 0, 2, 0x67, 1, 0, 2, 0x65, 1]).unwrap();
        assert!(stap.idr && stap.parameter_set && stap.picture && !stap.disposable);
        assert!(packet_h264(&[0x7c, 0x85, 1]).unwrap().idr);
        let middle = packet_h264(&[0x7c, 0x05, 1]).unwrap();
        assert!(!middle.idr && middle.picture);
        assert!(packet_h264(&[0x1c, 0x81]).unwrap().disposable);
        assert_eq!(packet_h264(&[]), None);
        assert_eq!(packet_h264(&[0x7c]), None);
    }

    #[test]
    fn h265_packets() {
        assert!(packet_h265(&[19 << 1, 1, 0]).unwrap().idr);
        assert!(packet_h265(&[32 << 1, 1, 0]).unwrap().parameter_set);
        assert!(packet_h265(&[0, 1, 0]).unwrap().disposable);
        assert!(!packet_h265(&[1 << 1, 1, 0]).unwrap().disposable);
        assert!(packet_h265(&[49 << 1, 1, 0x80 | 20]).unwrap().idr);
        assert!(!packet_h265(&[49 << 1, 1, 20]).unwrap().idr);
        let aggregate = packet_h265(&[48 << 1, 1, 0, 2, 33 << 1, 1, 0, 2, 21 << 1, 1]).unwrap();
        assert!(aggregate.idr && aggregate.parameter_set);
    }
}
