//! Concatenation: segments in, one playable file out, in constant memory.
//!
//! The output is the take-wide init and `{moof mdat}*`; `prft`, checksums, indexes and heads are left out. `moof` is
//! rewritten in place (sequence number and `tfdt`), `mdat` is passed through as it arrives, so NAL units stay bit-identical.
//! Segments of another init are refused: even where a decoder could follow, MSE, HLS and most players need the new init.
//! There is no exception, since the hash already leaves out what may differ between segments of one take (the `elst`).
//!
//! Time: the output begins at 0, at the first fragment's earliest presentation time. Between contiguous fragments all tracks
//! move by the same amount. Where the reference track jumps, or a take begins, [`Gaps`] says what happens; no track
//! is ever placed before its own previous end. With B-frames the presentation begins at the first composition offset.

use bytes::Bytes;

use crate::boxes::{BoxHeader, overwrite};
use crate::error::{JoinError, ReadError};
use crate::head::Head;
use crate::init::{Init, InitHash};
use crate::parse::{MAX_MOOF_LEN, Moof, read_prft};
use crate::wall::{NtpTime, rescale_signed};

/// What becomes of missing time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gaps {
    /// The next picture follows at once: the file is as long as its media.
    Collapse,
    /// Missing time stays missing: within a take by its media time, between takes by the wall clock of `prft`.
    Keep,
}

/// How a segment relates to the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follows {
    /// The same take: media times are comparable.
    SameTake,
    /// Another take: media time starts anew. Also right for the first segment.
    NewTake,
}

/// Joins segments. Feed it, per segment, the head and then the bytes behind it, or any run of whole fragments.
#[derive(Debug)]
pub struct Joiner {
    gaps: Gaps,
    init: Option<Init>,
    clock: Clock,
    sequence: u32,
    state: State,
    /// The part of a box header, `prft` or `moof` that has arrived.
    pending: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Header,
    /// Collecting a box of this length, `prft` or `moof`, into `pending`.
    Collect(usize),
    Skip(u64),
    Pass(u64),
}

impl Joiner {
    /// An empty output.
    pub fn new(gaps: Gaps) -> Self {
        let clock = Clock {
            shift: None,
            new_take: true,
            wall: None,
            first_wall: None,
            ends: Vec::new(),
        };
        Self {
            gaps,
            init: None,
            clock,
            sequence: 0,
            state: State::Header,
            pending: Vec::new(),
        }
    }

    /// Begins a segment with the bytes of its head (more does no harm). For the first segment the take-wide init is returned,
    /// which is to be written before anything else.
    ///
    /// # Errors
    /// [`JoinError::InitChanged`] leaves the joiner as it was: the caller may go on with another segment of the old init.
    /// [`JoinError::Incomplete`] if the segment before ended inside a box.
    pub fn begin_segment(
        &mut self,
        head: &[u8],
        follows: Follows,
    ) -> Result<Option<Bytes>, JoinError> {
        self.end_segment()?;
        let head = Head::parse(head)?;
        let new = match &self.init {
            Some(init) if init.hash() != head.init().hash() => {
                return Err(JoinError::InitChanged {
                    from: init.hash(),
                    to: head.init().hash(),
                });
            }
            Some(_) => None,
            None => Some(head.init().bytes().clone()),
        };
        self.init.get_or_insert(head.init().clone());
        self.clock.new_take |= follows == Follows::NewTake;
        self.clock.wall = None;
        Ok(new)
    }

    /// The init of the output, once there is one.
    pub fn init_hash(&self) -> Option<InitHash> {
        self.init.as_ref().map(Init::hash)
    }

