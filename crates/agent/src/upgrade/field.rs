//! Numbers modulo 2²⁵⁵ − 19, for [`super::ed25519`]. Eight words of 32 bits: what a MIPS multiplies. Everything here is public (a signature, a
//! release key), so nothing is constant in time, and there are no tables.

/// A number below 2²⁵⁶, any of those that are equal modulo p.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number(pub(super) [u32; 8]);

pub(super) const ZERO: Number = Number([0; 8]);
pub(super) const ONE: Number = Number([1, 0, 0, 0, 0, 0, 0, 0]);

/// 2²⁵⁶ is 38 modulo p.
const OVER: u32 = 38;

/// Adds `carry` × 2²⁵⁶.
fn fold(words: &mut [u32; 8], mut carry: u64) {
    while carry > 0 {
        carry *= u64::from(OVER);
        for word in words.iter_mut() {
            carry += u64::from(*word);
            *word = low(carry);
            carry >>= 32;
        }
    }
}

fn low(value: u64) -> u32 {
    (value & u64::from(u32::MAX)) as u32
}

/// `left − right`, and whether that is negative: then 2²⁵⁶ was added.
pub(super) fn minus(left: &[u32; 8], right: &[u32; 8]) -> ([u32; 8], bool) {
    let mut words = *left;
    let mut borrow = false;
    for (word, right) in words.iter_mut().zip(right) {
        let (once, first) = word.overflowing_sub(*right);
        let (twice, second) = once.overflowing_sub(u32::from(borrow));
        *word = twice;
        borrow = first || second;
    }
    (words, borrow)
}

/// The words of 32 bytes, the lowest first.
pub(super) fn words_of(bytes: &[u8; 32]) -> [u32; 8] {
    let mut words = [0; 8];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks(4)) {
        *word = bytes
            .iter()
            .rev()
            .fold(0, |word, byte| word << 8 | u32::from(*byte));
    }
    words
}

/// Bit `at` of 32 bytes or more, counted from the lowest; 0 beyond them.
pub(super) fn bit(bytes: &[u8], at: usize) -> bool {
    bytes
        .get(at / 8)
        .is_some_and(|byte| byte >> (at % 8) & 1 == 1)
}

impl Number {
    pub(super) fn plus(&self, other: &Number) -> Number {
        let mut words = self.0;
        let mut carry = 0;
        for (word, other) in words.iter_mut().zip(other.0) {
            carry += u64::from(*word) + u64::from(other);
            *word = low(carry);
            carry >>= 32;
        }
        fold(&mut words, carry);
        Number(words)
    }

    pub(super) fn minus(&self, other: &Number) -> Number {
        let (mut words, mut negative) = minus(&self.0, &other.0);
        while negative {
            (words, negative) = minus(&words, &[OVER, 0, 0, 0, 0, 0, 0, 0]);
        }
        Number(words)
    }

    pub(super) fn times(&self, other: &Number) -> Number {
        let mut wide = [0u32; 16];
        for (start, left) in self.0.iter().enumerate() {
            let mut carry = 0u64;
            let mut row = wide.iter_mut().skip(start);
            // In this order: when `other` ends, the row has not been asked for one more.
            for (right, slot) in other.0.iter().zip(row.by_ref()) {
                carry += u64::from(*left) * u64::from(*right) + u64::from(*slot);
                *slot = low(carry);
                carry >>= 32;
            }
            if let Some(slot) = row.next() {
                *slot = low(carry);
            }
        }
        let (lower, upper) = wide.split_at(8);
        let mut words = [0; 8];
        let mut carry = 0u64;
        for (word, (lower, upper)) in words.iter_mut().zip(lower.iter().zip(upper)) {
            carry += u64::from(*upper) * u64::from(OVER) + u64::from(*lower);
            *word = low(carry);
            carry >>= 32;
        }
        fold(&mut words, carry);
        Number(words)
    }

    /// To the power whose 32 bytes are `first`, thirty of 0xff, `last`: every power that is needed here has this form.
    pub(super) fn power(&self, first: u8, last: u8) -> Number {
        let mut exponent = [0xff; 32];
        let [lowest, .., highest] = &mut exponent;
        (*lowest, *highest) = (first, last);
        let mut result = ONE;
        for at in (0..256).rev() {
            result = result.times(&result);
            if bit(&exponent, at) {
                result = result.times(self);
            }
        }
        result
    }

    /// The 32 bytes of the one equal number below p.
    pub(super) fn bytes(&self) -> [u8; 32] {
        let prime = [
            u32::MAX - 18,
            u32::MAX,
            u32::MAX,
            u32::MAX,
            u32::MAX,
            u32::MAX,
            u32::MAX,
            u32::MAX >> 1,
        ];
        let mut words = self.0;
        // 2²⁵⁶ is a little more than 2p.
        for _ in 0..2 {
            let (less, negative) = minus(&words, &prime);
            if !negative {
                words = less;
            }
        }
        let mut bytes = [0; 32];
        for (bytes, word) in bytes.chunks_mut(4).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    pub(super) fn equals(&self, other: &Number) -> bool {
        self.bytes() == other.bytes()
    }

    pub(super) fn is_odd(&self) -> bool {
        bit(&self.bytes(), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number() -> impl Strategy<Value = Number> {
        let edge = prop_oneof![
            Just(0u32),
            Just(1),
            Just(u32::MAX),
            Just(u32::MAX - 18),
            any::<u32>()
        ];
        prop::array::uniform8(edge).prop_map(Number)
    }

    proptest! {
        #[test]
        fn it_is_a_field(a in number(), b in number(), c in number()) {
            let eq = |left: Number, right: Number| assert!(left.equals(&right), "{left:?} {right:?}");
            eq(a.plus(&b), b.plus(&a));
            eq(a.times(&b), b.times(&a));
            eq(a.times(&b).times(&c), a.times(&b.times(&c)));
            eq(a.times(&b.plus(&c)), a.times(&b).plus(&a.times(&c)));
            eq(a.minus(&b).plus(&b), a);
            eq(a.times(&ONE), a);
            eq(a.minus(&a), ZERO);
            if !a.equals(&ZERO) {
                // p − 2
                eq(a.times(&a.power(0xeb, 0x7f)), ONE);
            }
        }
    }
}
