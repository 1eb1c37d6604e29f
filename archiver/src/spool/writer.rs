//! One open segment: append, sync, seal.
//!
//! Calls take the segment by value and give it back, so that its file lives in the blocking job. Whoever loses it (a task that was
//! aborted, a future that was dropped) loses nothing: dropping it seals what is synced.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use moorline_base::files::sync_directory;
use moorline_core::Timestamp;
use moorline_core::segment::{GapKey, InitHash, ObjectKey, SegmentKey};
use moorline_fmp4::{Anchor, Fragment, FragmentEntry, Head, Hole, Init, Patch, Seal};

use super::layout::{PartName, sealed_path};
use super::stock::{Lane, Open};
use super::{Spool, layout};
use crate::disk::{Disk, is_full};

/// How a segment begins.
#[derive(Debug)]
pub(crate) struct NewSegment {
    pub(crate) name: PartName,
    pub(crate) init: Init,
    /// Media time of its first picture, in the reference timescale.
    pub(crate) start: u64,
    /// Room for index and holes.
    pub(crate) reserved: usize,
}

/// The file of an open segment and what is known of it.
#[derive(Debug)]
pub(super) struct Body {
    file: File,
    path: PathBuf,
    name: PartName,
    lane: Lane,
    number: u64,
    head: Head,
    fragments: Vec<FragmentEntry>,
    len: u64,
    holes: Vec<Hole>,
    anchor: Option<Anchor>,
}

/// An open segment. Dropping it seals what is synced.
#[derive(Debug)]
pub(crate) struct OpenFile {
    spool: Arc<Spool>,
    body: Option<Body>,
}

impl OpenFile {
    /// Makes the file with its head and first fragment, synced with its folders. Nothing is left behind if it fails.
    ///
    /// # Errors
    /// The system's; `StorageFull` also at the spool's own bounds.
    pub(crate) async fn create(
        spool: &Arc<Spool>,
        new: NewSegment,
        first: Fragment,
    ) -> io::Result<Self> {
        let spool = Arc::clone(spool);
        let disk = spool.disk.clone();
        disk.run(move || {
            let (head, start) = new.init.head(new.start, new.reserved);
            spool.make_room((start.len() + first.bytes.len()) as u64)?;
            let path = new.name.path(spool.path());
            let created = create(spool.path(), &new.name, &start, &first.bytes);
            let file = created.inspect_err(|error| {
                // nothing of it was promised to anyone yet; a file that was there before is another's
                if error.kind() != io::ErrorKind::AlreadyExists {
                    let _ = std::fs::remove_file(&path);
                }
            })?;
            let place = &new.name.place;
            let lane = Lane {
                camera: place.camera.clone(),
                tier: place.tier,
            };
            let mut body = Body {
                file,
                path,
                lane,
                number: spool.stock(|stock| stock.number()),
                len: (start.len() + first.bytes.len()) as u64,
                fragments: Vec::new(),
                name: new.name,
                head,
                holes: Vec::new(),
                anchor: None,
            };
            body.fragments.push(FragmentEntry {
                offset: start.len() as u64,
                ..first.entry
            });
            body.enter(&spool);
            Ok(Self {
                spool,
                body: Some(body),
            })
        })
        .await?
    }

    /// Appends a fragment and syncs it: the promise point. `Err` leaves the file as it was before.
    pub(crate) async fn append(mut self, fragment: Fragment) -> (Option<Self>, io::Result<()>) {
        let disk = self.spool.disk.clone();
        let done = disk
            .run(move || {
                let spool = Arc::clone(&self.spool);
                let result = match &mut self.body {
                    Some(body) => spool
                        .make_room(fragment.bytes.len() as u64)
                        .and_then(|()| body.append(&spool, &fragment)),
                    None => Err(io::Error::from(io::ErrorKind::NotFound)),
                };
                (self, result)
            })
            .await;
        match done {
            Ok((segment, result)) => (Some(segment), result),
            Err(error) => (None, Err(error)),
        }
    }

    /// Media time of the first fragment, in the reference timescale.
    pub(crate) fn first(&self) -> Option<FragmentEntry> {
        self.body.as_ref()?.fragments.first().copied()
    }

    /// Bytes that are synced.
    pub(crate) fn len(&self) -> u64 {
        self.body.as_ref().map_or(0, |body| body.len)
    }

    /// What it covers, dated by `anchor` if there is one, else by its first fragment.
    pub(crate) fn range(&self, anchor: Option<Anchor>) -> Option<moorline_core::TimeRange> {
        let body = self.body.as_ref()?;
        let (start, duration) = body.extent(anchor)?;
        Some(moorline_core::TimeRange::new(start, start + duration))
    }

