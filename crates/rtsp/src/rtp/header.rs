//! The RTP header, and the patching of it.

use bytes::{BufMut, BytesMut};

use crate::octets::{u8_at, u16_at, u32_at};

/// What stands in an RTP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpHeader {
    /// The marker bit: for video the last packet of a picture, mostly.
    pub marker: bool,
    /// The payload type, 0–127.
    pub payload_type: u8,
    /// The sequence number.
    pub sequence: u16,
    /// The media timestamp.
    pub timestamp: u32,
    /// Who sends.
    pub ssrc: u32,
    /// Where the payload begins (after CSRCs and the extension).
    pub payload_start: usize,
    /// Where the payload ends (before the padding).
    pub payload_end: usize,
}

impl RtpHeader {
    /// Reads the header of a packet; `None` if it is no RTP version 2 or shorter than it says.
    #[must_use]
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let first = u8_at(packet, 0)?;
        let second = u8_at(packet, 1)?;
        if first >> 6 != 2 {
            return None;
        }
        let mut payload_start = 12 + 4 * usize::from(first & 0x0f);
        if first & 0x10 != 0 {
            payload_start += 4 + 4 * usize::from(u16_at(packet, payload_start + 2)?);
        }
        let padding = if first & 0x20 != 0 {
            usize::from(*packet.last()?)
        } else {
            0
        };
        let payload_end = packet
            .len()
            .checked_sub(padding)
            .filter(|end| *end >= payload_start)?;
        Some(Self {
            marker: second & 0x80 != 0,
            payload_type: second & 0x7f,
            sequence: u16_at(packet, 2)?,
            timestamp: u32_at(packet, 4)?,
            ssrc: u32_at(packet, 8)?,
            payload_start,
            payload_end,
        })
    }

    /// The payload of the packet that this header was read from.
    #[must_use]
    pub fn payload<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        packet
            .get(self.payload_start..self.payload_end)
            .unwrap_or_default()
    }
}

/// The numbers that a relay puts in the place of the camera's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpPatch {
    /// The relay's own SSRC.
    pub ssrc: u32,
    /// The sequence number to write.
    pub sequence: u16,
    /// The timestamp to write.
    pub timestamp: u32,
}

/// Replaces SSRC, sequence number and timestamp of `packet`. Does nothing and answers `false` if it has no 12 bytes.
pub fn patch(packet: &mut [u8], patch: RtpPatch) -> bool {
    let Some(fields) = packet.get_mut(2..12) else {
        return false;
    };
    let [s0, s1] = patch.sequence.to_be_bytes();
    let [t0, t1, t2, t3] = patch.timestamp.to_be_bytes();
    let [c0, c1, c2, c3] = patch.ssrc.to_be_bytes();
    fields.copy_from_slice(&[s0, s1, t0, t1, t2, t3, c0, c1, c2, c3]);
    true
}

/// Appends the 4 bytes `$ channel length` (RFC 2326 §10.12).
pub fn append_frame_header(out: &mut BytesMut, channel: u8, length: u16) {
    out.put_u8(b'$');
    out.put_u8(channel);
    out.put_u16(length);
}

/// Copies `packet` behind a `$` header into `out`, with the numbers of `renumber` if given. `packet` stays untouched.
/// `false`, and nothing appended, if it is longer than 65,535 bytes.
pub fn append_frame(
    out: &mut BytesMut,
    channel: u8,
    packet: &[u8],
    renumber: Option<RtpPatch>,
) -> bool {
    let Ok(length) = u16::try_from(packet.len()) else {
        return false;
    };
    append_frame_header(out, channel, length);
    let start = out.len();
    out.put_slice(packet);
    if let (Some(renumber), Some(copy)) = (renumber, out.get_mut(start..)) {
        patch(copy, renumber);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extension_csrc_and_padding_are_left_out_of_the_payload() {
        let mut packet = vec![
            0xb1, 0xe0, 0, 7, 0, 0, 0, 9, 0, 0, 0, 5, 1, 1, 1, 1, 0xbe, 0xde, 0, 1, 9, 9, 9, 9,
        ];
        packet.extend([1, 2, 3, 0, 2]);
        let header = RtpHeader::parse(&packet).unwrap();
        assert_eq!(
            (header.marker, header.payload_type, header.sequence),
            (true, 96, 7)
        );
        assert_eq!(header.payload(&packet), [1, 2, 3]);
    }

    #[test]
    fn lies_about_lengths_are_refused() {
        assert_eq!(RtpHeader::parse(&[0x80; 11]), None);
        assert_eq!(RtpHeader::parse(&[0x40; 12]), None);
        let mut padded = [0u8; 12];
        padded[0] = 0xa0;
        padded[11] = 200;
        assert_eq!(RtpHeader::parse(&padded), None);
    }

    #[test]
    fn a_frame_is_copied_once_with_its_new_numbers() {
        let packet = [0x80, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 42];
        let mut out = BytesMut::new();
        assert!(append_frame(
            &mut out,
            2,
            &packet,
            Some(RtpPatch {
                ssrc: 0xaabb_ccdd,
                sequence: 0x1122,
                timestamp: 0x3344_5566
            })
        ));
        assert_eq!(
            &out[..],
            [
                b'$', 2, 0, 13, 0x80, 96, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0xaa, 0xbb, 0xcc,
                0xdd, 42
            ]
        );
        assert!(!append_frame(&mut out, 2, &vec![0; 65_536], None));
        assert_eq!(out.len(), 17);
    }
}
