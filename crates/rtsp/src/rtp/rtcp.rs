//! RTCP packets (RFC 3550 §6). The relay ends RTCP on both sides: it reads the camera's sender reports and the readers'
//! receiver reports, and writes its own.

use std::time::Duration;

use bytes::{BufMut, BytesMut};

use crate::octets::{u8_at, u16_at, u32_at, u64_at};

/// The name of our APP packet: a boundary in a stream that goes on (docs/design/relay.md, The archiver's way in).
pub const APP_MOOR: [u8; 4] = *b"MOOR";

/// Packets of one compound that are read; more are ignored.
const MAX_PACKETS: usize = 32;
/// Seconds from 1900 (NTP) to 1970 (Unix).
const NTP_UNIX_OFFSET: u64 = 2_208_988_800;

/// An NTP timestamp in 32.32 fixed point, as it stands in a sender report.
#[must_use]
pub fn ntp_from_unix(since_1970: Duration) -> u64 {
    let seconds = since_1970.as_secs().wrapping_add(NTP_UNIX_OFFSET) & 0xffff_ffff;
    let fraction = (u64::from(since_1970.subsec_nanos()) << 32) / 1_000_000_000;
    (seconds << 32) | fraction
}

/// The Unix time of an NTP timestamp; `None` before 1970 (a camera that has no clock).
#[must_use]
pub fn unix_from_ntp(ntp: u64) -> Option<Duration> {
    let seconds = (ntp >> 32).checked_sub(NTP_UNIX_OFFSET)?;
    let nanos = ((ntp & 0xffff_ffff) * 1_000_000_000) >> 32;
    Some(Duration::from_secs(seconds) + Duration::from_nanos(nanos))
}

/// A sender report without its report blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderReport {
    /// Who sends.
    pub ssrc: u32,
    /// NTP timestamp, 32.32.
    pub ntp: u64,
    /// The same instant in RTP units.
    pub rtp_time: u32,
    /// Packets sent.
    pub packets: u32,
    /// Payload bytes sent.
    pub octets: u32,
}

/// One report block of a receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportBlock {
    /// Whose packets are reported.
    pub ssrc: u32,
    /// Lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Lost in all, 24 bits with sign.
    pub cumulative_lost: i32,
    /// Highest sequence number with its cycles.
    pub highest_sequence: u32,
    /// Jitter in RTP units.
    pub jitter: u32,
    /// Middle 32 bits of the last sender report's NTP time.
    pub last_sr: u32,
    /// Time since that report in 1/65536 s.
    pub delay_since_last_sr: u32,
}

/// One packet of a compound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RtcpPacket {
    /// SR.
    SenderReport(SenderReport),
    /// RR: the reporter's SSRC and its blocks (at most 31).
    ReceiverReport(u32, Vec<ReportBlock>),
    /// SDES: SSRC and CNAME of the first chunk, if it has one.
    SourceDescription(u32, Option<String>),
    /// BYE: who leaves.
    Bye(Vec<u32>),
    /// APP: SSRC, name, data.
    App(u32, [u8; 4], Vec<u8>),
    /// Any other type (feedback, XR).
    Other(u8),
}

/// Reads a compound packet. What cannot be read ends it; what came before is kept.
#[must_use]
pub fn parse_compound(bytes: &[u8]) -> Vec<RtcpPacket> {
    let mut packets = Vec::new();
    let mut rest = bytes;
    while packets.len() < MAX_PACKETS {
        let Some((packet, after)) = split_packet(rest) else {
            break;
        };
        let Some(packet) = parse_packet(packet) else {
            break;
        };
        packets.push(packet);
        rest = after;
    }
    packets
}

fn split_packet(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    if u8_at(bytes, 0)? >> 6 != 2 {
        return None;
    }
    let length = 4 * (usize::from(u16_at(bytes, 2)?) + 1);
    bytes.split_at_checked(length)
}

