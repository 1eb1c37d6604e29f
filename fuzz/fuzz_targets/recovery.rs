//! Recovery of a torn file (P3): what it keeps is whole in itself, begins with the head, and never reaches beyond the file; read in
//! pieces it finds the same. An odd last byte mends the checksum of the first fragment, so that what lies behind it is reached too.
#![no_main]

use std::io;

use libfuzzer_sys::fuzz_target;
use moorline_fmp4::{Head, Seal, Source, recover, recover_from};

/// Where a fragment's checksum stands, and where what it covers begins.
const CHECKSUM: std::ops::Range<usize> = 44..48;

struct Slow<'a>(&'a [u8], usize);

impl Source for Slow<'_> {
    fn size(&mut self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(self.1);
        self.0.read_at(offset, &mut buffer[..length])
    }
}

fn mend(file: &mut [u8]) {
    let Ok(head) = Head::parse(file).map(|head| head.len()) else {
        return;
    };
    // The fragment: `prft`, `free` with the checksum, `moof`, `mdat`.
    let size = |at: usize| -> Option<usize> {
        let bytes = file.get(at..at + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?) as usize)
    };
    let moof = head + CHECKSUM.end;
    let Some(mdat) = size(moof).and_then(|length| moof.checked_add(length)) else {
        return;
    };
    let Some(end) = size(mdat).and_then(|length| mdat.checked_add(length)) else {
        return;
    };
    if end > file.len() || end < moof {
        return;
    }
    let sum = crc32fast::hash(&file[moof..end]);
    file[head + CHECKSUM.start..moof].copy_from_slice(&sum.to_be_bytes());
}

fuzz_target!(|bytes: &[u8]| {
    let Some((mode, rest)) = bytes.split_last() else {
        return;
    };
    let mut file = rest.to_vec();
    if mode & 1 == 1 {
        mend(&mut file);
    }
    let recovery = recover(&file);
    assert!(recovery.whole_len <= file.len() as u64);
    let pieces = recover_from(&mut Slow(&file, usize::from(*mode >> 1) + 1)).expect("memory");
    assert_eq!(pieces, recovery);
    let kept = &file[..recovery.whole_len as usize];
    let again = recover(kept);
    assert_eq!(
        (again.whole_len, &again.fragments),
        (recovery.whole_len, &recovery.fragments)
    );
    let mut end = recovery.head.as_ref().map_or(0, |head| head.len()) as u64;
    for fragment in &recovery.fragments {
        assert_eq!(fragment.offset, end);
        end += u64::from(fragment.len);
    }
    assert!(recovery.fragments.is_empty() || end == recovery.whole_len);
    let _ = (
        recovery.start_wall(),
        recovery.duration(),
        recovery.init_hash(),
    );
    if let Some(head) = &recovery.head {
        let mut sealed = kept.to_vec();
        for patch in head.seal(&Seal {
            fragments: &recovery.fragments,
            ..Seal::default()
        }) {
            let at = patch.offset as usize;
            assert!(at + patch.bytes.len() <= head.len());
            sealed[at..at + patch.bytes.len()].copy_from_slice(&patch.bytes);
        }
        assert_eq!(
            recover(&sealed).fragments,
            recovery.fragments,
            "sealing loses nothing"
        );
    }
});
