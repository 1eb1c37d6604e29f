//! Concatenation: every sample once, in order, at the right time.

mod common;

use common::{TAKE_START, audio_video, fragment_runs, segment_of};
use moorline_fmp4::{Follows, Gaps, Head, Init, JoinError, Joiner, Run};
use mp4_atom::{Any, DecodeMaybe, Moof};

struct Segment {
    file: Vec<u8>,
    follows: Follows,
}

fn segment(init: &Init, start: u64, fragments: u64, follows: Follows) -> Segment {
    Segment {
        file: segment_of(init, start, fragments, 4096).0,
        follows,
    }
}

fn join(segments: &[Segment], gaps: Gaps, piece: usize) -> Vec<u8> {
    let mut joiner = Joiner::new(gaps);
    let mut out = Vec::new();
    for segment in segments {
        let head = Head::parse(&segment.file).unwrap();
        out.extend(
            joiner
                .begin_segment(&segment.file, segment.follows)
                .unwrap()
                .unwrap_or_default(),
        );
        for bytes in segment.file[head.len()..].chunks(piece) {
            joiner.push(bytes, &mut out).unwrap();
        }
    }
    joiner.end_segment().unwrap();
    out
}

/// The moofs and the media bytes, as another library reads them.
fn read(mut bytes: &[u8]) -> (Vec<Moof>, Vec<u8>) {
    let (mut moofs, mut media) = (Vec::new(), Vec::new());
    while let Some(atom) = Any::decode_maybe(&mut bytes).unwrap() {
        match atom {
            Any::Moof(moof) => moofs.push(moof),
            Any::Mdat(mdat) => media.extend(mdat.data),
            Any::Ftyp(_) | Any::Moov(_) => {}
            other => panic!("{other:?} is not for the output"),
        }
    }
    (moofs, media)
}

/// Start of each fragment's run of a track (0 = video, 1 = audio), in seconds.
fn starts(moofs: &[Moof], track: usize) -> Vec<f64> {
    let scale = [90_000.0, 8000.0][track];
    moofs
        .iter()
        .map(|moof| {
            moof.traf[track]
                .tfdt
                .as_ref()
                .unwrap()
                .base_media_decode_time as f64
                / scale
        })
        .collect()
}

fn media(runs: &[Run]) -> Vec<u8> {
    runs.iter()
        .flat_map(|run| &run.samples)
        .flat_map(|sample| sample.data.to_vec())
        .collect()
}

#[test]
fn two_segments_of_one_take_become_one_file_from_zero() {
    let init = audio_video();
    let parts = [
        segment(&init, TAKE_START, 3, Follows::NewTake),
        segment(&init, TAKE_START + 3 * 180_000, 2, Follows::SameTake),
    ];
    let out = join(&parts, Gaps::Collapse, 1 << 20);
    assert!(out.starts_with(init.bytes()), "the take-wide init");
    let (moofs, bytes) = read(&out);
    assert_eq!(starts(&moofs, 0), [0.0, 2.0, 4.0, 6.0, 8.0]);
    assert_eq!(starts(&moofs, 1), [0.0, 2.0, 4.0, 6.0, 8.0]);
    assert_eq!(
        moofs
            .iter()
            .map(|moof| moof.mfhd.sequence_number)
            .collect::<Vec<_>>(),
        [1, 2, 3, 4, 5]
    );
    let mut expected: Vec<u8> = (0..3)
        .flat_map(|n| media(&fragment_runs(TAKE_START, n)))
        .collect();
    expected.extend((0..2).flat_map(|n| media(&fragment_runs(TAKE_START + 3 * 180_000, n))));
    assert_eq!(bytes, expected, "bit-identical media");
}

#[test]
fn how_the_bytes_are_cut_makes_no_difference() {
    let init = audio_video();
    let parts = [
        segment(&init, TAKE_START, 2, Follows::NewTake),
        segment(&init, TAKE_START + 2 * 180_000, 1, Follows::SameTake),
    ];
    let whole = join(&parts, Gaps::Collapse, 1 << 20);
    for piece in [1, 2, 7, 8, 15, 16, 17, 100, 4096] {
        assert_eq!(
            join(&parts, Gaps::Collapse, piece),
            whole,
            "{piece} bytes at a time"
        );
    }
}

#[test]
fn missing_time_collapses_or_stays() {
    let init = audio_video();
    let parts = [
        segment(&init, TAKE_START, 2, Follows::NewTake),
        segment(&init, TAKE_START + 10 * 90_000, 2, Follows::SameTake),
    ];
    let (moofs, _) = read(&join(&parts, Gaps::Collapse, 1000));
    assert_eq!(starts(&moofs, 0), [0.0, 2.0, 4.0, 6.0]);
    assert_eq!(starts(&moofs, 1), [0.0, 2.0, 4.0, 6.0]);
    let (moofs, _) = read(&join(&parts, Gaps::Keep, 1000));
    assert_eq!(starts(&moofs, 0), [0.0, 2.0, 10.0, 12.0]);
    assert_eq!(starts(&moofs, 1), [0.0, 2.0, 10.0, 12.0]);
}

