//! Cutting what a streamer (or the server) says on one RTSP connection into whole messages and interleaved frames (RFC 2326, 10.12).
//!
//! If framing is lost, everything from there on is [`Piece::Raw`], to the end of the connection: the server's reader knows how to find back,
//! the agent does not guess.

use crate::head::{Head, end_of_head};
use crate::words::number;

/// One whole thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// `$`, channel, length and payload.
    Frame {
        /// The interleaved channel.
        channel: u8,
        /// All of it, with its four bytes of head.
        bytes: Vec<u8>,
    },
    /// A request or an answer, with its body.
    Text(Vec<u8>),
    /// Bytes behind the place where framing was lost.
    Raw(Vec<u8>),
}

/// No streamer's head is longer; what is longer is no head.
const MAX_HEAD: usize = 16 * 1024;
/// SDP is far shorter.
const MAX_BODY: usize = 64 * 1024;

/// Cuts bytes, in whatever pieces they come. Holds at most one message or frame.
#[derive(Debug, Default)]
pub struct Cutter {
    held: Vec<u8>,
    raw: bool,
}

/// What the held bytes begin with.
enum Begin {
    /// A frame or a message of so many bytes.
    Whole(usize),
    /// More must come.
    Open,
    /// Neither.
    Lost,
}

impl Cutter {
    /// Takes the next bytes and calls `piece` for all that they complete.
    pub fn push(&mut self, bytes: &[u8], mut piece: impl FnMut(Piece)) {
        self.cut(bytes, &mut piece);
    }

    fn cut(&mut self, bytes: &[u8], piece: &mut dyn FnMut(Piece)) {
        if self.raw {
            piece(Piece::Raw(bytes.to_vec()));
            return;
        }
        self.held.extend_from_slice(bytes);
        let mut done = 0;
        loop {
            let rest = self.held.get(done..).unwrap_or_default();
            // Some streamers say an empty line after an answer: nobody misses it.
            let blank = rest
                .iter()
                .take_while(|byte| b"\r\n".contains(byte))
                .count();
            let rest = rest.get(blank..).unwrap_or_default();
            done += blank;
            match begin(rest) {
                Begin::Whole(length) => {
                    let whole = rest.get(..length).unwrap_or_default().to_vec();
                    done += length;
                    piece(match (whole.first(), whole.get(1)) {
                        (Some(b'$'), Some(channel)) => Piece::Frame {
                            channel: *channel,
                            bytes: whole,
                        },
                        _ => Piece::Text(whole),
                    });
                }
                Begin::Open => break,
                Begin::Lost => {
                    self.raw = true;
                    piece(Piece::Raw(rest.to_vec()));
                    self.held = Vec::new();
                    return;
                }
            }
        }
        self.held.drain(..done);
    }

    /// Whether framing was lost.
    #[must_use]
    pub fn is_raw(&self) -> bool {
        self.raw
    }
}

fn begin(bytes: &[u8]) -> Begin {
    match bytes {
        [] => Begin::Open,
        [b'$', _, high, low, ..] => {
            let length = 4 + usize::from(u16::from_be_bytes([*high, *low]));
            if bytes.len() < length {
                Begin::Open
            } else {
                Begin::Whole(length)
            }
        }
        [b'$', ..] => Begin::Open,
        [b'A'..=b'Z', ..] => text(bytes),
        _ => Begin::Lost,
    }
}

fn text(bytes: &[u8]) -> Begin {
    let Some(end) = end_of_head(bytes) else {
        // A head is text: that another byte stands in it is known before its end comes, or does not come.
        let printable = |byte: &u8| matches!(byte, b'\t' | b'\r' | b'\n' | b' '..=b'~' | 0x80..);
        let lost = bytes.len() > MAX_HEAD || !bytes.iter().all(printable);
        return if lost { Begin::Lost } else { Begin::Open };
    };
    let head = Head::of(bytes.get(..end).unwrap_or_default());
    let is_rtsp = [head.word(0), head.word(2)]
        .into_iter()
        .flatten()
        .any(|word| word.starts_with("RTSP/"));
    let body = match head
        .value("Content-Length")
        .map(|text| number::<usize>(&text))
    {
        None => Some(0),
        Some(Some(length)) if length <= MAX_BODY => Some(length),
        Some(_) => None,
    };
    match body {
        Some(body) if is_rtsp && end <= MAX_HEAD => {
            if bytes.len() < end + body {
                Begin::Open
            } else {
                Begin::Whole(end + body)
            }
        }
        _ => Begin::Lost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(pieces: &[&[u8]]) -> Vec<Piece> {
        let (mut cutter, mut seen) = (Cutter::default(), Vec::new());
        for bytes in pieces {
            cutter.push(bytes, |piece| seen.push(piece));
        }
        seen
    }

    fn frame(channel: u8, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
        [&[b'$', channel][..], &length, payload].concat()
    }

    const ANSWER: &[u8] = b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 4\r\n\r\n$v=0";

    #[test]
    fn lost_framing_is_a_plain_pipe_from_there_on() {
        let seen = cut(&[&frame(0, b"abc"), b"\xff\xfe$", ANSWER]);
        assert_eq!(
            seen,
            [
                Piece::Frame {
                    channel: 0,
                    bytes: frame(0, b"abc")
                },
                Piece::Raw(b"\xff\xfe$".to_vec()),
                Piece::Raw(ANSWER.to_vec()),
            ]
        );
        for lost in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"A\x00",
            b"RTSP/1.0 200 OK\r\nContent-Length: -1\r\n\r\n",
        ] {
            assert_eq!(cut(&[lost]), [Piece::Raw(lost.to_vec())]);
        }
        assert_eq!(
            cut(&[&b"A".repeat(MAX_HEAD + 1)]).len(),
            1,
            "no buffer grows"
        );
    }

    proptest! {
        #[test]
        fn cuts_of_the_stream_change_nothing(
            payloads in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..40), any::<bool>()), 1..20),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
        ) {
            let mut stream = Vec::new();
            let mut expected = Vec::new();
            for (channel, payload, answer) in payloads {
                let bytes = frame(channel, &payload);
                stream.extend_from_slice(&bytes);
                expected.push(Piece::Frame { channel, bytes });
                if answer {
                    stream.extend_from_slice(ANSWER);
                    stream.extend_from_slice(b"\r\n");
                    expected.push(Piece::Text(ANSWER.to_vec()));
                }
            }
            let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            places.extend([0, stream.len()]);
            places.sort_unstable();
            let pieces: Vec<&[u8]> = places.windows(2).map(|two| &stream[two[0]..two[1]]).collect();
            prop_assert_eq!(cut(&pieces), expected);
        }

        #[test]
        fn nothing_panics_and_no_byte_but_blank_lines_is_lost(bytes: Vec<u8>) {
            let mut out = Vec::new();
            for piece in cut(&[&bytes]) {
                match piece {
                    Piece::Frame { bytes, .. } | Piece::Text(bytes) | Piece::Raw(bytes) => out.extend(bytes),
                }
            }
            let blank = |byte: &u8| !b"\r\n".contains(byte);
            let (got, given): (Vec<_>, Vec<_>) = (out.into_iter().filter(blank).collect(), bytes.into_iter().filter(blank).collect());
            prop_assert!(given.starts_with(&got));
        }
    }
}
