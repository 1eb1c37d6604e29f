//! Verifying Ed25519 signatures (RFC 8032, section 5.1.7), and nothing else: the agent signs nothing.
//!
//! Strict, so that one message has one signature and no key signs everything: S is below the group's order, points have their one encoding,
//! and neither the key nor R is of small order. Not constant in time: all of it is public. No tables of points: one signature is checked per
//! upgrade, in some ten thousand multiplications.

use super::field::{Number, ONE, ZERO, bit, minus, words_of};
use super::sha512::Sha512;

/// The curve's d, −121665/121666.
const D: Number = Number([
    0x1359_78a3,
    0x75eb_4dca,
    0x4141_d8ab,
    0x0070_0a4d,
    0x7779_e898,
    0x8cc7_4079,
    0x2b6f_fe73,
    0x5203_6cee,
]);

/// The order of the base point, 2²⁵² + 27742317777372353535851937790883648493.
const ORDER: [u32; 8] = [
    0x5cf5_d3ed,
    0x5812_631a,
    0xa2f7_9cd6,
    0x14de_f9de,
    0,
    0,
    0,
    0x1000_0000,
];

/// A point as (X : Y : Z : T), with x = X/Z, y = Y/Z, xy = T/Z (section 5.1.4).
#[derive(Debug, Clone, Copy)]
struct Point {
    x: Number,
    y: Number,
    z: Number,
    t: Number,
}

const NEUTRAL: Point = Point {
    x: ZERO,
    y: ONE,
    z: ONE,
    t: ZERO,
};

impl Point {
    /// The point that these bytes are the one encoding of.
    fn decode(bytes: &[u8; 32]) -> Option<Point> {
        let odd = bit(bytes, 255);
        let mut plain = *bytes;
        if let Some(last) = plain.last_mut() {
            *last &= 0x7f;
        }
        let y = Number(words_of(&plain));
        if y.bytes() != plain {
            return None;
        }
        // x² = (y² − 1) / (dy² + 1) = u/v; a root of it is uv³(uv⁷)^((p−5)/8), perhaps times a root of −1.
        let square = y.times(&y);
        let (u, v) = (square.minus(&ONE), D.times(&square).plus(&ONE));
        let v3 = v.times(&v).times(&v);
        let v7 = v3.times(&v3).times(&v);
        let mut x = u.times(&v3).times(&u.times(&v7).power(0xfd, 0x0f));
        let found = v.times(&x).times(&x);
        if !found.equals(&u) {
            if !found.equals(&ZERO.minus(&u)) {
                return None;
            }
            // 2^((p−1)/4)
            x = x.times(&ONE.plus(&ONE).power(0xfb, 0x1f));
        }
        if x.equals(&ZERO) && odd {
            return None;
        }
        if x.is_odd() != odd {
            x = ZERO.minus(&x);
        }
        Some(Point {
            x,
            y,
            z: ONE,
            t: x.times(&y),
        })
    }

    fn encode(&self) -> [u8; 32] {
        // 1/Z = Z^(p−2)
        let inverse = self.z.power(0xeb, 0x7f);
        let mut bytes = self.y.times(&inverse).bytes();
        if let Some(last) = bytes.last_mut()
            && self.x.times(&inverse).is_odd()
        {
            *last |= 0x80;
        }
        bytes
    }

    /// Complete: also for doubling, and for the neutral point.
    fn plus(&self, other: &Point) -> Point {
        let a = self.y.minus(&self.x).times(&other.y.minus(&other.x));
        let b = self.y.plus(&self.x).times(&other.y.plus(&other.x));
        let c = self.t.times(&other.t).times(&D.plus(&D));
        let d = self.z.times(&other.z);
        let d = d.plus(&d);
        let (e, f, g, h) = (b.minus(&a), d.minus(&c), d.plus(&c), b.plus(&a));
        Point {
            x: e.times(&f),
            y: g.times(&h),
            z: f.times(&g),
            t: e.times(&h),
        }
    }

    fn negative(&self) -> Point {
        Point {
            x: ZERO.minus(&self.x),
            t: ZERO.minus(&self.t),
            ..*self
        }
    }

    /// Eight times it is the neutral point.
    fn is_small(&self) -> bool {
        let mut point = *self;
        for _ in 0..3 {
            point = point.plus(&point);
        }
        point.x.equals(&ZERO) && point.y.equals(&point.z)
    }
}

/// 64 bytes, the lowest first, modulo the group's order.
fn modulo_order(bytes: &[u8; 64]) -> [u8; 32] {
    let mut rest = [0u32; 8];
    for at in (0..512).rev() {
        let mut carry = u32::from(bit(bytes, at));
        // Below the order, which has 253 bits: twice it has room.
        for word in &mut rest {
            let next = *word >> 31;
            *word = *word << 1 | carry;
            carry = next;
        }
        let (less, negative) = minus(&rest, &ORDER);
        if !negative {
            rest = less;
        }
    }
    let mut reduced = [0; 32];
    for (bytes, word) in reduced.chunks_mut(4).zip(rest) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    reduced
}

