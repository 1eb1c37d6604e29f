//! Which cameras get a release next. Pure.
//!
//! A release has as many places as its stage gives: one, a share of the cameras of its target, all. A camera keeps its place from the first offer
//! on, also while its trial runs and it is away; so a stage never touches more cameras than it says. The first roll-back from this very version that a
//! camera with a place reports stops all. Agents go on saying what failed on them last: another version stops nothing, nor does this one where it
//! was said before the first offer. One of a camera that was offered nothing is a word without a trial behind it, and whoever holds one key can say it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use moorline_control::Version;
use moorline_core::CameraId;
use moorline_web::problem::Problem;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Transfers at a time.
const AT_ONCE: usize = 8;
/// Offers to one camera in one run of the server: one that loses its session each time is left alone.
const TRIES: u32 = 5;
/// So many cameras that refuse a release stop it: it is signed by another key, or built for something else.
pub const REFUSALS: usize = 3;

/// Why a release stops that a camera took back.
pub fn took_back(camera: &CameraId) -> String {
    format!("camera {camera} took it back")
}

/// Why a release stops that cameras refuse.
pub fn refused_by_many(field: &str) -> String {
    format!("{REFUSALS} cameras refuse it, the last one for {field}")
}

/// Whether that refusal says something of the release: a full flash does not.
pub fn counts(field: &str) -> bool {
    field != "bytes"
}

/// How far a release goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Stage {
    /// Nowhere.
    #[default]
    Off,
    /// Onto one camera.
    One,
    /// Onto so many of a hundred cameras of its target, at least one; 1 to 99.
    Percent(u8),
    /// Onto all.
    All,
}

impl FromStr for Stage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "one" => Ok(Self::One),
            "all" => Ok(Self::All),
            _ => text
                .strip_suffix('%')
                .and_then(|number| number.parse().ok())
                .filter(|percent| (1..100).contains(percent))
                .map(Self::Percent)
                .ok_or_else(|| "one, 1% to 99%, all, or off".to_owned()),
        }
    }
}

impl TryFrom<String> for Stage {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Stage> for String {
    fn from(stage: Stage) -> Self {
        stage.to_string()
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::One => f.write_str("one"),
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::All => f.write_str("all"),
        }
    }
}

impl Stage {
    /// How far a request asks a release to go: its field `to`.
    pub fn asked(to: &str) -> Result<Self, Problem> {
        to.parse::<Self>()
            .map_err(|expected| Problem::invalid("to", to, expected))
    }

    fn places(self, cameras: usize) -> usize {
        match self {
            Self::Off => 0,
            Self::One => 1,
            Self::Percent(percent) => (cameras * usize::from(percent)).div_ceil(100).max(1),
            Self::All => usize::MAX,
        }
    }
}

/// How far a release is, as it is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// How far it goes.
    pub stage: Stage,
    /// The cameras that have a place.
    #[serde(default)]
    pub begun: BTreeSet<CameraId>,
    /// Those on which it failed: they are not tried again.
    #[serde(default)]
    pub failed: BTreeSet<CameraId>,
    /// Why it has stopped.
    #[serde(default)]
    pub stopped: Option<String>,
}

/// What a connected agent says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Which camera.
    pub camera: CameraId,
    /// What it was built for.
    pub target: String,
    /// Its version.
    pub agent: Version,
    /// The version that it was offered in this session.
    pub offered: Option<Version>,
    /// The version that failed on it.
    pub rolled_back: Option<Version>,
    /// The field of the offer that it refused.
    pub refused: Option<String>,
}

/// What this run of the server remembers of a release.
#[derive(Debug, Clone, Default)]
pub struct Tries {
    offers: BTreeMap<CameraId, u32>,
    refused: BTreeSet<CameraId>,
    /// How many of them count towards a stop: once it has stopped for them, an operator who begins anew has thought of them.
    counted: usize,
}

