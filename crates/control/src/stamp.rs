//! What a built agent says of itself in its own file, so that whoever signs, offers or starts it reads version and target instead of being told.

use crate::field::{Model, Version};

/// What a stamp begins with; the agent's own is `<mark><version> <target>` and LF.
pub const STAMP_MARK: &str = "moorline-agent-stamp ";

/// The longest rest of a stamp: a version and a target at their longest, the space and the LF.
const LONGEST: usize = 17 + 1 + 64 + 1;

/// What an agent's file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// Its version.
    pub version: Version,
    /// The target triple that it was built for.
    pub target: Model,
}

impl Stamp {
    /// The first stamp in a file's bytes. The mark alone may stand elsewhere, too: in whatever looks for stamps.
    #[must_use]
    pub fn find(file: &[u8]) -> Option<Stamp> {
        let mark = STAMP_MARK.as_bytes();
        let places = file.windows(mark.len()).enumerate();
        let mut places = places.filter(|(_, window)| *window == mark);
        places.find_map(|(at, _)| {
            let rest = file.get(at + mark.len()..)?;
            let line = rest.get(..rest.len().min(LONGEST))?;
            let line = line.split(|byte| *byte == b'\n').next()?;
            let mut words = line.split(|byte| *byte == b' ');
            let (version, target) = (words.next()?, words.next()?);
            let stamp = Stamp {
                version: Version::of(version)?,
                target: Model::of(target)?,
            };
            words.next().is_none().then_some(stamp)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_mark_alone_is_passed_over() {
        let file = b"\x7fELF moorline-agent-stamp moorline-agent-stamp 1.2.3 mipsel-unknown-linux-musl\nrest";
        let stamp = Stamp::find(file).unwrap();
        assert_eq!(stamp.version, Version(1, 2, 3));
        assert_eq!(stamp.target.as_str(), "mipsel-unknown-linux-musl");
        assert_eq!(Stamp::find(b"moorline-agent-stamp 1.2.3"), None);
    }

    proptest! {
        #[test]
        fn no_file_makes_it_panic(before: Vec<u8>, after: Vec<u8>) {
            let file = [&before, STAMP_MARK.as_bytes(), &after].concat();
            let _ = Stamp::find(&file);
            let stamped = [&before[..], STAMP_MARK.as_bytes(), b"4.5.6 x86_64\n", &after].concat();
            prop_assert_eq!(Stamp::find(&stamped).map(|stamp| stamp.version), Some(Version(4, 5, 6)));
        }
    }
}
