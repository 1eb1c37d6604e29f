//! What a crash left: a pure function from bytes to the fragments that are whole (P3).
//!
//! ```text
//! head ──whole──▶ prft free moof mdat ──whole, checksum right──▶ prft … ──▶ end of input
//!   │                    │
//!   └── NoHead, 0        └── Stop: cut behind the last whole fragment
//! ```
//! Nothing is searched for: the first box that is incomplete, of size zero, out of place or damaged ends the file, because
//! fragments are appended in order and each is synced before the next. It is run once, at process start, by whoever holds
//! the spool's lock; the caller truncates to [`Recovery::whole_len`], seals and enqueues.

use std::io::{self, Read, Seek, SeekFrom};
use std::time::Duration;

use crate::boxes::BoxHeader;
use crate::error::ReadError;
use crate::fragment::{CRC_LEN, FragmentEntry, MAX_FRAGMENT_LEN, PRFT_LEN};
use crate::head::{Head, MAX_HEAD_LEN};
use crate::init::InitHash;
use crate::parse::{MAX_MOOF_LEN, Moof, read_crc, read_prft};
use crate::wall::{NtpTime, rescale};

/// Fragments of one segment, at most: what a `sidx` can list.
pub const MAX_FRAGMENTS: usize = 65_535;

/// Random access to bytes, so that a segment need not be held in memory.
pub trait Source {
    /// The number of bytes.
    ///
    /// # Errors
    /// Those of the file.
    fn size(&mut self) -> io::Result<u64>;

    /// Reads some bytes at `offset`; 0 means the end. May read fewer than asked.
    ///
    /// # Errors
    /// Those of the file.
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

impl Source for &[u8] {
    fn size(&mut self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.get(offset..))
            .unwrap_or_default();
        let mut rest = rest;
        rest.read(buffer)
    }
}

/// Makes a [`Source`] of whatever seeks, a file for example.
#[derive(Debug)]
pub struct Seekable<T>(pub T);

impl<T: Read + Seek> Source for Seekable<T> {
    fn size(&mut self) -> io::Result<u64> {
        self.0.seek(SeekFrom::End(0))
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.seek(SeekFrom::Start(offset))?;
        self.0.read(buffer)
    }
}

/// Why the walk ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// At the end of the input: nothing is to be cut.
    End,
    /// The head is cut off or none of ours: nothing is whole.
    NoHead(ReadError),
    /// A fragment is cut off.
    Incomplete,
    /// A box is of size zero, malformed or out of place: a tail of zeros or of other bytes.
    Implausible(ReadError),
    /// A fragment has its length but not its content.
    Damaged,
    /// [`MAX_FRAGMENTS`] were found.
    Full,
}

/// The outcome of [`recover`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// Bytes to keep: the end of the last whole fragment, or of the head, or 0.
    pub whole_len: u64,
    /// The head, from which to seal; `None` if not even that is whole.
    pub head: Option<Head>,
    /// The whole fragments, in order.
    pub fragments: Vec<FragmentEntry>,
    /// What ended the walk.
    pub stop: Stop,
}

impl Recovery {
    /// The wall clock at the first picture.
    pub fn start_wall(&self) -> Option<NtpTime> {
        self.fragments.first().map(|first| first.wall)
    }

    /// From the start of the first to the end of the last whole fragment.
    pub fn duration(&self) -> Duration {
        let (Some(head), Some(first), Some(last)) =
            (&self.head, self.fragments.first(), self.fragments.last())
        else {
            return Duration::ZERO;
        };
        let ticks = last.end().saturating_sub(first.media_time);
        Duration::from_micros(rescale(ticks, head.init().reference().timescale, 1_000_000))
    }

    /// Which init the fragments need.
    pub fn init_hash(&self) -> Option<InitHash> {
        self.head.as_ref().map(|head| head.init().hash())
    }

    fn nothing(error: ReadError) -> Self {
        Self {
            whole_len: 0,
            head: None,
            fragments: Vec::new(),
            stop: Stop::NoHead(error),
        }
    }
}

