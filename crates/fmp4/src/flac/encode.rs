//! One FLAC frame (RFC 9639 §9).

use super::bit_writer::{BitWriter, crc8, crc16};

const ORDERS: usize = 5;
const MAX_PARTITION_ORDER: u32 = 4;
const MAX_RICE: u32 = 14; // 15 is the escape

/// Encodes 1 … 4,608 samples as the frame whose first sample has this number (modulo 2³⁶).
pub(super) fn encode(rate: u32, start: u64, samples: &[i16]) -> Vec<u8> {
    let mut w = BitWriter::default();
    w.bits(0xfff9, 16); // sync, variable block size
    let (rate_code, rate_bits) = match rate {
        8000 => (4, 0),
        16_000 => (5, 0),
        48_000 => (10, 0),
        _ => (13, 16),
    };
    w.bits(7, 4); // block size: 16 bits at the end of the header
    w.bits(rate_code, 4);
    w.bits(0b0000_1000, 8); // mono, 16 bits per sample, reserved
    coded_number(&mut w, start & 0xf_ffff_ffff);
    w.bits(samples.len() as u32 - 1, 16);
    w.bits(rate, rate_bits);
    let crc = crc8(w.bytes());
    w.bits(u32::from(crc), 8);
    subframe(&mut w, samples);
    w.align();
    let crc = crc16(w.bytes());
    w.bits(u32::from(crc), 16);
    w.into_inner()
}

/// UTF-8's scheme, extended to 36 bits (§9.1.5).
fn coded_number(w: &mut BitWriter, number: u64) {
    if number < 0x80 {
        return w.bits(number as u32, 8);
    }
    // n continuation bytes of 6 bits; the first byte has 6 - n bits, from n = 6 on none
    let more = (1..=6u32)
        .find(|n| number >> (6 * n + (6 - n)) == 0)
        .unwrap_or(6);
    let lead = 0xff00u32 >> (more + 1) & 0xff;
    w.bits(lead | (number >> (6 * more)) as u32, 8);
    for n in (0..more).rev() {
        w.bits(0x80 | (number >> (6 * n)) as u32 & 0x3f, 8);
    }
}

fn subframe(w: &mut BitWriter, samples: &[i16]) {
    let wasted = samples
        .iter()
        .fold(0, |all, sample| all | sample)
        .trailing_zeros();
    let first = samples.first().copied().unwrap_or(0);
    if samples.iter().all(|&sample| sample == first) {
        w.bits(0, 8);
        return w.bits(first as u16 as u32, 16);
    }
    let depth = 16 - wasted;
    let values: Vec<i32> = samples
        .iter()
        .map(|&sample| i32::from(sample) >> wasted)
        .collect();
    let header = |w: &mut BitWriter, kind: u32| {
        w.bits(kind << 1 | u32::from(wasted > 0), 8);
        if wasted > 0 {
            w.unary(wasted - 1);
        }
    };
    let (order, residual) = best_order(&values);
    let plan = plan(&residual, values.len(), order);
    let verbatim = values.len() as u64 * u64::from(depth);
    if plan.bits + u64::from(depth) * order as u64 >= verbatim {
        header(w, 1);
        return values.iter().for_each(|&value| w.bits(value as u32, depth));
    }
    header(w, 8 | order as u32);
    values
        .iter()
        .take(order)
        .for_each(|&value| w.bits(value as u32, depth));
    w.bits(0, 2); // Rice parameters of 4 bits
    w.bits(plan.order, 4);
    for (part, k) in partitions(&residual, values.len(), order, plan.order).zip(plan.parameters) {
        w.bits(k, 4);
        for &value in part {
            let folded = fold(value);
            w.unary(folded >> k);
            w.bits(folded, k);
        }
    }
}

/// The fixed predictor (§9.2.5) with the smallest sum of absolute residuals, and the residual.
fn best_order(values: &[i32]) -> (usize, Vec<i32>) {
    let mut difference = values.to_vec();
    let mut best = (0, difference.clone());
    let mut best_sum = magnitude(&difference);
    for order in 1..ORDERS.min(values.len()) {
        // each order's residual is the difference of the one before: 16 bits grow to at most 20
        difference = difference
            .iter()
            .zip(difference.iter().skip(1))
            .map(|(before, now)| now - before)
            .collect();
        let sum = magnitude(&difference);
        if sum < best_sum {
            best_sum = sum;
            best = (order, difference.clone());
        }
    }
    best
}

fn magnitude(values: &[i32]) -> u64 {
    values
        .iter()
        .map(|value| u64::from(value.unsigned_abs()))
        .sum()
}

/// Signed to unsigned: 0, -1, 1, -2, … (§9.2.7.2).
fn fold(value: i32) -> u32 {
    (value << 1 ^ value >> 31) as u32
}

struct Plan {
    order: u32,
    parameters: Vec<u32>,
    bits: u64,
}

/// The cheapest partitioning of the residual.
fn plan(residual: &[i32], block: usize, order: usize) -> Plan {
    let mut best = Plan {
        order: 0,
        parameters: Vec::new(),
        bits: u64::MAX,
    };
    for partition_order in 0..=MAX_PARTITION_ORDER {
        let len = block >> partition_order;
        if len << partition_order != block || len <= order {
            break;
        }
        let (mut bits, mut parameters) = (6, Vec::new());
        for part in partitions(residual, block, order, partition_order) {
            let (k, cost) = rice(part);
            parameters.push(k);
            bits += 4 + cost;
        }
        if bits < best.bits {
            best = Plan {
                order: partition_order,
                parameters,
                bits,
            };
        }
    }
    best
}

/// The best Rice parameter and what it costs.
fn rice(part: &[i32]) -> (u32, u64) {
    let cost = |k: u32| {
        part.iter()
            .map(|&value| u64::from(fold(value) >> k) + 1 + u64::from(k))
            .sum::<u64>()
    };
    let (mut best, mut least) = (0, cost(0));
    for k in 1..=MAX_RICE {
        let now = cost(k);
        if now > least {
            break; // the cost is convex in k
        }
        (best, least) = (k, now);
    }
    (best, least)
}

/// The first partition is shorter by the predictor's order.
fn partitions(
    residual: &[i32],
    block: usize,
    order: usize,
    partition_order: u32,
) -> impl Iterator<Item = &[i32]> {
    let len = block >> partition_order;
    let (first, rest) = residual
        .split_at_checked(len.saturating_sub(order))
        .unwrap_or((residual, &[]));
    std::iter::once(first).chain(rest.chunks(len.max(1)))
}
