//! From what the camera sends to what readers see.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use moorline_core::Generation;
use moorline_core::status::RelayState;
use moorline_rtsp::client::{ClientEvent, PlayingTrack};
use moorline_rtsp::depacketize::Depacketizer;
use moorline_rtsp::rtp::rtcp::{RtcpPacket, SenderReport};
use moorline_rtsp::sdp::{Codec, Media};

use super::clock_map::ClockMap;
use super::drift::DriftWatch;
use super::numbering::Numbering;
use super::{Inner, Layout, Source, Stage};

/// Publishes one upstream PLAY.
#[derive(Debug)]
pub(crate) struct Publisher {
    source: Arc<Source>,
    generation: Generation,
}

/// The name under which our reports speak (RFC 3550 §6.5.1).
pub(crate) const CNAME: &str = "moorline";

impl Publisher {
    pub(crate) fn new(source: &Arc<Source>, generation: Generation) -> Self {
        Self {
            source: Arc::clone(source),
            generation,
        }
    }

    /// Publishes the events of one read under one lock, and hands out once what is to be seen.
    pub(crate) fn publish(&self, events: &mut Vec<ClientEvent>) {
        if events.is_empty() {
            return;
        }
        let (now, wall) = (self.source.now(), self.source.wall());
        let mut inner = self.source.lock();
        let before = (inner.ring.next_index(), inner.ring.epoch(), inner.state);
        for event in events.drain(..) {
            match event {
                ClientEvent::Playing(tracks) => {
                    inner.begin(&tracks, self.generation, now);
                    // A camera that was silent stays so until it sends something.
                    if inner.state != RelayState::Silent {
                        inner.set_state(RelayState::Playing, wall);
                    }
                }
                ClientEvent::Packet {
                    track,
                    packet,
                    marks,
                } => {
                    inner.set_state(RelayState::Playing, wall);
                    inner.packet(track, &packet, marks, wall.as_millis() * 1000, now);
                }
                ClientEvent::Rtcp { track, packets } => {
                    for packet in packets {
                        if let RtcpPacket::SenderReport(report) = packet {
                            inner.sender_report(track, report);
                        }
                    }
                }
                ClientEvent::Damaged {
                    track,
                    timestamp,
                    disposable,
                } => inner.lost(track, timestamp, disposable),
                ClientEvent::SourceChanged { track, ssrc } => {
                    tracing::info!(track, ssrc, "the camera's streamer began anew");
                    inner.boundary(now);
                }
                ClientEvent::Described { .. } | ClientEvent::Closed(_) => {}
            }
        }
        let after = (inner.ring.next_index(), inner.ring.epoch(), inner.state);
        drop(inner);
        if before != after {
            self.source.wake(now, before.2 != after.2);
        }
    }
}

impl Inner {
    fn begin(&mut self, tracks: &[PlayingTrack], generation: Generation, now: Duration) {
        let media: Vec<Media> = tracks.iter().map(|track| track.media.clone()).collect();
        self.boundary(now);
        self.generation = generation;
        self.last_media = now;
        self.played_since = now;
        self.media = media.iter().map(in_words).collect();
        let same = self.layout.as_ref().is_some_and(|layout| {
            layout.media.len() == media.len()
                && layout
                    .media
                    .iter()
                    .zip(&media)
                    .all(|(a, b)| can_follow(a, b))
        });
        let id = self.layout.as_ref().map_or(0, |layout| layout.id);
        if !same {
            self.numbering = media
                .iter()
                .map(|media| {
                    Numbering::new(rand::random(), media.clock_rate(), rand::random(), now)
                })
                .collect();
            self.clocks = ClockMap::new(media.iter().map(Media::clock_rate));
            self.reports = vec![None; media.len()];
            self.early_reports = vec![None; media.len()];
        }
        let video = media.iter().position(is_video);
        let key_track = video.unwrap_or(0);
        self.drift = media
            .get(key_track)
            .map(|media| DriftWatch::new(media.clock_rate()));
        self.layout = Some(Arc::new(Layout {
            id: if same { id } else { id + 1 },
            ssrcs: self.numbering.iter().map(Numbering::ssrc).collect(),
            key_track,
            has_video: video.is_some(),
            media,
        }));
        self.stage = Stage::Playing;
    }

