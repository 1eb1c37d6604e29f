//! Frames of the camera, and our reports about them.

use std::time::Duration;

use bytes::BytesMut;

use super::error::ClientError;
use super::session::{ClientEvent, ClientSession, MAX_OUTPUT, Phase};
use crate::interleaved::{Damage, Event, Frame, Item, StrictError};
use crate::nal::TrackMarker;
use crate::rtp::rtcp::{RtcpPacket, encode_receiver_report, parse_compound};
use crate::rtp::{ReceiverStatistics, RtpHeader, append_frame};
use crate::sdp::Media;

/// One track that was set up.
#[derive(Debug)]
pub(super) struct TrackReader {
    pub(super) media_index: usize,
    pub(super) media: Media,
    pub(super) url: String,
    pub(super) channels: (u8, u8),
    marker: TrackMarker,
    statistics: ReceiverStatistics,
}

impl TrackReader {
    pub(super) fn new(media_index: usize, media: Media, url: String, channels: (u8, u8)) -> Self {
        let marker = TrackMarker::new(media.codec());
        let statistics = ReceiverStatistics::new(media.clock_rate());
        Self {
            media_index,
            media,
            url,
            channels,
            marker,
            statistics,
        }
    }
}

impl ClientSession {
    /// Takes one thing off the buffer; `false` when more bytes are needed.
    pub(super) fn read(&mut self, now: Duration) -> bool {
        if self.tracks.is_empty() || matches!(self.phase, Phase::Describe | Phase::Setup(_)) {
            return self.read_strictly(now);
        }
        match self.demux.next(&mut self.input, now) {
            Ok(None) => return false,
            Ok(Some(Event::Message(message))) => self.message(message, now),
            Ok(Some(Event::Frame(frame))) => self.frame(frame, now),
            Ok(Some(Event::Damaged(damage))) => self.damaged(&damage),
            Ok(Some(Event::SourceChanged { track, ssrc })) => {
                self.events
                    .push_back(ClientEvent::SourceChanged { track, ssrc });
            }
            Err(lost) => {
                let result = if self.phase == Phase::Teardown {
                    Ok(())
                } else {
                    Err(lost.into())
                };
                self.close(result);
            }
        }
        true
    }

    /// Before PLAY there are replies only; what cannot be read is no RTSP.
    fn read_strictly(&mut self, now: Duration) -> bool {
        match self.strict.next(&mut self.input) {
            Ok(None) => return false,
            Ok(Some(Item::Message(message))) => self.message(message, now),
            // Left over from a PLAY that the camera has not forgotten.
            Ok(Some(Item::Frame(..))) => {}
            Err(StrictError::Message(error)) => {
                self.close(Err(ClientError::NotRtsp(error.to_string())))
            }
            Err(error @ StrictError::FrameTooLong(..)) => {
                self.close(Err(ClientError::NotRtsp(error.to_string())))
            }
        }
        true
    }

    fn frame(&mut self, frame: Frame, now: Duration) {
        if self.phase == Phase::Teardown {
            return;
        }
        if frame.rtp {
            if self.phase == Phase::PlaySent {
                // Media before the reply to PLAY: it plays, and the reply will be ignored.
                self.pending = None;
                self.playing(None, now);
            }
            self.packet(frame, now);
        } else {
            let packets = parse_compound(&frame.packet);
            if let Some(track) = self.tracks.get_mut(frame.track) {
                for packet in &packets {
                    if let RtcpPacket::SenderReport(report) = packet {
                        track.statistics.sender_report(report, now);
                    }
                }
            }
            self.events.push_back(ClientEvent::Rtcp {
                track: frame.track,
                packets,
            });
        }
    }

    fn packet(&mut self, frame: Frame, now: Duration) {
        let Some(track) = self.tracks.get_mut(frame.track) else {
            return;
        };
        let Some(marks) = track.marker.mark(&frame.packet) else {
            return;
        };
        track
            .statistics
            .packet(marks.ssrc, marks.sequence, marks.timestamp, now);
        self.events.push_back(ClientEvent::Packet {
            track: frame.track,
            packet: frame.packet,
            marks,
        });
    }

    fn damaged(&mut self, damage: &Damage) {
        let Some(track) = self.tracks.get_mut(damage.track) else {
            return;
        };
        if let Some(timestamp) = damage.timestamp {
            track.marker.damage(timestamp);
        }
        let payload = RtpHeader::parse(&damage.head)
            .map(|header| header.payload(&damage.head))
            .unwrap_or_default();
        let disposable = track.marker.is_disposable(payload);
        self.events.push_back(ClientEvent::Damaged {
            track: damage.track,
            timestamp: damage.timestamp,
            disposable,
        });
    }

    /// A receiver report per track.
    pub(super) fn report(&mut self, now: Duration) {
        let [a, b, c, d, ..] = self.config.seed;
        let ssrc = u32::from_be_bytes([a, b, c, d]);
        for track in &mut self.tracks {
            if self.output.len() >= MAX_OUTPUT {
                break;
            }
            if let Some(block) = track.statistics.report(now) {
                let mut packet = BytesMut::new();
                encode_receiver_report(ssrc, &[block], "moorline", &mut packet);
                append_frame(&mut self.output, track.channels.1, &packet, None);
            }
        }
    }
}
