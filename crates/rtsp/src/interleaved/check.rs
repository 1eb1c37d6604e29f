//! Is this the start of a frame? (docs/design/relay.md, Resync, steps 1 and 2.)

use crate::message::Method;
use crate::octets::{from, u8_at, u16_at, u32_at};

/// What is known of one track: its channels, payload types and source.
#[derive(Clone, Debug)]
pub(crate) struct TrackState {
    pub(crate) rtp: u8,
    pub(crate) rtcp: u8,
    pub(crate) payload_types: Vec<u8>,
    /// Learned from the first packet.
    pub(crate) ssrc: Option<u32>,
    /// Sequence number of the last packet whose end was proved by what followed it.
    pub(crate) last_whole: Option<u16>,
    /// RTP headers with the extension bit were seen.
    pub(crate) extensions: bool,
}

/// Which channels carry what. At most 8 tracks (S31).
#[derive(Clone, Debug, Default)]
pub struct ChannelMap {
    pub(crate) tracks: Vec<TrackState>,
}

/// Longest odd frame that is believed, in bytes: everything waits for its end. Tapo sends 10 kB.
const MAX_ODD: usize = 16 * 1024;

/// A channel's meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channel {
    Rtp(usize),
    Rtcp(usize),
}

/// What stands at some place of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// Nothing: the buffer ends here.
    End,
    /// Too few bytes to tell.
    NeedMore,
    /// The header of a frame, with nothing wrong in it.
    Frame { length: usize, channel: Channel },
    /// A frame's header, but for its channel, payload type or SSRC (the new one, if that is it).
    Odd { length: usize, ssrc: Option<u32> },
    /// A request or response.
    Text,
    /// None of these.
    Nothing,
}

impl ChannelMap {
    /// Assigns a track's channels. `payload_types` are those of its `m=` line.
    pub fn add(&mut self, rtp: u8, rtcp: u8, payload_types: &[u8]) {
        self.tracks.push(TrackState {
            rtp,
            rtcp,
            payload_types: payload_types.to_vec(),
            ssrc: None,
            last_whole: None,
            extensions: false,
        });
    }

    /// The track of a channel, and whether it is its RTP channel.
    #[must_use]
    pub fn track(&self, channel: u8) -> Option<(usize, bool)> {
        match self.channel(channel)? {
            Channel::Rtp(track) => Some((track, true)),
            Channel::Rtcp(track) => Some((track, false)),
        }
    }

    pub(crate) fn channel(&self, channel: u8) -> Option<Channel> {
        if let Some(track) = self.tracks.iter().position(|track| track.rtp == channel) {
            return Some(Channel::Rtp(track));
        }
        self.tracks
            .iter()
            .position(|track| track.rtcp == channel)
            .map(Channel::Rtcp)
    }

    /// What stands at `at`.
    pub(crate) fn check(&self, buf: &[u8], at: usize) -> Check {
        let bytes = from(buf, at);
        match bytes.first() {
            None => Check::End,
            Some(b'$') => self.check_frame(bytes),
            // Padding between messages: what follows it decides.
            Some(b'\r' | b'\n') => {
                let padding = bytes
                    .iter()
                    .take_while(|b| matches!(b, b'\r' | b'\n'))
                    .count();
                match (padding <= 4, bytes.get(padding)) {
                    (true, None) => Check::End,
                    (true, Some(_)) if padding < bytes.len() => match self.check(bytes, padding) {
                        Check::Nothing => Check::Nothing,
                        Check::NeedMore => Check::NeedMore,
                        _ => Check::Text,
                    },
                    _ => Check::Nothing,
                }
            }
            Some(_) => check_text(bytes),
        }
    }

    fn check_frame(&self, bytes: &[u8]) -> Check {
        let (Some(channel), Some(length)) = (u8_at(bytes, 1), u16_at(bytes, 2)) else {
            return Check::NeedMore;
        };
        let length = usize::from(length);
        let payload = from(bytes, 4);
        match self.channel(channel) {
            None => check_unassigned(channel, length, payload),
            Some(channel @ Channel::Rtp(track)) => self.check_rtp(payload, length, channel, track),
            Some(channel @ Channel::Rtcp(_)) => {
                if length < 4 {
                    return Check::Nothing;
                }
                let (Some(first), Some(kind), Some(words)) =
                    (u8_at(payload, 0), u8_at(payload, 1), u16_at(payload, 2))
                else {
                    return Check::NeedMore;
                };
                let fits = 4 * (usize::from(words) + 1) <= length;
                if first >> 6 == 2 && (192..=223).contains(&kind) && fits {
                    Check::Frame { length, channel }
                } else {
                    Check::Nothing
                }
            }
        }
    }

    fn check_rtp(&self, payload: &[u8], length: usize, channel: Channel, track: usize) -> Check {
        let Some(track) = self.tracks.get(track) else {
            return Check::Nothing;
        };
        if length < 12 {
            return Check::Nothing;
        }
        let (Some(first), Some(second)) = (u8_at(payload, 0), u8_at(payload, 1)) else {
            return Check::NeedMore;
        };
        if first >> 6 != 2 {
            return Check::Nothing;
        }
        let Some(ssrc) = u32_at(payload, 8) else {
            return Check::NeedMore;
        };
        let odd = |ssrc| {
            if length > MAX_ODD {
                Check::Nothing
            } else {
                Check::Odd { length, ssrc }
            }
        };
        if !track.payload_types.contains(&(second & 0x7f)) {
            return odd(None);
        }
        match track.ssrc {
            Some(known) if known != ssrc => odd(Some(ssrc)),
            _ => Check::Frame { length, channel },
        }
    }
}

/// Cameras that send on a channel nobody asked for send RTP or RTCP on a low one. Anything else is garbage, whose length would be waited for in vain.
fn check_unassigned(channel: u8, length: usize, payload: &[u8]) -> Check {
    if channel >= 32 || !(4..=MAX_ODD).contains(&length) {
        return Check::Nothing;
    }
    match payload.first() {
        None => Check::NeedMore,
        Some(first) if first >> 6 == 2 => Check::Odd { length, ssrc: None },
        Some(_) => Check::Nothing,
    }
}

/// `RTSP/1.` or a method of RFC 2326 and a blank. Bytes that only begin one need more.
fn check_text(bytes: &[u8]) -> Check {
    let begins = |word: &[u8]| {
        let shared = bytes.len().min(word.len());
        bytes.get(..shared) == word.get(..shared)
    };
    if begins(b"RTSP/1.") {
        return if bytes.len() >= 7 {
            Check::Text
        } else {
            Check::NeedMore
        };
    }
    for method in Method::KNOWN {
        if begins(method.as_bytes()) {
            return match bytes.get(method.len()) {
                Some(b' ') => Check::Text,
                Some(_) => Check::Nothing,
                None => Check::NeedMore,
            };
        }
    }
    Check::Nothing
}
