//! The monitor's channel of a session: bytes become lines, and lines are written back.
//!
//! Owns: framing (by [`LineSplitter`], so that no buffer grows) and the writer with its queue of 16 lines. Does not own: what a line means;
//! nothing is run, whatever command was named.
//!
//! How the writer ends: when the channel's queue is dropped, or with the session.

use bytes::Bytes;
use moorline_control::{LineSplitter, MAX_LINE};
use russh::ChannelWriteHalf;
use russh::server::Msg;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How many lines wait for a peer that does not read.
pub(crate) const LINES: usize = 16;

/// What comes on the monitor's channel, as lines.
#[derive(Debug, Default)]
pub(crate) struct Lines(LineSplitter);

impl Lines {
    /// Gives each line that `data` completes, without its LF, to `line`. Returns how many were too long and skipped.
    pub(crate) fn push(&mut self, data: &[u8], line: impl FnMut(&[u8])) -> u64 {
        let before = self.0.too_long();
        self.0.push(data, line);
        self.0.too_long().saturating_sub(before)
    }
}

/// A line as it is sent, or `None` if it is none: too long, or more than one.
pub(crate) fn to_send(line: &str) -> Option<Bytes> {
    let whole = line.len() < MAX_LINE && !line.contains('\n');
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

    #[test]
    fn lines_that_are_too_long_are_counted_where_they_come() {
        let (mut lines, mut seen) = (Lines::default(), Vec::new());
        let mut note = |line: &[u8]| seen.push(String::from_utf8_lossy(line).into_owned());
        assert_eq!(lines.push(b"STATUS uptime=7\nPO", &mut note), 0);
        assert_eq!(lines.push(b"NG 1\n", &mut note), 0);
        assert_eq!(lines.push(&[b'x'; MAX_LINE], &mut note), 1);
        assert_eq!(lines.push(b"still it\nBYE\n", &mut note), 0);
        assert_eq!(seen, ["STATUS uptime=7", "PONG 1", "BYE"]);
    }

    #[test]
    fn what_is_sent_is_one_line() {
        assert_eq!(to_send("PING 1"), Some(Bytes::from_static(b"PING 1\n")));
        assert_eq!(to_send("PING 1\nBYE"), None);
        assert!(to_send(&"x".repeat(MAX_LINE - 1)).is_some());
        assert_eq!(to_send(&"x".repeat(MAX_LINE)), None);
    }
}
