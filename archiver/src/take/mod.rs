//! One take: pictures and sound of one uninterrupted read of a relay, written as segments.
//!
//! Owns media time, the anchor, the open segment and where it is cut. Does not own the reading (`session`, `bridge`), the orders
//! (`recorder`) nor the account (`account`). Dropping a take seals what is synced.
//!
//! ```text
//! waiting for a key frame ──▶ segment open ── key frame at the mark, new init, absence ≥ 1 s, disk full ──▶ sealed ─┐
//!        ▲──────────────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//! A segment that gets too long or too large without a further key frame is sealed all the same, and the next one goes on without one: to
//! be seen it needs the segment before it, but nothing is lost, and no object becomes one that no store takes.

mod audio;
mod bridge;
mod pictures;
mod session;
mod sync;

use std::sync::Arc;

use bytes::Bytes;
use moorline_base::files::disk_space;
use moorline_core::segment::Place;
use moorline_core::{Cause, Generation, TakeId, Timestamp};
use moorline_fmp4::{Anchor, Hole, Init, RESERVED, SampleEntry};

use crate::account::Account;
use crate::anchor::{Divergence, WallAnchor};
use crate::cut::until_mark;
use crate::disk::is_full;
use crate::error::TakeError;
use crate::ledger::Own;
use crate::spool::layout::PartName;
use crate::spool::{NewSegment, OpenFile, Spool};
use audio::Sound;
use pictures::{Gatherer, Pictures};
pub(crate) use session::{Mark, Playing, SoundTrack, mark, play, reported};
use sync::TrackClock;

const MICROS: i64 = 1_000_000;
/// Nothing shown for this long is a gap, so the segment ends.
const ABSENCE_MS: u64 = 1_000;
/// A segment ends here, below the largest object that is put in one piece, with or without a second key frame.
const MOST_BYTES: u64 = 240 << 20;
/// Losses that are noted in one segment; the rest is counted by their number alone.
const MOST_HOLES: usize = 1_000;
const VIDEO: u32 = 1;
const SOUND: u32 = 2;

/// When something arrived, in microseconds: on the wall, and monotonic since the take began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) wall: i64,
    pub(crate) monotonic: i64,
}

/// One picture as it came.
#[derive(Debug)]
pub(crate) struct Picture {
    /// RTP time since the stream began, in ticks.
    pub(crate) time: i64,
    pub(crate) data: Vec<u8>,
    pub(crate) key: bool,
    /// Packets lost before it.
    pub(crate) lost: u16,
    /// The sample entry, where it may be new.
    pub(crate) entry: Option<Vec<u8>>,
    pub(crate) arrival: Arrival,
}

/// What became of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is kept.
    Kept,
    /// There was no key frame yet.
    NoKey,
    /// RTP time cannot be trusted any more: the take ends (S31).
    Diverged,
}

/// A take that is being written.
pub(crate) struct Take {
    spool: Arc<Spool>,
    place: Place,
    generation: Generation,
    /// Of the segments that are begun from now on.
    through: Generation,
    id: TakeId,
    stagger: i64,
    timescale: u32,
    track: Option<SoundTrack>,
    sound: Option<Sound>,
    gatherer: Gatherer,
    anchor: WallAnchor,
    divergence: Divergence,
    video_clock: TrackClock,
    sound_clock: TrackClock,
    /// RTP time of the first picture, in ticks, and of the sound that belongs to it, in microseconds.
    zero: Option<(i64, i64)>,
    entry: Vec<u8>,
    init: Option<Init>,
    file: Option<OpenFile>,
    /// The gap before the open segment is written.
    explained: bool,
    waiting_for_key: bool,
    /// The next segment goes on where the last one was cut, without a key frame.
    goes_on: bool,
    mark: u64,
    sequence: u32,
    fragments: u32,
    holes: Vec<Hole>,
    synced: Option<Timestamp>,
    full: bool,
    /// The relay has moved us to a later key frame, whose picture has not come yet.
    overrun: bool,
}

