//! The errors of this crate. Each says what was read or written and why it was refused; none carries bytes of the input (P10).

use crate::init::InitHash;

/// Bytes that are no file of ours, or not yet one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The input ends before the structure does.
    #[error("{what} is cut off")]
    Truncated {
        /// The structure that was being read.
        what: &'static str,
    },
    /// The structure contradicts itself or the standard.
    #[error("{what} is malformed: {why}")]
    Malformed {
        /// The structure that was being read.
        what: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The structure announces more than we read, whatever the standard allows.
    #[error("{what} is larger than {limit}")]
    TooLarge {
        /// The structure that was being read.
        what: &'static str,
        /// Our bound, in the structure's own unit (bytes or entries).
        limit: u64,
    },
    /// A box that must be there is not.
    #[error("{what} is missing")]
    Missing {
        /// The box or field.
        what: &'static str,
    },
}

/// Input from which nothing can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// No track, or more than [`crate::MAX_TRACKS`].
    #[error("{0} tracks: between 1 and 8 are possible")]
    TrackCount(usize),
    /// A timescale of zero.
    #[error("track {0} has timescale 0")]
    Timescale(u32),
    /// A run for a track that the init does not have, or two runs for one track.
    #[error("track {0} is unknown or appears twice in one fragment")]
    Track(u32),
    /// A fragment without any sample.
    #[error("a fragment needs at least one sample")]
    Empty,
    /// More than [`crate::MAX_FRAGMENT_LEN`] bytes or [`crate::MAX_SAMPLES`] samples.
    #[error("the fragment exceeds its bound of 64 MiB or 65,536 samples")]
    TooLarge,
    /// The sum of a run's durations does not fit.
    #[error("the media time of track {0} overflows")]
    Time(u32),
}

/// Why two pieces cannot become one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// The segment was written with another init: other codec, resolution, parameter sets or tracks. One file has one
    /// init, so the caller ends this file and starts another, or tells its reader so.
    #[error("the init changes from {from} to {to}")]
    InitChanged {
        /// Of the segments so far.
        from: InitHash,
        /// Of the refused segment.
        to: InitHash,
    },
    /// Bytes were pushed before [`crate::Joiner::begin_segment`].
    #[error("no segment was begun")]
    NotBegun,
    /// A segment ended inside a box.
    #[error("the segment ended inside a box")]
    Incomplete,
    /// The bytes are no fragments.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A `tfdt` of 32 bits cannot take the new time.
    #[error("a tfdt of version 0 cannot be rewritten")]
    NarrowTime,
}