    /// Writes the gaps that lie before it, then seals it. What cannot be sealed now is tried again by [`Spool::mend`].
    pub(crate) async fn seal(
        mut self,
        holes: Vec<Hole>,
        anchor: Option<Anchor>,
        before: Vec<GapKey>,
    ) -> io::Result<()> {
        let disk = self.spool.disk.clone();
        disk.run(move || {
            for gap in before {
                self.spool.write_gap(gap);
            }
            if let Some(mut body) = self.body.take() {
                body.holes = holes;
                body.anchor = anchor;
                body.seal_or_keep(&self.spool);
            }
        })
        .await
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if let Some(mut body) = self.body.take() {
            body.anchor = estimate(body.name.sequence, &body.fragments);
            let spool = Arc::clone(&self.spool);
            Disk::submit(move || body.seal_or_keep(&spool));
        }
    }
}

impl Body {
    fn append(&mut self, spool: &Arc<Spool>, fragment: &Fragment) -> io::Result<()> {
        let written = self.try_append(&fragment.bytes);
        // a disk that is really full, whatever was measured: the oldest may go
        let written = match written {
            Err(error) if is_full(&error) && spool.evict() => self.try_append(&fragment.bytes),
            other => other,
        };
        written?;
        self.fragments.push(FragmentEntry {
            offset: self.len,
            ..fragment.entry
        });
        self.len += fragment.bytes.len() as u64;
        self.enter(spool);
        spool.metrics.synced(fragment.bytes.len() as u64);
        Ok(())
    }

    fn try_append(&self, bytes: &Bytes) -> io::Result<()> {
        let written = write_synced(&self.file, bytes, self.len);
        if written.is_err() {
            // back to what is promised; if even this fails, recovery and the seal go by the length that is known
            let _ = self.file.set_len(self.len);
        }
        written
    }

    /// Tells the account what is readable.
    fn enter(&self, spool: &Spool) {
        if let Some(key) = self.key(self.anchor) {
            let open = Open {
                key,
                path: self.path.clone(),
                bytes: self.len,
            };
            spool.stock(|stock| stock.opened(&self.lane, self.number, open));
        }
    }

    fn extent(&self, anchor: Option<Anchor>) -> Option<(Timestamp, Duration)> {
        let (first, last) = (self.fragments.first()?, self.fragments.last()?);
        let timescale = u64::from(self.head.init().reference().timescale).max(1);
        let ticks = last.end().saturating_sub(first.media_time);
        let micros = anchor.map_or(first.wall.unix_micros(), |anchor| {
            anchor.at(first.media_time, timescale as u32)
        });
        // a key has room for eight digits
        let millis = (ticks.saturating_mul(1_000) / timescale).min(99_999_999);
        Some((
            Timestamp::from_millis(micros.div_euclid(1_000)),
            Duration::from_millis(millis),
        ))
    }

    fn key(&self, anchor: Option<Anchor>) -> Option<SegmentKey> {
        let (start, duration) = self.extent(anchor)?;
        Some(SegmentKey {
            place: self.name.place.clone(),
            start,
            duration,
            generation: self.name.generation,
            take: self.name.take,
            sequence: self.name.sequence,
            init: InitHash(self.head.init().hash().0),
        })
    }

    pub(super) fn lane(&self) -> &Lane {
        &self.lane
    }

    /// Removes it, because its owner had it erased. Returns its bytes. A file that cannot be removed is kept for another try.
    pub(super) fn discard(self, spool: &Spool) -> io::Result<u64> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                spool.with(|state| state.unsealed.push(self));
                return Err(error);
            }
            _ => spool.stock(|stock| stock.closed(&self.lane, self.number)),
        }
        Ok(self.len)
    }

    /// Seals; if that fails now, keeps the file where it is for another try.
    pub(super) fn seal_or_keep(self, spool: &Arc<Spool>) {
        match self.seal(spool) {
            Ok(Some((key, path))) => {
                let (lane, number, bytes) = (&self.lane, self.number, self.len);
                spool.stock(|stock| {
                    stock.closed(lane, number);
                    stock.add(ObjectKey::Segment(key), path, bytes);
                });
                spool.metrics.sealed();
                spool.tell();
            }
            Ok(None) => {
                spool.stock(|stock| stock.closed(&self.lane, self.number));
                spool.tell();
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.is_gone() => {
                tracing::error!(
                    camera = %self.lane.camera,
                    reason = "missing",
                    "an open segment was removed from the spool by another hand"
                );
                if let Some(key) = self.key(self.anchor) {
                    spool.write_lost(&key);
                }
                spool.stock(|stock| stock.closed(&self.lane, self.number));
                spool.tell();
            }
            Err(error) => {
                tracing::warn!(camera = %self.lane.camera, %error, "a segment cannot be sealed yet");
                spool.with(|state| state.unsealed.push(self));
                spool.tell();
            }
        }
    }

    /// Whether its file is not there, although its folder can be looked into.
    fn is_gone(&self) -> bool {
        matches!(self.path.try_exists(), Ok(false))
    }

    fn seal(&self, spool: &Spool) -> io::Result<Option<(SegmentKey, PathBuf)>> {
        let Some(key) = self.key(self.anchor) else {
            return Ok(None);
        };
        self.file.set_len(self.len)?;
        let sealed = seal_file(
            &self.file,
            &self.head,
            &Seal {
                fragments: &self.fragments,
                anchor: self.anchor,
                holes: &self.holes,
                previous: None,
            },
        );
        sealed?;
        let path = publish(spool.path(), &self.path, &ObjectKey::Segment(key.clone()))?;
        Ok(Some((key, path)))
    }
}