/// Recovers from a segment in memory.
pub fn recover(mut bytes: &[u8]) -> Recovery {
    recover_from(&mut bytes)
        .unwrap_or_else(|_| Recovery::nothing(ReadError::Truncated { what: "head" }))
}

/// Recovers without holding more than a head, one `moof` and 64 KiB in memory.
///
/// # Errors
/// Only those of the source: whatever the bytes are is a [`Recovery`].
pub fn recover_from(source: &mut impl Source) -> io::Result<Recovery> {
    let size = source.size()?;
    let head = match read_head(source, size)? {
        Ok(head) => head,
        Err(error) => return Ok(Recovery::nothing(error)),
    };
    let mut scanner = Scanner {
        source,
        size,
        buffer: vec![0; 64 * 1024],
    };
    let mut at = head.len() as u64;
    let mut fragments: Vec<FragmentEntry> = Vec::new();
    let mut last_sequence = None;
    let stop = loop {
        if at == size {
            break Stop::End;
        }
        if fragments.len() == MAX_FRAGMENTS {
            break Stop::Full;
        }
        match scanner.fragment(&head, at)? {
            Ok((_, sequence)) if last_sequence.is_some_and(|last| sequence <= last) => {
                break Stop::Implausible(ReadError::Malformed {
                    what: "mfhd",
                    why: "the sequence number does not grow",
                });
            }
            Ok((entry, sequence)) => {
                last_sequence = Some(sequence);
                at += u64::from(entry.len);
                fragments.push(entry);
            }
            Err(stop) => break stop,
        }
    };
    Ok(Recovery {
        whole_len: at,
        head: Some(head),
        fragments,
        stop,
    })
}

/// Reads the head of a segment; a second time, larger, only if 64 KiB do not do.
fn read_head(source: &mut impl Source, size: u64) -> io::Result<Result<Head, ReadError>> {
    let mut result = Err(ReadError::Truncated { what: "head" });
    for limit in [64 * 1024, MAX_HEAD_LEN] {
        let mut bytes = vec![0; size.min(limit as u64) as usize];
        if !read_exact_at(source, 0, &mut bytes)? {
            return Ok(Err(ReadError::Truncated { what: "head" }));
        }
        result = Head::parse(&bytes);
        if !matches!(result, Err(ReadError::Truncated { .. })) || size <= limit as u64 {
            break;
        }
    }
    Ok(result)
}

