//! What cameras say of their streams (`SOURCE` of MOORLINE/1) becomes part of their records, so that a camera with an agent is recorded with no
//! further typing.
//!
//! Only what is not set is filled in: what an operator wrote stands. A path that is the camera's own word follows the camera when it says another one:
//! after a change of its firmware the old one leads nowhere. A path leads nowhere but into the camera's own tunnel.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use moorline_base::clock::sleep;
use moorline_base::rate::Limiter;
use moorline_base::{CancellationToken, SharedClock};
use moorline_control::UrlPath;
use moorline_core::CameraId;
use moorline_core::camera::{Access, Camera, Source};
use moorline_core::port::{CameraAdmin, CameraAdminError, CameraChange, CameraDirectory, Statuses};
use moorline_core::status::CameraStatus;

/// Statuses change all the time; what is looked for here changes once in a camera's life.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Cameras whose changes are counted; more than one server has.
const COUNTED: usize = 10_000;

/// Fills in records.
#[derive(Clone)]
pub struct Sources {
    pub cameras: Arc<dyn CameraDirectory>,
    pub admin: Arc<dyn CameraAdmin>,
    pub statuses: Arc<dyn Statuses>,
    pub clock: SharedClock,
}

/// What a camera says of its paths: the full one, the small one.
type Said = (Option<String>, Option<String>);

/// What a camera said last: looked at once.
type Seen = HashMap<CameraId, Said>;

impl Sources {
    /// Fills in what cameras say, until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        let mut seen = Seen::new();
        let mut changes = Limiter::new(Source::CHANGES, 1.0 / Source::SECONDS_A_CHANGE, COUNTED);
        let mut version = 0;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                next = self.statuses.changed(version) => version = next,
            }
            self.look(&mut seen, &mut changes).await;
            if sleep(&*self.clock, LOOK_EVERY, &stop).await.is_cancelled() {
                return;
            }
        }
    }

    async fn look(&self, seen: &mut Seen, changes: &mut Limiter<CameraId>) {
        let cameras = self.cameras.snapshot();
        seen.retain(|id, _| cameras.get(id).is_some());
        for camera in cameras.iter() {
            let Some(status) = self.statuses.get(&camera.id) else {
                continue;
            };
            let said = (path(&status, "source.main"), path(&status, "source.sub"));
            if said == (None, None) || seen.get(&camera.id) == Some(&said) {
                continue;
            }
            if let Some(change) = fill(camera, seen.get(&camera.id), &said) {
                // What it says later is looked at then.
                let now = self.clock.monotonic();
                if changes.try_take(camera.id.clone(), now).is_err() {
                    continue;
                }
                match self.admin.set(&camera.id, change).await {
                    Ok(now) => {
                        let main = now.main.path.unwrap_or_default();
                        tracing::info!(camera = %camera.id, main, "the camera's own words set its streams");
                    }
                    // Somebody changed it meanwhile: the next look decides anew.
                    Err(CameraAdminError::Changed(_)) => continue,
                    Err(error) => {
                        tracing::warn!(camera = %camera.id, %error, "what the camera says of its streams was not taken");
                    }
                }
            }
            seen.insert(camera.id.clone(), said);
        }
    }
}

/// The path in what a camera said, checked once more: statuses carry foreign text.
fn path(status: &CameraStatus, key: &str) -> Option<String> {
    let (_, said) = status.said.iter().find(|(name, _)| name == key)?;
    UrlPath::new(said.split(' ').next()?).map(|path| path.to_string())
}

/// The change that fills a record in; `None` when there is nothing to fill in.
fn fill(camera: &Camera, before: Option<&Said>, said: &Said) -> Option<CameraChange> {
    let Access::Tunnel { .. } = camera.access else {
        return None;
    };
    // Empty, or what the camera itself said before.
    let free = |set: Option<&String>, before: Option<&String>, now: &String| match set {
        None => true,
        Some(set) => before == Some(set) && now != set,
    };
    let before = before.map_or((None, None), |(main, sub)| (main.as_ref(), sub.as_ref()));
    let main = said.0.as_ref();
    let main = main
        .filter(|path| free(camera.main.path.as_ref(), before.0, path))
        .map(|path| Source {
            path: Some(path.clone()),
            ..camera.main.clone()
        });
    // One path for both would be one stream recorded twice.
    let own = main.as_ref().unwrap_or(&camera.main).path.clone();
    let set = camera.sub.as_ref();
    let sub = said.1.as_ref();
    let sub = sub
        .filter(|path| own.as_ref() != Some(*path))
        .filter(|path| match set {
            None => true,
            Some(set) => free(set.path.as_ref(), before.1, path),
        })
        .map(|path| {
            let like = set.unwrap_or(&camera.main);
            Source {
                path: Some(path.clone()),
                login: like.login.clone(),
                allow_basic: like.allow_basic,
            }
        });
    let empty = main.is_none() && sub.is_none();
    (!empty).then(|| CameraChange {
        main,
        sub: sub.map(Some),
        decided_on: Some(Box::new(camera.clone())),
        ..CameraChange::default()
    })
}

