//! What a crash left: once, at process start, under the spool's lock.
//!
//! Every `.part` is cut behind its last whole fragment (`moorline_fmp4::recover_from`, pure), sealed and published like any other. A file
//! that ends before its first fragment does was never promised to anyone and goes. A file that cannot be read stays and is told; one that
//! can be read and in which nothing is whole, since the disk lost its head for example, is set aside for somebody to look at.

use std::fs::{DirEntry, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use moorline_core::Timestamp;
use moorline_core::segment::{InitHash, ObjectKey, SegmentKey};
use moorline_fmp4::{RESERVED, Recovery, Seal, Seekable, Stop, recover_from};

use super::layout::{PartName, SEALED, parse_sealed};
use super::writer::{estimate, publish, seal_file};

/// What the name of a file that was set aside ends with.
const DAMAGED: &str = "damaged";

/// An object that the scan found.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) key: ObjectKey,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    /// It was still written when the process died; the last write was then. What lies between was cut.
    pub(crate) torn: Option<Timestamp>,
}

/// Finds sealed objects and recovers open ones. An entry that cannot be read is told and left: whatever else is there goes on.
pub(super) fn scan(spool: &Path) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(spool.join(SEALED))? {
        let entry = entry?;
        match sealed(&entry) {
            Ok(object) => found.extend(object),
            Err(error) => left(&entry.path(), &error),
        }
    }
    for (tenant, path) in folders(spool)? {
        for (camera, path) in folders_within(&path) {
            for (take, path) in folders_within(&path) {
                if let Err(error) =
                    recover_take(spool, (&tenant, &camera, &take), &path, &mut found)
                {
                    left(&path, &error);
                }
            }
        }
    }
    found.sort_by_key(|object| object.key.range().from);
    Ok(found)
}

fn left(path: &Path, error: &io::Error) {
    tracing::error!(file = %path.display(), %error, "what lies in the spool cannot be read and stays");
}

/// A sealed object, if it is one.
fn sealed(entry: &DirEntry) -> io::Result<Option<Found>> {
    let name = entry.file_name();
    let Some(name) = name.to_str() else {
        return Ok(None);
    };
    match parse_sealed(name) {
        Some(key) => {
            return Ok(Some(Found {
                key,
                bytes: entry.metadata()?.len(),
                path: entry.path(),
                torn: None,
            }));
        }
        // a marker whose write was interrupted: it was never counted as written
        None if name.starts_with('.') && name.ends_with(".tmp") => {
            std::fs::remove_file(entry.path())?;
        }
        None => {
            tracing::warn!(file = %entry.path().display(), "a file in the spool is none of ours and stays");
        }
    }
    Ok(None)
}

fn folders_within(path: &Path) -> Vec<(String, PathBuf)> {
    folders(path).unwrap_or_else(|error| {
        left(path, &error);
        Vec::new()
    })
}

fn folders(path: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if let Some(name) = entry.file_name().to_str()
            && !name.starts_with('.')
            && entry.file_type()?.is_dir()
        {
            folders.push((name.to_owned(), entry.path()));
        }
    }
    Ok(folders)
}

fn recover_take(
    spool: &Path,
    (tenant, camera, take): (&str, &str, &str),
    path: &Path,
    found: &mut Vec<Found>,
) -> io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let file = entry.file_name();
        let name = file
            .to_str()
            .and_then(|file| PartName::parse(tenant, camera, take, file));
        let Some(name) = name else {
            if entry.path().extension().is_some_and(|end| end == DAMAGED) {
                tracing::warn!(file = %entry.path().display(), "a damaged segment was set aside and stays");
                continue;
            }
            tracing::warn!(file = %entry.path().display(), "a file in the spool is none of ours and stays");
            continue;
        };
        match recover_part(spool, &name, &entry.path()) {
            Ok(Some(object)) => {
                tracing::info!(camera = %name.place.camera, bytes = object.bytes, "recovered an open segment");
                found.push(object);
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(file = %entry.path().display(), %error, "an open segment cannot be recovered and stays");
            }
        }
    }
    // only an empty folder can be removed
    let _ = std::fs::remove_dir(path);
    Ok(())
}

fn recover_part(spool: &Path, name: &PartName, path: &Path) -> io::Result<Option<Found>> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let last_write = written(&file)?;
    let recovery = recover_from(&mut Seekable(&file))?;
    let (Some(head), Some(first)) = (&recovery.head, recovery.fragments.first()) else {
        if is_unfinished(&file, &recovery)? {
            std::fs::remove_file(path)?;
            return Ok(None);
        }
        let aside = path.with_extension(DAMAGED);
        std::fs::rename(path, &aside)?;
        tracing::error!(file = %aside.display(), stop = ?recovery.stop, "an open segment is damaged and set aside");
        return Ok(None);
    };
    file.set_len(recovery.whole_len)?;
    let anchor = estimate(name.sequence, &recovery.fragments);
    let seal = Seal {
        fragments: &recovery.fragments,
        anchor,
        ..Seal::default()
    };
    seal_file(&file, head, &seal)?;
    let timescale = head.init().reference().timescale;
    let start = anchor.map_or(first.wall.unix_micros(), |anchor| {
        anchor.at(first.media_time, timescale)
    });
    let most = Duration::from_millis(99_999_999);
    let key = ObjectKey::Segment(SegmentKey {
        place: name.place.clone(),
        start: Timestamp::from_millis(start.div_euclid(1_000)),
        duration: Duration::from_millis(recovery.duration().min(most).as_millis() as u64),
        generation: name.generation,
        take: name.take,
        sequence: name.sequence,
        init: InitHash(head.init().hash().0),
    });
    let path = publish(spool, path, &key)?;
    Ok(Some(Found {
        key,
        path,
        bytes: recovery.whole_len,
        torn: Some(last_write),
    }))
}

/// Whether this is a segment whose first fragment was never there in full: cut off by the end of the file, or of pages that were never
/// written. Anything else was whole once.
fn is_unfinished(file: &File, recovery: &Recovery) -> io::Result<bool> {
    let cut_off = match recovery.stop {
        Stop::End | Stop::Incomplete => true,
        // each head has this room, and is longer
        Stop::NoHead(_) => file.metadata()?.len() <= RESERVED as u64,
        Stop::Implausible(_) | Stop::Damaged | Stop::Full => false,
    };
    Ok(cut_off || is_zero(file, recovery.whole_len)?)
}

fn is_zero(file: &File, mut from: u64) -> io::Result<bool> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = file.read_at(&mut buffer, from)?;
        let bytes = buffer.get(..read).unwrap_or_default();
        if bytes.is_empty() || bytes.iter().any(|byte| *byte != 0) {
            return Ok(bytes.is_empty());
        }
        from += read as u64;
    }
}

fn written(file: &File) -> io::Result<Timestamp> {
    let modified = file.metadata()?.modified()?;
    let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Timestamp::from_millis(
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
    ))
}
