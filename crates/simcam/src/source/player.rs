//! What one connection is sent, and when: pictures and sounds at absolute instants since the camera started, so that nothing drifts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::audio::Audio;
use super::damage::{Partial, damage};
use super::rtp::{Channels, Frames, Sender};
use super::sdp::VIDEO;
use super::{Shared, Stream, wall};
use crate::fault::{Event, Fault};
use crate::video::{Film, Stamp};

/// A camera that was stopped for longer does not send all that it would have filmed. A busy machine keeps one waiting for seconds.
const CATCH_UP: Duration = Duration::from_secs(10);
/// One that was silent goes on with what it films now, but for this.
const AFTER_SILENCE: Duration = Duration::from_secs(2);
/// How long a blocked thread hangs: live555 blocks at most 500 ms, then closes; vendors' streamers hang longer.
const BLOCKED: Duration = Duration::from_millis(600);
const HOUR: Duration = Duration::from_secs(3600);
/// Payload of huge packets.
const HUGE: usize = 10_000 - 12;

struct Video {
    sender: Sender,
    film: Arc<dyn Film>,
    /// The film that the next change of parameters begins.
    other: Option<Arc<dyn Film>>,
    /// The picture at which `film` began.
    began: u64,
    next: u64,
}

struct Sound {
    sender: Sender,
    audio: Audio,
    next: u64,
}

/// Sends the tracks of one PLAY.
pub(super) struct Player {
    shared: Arc<Shared>,
    video: Option<Video>,
    sound: Option<Sound>,
    blocked_until: Option<Instant>,
    /// It has been silent since it sent something last.
    pub(super) silent: bool,
    clock_back: Duration,
}

/// The first packet of a track.
pub(super) struct First {
    pub(super) track: usize,
    pub(super) sequence: u16,
    pub(super) timestamp: u32,
}

/// What is due, whole frames, possibly damaged.
pub(super) struct Due {
    pub(super) frames: Frames,
    /// The number of the picture that is in it, if one is.
    pub(super) picture: Option<u64>,
}

impl Player {
    /// Plays `stream` on the channels of its tracks (0 video, 1 audio), from the next picture on.
    pub(super) fn new(
        shared: Arc<Shared>,
        stream: &Stream,
        audio: Option<Audio>,
        tracks: [Option<Channels>; 2],
        now: Instant,
    ) -> Self {
        let since = now.saturating_duration_since(shared.epoch);
        let video = tracks[0].map(|channels| Video {
            sender: Sender::new(channels, VIDEO, 90_000),
            next: after(since, stream.film.interval()),
            film: stream.film.clone(),
            other: stream.other_film.clone(),
            began: 0,
        });
        let sound = tracks[1].zip(audio).map(|(channels, audio)| Sound {
            sender: Sender::new(channels, audio.payload_type(), audio.clock_rate()),
            next: after(since, audio.interval()),
            audio,
        });
        Self {
            shared,
            video,
            sound,
            blocked_until: None,
            silent: false,
            clock_back: Duration::ZERO,
        }
    }

    /// The first packets, for `RTP-Info`.
    pub(super) fn first(&self) -> Vec<First> {
        let video = self
            .video
            .as_ref()
            .map(|video| (0, &video.sender, at(video.next, video.film.interval())));
        let sound = self
            .sound
            .as_ref()
            .map(|sound| (1, &sound.sender, at(sound.next, sound.audio.interval())));
        let first = |(track, sender, since): (usize, &Sender, Duration)| First {
            track,
            sequence: sender.sequence,
            timestamp: sender.timestamp(since),
        };
        video.into_iter().chain(sound).map(first).collect()
    }

    /// When [`Player::take`] has something; `None`: never.
    pub(super) fn due(&self) -> Option<Instant> {
        let video = self
            .video
            .as_ref()
            .map(|video| at(video.next, video.film.interval()));
        let sound = self
            .sound
            .as_ref()
            .map(|sound| at(sound.next, sound.audio.interval()));
        let next = self.shared.epoch + [video, sound].into_iter().flatten().min()?;
        Some(self.blocked_until.map_or(next, |until| until.max(next)))
    }

    /// A report before anything was sent.
    pub(super) fn early_report(&self, now: Instant) -> Frames {
        let mut frames = Frames::default();
        let wall = self.camera_clock(now);
        if let Some(video) = &self.video {
            video.sender.report(
                &mut frames,
                now.saturating_duration_since(self.shared.epoch),
                wall,
            );
        }
        frames
    }

    /// The one thing that is due at `now`, if any.
    pub(super) fn take(&mut self, now: Instant) -> Option<Due> {
        if self.due().is_none_or(|due| due > now) {
            return None;
        }
        self.skip_the_past(now);
        let since = now.saturating_duration_since(self.shared.epoch);
        let wall = self.camera_clock(now);
        let mut frames = Frames::default();
        let due_of_video = self
            .video
            .as_ref()
            .map(|video| at(video.next, video.film.interval()));
        let due_of_sound = self
            .sound
            .as_ref()
            .map(|sound| at(sound.next, sound.audio.interval()));
        let video_first = match (due_of_video, due_of_sound) {
            (Some(video), Some(sound)) => video <= sound,
            (video, _) => video.is_some(),
        };
        let mut picture = None;
        if let Some(video) = self.video.as_mut().filter(|_| video_first) {
            picture = Some(video.next);
            video.sender.report_if_due(&mut frames, now, since, wall);
            let idr = video.picture(&self.shared, &mut frames);
            if idr && self.shared.faults.is_on(Fault::Blocked) {
                self.blocked_until = Some(now + BLOCKED);
            }
        } else if let Some(sound) = &mut self.sound {
            sound.sender.report_if_due(&mut frames, now, since, wall);
            let timestamp = sound
                .sender
                .timestamp(at(sound.next, sound.audio.interval()));
            let payload = sound.audio.payload(sound.next);
            sound
                .sender
                .packet(&mut frames, timestamp, false, [&payload, &[]]);
            sound.next += 1;
        }
        Some(Due { frames, picture })
    }

