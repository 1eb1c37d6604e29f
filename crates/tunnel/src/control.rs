//! The monitor's channel of a session: bytes become lines, and lines are written back.
//!
//! Owns: framing (a line ends with LF and has at most 1,024 bytes with it; a longer one is skipped up to its LF and counted, so no buffer
//! grows) and the writer with its queue of 16 lines. Does not own: what a line means; nothing is run, whatever command was named.
//!
//! How the writer ends: when the channel's queue is dropped, or with the session.

use bytes::Bytes;
use russh::ChannelWriteHalf;
use russh::server::Msg;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The longest line with its LF, in bytes.
pub(crate) const LINE: usize = 1024;
/// How many lines wait for a peer that does not read.
pub(crate) const LINES: usize = 16;

/// Makes lines of bytes as they come.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    line: Vec<u8>,
    skipping: bool,
}

impl Splitter {
    /// Gives each line that `data` completes, without its LF, to `line`. Returns how many were too long and skipped.
    pub(crate) fn push(&mut self, data: &[u8], mut line: impl FnMut(&[u8])) -> u64 {
        let mut too_long = 0;
        for part in data.split_inclusive(|byte| *byte == b'\n') {
            let (body, ends) = match part.split_last() {
                Some((b'\n', body)) => (body, true),
                _ => (part, false),
            };
            if !self.skipping && self.line.len() + body.len() >= LINE {
                self.skipping = true;
                self.line = Vec::new();
                too_long += 1;
            }
            if !self.skipping {
                self.line.extend_from_slice(body);
            }
            if ends {
                if !self.skipping {
                    line(&self.line);
                }
                self.skipping = false;
                self.line.clear();
            }
        }
        too_long
    }
}

/// A line as it is sent, or `None` if it is none: too long, or more than one.
pub(crate) fn to_send(line: &str) -> Option<Bytes> {
    let whole = line.len() < LINE && !line.contains('\n');
    whole.then(|| Bytes::from(format!("{line}\n")))
}

/// Writes lines to the peer as its window allows.
pub(crate) async fn write_lines(
    channel: ChannelWriteHalf<Msg>,
    mut lines: mpsc::Receiver<Bytes>,
    ended: CancellationToken,
) {
    let writing = async {
        while let Some(line) = lines.recv().await {
            if channel.data_bytes(line).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = ended.cancelled() => {}
        () = writing => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(chunks: &[&[u8]]) -> (Vec<Vec<u8>>, u64) {
        let (mut splitter, mut lines, mut too_long) = (Splitter::default(), Vec::new(), 0);
        for chunk in chunks {
            too_long += splitter.push(chunk, |line| lines.push(line.to_vec()));
        }
        (lines, too_long)
    }

    #[test]
    fn a_line_of_1024_bytes_passes_and_one_of_1025_is_skipped() {
        let mut longest = vec![b'a'; LINE - 1];
        longest.push(b'\n');
        let mut longer = vec![b'b'; LINE];
        longer.push(b'\n');
        let (lines, too_long) = split(&[&longest, &longer, b"BYE\n"]);
        assert_eq!(lines, [&longest[..LINE - 1], b"BYE"]);
        assert_eq!(too_long, 1);
    }

    #[test]
    fn a_line_without_end_holds_nothing() {
        let mut splitter = Splitter::default();
        for _ in 0..1000 {
            splitter.push(&[b'x'; 1000], |_| panic!("no line"));
        }
        assert!(splitter.line.capacity() <= LINE);
        let mut lines = 0;
        splitter.push(b"\nPONG 1\n", |line| {
            assert_eq!(line, b"PONG 1");
            lines += 1;
        });
        assert_eq!(lines, 1);
    }

    #[test]
    fn what_is_sent_is_one_line() {
        assert_eq!(to_send("PING 1"), Some(Bytes::from_static(b"PING 1\n")));
        assert_eq!(to_send("PING 1\nBYE"), None);
        assert!(to_send(&"x".repeat(LINE - 1)).is_some());
        assert_eq!(to_send(&"x".repeat(LINE)), None);
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter(data in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..4000), at in 0usize..4000) {
            let cut = at.min(data.len());
            let (head, tail) = data.split_at(cut);
            prop_assert_eq!(split(&[&data]), split(&[head, tail]));
        }
    }
}
