//! Which part of the configuration belongs to which server: `config show` prints that, and nobody looks for what does not concern him.

use clap::ValueEnum;
use moorline_base::config::effective_toml;

use crate::settings::Settings;

/// Who reads a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ConfigRole {
    /// One process on one machine.
    #[default]
    Serve,
    /// Of a cluster: the cameras' side.
    Mon,
    /// Of a cluster: what signs uploads and tickets.
    Signer,
    /// Of a cluster: what makes tenants.
    Tenants,
    /// Of a cluster: what deletes what has expired.
    Sweeper,
    /// Of a cluster: the viewers' side.
    Frontdoor,
}

impl ConfigRole {
    /// The sections that it reads.
    pub fn sections(self) -> &'static [&'static str] {
        match self {
            Self::Serve => &[
                "server", "tunnel", "uplink", "rtsp", "archive", "s3", "alert",
            ],
            Self::Mon => &["server", "tunnel", "uplink", "archive", "alert", "cluster"],
            Self::Signer | Self::Tenants | Self::Sweeper => &["server", "s3", "cluster"],
            Self::Frontdoor => &[
                "server", "rtsp", "archive", "s3", "people", "postgres", "cluster",
            ],
        }
    }

    /// What is in force for it, as a file; secrets are masked.
    pub fn effective(self, settings: &Settings) -> String {
        let whole = effective_toml(settings);
        let own = |section: &&str| {
            let name = section
                .strip_prefix('[')
                .and_then(|rest| rest.split_once(']'));
            name.is_some_and(|(name, _)| self.sections().contains(&name))
        };
        let sections: Vec<&str> = whole.trim_end().split("\n\n").filter(own).collect();
        format!("{}\n", sections.join("\n\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<&str> {
        let lines = text.lines().filter_map(|line| line.strip_prefix('['));
        lines.filter_map(|line| line.strip_suffix(']')).collect()
    }

    #[test]
    fn each_role_has_its_sections_and_every_section_a_role() {
        let settings = Settings::default();
        let whole = effective_toml(&settings);
        let mut all = names(&whole);
        let mut shown: Vec<&str> = Vec::new();
        for role in ConfigRole::value_variants() {
            let text = role.effective(&settings);
            assert_eq!(names(&text), role.sections(), "{role:?}");
            let lines: Vec<&str> = text.lines().collect();
            assert!(
                lines
                    .iter()
                    .all(|line| whole.lines().any(|one| one == *line))
            );
            shown.extend(role.sections());
        }
        shown.sort_unstable();
        shown.dedup();
        all.sort_unstable();
        assert_eq!(shown, all);
    }
}
