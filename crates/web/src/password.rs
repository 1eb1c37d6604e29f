//! Passwords that are made for people.

use rand::Rng as _;

/// Letters and digits that nobody confuses.
const LETTERS: &[u8] = b"abcdefghjkmnpqrstuvwxyz23456789";
/// 20 of 31 letters are 99 bits.
const LENGTH: usize = 20;

/// A password that people can type.
pub fn made_password() -> String {
    let mut random = rand::rng();
    let letter = |index: usize| LETTERS.get(index).map(|letter| char::from(*letter));
    (0..LENGTH)
        .filter_map(|_| letter(random.random_range(0..LETTERS.len())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_passwords_differ_and_are_long() {
        let (one, other) = (made_password(), made_password());
        assert_ne!(one, other);
        assert_eq!((one.len(), other.len()), (LENGTH, LENGTH));
    }
}