/// Whether this is the key's signature of the message.
#[must_use]
pub fn verifies(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    holds(key, message, signature).is_some()
}

fn holds(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> Option<()> {
    let (r, s) = signature.split_first_chunk::<32>()?;
    let s: &[u8; 32] = s.try_into().ok()?;
    let (_, below) = minus(&words_of(s), &ORDER);
    let a = Point::decode(key).filter(|a| below && !a.is_small())?;
    let k = modulo_order(&Sha512::of(&[r, key, message]));
    let mut base = [0x66; 32];
    base[0] = 0x58;
    let (base, minus_a) = (Point::decode(&base)?, a.negative());
    // [S]B − [k]A, both at once.
    let mut sum = NEUTRAL;
    for at in (0..256).rev() {
        sum = sum.plus(&sum);
        if bit(s, at) {
            sum = sum.plus(&base);
        }
        if bit(&k, at) {
            sum = sum.plus(&minus_a);
        }
    }
    (sum.encode() == *r && !sum.is_small()).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
    use proptest::prelude::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
        digits
            .chunks(2)
            .map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap())
            .collect()
    }

    fn holds(key: &str, message: &str, signature: &str) -> bool {
        let key: [u8; 32] = hex(key).try_into().unwrap();
        let signature: [u8; 64] = hex(signature).try_into().unwrap();
        verifies(&key, &hex(message), &signature)
    }

    /// RFC 8032, section 7.1.
    #[test]
    fn the_rfc_s_vectors_hold() {
        for (key, message, signature) in [
            (
                "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
                "",
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
            ),
            (
                "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
                "72",
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
            ),
            (
                "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
                "af82",
                "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
            ),
            (
                "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
                "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
            ),
        ] {
            assert!(holds(key, message, signature), "{key}");
        }
    }

    /// The points of order 1, 2, 4 and 8, and every other encoding of them: with such a key S = 0 would sign any message.
    #[test]
    fn a_key_of_small_order_signs_nothing() {
        for key in [
            "0100000000000000000000000000000000000000000000000000000000000000",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "0000000000000000000000000000000000000000000000000000000000000000",
            "0000000000000000000000000000000000000000000000000000000000000080",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
            "0100000000000000000000000000000000000000000000000000000000000080",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        ] {
            let key: [u8; 32] = hex(key).try_into().unwrap();
            for r in [key, NEUTRAL.encode()] {
                for turn in 0..16u8 {
                    let signature: [u8; 64] = [r, [0; 32]].concat().try_into().unwrap();
                    assert!(!verifies(&key, &[turn], &signature), "{key:x?}");
                }
            }
        }
    }

    /// The same signature with S + L: a second text for one message.
    #[test]
    fn a_signature_has_one_form() {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let key: [u8; 32] = pair.public_key().as_ref().try_into().unwrap();
        let signature: [u8; 64] = pair.sign(b"m").as_ref().try_into().unwrap();
        assert!(verifies(&key, b"m", &signature));
        let mut carry = 0u64;
        let mut more = signature;
        for (bytes, order) in more[32..].chunks_mut(4).zip(ORDER) {
            carry += u64::from(u32::from_le_bytes(bytes.try_into().unwrap())) + u64::from(order);
            bytes.copy_from_slice(&u32::try_from(carry & 0xffff_ffff).unwrap().to_le_bytes());
            carry >>= 32;
        }
        assert!(!verifies(&key, b"m", &more));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn another_implementation_s_signatures_hold_and_a_changed_bit_does_not(
            seed: [u8; 32], message in prop::collection::vec(any::<u8>(), 0..200), at in 0usize..(96 * 8)
        ) {
            let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
            let mut key: [u8; 32] = pair.public_key().as_ref().try_into().unwrap();
            let mut signature: [u8; 64] = pair.sign(&message).as_ref().try_into().unwrap();
            prop_assert!(verifies(&key, &message, &signature));
            match at / 8 {
                byte @ 0..64 => signature[byte] ^= 1 << (at % 8),
                byte => key[byte - 64] ^= 1 << (at % 8),
            }
            prop_assert!(!verifies(&key, &message, &signature));
        }

        #[test]
        fn of_any_bytes_only_what_another_implementation_takes_is_taken(key: [u8; 32], signature: [u8; 32], s: [u8; 32]) {
            let signature: [u8; 64] = [signature, s].concat().try_into().unwrap();
            let other = UnparsedPublicKey::new(&ED25519, key);
            if verifies(&key, b"m", &signature) {
                prop_assert!(other.verify(b"m", &signature).is_ok());
            }
        }
    }
}
