//! SIGHUP: what can be changed while the server runs is read again, and what cannot is told.
//!
//! Certificate and log level are read again. Everything else is handed to parts that live as long as the process: a listener, the limits
//! of strangers, the spool. A setting that seems to have been taken and was not is worse than a restart, so each that differs is named, a secret
//! too, whether it stands in the configuration or in a file of its own.

use std::path::PathBuf;
use std::sync::Arc;

use moorline_base::config::Settings as _;
use moorline_base::logging::LogHandle;

use super::tls;
use crate::args::ConfigRole;
use crate::settings::{self, Settings};

/// Settings that a reload puts into force.
const RELOADED: [(&str, &str); 3] = [
    ("server", "log"),
    ("server", "tls_certificate"),
    ("server", "tls_key"),
];

/// What a reload reads again.
pub(super) struct Reload {
    pub(super) data: PathBuf,
    pub(super) config: Option<PathBuf>,
    pub(super) host: String,
    pub(super) certificate: Arc<tls::Certificate>,
    pub(super) log: LogHandle,
    /// The settings of the start.
    pub(super) in_force: Arc<Settings>,
    /// The bucket's key of the start, where a directory has it.
    pub(super) bucket_key: BucketKey,
}

impl Reload {
    /// Reads certificate and log level again. What is wrong is logged, and what was in force stays.
    pub(super) fn run(&self) {
        let settings = match settings::load(&self.data, self.config.as_deref()) {
            Ok(settings) => settings,
            Err(error) => return tracing::error!("not reloaded: {error:#}"),
        };
        match tls::load(&settings.server, &self.data, &self.host) {
            Ok(next) => self.certificate.set(next),
            Err(error) => tracing::error!("the certificate was not reloaded: {error:#}"),
        }
        if let Err(error) = self.log.set(&settings.server.log) {
            tracing::error!("server.log was not reloaded: {error}");
        }
        let mut waiting = changed(&self.in_force, &settings);
        match BucketKey::read(&settings) {
            Ok(key) if key != self.bucket_key => waiting.push("s3.key_dir".to_owned()),
            Ok(_) => {}
            Err(error) => tracing::error!("the bucket's key cannot be read: {error:#}"),
        }
        if !waiting.is_empty() {
            tracing::warn!(
                settings = waiting.join(" "),
                "these settings have changed and take effect at a restart"
            );
        }
        tracing::info!(
            "reloaded certificate and log level; all settings and their secrets' files were read again"
        );
    }
}

/// The settings that differ and that no reload puts into force.
fn changed(before: &Settings, after: &Settings) -> Vec<String> {
    let sections = ConfigRole::Serve.sections();
    let differing = before.differing(after).into_iter();
    differing
        .filter(|field| sections.contains(&field.0) && !RELOADED.contains(field))
        .map(|(section, field)| format!("{section}.{field}"))
        .collect()
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
            return super::parts::s3_key(&settings.s3).map(|key| Self(Some(key)));
        }
        let _ = settings;
        Ok(Self(None))
    }
}

#[cfg(test)]
mod tests {
    use moorline_base::Secret;
    use moorline_base::config::{HumanDuration, SecretUrl};

    use super::*;

    #[test]
    fn a_setting_that_waits_for_a_restart_is_named() {
        let before = Settings::default();
        let mut after = Settings::default();
        after.server.log = "debug".to_owned();
        after.cluster.namespace = "not read by serve".to_owned();
        assert_eq!(changed(&before, &after), [""; 0]);
        after.alert.after = HumanDuration::from_secs(300);
        after.archive.keep_days = 30;
        assert_eq!(
            changed(&before, &after),
            ["archive.keep_days", "alert.after"]
        );
    }

    #[test]
    fn p10_a_secret_that_changed_is_named_and_not_shown() {
        let with = |password: &str, hook: &str| {
            let mut settings = Settings::default();
            settings.alert.smtp_password = Secret::new(password.to_owned());
            settings.alert.webhook = SecretUrl::new(hook);
            settings
        };
        let before = with("hunter2", "https://example.com/one");
        assert_eq!(changed(&before, &before.clone()), [""; 0]);
        let after = with("hunter3", "https://example.com/two");
        assert_eq!(
            changed(&before, &after),
            ["alert.webhook", "alert.smtp_password"]
        );
    }
}
