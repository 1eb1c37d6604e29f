//! Where the agent's files are.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use moorline_control::{HostKey, Level};

use super::console;
use crate::enroll::Enroll;
use crate::local::Local;
use crate::machine::Link;
use crate::settings::{Settings, Trust};
use crate::{files, system};

/// Where SD cards are mounted: thingino and OpenIPC, openmiko, Xiaomi-Dafang-Hacks.
const CARDS: &[&str] = &[
    "/mnt/mmcblk0p1/moorline",
    "/media/mmc/moorline",
    "/system/sdcard/moorline",
];

/// The directories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// What is kept: `/etc/moorline`.
    pub directory: PathBuf,
    /// What a reboot forgets: `/run/moorline`.
    pub run: PathBuf,
    /// Where an `enroll` file may come by SD card.
    pub cards: Vec<PathBuf>,
    /// See [`Places::lan`].
    #[cfg(feature = "gateway")]
    pub(crate) lan: Option<Box<Lan>>,
    /// This is a new agent on trial: see [`crate::upgrade`].
    pub trial: bool,
    /// How long a new agent that this one tries may take to its hello.
    pub patience: Duration,
}

/// A camera of the local network, for which a gateway stands. The box is not the camera's: it is never rebooted for it, nor its watchdog fed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lan {
    /// The one address that is connected to.
    pub address: SocketAddr,
    /// What the owner says of it.
    pub local: Local,
    /// The `enroll` file of all: the gateway wipes it, when all have used it.
    pub enroll: PathBuf,
    /// Whether it ends with its standard input, on which the gateway tells it to stop.
    pub leash: bool,
}

impl Default for Places {
    fn default() -> Self {
        Places {
            directory: "/etc/moorline".into(),
            run: "/run/moorline".into(),
            cards: CARDS.iter().map(PathBuf::from).collect(),
            #[cfg(feature = "gateway")]
            lan: None,
            trial: false,
            patience: crate::upgrade::PATIENCE,
        }
    }
}

impl Places {
    /// The camera's private key, in dropbear's format.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.directory.join("id")
    }

    /// The key that the camera will have next, made aside.
    #[must_use]
    pub fn next_key(&self) -> PathBuf {
        self.directory.join("id.next")
    }

    /// The key that it had before.
    #[must_use]
    pub fn former_key(&self) -> PathBuf {
        self.directory.join("id.old")
    }

    /// The key that the owner's server knows, once it may be another than the camera's: only that server changes it (S6).
    #[must_use]
    pub fn owner_s_key(&self) -> PathBuf {
        self.directory.join("id.enrolled")
    }

    /// The camera's keys, each once, in the order in which they are tried at a server. One is always there.
    #[must_use]
    pub fn identities(&self, trust: Trust) -> Vec<PathBuf> {
        let (key, former, owner) = (self.key(), self.former_key(), self.owner_s_key());
        let all = match trust {
            Trust::Owner => [owner, key, former],
            Trust::Told => [key, former, owner],
        };
        let (mut seen, mut paths) = (Vec::new(), Vec::new());
        for path in all {
            // Empty: the power was cut before it was written.
            if let Ok(content) = files::beginning(&path, 64 * 1024)
                && !content.is_empty()
                && !seen.contains(&content)
            {
                seen.push(content);
                paths.push(path);
            }
        }
        if paths.is_empty() {
            paths.push(self.key());
        }
        paths
    }

    /// The key that lies aside is the camera's from now on. A power cut at each step leaves a key that each server knows.
    ///
    /// # Errors
    /// The flash refuses, or it is not the one that the server has: the camera keeps its key.
    pub(super) fn take_next_key(&self, owner: bool, server_s: &HostKey) -> std::io::Result<()> {
        let (key, next, owner_s) = (self.key(), self.next_key(), self.owner_s_key());
        let lies_aside = system::fingerprint(&next);
        let lies_aside = lies_aside.and_then(|told| system::public_half(&told));
        if lies_aside.as_ref() != Some(server_s) {
            let what = "id.next is not the key that the server has";
            return Err(std::io::Error::other(what));
        }
        if owner {
            files::copy_as_a_whole(&next, &owner_s)?;
        } else if !owner_s.exists() {
            files::copy_as_a_whole(&key, &owner_s)?;
        }
        files::copy_as_a_whole(&key, &self.former_key())?;
        std::fs::rename(next, key)
    }

    /// What [`Places::forget`] removes last, as it stands.
    pub(crate) fn forgotten_last(&self, key: bool) -> Option<String> {
        let path = if key {
            self.key()
        } else {
            self.settings_file()
        };
        files::read(&path).ok().flatten()
    }

    /// Forgets whose camera this is, and with `key` its keys, too.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub(crate) fn forget(&self, key: bool) -> std::io::Result<()> {
        let mut all = vec![self.next_key(), self.settings_file()];
        if key {
            all.extend([self.former_key(), self.owner_s_key(), self.key()]);
        }
        for path in all.into_iter().filter(|path| path.exists()) {
            std::fs::remove_file(path)?;
        }
        files::sync(&self.directory);
        Ok(())
    }

    /// What the server set.
    #[must_use]
    pub fn settings_file(&self) -> PathBuf {
        self.directory.join("agent.conf")
    }

    /// What the owner says.
    #[must_use]
    pub fn local_file(&self) -> PathBuf {
        self.directory.join("local.conf")
    }

    /// Those of a camera behind the gateway whose places these are.
    #[cfg(feature = "gateway")]
    #[must_use]
    pub fn of_lan(&self, approved: &crate::gateway::approved::Approved) -> Self {
        let own = |place: &PathBuf| place.join("lan").join(&approved.name);
        Places {
            directory: own(&self.directory),
            run: own(&self.run),
            cards: Vec::new(),
            lan: Some(Box::new(Lan {
                address: approved.address,
                local: approved.local.clone(),
                enroll: self.directory.join("enroll"),
                leash: false,
            })),
            trial: false,
            patience: self.patience,
        }
    }

    /// Whether this agent may be upgraded: not one on trial, and not one of a gateway, whose program is the box's.
    #[must_use]
    pub fn upgrades(&self) -> bool {
        !self.trial && self.lan().is_none()
    }

    /// For a camera behind a gateway: what the gateway says of it.
    #[cfg(feature = "gateway")]
    #[must_use]
    pub fn lan(&self) -> Option<&Lan> {
        self.lan.as_deref()
    }

    /// A camera's own build stands for no other: what hangs on this is left out of it.
    #[cfg(not(feature = "gateway"))]
    #[must_use]
    pub fn lan(&self) -> Option<&Lan> {
        None
    }

    /// Where `enroll` may lie, for this camera alone: it is wiped once it is used. Cards first: somebody has just put one in.
    #[must_use]
    pub fn enroll_files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for place in &self.cards {
            files.push(place.join("enroll"));
        }
        files.push(self.directory.join("enroll"));
        files
    }

    /// What the files `enroll` say, each once; and what is wrong with those that say nothing.
    pub(crate) fn enrolls(&self, enrolled: bool) -> (Vec<Enroll>, Vec<String>) {
        // A batch's file stays for those who have not used it: it is not theirs who have.
        let mut files = self.enroll_files();
        if let Some(lan) = self.lan().filter(|_| !enrolled) {
            files.push(lan.enroll.clone());
        }
        let (mut all, mut wrong) = (Vec::new(), Vec::new());
        for path in files {
            let Ok(Some(text)) = files::read(&path) else {
                continue;
            };
            match Enroll::parse(&text) {
                Ok(enroll) if all.contains(&enroll) => {}
                Ok(enroll) => all.push(enroll),
                Err(lines) => {
                    for line in lines {
                        wrong.push(format!("{}: {line}", files::shown(&path)));
                    }
                }
            }
        }
        (all, wrong)
    }

    /// Where words for the running agent are written: `stop`, `restart`.
    #[must_use]
    pub fn fifo(&self) -> PathBuf {
        self.run.join("control")
    }

    /// What the running agent says of itself.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.run.join("state")
    }

    /// What the running agent told last.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.run.join("log")
    }

    /// The HOME of a session's dbclient.
    #[must_use]
    pub fn home(&self, link: Link) -> PathBuf {
        self.run.join(match link {
            Link::Endpoint => "endpoint",
            Link::Streampoint => "streampoint",
        })
    }
}

