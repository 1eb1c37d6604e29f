//! The files of an upgrade, all in the agent's directory. Each step is one rename, after what it names is on the flash:
//!
//! | file | what it is |
//! |---|---|
//! | `release-keys` | who may sign releases |
//! | `agent.offer`, `agent.part` | the UPGRADE line whose parts are coming, and what came of them |
//! | `agent.brought` | what the owner brings, until it is whole |
//! | `agent.new`, `agent.new.sha512` | a whole new agent, and its digest: ready to be tried. The owner may bring both |
//! | `agent.new`, `agent.trial` | it is being tried; found at a start: the power went in the trial |
//! | `moorline-agent`, `moorline-agent.sha512` | the agent that passed, and its digest (the one before it stands in the second line): the image's own starts it ([`crate::command`]) |
//! | `agent.tries` | how often it was started since it last had a session that held; in the run directory, too |
//! | `agent.bad` | what failed, until the next upgrade needs its room |
//! | `agent.failed` | digests of what failed: no server brings them again |

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use moorline_control::{Offer, ServerLine, Stamp, Version};

use super::sha512::{Sha512, from_hex, to_hex};
use super::{Keys, LARGEST, Received};
use crate::run::Places;
use crate::words::number;
use crate::{files, system};

const DIGEST: &str = "moorline-agent.sha512";
const TRIES: &str = "agent.tries";

/// What another upgrade needs the room of.
const OLD: &[&str] = &["agent.bad", "agent.brought", "agent.new"];

/// Flash file systems want some room for themselves.
const SPARE: u64 = 64 * 1024;

/// So often the agent that passed a trial is started in a row without a session that holds.
const STARTS: u32 = 5;

/// So many digests of what failed are remembered.
const FAILED: usize = 8;

/// The files.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    directory: PathBuf,
    /// What a reboot forgets.
    run: PathBuf,
}

impl Store {
    pub(crate) fn new(places: &Places) -> Self {
        Store {
            directory: places.directory.clone(),
            run: places.run.clone(),
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The new agent.
    pub(crate) fn new_agent(&self) -> PathBuf {
        self.at("agent.new")
    }

    /// The agent that passed a trial.
    pub(crate) fn installed(&self) -> PathBuf {
        self.at("moorline-agent")
    }

    /// Who may sign; and how many lines of the file are wrong.
    pub(crate) fn keys(&self) -> (Keys, usize) {
        let text = files::read(&self.at("release-keys"));
        Keys::parse(&text.ok().flatten().unwrap_or_default())
    }

    /// What is here of an offer; `None` when it has no room.
    pub(crate) fn open(&self, offer: &Offer) -> Option<u32> {
        let line = ServerLine::Upgrade(offer.clone()).to_string();
        let known = files::read(&self.at("agent.offer")).ok().flatten();
        if known.as_deref() != Some(line.as_str()) {
            // In this order: parts of one offer never stand under another.
            self.forget();
        }
        for old in OLD {
            let _ = fs::remove_file(self.at(old));
        }
        let part = self.at("agent.part");
        let here = fs::metadata(&part).map_or(0, |part| part.len());
        let here = u32::try_from(here)
            .ok()
            .filter(|here| *here <= offer.bytes)?;
        let more = u64::from(offer.bytes - here) + SPARE;
        if room(&self.directory).is_some_and(|room| room < more) {
            return None;
        }
        files::replace(&self.at("agent.offer"), &line).ok()?;
        Some(here)
    }

    pub(crate) fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600);
        let part = options.open(self.at("agent.part"));
        let written = part.and_then(|mut part| part.write_all(bytes));
        if written.is_err() {
            // A full flash must not be fuller by our half file.
            self.forget();
        }
        written
    }

    /// Whether all of it is here, whole and on the flash: then it is ready to be tried.
    pub(crate) fn finish(&self, offer: &Offer) -> Received {
        let part = self.at("agent.part");
        let received = match digest(&part) {
            Ok(digest) if digest == offer.sha512 => {
                let ready = make_program(&part)
                    .and_then(|()| fs::rename(&part, self.new_agent()))
                    .and_then(|()| {
                        files::replace(&self.at("agent.new.sha512"), to_hex(&offer.sha512))
                    });
                match ready {
                    Ok(()) => Received::Whole,
                    Err(_) => {
                        // Without its digest nobody would ever try it.
                        let _ = fs::remove_file(self.new_agent());
                        Received::NotKept
                    }
                }
            }
            Ok(_) => Received::Foreign,
            Err(_) => Received::NotKept,
        };
        self.forget();
        received
    }

    fn forget(&self) {
        for name in ["agent.offer", "agent.part"] {
            let _ = fs::remove_file(self.at(name));
        }
    }

    /// A new agent that is ready to be tried. One that is not whole, or not for this camera, is told once and its digest removed.
    pub(crate) fn find(&self, own: Option<&Stamp>) -> Option<Result<Version, String>> {
        let path = self.at("agent.new.sha512");
        let text = files::read(&path).ok().flatten()?;
        let found = self.check(&text, own);
        if found.is_err() {
            let _ = fs::remove_file(path);
        }
        Some(found)
    }

