//! The whole monitor among working fakes, under paused time.

mod account;
mod alarm;
mod link;
mod order;
mod own_network;
mod tasks;
pub(crate) mod world;
