//! Where the agent's files are.

use std::path::PathBuf;

use crate::machine::Link;

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
}

impl Default for Places {
    fn default() -> Self {
        Places {
            directory: "/etc/moorline".into(),
            run: "/run/moorline".into(),
            cards: CARDS.iter().map(PathBuf::from).collect(),
        }
    }
}

impl Places {
    /// The camera's private key, in dropbear's format.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.directory.join("id")
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

    /// Where `enroll` may lie.
    pub fn enroll_files(&self) -> impl Iterator<Item = PathBuf> {
        let all = std::iter::once(&self.directory).chain(&self.cards);
        all.map(|place| place.join("enroll"))
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

    /// The HOME of a session's dbclient.
    #[must_use]
    pub fn home(&self, link: Link) -> PathBuf {
        self.run.join(match link {
            Link::Endpoint => "endpoint",
            Link::Streampoint => "streampoint",
        })
    }
}
