//! The ports: small traits behind which adapters stand, so that only the binary knows which one is there.
//!
//! Each trait's docs are its contract: what is idempotent, which error says *missing*, which deadline holds. One contract suite per port
//! runs on every adapter. Ports whose cluster side nothing exercises yet are provisional until it does.

mod archive;
mod cameras;
mod cluster;
mod enroll;
mod people;
mod relay;
mod tell;
mod tunnel;
mod upgrade;
mod workload;

pub use archive::*;
pub use cameras::*;
pub use cluster::*;
pub use enroll::*;
pub use people::*;
pub use relay::*;
pub use tell::*;
pub use tunnel::*;
pub use upgrade::*;
pub use workload::*;

/// Why an adapter could not do its work, when the caller can do nothing but report it.
#[derive(Debug, thiserror::Error)]
#[error("{operation}: {cause}")]
pub struct PortError {
    /// What was tried, as a phrase (`read the camera registry`).
    pub operation: &'static str,
    /// Why it failed, in words; no secrets.
    pub cause: String,
}

impl PortError {
    /// An error of `operation`.
    pub fn new(operation: &'static str, cause: impl std::fmt::Display) -> Self {
        Self {
            operation,
            cause: cause.to_string(),
        }
    }
}
