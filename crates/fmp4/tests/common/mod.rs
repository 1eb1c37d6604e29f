//! Segments to test with.
#![allow(dead_code, reason = "each test binary uses a part")]

use bytes::Bytes;
use moorline_fmp4::{FragmentEntry, Head, Init, Patch, Run, Sample, SampleEntry, Seal, flac};

/// A take that has been running for 100 s.
pub(crate) const TAKE_START: u64 = 9_000_000;

pub(crate) fn avc() -> SampleEntry {
    let sps = [
        0x67, 0x64, 0x00, 0x1f, 0xac, 0xd9, 0x40, 0x50, 0x05, 0xbb, 0x01, 0x6a, 0x02, 0x02, 0x02,
        0x80, 0x00, 0x00, 0x03, 0x00, 0x80, 0x00, 0x00, 0x1e, 0x07, 0x8c, 0x18, 0xcb,
    ];
    SampleEntry::h264(&sps, &[0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0]).unwrap()
}

pub(crate) fn flac_entry() -> SampleEntry {
    SampleEntry::flac(&flac::Encoder::new(8000, 1024).stream_info()).unwrap()
}

/// H.264 at 90 kHz and FLAC at 8 kHz.
pub(crate) fn audio_video() -> Init {
    Init::new(vec![(90_000, avc()), (8_000, flac_entry())]).unwrap()
}

pub(crate) fn sample(data: &[u8], duration: u32, sync: bool) -> Sample {
    Sample {
        data: Bytes::copy_from_slice(data),
        duration,
        composition_offset: 0,
        sync,
    }
}

pub(crate) fn shifted(data: &[u8], duration: u32, composition_offset: i32) -> Sample {
    Sample {
        composition_offset,
        ..sample(data, duration, false)
    }
}

/// Two seconds that begin `index` × 2 s after `start`: 8 pictures and 16 sounds, whose bytes differ from one to the next.
pub(crate) fn fragment_runs(start: u64, index: u64) -> Vec<Run> {
    let picture = |n: u64| {
        let len = 40 + (index * 7 + n * 13) % 60;
        sample(
            &(0..len)
                .map(|byte| (byte * 31 + n + index * 3) as u8)
                .collect::<Vec<_>>(),
            22_500,
            n == 0,
        )
    };
    let sound = |n: u64| sample(&[0xff, n as u8, index as u8], 1000, true);
    let decode_time = start + index * 180_000;
    vec![
        Run {
            track_id: 1,
            decode_time,
            samples: (0..8).map(picture).collect(),
        },
        Run {
            track_id: 2,
            decode_time: decode_time * 8 / 90,
            samples: (0..16).map(sound).collect(),
        },
    ]
}

/// A sealed segment of so many fragments from [`TAKE_START`].
pub(crate) fn segment(
    fragments: u64,
    reserved: Option<usize>,
) -> (Init, Vec<u8>, Vec<FragmentEntry>) {
    let init = audio_video();
    let (file, entries) = segment_of(
        &init,
        TAKE_START,
        fragments,
        reserved.unwrap_or(moorline_fmp4::RESERVED),
    );
    (init, file, entries)
}

/// A sealed segment of so many fragments from `start`; the wall clock of a take starts in the year 2025.
pub(crate) fn segment_of(
    init: &Init,
    start: u64,
    fragments: u64,
    reserved: usize,
) -> (Vec<u8>, Vec<FragmentEntry>) {
    let (head, bytes) = init.head(start, reserved);
    let mut file = bytes.to_vec();
    let mut entries = Vec::new();
    for index in 0..fragments {
        let runs = fragment_runs(start, index);
        let wall = 1_763_673_005_000_000 + (runs[0].decode_time as i64) * 100 / 9;
        let fragment = init.fragment(index as u32 + 1, wall, &runs).unwrap();
        entries.push(FragmentEntry {
            offset: file.len() as u64,
            ..fragment.entry
        });
        file.extend_from_slice(&fragment.bytes);
    }
    apply(
        &mut file,
        &head.seal(&Seal {
            fragments: &entries,
            ..Seal::default()
        }),
    );
    (file, entries)
}

pub(crate) fn apply(file: &mut [u8], patches: &[Patch]) {
    for patch in patches {
        let at = patch.offset as usize;
        file[at..at + patch.bytes.len()].copy_from_slice(&patch.bytes);
    }
}

pub(crate) fn head_of(file: &[u8]) -> Head {
    Head::parse(file).unwrap()
}