    fn skip_the_past(&mut self, now: Instant) {
        let most = match std::mem::take(&mut self.silent) {
            true => AFTER_SILENCE,
            false => CATCH_UP,
        };
        let Some(since) = now.checked_duration_since(self.shared.epoch + most) else {
            return;
        };
        if let Some(video) = &mut self.video {
            video.next = video.next.max(after(since, video.film.interval()));
        }
        if let Some(sound) = &mut self.sound {
            sound.next = sound.next.max(after(since, sound.audio.interval()));
        }
    }

    /// The camera's wall clock, right or wrong, since 1970.
    fn camera_clock(&self, now: Instant) -> Duration {
        let faults = &self.shared.faults;
        let right = if faults.is_on(Fault::Clock1970) {
            now.saturating_duration_since(self.shared.epoch)
        } else if faults.is_on(Fault::ClockAhead) {
            wall::now() + HOUR
        } else {
            wall::now()
        };
        right.saturating_sub(self.clock_back)
    }

    /// Lets an event happen to the media.
    pub(super) fn event(&mut self, event: Event) {
        let Some(video) = &mut self.video else {
            return;
        };
        match event {
            Event::Ssrc => video.sender.renew_ssrc(),
            Event::SequenceJump => {
                video.sender.sequence = video.sender.sequence.wrapping_add(40_000)
            }
            Event::TimestampJump => video.sender.jump(HOUR),
            Event::TimestampBack(by) => video.sender.jump_back(by),
            Event::ClockJump => self.clock_back += HOUR,
            Event::Parameters => video.change_film(),
            Event::Close | Event::Request | Event::Nonce => {}
        }
    }
}

impl Video {
    /// Appends the next picture; returns whether it is an IDR.
    fn picture(&mut self, shared: &Shared, frames: &mut Frames) -> bool {
        let timestamp = self.sender.timestamp(at(self.next, self.film.interval()));
        let mut picture = self.film.picture(self.next - self.began);
        if shared.config.stamped {
            let sent_us = wall::now().as_micros() as u64;
            picture = picture.stamped(Stamp {
                camera: shared.config.camera,
                frame: self.next,
                sent_us,
            });
        }
        self.next += 1;
        let faults = &shared.faults;
        if picture.idr && faults.is_on(Fault::StrayChannel) {
            frames.push(200, &[0x80; 20]);
        }
        if picture.idr && faults.is_on(Fault::StrayPayloadType) {
            self.sender.stray(frames, timestamp);
        }
        let max = if faults.is_on(Fault::HugePackets) {
            HUGE
        } else {
            shared.config.max_packet
        };
        let mut media = Frames::with_room(picture.len(), max);
        super::packetize::packets(&picture.nals, max, |head, body, marker| {
            self.sender
                .packet(&mut media, timestamp, marker, [head, body]);
        });
        if picture.idr && faults.is_on(Fault::PartialCut) {
            damage(&mut media, Partial::Cut);
        } else if picture.idr && faults.is_on(Fault::PartialRepeat) {
            damage(&mut media, Partial::Repeat);
        }
        let before = frames.bytes.len();
        frames
            .starts
            .extend(media.starts.iter().map(|start| start + before));
        frames.bytes.unsplit(media.bytes);
        picture.idr
    }

    /// The other film begins with an IDR. Its pictures keep the numbers and the rhythm of the first.
    fn change_film(&mut self) {
        if let Some(other) = self.other.take() {
            let since = at(self.next, self.film.interval());
            self.other = Some(std::mem::replace(&mut self.film, other));
            self.next = after(since, self.film.interval());
            self.began = self.next;
        }
    }
}

/// When number `n` of a rhythm is due, since the start.
fn at(n: u64, interval: Duration) -> Duration {
    let nanos = interval.as_nanos().saturating_mul(u128::from(n));
    Duration::new(
        (nanos / 1_000_000_000) as u64,
        (nanos % 1_000_000_000) as u32,
    )
}

/// The first number of a rhythm that is due at `since` or later.
fn after(since: Duration, interval: Duration) -> u64 {
    since.as_nanos().div_ceil(interval.as_nanos().max(1)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rhythm_does_not_drift_in_a_year() {
        let interval = Duration::from_secs(1) / 15;
        let year = 365 * 24 * 3600 * 15;
        let drift = Duration::from_secs(365 * 24 * 3600) - at(year, interval);
        assert!(drift < Duration::from_secs(1), "{drift:?}");
        assert_eq!(after(at(1_000_003, interval), interval), 1_000_003);
        assert_eq!(
            after(at(7, interval) + Duration::from_nanos(1), interval),
            8
        );
    }
}