#[test]
fn another_take_is_placed_by_the_wall_clock_or_follows_at_once() {
    let init = audio_video();
    // the wall clock of the test's segments is 2025 plus their media time: 100 s and 50 s later
    let parts = [
        segment(&init, 100 * 90_000, 2, Follows::NewTake),
        segment(&init, 150 * 90_000, 2, Follows::NewTake),
        segment(&init, 0, 1, Follows::NewTake),
    ];
    let (moofs, _) = read(&join(&parts, Gaps::Keep, 1000));
    assert_eq!(
        starts(&moofs, 0),
        [0.0, 2.0, 50.0, 52.0, 54.0],
        "never before its own past"
    );
    let (moofs, _) = read(&join(&parts, Gaps::Collapse, 1000));
    assert_eq!(starts(&moofs, 0), [0.0, 2.0, 4.0, 6.0, 8.0]);
}

#[test]
fn a_hole_in_a_take_that_was_pushed_back_keeps_its_length() {
    let init = audio_video();
    // the second take's clock says that it began before the first one ended
    let parts = [
        segment(&init, 100 * 90_000, 1, Follows::NewTake),
        segment(&init, 50 * 90_000, 1, Follows::NewTake),
        segment(&init, 62 * 90_000, 1, Follows::SameTake),
    ];
    let (moofs, _) = read(&join(&parts, Gaps::Keep, 1000));
    assert_eq!(starts(&moofs, 0), [0.0, 2.0, 14.0]);
    assert_eq!(starts(&moofs, 1), [0.0, 2.0, 14.0]);
}

#[test]
fn sound_that_jitters_back_inside_a_take_is_not_placed_twice() {
    let init = audio_video();
    let (_, bytes) = init.head(0, 4096);
    let mut file = bytes.to_vec();
    for index in 0..2 {
        let mut runs = fragment_runs(0, index);
        runs[1].decode_time -= index * 80; // 10 ms into the fragment before
        file.extend_from_slice(&init.fragment(index as u32 + 1, 0, &runs).unwrap().bytes);
    }
    let (moofs, _) = read(&join(
        &[Segment {
            file,
            follows: Follows::NewTake,
        }],
        Gaps::Collapse,
        1000,
    ));
    assert_eq!(
        (starts(&moofs, 0), starts(&moofs, 1)),
        (vec![0.0, 2.0], vec![0.0, 2.0])
    );
}

#[test]
fn sound_that_overlaps_the_next_take_pushes_it_back_and_stays_in_step() {
    let init = audio_video();
    let mut parts = Vec::new();
    for _ in 0..2 {
        let (head, bytes) = init.head(0, 4096);
        let mut file = bytes.to_vec();
        let mut runs = fragment_runs(0, 0);
        runs[1]
            .samples
            .push(common::sample(b"more sound", 800, true));
        file.extend_from_slice(&init.fragment(1, 0, &runs).unwrap().bytes);
        assert_eq!(head.len(), Head::parse(&file).unwrap().len());
        parts.push(Segment {
            file,
            follows: Follows::NewTake,
        });
    }
    let (moofs, _) = read(&join(&parts, Gaps::Collapse, 1000));
    assert_eq!(starts(&moofs, 0), [0.0, 2.1]);
    assert_eq!(starts(&moofs, 1), [0.0, 2.1]);
}

#[test]
fn another_init_is_refused_and_nothing_is_lost() {
    let init = audio_video();
    let other = Init::new(vec![(90_000, common::avc())]).unwrap();
    let mut joiner = Joiner::new(Gaps::Collapse);
    let mut out = Vec::new();
    let first = segment(&init, 0, 1, Follows::NewTake);
    joiner.begin_segment(&first.file, Follows::NewTake).unwrap();
    joiner.push(&first.file, &mut out).unwrap();
    let before = out.clone();
    let refused = joiner.begin_segment(&other.head(0, 4096).1, Follows::NewTake);
    assert_eq!(
        refused,
        Err(JoinError::InitChanged {
            from: init.hash(),
            to: other.hash()
        })
    );
    let next = segment(&init, 180_000, 1, Follows::SameTake);
    assert_eq!(
        joiner.begin_segment(&next.file, Follows::SameTake),
        Ok(None)
    );
    joiner.push(&next.file, &mut out).unwrap();
    assert!(out.starts_with(&before));
    assert_eq!(
        starts(&read(&out).0, 0),
        [0.0, 2.0],
        "whole objects may be pushed, heads are skipped"
    );
}

#[test]
fn misuse_is_an_error() {
    let mut joiner = Joiner::new(Gaps::Collapse);
    assert_eq!(joiner.push(b"x", &mut Vec::new()), Err(JoinError::NotBegun));
    let first = segment(&audio_video(), 0, 1, Follows::NewTake);
    joiner.begin_segment(&first.file, Follows::NewTake).unwrap();
    joiner
        .push(&first.file[..first.file.len() - 1], &mut Vec::new())
        .unwrap();
    assert_eq!(joiner.end_segment(), Err(JoinError::Incomplete));
    assert_eq!(
        joiner.begin_segment(&first.file, Follows::SameTake),
        Err(JoinError::Incomplete)
    );
}

#[test]
fn boxes_of_64_bit_size_are_skipped_however_they_are_cut() {
    let init = audio_video();
    let plain = segment(&init, TAKE_START, 1, Follows::NewTake);
    let mut padded = Segment {
        file: plain.file.clone(),
        follows: Follows::NewTake,
    };
    let at = Head::parse(&plain.file).unwrap().len();
    padded.file.splice(
        at..at,
        b"\0\0\0\x01free\0\0\0\0\0\0\0\x13abc".iter().copied(),
    );
    let expected = join(&[plain], Gaps::Collapse, 4096);
    for piece in [1, 9, 4096] {
        let part = Segment {
            file: padded.file.clone(),
            follows: Follows::NewTake,
        };
        assert_eq!(join(&[part], Gaps::Collapse, piece), expected);
    }
}
