//! Our own SSRC, sequence numbers and timestamps, which go on whatever the camera does.
//!
//! `out = in + Δ`. A new read of the camera, or a new SSRC of it, chooses Δ anew: the sequence goes on by one and the timestamp by the
//! time that has passed, so that a viewer sees one stream across a flap (docs/design/relay.md, Continuity). A sequence that jumps while time goes
//! on has its Δ chosen anew alone, and leaves a hole of one packet.

use std::time::Duration;

use moorline_rtsp::nal::Marks;

/// The numbering of one track.
#[derive(Debug, Clone)]
pub(crate) struct Numbering {
    ssrc: u32,
    clock_rate: u32,
    delta: Option<Delta>,
    last: Last,
}

#[derive(Debug, Clone, Copy)]
struct Delta {
    sequence: u16,
    timestamp: u32,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    sequence: u16,
    timestamp: u32,
    arrival: Duration,
    /// From the access unit before to this one; 0 while unknown.
    step: u32,
}

/// A pause in ticks of a clock, wrapping as RTP does.
pub(crate) fn ticks(pause: Duration, clock_rate: u32) -> u32 {
    let ticks = pause.as_micros() * u128::from(clock_rate) / 1_000_000;
    // Wrapping is what an RTP timestamp does after 13 hours.
    (ticks & u128::from(u32::MAX)) as u32
}

impl Numbering {
    /// `seed` gives the first numbers (RFC 3550 §5.1 wants them random).
    pub(crate) fn new(ssrc: u32, clock_rate: u32, seed: u32, now: Duration) -> Self {
        Self {
            ssrc,
            clock_rate: clock_rate.max(1),
            delta: None,
            last: Last {
                // Half of the space only: some clients stumble over a wrap in the first second.
                sequence: (seed >> 17) as u16,
                timestamp: seed >> 1,
                arrival: now,
                step: 0,
            },
        }
    }

    pub(crate) fn ssrc(&self) -> u32 {
        self.ssrc
    }

    pub(crate) fn clock_rate(&self) -> u32 {
        self.clock_rate
    }

    /// The camera begins anew.
    pub(crate) fn restart(&mut self) {
        self.delta = None;
    }

    /// Whether a packet has come since the last restart.
    pub(crate) fn is_running(&self) -> bool {
        self.delta.is_some()
    }

    /// Replaces the camera's numbers by ours.
    pub(crate) fn number(&mut self, marks: Marks, now: Duration) -> Marks {
        let (next_sequence, next_timestamp) = self.next(now);
        if marks.jumped
            && let Some(delta) = &mut self.delta
        {
            // A hole of one: something is missing, and nobody knows how much. retina ends a take at a number that goes back.
            delta.sequence = next_sequence.wrapping_add(1).wrapping_sub(marks.sequence);
        }
        let delta = *self.delta.get_or_insert_with(|| Delta {
            sequence: next_sequence.wrapping_sub(marks.sequence),
            timestamp: next_timestamp.wrapping_sub(marks.timestamp),
        });
        let sequence = marks.sequence.wrapping_add(delta.sequence);
        let timestamp = marks.timestamp.wrapping_add(delta.timestamp);
        let step = timestamp.wrapping_sub(self.last.timestamp);
        let forward = step != 0 && step < 1 << 31;
        self.last = Last {
            sequence,
            timestamp,
            arrival: now,
            step: if forward { step } else { self.last.step },
        };
        Marks {
            sequence,
            timestamp,
            ssrc: self.ssrc,
            ..marks
        }
    }

    /// Our timestamp for one of the camera's; `None` before the first packet of this read.
    pub(crate) fn timestamp(&self, camera: u32) -> Option<u32> {
        self.delta.map(|delta| camera.wrapping_add(delta.timestamp))
    }

    /// Sequence and timestamp that the next packet will have if nothing is lost.
    pub(crate) fn next(&self, now: Duration) -> (u16, u32) {
        let step = if self.delta.is_some() && self.last.step > 0 {
            self.last.step
        } else {
            ticks(now.saturating_sub(self.last.arrival), self.clock_rate).max(1)
        };
        (
            self.last.sequence.wrapping_add(1),
            self.last.timestamp.wrapping_add(step),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(sequence: u16, timestamp: u32) -> Marks {
        Marks {
            sequence,
            timestamp,
            ssrc: 1,
            au_start: true,
            au_end: true,
            idr: false,
            parameter_sets: false,
            disposable: false,
            damaged: false,
            gap: 0,
            jumped: false,
        }
    }

    #[test]
    fn a_flap_goes_on_by_one_and_by_the_time_that_passed() {
        let mut numbering = Numbering::new(77, 90_000, 0xffff_ffff, Duration::ZERO);
        let first = numbering.number(marks(65_535, u32::MAX), Duration::from_secs(1));
        let second = numbering.number(marks(0, 3599), Duration::from_millis(1040));
        assert_eq!(second.sequence, first.sequence.wrapping_add(1));
        assert_eq!(second.timestamp, first.timestamp.wrapping_add(3600));
        numbering.restart();
        let third = numbering.number(marks(40_000, 5), Duration::from_millis(6040));
        assert_eq!(
            (third.ssrc, third.sequence),
            (77, second.sequence.wrapping_add(1))
        );
        assert_eq!(third.timestamp, second.timestamp.wrapping_add(5 * 90_000));
    }

    #[test]
    fn a_hole_of_the_camera_stays_a_hole() {
        let mut numbering = Numbering::new(1, 8000, 3, Duration::ZERO);
        let first = numbering.number(marks(10, 0), Duration::ZERO);
        let later = numbering.number(marks(14, 640), Duration::from_millis(80));
        assert_eq!(later.sequence.wrapping_sub(first.sequence), 4);
    }

    #[test]
    fn a_jump_of_the_camera_is_a_hole_of_one_and_time_goes_on() {
        let mut numbering = Numbering::new(1, 90_000, 3, Duration::ZERO);
        let first = numbering.number(marks(10, 0), Duration::ZERO);
        let jumped = Marks {
            jumped: true,
            ..marks(40_011, 3_600)
        };
        let after = numbering.number(jumped, Duration::from_millis(40));
        assert_eq!(after.sequence.wrapping_sub(first.sequence), 2);
        assert_eq!(after.timestamp.wrapping_sub(first.timestamp), 3_600);
        let next = numbering.number(marks(40_012, 7_200), Duration::from_millis(80));
        assert_eq!(next.sequence.wrapping_sub(after.sequence), 1);
    }

    #[test]
    fn what_is_foretold_comes() {
        let mut numbering = Numbering::new(1, 90_000, 9, Duration::ZERO);
        let foretold = numbering.next(Duration::from_secs(2));
        let first = numbering.number(marks(10, 55), Duration::from_secs(2));
        assert_eq!(foretold, (first.sequence, first.timestamp));
        numbering.number(marks(11, 3655), Duration::from_secs(2));
        let foretold = numbering.next(Duration::from_secs(3));
        let third = numbering.number(marks(12, 7255), Duration::from_secs(3));
        assert_eq!(foretold, (third.sequence, third.timestamp));
    }
}
