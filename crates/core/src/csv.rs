//! Rows of a CSV file (RFC 4180), as spreadsheets and people write it.
//!
//! Owns: cells and lines. Does not own: what a column means, or how large a file may be. Taken beyond the RFC: a byte order mark, semicolons or
//! tabs instead of commas (the header tells which), line ends of any system, blanks around a cell without quotes, lines without content.

use std::iter::Peekable;
use std::str::Chars;

/// A row that has content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The line on which it begins, from 1.
    pub line: usize,
    /// Its cells, without quotes.
    pub cells: Vec<String>,
}

/// Why a text is no CSV.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCsv {
    /// A quote has no end.
    #[error("a quote opens here and is not closed")]
    Unclosed {
        /// The line of the quote that opens.
        line: usize,
    },
    /// A cell goes on after its closing quote.
    #[error(
        "text follows a closing quote: put the whole cell into quotes, and double each quote in it"
    )]
    AfterQuote {
        /// Where.
        line: usize,
    },
}

impl InvalidCsv {
    /// The line, from 1.
    pub fn line(self) -> usize {
        match self {
            Self::Unclosed { line } | Self::AfterQuote { line } => line,
        }
    }
}

/// All rows, the header among them.
///
/// # Errors
/// [`InvalidCsv`], with its line.
pub fn rows(text: &str) -> Result<Vec<Row>, InvalidCsv> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader {
        rest: text.chars().peekable(),
        line: 1,
        separator: separator(text),
    };
    let mut rows = Vec::new();
    while reader.rest.peek().is_some() {
        let row = reader.row()?;
        if row.cells.iter().any(|cell| !cell.is_empty()) {
            rows.push(row);
        }
    }
    Ok(rows)
}

/// What parts the cells of the first line that has content; commas where nothing does.
fn separator(text: &str) -> char {
    let header = text.lines().find(|line| !line.trim().is_empty());
    let header = header.unwrap_or_default();
    let count = |separator: &char| header.matches(*separator).count();
    // The last of several that are equally many: a comma.
    ['\t', ';', ',']
        .into_iter()
        .max_by_key(count)
        .unwrap_or(',')
}

/// What ended a cell.
enum End {
    Cell,
    Row,
}

struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
    line: usize,
    separator: char,
}

impl Reader<'_> {
    fn row(&mut self) -> Result<Row, InvalidCsv> {
        let line = self.line;
        let mut cells = Vec::new();
        loop {
            self.skip_blanks();
            let quoted = self.rest.next_if_eq(&'"').is_some();
            let (cell, end) = if quoted { self.quoted()? } else { self.bare() };
            cells.push(cell);
            if matches!(end, End::Row) {
                return Ok(Row { line, cells });
            }
        }
    }

    fn skip_blanks(&mut self) {
        let separator = self.separator;
        let blank = |next: &char| matches!(next, ' ' | '\t') && *next != separator;
        while self.rest.next_if(blank).is_some() {}
    }

    /// Whether `next` ends a cell. What is left of a line end is taken.
    fn end(&mut self, next: Option<char>) -> Option<End> {
        match next {
            Some(next) if next == self.separator => Some(End::Cell),
            Some('\r') => {
                let _ = self.rest.next_if_eq(&'\n');
                self.line += 1;
                Some(End::Row)
            }
            Some('\n') => {
                self.line += 1;
                Some(End::Row)
            }
            None => Some(End::Row),
            Some(_) => None,
        }
    }

    fn bare(&mut self) -> (String, End) {
        let mut cell = String::new();
        loop {
            let next = self.rest.next();
            if let Some(end) = self.end(next) {
                cell.truncate(cell.trim_end().len());
                return (cell, end);
            }
            cell.extend(next);
        }
    }

    fn quoted(&mut self) -> Result<(String, End), InvalidCsv> {
        let opened = self.line;
        let mut cell = String::new();
        loop {
            match self.rest.next() {
                None => return Err(InvalidCsv::Unclosed { line: opened }),
                Some('"') if self.rest.next_if_eq(&'"').is_none() => break,
                Some(next) => {
                    self.line += usize::from(next == '\n');
                    cell.push(next);
                }
            }
        }
        self.skip_blanks();
        let next = self.rest.next();
        match self.end(next) {
            Some(end) => Ok((cell, end)),
            None => Err(InvalidCsv::AfterQuote { line: self.line }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(text: &str) -> Vec<(usize, Vec<String>)> {
        let rows = rows(text).unwrap();
        rows.into_iter().map(|row| (row.line, row.cells)).collect()
    }

    fn row(line: usize, cells: &[&str]) -> (usize, Vec<String>) {
        (line, cells.iter().map(|&cell| cell.to_owned()).collect())
    }

    #[test]
    fn what_spreadsheets_and_people_write_is_read() {
        let wanted = [
            row(1, &["name", "title"]),
            row(2, &["yard", "Yard, behind"]),
            row(4, &["gate", ""]),
        ];
        for text in [
            "name,title\nyard,\"Yard, behind\"\n\ngate,\n",
            "\u{feff}name,title\r\nyard,\"Yard, behind\"\r\n,\r\ngate,",
            "name; title\nyard ;\"Yard, behind\" \n;\ngate;",
            "name\ttitle\nyard\tYard, behind\n\t\ngate\t\n",
        ] {
            assert_eq!(told(text), wanted, "{text:?}");
        }
        assert_eq!(told(""), []);
    }

    #[test]
    fn quotes_hold_quotes_and_lines() {
        let text = "name,title\nyard,\"the \"\"big\"\"\nyard\"\ngate,5\" pipe\n";
        let wanted = [
            row(1, &["name", "title"]),
            row(2, &["yard", "the \"big\"\nyard"]),
            row(4, &["gate", "5\" pipe"]),
        ];
        assert_eq!(told(text), wanted);
    }

    #[test]
    fn what_is_torn_is_told_with_its_line() {
        let unclosed = rows("name\nyard\n\"gate\n\n").unwrap_err();
        assert_eq!(unclosed, InvalidCsv::Unclosed { line: 3 });
        let after = rows("name,title\nyard,\"a\" b\n").unwrap_err();
        assert_eq!(after, InvalidCsv::AfterQuote { line: 2 });
    }

    proptest! {
        /// S32.
        #[test]
        fn any_text_is_read_or_refused(text in "[a\",;\t \r\n]{0,40}|\\PC{0,40}") {
            let _ = rows(&text);
        }

        #[test]
        fn what_is_written_in_quotes_is_read_again(
            cells in prop::collection::vec(prop::collection::vec("[a-z,;\" \n]{0,6}", 2..4), 1..5),
        ) {
            let quote = |cell: &String| format!("\"{}\"", cell.replace('"', "\"\""));
            let line = |cells: &Vec<String>| cells.iter().map(quote).collect::<Vec<_>>().join(",");
            let header = "name,title,site\n".to_owned();
            let text = cells.iter().map(line).fold(header, |text, line| text + &line + "\n");
            let read: Vec<_> = rows(&text).unwrap().into_iter().skip(1).map(|row| row.cells).collect();
            let full: Vec<_> = cells.into_iter().filter(|row| row.iter().any(|cell| !cell.is_empty())).collect();
            prop_assert_eq!(read, full);
        }
    }
}
