//! The read side of the archive: what was recorded, playing it, and one file of a stretch, over the segment store and the open spool.
//!
//! Owns: the merge of both into one [`Coverage`](moorline_core::coverage::Coverage), the order in which segments are played
//! (`pieces`), and reading them in bounded pieces. Does not own: who may see a camera (the caller), the open gap (the monitor), the bytes' format (`fmp4`), retention.
//!
//! ```text
//! spool ─┐                          ┌─ coverage
//!        ├─ window of keys ─ pieces ┼─ play: init, fragments, gaps, end ⟲
//! store ─┘   (LIST, no index)       └─ export: init, {moof mdat}*
//! ```
//! A segment moves: open → sealed in the spool → in the store, and its key is final only when it is sealed. What does not move is its
//! place: take and sequence number, and the offsets of its fragments. So a reader goes by place and offset, and asks the spool *before*
//! the store, since what leaves the one meanwhile is then found in the other. Nothing is lost and nothing comes twice.
//!
//! Requests: one LIST per retention class that the camera used, then at most two reads up to the first picture.
//! Memory: the keys of a window (1,000 per class) and one fragment, or 2 MiB, per reader.
//!
//! There are no tasks: everything happens inside the calls, and dropping what they return ends it. Promises: P4 (no second left out).
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

mod archive;
mod export;
mod listing;
mod losses;
mod pieces;
mod player;
mod reader;
mod source;

pub use archive::{Archive, Kept};
