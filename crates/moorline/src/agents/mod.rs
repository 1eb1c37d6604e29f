//! Releases of the on-camera agent: signing them, keeping them, bringing them onto cameras in stages.
//!
//! Owns: the release file ([`release`]), the releases of a data directory with how far each is rolled out ([`shelf`]), which cameras are next
//! ([`plan`], pure; on a cluster by [`share`]), and doing it ([`rollout`]). Does not own: how a release travels (the monitor), whether a camera takes it (its agent, rule S8).

pub mod plan;
pub mod release;
pub mod rollout;
#[cfg(feature = "kube")]
pub mod share;
pub mod shelf;
pub mod sign;
