//! Packets of the ring to items of a live feed.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use moorline_core::Timestamp;
use moorline_core::port::{LiveItem, RelayError};
use moorline_fmp4::{Init, Run, Sample, SampleEntry};
use moorline_rtsp::depacketize::{Depacketizer, Unit};

use super::sound::Sound;
use super::timeline::Timeline;
use super::video_entry;
use crate::source::Layout;

/// Pictures of one fragment, and bytes: a whole group of a camera's, at the beginning.
const MOST_PICTURES: usize = 300;
const MOST_BYTES: usize = 2 << 20;
/// Sound that stays away for so long would stop the picture: it is left out from the next key frame on.
const SOUND_LOST: Duration = Duration::from_secs(2);

struct Picture {
    unit: Unit,
    wall: Timestamp,
}

/// One feed's depacketizers, clocks and what is not yet a fragment.
pub(super) struct Muxer {
    pub(super) video_track: usize,
    pub(super) sound_track: Option<usize>,
    video: Depacketizer,
    sound_packets: Option<Depacketizer>,
    sound: Option<Sound>,
    timeline: Timeline,
    clock_rate: u32,
    entry: Option<SampleEntry>,
    init: Option<Init>,
    with_sound: bool,
    last_sound: Option<Duration>,
    pending: Vec<Picture>,
    bytes: usize,
    waiting: bool,
    sequence: u32,
    /// Wall clock (µs) of the first picture, which lies at the beginning of the feed's clock.
    origin: Option<i64>,
    pub(super) items: VecDeque<LiveItem>,
}

impl Muxer {
    /// For a stream.
    ///
    /// # Errors
    /// [`RelayError::NotPlayable`] without a picture that browsers decode.
    pub(super) fn new(layout: &Layout) -> Result<Self, RelayError> {
        let media = layout.media.get(layout.key_track);
        let name = || {
            let names: Vec<&str> = layout
                .media
                .iter()
                .map(|media| media.codec().name())
                .collect();
            RelayError::NotPlayable(names.join(", "))
        };
        let media = media.filter(|_| layout.has_video).ok_or_else(name)?;
        let video = Depacketizer::new(media).ok_or_else(name)?;
        let sound = layout.media.iter().enumerate().find_map(|(track, media)| {
            let packets = Depacketizer::new(media)?;
            let sound = Sound::new(&packets.parameters()?)?;
            Some((track, packets, sound))
        });
        let (sound_track, sound_packets, sound) = match sound {
            Some((track, packets, sound)) => (Some(track), Some(packets), Some(sound)),
            None => (None, None, None),
        };
        Ok(Self {
            video_track: layout.key_track,
            sound_track,
            video,
            sound_packets,
            sound,
            timeline: Timeline::new(media.clock_rate(), media.framerate),
            clock_rate: media.clock_rate(),
            entry: None,
            init: None,
            with_sound: false,
            last_sound: None,
            pending: Vec::new(),
            bytes: 0,
            waiting: true,
            sequence: 0,
            origin: None,
            items: VecDeque::new(),
        })
    }

    /// Only a key frame goes on from here.
    pub(super) fn wait_for_key(&mut self) {
        self.waiting = true;
    }

    /// A packet of the picture. `instant` dates one of its timestamps in µs since 1970.
    pub(super) fn picture(
        &mut self,
        packet: &Bytes,
        damaged: bool,
        wall: Timestamp,
        instant: impl Fn(u32) -> Option<i64>,
    ) {
        self.video.push(packet, damaged);
        while let Some(unit) = self.video.pop() {
            let missing = unit.lost > 0 && !unit.random_access;
            if unit.damaged || missing {
                self.waiting |= !unit.disposable || missing;
                continue;
            }
            if self.waiting && !unit.random_access {
                continue;
            }
            self.waiting = false;
            if unit.random_access {
                self.emit();
                self.parameters(unit.parameters_changed);
            }
            if self.origin.is_none() {
                self.origin = instant(unit.timestamp);
            }
            self.bytes += unit.data.len();
            self.pending.push(Picture { unit, wall });
            if self.pending.len() >= MOST_PICTURES || self.bytes >= MOST_BYTES {
                self.emit();
            }
        }
    }

