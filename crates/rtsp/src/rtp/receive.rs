//! What a receiver report says (RFC 3550 §6.4.1, appendix A.3 and A.8): loss and jitter of one track.

use std::time::Duration;

use super::rtcp::{ReportBlock, SenderReport};

/// Counts one source's packets for receiver reports. Bounded: a few numbers.
#[derive(Clone, Debug, Default)]
pub struct ReceiverStatistics {
    source: Option<Source>,
    clock_rate: u32,
}

#[derive(Clone, Debug)]
struct Source {
    ssrc: u32,
    base: u32,
    highest: u32,
    received: u32,
    prior_expected: u32,
    prior_received: u32,
    transit: Option<i64>,
    jitter: f64,
    last_sr: Option<(u32, Duration)>,
}

impl ReceiverStatistics {
    /// Statistics of a track whose RTP clock runs at `clock_rate` Hz.
    #[must_use]
    pub fn new(clock_rate: u32) -> Self {
        Self {
            source: None,
            clock_rate,
        }
    }

    /// Takes one packet in. A new SSRC starts from nothing.
    pub fn packet(&mut self, ssrc: u32, sequence: u16, timestamp: u32, now: Duration) {
        let clock = f64::from(self.clock_rate);
        let source = match &mut self.source {
            Some(source) if source.ssrc == ssrc => source,
            other => {
                let base = u32::from(sequence);
                other.insert(Source {
                    ssrc,
                    base,
                    highest: base,
                    received: 0,
                    prior_expected: 0,
                    prior_received: 0,
                    transit: None,
                    jitter: 0.0,
                    last_sr: None,
                })
            }
        };
        source.received = source.received.wrapping_add(1);
        let ahead = sequence.wrapping_sub(source.highest as u16);
        if ahead < 0x8000 {
            source.highest = source.highest.wrapping_add(u32::from(ahead));
        }
        let arrival = (now.as_secs_f64() * clock) as i64;
        let transit = arrival - i64::from(timestamp);
        if let Some(before) = source.transit {
            // A wrap of the 32-bit clock looks like a huge step; it says nothing about jitter.
            let step = (transit - before).abs();
            if step < 1 << 31 {
                source.jitter += (step as f64 - source.jitter) / 16.0;
            }
        }
        source.transit = Some(transit);
    }

    /// Takes a sender report in, for the round-trip fields.
    pub fn sender_report(&mut self, report: &SenderReport, now: Duration) {
        if let Some(source) = self
            .source
            .as_mut()
            .filter(|source| source.ssrc == report.ssrc)
        {
            source.last_sr = Some(((report.ntp >> 16) as u32, now));
        }
    }

    /// The block for the next report; `None` before the first packet.
    pub fn report(&mut self, now: Duration) -> Option<ReportBlock> {
        let source = self.source.as_mut()?;
        let expected = source.highest.wrapping_sub(source.base).wrapping_add(1);
        let lost = i64::from(expected) - i64::from(source.received);
        let expected_now = expected.wrapping_sub(source.prior_expected);
        let received_now = source.received.wrapping_sub(source.prior_received);
        let lost_now = i64::from(expected_now) - i64::from(received_now);
        source.prior_expected = expected;
        source.prior_received = source.received;
        let fraction = if expected_now == 0 || lost_now <= 0 {
            0
        } else {
            (lost_now << 8) / i64::from(expected_now)
        };
        let (last_sr, delay) = source.last_sr.map_or((0, 0), |(middle, at)| {
            (
                middle,
                (now.saturating_sub(at).as_secs_f64() * 65_536.0) as u32,
            )
        });
        Some(ReportBlock {
            ssrc: source.ssrc,
            fraction_lost: u8::try_from(fraction).unwrap_or(u8::MAX),
            cumulative_lost: i32::try_from(lost.clamp(-0x80_0000, 0x7f_ffff)).unwrap_or(0),
            highest_sequence: source.highest,
            jitter: source.jitter as u32,
            last_sr,
            delay_since_last_sr: delay,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_is_counted_across_the_wrap() {
        let mut statistics = ReceiverStatistics::new(90_000);
        assert_eq!(statistics.report(Duration::ZERO), None);
        for (n, sequence) in [65_534u16, 65_535, 2, 3].into_iter().enumerate() {
            statistics.packet(
                5,
                sequence,
                n as u32 * 3600,
                Duration::from_millis(40 * n as u64),
            );
        }
        let block = statistics.report(Duration::from_secs(1)).unwrap();
        assert_eq!((block.cumulative_lost, block.highest_sequence), (2, 65_539));
        assert_eq!(block.fraction_lost, (2 * 256 / 6) as u8);
        assert_eq!(
            statistics
                .report(Duration::from_secs(2))
                .unwrap()
                .fraction_lost,
            0
        );
    }

    #[test]
    fn delay_since_the_last_sender_report_is_told() {
        let mut statistics = ReceiverStatistics::new(8000);
        statistics.packet(5, 1, 0, Duration::ZERO);
        let report = SenderReport {
            ssrc: 5,
            ntp: 0x0000_1111_2222_0000,
            rtp_time: 0,
            packets: 0,
            octets: 0,
        };
        statistics.sender_report(&report, Duration::from_secs(1));
        let block = statistics.report(Duration::from_secs(3)).unwrap();
        assert_eq!(
            (block.last_sr, block.delay_since_last_sr),
            (0x1111_2222, 2 << 16)
        );
    }
}