impl Take {
    /// A take of `place` under `generation`, of pictures with this clock rate; in closed groups nothing is shown before a key frame that
    /// comes after it.
    pub(crate) fn new(
        spool: &Arc<Spool>,
        place: &Place,
        generation: Generation,
        timescale: u32,
        closed_groups: bool,
        track: Option<SoundTrack>,
    ) -> Self {
        let settings = &spool.settings;
        let longest = settings.fragment.as_millis() as u64 * u64::from(timescale) / 1_000;
        Self {
            stagger: crate::cut::stagger(&place.camera, settings.segment),
            gatherer: Gatherer::new(VIDEO, timescale, longest, closed_groups),
            spool: Arc::clone(spool),
            place: place.clone(),
            generation,
            through: generation,
            id: TakeId(rand::random()),
            timescale,
            track,
            sound: None,
            anchor: WallAnchor::default(),
            divergence: Divergence::default(),
            video_clock: TrackClock::default(),
            sound_clock: TrackClock::default(),
            zero: None,
            entry: Vec::new(),
            init: None,
            file: None,
            explained: false,
            waiting_for_key: true,
            goes_on: false,
            mark: 0,
            sequence: 0,
            fragments: 0,
            holes: Vec::new(),
            synced: None,
            full: false,
            overrun: false,
        }
    }

    /// A newer tunnel has been heard of: segments that are begun from now on are named by it.
    pub(crate) fn through(&mut self, generation: Generation) {
        self.through = self.through.max(generation);
    }

    /// The end of the last synced fragment.
    pub(crate) fn synced(&self) -> Option<Timestamp> {
        self.synced
    }

    /// Whether the disk took nothing when it was last asked.
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    /// Whether a segment is open.
    pub(crate) fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// The camera's clock, from a sender report.
    pub(crate) fn report(&mut self, video: bool, time: i64, rate: u32, clock: i64) {
        let track = if video {
            &mut self.video_clock
        } else {
            &mut self.sound_clock
        };
        track.reported(micros(time, rate), clock);
    }

    /// The relay has moved us to a later key frame.
    pub(crate) fn overrun(&mut self) {
        self.overrun = true;
    }

    /// Takes a picture.
    ///
    /// # Errors
    /// [`TakeError::Parameters`], or [`TakeError::Disk`] for all but a full disk.
    pub(crate) async fn picture(
        &mut self,
        picture: Picture,
        account: &mut Account,
    ) -> Result<Verdict, TakeError> {
        let elapsed = micros(picture.time, self.timescale);
        self.video_clock.arrived(elapsed, picture.arrival.wall);
        if self.divergence.observe(elapsed, picture.arrival.monotonic) {
            return Ok(Verdict::Diverged);
        }
        if self.waiting_for_key && !picture.key {
            return Ok(Verdict::NoKey);
        }
        let (zero, _) = *self.zero.get_or_insert_with(|| {
            let shift = sync::shift(self.video_clock, self.sound_clock);
            (picture.time, elapsed.saturating_sub(shift))
        });
        let Ok(time) = u64::try_from(picture.time.saturating_sub(zero)) else {
            // a picture of before the beginning: its decoding needs what was not kept; but nothing is shown before a key frame
            let wrong = picture.key && !self.waiting_for_key;
            return Ok(if wrong {
                Verdict::Diverged
            } else {
                Verdict::NoKey
            });
        };
        if self.gatherer.is_behind(time, picture.key) {
            return Ok(Verdict::Diverged);
        }
        let absence = self.gatherer.absence(time);
        let absent = absence * 1_000 / u64::from(self.timescale) >= ABSENCE_MS;
        if self.file.is_some() || !self.gatherer.is_empty() {
            if absent {
                self.flush(None, account).await?;
                self.seal(account).await?;
                self.waiting_for_key = true;
                self.goes_on = false;
                if self.overrun {
                    // after the seal: it is the cause of what follows
                    account.own(Own::Likely(Cause::Overrun));
                }
            } else if self.gatherer.is_complete(time, picture.key) {
                self.flush(Some(time), account).await?;
                if !picture.key && self.is_overlong(time) {
                    self.seal(account).await?;
                    self.goes_on = true;
                }
            }
        }
        if self.waiting_for_key && !picture.key {
            return Ok(Verdict::NoKey);
        }
        let media = micros(time as i64, self.timescale);
        self.anchor.observe(media, picture.arrival.wall);
        if picture.key {
            self.key(time, picture.entry, account).await?;
        }
        let overrun = std::mem::take(&mut self.overrun) && !absent;
        if picture.lost > 0 || overrun {
            let cause = if overrun { "overrun" } else { "packet_loss" };
            let duration = if overrun { absence } else { 0 };
            self.lost(VIDEO, time, duration, picture.lost, cause);
        }
        self.waiting_for_key = false;
        self.gatherer
            .push(time, Bytes::from(picture.data), picture.key);
        Ok(Verdict::Kept)
    }

