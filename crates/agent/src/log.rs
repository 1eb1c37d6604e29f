//! What the agent told its console last: the `daemon` keeps it where a reboot forgets it, since init scripts send the console to nowhere.

use std::fs::OpenOptions;
use std::io::{self, PipeWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use moorline_control::LineSplitter;

use crate::files;
use crate::relay::spawn;

/// A file has so many bytes, and there are two: this is memory.
const MOST: u64 = 8 * 1024;
/// So many lines are shown.
const SHOWN: usize = 40;

/// Where a program's output goes that is to be kept in `path`, and told here as well.
pub(crate) fn to(path: &Path) -> io::Result<PipeWriter> {
    if let Some(directory) = path.parent() {
        files::make_directory(directory)?;
    }
    let (mut output, end) = io::pipe()?;
    let path = path.to_owned();
    spawn("log", move || {
        let mut lines = LineSplitter::new();
        let mut room = [0; 1024];
        while let Ok(count @ 1..) = output.read(&mut room) {
            lines.push(room.get(..count).unwrap_or_default(), |line| {
                let mut line = line.to_vec();
                line.push(b'\n');
                let _ = io::stderr().write_all(&line);
                let _ = keep(&path, &line);
            });
        }
    })?;
    Ok(end)
}

fn before(path: &Path) -> PathBuf {
    files::beside(path, ".1")
}

fn keep(path: &Path, line: &[u8]) -> io::Result<()> {
    if std::fs::metadata(path).is_ok_and(|file| file.len() > MOST) {
        std::fs::rename(path, before(path))?;
    }
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    options.open(path)?.write_all(line)
}

/// The last lines, the oldest first.
pub(crate) fn last(path: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for path in [before(path), path.to_owned()] {
        let text = files::read(&path).ok().flatten().unwrap_or_default();
        lines.extend(text.lines().map(str::to_owned));
    }
    lines.split_off(lines.len().saturating_sub(SHOWN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_and_the_files_stay_small() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("log");
        assert_eq!(last(&path), [""; 0]);
        for number in 0..1000 {
            keep(&path, format!("info: line {number:050}\n").as_bytes()).unwrap();
        }
        let lines = last(&path);
        assert_eq!(lines.len(), SHOWN);
        assert!(lines[0].ends_with("960") && lines[SHOWN - 1].ends_with("999"));
        for file in [before(&path), path] {
            assert!(std::fs::metadata(file).unwrap().len() < MOST + 100);
        }
    }
}
