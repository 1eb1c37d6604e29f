//! Text that came from outside (S33).
//!
//! A stranger's SSH version, a camera's log line, a path in a request: each is of type [`Untrusted`] until it is printed, and what is
//! printed has no control character left, so that it can neither clear a terminal, nor forge a log line, nor turn text around.

use std::fmt::{self, Debug, Display, Write};

/// How many characters of a foreign value are shown; more than that is noise, and a stranger must not fill the log.
pub const SHOWN: usize = 256;

/// A value whose text came from outside. `Display` and `Debug` escape and cut it; [`Untrusted::get`] gives the value itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Untrusted<T>(T);

impl<T> Untrusted<T> {
    /// Marks a value as foreign.
    pub const fn new(value: T) -> Self {
        Untrusted(value)
    }

    /// The value as it came: for parsing and comparing, not for printing.
    pub const fn get(&self) -> &T {
        &self.0
    }

    /// Gives the value back.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<'a> Untrusted<std::borrow::Cow<'a, str>> {
    /// Foreign bytes; what is no UTF-8 is shown as U+FFFD.
    #[must_use]
    pub fn bytes(bytes: &'a [u8]) -> Self {
        Untrusted(String::from_utf8_lossy(bytes))
    }
}

impl<T> From<T> for Untrusted<T> {
    fn from(value: T) -> Self {
        Untrusted(value)
    }
}

impl<T: Display> Display for Untrusted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut escaped = Escaping {
            out: f,
            left: SHOWN,
        };
        match write!(escaped, "{}", self.0) {
            // The writer stops the formatting when enough was shown; the mark is already out.
            Err(_) if escaped.left == 0 => Ok(()),
            other => other,
        }
    }
}

impl<T: Display> Debug for Untrusted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

struct Escaping<'a, 'b> {
    out: &'a mut fmt::Formatter<'b>,
    left: usize,
}

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if self.left == 0 {
                return Err(fmt::Error);
            }
            self.left -= 1;
            if harmless(character) {
                self.out.write_char(character)?;
            } else {
                write!(self.out, "{}", character.escape_default())?;
            }
            if self.left == 0 {
                self.out.write_char('…')?;
            }
        }
        Ok(())
    }
}

/// Neither a control character nor one that moves, hides or reverses what stands beside it.
#[must_use]
pub fn shows_itself(character: char) -> bool {
    let hidden = matches!(
        character,
        '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    );
    !character.is_control() && !hidden
}

/// Text in which nothing clears a terminal or turns text around (rule S33): words of cameras and strangers may be in it, and on a cluster those of pods
/// that face them.
#[must_use]
pub fn harmless_text(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        // Scripts of completions have tabs.
        if matches!(character, '\n' | '\t') || shows_itself(character) {
            shown.push(character);
        } else {
            shown.extend(character.escape_default());
        }
    }
    shown
}

/// What is shown as it is: not the escape's own backslash.
fn harmless(character: char) -> bool {
    shows_itself(character) && character != '\\'
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_terminal_sequence_and_a_forged_line_are_shown_as_text() {
        let name = Untrusted::new("cam\x1b[2J\nINFO up camera=acme/yard\u{202e}");
        assert_eq!(
            name.to_string(),
            "cam\\u{1b}[2J\\nINFO up camera=acme/yard\\u{202e}"
        );
        assert_eq!(format!("{:?}", Untrusted::new("a\tb")), "\"a\\tb\"");
    }

    #[test]
    fn letters_of_any_script_stay_readable() {
        assert_eq!(
            Untrusted::new("Einfahrt Süd 東門").to_string(),
            "Einfahrt Süd 東門"
        );
    }

    #[test]
    fn a_long_value_is_cut_with_a_mark() {
        let shown = Untrusted::new("x".repeat(10_000)).to_string();
        assert_eq!(shown.chars().count(), SHOWN + 1);
        assert!(shown.ends_with('…'));
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_too() {
        assert_eq!(
            Untrusted::bytes(b"SSH-2.0-\xff\x00").to_string(),
            "SSH-2.0-\u{fffd}\\u{0}"
        );
    }

    proptest! {
        #[test]
        fn nothing_printed_is_a_control_character(text in ".{0,300}|\\PC*|[\\x00-\\x1f\\x7f-\\x9f]*") {
            let shown = Untrusted::new(text).to_string();
            prop_assert!(!shown.chars().any(char::is_control), "{shown:?}");
        }
    }
}
