//! A decoder for tests: it reads what RFC 9639 says, not what the encoder happens to write, and panics on anything else.

use super::bit_writer::{crc8, crc16};
use crate::codec::bits::BitReader;

struct Bits<'a>(BitReader<'a>, usize);

impl Bits<'_> {
    fn get(&mut self, n: u32) -> u32 {
        self.1 += n as usize;
        self.0.bits(n).unwrap()
    }

    fn signed(&mut self, n: u32) -> i64 {
        let raw = i64::from(self.get(n));
        if n > 0 && raw >> (n - 1) & 1 == 1 {
            raw - (1 << n)
        } else {
            raw
        }
    }

    fn unary(&mut self) -> u32 {
        (0..).find(|_| self.get(1) == 1).unwrap()
    }
}

/// The first sample's number, and the samples.
pub(super) fn decode(frame: &[u8]) -> (u64, Vec<i16>) {
    let mut r = Bits(BitReader::new(frame, "frame"), 0);
    assert_eq!(r.get(16), 0xfff9);
    let (block_code, rate_code) = (r.get(4), r.get(4));
    assert_eq!(r.get(8), 0b0000_1000);
    let lead = r.get(8) as u8;
    let ones = lead.leading_ones();
    let mut number = u64::from(if ones == 0 {
        lead
    } else {
        lead & (0x7fu8 >> ones)
    });
    for _ in 1..ones {
        let next = r.get(8);
        assert_eq!(next >> 6, 0b10);
        number = number << 6 | u64::from(next & 0x3f);
    }
    assert_eq!(block_code, 7);
    let len = r.get(16) as usize + 1;
    if rate_code == 13 {
        r.get(16);
    }
    let header = r.1 / 8;
    assert_eq!(r.get(8) as u8, crc8(&frame[..header]));

    let subframe = r.get(8);
    assert_eq!(subframe >> 7, 0);
    let wasted = if subframe & 1 == 1 { r.unary() + 1 } else { 0 };
    let depth = 16 - wasted;
    let values: Vec<i64> = match subframe >> 1 {
        0 => vec![r.signed(depth); len],
        1 => (0..len).map(|_| r.signed(depth)).collect(),
        kind @ 8..=12 => fixed(&mut r, len, depth, kind as usize - 8),
        other => panic!("subframe type {other}"),
    };
    let end = r.1.div_ceil(8);
    assert_eq!(frame.len(), end + 2);
    assert_eq!(frame[end..], crc16(&frame[..end]).to_be_bytes());
    (
        number,
        values
            .into_iter()
            .map(|value| i16::try_from(value << wasted).unwrap())
            .collect(),
    )
}

fn fixed(r: &mut Bits<'_>, len: usize, depth: u32, order: usize) -> Vec<i64> {
    let mut out: Vec<i64> = (0..order).map(|_| r.signed(depth)).collect();
    assert_eq!(r.get(2), 0);
    let partitions = 1 << r.get(4);
    for partition in 0..partitions {
        let k = r.get(4);
        assert_ne!(k, 15);
        let count = len / partitions - if partition == 0 { order } else { 0 };
        for _ in 0..count {
            let folded = r.unary() << k | r.get(k);
            let residual = i64::from(folded >> 1) ^ -i64::from(folded & 1);
            let at = |back: usize| out[out.len() - back];
            let predicted = match order {
                0 => 0,
                1 => at(1),
                2 => 2 * at(1) - at(2),
                3 => 3 * at(1) - 3 * at(2) + at(3),
                _ => 4 * at(1) - 6 * at(2) + 4 * at(3) - at(4),
            };
            out.push(predicted + residual);
        }
    }
    out
}
