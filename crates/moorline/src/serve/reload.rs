//! SIGHUP: what can be changed while the server runs is read again, and what cannot is told.
//!
//! All or nothing (P11): everything that may fail comes before anything is changed, so that a file that is wrong leaves everything as it was. A
//! setting that seems to have been taken and was not is worse than a restart, so each that waits for one is named, a secret too, whether it stands in
//! the configuration or in a file of its own.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use moorline_archiver::Archive;
use moorline_base::clock::SharedClock;
use moorline_base::error::report;
use moorline_base::logging::LogHandle;
use moorline_mon::Monitor;
use moorline_proxy::{FrontDoor, Hub};
use moorline_store::Sweeper;

use super::in_force::{InForce, taken, waiting};
use super::notifier::{self, Channels, Heartbeats};
use super::{door_config, parts, relay_config, tls};
use crate::settings::{self, Settings};

/// What a reload reads again, and whom it tells.
pub(super) struct Reload {
    pub(super) data: PathBuf,
    pub(super) config: Option<PathBuf>,
    /// Of the certificate that is made here.
    pub(super) host: String,
    pub(super) certificate: Arc<tls::Certificate>,
    pub(super) log: LogHandle,
    pub(super) in_force: InForce,
    /// The bucket's key of the start, where a directory has it.
    pub(super) bucket_key: BucketKey,
    pub(super) parts: Running,
    /// One at a time.
    pub(super) under_way: Mutex<()>,
}

/// The parts whose settings can be exchanged.
pub(super) struct Running {
    pub(super) clock: SharedClock,
    pub(super) monitor: Arc<Monitor>,
    pub(super) channels: Arc<Channels>,
    pub(super) heartbeats: Heartbeats,
    pub(super) hub: Hub,
    pub(super) front_door: FrontDoor,
    pub(super) sweeper: Arc<Sweeper>,
    pub(super) archive: Archive,
}

impl Reload {
    /// Reads everything again. Blocks on files.
    pub(super) fn run(&self) {
        let _alone = self
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match self.put_in_force() {
            Ok(waiting) => {
                if !waiting.is_empty() {
                    tracing::warn!(
                        settings = waiting.join(" "),
                        "these settings have changed and take effect at a restart"
                    );
                }
                tracing::info!("reloaded: the settings, their secrets' files and the certificate");
            }
            Err(error) => tracing::error!(
                "not reloaded, everything stays as it was: {}",
                report(error.as_ref())
            ),
        }
    }

    /// Returns what waits for a restart.
    fn put_in_force(&self) -> anyhow::Result<Vec<String>> {
        let before = self.in_force.get();
        let read = settings::load(&self.data, self.config.as_deref())?;
        let next = taken(&before, &read);
        settings::checked(&next).context(
            "what can be taken now does not go with what takes effect at a restart: restart, or change it back",
        )?;
        let mut waiting = waiting(&next, &read);
        if BucketKey::read(&read)? != self.bucket_key {
            waiting.push("s3.key_dir".to_owned());
        }
        let certificate = tls::load(&next.server, &self.data, &self.host)?;
        let alarms = if next.alert == before.alert {
            None
        } else {
            let clock = &self.parts.clock;
            let outlets = notifier::outlets(&next.alert, clock)?;
            Some((outlets, notifier::heartbeat(&next.alert, clock)?))
        };
        let (spool, free) = parts::spool_bounds(&next, &self.data)?;
        self.log.set(&next.server.log)?;

        // From here on nothing fails.
        self.certificate.set(certificate);
        if let Some((outlets, heartbeat)) = alarms {
            self.parts.channels.set(outlets);
            self.parts.heartbeats.set(heartbeat);
            self.parts.monitor.set_alarms(next.alert.after.get());
        }
        let archive = &next.archive;
        self.parts.archive.set_bounds(spool, free);
        self.parts
            .sweeper
            .set_room(archive.disk_percent, archive.disk_free.bytes());
        let streams = next.rtsp.streams_per_user as usize;
        let relay = relay_config(streams);
        self.parts
            .hub
            .set_limits(relay.readers_per_user, relay.readers_per_address);
        let connections = door_config(streams).connections_per_user;
        self.parts.front_door.set_connections_per_user(connections);
        self.in_force.set(next);
        Ok(waiting)
    }
}

/// The bucket's key in the files of `s3.key_dir`, which the path does not tell; none where there is no such directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BucketKey(Option<(String, moorline_base::Secret<String>)>);

impl BucketKey {
    /// Reads it.
    ///
    /// # Errors
    /// A file of it cannot be read.
    pub(super) fn read(settings: &Settings) -> anyhow::Result<Self> {
        #[cfg(feature = "s3")]
        if settings.archive.store == settings::StoreKind::S3 && !settings.s3.key_dir.is_empty() {
            return parts::s3_key(&settings.s3).map(|key| Self(Some(key)));
        }
        let _ = settings;
        Ok(Self(None))
    }
}
