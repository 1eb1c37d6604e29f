//! Rows of a CSV file, as spreadsheets and people write it.
//!
//! The crate `csv` reads them (RFC 4180). Ours is what it leaves open: the sign that parts the cells (commas, semicolons or tabs: the header
//! tells), blanks around a cell without quotes, lines without content, and that torn quotes are refused with their line (P11), of which it
//! would make something. Does not own: what a column means, or how large a file may be.

use csv::ReaderBuilder;

/// What [`InvalidCsv`] says of a quote without an end.
const UNCLOSED: &str = "a quote opens here and is not closed";
/// Of a cell that goes on after its closing quote.
const AFTER_QUOTE: &str =
    "text follows a closing quote: put the whole cell into quotes, and double each quote in it";
/// Of a quote that opens too late to count as one.
const BEFORE_QUOTE: &str = "a blank stands before a quote: remove it";

/// A row that has content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// The line on which it begins, from 1.
    pub(super) line: usize,
    /// Its cells, without quotes.
    pub(super) cells: Vec<String>,
}

/// Why a text is no CSV.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub(super) struct InvalidCsv {
    /// The line on which the cell begins, from 1.
    pub(super) line: usize,
    why: String,
}

/// All rows, the header among them.
///
/// # Errors
/// [`InvalidCsv`], with its line.
pub(super) fn rows(text: &str) -> Result<Vec<Row>, InvalidCsv> {
    let text = text.trim_start_matches('\u{feff}');
    // One line end for all systems: the reader takes each of them, but counts these.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let separator = separator(&text);
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(separator)
        .from_reader(text.as_bytes());
    let mut written = Written {
        rest: &text,
        line: 1,
        separator: char::from(separator),
    };
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| written.wrong(&error.to_string()))?;
        written.skip_empty_lines();
        let line = written.line;
        let mut cells = Vec::new();
        for read in &record {
            cells.push(written.cell(read)?.to_owned());
        }
        if cells.iter().any(|cell| !cell.is_empty()) {
            rows.push(Row { line, cells });
        }
    }
    Ok(rows)
}

/// What parts the cells of the first line that has content; commas where nothing does.
fn separator(text: &str) -> u8 {
    let header = text.lines().find(|line| !line.trim().is_empty());
    let header = header.unwrap_or_default();
    let count = |separator: &u8| header.bytes().filter(|byte| byte == separator).count();
    // The last of several that are equally many: a comma.
    [b'\t', b';', b',']
        .into_iter()
        .max_by_key(count)
        .unwrap_or(b',')
}

/// What of the text is not looked at yet. The reader tells what it makes of a cell; how the cell is written shows whether that is what was meant.
struct Written<'a> {
    rest: &'a str,
    line: usize,
    separator: char,
}

impl<'a> Written<'a> {
    fn wrong(&self, why: &str) -> InvalidCsv {
        InvalidCsv {
            line: self.line,
            why: why.to_owned(),
        }
    }

    /// Goes on to what is left of the rest.
    fn go_on(&mut self, rest: &'a str) {
        let passed = self.rest.len() - rest.len();
        self.line += self.rest[..passed].matches('\n').count();
        self.rest = rest;
    }

    /// The reader tells nothing of them.
    fn skip_empty_lines(&mut self) {
        self.go_on(self.rest.trim_start_matches('\n'));
    }

    /// The next cell, as the reader has read it, without the blanks around it. It is passed, and what parts it from the one after it.
    fn cell<'r>(&mut self, read: &'r str) -> Result<&'r str, InvalidCsv> {
        let (cell, rest) = match self.rest.strip_prefix('"') {
            Some(quoted) => self.quoted(quoted, read)?,
            None => {
                let cell = read.trim();
                if cell.starts_with('"') {
                    return Err(self.wrong(BEFORE_QUOTE));
                }
                (cell, self.rest.strip_prefix(read).unwrap_or_default())
            }
        };
        let ends = [self.separator, '\n'];
        self.go_on(rest.strip_prefix(ends).unwrap_or(rest));
        Ok(cell)
    }

    /// A cell after its opening quote, and what follows it.
    fn quoted<'r>(&self, quoted: &'a str, read: &'r str) -> Result<(&'r str, &'a str), InvalidCsv> {
        // Blanks at the end stand before the closing quote and are the cell's, or after it.
        let text = read.trim_end();
        let doubled = text.replace('"', "\"\"");
        let Some(rest) = quoted.strip_prefix(doubled.as_str()) else {
            return Err(self.wrong(AFTER_QUOTE));
        };
        let closing = rest.trim_start();
        let Some(after) = closing.strip_prefix('"') else {
            return Err(self.wrong(UNCLOSED));
        };
        let (cell, blanks) = read.split_at(text.len() + rest.len() - closing.len());
        Ok((cell, after.strip_prefix(blanks).unwrap_or(after)))
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
            "name,title\ryard,\"Yard, behind\"\r\rgate,\r",
            "name; title\nyard ;\"Yard, behind\" \n;\ngate;",
            "name\ttitle\nyard\tYard, behind\n\t\ngate\t\n",
            "name\ttitle\nyard\t\"Yard, behind\"\n \t \ngate\t\n",
        ] {
            assert_eq!(told(text), wanted, "{text:?}");
        }
        assert_eq!(told(""), []);
        assert_eq!(told("\u{feff}\n \n"), []);
    }

    #[test]
    fn quotes_hold_quotes_lines_and_blanks() {
        let text = "name,title\nyard,\"the \"\"big\"\"\nyard\"\ngate,5\" pipe\nhall,\" a \"  \n";
        let wanted = [
            row(1, &["name", "title"]),
            row(2, &["yard", "the \"big\"\nyard"]),
            row(4, &["gate", "5\" pipe"]),
            row(5, &["hall", " a "]),
        ];
        assert_eq!(told(text), wanted);
    }

    #[test]
    fn what_is_torn_is_told_with_its_line() {
        for (text, line, why) in [
            ("name\nyard\n\"gate\n\n", 3, UNCLOSED),
            ("name,title\nyard,\"a\"\"", 2, UNCLOSED),
            ("name,title\nyard,\"a\" b\n", 2, AFTER_QUOTE),
            ("name,title\nyard,\"a\"b\"\n", 2, AFTER_QUOTE),
            ("name,title\n\nyard,\"\" b\n", 3, AFTER_QUOTE),
            ("name,title\nyard, \"a, b\"\n", 2, BEFORE_QUOTE),
        ] {
            let error = rows(text).unwrap_err();
            assert_eq!((error.line, error.why.as_str()), (line, why), "{text:?}");
        }
    }

    proptest! {
        /// S32.
        #[test]
        fn any_text_is_read_or_refused(text in "[a\",;\t \r\n]{0,40}|\\PC{0,40}") {
            let lines = 1 + text.matches(['\n', '\r']).count();
            match rows(&text) {
                Ok(rows) => prop_assert!(rows.iter().all(|row| (1..=lines).contains(&row.line))),
                Err(error) => prop_assert!((1..=lines).contains(&error.line)),
            }
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
