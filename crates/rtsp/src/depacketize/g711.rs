//! G.711 to linear samples (ITU-T G.711).

/// Which law.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    /// A-law (PCMA).
    A,
    /// µ-law (PCMU).
    Mu,
}

/// One 16-bit sample per byte.
#[must_use]
pub fn decode(law: Law, bytes: &[u8]) -> Vec<i16> {
    let convert = match law {
        Law::A => a_law,
        Law::Mu => mu_law,
    };
    bytes.iter().map(|byte| convert(*byte)).collect()
}

fn a_law(byte: u8) -> i16 {
    let byte = byte ^ 0x55;
    let mantissa = i16::from(byte & 0x0f) << 4;
    let exponent = (byte & 0x70) >> 4;
    let magnitude = match exponent {
        0 => mantissa + 8,
        _ => (mantissa + 0x108) << (exponent - 1),
    };
    if byte & 0x80 != 0 {
        magnitude
    } else {
        -magnitude
    }
}

fn mu_law(byte: u8) -> i16 {
    let byte = !byte;
    let exponent = (byte & 0x70) >> 4;
    let magnitude = (((i16::from(byte & 0x0f) << 3) + 0x84) << exponent) - 0x84;
    if byte & 0x80 != 0 {
        -magnitude
    } else {
        magnitude
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        assert_eq!(
            decode(Law::Mu, &[0xff, 0x7f, 0x80, 0x00]),
            [0, 0, 32_124, -32_124]
        );
        assert_eq!(
            decode(Law::A, &[0xd5, 0x55, 0xaa, 0x2a]),
            [8, -8, 32_256, -32_256]
        );
    }

    #[test]
    fn every_byte_has_a_value_of_its_sign() {
        for byte in 0..=255u8 {
            assert_eq!(a_law(byte) > 0, byte & 0x80 != 0);
            assert!(mu_law(byte).signum() != if byte & 0x80 != 0 { -1 } else { 1 });
        }
    }
}
