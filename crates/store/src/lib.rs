//! The segment store: where sealed segments and gap markers live, as a directory or an S3 bucket with the same keys.
//!
//! Owns: the two adapters of the ports `SegmentStore` and `SegmentSink` ([`directory`], [`s3`]), what a foreign endpoint can do
//! ([`s3::EndpointProfile`]), the names of many tenants' recordings ([`TenantReads`]), the removal of what retention has outlived ([`sweep`]) and the search for what a store lost ([`verify`]).
//! It is the only user of aws-sdk-s3.
//!
//! Does not own: the spool (but for the file that it was told to put), when to try again (the archiver), what the bytes mean, and the
//! configuration of the process: whoever builds a store hands in path, secrets and clock.
//!
//! Tasks: only [`sweep::Sweeper::run`] is long; it ends when its token is cancelled, between two requests. Blocking work of a directory
//! runs on tokio's blocking pool, at most 16 calls at once.
//!
//! Promises and rules: P3 (a spool file is removed after the acknowledgement, never on an error path), P11, S26 and S30 (anonymous
//! access is looked for), S33 (what a store says is escaped).

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "tests may bind, write and look at the real clock"
    )
)]

mod deadline;
pub mod directory;
mod key_path;
mod newest;
#[cfg(feature = "s3")]
pub mod s3;
pub mod sweep;
mod tenant_reads;
pub mod verify;

pub use directory::DirectoryStore;
#[cfg(feature = "s3")]
pub use s3::{EndpointProfile, S3Config, S3Store};
pub use sweep::{SweepPolicy, SweepState, Sweeper, expired_by_age};
pub use tenant_reads::{FindRead, TenantRead, TenantReads};

/// Most objects on a page of a listing, in every adapter: what S3 gives at once.
pub const PAGE: usize = 1000;

/// The greatest range that is read at once.
pub const MAX_RANGE: u64 = 64 * 1024 * 1024;

/// The greatest object that is stored: one PUT, no multipart.
pub const MAX_OBJECT: u64 = 256 * 1024 * 1024;

/// What stands in a gap marker that [`verify`] writes: its key says everything.
const MARKER: bytes::Bytes = bytes::Bytes::from_static(b"{}\n");
