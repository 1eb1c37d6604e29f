//! The whole monitor among working fakes, under paused time.

mod account;
mod alarm;
mod link;
mod order;
mod tasks;
pub(crate) mod world;
