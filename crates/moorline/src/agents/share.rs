//! Which cameras a stage is for, where no process sees them all: on a cluster. Pure.
//!
//! A share is drawn by lot, another one for each release: every replica draws the same for a camera, without a word to the others, and who is in a small
//! share is in each larger one. So it holds for many cameras and not for few. The first camera of a release is named, in an object that all replicas
//! share, since a lot cannot draw exactly one.

use moorline_control::Version;
use moorline_core::CameraId;

use super::plan::{Stage, lot};

/// Whether a release is for this camera at that stage; `first` is the camera that has it before the others.
pub fn is_in(stage: Stage, version: Version, camera: &CameraId, first: Option<&CameraId>) -> bool {
    let is_first = first == Some(camera);
    match stage {
        Stage::Off => false,
        Stage::One => is_first,
        Stage::Percent(percent) => is_first || is_below(lot(version, camera), percent),
        Stage::All => true,
    }
}

/// Whether one camera is to be named: of few a share may draw none.
pub fn names_one(stage: Stage) -> bool {
    matches!(stage, Stage::One | Stage::Percent(_))
}

fn is_below(lot: [u8; 32], percent: u8) -> bool {
    let [a, b, c, d, e, f, g, h, ..] = lot;
    let drawn = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    u128::from(drawn) * 100 < u128::from(percent) << 64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const NEW: Version = Version(0, 2, 0);

    fn camera(number: usize) -> CameraId {
        format!("acme/camera-{number}").parse().unwrap()
    }

    fn drawn(stage: Stage, version: Version) -> BTreeSet<usize> {
        let all = 0..10_000;
        all.filter(|number| is_in(stage, version, &camera(*number), None))
            .collect()
    }

    #[test]
    fn of_many_cameras_a_share_draws_about_so_many_and_a_larger_one_draws_them_too() {
        let stages = [1, 10, 50, 99].map(Stage::Percent);
        let shares = stages.map(|stage| drawn(stage, NEW));
        for (share, wanted) in shares.iter().zip([100, 1_000, 5_000, 9_900]) {
            let (least, most) = (wanted - wanted / 4, wanted + wanted / 4);
            assert!(
                (least..=most).contains(&share.len()),
                "{wanted}: {}",
                share.len()
            );
        }
        assert!(shares.windows(2).all(|two| two[0].is_subset(&two[1])));
        assert_eq!(drawn(Stage::All, NEW).len(), 10_000);
    }

    #[test]
    fn each_release_begins_with_others() {
        let stage = Stage::Percent(1);
        assert_ne!(drawn(stage, NEW), drawn(stage, Version(0, 2, 1)));
    }

    #[test]
    fn one_is_the_one_that_was_named_and_nobody_else() {
        assert_eq!(drawn(Stage::One, NEW), BTreeSet::new());
        let first = camera(7);
        for stage in [Stage::One, Stage::Percent(1)] {
            assert!(is_in(stage, NEW, &first, Some(&first)), "{stage}");
        }
        assert!(!is_in(Stage::One, NEW, &camera(8), Some(&first)));
        assert!(!is_in(Stage::Off, NEW, &first, Some(&first)), "it rests");
    }
}