/// `false` if the source ends first.
fn read_exact_at(
    source: &mut impl Source,
    mut offset: u64,
    mut buffer: &mut [u8],
) -> io::Result<bool> {
    while !buffer.is_empty() {
        match source.read_at(offset, buffer) {
            Ok(0) => return Ok(false),
            Ok(n) => {
                offset += n as u64;
                buffer = buffer.get_mut(n..).unwrap_or_default();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

struct Scanner<'a, S> {
    source: &'a mut S,
    size: u64,
    buffer: Vec<u8>,
}

impl<S: Source> Scanner<'_, S> {
    fn fragment(&mut self, head: &Head, at: u64) -> io::Result<Result<(FragmentEntry, u32), Stop>> {
        // prft and checksum have fixed lengths, then the moof's header
        let mut front = [0u8; PRFT_LEN + CRC_LEN + 16];
        let available = self.size.saturating_sub(at).min(front.len() as u64) as usize;
        if !read_exact_at(
            self.source,
            at,
            front.get_mut(..available).unwrap_or_default(),
        )? {
            return Ok(Err(Stop::Incomplete));
        }
        let fixed = match fixed(front.get(..available).unwrap_or_default()) {
            Ok(fixed) => fixed,
            Err(stop) => return Ok(Err(stop)),
        };
        let moof_at = at + (PRFT_LEN + CRC_LEN) as u64;
        if fixed.moof_len > self.size.saturating_sub(moof_at) {
            return Ok(Err(Stop::Incomplete));
        }
        let mut moof = vec![0; fixed.moof_len as usize]; // at most MAX_MOOF_LEN, and it lies in the file
        if !read_exact_at(self.source, moof_at, &mut moof)? {
            return Ok(Err(Stop::Incomplete));
        }
        let mdat_at = moof_at + fixed.moof_len;
        let mdat = match self.mdat(mdat_at)? {
            Ok(mdat) => mdat,
            Err(stop) => return Ok(Err(stop)),
        };
        let mut crc = crc32fast::Hasher::new();
        crc.update(&moof);
        let (mut from, end) = (mdat_at, mdat_at + mdat.size);
        while from < end {
            let n = (end - from).min(self.buffer.len() as u64) as usize;
            let chunk = self.buffer.get_mut(..n).unwrap_or_default();
            if !read_exact_at(self.source, from, chunk)? {
                return Ok(Err(Stop::Incomplete));
            }
            crc.update(chunk);
            from += n as u64;
        }
        if crc.finalize() != fixed.crc {
            return Ok(Err(Stop::Damaged));
        }
        let data = moof.len() + mdat.header_len..moof.len() + mdat.size as usize;
        let parsed = Moof::parse(&moof).and_then(|parsed| {
            if !parsed.lies_within(&data) {
                return Err(ReadError::Malformed {
                    what: "moof",
                    why: "a sample lies outside the mdat",
                });
            }
            let entry = parsed.entry(head.init(), at, (end - at) as u32, fixed.wall)?;
            Ok((entry, parsed.sequence))
        });
        Ok(parsed.map_err(Stop::Implausible))
    }

    fn mdat(&mut self, at: u64) -> io::Result<Result<BoxHeader, Stop>> {
        let mut bytes = [0u8; 16];
        let available = self.size.saturating_sub(at).min(16) as usize;
        let bytes = bytes.get_mut(..available).unwrap_or_default();
        if !read_exact_at(self.source, at, bytes)? {
            return Ok(Err(Stop::Incomplete));
        }
        Ok(match BoxHeader::parse(bytes) {
            Err(error) => Err(stop(error)),
            Ok(header) if &header.kind != b"mdat" => {
                Err(Stop::Implausible(ReadError::Missing { what: "mdat" }))
            }
            Ok(header) if header.size > MAX_FRAGMENT_LEN as u64 => {
                Err(Stop::Implausible(ReadError::TooLarge {
                    what: "mdat",
                    limit: MAX_FRAGMENT_LEN as u64,
                }))
            }
            Ok(header) if header.size > self.size.saturating_sub(at) => Err(Stop::Incomplete),
            Ok(header) => Ok(header),
        })
    }
}

struct Fixed {
    wall: NtpTime,
    crc: u32,
    moof_len: u64,
}

/// What stands at fixed places at the start of a fragment.
fn fixed(front: &[u8]) -> Result<Fixed, Stop> {
    let missing = |what| Stop::Implausible(ReadError::Missing { what });
    let prft = BoxHeader::parse(front).map_err(stop)?;
    if &prft.kind != b"prft" || prft.size != PRFT_LEN as u64 {
        return Err(missing("prft"));
    }
    let body = front.get(8..PRFT_LEN).ok_or(Stop::Incomplete)?;
    let (_, wall, _) = read_prft(body).map_err(stop)?;
    let rest = front.get(PRFT_LEN..).unwrap_or_default();
    let free = BoxHeader::parse(rest).map_err(stop)?;
    if &free.kind != b"free" || free.size != CRC_LEN as u64 {
        return Err(missing("checksum"));
    }
    let crc = read_crc(rest.get(8..CRC_LEN).ok_or(Stop::Incomplete)?).ok_or(missing("checksum"))?;
    let moof = BoxHeader::parse(rest.get(CRC_LEN..).unwrap_or_default()).map_err(stop)?;
    if &moof.kind != b"moof" {
        return Err(missing("moof"));
    }
    if moof.size > MAX_MOOF_LEN {
        return Err(Stop::Implausible(ReadError::TooLarge {
            what: "moof",
            limit: MAX_MOOF_LEN,
        }));
    }
    Ok(Fixed {
        wall,
        crc,
        moof_len: moof.size,
    })
}

fn stop(error: ReadError) -> Stop {
    match error {
        ReadError::Truncated { .. } => Stop::Incomplete,
        error => Stop::Implausible(error),
    }
}
