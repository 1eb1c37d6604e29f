//! `camera pending` of a cluster: each replica of `moorline mon` remembers the keys that it refused, and all are asked.
//!
//! Nothing of a stranger is written to the API server, which strangers would fill otherwise (rule S9): what is remembered is a replica's own bounded list,
//! gone with its process.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use futures::future::join_all;
use moorline_web::api::StrangerView;

use super::choice::{Installation, Which};
use super::entered::{Entered, replicas};
use crate::client::Client;
use crate::output;

/// How many names of a key are shown, as of one server.
const NAMES: usize = 8;

/// The refused keys that all replicas remember, the last one first. A replica that does not answer is told, and the others count.
///
/// # Errors
/// No replica is reached.
pub async fn strangers(which: &Which, at: &Installation) -> anyhow::Result<Vec<StrangerView>> {
    let asked = replicas(which, at).await?.into_iter().map(|name| {
        let client = Client::Entered(Box::new(Entered::replica(which.clone(), at.clone(), name)));
        async move { client.get::<Vec<StrangerView>>("/strangers").await }
    });
    let (mut known, mut failed) = (Vec::new(), Vec::new());
    for answer in join_all(asked).await {
        match answer {
            Ok(strangers) => known.push(strangers),
            Err(error) => failed.push(error),
        }
    }
    if known.is_empty()
        && let Some(error) = failed.pop()
    {
        return Err(error);
    }
    for error in failed {
        output::say(&format!("note: {error:#}"));
    }
    Ok(merged(known))
}

/// One row for each key: as the replica tells it that refused it last, with all its tries and names.
fn merged(known: Vec<Vec<StrangerView>>) -> Vec<StrangerView> {
    let mut all: BTreeMap<String, StrangerView> = BTreeMap::new();
    for stranger in known.into_iter().flatten() {
        let merged = match all.remove(&stranger.fingerprint) {
            Some(other) if other.last > stranger.last => with(other, stranger),
            Some(other) => with(stranger, other),
            None => stranger,
        };
        all.insert(merged.fingerprint.clone(), merged);
    }
    let mut all: Vec<StrangerView> = all.into_values().collect();
    all.sort_by_key(|stranger| Reverse(stranger.last));
    all
}

/// The newer word on a key, with what the older one adds.
fn with(mut newer: StrangerView, older: StrangerView) -> StrangerView {
    newer.first = newer.first.min(older.first);
    newer.tries = newer.tries.saturating_add(older.tries);
    newer.held_off_seconds = newer.held_off_seconds.max(older.held_off_seconds);
    for name in older.names {
        if !newer.names.contains(&name) {
            newer.names.push(name);
        }
    }
    newer.names.truncate(NAMES);
    newer
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stranger(fingerprint: &str, name: &str, last: &str) -> StrangerView {
        let key =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
        let view = json!({
            "fingerprint": fingerprint, "key": key, "name": name, "names": [name], "peer": "192.0.2.7:4711", "client": "SSH-2.0-dropbear",
            "first": last, "last": last, "tries": 2, "reason": "unknown_key",
        });
        serde_json::from_value(view).unwrap()
    }

    #[test]
    fn a_key_that_knocked_at_two_replicas_is_told_once_as_it_was_last() {
        let (early, late) = ("2026-11-20T21:00:00Z", "2026-11-20T21:05:00Z");
        let first = vec![stranger("SHA256:a", "acme/yard", early)];
        let second = vec![
            stranger("SHA256:b", "root", early),
            stranger("SHA256:a", "acme/gate", late),
        ];
        for known in [[first.clone(), second.clone()], [second, first]] {
            let all = merged(Vec::from(known));
            let prints: Vec<&str> = all.iter().map(|one| one.fingerprint.as_str()).collect();
            assert_eq!(prints, ["SHA256:a", "SHA256:b"]);
            let twice = &all[0];
            assert_eq!((twice.tries, twice.name.as_str()), (4, "acme/gate"));
            assert_eq!(twice.names, ["acme/gate", "acme/yard"]);
            assert_eq!(
                twice.first.to_string(),
                stranger("", "", early).first.to_string()
            );
        }
    }
}