impl Places {
    /// What the server set, over which the owner's word stands.
    pub(crate) fn settings(&self, local: &Local) -> std::io::Result<Settings> {
        let text = files::read(&self.settings_file())?.unwrap_or_default();
        let (mut settings, wrong) = Settings::parse(&text);
        if wrong > 0 {
            console(
                Level::Warn,
                format_args!("agent.conf: {wrong} lines are not known and left out"),
            );
        }
        if let Some(camera) = &local.camera {
            settings.camera = Some(camera.clone());
        }
        if !local.endpoints.is_empty() {
            settings.enrolled.clone_from(&local.endpoints);
        }
        Ok(settings)
    }

    /// What the owner says.
    pub(crate) fn local(&self) -> std::io::Result<(Local, Vec<crate::Wrong>)> {
        if let Some(lan) = self.lan() {
            return Ok((lan.local.clone(), Vec::new()));
        }
        let text = files::read(&self.local_file())?.unwrap_or_default();
        Ok(Local::parse(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_enroll_that_is_wrong_hides_no_other_one_and_cards_come_first() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        let places = Places {
            directory: at("etc"),
            cards: vec![at("card"), at("empty"), at("copy")],
            ..Places::default()
        };
        let key = "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
        let write = |place: &str, host: &str| {
            std::fs::create_dir_all(at(place)).unwrap();
            let text = format!("host {host}\nkey {key}\ntoken abcdefghijklmnopqrstuv\n");
            std::fs::write(at(place).join("enroll"), text).unwrap();
        };
        let hosts = || {
            let (all, wrong) = places.enrolls(false);
            let hosts: Vec<String> = all.iter().map(|one| one.host.to_string()).collect();
            (hosts.join(" "), wrong)
        };
        write("etc", "old.example.com");
        write("card", "new.example.com");
        write("copy", "new.example.com");
        let both = "new.example.com old.example.com".to_owned();
        assert_eq!(hosts(), (both, vec![]));
        write("card", "-oProxyCommand=x");
        write("etc", "a b");
        let (hosts, wrong) = hosts();
        assert_eq!(hosts, "new.example.com");
        let wrong = wrong.join("\n");
        for place in ["card", "etc"] {
            let file = at(place).join("enroll");
            assert!(
                wrong.contains(&format!("{}: line 1: host", file.display())),
                "{wrong}"
            );
        }
    }
}
