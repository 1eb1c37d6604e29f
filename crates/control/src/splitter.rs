//! Cuts a byte stream into lines, in bounded memory.

use crate::MAX_LINE;

/// Cuts what comes in, in whatever pieces, into lines. A line longer than [`MAX_LINE`] bytes (with its LF) is skipped up to its LF and
/// counted. Holds at most one line.
#[derive(Debug, Clone, Default)]
pub struct LineSplitter {
    held: Vec<u8>,
    skipping: bool,
    too_long: u64,
}

impl LineSplitter {
    /// Nothing held.
    #[must_use]
    pub fn new() -> Self {
        LineSplitter::default()
    }

    /// Takes the next bytes and calls `line` for each line that they complete, without its LF.
    pub fn push(&mut self, bytes: &[u8], mut line: impl FnMut(&[u8])) {
        self.cut(bytes, &mut line);
    }

    /// Compiled once, not for each who listens: flash is small.
    fn cut(&mut self, bytes: &[u8], line: &mut dyn FnMut(&[u8])) {
        let mut pieces = bytes.split(|byte| *byte == b'\n');
        // The last piece has no LF after it yet; `split` always gives at least one.
        let open = pieces.next_back().unwrap_or_default();
        for piece in pieces {
            self.close(piece, line);
        }
        self.hold(open);
    }

    /// How many lines were too long, the one that is being skipped included.
    #[must_use]
    pub fn too_long(&self) -> u64 {
        self.too_long
    }

    /// A piece that is followed by LF.
    fn close(&mut self, piece: &[u8], line: &mut dyn FnMut(&[u8])) {
        if self.held.is_empty() && !self.skipping && piece.len() < MAX_LINE {
            line(piece);
            return;
        }
        self.hold(piece);
        if !self.skipping {
            line(&self.held);
        }
        self.held.clear();
        self.skipping = false;
    }

    fn hold(&mut self, piece: &[u8]) {
        if self.skipping {
            return;
        }
        if self.held.len() + piece.len() < MAX_LINE {
            self.held.extend_from_slice(piece);
        } else {
            self.held.clear();
            self.skipping = true;
            self.too_long = self.too_long.saturating_add(1);
        }
    }
}