    /// Takes the next bytes of the segment, cut anywhere, and appends what they give to `out`: at most as many bytes, plus a
    /// `moof` that was held back until it was whole (2 MiB at most).
    ///
    /// # Errors
    /// If the bytes are no fragments of this init. The output is then complete up to the fragment before.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), JoinError> {
        if self.init.is_none() {
            return Err(JoinError::NotBegun);
        }
        while !bytes.is_empty() {
            match self.state {
                State::Header => bytes = self.header(bytes, out)?,
                State::Collect(len) => {
                    bytes = self.collect(bytes, len);
                    if self.pending.len() == len {
                        self.whole(out)?;
                        self.next_box();
                    }
                }
                State::Skip(left) => {
                    let (_, rest) = split(bytes, left);
                    self.state = State::Skip(left - (bytes.len() - rest.len()) as u64);
                    bytes = rest;
                }
                State::Pass(left) => {
                    let (media, rest) = split(bytes, left);
                    out.extend_from_slice(media);
                    self.state = State::Pass(left - media.len() as u64);
                    bytes = rest;
                }
            }
            if matches!(self.state, State::Skip(0) | State::Pass(0)) {
                self.next_box();
            }
        }
        Ok(())
    }

    /// Checks that the segment ended where a box ends. [`Joiner::begin_segment`] does so too.
    ///
    /// # Errors
    /// [`JoinError::Incomplete`].
    pub fn end_segment(&mut self) -> Result<(), JoinError> {
        match self.state {
            State::Header if self.pending.is_empty() => Ok(()),
            _ => Err(JoinError::Incomplete),
        }
    }

    fn next_box(&mut self) {
        self.pending.clear();
        self.state = State::Header;
    }

    /// Moves bytes to `pending` until it holds `len`; returns the rest.
    fn collect<'a>(&mut self, bytes: &'a [u8], len: usize) -> &'a [u8] {
        let (head, rest) = split(bytes, len.saturating_sub(self.pending.len()) as u64);
        self.pending.extend_from_slice(head);
        rest
    }

    fn header<'a>(
        &mut self,
        mut bytes: &'a [u8],
        out: &mut Vec<u8>,
    ) -> Result<&'a [u8], JoinError> {
        // 8 bytes tell whether 16 are needed
        bytes = self.collect(bytes, 8);
        if self.pending.len() == 8 && self.pending.starts_with(&[0, 0, 0, 1])
            || self.pending.len() > 8
        {
            bytes = self.collect(bytes, 16);
        }
        let header = match BoxHeader::parse(&self.pending) {
            Err(ReadError::Truncated { .. }) => return Ok(bytes),
            header => header?,
        };
        let left = header.size - header.header_len as u64;
        self.state = match &header.kind {
            b"moof" | b"prft" if header.size > MAX_MOOF_LEN => {
                return Err(ReadError::TooLarge {
                    what: "moof",
                    limit: MAX_MOOF_LEN,
                }
                .into());
            }
            b"moof" | b"prft" if left == 0 => {
                return Err(ReadError::Truncated { what: "moof" }.into());
            }
            b"moof" | b"prft" => State::Collect(header.size as usize),
            b"mdat" => {
                out.extend_from_slice(&self.pending);
                State::Pass(left)
            }
            _ => State::Skip(left),
        };
        if !matches!(self.state, State::Collect(_)) {
            self.pending.clear();
        }
        Ok(bytes)
    }

    fn whole(&mut self, out: &mut Vec<u8>) -> Result<(), JoinError> {
        if self.pending.get(4..8) == Some(b"prft") {
            let (_, wall, media_time) = read_prft(self.pending.get(8..).unwrap_or_default())?;
            self.clock.wall = Some((wall, media_time));
            return Ok(());
        }
        let init = self.init.as_ref().ok_or(JoinError::NotBegun)?;
        let moof = Moof::parse(&self.pending)?;
        let times = self.clock.place(init, &moof, self.gaps)?;
        self.sequence = self.sequence.wrapping_add(1);
        overwrite(
            &mut self.pending,
            moof.sequence_at,
            &self.sequence.to_be_bytes(),
        );
        for (run, time) in moof.runs.iter().zip(times) {
            let at = run.time_at.ok_or(JoinError::NarrowTime)?;
            overwrite(&mut self.pending, at, &time.to_be_bytes());
        }
        out.extend_from_slice(&self.pending);
        Ok(())
    }
}

fn split(bytes: &[u8], at: u64) -> (&[u8], &[u8]) {
    bytes.split_at(at.min(bytes.len() as u64) as usize)
}

