//! G.711 to 16-bit PCM (ITU-T G.711 tables 1 and 2, scaled to 16 bits).

/// One A-law octet, as it is on the wire (even bits inverted).
pub const fn expand_alaw(code: u8) -> i16 {
    let code = code ^ 0x55;
    let mantissa = ((code & 0x0f) as i16) << 4 | 8;
    let magnitude = match (code >> 4) & 7 {
        0 => mantissa,
        exponent => (mantissa + 0x100) << (exponent - 1),
    };
    if code & 0x80 == 0 {
        -magnitude
    } else {
        magnitude
    }
}

/// One µ-law octet, as it is on the wire (all bits inverted).
pub const fn expand_mulaw(code: u8) -> i16 {
    let code = !code;
    let exponent = (code >> 4) & 7;
    let magnitude = (((((code & 0x0f) as i16) << 3) + 0x84) << exponent) - 0x84;
    if code & 0x80 == 0 {
        magnitude
    } else {
        -magnitude
    }
}

/// The table of a law: for whoever expands by the million.
pub const fn table(alaw: bool) -> [i16; 256] {
    let mut table = [0; 256];
    let mut code = 0;
    #[expect(
        clippy::indexing_slicing,
        reason = "the loop counts to the table's length"
    )]
    while code < table.len() {
        table[code] = if alaw {
            expand_alaw(code as u8)
        } else {
            expand_mulaw(code as u8)
        };
        code += 1;
    }
    table
}

const ALAW: [i16; 256] = table(true);
const MULAW: [i16; 256] = table(false);

/// A packet of A-law.
pub fn alaw(codes: &[u8]) -> Vec<i16> {
    expand(codes, &ALAW)
}

/// A packet of µ-law.
pub fn mulaw(codes: &[u8]) -> Vec<i16> {
    expand(codes, &MULAW)
}

fn expand(codes: &[u8], table: &[i16; 256]) -> Vec<i16> {
    #[expect(clippy::indexing_slicing, reason = "256 entries for every u8")]
    codes.iter().map(|&code| table[usize::from(code)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_codes_expand_to_known_values() {
        assert_eq!(alaw(&[0xd5, 0x55, 0xaa, 0x2a]), [8, -8, 32_256, -32_256]);
        assert_eq!(mulaw(&[0xff, 0x7f, 0x80, 0x00]), [0, 0, 32_124, -32_124]);
    }
}
