//! Base64 (RFC 4648, section 4), strict: padded, and nothing set in the bits that are cut off, so that one value has one text.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The base64 of some bytes, padded.
#[must_use]
pub fn base64_of(bytes: &[u8]) -> String {
    encode(bytes)
}

/// The bytes of a base64 text; `None` when it is none, or empty.
#[must_use]
pub fn bytes_of_base64(text: &str) -> Option<Vec<u8>> {
    decode(text.as_bytes())
}

pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut three = [0u8; 3];
        for (slot, byte) in three.iter_mut().zip(chunk) {
            *slot = *byte;
        }
        let [a, b, c] = three;
        let bits = u32::from_be_bytes([0, a, b, c]);
        for (index, shift) in [18u32, 12, 6, 0].into_iter().enumerate() {
            let digit = ALPHABET.get((bits >> shift & 63) as usize);
            let shown = if index <= chunk.len() { digit } else { None };
            text.push(shown.map_or('=', |digit| char::from(*digit)));
        }
    }
    text
}

pub(crate) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    if text.is_empty() || !text.len().is_multiple_of(4) {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let last = text.len() / 4 - 1;
    for (index, chunk) in text.chunks(4).enumerate() {
        let padding = chunk.iter().rev().take_while(|byte| **byte == b'=').count();
        if padding > 2 || (padding > 0 && index != last) {
            return None;
        }
        let mut bits = 0u32;
        for byte in chunk.iter().take(4 - padding) {
            bits = bits << 6 | digit(*byte)?;
        }
        bits <<= 6 * padding;
        let [_, three @ ..] = bits.to_be_bytes();
        let (kept, cut) = three.split_at_checked(3 - padding)?;
        if cut.iter().any(|byte| *byte != 0) {
            return None;
        }
        bytes.extend_from_slice(kept);
    }
    Some(bytes)
}

fn digit(byte: u8) -> Option<u32> {
    let (first, value) = match byte {
        b'A'..=b'Z' => (b'A', 0),
        b'a'..=b'z' => (b'a', 26),
        b'0'..=b'9' => (b'0', 52),
        b'+' => (b'+', 62),
        b'/' => (b'/', 63),
        _ => return None,
    };
    Some(u32::from(byte - first) + value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_rfc_s_vectors_hold() {
        for (plain, text) in [
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(plain.as_bytes()), text);
            assert_eq!(decode(text.as_bytes()).as_deref(), Some(plain.as_bytes()));
        }
    }

    #[test]
    fn a_second_text_for_the_same_bytes_is_refused() {
        for text in [
            "", "Zg=", "Zh==", "Zm9=", "Zg==Zg==", "====", "Z===", "Zm9v\n", "Zm-_",
        ] {
            assert_eq!(decode(text.as_bytes()), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn decode_undoes_encode_and_any_text_that_decodes_is_the_encoding(bytes: Vec<u8>, text in "[A-Za-z0-9+/=]{0,12}") {
            if !bytes.is_empty() {
                prop_assert_eq!(decode(encode(&bytes).as_bytes()), Some(bytes));
            }
            if let Some(decoded) = decode(text.as_bytes()) {
                prop_assert_eq!(encode(&decoded), text);
            }
        }
    }
}
