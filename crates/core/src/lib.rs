//! Moorline's words and the ports between its parts.
//!
//! Owns: identifiers, the camera record, object keys, coverage, the lifecycle table, closed lists of words ([`words!`]) and the traits behind
//! which every adapter stands ([`port`]). Does not own: any I/O, any runtime, any clock. Pure code takes instants as arguments; `base` owns
//! the clock.
//!
//! Reading order: [`id`], [`camera`], [`lifecycle`], [`segment`], [`coverage`], then [`port`].

pub mod alarm;
pub mod camera;
pub mod cause;
pub mod check;
pub mod coverage;
pub mod id;
pub mod key;
pub mod lifecycle;
pub mod masked;
pub mod network;
pub mod outside;
pub mod port;
pub mod segment;
pub mod status;
pub mod streampoint;
pub mod time;
pub mod uplink;
pub mod user;
mod words;

pub use camera::{Camera, CameraSet};
pub use cause::Cause;
pub use id::{CameraId, Generation, InstanceId, SessionId, SourceName, TakeId, TenantId};
pub use key::PublicKey;
pub use masked::Masked;
pub use time::{TimeRange, Timestamp};
