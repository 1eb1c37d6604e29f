//! The last key frame as a still picture.

use std::sync::Arc;

use bytes::Bytes;
use moorline_core::port::Poster;
use moorline_fmp4::{Init, Run, Sample};
use moorline_rtsp::depacketize::{Depacketizer, Unit};
use moorline_rtsp::sdp::Media;

use super::video_entry;
use crate::ring::{Chunk, Fetch, FrameKind, Position};
use crate::source::Source;

/// The last key frame that the ring has, as init and one fragment. Never waits.
pub(crate) fn poster(source: &Source) -> Option<Poster> {
    let now = source.now();
    let (layout, key, chunks) = source.look(|inner| {
        let key = inner.ring.last_key()?;
        let layout = inner.layout.clone().filter(|layout| layout.has_video)?;
        let chunks: Vec<Arc<Chunk>> = (key.chunk..inner.ring.next_index())
            .map_while(|index| match inner.ring.fetch(index) {
                Fetch::Chunk(chunk) => Some(chunk),
                Fetch::NotYet | Fetch::Overrun => None,
            })
            .collect();
        Some((layout, key, chunks))
    })?;
    let media = layout.media.get(layout.key_track)?;
    let (unit, depacketizer) = key_picture(media, layout.key_track, key, &chunks)?;
    let entry = video_entry(&depacketizer.parameters()?)?.ok()?;
    let init = Init::new(vec![(media.clock_rate(), entry)]).ok()?;
    let age = now.saturating_sub(chunks.first()?.arrival);
    let wall = source.wall() - age;
    let run = Run {
        track_id: 1,
        decode_time: 0,
        samples: vec![Sample {
            data: unit.data,
            // A second: some decoders want the picture to last.
            duration: media.clock_rate(),
            composition_offset: 0,
            sync: true,
        }],
    };
    let fragment = init.fragment(1, wall.as_millis() * 1000, &[run]).ok()?;
    let mut bytes = init.bytes().to_vec();
    bytes.extend_from_slice(&fragment.bytes);
    Some(Poster {
        mime: init.mime(),
        bytes: Bytes::from(bytes),
        wall,
    })
}

fn key_picture(
    media: &Media,
    track: usize,
    key: Position,
    chunks: &[Arc<Chunk>],
) -> Option<(Unit, Depacketizer)> {
    let mut depacketizer = Depacketizer::new(media)?;
    for chunk in chunks {
        let skip = if chunk.index == key.chunk {
            key.frame
        } else {
            0
        };
        for mark in chunk.frames.iter().skip(skip) {
            let FrameKind::Packet(marks) = &mark.kind else {
                continue;
            };
            if mark.track != track {
                continue;
            }
            depacketizer.push(&chunk.data.slice(mark.start + 4..mark.end), marks.damaged);
            if let Some(unit) = depacketizer.pop() {
                return (unit.random_access && !unit.damaged).then_some((unit, depacketizer));
            }
        }
    }
    None
}
