//! An ordered list of headers with names that compare without case (`cseq` is `CSeq`).

use crate::octets::clean;

/// Headers in the order of their appearance. Values hold no control characters and no outer blanks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    list: Vec<(String, String)>,
}

impl Headers {
    /// The first value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.list
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// All values of `name`, in order (`WWW-Authenticate` comes several times).
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.list
            .iter()
            .filter(move |(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// `CSeq` as a number. Some cameras send a trailing blank; that is no error.
    #[must_use]
    pub fn cseq(&self) -> Option<u32> {
        self.get("CSeq")?.trim().parse().ok()
    }

    /// Appends a header. Characters that a name may not hold (RFC 2326 §4.2) and control characters in the value are dropped;
    /// a name without any character left is ignored.
    pub fn push(&mut self, name: &str, value: &str) {
        let name: String = name.chars().filter(|c| is_token(*c)).collect();
        if !name.is_empty() {
            self.list.push((name, clean(value)));
        }
    }

    /// Puts `value` in the place of all values of `name`.
    pub fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.push(name, value);
    }

    /// Forgets all values of `name`.
    pub fn remove(&mut self, name: &str) {
        self.list.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
    }

    /// Name and value, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.list
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Continues the last value (a line that begins with a blank, RFC 2326 §4.2); `false` if there is none.
    pub(super) fn fold(&mut self, more: &str) -> bool {
        let Some((_, value)) = self.list.last_mut() else {
            return false;
        };
        *value = clean(&format!("{value} {}", clean(more)));
        true
    }
}

pub(super) fn is_token(c: char) -> bool {
    c.is_ascii_graphic() && !"()<>@,;:\\\"/[]?={}".contains(c)
}
