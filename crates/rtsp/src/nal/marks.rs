//! The marks that a relay keeps per packet: picture start and end, IDR, parameter sets, damage.

use super::kind::{NalKind, packet_h264, packet_h265};
use crate::rtp::RtpHeader;
use crate::sdp::Codec;

/// What is known of one RTP packet when it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// Sequence number of the camera.
    pub sequence: u16,
    /// Timestamp of the camera.
    pub timestamp: u32,
    /// SSRC of the camera.
    pub ssrc: u32,
    /// The first packet of an access unit (its timestamp is new). For audio, every packet.
    pub au_start: bool,
    /// The last packet of an access unit as far as the marker says; a camera that sets no marker has none (the next start ends it).
    pub au_end: bool,
    /// Holds the start of a slice of an IDR picture; a camera that cuts pictures into slices has several per access unit.
    pub idr: bool,
    /// Holds SPS, PPS or VPS. They come before the IDR in the same access unit: its first packet is the point to start from.
    pub parameter_sets: bool,
    /// Nothing refers to this picture.
    pub disposable: bool,
    /// The access unit has lost bytes or packets up to here, and is of no use to a viewer.
    pub damaged: bool,
    /// Packets missing right before this one.
    pub gap: u16,
    /// The sequence goes on somewhere else, without a new SSRC: how much is missing cannot be told, and [`Marks::gap`] is the most.
    pub jumped: bool,
}

/// So far back may a packet lie that came late, or twice. Further back is another numbering: half of the space lies behind, so a jump ahead
/// by 0x8000 and more looks the same.
const DISORDER: u16 = 512;
/// The gap of a jump.
const UNKNOWN: u16 = 0x7fff;

/// Marks the packets of one track, in the order of their arrival.
#[derive(Clone, Debug)]
pub struct TrackMarker {
    codec: Codec,
    last: Option<Last>,
    /// The timestamp whose access unit is damaged.
    damaged: Option<u32>,
    /// The access unit of a packet that came short: it is the hole of one that follows in the sequence.
    short: Option<u32>,
    /// The camera sets markers.
    markers: bool,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    /// A slice of this access unit was seen.
    picture: bool,
    ended: bool,
}

impl TrackMarker {
    /// Marks for a track of `codec`.
    #[must_use]
    pub fn new(codec: Codec) -> Self {
        Self {
            codec,
            last: None,
            damaged: None,
            short: None,
            markers: false,
        }
    }

    /// The access unit with this timestamp has lost bytes: what still comes of it is marked damaged.
    pub fn damage(&mut self, timestamp: u32) {
        self.damaged = Some(timestamp);
        self.short = Some(timestamp);
    }

    /// Whether nothing refers to the picture of this packet, by its first bytes; `false` where that cannot be told.
    #[must_use]
    pub fn is_disposable(&self, payload: &[u8]) -> bool {
        self.kind(payload).is_some_and(|kind| kind.disposable)
    }

    fn kind(&self, payload: &[u8]) -> Option<NalKind> {
        match self.codec {
            Codec::H264 => packet_h264(payload),
            Codec::H265 => packet_h265(payload),
            _ => None,
        }
    }

    /// Marks one packet; `None` if it is no RTP.
    pub fn mark(&mut self, packet: &[u8]) -> Option<Marks> {
        let header = RtpHeader::parse(packet)?;
        let video = matches!(self.codec, Codec::H264 | Codec::H265);
        let kind = self.kind(header.payload(packet)).unwrap_or_default();
        let last = self.last.filter(|last| last.ssrc == header.ssrc);
        let au_start = !video || last.is_none_or(|last| last.timestamp != header.timestamp);
        // An SEI or a parameter set with the marker bit (a quirk of several vendors) does not end the picture that follows it.
        let picture = kind.picture || (!au_start && last.is_some_and(|last| last.picture));
        let au_end = !video || (header.marker && picture);
        let step = last.map_or(1, |last| header.sequence.wrapping_sub(last.sequence));
        let jumped = step >= 0x8000 && step.wrapping_neg() > DISORDER;
        let gap = match step {
            _ if jumped => UNKNOWN,
            2..0x8000 => step - 1,
            // Backwards or repeated is disorder, not loss; TCP does not reorder, a camera's restart may.
            _ => 0,
        };
        if gap > 0 && video {
            // A hole between pictures hurts none of those that came; one inside hurts the picture on both sides that is cut. One missing packet
            // behind a picture that has not ended is that picture's.
            let known = gap == 1
                && self
                    .short
                    .is_some_and(|timestamp| timestamp != header.timestamp);
            let before = last.is_some_and(|last| last.ended) || (gap == 1 && self.markers);
            let headless = continues_fragment(self.codec, header.payload(packet));
            let clean_cut = au_start && !headless && (known || before);
            if !clean_cut {
                self.damaged = Some(header.timestamp);
            }
        }
        if self
            .damaged
            .is_some_and(|timestamp| timestamp != header.timestamp)
        {
            self.damaged = None;
        }
        self.short = None;
        self.markers |= au_end && video;
        self.last = Some(Last {
            ssrc: header.ssrc,
            sequence: header.sequence,
            timestamp: header.timestamp,
            picture,
            ended: au_end,
        });
        Some(Marks {
            sequence: header.sequence,
            timestamp: header.timestamp,
            ssrc: header.ssrc,
            au_start,
            au_end,
            idr: kind.idr,
            parameter_sets: kind.parameter_set,
            disposable: kind.disposable,
            damaged: self.damaged.is_some(),
            gap,
            jumped,
        })
    }
}

