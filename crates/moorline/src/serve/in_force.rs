//! The settings in force: those of the start, and what a reload has put in their place.

use std::sync::Arc;

use arc_swap::ArcSwap;
use moorline_base::config::Settings as _;

use crate::args::ConfigRole;
use crate::settings::Settings;

/// The settings in force. Clones are the same.
#[derive(Debug, Clone)]
pub struct InForce(Arc<ArcSwap<Settings>>);

impl InForce {
    /// Begins with these.
    pub fn new(settings: Arc<Settings>) -> Self {
        Self(Arc::new(ArcSwap::new(settings)))
    }

    /// Those of now.
    pub fn get(&self) -> Arc<Settings> {
        self.0.load_full()
    }

    /// From now on these.
    pub(super) fn set(&self, next: Settings) {
        self.0.store(Arc::new(next));
    }
}

/// What a reload puts in force: of what was read, whatever can be exchanged while the process runs. All else is handed to parts that live as long as
/// it: a listener, the window of the cameras, the store.
pub(super) fn taken(before: &Settings, read: &Settings) -> Settings {
    let mut next = before.clone();
    let (server, archive) = (&read.server, &read.archive);
    next.server.log.clone_from(&server.log);
    next.server
        .tls_certificate
        .clone_from(&server.tls_certificate);
    next.server.tls_key.clone_from(&server.tls_key);
    next.archive.keep_days = archive.keep_days;
    next.archive.disk_percent = archive.disk_percent;
    next.archive.disk_free = archive.disk_free;
    next.archive.spool = archive.spool;
    next.rtsp = read.rtsp.clone();
    next.alert = read.alert.clone();
    next
}

/// The settings of `serve` that were read and wait for a restart.
pub(super) fn waiting(next: &Settings, read: &Settings) -> Vec<String> {
    let sections = ConfigRole::Serve.sections();
    let differing = next.differing(read).into_iter();
    differing
        .filter(|(section, _)| sections.contains(section))
        .map(|(section, field)| format!("{section}.{field}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use moorline_base::Secret;
    use moorline_base::config::{ByteSize, HumanDuration, SecretUrl};

    use super::*;

    #[test]
    fn what_is_not_taken_is_named() {
        let before = Settings::default();
        let mut read = Settings::default();
        read.server.log = "debug".to_owned();
        read.archive.keep_days = 30;
        read.archive.disk_free = ByteSize::gib(1);
        read.alert.after = HumanDuration::from_secs(300);
        read.rtsp.streams_per_user = 3;
        read.cluster.namespace = "not read by serve".to_owned();
        let next = taken(&before, &read);
        assert_eq!(waiting(&next, &read), [""; 0]);
        assert_eq!(next.archive.keep_days, 30);
        assert_eq!(next.cluster, before.cluster);
        read.archive.segment = HumanDuration::from_secs(30);
        read.tunnel.grace = HumanDuration::from_secs(5);
        let next = taken(&before, &read);
        assert_eq!(waiting(&next, &read), ["tunnel.grace", "archive.segment"]);
        assert_eq!(next.archive.segment, before.archive.segment);
    }

    #[test]
    fn p10_a_secret_that_changed_is_taken_or_named_and_not_shown() {
        let with = |secret: &str| {
            let mut settings = Settings::default();
            settings.alert.smtp_password = Secret::new(secret.to_owned());
            settings.alert.webhook = SecretUrl::new(&format!("https://example.com/{secret}"));
            settings.s3.secret_key = Secret::new(secret.to_owned());
            settings
        };
        let (before, read) = (with("hunter2"), with("hunter3"));
        let next = taken(&before, &read);
        assert_eq!(next.alert, read.alert);
        assert_eq!(waiting(&next, &read), ["s3.secret_key"]);
        assert!(!format!("{:?}", InForce::new(Arc::new(next))).contains("hunter"));
    }
}