/// Maps media time to the output's time.
#[derive(Debug)]
struct Clock {
    /// Output minus input, in the reference track's timescale; `None` before the first fragment.
    shift: Option<i128>,
    new_take: bool,
    /// The last `prft`: wall clock and media time of the reference track.
    wall: Option<(NtpTime, u64)>,
    /// Wall clock in microseconds at output time 0.
    first_wall: Option<i64>,
    ends: Vec<Ends>,
}

/// Where a track ended, in its own timescale.
#[derive(Debug, Clone, Copy)]
struct Ends {
    track_id: u32,
    input: i128,
    output: i128,
}

impl Clock {
    /// The new `tfdt` of each run.
    fn place(&mut self, init: &Init, moof: &Moof, gaps: Gaps) -> Result<Vec<u64>, JoinError> {
        const WHAT: &str = "moof";
        let reference = init.reference();
        let mut runs = Vec::with_capacity(moof.runs.len());
        for run in &moof.runs {
            let track = init.track(run.track_id).ok_or(ReadError::Malformed {
                what: WHAT,
                why: "a track is not in the init",
            })?;
            let time = run.time().ok_or(ReadError::Malformed {
                what: WHAT,
                why: "a run is empty or its time overflows",
            })?;
            runs.push((
                track,
                i128::from(run.decode_time),
                i128::from(time.duration),
                time.earliest,
            ));
        }
        let lead = runs
            .iter()
            .find(|(track, ..)| track.id == reference.id)
            .or(runs.first());
        let Some(&(lead_track, lead_start, _, lead_shown)) = lead else {
            return Ok(Vec::new());
        };
        let lead_time = rescale_signed(lead_start, lead_track.timescale, reference.timescale);
        let continues = lead_track.id != reference.id
            || self
                .ends
                .iter()
                .any(|ends| ends.track_id == reference.id && ends.input == lead_start);
        // earliest output time of the lead at which no track overlaps its own past
        let earliest = runs.iter().filter_map(|&(track, start, ..)| {
            let ends = self.ends.iter().find(|ends| ends.track_id == track.id)?;
            let lag = rescale_signed(start, track.timescale, reference.timescale) - lead_time;
            Some(rescale_signed(ends.output, track.timescale, reference.timescale) - lag)
        });
        let earliest = earliest.max().unwrap_or(0);
        let shift = match (self.shift, self.new_take, gaps) {
            (None, ..) => {
                let shown = rescale_signed(
                    i128::from(lead_shown),
                    lead_track.timescale,
                    reference.timescale,
                );
                self.first_wall = self.wall_of(shown, reference.timescale);
                -shown.min(lead_time)
            }
            (Some(shift), false, _) if continues => shift,
            (Some(shift), false, Gaps::Keep) => shift.max(earliest - lead_time),
            (Some(_), _, Gaps::Collapse) => earliest - lead_time,
            (Some(_), true, Gaps::Keep) => {
                let since = self
                    .wall_of(lead_time, reference.timescale)
                    .zip(self.first_wall);
                let dated = since.map(|(now, first)| {
                    rescale_signed(
                        i128::from(now) - i128::from(first),
                        1_000_000,
                        reference.timescale,
                    )
                });
                dated.unwrap_or(earliest).max(earliest) - lead_time
            }
        };
        self.shift = Some(shift);
        self.new_take = false;
        let mut out = Vec::with_capacity(runs.len());
        for (track, start, duration, _) in runs {
            let moved = start + rescale_signed(shift, reference.timescale, track.timescale);
            let ends = self.ends.iter_mut().find(|ends| ends.track_id == track.id);
            let placed = moved.max(ends.as_ref().map_or(0, |ends| ends.output));
            let now = Ends {
                track_id: track.id,
                input: start + duration,
                output: placed + duration,
            };
            match ends {
                Some(ends) => *ends = now,
                None => self.ends.push(now),
            }
            out.push(u64::try_from(placed).unwrap_or(u64::MAX));
        }
        Ok(out)
    }

    /// The wall clock at a media time of the reference track.
    fn wall_of(&self, media_time: i128, timescale: u32) -> Option<i64> {
        let (wall, at) = self.wall?;
        let micros = rescale_signed(media_time - i128::from(at), timescale, 1_000_000);
        wall.unix_micros().checked_add(i64::try_from(micros).ok()?)
    }
}
