//! SHA-512 (FIPS 180-4), for releases alone. Small rather than quick: an agent of 300 KB is hashed in a fraction of a second.

/// The first 64 bits of the fractional parts of the cube roots of the first 80 primes (section 4.2.3).
const ROUNDS: [u64; 80] = [
    0x428a_2f98_d728_ae22,
    0x7137_4491_23ef_65cd,
    0xb5c0_fbcf_ec4d_3b2f,
    0xe9b5_dba5_8189_dbbc,
    0x3956_c25b_f348_b538,
    0x59f1_11f1_b605_d019,
    0x923f_82a4_af19_4f9b,
    0xab1c_5ed5_da6d_8118,
    0xd807_aa98_a303_0242,
    0x1283_5b01_4570_6fbe,
    0x2431_85be_4ee4_b28c,
    0x550c_7dc3_d5ff_b4e2,
    0x72be_5d74_f27b_896f,
    0x80de_b1fe_3b16_96b1,
    0x9bdc_06a7_25c7_1235,
    0xc19b_f174_cf69_2694,
    0xe49b_69c1_9ef1_4ad2,
    0xefbe_4786_384f_25e3,
    0x0fc1_9dc6_8b8c_d5b5,
    0x240c_a1cc_77ac_9c65,
    0x2de9_2c6f_592b_0275,
    0x4a74_84aa_6ea6_e483,
    0x5cb0_a9dc_bd41_fbd4,
    0x76f9_88da_8311_53b5,
    0x983e_5152_ee66_dfab,
    0xa831_c66d_2db4_3210,
    0xb003_27c8_98fb_213f,
    0xbf59_7fc7_beef_0ee4,
    0xc6e0_0bf3_3da8_8fc2,
    0xd5a7_9147_930a_a725,
    0x06ca_6351_e003_826f,
    0x1429_2967_0a0e_6e70,
    0x27b7_0a85_46d2_2ffc,
    0x2e1b_2138_5c26_c926,
    0x4d2c_6dfc_5ac4_2aed,
    0x5338_0d13_9d95_b3df,
    0x650a_7354_8baf_63de,
    0x766a_0abb_3c77_b2a8,
    0x81c2_c92e_47ed_aee6,
    0x9272_2c85_1482_353b,
    0xa2bf_e8a1_4cf1_0364,
    0xa81a_664b_bc42_3001,
    0xc24b_8b70_d0f8_9791,
    0xc76c_51a3_0654_be30,
    0xd192_e819_d6ef_5218,
    0xd699_0624_5565_a910,
    0xf40e_3585_5771_202a,
    0x106a_a070_32bb_d1b8,
    0x19a4_c116_b8d2_d0c8,
    0x1e37_6c08_5141_ab53,
    0x2748_774c_df8e_eb99,
    0x34b0_bcb5_e19b_48a8,
    0x391c_0cb3_c5c9_5a63,
    0x4ed8_aa4a_e341_8acb,
    0x5b9c_ca4f_7763_e373,
    0x682e_6ff3_d6b2_b8a3,
    0x748f_82ee_5def_b2fc,
    0x78a5_636f_4317_2f60,
    0x84c8_7814_a1f0_ab72,
    0x8cc7_0208_1a64_39ec,
    0x90be_fffa_2363_1e28,
    0xa450_6ceb_de82_bde9,
    0xbef9_a3f7_b2c6_7915,
    0xc671_78f2_e372_532b,
    0xca27_3ece_ea26_619c,
    0xd186_b8c7_21c0_c207,
    0xeada_7dd6_cde0_eb1e,
    0xf57d_4f7f_ee6e_d178,
    0x06f0_67aa_7217_6fba,
    0x0a63_7dc5_a2c8_98a6,
    0x113f_9804_bef9_0dae,
    0x1b71_0b35_131c_471b,
    0x28db_77f5_2304_7d84,
    0x32ca_ab7b_40c7_2493,
    0x3c9e_be0a_15c9_bebc,
    0x431d_67c4_9c10_0d4c,
    0x4cc5_d4be_cb3e_42b6,
    0x597f_299c_fc65_7e2a,
    0x5fcb_6fab_3ad6_faec,
    0x6c44_198c_4a47_5817,
];

/// The same of the square roots of the first 8 (section 5.3.5).
const START: [u64; 8] = [
    0x6a09_e667_f3bc_c908,
    0xbb67_ae85_84ca_a73b,
    0x3c6e_f372_fe94_f82b,
    0xa54f_f53a_5f1d_36f1,
    0x510e_527f_ade6_82d1,
    0x9b05_688c_2b3e_6c1f,
    0x1f83_d9ab_fb41_bd6b,
    0x5be0_cd19_137e_2179,
];