    fn packet(
        &mut self,
        track: usize,
        packet: &[u8],
        marks: moorline_rtsp::nal::Marks,
        wall: i64,
        now: Duration,
    ) {
        let Some((key_track, has_video)) = self
            .layout
            .as_ref()
            .map(|layout| (layout.key_track, layout.has_video))
        else {
            return;
        };
        let is_key_track = track == key_track;
        if is_key_track
            && marks.au_start
            && let Some(drift) = &mut self.drift
            && drift.parted(marks.timestamp, now)
        {
            tracing::warn!(
                reason = "clock_step",
                "the camera's media time does not go on as ours: a new take begins"
            );
            self.boundary(now);
            self.jumped = Some(self.ring.epoch());
        }
        let Some(numbering) = self.numbering.get_mut(track) else {
            return;
        };
        if marks.jumped {
            tracing::info!(track, "the camera's sequence numbers go on somewhere else");
        }
        let fresh = !numbering.is_running();
        let numbered = numbering.number(marks, now);
        if marks.au_start {
            self.clocks.arrived(track, numbered.timestamp, wall, now);
        }
        self.last_media = now;
        self.counts.bytes += packet.len() as u64;
        if is_key_track && has_video {
            self.count(&marks);
        }
        self.ring.packet(now, track, packet, numbered, is_key_track);
        if fresh && let Some(report) = self.early_reports.get_mut(track).and_then(Option::take) {
            self.sender_report(track, report);
        }
    }

    fn count(&mut self, marks: &moorline_rtsp::nal::Marks) {
        if marks.au_start {
            self.counts.pictures += 1;
        }
        if marks.gap > 0 {
            self.counts.pictures_lost += 1;
        }
    }

    fn lost(&mut self, track: usize, timestamp: Option<u32>, disposable: bool) {
        let Some(key_track) = self.layout.as_ref().map(|layout| layout.key_track) else {
            return;
        };
        if track == key_track {
            self.counts.pictures_lost += 1;
        }
        let numbering = self.numbering.get(track);
        let timestamp = timestamp.and_then(|camera| numbering?.timestamp(camera));
        self.ring
            .lost(track, timestamp, disposable, track == key_track);
    }

    /// The archiver gets the camera's report with our SSRC and timestamp; before the first packet of the track neither is known.
    fn sender_report(&mut self, track: usize, report: SenderReport) {
        let Some(numbering) = self.numbering.get(track) else {
            return;
        };
        let Some(rtp_time) = numbering.timestamp(report.rtp_time) else {
            if let Some(early) = self.early_reports.get_mut(track) {
                *early = Some(report);
            }
            return;
        };
        let ours = SenderReport {
            ssrc: numbering.ssrc(),
            rtp_time,
            ..report
        };
        self.clocks.report(track, report.ntp, rtp_time);
        if let Some(slot) = self.reports.get_mut(track) {
            *slot = Some(ours);
        }
        let mut compound = BytesMut::new();
        ours.encode(CNAME, &mut compound);
        self.ring.sender_report(track, &compound);
    }
}

fn is_video(media: &Media) -> bool {
    matches!(media.codec(), Codec::H264 | Codec::H265)
}

/// Whether a reader of `before` can go on with `after`: what it was told in SETUP and by `rtpmap` still holds. New video parameters come in band.
fn can_follow(before: &Media, after: &Media) -> bool {
    before.kind == after.kind
        && before.payload_types == after.payload_types
        && before.rtpmap == after.rtpmap
        && (is_video(after) || before.fmtp == after.fmtp)
}

/// `H.264 1920x1080`, `PCMA 8 kHz`.
fn in_words(media: &Media) -> String {
    let name = media.codec().name();
    if media.kind == "video" || is_video(media) {
        let size = Depacketizer::new(media)
            .and_then(|depacketizer| depacketizer.parameters()?.size())
            .map(|(width, height)| format!(" {width}x{height}"));
        return format!("{name}{}", size.unwrap_or_default());
    }
    let rate = media.clock_rate();
    match rate.is_multiple_of(1000) {
        true => format!("{name} {} kHz", rate / 1000),
        false => format!("{name} {rate} Hz"),
    }
}