#[cfg(feature = "kube")]
impl Tries {
    /// The offer that was decided on was not made.
    pub fn not_offered(&mut self, camera: &CameraId) {
        if let Some(offers) = self.offers.get_mut(camera) {
            *offers = offers.saturating_sub(1);
        }
    }
}

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// Offer it to these.
    pub offer: Vec<CameraId>,
    /// It failed on this camera, and stops.
    pub rolled_back: Option<CameraId>,
    /// It changed: keep it.
    pub changed: bool,
}

/// Looks at all connected cameras, and decides what is next for a release.
pub fn next(
    (target, version): (&str, Version),
    progress: &mut Progress,
    tries: &mut Tries,
    seen: &[Seen],
) -> Decision {
    let mut decision = Decision::default();
    let ours: Vec<&Seen> = seen.iter().filter(|seen| seen.target == target).collect();
    for camera in &ours {
        let failed = camera.rolled_back == Some(version) && camera.agent < version;
        if failed && progress.failed.insert(camera.camera.clone()) {
            decision.changed = true;
            let had_place = progress.begun.remove(&camera.camera);
            if !had_place {
                tracing::warn!(camera = %camera.camera, %version, "a camera that was not offered this release says that it took it back: it gets none, and the others go on");
            } else if progress.stage != Stage::Off && progress.stopped.is_none() {
                progress.stopped = Some(took_back(&camera.camera));
                decision.rolled_back = Some(camera.camera.clone());
            }
        }
    }
    if progress.stopped.is_some() || progress.stage == Stage::Off {
        return decision;
    }
    for camera in &ours {
        let Some(field) = &camera.refused else {
            continue;
        };
        if camera.offered == Some(version) && tries.refused.insert(camera.camera.clone()) {
            decision.changed |= progress.begun.remove(&camera.camera);
            tracing::warn!(camera = %camera.camera, %version, field, "the camera's agent refuses the release");
            tries.counted += usize::from(counts(field));
            if tries.counted >= REFUSALS {
                tries.counted = 0;
                progress.stopped = Some(refused_by_many(field));
                decision.changed = true;
                return decision;
            }
        }
    }
    let waiting = waiting((target, version), progress, tries, seen);
    let under_way = ours
        .iter()
        .filter(|camera| camera.offered == Some(version) && camera.agent < version)
        .count();
    let places = progress.stage.places(ours.len());
    for camera in waiting.into_iter().take(AT_ONCE.saturating_sub(under_way)) {
        if !progress.begun.contains(&camera) {
            if progress.begun.len() >= places {
                break;
            }
            progress.begun.insert(camera.clone());
            decision.changed = true;
        }
        *tries.offers.entry(camera.clone()).or_default() += 1;
        decision.offer.push(camera);
    }
    decision
}

/// The cameras that wait for a release. Those that have a place first; then in an order that is another one for each release, so that it is not always the
/// same camera.
pub fn waiting(
    (target, version): (&str, Version),
    progress: &Progress,
    tries: &Tries,
    seen: &[Seen],
) -> Vec<CameraId> {
    let waits = |camera: &&Seen| {
        camera.target == target
            && camera.agent < version
            && camera.offered != Some(version)
            && !progress.failed.contains(&camera.camera)
            && !tries.refused.contains(&camera.camera)
            && tries
                .offers
                .get(&camera.camera)
                .is_none_or(|offers| *offers < TRIES)
    };
    let mut waiting: Vec<&Seen> = seen.iter().filter(waits).collect();
    waiting.sort_by_key(|camera| {
        let begun = progress.begun.contains(&camera.camera);
        (!begun, lot(version, &camera.camera))
    });
    let cameras = waiting.into_iter().map(|camera| camera.camera.clone());
    cameras.collect()
}