#[cfg(test)]
mod tests {
    use moorline_base::SimulatedClock;
    use moorline_core::Timestamp;
    use moorline_core::segment::Retention;
    use moorline_registry::Registry;

    use super::*;
    use crate::spoken::Spoken;

    fn camera(main: Option<&str>, sub: Option<&str>) -> Camera {
        let source = |path: &str| Source {
            path: Some(path.to_owned()),
            ..Source::default()
        };
        Camera {
            main: main.map(source).unwrap_or_default(),
            sub: sub.map(source),
            ..Camera::new(
                "yard".parse().unwrap(),
                Timestamp::default(),
                Retention::Keep,
            )
        }
    }

    fn said(main: Option<&str>, sub: Option<&str>) -> Said {
        (main.map(str::to_owned), sub.map(str::to_owned))
    }

    fn filled(camera: &Camera, main: Option<&str>, sub: Option<&str>) -> Said {
        followed(camera, None, &said(main, sub))
    }

    fn followed(camera: &Camera, before: Option<&Said>, now: &Said) -> Said {
        let mut changed = camera.clone();
        if let Some(change) = fill(camera, before, now) {
            change.apply(&mut changed);
        }
        (changed.main.path, changed.sub.and_then(|sub| sub.path))
    }

    /// S5.
    #[tokio::test]
    async fn a_camera_that_says_another_path_all_the_time_changes_its_record_seldom() {
        let directory = tempfile::tempdir().unwrap();
        let [file, key] =
            ["registry.sqlite", "registry.key"].map(|name| directory.path().join(name));
        let clock = Arc::new(SimulatedClock::new(0));
        let registry = Registry::open(&file, &key, clock.clone()).await.unwrap();
        let cameras = registry.cameras();
        cameras.add(camera(None, None)).await.unwrap();
        let says = Arc::new(Spoken::default());
        let sources = Sources {
            cameras: registry.cameras(),
            admin: registry.cameras(),
            statuses: says.clone(),
            clock: clock.clone(),
        };
        let mut seen = Seen::new();
        let mut changes = Limiter::new(Source::CHANGES, 1.0 / Source::SECONDS_A_CHANGE, COUNTED);
        let recorded = || {
            let set = cameras.snapshot();
            let yard = set.get(&"yard".parse().unwrap()).unwrap();
            yard.main.path.clone().unwrap_or_default()
        };
        for second in 0..60 {
            let said = [("source.main", format!("/ch{second} h264 - - -"))];
            let yard = "yard".parse().unwrap();
            says.0.lock().unwrap().insert(yard, said.into());
            sources.look(&mut seen, &mut changes).await;
            clock.advance(Duration::from_secs(1));
        }
        assert_eq!(recorded(), "/ch3", "four changes may come at once");
        clock.advance(Duration::from_secs(600));
        sources.look(&mut seen, &mut changes).await;
        assert_eq!(recorded(), "/ch59", "what it says then is taken");
    }

    #[test]
    fn a_path_that_was_the_camera_s_own_word_follows_it_and_the_operator_s_does_not() {
        let thingino = said(Some("/ch0"), Some("/ch1"));
        let openipc = said(Some("/stream=0"), Some("/stream=1"));
        let filled_in = camera(Some("/ch0"), Some("/ch1"));
        assert_eq!(followed(&filled_in, Some(&thingino), &openipc), openipc);
        assert!(fill(&filled_in, Some(&thingino), &thingino).is_none());
        let own = camera(Some("/own"), Some("/ch1"));
        assert_eq!(
            followed(&own, Some(&thingino), &openipc),
            said(Some("/own"), Some("/stream=1"))
        );
        // Nothing is known of before: the server was restarted meanwhile. What is set stands.
        assert!(fill(&filled_in, None, &openipc).is_none());
        // A sub-stream that is gone stays in the record: nothing better is known.
        assert_eq!(
            followed(&filled_in, Some(&thingino), &said(Some("/stream=0"), None)),
            said(Some("/stream=0"), Some("/ch1"))
        );
    }

    #[test]
    fn what_is_not_set_is_filled_in_and_what_is_set_stands() {
        let pair = |main: &str, sub: &str| (Some(main.to_owned()), Some(sub.to_owned()));
        let new = camera(None, None);
        assert_eq!(
            filled(&new, Some("/ch0"), Some("/ch1")),
            pair("/ch0", "/ch1")
        );
        assert_eq!(
            filled(&new, Some("/ch0"), Some("/ch0")),
            (Some("/ch0".into()), None)
        );
        let set = camera(Some("/own"), Some("/small"));
        assert!(fill(&set, None, &said(Some("/ch0"), Some("/ch1"))).is_none());
        let half = camera(Some("/own"), None);
        assert_eq!(
            filled(&half, Some("/ch0"), Some("/ch1")),
            pair("/own", "/ch1")
        );
        let lan = Camera {
            access: Access::Lan {
                host: "192.0.2.1".into(),
                port: 554,
            },
            ..camera(None, None)
        };
        assert!(
            fill(&lan, None, &said(Some("/ch0"), None)).is_none(),
            "only an operator sets where a camera in the own network is"
        );
    }
}