fn parse_packet(packet: &[u8]) -> Option<RtcpPacket> {
    let count = usize::from(u8_at(packet, 0)? & 0x1f);
    Some(match u8_at(packet, 1)? {
        200 => RtcpPacket::SenderReport(SenderReport {
            ssrc: u32_at(packet, 4)?,
            ntp: u64_at(packet, 8)?,
            rtp_time: u32_at(packet, 16)?,
            packets: u32_at(packet, 20)?,
            octets: u32_at(packet, 24)?,
        }),
        201 => {
            let blocks = (0..count)
                .map_while(|n| parse_block(packet, 8 + 24 * n))
                .collect();
            RtcpPacket::ReceiverReport(u32_at(packet, 4)?, blocks)
        }
        202 => parse_description(packet, count),
        203 => RtcpPacket::Bye(
            (0..count)
                .map_while(|n| u32_at(packet, 4 + 4 * n))
                .collect(),
        ),
        204 => {
            let name = packet.get(8..12)?.try_into().ok()?;
            RtcpPacket::App(u32_at(packet, 4)?, name, packet.get(12..)?.to_vec())
        }
        other => RtcpPacket::Other(other),
    })
}

fn parse_block(packet: &[u8], at: usize) -> Option<ReportBlock> {
    let lost = u32_at(packet, at + 4)?;
    Some(ReportBlock {
        ssrc: u32_at(packet, at)?,
        fraction_lost: u8::try_from(lost >> 24).ok()?,
        // The lower 24 bits are signed: shift them up and down again.
        cumulative_lost: ((lost << 8).cast_signed()) >> 8,
        highest_sequence: u32_at(packet, at + 8)?,
        jitter: u32_at(packet, at + 12)?,
        last_sr: u32_at(packet, at + 16)?,
        delay_since_last_sr: u32_at(packet, at + 20)?,
    })
}

fn parse_description(packet: &[u8], count: usize) -> RtcpPacket {
    let Some(ssrc) = u32_at(packet, 4).filter(|_| count > 0) else {
        return RtcpPacket::SourceDescription(0, None);
    };
    let mut at = 8;
    while let (Some(kind), Some(length)) = (u8_at(packet, at), u8_at(packet, at + 1)) {
        let end = at + 2 + usize::from(length);
        let Some(text) = packet.get(at + 2..end).filter(|_| kind != 0) else {
            break;
        };
        if kind == 1 {
            let name = crate::octets::clean(&String::from_utf8_lossy(text));
            return RtcpPacket::SourceDescription(ssrc, Some(name));
        }
        at = end;
    }
    RtcpPacket::SourceDescription(ssrc, None)
}

fn put_header(out: &mut BytesMut, count: u8, kind: u8, words_after: u16) {
    out.put_u8(0x80 | (count & 0x1f));
    out.put_u8(kind);
    out.put_u16(words_after);
}

impl SenderReport {
    /// Appends SR and SDES (CNAME), the compound that RFC 3550 §6.1 asks for. `cname` is cut at 64 bytes.
    pub fn encode(&self, cname: &str, out: &mut BytesMut) {
        put_header(out, 0, 200, 6);
        out.put_u32(self.ssrc);
        out.put_u64(self.ntp);
        out.put_u32(self.rtp_time);
        out.put_u32(self.packets);
        out.put_u32(self.octets);
        encode_cname(self.ssrc, cname, out);
    }
}

/// Appends an SDES packet with a CNAME, cut at 64 bytes.
pub fn encode_cname(ssrc: u32, cname: &str, out: &mut BytesMut) {
    let text = cname
        .as_bytes()
        .get(..cname.len().min(64))
        .unwrap_or_default();
    // Item (2 + text) and at least one zero byte, filled up to words.
    let item = text.len() + 3;
    let words = item.div_ceil(4);
    put_header(out, 1, 202, u16::try_from(words + 1).unwrap_or(u16::MAX));
    out.put_u32(ssrc);
    out.put_u8(1);
    out.put_u8(u8::try_from(text.len()).unwrap_or(64));
    out.put_slice(text);
    out.put_bytes(0, words * 4 - 2 - text.len());
}

