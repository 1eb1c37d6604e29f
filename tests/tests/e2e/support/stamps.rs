//! The stamps in pictures: which were seen, which are missing.

use std::path::Path;

use moorline_simcam::video::Stamp;
use moorline_testkit::{child::run, peer};

use super::SOON;

/// Finds the stamps in an Annex B stream that comes in pieces.
#[derive(Default)]
pub(crate) struct Finder {
    rest: Vec<u8>,
}

impl Finder {
    /// Takes the next piece and gives the stamps of the NAL units that it completes.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Vec<Stamp> {
        self.rest.extend_from_slice(piece);
        let codes: Vec<usize> = self
            .rest
            .windows(3)
            .enumerate()
            .filter(|(_, window)| *window == [0, 0, 1])
            .map(|(at, _)| at)
            .collect();
        let found = codes
            .windows(2)
            .filter_map(|pair| Stamp::from_nal(&self.rest[pair[0] + 3..pair[1]]))
            .collect();
        if let Some(&last) = codes.last() {
            self.rest.drain(..last);
        }
        found
    }
}

/// The frame numbers.
pub(crate) fn numbers(stamps: &[Stamp]) -> Vec<u64> {
    stamps.iter().map(|stamp| stamp.frame).collect()
}

/// Asserts that no picture is missing, doubled or another camera's.
#[track_caller]
pub(crate) fn assert_in_order(stamps: &[Stamp], camera: u32) {
    assert!(!stamps.is_empty(), "no picture at all");
    for pair in stamps.windows(2) {
        assert_eq!(pair[1].frame, pair[0].frame + 1, "{:?}", numbers(stamps));
    }
    let strangers: Vec<_> = stamps
        .iter()
        .filter(|stamp| stamp.camera != camera)
        .collect();
    assert!(strangers.is_empty(), "of another camera: {strangers:?}");
}

/// The stamps of an MP4 file, as ffmpeg reads it; what ffmpeg complains of fails the test.
pub(crate) async fn exported(file: &Path) -> Vec<Stamp> {
    let mut command = peer::FFMPEG.command().unwrap();
    command.args(["-v", "error", "-i"]).arg(file);
    command.args(["-map", "0:v", "-c", "copy", "-f", "h264", "-"]);
    let output = run("ffmpeg", command, SOON).await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{errors}");
    let mut finder = Finder::default();
    let mut stamps = finder.push(&output.stdout);
    // A last unit ends with the file.
    stamps.extend(finder.push(&[0, 0, 1]));
    stamps
}
