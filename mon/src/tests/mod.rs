//! The whole monitor among working fakes, under paused time.

mod link;
pub(crate) mod world;
