//! SIGHUP: what can be changed while the server runs is read again, and what cannot is told.
//!
//! Certificate and log level are read again. Everything else is handed to parts that live as long as the process: a listener, the limits
//! of strangers, the spool. A setting that seems to have been taken and was not is worse than a restart, so each that differs is named.

use std::path::PathBuf;
use std::sync::Arc;

use moorline_base::logging::LogHandle;

use super::tls;
use crate::args::ConfigRole;
use crate::settings;

/// Settings that a reload puts into force.
const RELOADED: [&str; 3] = ["server.log", "server.tls_certificate", "server.tls_key"];

/// What a reload reads again.
pub(super) struct Reload {
    pub(super) data: PathBuf,
    pub(super) config: Option<PathBuf>,
    pub(super) host: String,
    pub(super) certificate: Arc<tls::Certificate>,
    pub(super) log: LogHandle,
    /// The settings of the start.
    pub(super) in_force: String,
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
        let waiting = changed(&self.in_force, &ConfigRole::Serve.effective(&settings));
        if !waiting.is_empty() {
            tracing::warn!(
                settings = waiting.join(" "),
                "these settings have changed and take effect at a restart"
            );
        }
        tracing::info!("reloaded certificate and log level");
    }
}

/// The settings that differ and that no reload puts into force. Secrets are masked in both, so that a new one is not seen.
fn changed(before: &str, after: &str) -> Vec<String> {
    let before: Vec<(String, &str)> = fields(before).collect();
    let differs = |(field, value): &(String, &str)| {
        let known = before.iter().find(|(known, _)| known == field);
        known.is_none_or(|(_, known)| known != value) && !RELOADED.contains(&field.as_str())
    };
    let differing = fields(after).filter(differs);
    differing.map(|(field, _)| field).collect()
}

/// `section.field` and its value, line by line.
fn fields(toml: &str) -> impl Iterator<Item = (String, &str)> {
    let mut section = "";
    toml.lines().filter_map(move |line| {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            section = name;
            return None;
        }
        // A field without a value is shown as a comment.
        let (field, value) = line.trim_start_matches("# ").split_once(" =")?;
        Some((format!("{section}.{field}"), value))
    })
}

#[cfg(test)]
mod tests {
    use moorline_base::config::HumanDuration;

    use super::*;
    use crate::settings::Settings;

    #[test]
    fn a_setting_that_waits_for_a_restart_is_named() {
        let before = Settings::default();
        let mut after = Settings::default();
        after.server.log = "debug".to_owned();
        let toml = |settings: &Settings| ConfigRole::Serve.effective(settings);
        after.cluster.namespace = "not read by serve".to_owned();
        assert_eq!(changed(&toml(&before), &toml(&after)), [""; 0]);
        after.alert.after = HumanDuration::from_secs(300);
        after.archive.keep_days = 30;
        let told = changed(&toml(&before), &toml(&after));
        assert_eq!(told, ["archive.keep_days", "alert.after"]);
    }
}