/// Whether the payload is a fragment that is not the first of its NAL unit.
fn continues_fragment(codec: Codec, payload: &[u8]) -> bool {
    match (codec, payload) {
        (Codec::H264, [first, fragment, ..]) => first & 0x1f == 28 && fragment & 0x80 == 0,
        (Codec::H265, [first, _, fragment, ..]) => {
            (first >> 1) & 0x3f == 49 && fragment & 0x80 == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(sequence: u16, timestamp: u32, marker: bool, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x80, if marker { 0xe0 } else { 0x60 }];
        bytes.extend(sequence.to_be_bytes());
        bytes.extend(timestamp.to_be_bytes());
        bytes.extend(7u32.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn a_picture_of_parameter_sets_and_fragments() {
        let mut marker = TrackMarker::new(Codec::H264);
        let sps = marker.mark(&packet(1, 9, false, &[0x67, 1])).unwrap();
        assert!(sps.au_start && sps.parameter_sets && !sps.au_end);
        let start = marker.mark(&packet(2, 9, false, &[0x7c, 0x85, 1])).unwrap();
        assert!(!start.au_start && start.idr);
        let end = marker.mark(&packet(3, 9, true, &[0x7c, 0x45, 1])).unwrap();
        assert!(end.au_end && !end.idr && !end.damaged);
    }

    #[test]
    fn sei_with_the_marker_does_not_end_the_picture() {
        let mut marker = TrackMarker::new(Codec::H264);
        let sei = marker.mark(&packet(1, 9, true, &[0x06, 1])).unwrap();
        assert!(sei.au_start && !sei.au_end);
        let slice = marker.mark(&packet(2, 9, true, &[0x41, 1])).unwrap();
        assert!(!slice.au_start && slice.au_end);
    }

    #[test]
    fn a_gap_between_pictures_damages_nothing_and_one_inside_does() {
        let mut marker = TrackMarker::new(Codec::H264);
        marker.mark(&packet(1, 9, true, &[0x41, 1])).unwrap();
        let clean = marker.mark(&packet(5, 10, true, &[0x41, 1])).unwrap();
        assert_eq!((clean.gap, clean.damaged), (3, false));
        marker
            .mark(&packet(6, 11, false, &[0x7c, 0x81, 1]))
            .unwrap();
        let cut = marker.mark(&packet(8, 11, true, &[0x7c, 0x41, 1])).unwrap();
        assert_eq!((cut.gap, cut.damaged), (1, true));
        let next = marker.mark(&packet(9, 12, true, &[0x41, 1])).unwrap();
        assert!(!next.damaged);
        let headless = marker
            .mark(&packet(11, 13, true, &[0x7c, 0x41, 1]))
            .unwrap();
        assert!(
            headless.damaged,
            "the first fragment of this picture is what is missing"
        );
    }

    #[test]
    fn a_jump_of_the_sequence_is_a_loss_that_nobody_knows_and_disorder_is_none() {
        let jump = |from: u16, to: u16| {
            let mut marker = TrackMarker::new(Codec::H264);
            marker.mark(&packet(from, 9, true, &[0x41, 1])).unwrap();
            let marks = marker.mark(&packet(to, 10, true, &[0x41, 1])).unwrap();
            (marks.jumped, marks.gap)
        };
        assert_eq!(jump(100, 40_101), (true, UNKNOWN));
        assert_eq!(jump(100, 100 + 0x8000), (true, UNKNOWN));
        assert_eq!(jump(10_000, 1), (true, UNKNOWN), "a streamer counts anew");
        assert_eq!(jump(100, 99 + 0x8000), (false, 0x7ffe));
        assert_eq!(jump(100, 98), (false, 0));
        assert_eq!(jump(5, 65_530), (false, 0), "late, over the wrap");
        assert_eq!(jump(65_535, 0), (false, 0));
    }

    #[test]
    fn a_new_source_is_no_gap() {
        let mut marker = TrackMarker::new(Codec::H264);
        marker.mark(&packet(1, 9, true, &[0x41, 1])).unwrap();
        let mut other = packet(40_000, 9, true, &[0x41, 1]);
        other[11] = 99;
        let marks = marker.mark(&other).unwrap();
        assert!(marks.au_start && marks.gap == 0 && !marks.damaged);
    }
}
