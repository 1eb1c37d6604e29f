//! Cameras of the local network that say of themselves that they are there: WS-Discovery (2005/04), ONVIF's cameras only.
//!
//! Owns: the question, what an answer says, and asking once. Does not own: what is done with an answer. It **only proposes**: nothing is
//! connected to until its address stands in the owner's `local.conf` ([`crate::gateway`]), and no answer leads anywhere but to its own
//! sender: the addresses that a device names of itself are shown to nobody and never dialled.
//!
//! [`message`] builds and reads without a socket, [`seek`] has the socket, a deadline and a bound on answers.

pub mod message;
pub mod seek;
mod xml;
