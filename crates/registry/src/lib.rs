//! Cameras, people and claims in SQLite: the embedded adapter of the ports `CameraDirectory`, `CameraAdmin`, `UsedClasses`, `Claims`,
//! `Memories`, `Users`, `WebSessions`, `Audit`, `EnrollTokens` and `Enrolment`; and with the feature `postgres` users, web sessions and audit in
//! PostgreSQL, for a cluster's front doors (`PeopleRegistry`).
//!
//! Owns: one database file or the schema in a PostgreSQL database, the key file of its envelope, and what of both is kept in memory. Does not
//! own: who may change what (web and the command line decide), the lock on the data directory (`base`), sessions of cameras (`tunnel`, `mon`).
//!
//! ```text
//!  reads:  memory (snapshots, swapped whole after each commit)       writes:  mutation ── own task ── transaction ── snapshot
//!  cameras, enrolments ── those that wait share a transaction ── snapshot ── answers
//!  claims, memories ── bounded queue ── one task, one transaction for all that wait ── answers
//!  audit ── bounded queue ── one task                                maintenance: every 10 min, used sessions and old audit entries
//! ```
//!
//! - What the SSH handler or a request asks is answered from memory (promise P7).
//! - A write is durable when it is answered (WAL, `synchronous = FULL`); claims share one sync, and so do changes of cameras, so that 1,000 cameras can
//!   connect or enrol at once.
//! - A write that was begun is finished even when its caller is gone, so that memory and file never part.
//! - In PostgreSQL other processes change the same rows: what they changed is read within a quarter of a second, and while the database is away
//!   who is known stays known.
//! - On a disk that somebody else fills claims go on: the registry has room ahead (`reserve`).
//! - A damaged file, one from a newer version, or a missing key is an error that names the file and the cure; the file is left as it is.
//!
//! Rules kept: S2 (keys are unique), S11 (sign-in: pool, queue, throttle, equal cost), S12 (stream passwords), S13 (tokens stored hashed),
//! S25 (one envelope for secrets at rest), S35 (audit). The tasks end with [`Registry::close`].

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "tests may write files and look at the real clock"
    )
)]

mod audit;
mod backup;
mod books;
mod cameras;
mod claims;
mod database;
mod directory;
mod enroll;
mod envelope;
mod error;
mod group;
mod memories;
mod passwords;
mod people;
mod people_store;
#[cfg(feature = "postgres")]
mod postgres;
mod registry;
mod reserve;
mod rounds;
mod sessions;
mod sqlite_people;
mod stream_password;
mod throttle;
mod used_classes;
mod users;

pub use audit::AuditLog;
pub use backup::import;
pub use claims::ClaimBook;
pub use directory::Cameras;
pub use enroll::EnrollBook;
pub use envelope::new_key;
pub use error::OpenError;
pub use memories::MemoryBook;
#[cfg(feature = "postgres")]
pub use postgres::{PeopleRegistry, PostgresConfig, PostgresTls};
pub use registry::Registry;
pub use reserve::Reserved;
pub use sessions::SessionBook;
pub use used_classes::UsedBook;
pub use users::UserBook;