    /// A packet of the sound.
    pub(super) fn sound(
        &mut self,
        packet: &Bytes,
        now: Duration,
        instant: impl Fn(u32) -> Option<i64>,
    ) {
        let (Some(packets), Some(sound)) = (&mut self.sound_packets, &mut self.sound) else {
            return;
        };
        packets.push(packet, false);
        self.last_sound = Some(now);
        while let Some(unit) = packets.pop() {
            let origin = self.origin;
            sound.push(&unit, || {
                Some(instant(unit.timestamp)? - origin? + Timeline::begin_micros())
            });
        }
    }

    /// A key frame: parameters may have changed, and sound may have been lost.
    fn parameters(&mut self, changed: bool) {
        if self.entry.is_none() || changed {
            let entry = self
                .video
                .parameters()
                .and_then(|parameters| video_entry(&parameters)?.ok());
            if entry.is_some() && entry != self.entry {
                self.entry = entry;
                self.init = None;
            }
        }
    }

    /// Leaves the sound out from the next key frame on if it has not come for long.
    pub(super) fn check_sound(&mut self, now: Duration) {
        let lost = self
            .last_sound
            .is_none_or(|last| now.saturating_sub(last) > SOUND_LOST);
        if self.with_sound && lost {
            self.sound = None;
            self.init = None;
            self.waiting = true;
        }
    }

    fn make_init(&mut self) -> Option<()> {
        let mut tracks = vec![(self.clock_rate, self.entry.clone()?)];
        self.with_sound = self.last_sound.is_some() && self.sound.is_some();
        if let Some(sound) = self.sound.as_ref().filter(|_| self.with_sound) {
            tracks.push((sound.rate, sound.entry.clone()));
        }
        let init = Init::new(tracks).ok()?;
        self.items.push_back(LiveItem::Init {
            mime: init.mime(),
            bytes: init.bytes().clone(),
        });
        self.init = Some(init);
        Some(())
    }

    /// Makes a fragment of what is there.
    pub(super) fn emit(&mut self) {
        let pictures = std::mem::take(&mut self.pending);
        self.bytes = 0;
        let Some(first) = pictures.first() else {
            return;
        };
        if self.init.is_none() {
            // Parameters that cannot be read: another key frame may bring others.
            let made = first.unit.random_access.then(|| self.make_init()).flatten();
            if made.is_none() {
                self.waiting = true;
                return;
            }
        }
        let (wall, key) = (first.wall, first.unit.random_access);
        let stamps: Vec<u32> = pictures
            .iter()
            .map(|picture| picture.unit.timestamp)
            .collect();
        self.timeline.learn(&stamps);
        let mut decode_time = None;
        let mut samples = Vec::with_capacity(pictures.len());
        for Picture { unit, .. } in pictures {
            let placed = self.timeline.place(unit.timestamp, unit.random_access);
            decode_time.get_or_insert(placed.decode_time);
            samples.push(Sample {
                data: unit.data,
                duration: placed.duration,
                composition_offset: placed.composition_offset,
                sync: unit.random_access,
            });
        }
        let mut runs = vec![Run {
            track_id: 1,
            decode_time: decode_time.unwrap_or(0),
            samples,
        }];
        if let Some((decode_time, samples)) = self.sound.as_mut().and_then(Sound::take)
            && self.with_sound
        {
            runs.push(Run {
                track_id: 2,
                decode_time,
                samples,
            });
        }
        self.sequence += 1;
        let fragment = self.init.as_ref().and_then(|init| {
            init.fragment(self.sequence, wall.as_millis() * 1000, &runs)
                .ok()
        });
        match fragment {
            Some(fragment) => self.items.push_back(LiveItem::Fragment {
                bytes: fragment.bytes,
                key,
                wall,
            }),
            None => self.waiting = true,
        }
    }
}
