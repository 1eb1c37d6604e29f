//! Pictures over a ticketed stream, in frames: one byte of kind, four of length, the rest.
//!
//! | kind | rest |
//! |---|---|
//! | 1 init | u16 length, MIME type, ftyp and moov |
//! | 2 fragment | u8 flags (1: begins with a key frame), i64 wall clock in ms, prft moof mdat |
//! | 3 poster | i64 wall clock in ms, u16 length, MIME type, init and fragment |
//! | 4 end | u8 why, text |
//! | 5 none | – (no poster yet) |

use bytes::Bytes;
use moorline_core::Timestamp;
use moorline_core::port::{LiveItem, Poster, RelayError};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::serving::Answer;

/// The greatest frame: a whole group of pictures is at most a few MiB.
const LARGEST: usize = 16 * 1024 * 1024;

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    Item(LiveItem),
    Poster(Poster),
    End(RelayError),
    None,
}

/// Every error of a relay: its status, reason, and byte in an end frame.
const ERRORS: [(RelayError, u16, &str, u8); 5] = [
    (RelayError::Unknown, 404, "unknown", 1),
    (RelayError::Away, 503, "away", 2),
    (RelayError::TooMany, 429, "too_many", 3),
    (RelayError::Ended, 503, "ended", 4),
    (RelayError::Stalled, 503, "stalled", 5),
];
const NOT_PLAYABLE: u8 = 6;

/// The answer instead of a stream.
pub(super) fn refusal(error: &RelayError) -> Answer {
    if let RelayError::NotPlayable(codec) = error {
        return Answer {
            body: codec.as_bytes().to_vec(),
            ..Answer::refusal(415, "not_playable")
        };
    }
    let known = ERRORS.iter().find(|(known, ..)| known == error);
    known.map_or(Answer::refusal(503, "ended"), |(_, status, reason, _)| {
        Answer::refusal(*status, reason)
    })
}

/// The error of such an answer.
pub(crate) fn error_of(reason: &str) -> Option<RelayError> {
    let known = ERRORS.iter().find(|(_, _, known, _)| *known == reason);
    known.map(|(error, ..)| error.clone())
}

impl Frame {
    /// Its bytes, in parts, so that no picture is copied.
    pub(crate) fn parts(&self) -> [Bytes; 2] {
        let mime_head = |mime: &str| {
            let length = u16::try_from(mime.len()).unwrap_or(u16::MAX);
            [&length.to_be_bytes(), mime.as_bytes()].concat()
        };
        let (kind, head, rest) = match self {
            Self::Item(LiveItem::Init { mime, bytes }) => (1, mime_head(mime), bytes.clone()),
            Self::Item(LiveItem::Fragment { bytes, key, wall }) => {
                let head = [&[u8::from(*key)][..], &wall.as_millis().to_be_bytes()].concat();
                (2, head, bytes.clone())
            }
            Self::Poster(Poster { mime, bytes, wall }) => {
                let head = [&wall.as_millis().to_be_bytes()[..], &mime_head(mime)].concat();
                (3, head, bytes.clone())
            }
            Self::End(error) => {
                let known = ERRORS.iter().find(|(known, ..)| known == error);
                let text = match error {
                    RelayError::NotPlayable(codec) => codec.as_bytes(),
                    _ => &[],
                };
                let why = known.map_or(NOT_PLAYABLE, |(.., why)| *why);
                (4, [&[why], text].concat(), Bytes::new())
            }
            Self::None => (5, Vec::new(), Bytes::new()),
        };
        let length = u32::try_from(head.len() + rest.len()).unwrap_or(u32::MAX);
        let head = [&[kind][..], &length.to_be_bytes(), &head].concat();
        [head.into(), rest]
    }

