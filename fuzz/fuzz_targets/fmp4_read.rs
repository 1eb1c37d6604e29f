//! Fragmented MP4: whatever is read stays within the bytes that are there, and the reader allocates no more than they justify.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use moorline_fmp4::boxes::{BoxHeader, walk};
use moorline_fmp4::{
    Follows, Gaps, Head, Init, Joiner, ParsedFragment, SampleEntry, SegmentInfo, flac,
};

static INIT: LazyLock<Init> = LazyLock::new(|| {
    let sound = SampleEntry::flac(&flac::Encoder::new(8_000, 1_024).stream_info()).expect("FLAC");
    Init::new(vec![(8_000, sound)]).expect("an init")
});

fuzz_target!(|bytes: &[u8]| {
    let mut end = 0;
    for found in walk(bytes).flatten() {
        assert_eq!(found.offset, end);
        end = found.end();
        assert!(end <= bytes.len());
    }
    let _ = (
        BoxHeader::parse(bytes),
        SampleEntry::from_box(bytes),
        Head::parse(bytes),
    );
    if let Ok(info) = SegmentInfo::parse(bytes) {
        assert!(
            info.index
                .is_none_or(|index| index.len() * 12 <= bytes.len())
        );
        assert!(info.holes.len() * 25 <= bytes.len());
    }
    // The file's own init, or another's.
    let own = Init::parse(bytes);
    for init in own.iter().chain([&*INIT]) {
        let body = Head::parse(bytes)
            .map_or(0, |head| head.len())
            .min(bytes.len());
        for part in [bytes, &bytes[body..]] {
            let Ok(fragment) = ParsedFragment::parse(init, part) else {
                continue;
            };
            for sample in fragment.runs.iter().flat_map(|run| &run.samples) {
                assert_eq!(fragment.sample(sample).len(), sample.size);
            }
        }
    }
    let mut joiner = Joiner::new(Gaps::Keep);
    if joiner
        .begin_segment(&INIT.head(0, 0).1, Follows::NewTake)
        .is_ok()
    {
        let mut out = Vec::new();
        let _ = joiner.push(bytes, &mut out);
        assert!(out.len() <= bytes.len());
    }
});
