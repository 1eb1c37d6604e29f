//! The SSH host keys: cameras are told of the next ones ahead, and so they can be put into force without a visit (rule S25).
//!
//! ```text
//!              shown     told to agents, and in files of camera enroll
//! in force     old       old
//! step 1       old       old, next      the private halves of next lie offline
//! step 2       next      next
//! ```
//! A camera pins one of each kind at a time, so there is no third step. Between the two lies as much time as cameras need to be connected once: it is
//! the state in which an installation is kept, since the second step is also what is left after a theft or a loss. What is told ahead are public
//! halves alone, so whoever takes `mon` or the file of the Secrets over has the present keys and not the next ones.

use std::path::Path;

use anyhow::bail;
use moorline_base::error::Hinted;
use moorline_core::Timestamp;
use moorline_tunnel::keyfile::{HostKeys, next};
use serde_json::Value;

use super::super::file::Secrets;
use super::super::{KNOWN_HOSTS, NEXT, host_key_files, known_hosts_file, made_next};
use super::{Done, KeysRotate, Stage, What};

/// What a step did.
pub(super) struct Made {
    pub(super) done: Done,
    /// Lines for a camera's known_hosts, without its host.
    pub(super) keys: Vec<String>,
    /// What is to be said of them.
    pub(super) words: String,
}

/// The directory of the next keys, which goes with the host keys and with nothing else.
pub(super) fn directory(args: &KeysRotate) -> anyhow::Result<&Path> {
    match (args.only, &args.next) {
        (Some(What::HostKeys), Some(next)) => Ok(next.as_path()),
        (Some(What::HostKeys), None) => bail!(Hinted::new(
            "the next host keys have no place: --next is not given",
            "--next DIR names the directory of their private halves, which the first step makes and the second reads: such as one on a stick"
        )),
        (_, Some(_)) => bail!(Hinted::new(
            "--next is the directory of the SSH host keys, which are not renewed",
            "add --only host-keys, or leave --next out"
        )),
        (_, None) => Ok(Path::new("")),
    }
}

/// Whether cameras are told of next keys.
pub(super) fn stage(secrets: &Secrets) -> anyhow::Result<Stage> {
    secrets.get("known-hosts", KNOWN_HOSTS)?;
    let told = secrets.get_if_there("host-keys", next::PUBLIC);
    Ok(match told.is_some_and(|told| !told.is_empty()) {
        true => Stage::Announced,
        false => Stage::InForce,
    })
}

/// Makes the next step.
pub(super) fn step(
    secrets: &mut Secrets,
    stage: Stage,
    directory: &Path,
    now: Timestamp,
) -> anyhow::Result<Made> {
    match stage {
        Stage::InForce => announce(secrets, directory, now),
        Stage::Announced | Stage::Used => use_them(secrets, directory, now),
    }
}

fn announce(secrets: &mut Secrets, directory: &Path, now: Timestamp) -> anyhow::Result<Made> {
    secrets.begin("host-keys", next::PUBLIC)?;
    secrets.begin("known-hosts", NEXT)?;
    let keys = made_next(directory)?;
    let text = next::public_text(&keys);
    tell(secrets, &text, now)?;
    Ok(Made {
        done: (
            1,
            2,
            "cameras with an agent are told of the next SSH host keys, and files of camera enroll hold them",
        ),
        keys: keys.iter().map(ToString::to_string).collect(),
        words: format!(
            "{} holds their private halves: keep it offline, and a copy of it; whoever has it can be this installation.\n\
             It may stay so for years: the next step is for a theft, a loss, or when a year is over. A camera that is not connected until then, \
             and every bare dbclient, has to be told of these by hand:",
            directory.display()
        ),
    })
}

fn use_them(secrets: &mut Secrets, directory: &Path, now: Timestamp) -> anyhow::Result<Made> {
    let keys = HostKeys::load_mounted(directory).map_err(|error| {
        Hinted::new(
            error.to_string(),
            "--next names the directory with the keys that cameras were told of; if they are lost, --anew and another directory make others",
        )
    })?;
    let public: Vec<_> = keys.public().cloned().collect();
    if secrets.get("host-keys", next::PUBLIC)? != next::public_text(&public) {
        bail!(Hinted::new(
            format!(
                "the keys in {} are not those that cameras were told of; nothing was changed",
                directory.display()
            ),
            "name their directory with --next; if they are lost, --anew and another directory make others"
        ));
    }
    secrets.set("host-keys", host_key_files(&keys)?, now)?;
    let shown = (KNOWN_HOSTS.to_owned(), Value::from(known_hosts_file(&keys)));
    secrets.set("known-hosts", [shown], now)?;
    // Empty, and not gone: cameras that are connected then are told to forget the old ones.
    tell(secrets, "", now)?;
    Ok(Made {
        done: (
            2,
            2,
            "mon shows the next SSH host keys, and camera add prints them",
        ),
        keys: public.iter().map(ToString::to_string).collect(),
        words: "Cameras that were told get in within two calls. Whatever else pinned the old ones has to be told when it is applied:"
            .to_owned(),
    })
}

/// What `mon` tells agents, and what tenants are told for the files of `camera enroll`.
fn tell(secrets: &mut Secrets, text: &str, now: Timestamp) -> anyhow::Result<()> {
    let file = |name: &str| [(name.to_owned(), Value::from(text))];
    secrets.set("host-keys", file(next::PUBLIC), now)?;
    secrets.set("known-hosts", file(NEXT), now)
}