    fn check(&self, text: &str, own: Option<&Stamp>) -> Result<Version, String> {
        let program = self.new_agent();
        let told = from_hex(text).ok_or("agent.new.sha512 is no output of sha512sum")?;
        let digest = digest(&program).map_err(|error| format!("agent.new: {error}"))?;
        if digest != told {
            return Err("agent.new does not have the digest in agent.new.sha512".to_owned());
        }
        let stamp = stamp_of(&program).ok_or("agent.new is no moorline-agent")?;
        if own.is_some_and(|own| own.target != stamp.target) {
            return Err(format!("agent.new was built for {}", stamp.target));
        }
        make_program(&program).map_err(|error| format!("agent.new: {error}"))?;
        Ok(stamp.version)
    }

    /// The owner brings one: copied under another name, checked, renamed, then its digest is written, which makes it count.
    pub(crate) fn bring(&self, file: &Path, digest_told: &str) -> io::Result<()> {
        files::make_directory(&self.directory)?;
        if self.at("agent.trial").exists() {
            // What is renamed over it would be taken for what was tried.
            return Err(io::Error::other(
                "another one is on trial: wait for its end",
            ));
        }
        let (bytes, brought) = (fs::metadata(file)?.len(), files::identity(file)?);
        let _ = fs::remove_file(self.at("agent.new.sha512"));
        for old in OLD {
            // It may be the one that is brought.
            if files::identity(&self.at(old)).is_ok_and(|old| old != brought) {
                let _ = fs::remove_file(self.at(old));
            }
        }
        if room(&self.directory).is_some_and(|room| room < bytes + SPARE) {
            return Err(io::Error::other("there is no room for it"));
        }
        let copy = self.at("agent.brought");
        let ready = self.make_ready(file, &copy, digest_told);
        if ready.is_err() {
            // A full flash must not be fuller by our half file.
            let _ = fs::remove_file(copy);
        }
        ready
    }

    fn make_ready(&self, file: &Path, copy: &Path, digest_told: &str) -> io::Result<()> {
        let wrong = |what: &str| io::Error::other(what);
        files::copy(file, copy)?;
        make_program(copy)?;
        if to_hex(&digest(copy)?) != digest_told {
            return Err(wrong("it does not have this digest"));
        }
        if stamp_of(copy).is_none() {
            return Err(wrong("it is no moorline-agent"));
        }
        fs::rename(copy, self.new_agent())?;
        files::replace(&self.at("agent.new.sha512"), digest_told)
    }

    /// A trial begins: a power cut from now on counts against the new agent, so that one that takes the camera down is not tried for ever.
    pub(crate) fn begin(&self) -> io::Result<()> {
        fs::rename(self.at("agent.new.sha512"), self.at("agent.trial"))?;
        files::sync(&self.directory);
        Ok(())
    }

    /// The trial did not come to an end, and nobody is to blame: again after the next start.
    pub(crate) fn postpone(&self) {
        let _ = fs::rename(self.at("agent.trial"), self.at("agent.new.sha512"));
    }

    pub(crate) fn install(&self) -> io::Result<()> {
        // Both digests: the power may be cut before the rename.
        let mut digests = vec![to_hex(&digest(&self.new_agent())?)];
        digests.extend(self.digests().into_iter().next());
        files::replace(&self.at(DIGEST), digests.join("\n"))?;
        fs::rename(self.new_agent(), self.installed())?;
        files::sync(&self.directory);
        for name in ["agent.trial", "agent.bad"] {
            let _ = fs::remove_file(self.at(name));
        }
        self.settled();
        Ok(())
    }

    pub(crate) fn take_back(&self) {
        self.condemn(&self.new_agent());
        for name in ["agent.trial", "agent.new.sha512"] {
            let _ = fs::remove_file(self.at(name));
        }
        files::sync(&self.directory);
    }

    /// It failed: it is kept aside, and not taken from a server again.
    fn condemn(&self, program: &Path) {
        if let Ok(digest) = digest(program) {
            let mut all = self.lines("agent.failed");
            all.push(to_hex(&digest));
            let from = all.len().saturating_sub(FAILED);
            let last = all.get(from..).unwrap_or_default().join("\n");
            let _ = files::replace(&self.at("agent.failed"), last);
        }
        let _ = fs::rename(program, self.at("agent.bad"));
    }

    /// Whether this very program failed here before.
    pub(crate) fn failed(&self, digest: &[u8; 64]) -> bool {
        self.lines("agent.failed").contains(&to_hex(digest))
    }

    fn digests(&self) -> Vec<String> {
        self.lines(DIGEST)
    }

    fn lines(&self, name: &str) -> Vec<String> {
        let text = files::read(&self.at(name)).ok().flatten();
        let text = text.unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Whether the agent that passed a trial is started: it is whole, and has not been started in vain so often that it is given up. Counts the
    /// start. Says why it is given up.
    pub(crate) fn start(&self) -> Result<(), &'static str> {
        let known = self.digests();
        let whole = digest(&self.installed()).is_ok_and(|digest| known.contains(&to_hex(&digest)));
        let tries = self.tries();
        let why = if !known.is_empty() && !whole {
            "it is not what was installed"
        } else if tries >= STARTS {
            "it was started five times and had no session that held"
        } else {
            self.count(tries + 1);
            return Ok(());
        };
        self.condemn(&self.installed());
        self.settled();
        Err(why)
    }

