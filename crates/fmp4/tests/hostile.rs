//! S32: no bytes make the readers panic or believe them too much.

mod common;

use moorline_fmp4::boxes::{BoxHeader, walk};
use moorline_fmp4::{
    Follows, Gaps, Head, Init, Joiner, ParsedFragment, SampleEntry, SegmentInfo, recover,
};
use proptest::prelude::*;

/// Everything that reads foreign bytes.
fn read(init: &Init, bytes: &[u8]) {
    let mut end = 0;
    for found in walk(bytes).flatten() {
        assert_eq!(found.offset, end);
        end = found.end();
        assert!(end <= bytes.len());
    }
    let _ = BoxHeader::parse(bytes);
    let _ = SampleEntry::from_box(bytes);
    let _ = SampleEntry::h264(bytes, &[0x68, 1]);
    let _ = SampleEntry::h265(&[0x40, 1, 1], bytes, &[0x44, 1, 1]);
    let _ = SampleEntry::aac(bytes);
    let _ = Init::parse(bytes);
    let _ = Head::parse(bytes);
    if let Ok(info) = SegmentInfo::parse(bytes) {
        assert!(
            info.index
                .is_none_or(|index| index.len() * 12 <= bytes.len())
        );
        assert!(info.holes.len() * 25 <= bytes.len());
    }
    if let Ok(fragment) = ParsedFragment::parse(init, bytes) {
        fragment
            .runs
            .iter()
            .flat_map(|run| &run.samples)
            .for_each(|sample| {
                assert_eq!(fragment.sample(sample).len(), sample.size);
            });
    }
    let recovery = recover(bytes);
    assert!(recovery.whole_len <= bytes.len() as u64);
    let mut joiner = Joiner::new(Gaps::Keep);
    joiner
        .begin_segment(&init.head(0, 0).1, Follows::NewTake)
        .unwrap();
    let mut out = Vec::new();
    let _ = joiner.push(bytes, &mut out);
    assert!(out.len() <= bytes.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        read(&common::audio_video(), &bytes);
    }

    #[test]
    fn random_bytes_in_place_of_ours(
        from in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(any::<u8>(), 1..40),
    ) {
        let (init, mut file, entries) = common::segment(2, Some(300));
        let at = from.index(file.len());
        for (to, byte) in file[at..].iter_mut().zip(&bytes) {
            *to = *byte;
        }
        read(&init, &file);
        read(&init, &file[entries[0].offset as usize..]);
        read(&init, &file[entries[0].offset as usize + 48..]);
    }

    #[test]
    fn numbers_at_their_limits(from in any::<prop::sample::Index>(), value in prop::sample::select(vec![0u64, 1, 7, 8, 1 << 31, u64::MAX >> 1, u64::MAX - 1, u64::MAX]), wide in any::<bool>()) {
        let (init, mut file, entries) = common::segment(2, Some(300));
        let value = if wide { value.to_be_bytes().to_vec() } else { (value as u32).to_be_bytes().to_vec() };
        let at = from.index(file.len() - 8);
        file[at..at + value.len()].copy_from_slice(&value);
        // a checksum that is right, so that what lies behind it is reached too
        let fragment = entries[0].offset as usize;
        let end = fragment + entries[0].len as usize;
        let crc = crc32fast::hash(&file[fragment + 48..end]);
        file[fragment + 44..fragment + 48].copy_from_slice(&crc.to_be_bytes());
        read(&init, &file);
        read(&init, &file[fragment..]);
        read(&init, &file[fragment + 48..]);
    }
}

#[test]
fn a_sequence_parameter_set_cut_anywhere_is_refused_or_read() {
    let sps = [
        0x67u8, 0x64, 0x00, 0x1f, 0xac, 0xd9, 0x40, 0x50, 0x05, 0xbb, 0x01, 0x6a, 0x02, 0x02, 0x02,
        0x80,
    ];
    for cut in 0..sps.len() {
        let _ = SampleEntry::h264(&sps[..cut], &[0x68, 1]);
    }
}
