//! P3: whatever a crash left, recovery gives exactly the fragments that are whole.

mod common;

use std::io::{self, Cursor};

use common::{audio_video, segment, segment_of};
use moorline_fmp4::{
    FragmentEntry, Head, Recovery, Run, Seal, Seekable, Source, Stop, recover, recover_from,
};
use proptest::prelude::*;

/// What recovery must say of `damaged`, which began as `file`.
fn expected<'a>(
    file: &[u8],
    entries: &'a [FragmentEntry],
    damaged: &[u8],
) -> (u64, &'a [FragmentEntry]) {
    let head = Head::parse(file).unwrap().len();
    if damaged.get(..head) != file.get(..head) {
        return (0, &[]);
    }
    let whole = entries.iter().take_while(|entry| {
        let end = (entry.offset + u64::from(entry.len)) as usize;
        damaged.get(..end) == file.get(..end)
    });
    let count = whole.count();
    let end = entries[..count]
        .last()
        .map_or(head as u64, |last| last.offset + u64::from(last.len));
    (end, &entries[..count])
}

#[track_caller]
fn check(file: &[u8], entries: &[FragmentEntry], damaged: &[u8], what: &str) {
    let recovery = recover(damaged);
    let (len, whole) = expected(file, entries, damaged);
    assert_eq!(recovery.whole_len, len, "{what}: {:?}", recovery.stop);
    assert_eq!(recovery.fragments, whole, "{what}");
    assert_eq!(
        recovery.stop == Stop::End,
        len == damaged.len() as u64 && len > 0,
        "{what}"
    );
}

#[test]
fn truncation_at_every_offset_keeps_exactly_the_whole_fragments() {
    let (_, file, entries) = segment(3, Some(256));
    for cut in 0..=file.len() {
        check(&file, &entries, &file[..cut], &format!("cut at {cut}"));
    }
}

#[test]
fn a_tail_of_zeros_from_every_offset_is_cut_off() {
    let (_, file, entries) = segment(3, Some(256));
    let head = Head::parse(&file).unwrap().len();
    for cut in head..=file.len() {
        let mut damaged = file.clone();
        damaged[cut..].fill(0); // the file system kept the length and lost the pages
        check(&file, &entries, &damaged, &format!("zeros from {cut}"));
        damaged.resize(file.len() + 5000, 0);
        check(
            &file,
            &entries,
            &damaged,
            &format!("zeros from {cut}, and longer"),
        );
    }
}

#[test]
fn a_tail_of_other_bytes_from_every_offset_is_cut_off() {
    let (_, file, entries) = segment(3, Some(256));
    let head = Head::parse(&file).unwrap().len();
    let mut noise = 0x2545_f491_4f6c_dd1du64;
    for cut in head..=file.len() {
        let mut damaged = file[..cut].to_vec();
        for _ in 0..300 {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            damaged.push(noise as u8);
        }
        check(&file, &entries, &damaged, &format!("noise from {cut}"));
        // an old fragment of another place, as a reused block would hold
        let mut damaged = file[..cut].to_vec();
        damaged
            .extend_from_slice(&file[entries[0].offset as usize + 5..entries[1].offset as usize]);
        check(
            &file,
            &entries,
            &damaged,
            &format!("stale bytes from {cut}"),
        );
    }
}

#[test]
fn a_page_lost_inside_a_fragment_ends_the_file_before_it() {
    let (_, file, entries) = segment(3, None);
    let mut damaged = file.clone();
    let second = entries[1];
    let middle = (second.offset + u64::from(second.len) - 60) as usize;
    damaged[middle..middle + 40].fill(0);
    let recovery = recover(&damaged);
    assert_eq!(
        (recovery.fragments.len(), recovery.whole_len),
        (1, second.offset)
    );
    assert_eq!(recovery.stop, Stop::Damaged);
}

#[test]
fn a_crash_in_the_middle_of_sealing_costs_nothing() {
    let (_, sealed, entries) = segment(3, None);
    let head = Head::parse(&sealed).unwrap();
    let reserved = head.len() - 4096;
    for torn in [0usize, 3, 512, 1024, 4096] {
        let mut file = sealed.clone();
        file[reserved + torn..head.len()].fill(0xa5);
        let recovery = recover(&file);
        assert_eq!(recovery.fragments, entries);
        let again = recovery.head.as_ref().unwrap().seal(&Seal {
            fragments: &recovery.fragments,
            ..Seal::default()
        });
        common::apply(&mut file, &again);
        assert_eq!(
            file, sealed,
            "sealing what recovery found gives the same file"
        );
    }
}

#[test]
fn recovery_tells_start_duration_and_init() {
    let (init, file, entries) = segment(4, None);
    let recovery = recover(&file[..file.len() - 1]);
    assert_eq!(recovery.fragments.len(), 3);
    assert_eq!(
        recovery.start_wall().unwrap().unix_millis(),
        1_763_673_005_000 + 100_000
    );
    assert_eq!(recovery.duration().as_millis(), 6000);
    assert_eq!(recovery.init_hash(), Some(init.hash()));
    assert_eq!(recovery.fragments[2], entries[2]);
}

