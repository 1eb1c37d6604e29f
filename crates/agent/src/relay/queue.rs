//! What waits for the uplink on one connection, and what is dropped of it: whole pictures, up to the next random access point (P6).
//!
//! - RTSP text, RTCP and what follows lost framing are never dropped.
//! - Audio is kept while it is younger than half a second.
//! - Video goes from the oldest unsent picture to the next random access point, queued or still to come; the last queued one stays unless a
//!   newer one is there. A picture of which something was sent is sent to its end.
//! - Sequence numbers stay as they are: the hole tells the server.

use std::collections::VecDeque;
use std::time::Duration;

/// Audio that waited longer is of no use to a listener.
const AUDIO_FOR: Duration = Duration::from_millis(500);
/// A camera that never sends a random access point (it refreshes by strips) is shown again after this.
const SKIP_AT_MOST: Duration = Duration::from_secs(30);

/// What a frame is, for dropping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// RTSP text, RTCP, raw bytes.
    Kept,
    /// Sound, and when it came.
    Audio(Duration),
    /// A part of a picture.
    Video {
        /// The interleaved channel.
        channel: u8,
        /// The picture's timestamp.
        timestamp: u32,
        /// Whether a decoder may begin here.
        random_access: bool,
        /// Whether it only leads to a picture.
        prefix: bool,
    },
}

#[derive(Debug)]
struct Item {
    bytes: Vec<u8>,
    kind: Kind,
}

/// Pictures of a channel that are dropped as they come.
#[derive(Debug)]
struct Skip {
    channel: u8,
    /// The last picture that was dropped: it does not come back in halves.
    timestamp: u32,
    since: Duration,
}

/// The queue of one connection.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    items: VecDeque<Item>,
    bytes: usize,
    /// Per channel the picture of which something was sent last.
    sent: Vec<(u8, u32)>,
    skips: Vec<Skip>,
    /// Per channel the picture that came last.
    came: Vec<(u8, u32)>,
    pictures: u32,
    dropped: u32,
}

/// What an item costs beyond its bytes.
const ITEM: usize = size_of::<Item>();

impl Queue {
    /// Bytes that wait.
    #[must_use]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Pictures dropped since the last call.
    pub(crate) fn take_dropped(&mut self) -> u32 {
        std::mem::take(&mut self.dropped)
    }

    /// Pictures that came since the last call, dropped ones too.
    pub(crate) fn take_pictures(&mut self) -> u32 {
        std::mem::take(&mut self.pictures)
    }

    /// Counts a picture with its first frame.
    fn count(&mut self, (channel, timestamp): (u8, u32)) {
        match self.came.iter_mut().find(|(other, _)| *other == channel) {
            Some((_, last)) if *last == timestamp => return,
            Some((_, last)) => *last = timestamp,
            None => self.came.push((channel, timestamp)),
        }
        self.pictures += 1;
    }

    /// Takes a whole frame, unless it belongs to what is being dropped.
    pub(crate) fn push(&mut self, bytes: Vec<u8>, kind: Kind, now: Duration) {
        if let Some(picture) = picture(kind) {
            self.count(picture);
        }
        if let Kind::Video {
            channel,
            timestamp,
            random_access,
            prefix,
        } = kind
            && !self.resumes(channel, timestamp, (random_access, prefix), now)
        {
            return;
        }
        self.bytes += bytes.len() + ITEM;
        self.items.push_back(Item { bytes, kind });
    }

    /// Whether a frame of video may come in, after what was dropped before it.
    fn resumes(
        &mut self,
        channel: u8,
        timestamp: u32,
        (random_access, prefix): (bool, bool),
        now: Duration,
    ) -> bool {
        let Some(at) = self.skips.iter().position(|skip| skip.channel == channel) else {
            return true;
        };
        let Some(skip) = self.skips.get_mut(at) else {
            return true;
        };
        if skip.timestamp == timestamp {
            return false;
        }
        if random_access || now.saturating_sub(skip.since) >= SKIP_AT_MOST {
            self.skips.remove(at);
            return true;
        }
        // A delimiter before a random access point is gone, and nothing of the picture with it.
        if !prefix {
            skip.timestamp = timestamp;
            self.dropped += 1;
        }
        false
    }

