//! What cameras' agents say of their streams (`SOURCE` of MOORLINE/1) is kept in the status of their Cameras, where it fills in what the owner leaves
//! open: a camera with an agent is recorded with no further typing.
//!
//! ```text
//! agent ─ SOURCE ─▶ monitor of its holder ─▶ KubeSources ─ note ─▶ status.found ─ watch ─▶ every part's record
//! ```
//! **Owns** the way from the monitor's words to the note. Nothing is written for what is written already: a camera that comes back costs no write more,
//! and one that says other streams all the time is heard seldom.
//! Frames and bits per second change by themselves and are left out. How it ends: with its token.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use moorline_base::CancellationToken;
use moorline_base::clock::sleep;
use moorline_base::rate::Limiter;
use moorline_core::camera::Source;
use moorline_core::port::Statuses;
use moorline_core::status::CameraStatus;
use moorline_core::{CameraId, Generation, check};

use crate::resource::{Found, FoundSource, Newer};
use crate::status::{Note, StatusWriter};

/// Statuses change all the time, and what is looked for here once in a camera's life. A camera says its streams in a line each: those of one moment make
/// one change, since each begins its workloads anew.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Cameras whose changes are counted; more than a replica holds.
const COUNTED: usize = 10_000;
/// The longest word that is kept of a codec or a size.
const WORD: usize = 16;

/// What was looked at last: under which claim, and what came of it.
type Seen = HashMap<CameraId, (Generation, Found)>;

/// Keeps what the agents of this replica's cameras find.
#[derive(Debug, Clone)]
pub struct KubeSources {
    writer: StatusWriter,
}

impl KubeSources {
    /// Of the cameras that `writer`'s replica holds.
    pub fn new(writer: StatusWriter) -> Self {
        Self { writer }
    }

    /// Notes what `monitor` hears, until `cancel`.
    pub async fn run(&self, monitor: Arc<dyn Statuses>, cancel: CancellationToken) {
        let mut seen = Seen::new();
        let mut changes = Limiter::new(Source::CHANGES, 1.0 / Source::SECONDS_A_CHANGE, COUNTED);
        let mut version = 0;
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                next = monitor.changed(version) => version = next,
            }
            let clock = self.writer.clock();
            if sleep(&**clock, LOOK_EVERY, &cancel).await.is_cancelled() {
                return;
            }
            self.look(&*monitor, &mut seen, &mut changes);
        }
    }

    fn look(&self, monitor: &dyn Statuses, seen: &mut Seen, changes: &mut Limiter<CameraId>) {
        let owned = self.writer.owned();
        let instant = self.writer.clock().monotonic();
        seen.retain(|camera, _| owned.get(camera).is_some());
        for (camera, own) in owned.all() {
            // Before it is written a claim takes no note.
            if own.session.is_none() || own.released || own.provisional {
                continue;
            }
            let Some(said) = monitor.get(&camera).as_ref().and_then(said) else {
                continue;
            };
            let Some(known) = self.writer.cache().camera_by_uid(&camera, &own.uid) else {
                continue;
            };
            let status = known.object.status.as_ref();
            let before = status.and_then(|status| status.found.clone());
            let found = after(before.clone(), said);
            let now = (own.generation, found.clone());
            if seen.get(&camera) == Some(&now) {
                continue;
            }
            if before.as_ref() != Some(&found) {
                // What it says later is looked at then.
                if changes.try_take(camera.clone(), instant).is_err() {
                    continue;
                }
                tracing::info!(%camera, "the camera's own words set its streams");
                let note = Note {
                    found: Some(found),
                    ..Note::default()
                };
                self.writer.note(&camera, own.generation, note);
            }
            // Once for each claim: definitions from before this field take it and do not keep it.
            seen.insert(camera, now);
        }
    }
}

/// What is known of the streams after these words. One that is not named any more stays: nothing better is known.
fn after(before: Option<Found>, said: Found) -> Found {
    let before = before.unwrap_or_default();
    let stream = |said: Option<FoundSource>, before: Option<FoundSource>| match (said, before) {
        (Some(said), Some(before)) => Some(FoundSource {
            newer: before.newer,
            ..said
        }),
        (said, before) => said.or(before),
    };
    Found {
        main: stream(said.main, before.main),
        sub: stream(said.sub, before.sub),
        newer: before.newer,
    }
}

/// What a camera says of its streams; `None`: nothing.
fn said(status: &CameraStatus) -> Option<Found> {
    let [main, sub] = ["source.main", "source.sub"].map(|key| {
        let (_, words) = status.said.iter().find(|(name, _)| name == key)?;
        stream(words)
    });
    (main.is_some() || sub.is_some()).then_some(Found {
        main,
        sub,
        newer: Newer::new(),
    })
}

/// `<path> <codec> <size> <fps> <kbps>`; statuses carry foreign text, which is checked once more.
fn stream(words: &str) -> Option<FoundSource> {
    let mut words = words.split(' ');
    let path = words.next().filter(|path| check::is_path(path))?;
    let mut known = || {
        let word = words.next().filter(|word| *word != "-")?;
        let is_word = (1..=WORD).contains(&word.len())
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric());
        is_word.then(|| word.to_owned())
    };
    Some(FoundSource {
        path: path.to_owned(),
        codec: known(),
        size: known(),
        newer: Newer::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, codec: Option<&str>, size: Option<&str>) -> FoundSource {
        FoundSource {
            path: path.into(),
            codec: codec.map(str::to_owned),
            size: size.map(str::to_owned),
            newer: Newer::new(),
        }
    }

    #[test]
    fn of_what_is_said_that_is_kept_which_stays_as_it_is() {
        assert_eq!(
            stream("/ch0 h264 1920x1080 20 1024"),
            Some(source("/ch0", Some("h264"), Some("1920x1080")))
        );
        assert_eq!(stream("/ch0 - - - -"), Some(source("/ch0", None, None)));
        let long = "x".repeat(WORD + 1);
        assert_eq!(
            stream(&format!("/ch0 {long} \u{202e}gpj")),
            Some(source("/ch0", None, None))
        );
        for foreign in ["", "rtsp://192.0.2.1/ h264", "ch0 h264 1920x1080"] {
            assert_eq!(stream(foreign), None, "{foreign:?}");
        }
    }

    #[test]
    fn a_stream_that_is_not_named_any_more_stays() {
        let both = Found {
            main: Some(source("/ch0", None, None)),
            sub: Some(source("/ch1", None, None)),
            newer: Newer::new(),
        };
        let main = Found {
            main: Some(source("/stream=0", None, None)),
            sub: None,
            newer: Newer::new(),
        };
        let kept = after(Some(both.clone()), main.clone());
        assert_eq!((&kept.main, &kept.sub), (&main.main, &both.sub));
        assert_eq!(after(None, main.clone()), main);
    }
}