/// Writes a fragment, and all before it that is not on the disk yet: what is told from now on survives a loss of power (P3).
fn write_synced(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    file.write_all_at(bytes, at)?;
    file.sync_data()
}

/// What dates a segment that its recorder did not come to seal. In the first of a take each fragment is dated by what was known when it was
/// written, and its last one knows most: what a relay's ring still held comes late, before the pictures of the present. Any other segment is
/// dated by its first fragment: `None`.
pub(super) fn estimate(sequence: u32, fragments: &[FragmentEntry]) -> Option<Anchor> {
    let last = fragments.last().filter(|_| sequence == 0)?;
    Some(Anchor {
        unix_micros: last.wall.unix_micros(),
        media_time: last.media_time,
    })
}

/// Patches the head and syncs: the bytes do not change any more.
pub(super) fn seal_file(file: &File, head: &Head, seal: &Seal<'_>) -> io::Result<()> {
    patch_synced(file, &head.seal(seal))
}

fn patch_synced(file: &File, patches: &[Patch]) -> io::Result<()> {
    for patch in patches {
        file.write_all_at(&patch.bytes, patch.offset)?;
    }
    file.sync_all()
}

/// Gives a sealed file its final name, durably, and removes its take's folder once that is empty.
pub(super) fn publish(spool: &Path, part: &Path, key: &ObjectKey) -> io::Result<PathBuf> {
    let path = sealed_path(spool, key);
    match std::fs::rename(part, &path) {
        // An earlier try came as far as this.
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.exists() => {}
        renamed => renamed?,
    }
    sync_directory(&spool.join(layout::SEALED))?;
    if let Some(folder) = part.parent() {
        match sync_directory(folder) {
            // Whoever sealed another segment of the take has removed it, empty.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            synced => synced?,
        }
        // fails unless it is empty, and then the next seal or start does it
        let _ = std::fs::remove_dir(folder);
    }
    Ok(path)
}

fn create(spool: &Path, name: &PartName, head: &[u8], first: &[u8]) -> io::Result<File> {
    let folder = name.folder(spool);
    let mut builder = std::fs::DirBuilder::new();
    let fresh = !folder.exists();
    builder.recursive(true).mode(0o700).create(&folder)?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o600);
    let file = options.open(name.path(spool))?;
    file.write_all_at(head, 0)?;
    write_synced(&file, first, head.len() as u64)?;
    sync_directory(&folder)?;
    if fresh {
        for parent in folder.ancestors().skip(1) {
            sync_directory(parent)?;
            if parent == spool {
                break;
            }
        }
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// P3. `/dev/null` takes whatever is written, and says that it cannot be synced: only who asks for that hears it.
    #[test]
    fn a_fragment_that_the_disk_does_not_sync_is_not_written() {
        let null = OpenOptions::new().write(true).open("/dev/null").unwrap();
        null.write_all_at(b"a fragment", 0).unwrap();
        let refused = write_synced(&null, b"a fragment", 0).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        let file = tempfile::tempfile().unwrap();
        write_synced(&file, b"a fragment", 0).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 10);
    }

    /// P3. As above: what is sealed gets its final name once it is synced, and only then.
    #[test]
    fn a_segment_whose_seal_the_disk_does_not_sync_is_not_sealed() {
        let seal = [Patch {
            offset: 4,
            bytes: Bytes::from_static(b"a seal"),
        }];
        let null = OpenOptions::new().write(true).open("/dev/null").unwrap();
        let refused = patch_synced(&null, &seal).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        let file = tempfile::tempfile().unwrap();
        patch_synced(&file, &seal).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 10);
    }

    #[test]
    fn a_seal_that_failed_behind_its_rename_can_be_done_again() {
        let spool = tempfile::tempdir().unwrap();
        std::fs::create_dir(spool.path().join(layout::SEALED)).unwrap();
        let key = "v1/r014/home/yard/2026/11/20/211005.250Z_00060000_g0000000007_7f3a9c21_000042_b41d0e_full.mp4";
        let key: ObjectKey = key.parse().unwrap();
        let folder = spool.path().join("home/yard/take");
        std::fs::create_dir_all(&folder).unwrap();
        let part = folder.join("000042.part");
        std::fs::write(&part, "a segment").unwrap();
        let sealed = publish(spool.path(), &part, &key).unwrap();
        assert!(
            !folder.exists(),
            "the last segment of a take takes its folder along"
        );
        assert_eq!(publish(spool.path(), &part, &key).unwrap(), sealed);
        assert_eq!(std::fs::read(&sealed).unwrap(), b"a segment");
        std::fs::remove_file(&sealed).unwrap();
        assert!(
            publish(spool.path(), &part, &key).is_err(),
            "neither name is there"
        );
    }
}