    /// Whether the open segment has to end, although no key frame has come.
    fn is_overlong(&self, time: u64) -> bool {
        let longest = self.spool.settings.longest.as_millis() as u64;
        let longest = longest * u64::from(self.timescale) / 1_000;
        self.file.as_ref().is_some_and(|file| {
            let begin = file.first().map_or(time, |first| first.media_time);
            file.len() >= MOST_BYTES || time.saturating_sub(begin) >= longest
        })
    }

    /// A key frame at `time`: the segment may end before it, and the next may have another init.
    async fn key(
        &mut self,
        time: u64,
        entry: Option<Vec<u8>>,
        account: &mut Account,
    ) -> Result<(), TakeError> {
        let entry = entry.filter(|entry| *entry != self.entry);
        let large = self
            .file
            .as_ref()
            .is_some_and(|file| file.len() >= MOST_BYTES);
        if entry.is_some() || large || (self.file.is_some() && time >= self.mark) {
            self.seal(account).await?;
        }
        if let Some(entry) = entry {
            self.init = Some(self.make_init(&entry)?);
            self.entry = entry;
        }
        Ok(())
    }

    fn make_init(&mut self, entry: &[u8]) -> Result<Init, TakeError> {
        let wrong = |error: &dyn std::fmt::Display| TakeError::Parameters(error.to_string());
        let video = SampleEntry::from_box(entry).map_err(|error| wrong(&error))?;
        let mut tracks = vec![(self.timescale, video)];
        if let Some(track) = &self.track {
            let (sound, entry) =
                Sound::new(&track.codec, track.rate, SOUND).map_err(|error| wrong(&error))?;
            tracks.push((track.rate, entry));
            // what waits in the old lane belongs to a segment that is sealed
            self.sound = Some(sound);
        }
        Init::new(tracks).map_err(|error| wrong(&error))
    }

    /// Takes a frame of sound: RTP time in ticks of its rate, and its length.
    pub(crate) fn sound(
        &mut self,
        time: i64,
        samples: u32,
        data: &[u8],
        lost: u16,
        arrival: Arrival,
    ) {
        let Some(track) = &self.track else { return };
        let rate = track.rate;
        self.sound_clock.arrived(micros(time, rate), arrival.wall);
        let (Some((_, zero)), Some(sound)) = (self.zero, &mut self.sound) else {
            return;
        };
        let zero = i128::from(zero) * i128::from(rate) / i128::from(MICROS);
        let start = i64::try_from(i128::from(time) - zero).unwrap_or(-1);
        sound.push(start, samples, data);
        if let Ok(start) = u64::try_from(start)
            && lost > 0
        {
            self.lost(SOUND, start, 0, lost, "packet_loss");
        }
    }

    fn lost(&mut self, track_id: u32, media_time: u64, duration: u64, packets: u16, cause: &str) {
        self.spool.metrics.hole();
        if self.holes.len() < MOST_HOLES {
            self.holes.push(Hole {
                track_id,
                media_time,
                duration,
                packets: u32::from(packets),
                cause: cause.to_owned(),
            });
        }
    }

