//! `moorline host-key`: what cameras pin, and rotating it without a visit (rule S25). Works on the files, whether the server runs or not.

use std::path::Path;

use anyhow::bail;
use moorline_base::error::Hinted;
use moorline_base::files::{DataDir, LockError};
use moorline_core::PublicKey;
use moorline_tunnel::keyfile::{HostKeys, next};
use serde::Serialize;

use crate::args::{HostKey, Output};
use crate::output;

/// A key as it is printed.
#[derive(Debug, Serialize)]
struct Shown {
    /// Its algorithm and base64, as in `known_hosts`.
    key: String,
    fingerprint: String,
}

/// What `show`, `prepare` and `rotate` answer.
#[derive(Debug, Serialize)]
struct Answer {
    present: Vec<Shown>,
    next: Vec<Shown>,
}

/// Does what was asked.
///
/// # Errors
/// There is no server's data, it runs where it must not, or a file is wrong: nothing was changed then.
pub fn run(asked: &HostKey, data: &Path, format: Output) -> anyhow::Result<()> {
    // Making a data directory is the server's business.
    if !HostKeys::files(data).iter().any(|path| path.exists()) && !data.join(next::PUBLIC).exists()
    {
        bail!(Hinted::new(
            format!("there are no host keys in {}", data.display()),
            "name the server's directory with --data; moorline serve makes the first keys"
        ));
    }
    let hint = |error: &moorline_tunnel::keyfile::HostKeyError| error.hint().unwrap_or_default();
    let done = match asked {
        HostKey::Show => "",
        HostKey::Prepare { out } => {
            next::prepare(data, out)
                .map_err(|error| Hinted::new(error.to_string(), hint(&error)))?;
            "made the next host keys. Keep that directory offline, and a copy of it: whoever has it can be this server.\n\
             From now on cameras with an agent pin them while they are connected, and files of camera enroll hold them.\n\n"
        }
        HostKey::Rotate { from } => {
            let _lock = DataDir::open(data).map_err(stop_first)?;
            next::rotate(data, from)
                .map_err(|error| Hinted::new(error.to_string(), hint(&error)))?;
            "the next host keys are in force from the server's next start on.\n\
             Cameras with an agent take them within two calls. Whatever else pinned the old ones has to be told: moorline camera add prints the lines.\n\n"
        }
    };
    let present = match asked {
        HostKey::Rotate { .. } | HostKey::Show | HostKey::Prepare { .. }
            if HostKeys::files(data).iter().all(|path| path.exists()) =>
        {
            let keys = HostKeys::load_mounted(data)
                .map_err(|error| Hinted::new(error.to_string(), hint(&error)))?;
            keys.public().map(shown).collect()
        }
        _ => Vec::new(),
    };
    let next = next::next(data).map_err(|error| Hinted::new(error.to_string(), hint(&error)))?;
    let answer = Answer {
        present,
        next: next.iter().map(shown).collect(),
    };
    output::print(format, &answer, || told(done, &answer))
}

/// Another directory, which is the cure elsewhere, has other keys.
fn stop_first(error: LockError) -> anyhow::Error {
    if matches!(error, LockError::Held { .. }) {
        let hint = "stop the server first: it takes the keys at its next start";
        return Hinted::new(error.to_string(), hint).into();
    }
    error.into()
}

fn shown(key: &PublicKey) -> Shown {
    Shown {
        key: key.to_string(),
        fingerprint: key.fingerprint(),
    }
}

fn told(done: &str, answer: &Answer) -> String {
    let mut text = done.to_owned();
    for (what, keys) in [("in force", &answer.present), ("next", &answer.next)] {
        for Shown { key, fingerprint } in keys {
            text.push_str(&format!("{what:<8}  {fingerprint}  {key}\n"));
        }
    }
    if answer.next.is_empty() {
        text.push_str("no next keys: moorline host-key prepare --out DIR makes them\n");
    }
    text
}
