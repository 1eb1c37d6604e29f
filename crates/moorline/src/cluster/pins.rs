//! The host keys that the agents of a cluster's cameras are told to pin: those in the mounted Secret, as `moorline keys` wrote them.
//!
//! Next keys are told from their first step on. Once they are in force the others are to be forgotten, and not before every replica shows them: a
//! camera that calls one whose kubelet is late would find no key that it pins.

use std::path::PathBuf;
use std::time::Instant;

use moorline_base::SharedClock;
use moorline_tunnel::keyfile::{HostKeyError, HostKeys, at_this_moment, next};

use super::keys::ARRIVED;
use crate::serve::pins::{HostKeySource, ToPin};

/// The keys of the mounted Secret.
pub(super) struct Mounted {
    directory: PathBuf,
    clock: SharedClock,
    /// Since when they are seen here with no next ones.
    settled: Option<Instant>,
}

impl Mounted {
    pub(super) fn new(directory: PathBuf, clock: SharedClock) -> Self {
        Self {
            directory,
            clock,
            settled: None,
        }
    }
}

impl HostKeySource for Mounted {
    fn look(&mut self) -> Result<Option<ToPin>, HostKeyError> {
        // The present keys and the next ones of one moment: of two, cameras might be told the next ones alone.
        let directory = at_this_moment(&self.directory);
        let next = next::next(&directory)?;
        if next.is_empty() {
            // Never made, and so not told of either.
            if !directory.join(next::PUBLIC).exists() {
                self.settled = None;
                return Ok(None);
            }
            let now = self.clock.monotonic();
            let since = *self.settled.get_or_insert(now);
            if now.saturating_duration_since(since) < ARRIVED {
                return Ok(None);
            }
        } else {
            self.settled = None;
        }
        let present = HostKeys::load_mounted(&directory)?;
        let present = present.public().cloned().collect();
        Ok(Some(ToPin { present, next }))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use moorline_base::SimulatedClock;
    use moorline_core::PublicKey;

    use super::*;

    /// A Secret as a kubelet mounts it.
    fn mount(directory: &Path, keys: &HostKeys) {
        for (name, text) in keys.to_files().unwrap() {
            std::fs::write(directory.join(name), text.expose()).unwrap();
        }
    }

    fn public(keys: &HostKeys) -> Vec<PublicKey> {
        keys.public().cloned().collect()
    }

    /// S25. The name of the next ones still leads to the moment before, and those of the keys to the one after.
    #[test]
    fn keys_are_told_of_one_moment_while_the_mount_is_exchanged() {
        let (mounted, stick) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |name: &str| mounted.path().join(name);
        let coming = next::make(stick.path()).unwrap();
        let link = |to: &Path, name: &str| std::os::unix::fs::symlink(to, at(name)).unwrap();
        std::fs::create_dir(at("..before")).unwrap();
        let text = next::public_text(&coming);
        std::fs::write(at("..before").join(next::PUBLIC), text).unwrap();
        link(&Path::new("..before").join(next::PUBLIC), next::PUBLIC);
        std::fs::create_dir(at("..after")).unwrap();
        let in_force = HostKeys::load_mounted(stick.path()).unwrap();
        mount(&at("..after"), &in_force);
        std::fs::write(at("..after").join(next::PUBLIC), "").unwrap();
        for (name, _) in in_force.to_files().unwrap() {
            link(&Path::new("..after").join(name), name);
        }
        link(Path::new("..after"), "..data");
        let clock = Arc::new(SimulatedClock::new(0));
        let mut source = Mounted::new(mounted.path().into(), clock);
        assert_eq!(source.look().unwrap(), None, "none come next any more");
    }

    /// S25.
    #[test]
    fn next_keys_are_told_at_once_and_the_old_ones_forgotten_when_every_replica_shows_the_next() {
        let (mounted, stick) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let clock = Arc::new(SimulatedClock::new(0));
        let mut source = Mounted::new(mounted.path().into(), clock.clone());
        let old = HostKeys::generate().unwrap();
        mount(mounted.path(), &old);
        assert_eq!(source.look().unwrap(), None, "of none anything is told");

        let coming = next::make(stick.path()).unwrap();
        let told = mounted.path().join(next::PUBLIC);
        std::fs::write(&told, next::public_text(&coming)).unwrap();
        let both = ToPin {
            present: public(&old),
            next: coming.clone(),
        };
        assert_eq!(source.look().unwrap(), Some(both));

        mount(
            mounted.path(),
            &HostKeys::load_mounted(stick.path()).unwrap(),
        );
        std::fs::write(&told, "").unwrap();
        assert_eq!(source.look().unwrap(), None);
        clock.advance(ARRIVED.saturating_sub(Duration::from_secs(1)));
        assert_eq!(source.look().unwrap(), None, "a late kubelet");
        clock.advance(Duration::from_secs(1));
        let alone = ToPin {
            present: coming,
            next: Vec::new(),
        };
        assert_eq!(source.look().unwrap(), Some(alone));
    }
}
