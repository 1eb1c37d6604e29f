//! One track's RTP and sender reports, framed for the RTSP connection (RFC 3550, RFC 2326 §10.12).

use std::time::{Duration, Instant};

use bytes::{BufMut as _, BytesMut};
use moorline_rtsp::rtp::{append_frame, append_frame_header, rtcp};

/// Time between two sender reports.
const REPORT: Duration = Duration::from_secs(5);

/// What a packet adds to its payload: `$` header, RTP header, FU-A header.
const FRAMING: usize = 4 + 12 + 2;

/// Interleaved frames, and where each begins.
#[derive(Debug, Default)]
pub(super) struct Frames {
    pub(super) bytes: BytesMut,
    pub(super) starts: Vec<usize>,
}

impl Frames {
    /// Room for a picture of so many bytes in packets of at most `max`: it is copied once, and nothing grows.
    pub(super) fn with_room(bytes: usize, max: usize) -> Self {
        // Parameter sets, stamp and slice come in packets of their own.
        let packets = bytes / max.saturating_sub(2).max(1) + 4;
        Self {
            bytes: BytesMut::with_capacity(bytes + packets * FRAMING),
            starts: Vec::with_capacity(packets),
        }
    }

    /// Appends a frame of any channel.
    pub(super) fn push(&mut self, channel: u8, packet: &[u8]) {
        self.starts.push(self.bytes.len());
        append_frame(&mut self.bytes, channel, packet, None);
    }
}

/// Where a connection gets one track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Channels {
    pub(super) rtp: u8,
    pub(super) rtcp: u8,
}

/// Numbers the packets of one track of one connection.
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) channels: Channels,
    pub(super) payload_type: u8,
    clock_rate: u32,
    pub(super) ssrc: u32,
    pub(super) sequence: u16,
    /// Added to every timestamp.
    origin: u32,
    packets: u32,
    octets: u32,
    next_report: Option<Instant>,
}

impl Sender {
    pub(super) fn new(channels: Channels, payload_type: u8, clock_rate: u32) -> Self {
        Self {
            channels,
            payload_type,
            clock_rate,
            ssrc: rand::random(),
            sequence: rand::random(),
            origin: rand::random(),
            packets: 0,
            octets: 0,
            next_report: None,
        }
    }

    /// The RTP time of an instant, as time since the camera started; it wraps.
    pub(super) fn timestamp(&self, since_start: Duration) -> u32 {
        let units = since_start.as_nanos() * u128::from(self.clock_rate) / 1_000_000_000;
        self.origin.wrapping_add(units as u32)
    }

    pub(super) fn jump(&mut self, by: Duration) {
        self.origin = self.timestamp(by);
    }

    pub(super) fn jump_back(&mut self, by: Duration) {
        let forward = self.timestamp(by).wrapping_sub(self.origin);
        self.origin = self.origin.wrapping_sub(forward);
    }

    /// Appends one packet.
    pub(super) fn packet(
        &mut self,
        frames: &mut Frames,
        timestamp: u32,
        marker: bool,
        payload: [&[u8]; 2],
    ) {
        let length = payload.iter().map(|part| part.len()).sum::<usize>();
        let Ok(framed) = u16::try_from(12 + length) else {
            return;
        };
        frames.starts.push(frames.bytes.len());
        append_frame_header(&mut frames.bytes, self.channels.rtp, framed);
        self.header(&mut frames.bytes, self.payload_type, timestamp, marker);
        for part in payload {
            frames.bytes.put_slice(part);
        }
        self.sequence = self.sequence.wrapping_add(1);
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(length as u32);
    }

    fn header(&self, out: &mut BytesMut, payload_type: u8, timestamp: u32, marker: bool) {
        out.put_u8(0x80);
        out.put_u8(payload_type | if marker { 0x80 } else { 0 });
        out.put_u16(self.sequence);
        out.put_u32(timestamp);
        out.put_u32(self.ssrc);
    }

    /// Appends a packet that nobody announced, payload type 50, without using up a number.
    pub(super) fn stray(&self, frames: &mut Frames, timestamp: u32) {
        let mut packet = BytesMut::new();
        self.header(&mut packet, 50, timestamp, false);
        packet.put_slice(&[0; 16]);
        frames.push(self.channels.rtp, &packet);
    }

    /// Appends a sender report if one is due; `wall` is the camera's clock since 1970.
    pub(super) fn report_if_due(
        &mut self,
        frames: &mut Frames,
        now: Instant,
        since_start: Duration,
        wall: Duration,
    ) {
        if self.next_report.is_none_or(|due| due <= now) {
            self.next_report = Some(now + REPORT);
            self.report(frames, since_start, wall);
        }
    }

    pub(super) fn report(&self, frames: &mut Frames, since_start: Duration, wall: Duration) {
        let report = rtcp::SenderReport {
            ssrc: self.ssrc,
            ntp: rtcp::ntp_from_unix(wall),
            rtp_time: self.timestamp(since_start),
            packets: self.packets,
            octets: self.octets,
        };
        let mut packet = BytesMut::new();
        report.encode("simcam", &mut packet);
        frames.push(self.channels.rtcp, &packet);
    }

    /// Another SSRC from the next packet on; its report comes at once.
    pub(super) fn renew_ssrc(&mut self) {
        self.ssrc = rand::random();
        self.next_report = None;
    }
}
