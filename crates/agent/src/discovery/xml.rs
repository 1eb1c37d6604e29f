//! As much XML as an answer of WS-Discovery needs: elements by their local names, and text. No attributes, no declarations of types, so that
//! nothing can refer to anything.

/// What stands next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// An element begins: its name without its prefix.
    Open(&'a str),
    /// The element that began last ends.
    Close,
    /// Text, its entities as they stand.
    Text(&'a str),
}

/// The pieces of a text. Ends early at what is no XML, or none that is read here (`DOCTYPE`, CDATA): [`Pieces::is_whole`] tells.
#[derive(Debug)]
pub(super) struct Pieces<'a> {
    rest: &'a str,
    /// An element that ends where it begins: its end comes next.
    closes: bool,
    broken: bool,
}

impl<'a> Pieces<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        Pieces {
            rest: text,
            closes: false,
            broken: false,
        }
    }

    /// Whether all of it was read.
    pub(super) fn is_whole(&self) -> bool {
        !self.broken && self.rest.is_empty()
    }

    fn tag(&mut self, tag: &'a str) -> Option<Piece<'a>> {
        let (tag, empty) = match tag.strip_suffix('/') {
            Some(tag) => (tag, true),
            None => (tag, false),
        };
        if let Some(name) = tag.strip_prefix('/') {
            self.broken = empty || name.is_empty();
            return (!self.broken).then_some(Piece::Close);
        }
        let name = tag.split_ascii_whitespace().next()?;
        self.closes = empty;
        Some(Piece::Open(
            name.rsplit_once(':').map_or(name, |(_, local)| local),
        ))
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        if std::mem::take(&mut self.closes) {
            return Some(Piece::Close);
        }
        while !self.rest.is_empty() && !self.broken {
            let Some(inner) = self.rest.strip_prefix('<') else {
                let end = self.rest.find('<').unwrap_or(self.rest.len());
                let (text, rest) = self.rest.split_at_checked(end)?;
                self.rest = rest;
                return Some(Piece::Text(text));
            };
            let end = if inner.starts_with("!--") {
                "-->"
            } else if inner.starts_with('?') {
                "?>"
            } else {
                ">"
            };
            let Some((tag, rest)) = inner.split_once(end) else {
                break;
            };
            let skipped = end.len() > 1;
            if !skipped && tag.starts_with('!') {
                break;
            }
            self.rest = rest;
            if !skipped {
                let piece = self.tag(tag);
                self.broken |= piece.is_none();
                return piece;
            }
        }
        self.broken |= !self.rest.is_empty();
        None
    }
}

/// Text with the five entities of XML resolved; others stay as they are.
pub(super) fn unescaped(text: &str) -> String {
    const ENTITIES: [(&str, char); 5] = [
        ("&lt;", '<'),
        ("&gt;", '>'),
        ("&quot;", '"'),
        ("&apos;", '\''),
        ("&amp;", '&'),
    ];
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('&') {
        let (before, from) = rest.split_at_checked(at).unwrap_or((rest, ""));
        out.push_str(before);
        let known = ENTITIES.iter().find(|(entity, _)| from.starts_with(entity));
        let (entity, character) = known.copied().unwrap_or(("&", '&'));
        out.push(character);
        rest = from.strip_prefix(entity).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_by_local_names_and_text() {
        let text = "<?xml version='1.0'?><!-- <a> --><s:E x='1'>\n<d:T>a &amp; b</d:T><e/></s:E>";
        let mut pieces = Pieces::of(text);
        let all: Vec<_> = pieces.by_ref().collect();
        use Piece::{Close, Open, Text};
        assert_eq!(
            all,
            [
                Open("E"),
                Text("\n"),
                Open("T"),
                Text("a &amp; b"),
                Close,
                Open("e"),
                Close,
                Close
            ]
        );
        assert!(pieces.is_whole());
        assert_eq!(unescaped("a &amp;lt; &lt;&x; &"), "a &lt; <&x; &");
    }

    #[test]
    fn what_could_refer_to_something_ends_the_reading() {
        for text in [
            "<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><a>&x;</a>",
            "<a><![CDATA[<b>]]></a>",
            "<a",
            "<>",
            "</>",
            "<!-- a",
        ] {
            let mut pieces = Pieces::of(text);
            assert!(pieces.by_ref().count() <= 1, "{text}");
            assert!(!pieces.is_whole(), "{text}");
        }
    }
}
