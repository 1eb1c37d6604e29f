//! Interleaved framing (RFC 2326 §10.12): messages and `$` frames in one byte stream.
//!
//! [`StrictDemux`] is for peers that frame correctly or are closed: readers, and our own relay. [`ResyncDemux`] is for
//! cameras, whose streamers lose the tail of a frame when their send buffer is full; it finds the next frame and says what was lost.
//!
//! Both take bytes off the front of a buffer that the caller fills; payloads are slices of it, never copies (but for a resync).

mod check;
mod event;
mod resync;
mod search;
mod strict;

pub use check::ChannelMap;
pub use event::{Damage, Event, Frame, FramingLost, ResyncLimits, ResyncStatistics};
pub use resync::ResyncDemux;
pub use strict::{Item, MAX_READER_FRAME, StrictDemux, StrictError};