const BLOCK: usize = 128;

/// A digest in the making.
#[derive(Debug, Clone)]
pub struct Sha512 {
    state: [u64; 8],
    waiting: Vec<u8>,
    /// Bytes so far. Files of 2⁶¹ bytes do not exist.
    length: u64,
}

impl Default for Sha512 {
    fn default() -> Self {
        Sha512 {
            state: START,
            waiting: Vec::with_capacity(BLOCK),
            length: 0,
        }
    }
}

impl Sha512 {
    /// The digest of these parts, one after another.
    #[must_use]
    pub fn of(parts: &[&[u8]]) -> [u8; 64] {
        let mut digest = Sha512::default();
        for part in parts {
            digest.push(part);
        }
        digest.end()
    }

    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.length = self.length.wrapping_add(bytes.len() as u64);
        for byte in bytes {
            self.waiting.push(*byte);
            if self.waiting.len() == BLOCK {
                self.block();
            }
        }
    }

    /// The digest.
    #[must_use]
    pub fn end(mut self) -> [u8; 64] {
        let bits = u128::from(self.length) * 8;
        self.push(&[0x80]);
        while self.waiting.len() != BLOCK - 16 {
            self.push(&[0]);
        }
        self.push(&bits.to_be_bytes());
        let mut digest = [0; 64];
        for (bytes, word) in digest.chunks_mut(8).zip(self.state) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        digest
    }

    fn block(&mut self) {
        // The last sixteen words of the schedule, the oldest first.
        let mut words = [0u64; 16];
        for (word, bytes) in words.iter_mut().zip(self.waiting.chunks(8)) {
            *word = bytes
                .iter()
                .fold(0, |word, byte| word << 8 | u64::from(*byte));
        }
        self.waiting.clear();
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = self.state;
        for constant in ROUNDS {
            let [oldest, second, .., late, _] = words;
            let [_, _, _, _, _, _, _, _, _, ninth, ..] = words;
            let t1 = h
                .wrapping_add(e.rotate_right(14) ^ e.rotate_right(18) ^ e.rotate_right(41))
                .wrapping_add((e & f) ^ (!e & g))
                .wrapping_add(constant)
                .wrapping_add(oldest);
            let t2 = (a.rotate_right(28) ^ a.rotate_right(34) ^ a.rotate_right(39))
                .wrapping_add((a & b) ^ (a & c) ^ (b & c));
            (h, g, f, e) = (g, f, e, d.wrapping_add(t1));
            (d, c, b, a) = (c, b, a, t1.wrapping_add(t2));
            let next = (late.rotate_right(19) ^ late.rotate_right(61) ^ (late >> 6))
                .wrapping_add(ninth)
                .wrapping_add(second.rotate_right(1) ^ second.rotate_right(8) ^ (second >> 7))
                .wrapping_add(oldest);
            words.copy_within(1.., 0);
            if let Some(last) = words.last_mut() {
                *last = next;
            }
        }
        for (old, new) in self.state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
            *old = old.wrapping_add(new);
        }
    }
}

/// Reads a digest in hexadecimal, as `sha512sum` prints it: the first word.
#[must_use]
pub fn from_hex(text: &str) -> Option<[u8; 64]> {
    let word = text.split_ascii_whitespace().next()?;
    let mut digest = [0; 64];
    if word.len() != 128 || !word.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(word.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(digest)
}

/// A digest as `sha512sum` prints it.
#[must_use]
pub fn to_hex(digest: &[u8; 64]) -> String {
    let mut text = String::with_capacity(128);
    for byte in digest {
        for half in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(half.into(), 16));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_standard_s_example_holds() {
        assert!(to_hex(&Sha512::of(&[b"abc"])).starts_with("ddaf35a193617abacc417349ae204131"));
        assert!(to_hex(&Sha512::of(&[])).starts_with("cf83e1357eefb8bdf1542850d66d8007"));
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_give_what_another_implementation_gives(
            bytes in prop::collection::vec(any::<u8>(), 0..700), cut in 1usize..200
        ) {
            let pieces: Vec<&[u8]> = bytes.chunks(cut).collect();
            let own = Sha512::of(&pieces);
            let other = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA512, &bytes);
            prop_assert_eq!(&own[..], other.as_ref());
            prop_assert_eq!(from_hex(&format!("{}  agent.new\n", to_hex(&own))), Some(own));
        }

        #[test]
        fn no_text_makes_the_digest_s_reader_panic(text: String) {
            let _ = from_hex(&text);
        }
    }
}