    /// Writes what is gathered, after the gap before it; its last picture lasts until `next`.
    ///
    /// # Errors
    /// [`TakeError::Disk`] for all but a full disk.
    pub(crate) async fn flush(
        &mut self,
        next: Option<u64>,
        account: &mut Account,
    ) -> Result<(), TakeError> {
        let Some(pictures) = self.gatherer.take(next) else {
            return Ok(());
        };
        let sound = self
            .sound
            .as_mut()
            .map(|sound| sound.until(pictures.end, self.timescale));
        let (start, end, key) = (pictures.start, pictures.end, pictures.key);
        let wall = |media: u64| self.anchor.wall(micros(media as i64, self.timescale));
        let (from, to) = (
            wall(start).unwrap_or_default(),
            wall(end).unwrap_or_default(),
        );
        // on a full disk each try would end a gap that goes on
        if self.file.is_some() || key && !self.full {
            self.explain(from, account).await;
        }
        let Some(init) = &self.init else {
            return Ok(());
        };
        let wrong = |error: moorline_fmp4::WriteError| TakeError::Parameters(error.to_string());
        self.fragments += 1;
        let Pictures { run, .. } = pictures;
        let runs: Vec<_> = std::iter::once(run).chain(sound).collect();
        let fragment = init.fragment(self.fragments, from, &runs).map_err(wrong)?;
        let written = match self.file.take() {
            Some(file) => {
                let (file, written) = file.append(fragment).await;
                self.file = file;
                written
            }
            // a segment begins with a key frame, unless it goes on; without one the disk was full a moment ago
            None if !key && !std::mem::take(&mut self.goes_on) => return Ok(()),
            None => {
                let new = self.begin(start, from, init.clone());
                OpenFile::create(&self.spool, new, fragment)
                    .await
                    .map(|file| self.file = Some(file))
            }
        };
        match written {
            Ok(()) => {
                self.full = false;
                self.synced = Some(Timestamp::from_millis(to.div_euclid(1_000)));
                Ok(())
            }
            Err(error) if is_full(&error) => {
                if !self.full {
                    let available = disk_space(self.spool.path()).map(|disk| disk.available);
                    tracing::warn!(
                        reason = "disk_full",
                        available = available.unwrap_or(0),
                        "the disk takes no more recordings"
                    );
                }
                self.full = true;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Writes the gap before the open segment, or before the one that begins at `from`, once.
    async fn explain(&mut self, from: i64, account: &mut Account) {
        let start = match &self.file {
            // its seal may date it a little earlier
            None => {
                self.generation = self.through;
                Timestamp::from_millis(from.div_euclid(1_000))
            }
            Some(_) if self.explained => return,
            Some(file) => match file.range(None) {
                Some(range) => range.from,
                None => return,
            },
        };
        self.explained = account.begins(start, self.through).await;
    }

    fn begin(&mut self, start: u64, wall: i64, init: Init) -> NewSegment {
        let length = self.spool.settings.segment;
        self.generation = self.through;
        let rest = until_mark(wall.div_euclid(1_000), self.stagger, length);
        self.mark = start + rest.as_millis() as u64 * u64::from(self.timescale) / 1_000;
        let name = PartName {
            place: self.place.clone(),
            generation: self.generation,
            take: self.id,
            sequence: self.sequence,
        };
        self.sequence += 1;
        NewSegment {
            name,
            init,
            start,
            reserved: RESERVED,
        }
    }

    /// Seals the open segment, after the gap before it.
    ///
    /// # Errors
    /// [`TakeError::Disk`] if the runtime stops.
    pub(crate) async fn seal(&mut self, account: &mut Account) -> Result<(), TakeError> {
        let Some(file) = self.file.take() else {
            return Ok(());
        };
        let anchor = self.fix(&file);
        let holes = std::mem::take(&mut self.holes);
        let before = match file.range(anchor) {
            Some(range) => account.media(range, self.generation).await,
            None => Vec::new(),
        };
        file.seal(holes, anchor, before).await?;
        account.publish();
        Ok(())
    }

    /// The first seal of a take fixes its anchor, and dates the segment anew.
    fn fix(&mut self, file: &OpenFile) -> Option<Anchor> {
        if self.anchor.is_fixed() {
            return None;
        }
        let first = file.first()?;
        let wall = self
            .anchor
            .wall(micros(first.media_time as i64, self.timescale))?;
        self.anchor.fix(micros(first.end() as i64, self.timescale));
        Some(Anchor {
            unix_micros: wall,
            media_time: first.media_time,
        })
    }

    /// The stream is silent, or ends: writes what is gathered and seals. The next picture must be a key frame.
    ///
    /// # Errors
    /// [`TakeError::Disk`].
    pub(crate) async fn finish(&mut self, account: &mut Account) -> Result<(), TakeError> {
        let flushed = self.flush(None, account).await;
        let sealed = self.seal(account).await;
        self.waiting_for_key = true;
        self.goes_on = false;
        flushed.and(sealed)
    }
}

fn micros(ticks: i64, rate: u32) -> i64 {
    let micros = i128::from(ticks) * i128::from(MICROS) / i128::from(rate.max(1));
    i64::try_from(micros).unwrap_or(i64::MAX)
}