    /// Counted on the flash, and in memory besides: a flash that is full must neither keep an agent from its start nor let it crash for ever.
    fn counts(&self) -> [PathBuf; 2] {
        [self.at(TRIES), self.run.join(TRIES)]
    }

    fn tries(&self) -> u32 {
        let counts = self.counts().into_iter().map(|path| {
            let text = files::read(&path).ok().flatten();
            text.and_then(|text| number(text.trim_ascii())).unwrap_or(0)
        });
        counts.max().unwrap_or(0)
    }

    fn count(&self, tries: u32) {
        let _ = files::make_directory(&self.run);
        for path in self.counts() {
            let _ = files::replace(&path, u64::from(tries).to_string());
        }
    }

    /// It had a session that held.
    pub(crate) fn settled(&self) {
        for path in self.counts() {
            let _ = fs::remove_file(path);
        }
    }

    /// It ended because it was told to, or could not even begin: its start is not counted.
    pub(crate) fn forgive(&self) {
        match self.tries() {
            0 => {}
            1 => self.settled(),
            tries => self.count(tries - 1),
        }
    }

    /// At the start: a trial in which the power went is taken back. Says whether there was one.
    pub(crate) fn recover(&self) -> bool {
        let tried = self.at("agent.trial").exists();
        let unfinished = tried && self.new_agent().exists();
        if unfinished {
            self.take_back();
        } else if tried {
            let _ = fs::remove_file(self.at("agent.trial"));
        }
        unfinished
    }

    /// The version of what failed, while it is kept.
    pub(crate) fn bad(&self) -> Option<Version> {
        stamp_of(&self.at("agent.bad")).map(|stamp| stamp.version)
    }
}

/// What a program says of itself in its file.
pub(crate) fn stamp_of(program: &Path) -> Option<Stamp> {
    Stamp::find(&files::beginning(program, LARGEST as usize).ok()?)
}

fn digest(path: &Path) -> io::Result<[u8; 64]> {
    let mut file = File::open(path)?;
    let (mut digest, mut room) = (Sha512::default(), [0; 4096]);
    loop {
        match file.read(&mut room)? {
            0 => return Ok(digest.end()),
            count => digest.push(room.get(..count).unwrap_or_default()),
        }
    }
}

/// On the flash, and executable.
fn make_program(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, PermissionsExt::from_mode(0o700))?;
    File::open(path)?.sync_all()
}

/// The bytes that are free where this directory lies, by `df`: std cannot ask. `None` when it does not say: then a full flash shows by a failed
/// write.
fn room(directory: &Path) -> Option<u64> {
    let mut df = Command::new("df");
    df.arg("-Pk").arg(directory);
    free_of(&system::said(df)?)
}

/// `Filesystem 1024-blocks Used Available Capacity Mounted on`, the last line.
fn free_of(text: &str) -> Option<u64> {
    let kib = text.lines().next_back()?.split_ascii_whitespace().nth(3)?;
    number::<u64>(kib)?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_that_df_tells() {
        let text = "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/mtdblock5 3072 1024 2048 33% /etc\n";
        assert_eq!(free_of(text), Some(2048 * 1024));
        assert_eq!(free_of("df: /x: No such file\n"), None);
        assert!(room(Path::new("/")).is_some());
    }

    #[test]
    fn what_cannot_be_brought_leaves_nothing_behind_and_its_own_place_is_as_good_as_another() {
        let home = tempfile::tempdir().unwrap();
        let store = Store {
            directory: home.path().join("etc"),
            run: home.path().join("run"),
        };
        let names = || {
            let all = fs::read_dir(&store.directory).unwrap().flatten();
            let names = all.map(|entry| entry.file_name().to_string_lossy().into_owned());
            let mut names: Vec<String> = names.collect();
            names.sort();
            names.join(" ")
        };
        // It is opened, and cannot be read: as a card that is worn.
        assert!(store.bring(home.path(), "").is_err());
        assert_eq!(names(), "");
        // The file is agent.new itself.
        let program = b"#!/bin/sh\n# moorline-agent-stamp 0.1.9 mips\n";
        fs::write(store.new_agent(), program).unwrap();
        assert!(store.bring(&store.new_agent(), "another").is_err());
        assert_eq!(fs::read(store.new_agent()).unwrap(), program);
        let told = to_hex(&digest(&store.new_agent()).unwrap());
        store.bring(&store.new_agent(), &told).unwrap();
        assert_eq!(names(), "agent.new agent.new.sha512");
        assert!(matches!(store.find(None), Some(Ok(Version(0, 1, 9)))));
        // Nobody renames another one over the one that is tried.
        store.begin().unwrap();
        assert!(store.bring(&store.new_agent(), &told).is_err());
        assert_eq!(names(), "agent.new agent.trial");
    }
}