/// Appends an RR and an SDES with a CNAME. At most 31 blocks are written.
pub fn encode_receiver_report(ssrc: u32, blocks: &[ReportBlock], cname: &str, out: &mut BytesMut) {
    let count = u8::try_from(blocks.len().min(31)).unwrap_or(31);
    put_header(out, count, 201, 1 + 6 * u16::from(count));
    out.put_u32(ssrc);
    for block in blocks.iter().take(31) {
        out.put_u32(block.ssrc);
        let lost = block
            .cumulative_lost
            .clamp(-0x80_0000, 0x7f_ffff)
            .cast_unsigned()
            & 0x00ff_ffff;
        out.put_u32((u32::from(block.fraction_lost) << 24) | lost);
        out.put_u32(block.highest_sequence);
        out.put_u32(block.jitter);
        out.put_u32(block.last_sr);
        out.put_u32(block.delay_since_last_sr);
    }
    encode_cname(ssrc, cname, out);
}

/// Appends a BYE of one source. It may stand alone only in a `$` frame of ours; RFC 3550 wants a report before it, so an empty RR is.
pub fn encode_bye(ssrc: u32, out: &mut BytesMut) {
    put_header(out, 0, 201, 1);
    out.put_u32(ssrc);
    put_header(out, 1, 203, 1);
    out.put_u32(ssrc);
}

/// Appends an APP packet. `data` is filled with zeros to whole words and cut at 1,024 bytes.
pub fn encode_app(ssrc: u32, name: [u8; 4], data: &[u8], out: &mut BytesMut) {
    let data = data.get(..data.len().min(1024)).unwrap_or_default();
    let words = data.len().div_ceil(4);
    put_header(out, 0, 204, u16::try_from(2 + words).unwrap_or(u16::MAX));
    out.put_u32(ssrc);
    out.put_slice(&name);
    out.put_slice(data);
    out.put_bytes(0, words * 4 - data.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let report = SenderReport {
            ssrc: 1,
            ntp: 0x0102_0304_0506_0708,
            rtp_time: 3,
            packets: 4,
            octets: 5,
        };
        let block = ReportBlock {
            ssrc: 9,
            fraction_lost: 3,
            cumulative_lost: -2,
            highest_sequence: 70_000,
            ..ReportBlock::default()
        };
        let mut out = BytesMut::new();
        report.encode("moorline", &mut out);
        encode_receiver_report(7, &[block], "abc", &mut out);
        encode_app(7, APP_MOOR, b"gen=5", &mut out);
        encode_bye(7, &mut out);
        assert_eq!(out.len() % 4, 0);
        assert_eq!(
            parse_compound(&out),
            [
                RtcpPacket::SenderReport(report),
                RtcpPacket::SourceDescription(1, Some("moorline".into())),
                RtcpPacket::ReceiverReport(7, vec![block]),
                RtcpPacket::SourceDescription(7, Some("abc".into())),
                RtcpPacket::App(7, APP_MOOR, b"gen=5\0\0\0".to_vec()),
                RtcpPacket::ReceiverReport(7, vec![]),
                RtcpPacket::Bye(vec![7]),
            ]
        );
    }

    #[test]
    fn ntp_and_unix_convert_both_ways() {
        let instant = Duration::new(1_700_000_000, 500_000_000);
        assert_eq!(ntp_from_unix(instant) & 0xffff_ffff, 0x8000_0000);
        assert_eq!(unix_from_ntp(ntp_from_unix(instant)), Some(instant));
        assert_eq!(unix_from_ntp(1 << 32), None);
    }

    #[test]
    fn a_cut_compound_keeps_what_came_whole() {
        let mut out = BytesMut::new();
        encode_bye(7, &mut out);
        out.truncate(out.len() - 1);
        assert_eq!(
            parse_compound(&out),
            [RtcpPacket::ReceiverReport(7, vec![])]
        );
    }
}
