//! Dropbear's client as other Debian releases have it: what a camera's firmware may carry.
//!
//! Debian 12 has 2022.83, which is a required peer ([`crate::peer::DBCLIENT`]); these are optional ones, fetched from the mirror's other suites
//! (`debian`). buster (2018.76) and stretch (2016.74) have left the mirror.

use tokio::process::Command;

use crate::{
    Error,
    debian::{Unpacked, Wanted},
};

/// A release of dropbear that can be fetched.
#[derive(Debug, Clone, Copy)]
pub struct Release(Wanted);

const fn release(peer: &'static str, suite: &'static str) -> Release {
    Release(Wanted {
        peer,
        suite,
        package: "dropbear-bin",
        program: "dbclient",
    })
}

/// Debian 11: 2020.81, soon after dropbear learned ed25519 (2020.79).
pub const BULLSEYE: Release = release("dbclient-bullseye", "bullseye");
/// Debian 13: 2025.89.
pub const TRIXIE: Release = release("dbclient-trixie", "trixie");
/// Whatever sid has now.
pub const SID: Release = release("dbclient-sid", "sid");

/// An unpacked release.
#[derive(Debug, Clone)]
pub struct Dropbear(Unpacked);

impl Release {
    /// From the cache, or fetched now.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it cannot be fetched here.
    pub async fn get(self) -> Result<Dropbear, Error> {
        self.0.get().await.map(Dropbear)
    }
}

impl Dropbear {
    /// The version of the package: `2020.81-3+deb11u2`.
    #[must_use]
    pub fn version(&self) -> &str {
        self.0.version()
    }

    /// A command that runs `program`: `dbclient`, `dropbearkey`.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        self.0.command(program)
    }
}