pub(super) fn lot(version: Version, camera: &CameraId) -> [u8; 32] {
    Sha256::digest(format!("{version} {camera}")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Version = Version(0, 2, 0);
    const OLD: Version = Version(0, 1, 0);

    fn seen(number: usize) -> Seen {
        Seen {
            camera: format!("camera-{number}").parse().unwrap(),
            target: "mipsel".to_owned(),
            agent: OLD,
            offered: None,
            rolled_back: None,
            refused: None,
        }
    }

    fn at(stage: Stage) -> Progress {
        Progress {
            stage,
            ..Progress::default()
        }
    }

    fn step(progress: &mut Progress, tries: &mut Tries, seen: &[Seen]) -> Decision {
        next(("mipsel", NEW), progress, tries, seen)
    }

    #[test]
    fn a_stage_touches_no_more_cameras_than_it_says() {
        let mut all: Vec<Seen> = (0..250).map(seen).collect();
        all.push(Seen {
            target: "arm".into(),
            ..seen(999)
        });
        for (stage, places) in [
            (Stage::Off, 0),
            (Stage::One, 1),
            (Stage::Percent(1), 3),
            (Stage::Percent(10), 25),
            (Stage::All, 250),
        ] {
            let (mut progress, mut tries) = (at(stage), Tries::default());
            let mut seen = all.clone();
            for _ in 0..200 {
                let decision = step(&mut progress, &mut tries, &seen);
                assert!(decision.offer.len() <= AT_ONCE);
                for camera in decision.offer {
                    // Its trial is done before the next look.
                    let camera = seen.iter_mut().find(|seen| seen.camera == camera).unwrap();
                    camera.agent = NEW;
                }
            }
            let new = seen.iter().filter(|seen| seen.agent == NEW).count();
            assert_eq!(new, places, "{stage}");
        }
    }

    #[test]
    fn a_camera_on_trial_is_away_and_keeps_its_place() {
        let (mut progress, mut tries) = (at(Stage::One), Tries::default());
        let mut all = vec![seen(1), seen(2)];
        let first = step(&mut progress, &mut tries, &all).offer;
        assert_eq!(first.len(), 1);
        all.retain(|seen| seen.camera != first[0]);
        assert_eq!(step(&mut progress, &mut tries, &all), Decision::default());
    }

    #[test]
    fn a_cut_transfer_is_offered_again_in_the_next_session_but_not_for_ever() {
        let (mut progress, mut tries) = (at(Stage::One), Tries::default());
        let all = vec![seen(1)];
        for _ in 0..TRIES {
            assert_eq!(step(&mut progress, &mut tries, &all).offer.len(), 1);
            let under_way = [Seen {
                offered: Some(NEW),
                ..seen(1)
            }];
            assert_eq!(step(&mut progress, &mut tries, &under_way).offer, []);
        }
        assert_eq!(step(&mut progress, &mut tries, &all).offer, []);
    }

    #[test]
    fn a_roll_back_stops_it_and_is_told_once() {
        let (mut progress, mut tries) = (at(Stage::One), Tries::default());
        let mut all = vec![seen(1), seen(2)];
        let offered = step(&mut progress, &mut tries, &all).offer;
        assert_eq!(offered.len(), 1);
        let failing = usize::from(offered[0] == all[1].camera);
        all[failing].rolled_back = Some(NEW);
        progress.stage = Stage::All;
        let decision = step(&mut progress, &mut tries, &all);
        assert_eq!(decision.rolled_back, Some(all[failing].camera.clone()));
        assert_eq!(decision.offer, []);
        assert!(progress.stopped.is_some() && decision.changed);
        assert_eq!(step(&mut progress, &mut tries, &all), Decision::default());
        // The operator goes on: the camera that failed is left alone.
        progress.stopped = None;
        let decision = step(&mut progress, &mut tries, &all);
        assert_eq!(
            (decision.rolled_back, decision.offer),
            (None, vec![all[1 - failing].camera.clone()])
        );
    }

    #[test]
    fn a_camera_that_was_offered_nothing_stops_nobody_s_roll_out() {
        let (mut progress, mut tries) = (at(Stage::All), Tries::default());
        let all = vec![
            Seen {
                rolled_back: Some(NEW),
                ..seen(1)
            },
            seen(2),
        ];
        let decision = step(&mut progress, &mut tries, &all);
        assert_eq!(
            (decision.rolled_back, decision.offer),
            (None, vec![seen(2).camera])
        );
        assert_eq!(progress.stopped, None);
        // It is among those that do not get it, which is kept.
        assert!(decision.changed && progress.failed.contains(&seen(1).camera));
        // Nor does it stop it later.
        for _ in 0..3 {
            step(&mut progress, &mut tries, &all);
        }
        assert_eq!(progress.stopped, None);
        assert!(!progress.begun.contains(&seen(1).camera));
    }

    /// An agent goes on saying what failed on it last, until something else does.
    #[test]
    fn another_version_s_roll_back_is_none_of_this_one() {
        let (mut progress, mut tries) = (at(Stage::All), Tries::default());
        let mut all = vec![Seen {
            rolled_back: Some(Version(0, 1, 9)),
            ..seen(1)
        }];
        assert_eq!(step(&mut progress, &mut tries, &all).offer.len(), 1);
        // It has a place now, and says it again: in the session in which it was offered, and in the next one.
        for offered in [Some(NEW), None] {
            all[0].offered = offered;
            let decision = step(&mut progress, &mut tries, &all);
            assert_eq!((decision.rolled_back, decision.changed), (None, false));
        }
        assert_eq!(progress.stopped, None);
        assert!(progress.begun.contains(&all[0].camera) && progress.failed.is_empty());
        // This one failed on it, too.
        all[0].rolled_back = Some(NEW);
        let decision = step(&mut progress, &mut tries, &all);
        assert_eq!(decision.rolled_back, Some(all[0].camera.clone()));
    }

    /// The release was tried on it before, by hand or for another server, and nobody else is to go without because of that.
    #[test]
    fn a_word_from_before_the_roll_out_stops_it_at_no_stage() {
        let (mut progress, mut tries) = (at(Stage::Off), Tries::default());
        let all = [
            Seen {
                rolled_back: Some(NEW),
                ..seen(1)
            },
            seen(2),
        ];
        for (stage, offered) in [(Stage::Off, vec![]), (Stage::One, vec![seen(2).camera])] {
            progress.stage = stage;
            let decision = step(&mut progress, &mut tries, &all);
            assert_eq!((decision.rolled_back, decision.offer), (None, offered));
        }
        progress.stage = Stage::All;
        step(&mut progress, &mut tries, &all);
        assert_eq!(progress.stopped, None);
        assert_eq!(progress.begun, BTreeSet::from([seen(2).camera]));
    }

    #[test]
    fn refusals_pass_the_place_on_and_three_of_them_stop_it() {
        let (mut progress, mut tries) = (at(Stage::One), Tries::default());
        let mut all: Vec<Seen> = (0..10).map(seen).collect();
        for turn in 1..=3 {
            let offered = step(&mut progress, &mut tries, &all).offer;
            assert_eq!(offered.len(), 1, "turn {turn}");
            let camera = all
                .iter_mut()
                .find(|seen| seen.camera == offered[0])
                .unwrap();
            camera.offered = Some(NEW);
            camera.refused = Some("signature".into());
        }
        assert_eq!(step(&mut progress, &mut tries, &all).offer, []);
        assert!(progress.stopped.take().unwrap().contains("signature"));
        // Whoever begins anew has thought of them: it takes three others to stop it again. A full flash is no refusal.
        for field in ["bytes", "signature", "signature"] {
            let offered = step(&mut progress, &mut tries, &all).offer;
            assert_eq!((offered.len(), &progress.stopped), (1, &None));
            let camera = all
                .iter_mut()
                .find(|seen| seen.camera == offered[0])
                .unwrap();
            camera.offered = Some(NEW);
            camera.refused = Some(field.into());
        }
        assert_eq!(step(&mut progress, &mut tries, &all).offer.len(), 1);
        assert_eq!(progress.stopped, None);
    }

    #[test]
    fn stages_are_written_as_they_are_read() {
        for text in ["off", "one", "1%", "10%", "all"] {
            assert_eq!(text.parse::<Stage>().unwrap().to_string(), text);
        }
        for text in ["", "0%", "100%", "%", "1", "ten"] {
            assert!(text.parse::<Stage>().is_err(), "{text}");
        }
    }
}