    /// The next frame, whole. Once it is out of here, all of it is sent.
    pub(crate) fn pop(&mut self) -> Option<Vec<u8>> {
        let item = self.items.pop_front()?;
        self.bytes = self.bytes.saturating_sub(item.bytes.len() + ITEM);
        if let Kind::Video {
            channel, timestamp, ..
        } = item.kind
        {
            self.sent.retain(|(other, _)| *other != channel);
            self.sent.push((channel, timestamp));
        }
        Some(item.bytes)
    }

    /// Makes room. False when nothing is left that may go.
    pub(crate) fn shrink(&mut self, now: Duration) -> bool {
        let old =
            |kind: Kind| matches!(kind, Kind::Audio(came) if now.saturating_sub(came) >= AUDIO_FOR);
        self.remove(&|_, kind| old(kind))
            || self.drop_pictures(now, true)
            || self.remove(&|_, kind| matches!(kind, Kind::Audio(_)))
            // A bound that one random access point fills: better a later one than none.
            || self.drop_pictures(now, false)
    }

    /// Drops video of one channel: see the module's rules.
    fn drop_pictures(&mut self, now: Duration, keep_last: bool) -> bool {
        let unsent = self.items.iter().enumerate().find_map(|(at, item)| {
            let (channel, timestamp) = picture(item.kind)?;
            let begun = self.sent.contains(&(channel, timestamp));
            (!begun).then_some((at, channel, timestamp))
        });
        let Some((from, channel, oldest)) = unsent else {
            return false;
        };
        let begins = |timestamp: Option<u32>| {
            let of_channel = self
                .items
                .iter()
                .skip(from)
                .filter_map(|item| match item.kind {
                    Kind::Video {
                        channel: other,
                        timestamp,
                        random_access: true,
                        ..
                    } if other == channel => Some(timestamp),
                    _ => None,
                });
            let mut of_channel = of_channel.filter(|found| match timestamp {
                Some(timestamp) => *found == timestamp,
                None => *found != oldest,
            });
            of_channel.next()
        };
        let stays = keep_last && begins(Some(oldest)).is_some();
        match (begins(None), stays) {
            (Some(next), _) => {
                // From the first frame of that picture on, which may be a delimiter before its parameter sets.
                let until = self
                    .items
                    .iter()
                    .position(|item| picture(item.kind) == Some((channel, next)));
                let until = until.unwrap_or(usize::MAX);
                self.remove(&|at, kind| {
                    (from..until).contains(&at)
                        && picture(kind).is_some_and(|(other, _)| other == channel)
                })
            }
            (None, keep) => {
                let goes = move |at: usize, kind: Kind| {
                    at >= from
                        && picture(kind).is_some_and(|(other, timestamp)| {
                            other == channel && !(keep && timestamp == oldest)
                        })
                };
                let items = self.items.iter().enumerate();
                let last = items
                    .filter(|(at, item)| goes(*at, item.kind))
                    .filter_map(|(_, item)| picture(item.kind))
                    .next_back();
                let Some((_, timestamp)) = last else {
                    return false;
                };
                self.skips.retain(|skip| skip.channel != channel);
                self.skips.push(Skip {
                    channel,
                    timestamp,
                    since: now,
                });
                self.remove(&goes)
            }
        }
    }

    /// Removes items, and counts their pictures.
    fn remove(&mut self, goes: &dyn Fn(usize, Kind) -> bool) -> bool {
        let before = self.items.len();
        let (mut at, mut last, mut pictures, mut freed) = (0, None, 0, 0);
        self.items.retain(|item| {
            let removed = goes(at, item.kind);
            at += 1;
            if removed {
                freed += item.bytes.len() + ITEM;
                let picture = picture(item.kind);
                if picture.is_some() && picture != last {
                    pictures += 1;
                    last = picture;
                }
            }
            !removed
        });
        self.bytes = self.bytes.saturating_sub(freed);
        self.dropped += pictures;
        self.items.len() < before
    }
}

fn picture(kind: Kind) -> Option<(u8, u32)> {
    match kind {
        Kind::Video {
            channel, timestamp, ..
        } => Some((channel, timestamp)),
        Kind::Kept | Kind::Audio(_) => None,
    }
}