#[test]
fn a_fragment_of_an_earlier_time_ends_the_file() {
    let init = audio_video();
    let (mut file, entries) = segment_of(&init, 9_000_000, 2, 4096);
    let first = file[entries[0].offset as usize..entries[1].offset as usize].to_vec();
    let end = file.len() as u64;
    file.extend_from_slice(&first);
    let recovery = recover(&file);
    assert_eq!(recovery.whole_len, end);
    assert!(matches!(recovery.stop, Stop::Implausible(_)));
}

/// Gives few bytes at a time, as a source may.
struct Slow<'a>(&'a [u8]);

impl Source for Slow<'_> {
    fn size(&mut self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let n = buffer.len().min(37);
        self.0.read_at(offset, &mut buffer[..n])
    }
}

#[test]
fn a_file_read_in_pieces_recovers_like_one_in_memory() {
    let (_, file, _) = segment(3, None);
    for cut in (0..file.len()).step_by(101) {
        let whole = recover(&file[..cut]);
        assert_eq!(recover_from(&mut Slow(&file[..cut])).unwrap(), whole);
        assert_eq!(
            recover_from(&mut Seekable(Cursor::new(&file[..cut]))).unwrap(),
            whole
        );
    }
}

#[test]
fn a_fragment_larger_than_any_buffer_is_read_in_pieces() {
    let init = audio_video();
    let (head, bytes) = init.head(0, 4096);
    let mut file = bytes.to_vec();
    let data: Vec<u8> = (0..300_000u32).map(|n| ((n * 7919) >> 5) as u8).collect();
    let run = Run {
        track_id: 1,
        decode_time: 0,
        samples: vec![common::sample(&data, 180_000, true)],
    };
    file.extend_from_slice(&init.fragment(1, 0, &[run]).unwrap().bytes);
    assert_eq!(
        recover_from(&mut Slow(&file)).unwrap().whole_len,
        file.len() as u64
    );
    let at = file.len() - 100_000;
    file[at] ^= 1;
    let recovery = recover_from(&mut Seekable(Cursor::new(&file))).unwrap();
    assert_eq!(
        (recovery.whole_len, recovery.stop),
        (head.len() as u64, Stop::Damaged)
    );
}

/// Claims to be endless and remembers the largest read asked of it.
struct Endless {
    front: Vec<u8>,
    largest: usize,
}

impl Source for Endless {
    fn size(&mut self) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.largest = self.largest.max(buffer.len());
        for (at, byte) in (offset..).zip(buffer.iter_mut()) {
            *byte = usize::try_from(at)
                .ok()
                .and_then(|at| self.front.get(at))
                .copied()
                .unwrap_or(0xff);
        }
        Ok(buffer.len())
    }
}

#[test]
fn announced_sizes_do_not_decide_what_is_allocated() {
    let (_, file, entries) = segment(1, Some(256));
    let fragment = entries[0].offset as usize;
    for (at, size) in [
        (fragment + 48, u32::MAX),
        (fragment + 48, 3_000_000),
        (0, u32::MAX),
        (24, u32::MAX),
    ] {
        let mut front = file.clone();
        front[at..at + 4].copy_from_slice(&size.to_be_bytes());
        let mut source = Endless { front, largest: 0 };
        let recovery: Recovery = recover_from(&mut source).unwrap();
        assert!(recovery.fragments.is_empty());
        assert!(
            source.largest <= moorline_fmp4::MAX_HEAD_LEN,
            "{} bytes at once",
            source.largest
        );
    }
}

proptest! {
    #[test]
    fn any_segment_cut_anywhere_with_any_tail(
        start in 0u64..1 << 40,
        fragments in 0u64..6,
        reserved in 0usize..2000,
        cut in any::<prop::sample::Index>(),
        tail in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let (file, entries) = segment_of(&audio_video(), start, fragments, reserved);
        let mut damaged = file[..cut.index(file.len() + 1)].to_vec();
        damaged.extend_from_slice(&tail);
        let recovery = recover(&damaged);
        // a cut head with a tail may be a head again, since the reserved area may hold anything
        let head = Head::parse(&file).unwrap().len();
        let (len, whole) = expected(&file, &entries, &damaged);
        if damaged.get(..head) == file.get(..head) {
            prop_assert_eq!(recovery.whole_len, len);
            prop_assert_eq!(&recovery.fragments[..], whole);
        } else {
            prop_assert!(recovery.fragments.is_empty());
        }
        // what recovery keeps is whole in itself
        let again = recover(&damaged[..recovery.whole_len as usize]);
        prop_assert_eq!(again.whole_len, recovery.whole_len);
        prop_assert_eq!(again.fragments, recovery.fragments);
    }
}
