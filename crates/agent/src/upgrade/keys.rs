//! Who may sign releases, and whether an offer is signed (S8).
//!
//! The keys stand in the file `release-keys` beside the agent's other files, not in the program: whoever builds the image decides who signs for
//! it, one program serves all images, and a key is changed without building. Who can write that file can write the program, too. Without the
//! file nothing is taken over a session.

use moorline_control::{Offer, Stamp, bytes_of_base64};

use super::ed25519;

/// Enough for a rotation. Each costs a verification.
const KEYS: usize = 4;

/// The release keys of this camera.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys(Vec<[u8; 32]>);

impl Keys {
    /// Reads the file: a line for each key, `ed25519 <base64 of 32 bytes>` and perhaps a comment; `#` begins a comment, too. Says how many lines
    /// are none, or too many.
    #[must_use]
    pub fn parse(text: &str) -> (Self, usize) {
        let (mut keys, mut wrong) = (Vec::new(), 0);
        for line in text.lines().map(str::trim_ascii) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match key(line) {
                Some(key) if keys.len() < KEYS => keys.push(key),
                _ => wrong += 1,
            }
        }
        (Keys(keys), wrong)
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this offer may be taken by an agent with that stamp; else the field that is wrong. In this order, so that nobody learns anything
    /// of the camera without a signature.
    ///
    /// # Errors
    /// The name of the field in UPGRADE.
    pub fn check(&self, offer: &Offer, own: Option<&Stamp>) -> Result<(), &'static str> {
        let text = offer.signed_text();
        let signed = |key: &[u8; 32]| ed25519::verifies(key, text.as_bytes(), &offer.signature);
        if !self.0.iter().any(signed) {
            return Err("signature");
        }
        if own.is_none_or(|own| own.target != offer.target) {
            return Err("target");
        }
        if own.is_none_or(|own| offer.version < own.version) {
            return Err("version");
        }
        if !(1..=super::LARGEST).contains(&offer.bytes) {
            return Err("bytes");
        }
        Ok(())
    }
}

fn key(line: &str) -> Option<[u8; 32]> {
    let mut words = line.split_ascii_whitespace();
    let kind = words.next()?;
    let bytes = bytes_of_base64(words.next()?)?;
    (kind == "ed25519").then(|| bytes.try_into().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    use moorline_control::{Model, Version, base64_of};
    use proptest::prelude::*;

    fn pair(seed: u8) -> (Ed25519KeyPair, String) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let line = format!("ed25519 {} {seed}", base64_of(pair.public_key().as_ref()));
        (pair, line)
    }

    fn offer(pair: &Ed25519KeyPair, target: &str, version: Version) -> Offer {
        let mut offer = Offer {
            target: Model::new(target).unwrap(),
            version,
            bytes: 1000,
            sha512: [7; 64],
            signature: [0; 64],
        };
        let signature = pair.sign(offer.signed_text().as_bytes());
        offer.signature = signature.as_ref().try_into().unwrap();
        offer
    }

    fn own() -> Stamp {
        Stamp {
            version: Version(0, 2, 0),
            target: Model::new("mipsel").unwrap(),
        }
    }

    #[test]
    fn an_offer_counts_when_a_key_of_the_image_signed_all_of_it() {
        let ((old, old_line), (new, new_line), (foreign, _)) = (pair(1), pair(2), pair(3));
        let (keys, wrong) = Keys::parse(&format!(
            "# ours\n{old_line}\n\n{new_line}\nrsa x\ned25519 AAAA\n"
        ));
        assert_eq!(wrong, 2);
        let check = |offer: &Offer| keys.check(offer, Some(&own()));
        for pair in [&old, &new] {
            for version in [Version(0, 2, 0), Version(0, 2, 1), Version(1, 0, 0)] {
                assert_eq!(check(&offer(pair, "mipsel", version)), Ok(()));
            }
        }
        let good = offer(&old, "mipsel", Version(0, 3, 0));
        let changed = [
            Offer {
                target: Model::new("mips").unwrap(),
                ..good.clone()
            },
            Offer {
                version: Version(0, 3, 1),
                ..good.clone()
            },
            Offer {
                bytes: 1001,
                ..good.clone()
            },
            Offer {
                sha512: [8; 64],
                ..good.clone()
            },
            offer(&foreign, "mipsel", Version(0, 3, 0)),
        ];
        for changed in changed {
            assert_eq!(check(&changed), Err("signature"), "{changed:?}");
        }
        assert_eq!(check(&offer(&old, "mips", Version(0, 3, 0))), Err("target"));
        assert_eq!(
            check(&offer(&old, "mipsel", Version(0, 1, 9))),
            Err("version")
        );
        assert_eq!(Keys::default().check(&good, Some(&own())), Err("signature"));
        assert_eq!(keys.check(&good, None), Err("target"));
    }

    proptest! {
        #[test]
        fn no_file_of_keys_makes_it_panic(text: String, word in "[A-Za-z0-9+/=]{0,60}") {
            let _ = Keys::parse(&text);
            let _ = Keys::parse(&format!("ed25519 {word}"));
        }
    }
}