    /// Reads one. The caller drops the stream when it gives up on a read.
    pub(crate) async fn read<R: AsyncRead + Unpin>(reader: &mut R) -> Option<Self> {
        let kind = reader.read_u8().await.ok()?;
        let length = usize::try_from(reader.read_u32().await.ok()?).ok()?;
        if length > LARGEST {
            return None;
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).await.ok()?;
        Self::parse(kind, Bytes::from(body))
    }

    fn parse(kind: u8, mut rest: Bytes) -> Option<Self> {
        let wall = |rest: &mut Bytes| {
            let bytes: [u8; 8] = take(rest, 8)?.as_ref().try_into().ok()?;
            Some(Timestamp::from_millis(i64::from_be_bytes(bytes)))
        };
        let mime = |rest: &mut Bytes| {
            let bytes: [u8; 2] = take(rest, 2)?.as_ref().try_into().ok()?;
            let text = take(rest, usize::from(u16::from_be_bytes(bytes)))?;
            String::from_utf8(text.to_vec()).ok()
        };
        Some(match kind {
            1 => Self::Item(LiveItem::Init {
                mime: mime(&mut rest)?,
                bytes: rest,
            }),
            2 => {
                let key = match take(&mut rest, 1)?.first()? {
                    0 => false,
                    1 => true,
                    _ => return None,
                };
                Self::Item(LiveItem::Fragment {
                    key,
                    wall: wall(&mut rest)?,
                    bytes: rest,
                })
            }
            3 => Self::Poster(Poster {
                wall: wall(&mut rest)?,
                mime: mime(&mut rest)?,
                bytes: rest,
            }),
            4 => {
                let why = *take(&mut rest, 1)?.first()?;
                let known = ERRORS.iter().find(|(.., known)| *known == why);
                Self::End(match known {
                    Some((error, ..)) => error.clone(),
                    None if why == NOT_PLAYABLE => {
                        RelayError::NotPlayable(String::from_utf8(rest.to_vec()).ok()?)
                    }
                    None => return None,
                })
            }
            5 if rest.is_empty() => Self::None,
            _ => return None,
        })
    }
}

fn take(rest: &mut Bytes, count: usize) -> Option<Bytes> {
    (rest.len() >= count).then(|| rest.split_to(count))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(frame: &Frame) -> Vec<u8> {
        frame.parts().concat()
    }

    async fn read(bytes: &[u8]) -> Option<Frame> {
        let mut reader = bytes;
        Frame::read(&mut reader).await
    }

    #[tokio::test]
    async fn every_end_reads_back() {
        let playable = RelayError::NotPlayable("MJPEG".to_owned());
        for error in ERRORS
            .iter()
            .map(|(error, ..)| error.clone())
            .chain([playable])
        {
            let frame = Frame::End(error.clone());
            assert_eq!(read(&bytes(&frame)).await, Some(frame));
            let answer = refusal(&error);
            assert!(error_of(answer.reason) == Some(error.clone()) || answer.body == b"MJPEG");
        }
        assert_eq!(read(&bytes(&Frame::None)).await, Some(Frame::None));
        assert_eq!(
            read(&[1, 255, 255, 255, 255]).await,
            None,
            "larger than any frame"
        );
    }

    proptest! {
        #[test]
        fn pictures_read_back(mime in "[ -~]{0,60}", data: Vec<u8>, key: bool, millis in -1_000_000_i64..4_102_444_800_000) {
            let (wall, data) = (Timestamp::from_millis(millis), Bytes::from(data));
            let frames = [
                Frame::Item(LiveItem::Init { mime: mime.clone(), bytes: data.clone() }),
                Frame::Item(LiveItem::Fragment { bytes: data.clone(), key, wall }),
                Frame::Poster(Poster { mime, bytes: data, wall }),
            ];
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            for frame in frames {
                prop_assert_eq!(runtime.block_on(read(&bytes(&frame))), Some(frame));
            }
        }

        #[test]
        fn strangers_frames_never_panic(kind: u8, body in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Frame::parse(kind, Bytes::from(body));
        }
    }
}
