//! Partial writes, as streamers with non-blocking sockets make them (moonfire-nvr#302): on the framed bytes of one picture.

use bytes::{Bytes, BytesMut};

use super::rtp::Frames;

/// What a full send buffer did to one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Partial {
    /// The rest was never written.
    Cut,
    /// The whole write was repeated.
    Repeat,
}

/// Damages the frame in the middle of these.
pub(super) fn damage(frames: &mut Frames, partial: Partial) {
    let middle = frames.starts.len() / 2;
    let Some(start) = frames.starts.get(middle).copied() else {
        return;
    };
    let end = frames
        .starts
        .get(middle + 1)
        .copied()
        .unwrap_or(frames.bytes.len());
    let half = start + (end - start) / 2;
    let whole: Bytes = frames.bytes.split().freeze();
    let mut damaged = BytesMut::with_capacity(whole.len() * 2);
    damaged.extend_from_slice(&whole.slice(..half));
    damaged.extend_from_slice(&whole.slice(match partial {
        Partial::Cut => end..,
        Partial::Repeat => start..,
    }));
    frames.bytes = damaged;
    frames.starts.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames() -> Frames {
        let mut frames = Frames::default();
        for (channel, length) in [(0, 10), (0, 20), (0, 30)] {
            frames.push(channel, &vec![length; usize::from(length)]);
        }
        frames
    }

    #[test]
    fn the_middle_frame_loses_its_tail() {
        let mut cut = frames();
        damage(&mut cut, Partial::Cut);
        assert_eq!(cut.bytes.len(), 14 + 12 + 34);
        assert_eq!(cut.bytes[..14], frames().bytes[..14]);
        assert_eq!(cut.bytes[26..], frames().bytes[38..]);
    }

    #[test]
    fn the_middle_frame_is_written_again() {
        let mut repeated = frames();
        damage(&mut repeated, Partial::Repeat);
        assert_eq!(repeated.bytes.len(), 14 + 12 + 24 + 34);
        assert_eq!(repeated.bytes[26..], frames().bytes[14..]);
    }
}
