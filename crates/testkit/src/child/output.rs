//! A child's output as lines.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    sync::watch,
};

/// Lines kept per child.
const KEPT: usize = 10_000;
/// Bytes after which a line without an end is cut.
const LONGEST_LINE: usize = 64 * 1024;
/// Lines shown in an error.
const TAIL: usize = 25;

/// What both streams of a child have given so far.
#[derive(Debug)]
pub(super) struct Captured {
    lines: Mutex<Lines>,
    /// Lines seen so far, and how many of the two streams are still open.
    pub(super) progress: watch::Sender<(u64, u8)>,
}

#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) kept: VecDeque<String>,
    /// Number of the first kept line.
    pub(super) first: u64,
}

impl Captured {
    /// Two streams are open, nothing has come.
    pub(super) fn new() -> Self {
        Self {
            lines: Mutex::default(),
            progress: watch::Sender::new((0, 2)),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let text = String::from_utf8_lossy(line).into_owned();
        {
            let mut lines = self.lock();
            if lines.kept.len() == KEPT {
                lines.kept.pop_front();
                lines.first += 1;
            }
            lines.kept.push_back(text);
        }
        self.progress.send_modify(|(seen, _)| *seen += 1);
    }

    /// The last lines, for errors.
    pub(super) fn tail(&self) -> String {
        let lines = self.lock();
        let skip = lines.kept.len().saturating_sub(TAIL);
        lines
            .kept
            .iter()
            .skip(skip)
            .fold(String::new(), |text, line| text + "  | " + line + "\n")
    }
}

/// Cuts a stream into lines at LF or CR (ffmpeg's progress) until it ends.
pub(super) async fn capture(mut stream: impl AsyncRead + Unpin, captured: Arc<Captured>) {
    let mut line = Vec::new();
    let mut chunk = vec![0; 8192];
    while let Ok(length) = stream.read(&mut chunk).await {
        if length == 0 {
            break;
        }
        for &byte in chunk.iter().take(length) {
            let end = byte == b'\n' || byte == b'\r';
            if !end {
                line.push(byte);
            }
            if (end && !line.is_empty()) || line.len() >= LONGEST_LINE {
                captured.push(&line);
                line.clear();
            }
        }
    }
    if !line.is_empty() {
        captured.push(&line);
    }
    captured
        .progress
        .send_modify(|(_, open)| *open = open.saturating_sub(1));
}
