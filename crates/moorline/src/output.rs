//! What people and programs see: tables that align, JSON documents, sizes and durations in words.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::time::Duration;

use moorline_base::Untrusted;
use moorline_base::logging;
use moorline_base::untrusted::{harmless_text, shows_itself};
use serde::Serialize;

use crate::args::Output;

/// Prints a result: the value for programs, or the text for people. A closed pipe is no error.
///
/// # Errors
/// What standard output says.
pub fn print(
    output: Output,
    value: &impl Serialize,
    text: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    let mut shown = match output {
        Output::Json => visible(&serde_json::to_string_pretty(value)?),
        Output::Text => harmless_text(&text()),
    };
    if !shown.is_empty() && !shown.ends_with('\n') {
        shown.push('\n');
    }
    write_all(shown.as_bytes())
}

/// Prints one JSON line, for a program that waits for it.
///
/// # Errors
/// What standard output says.
pub fn print_line(value: &impl Serialize) -> anyhow::Result<()> {
    let mut line = visible(&serde_json::to_string(value)?);
    line.push('\n');
    write_all(line.as_bytes())
}

/// JSON in which nothing clears a terminal or turns text around (rule S33): a stranger's words are in it as they came. Whatever could stands inside a
/// text, where its escape means the same.
fn visible(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for character in json.chars() {
        if character == '\n' || shows_itself(character) {
            shown.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            let _ = write!(shown, "\\u{unit:04x}");
        }
    }
    shown
}

/// `--data DIR ` for a command that is printed, where whoever types it needs it. `data` is absolute.
pub fn data_flag(data: &Path) -> String {
    match std::path::absolute("moorline-data") {
        Ok(usual) if usual == data => String::new(),
        _ => format!("--data {} ", data.display()),
    }
}

/// Writes to standard output. A closed pipe is no error: `moorline camera list | head` is fine.
///
/// # Errors
/// What standard output says.
pub fn write_all(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Says something to the person at the terminal, beside the result.
pub fn say(text: &str) {
    logging::say(text);
}

/// The columns for which tables are made. Programs have `--output json`.
pub const TERMINAL: usize = 80;

/// Progress of long work, on a terminal only.
#[derive(Debug)]
pub struct Progress {
    shown: bool,
    label: &'static str,
    last: u64,
}

impl Progress {
    /// Progress under this label.
    pub fn new(label: &'static str) -> Self {
        Self {
            shown: io::stderr().is_terminal(),
            label,
            last: u64::MAX,
        }
    }

    /// Shows how far it is, in percent of an estimated whole.
    pub fn set(&mut self, done: u64, whole: u64) {
        let percent = (done * 100).checked_div(whole).unwrap_or(0).min(99);
        if self.shown && percent != self.last {
            self.last = percent;
            let bar = "#".repeat((percent / 4) as usize);
            let _ = write!(
                io::stderr().lock(),
                "\r{} [{bar:<25}] {percent:>2} %",
                self.label
            );
        }
    }
}

impl Drop for Progress {
    /// Removes the line, so that what is said next does not stand behind it, an error either.
    fn drop(&mut self) {
        if self.shown && self.last != u64::MAX {
            let _ = write!(io::stderr().lock(), "\r{:60}\r", "");
        }
    }
}

/// A table whose columns align. Cells are escaped: a camera's words never reach the terminal raw (rule S33).
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub fn new(headings: &[&str]) -> Self {
        Self {
            rows: vec![
                headings
                    .iter()
                    .map(|heading| (*heading).to_owned())
                    .collect(),
            ],
        }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(
            cells
                .into_iter()
                .map(|cell| Untrusted::new(cell).to_string())
                .collect(),
        );
    }

    /// Cuts the texts of a column, where they are longer than the heading, until a row has at most `most` characters. What was cut ends
    /// with an ellipsis.
    #[must_use]
    pub fn fit(mut self, column: usize, most: usize) -> Self {
        let widths = self.widths();
        let total = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
        let Some(width) = widths.get(column) else {
            return self;
        };
        let room = width.saturating_sub(total.saturating_sub(most));
        let heading = self.rows.first().and_then(|row| row.get(column));
        let room = room.max(heading.map_or(0, |heading| heading.chars().count()));
        for cell in self.rows.iter_mut().filter_map(|row| row.get_mut(column)) {
            if cell.chars().count() > room {
                *cell = cell
                    .chars()
                    .take(room.saturating_sub(1))
                    .chain(['…'])
                    .collect();
            }
        }
        self
    }

    /// The text with rows of at most `most` characters: what is longer in the last column goes on below itself, broken at spaces.
    pub fn render_wrapped(mut self, most: usize) -> String {
        let widths = self.widths();
        let Some((_, before)) = widths.split_last() else {
            return String::new();
        };
        let column = before.len();
        let room = most.saturating_sub(before.iter().map(|width| width + 2).sum());
        let mut rows = Vec::with_capacity(self.rows.len());
        for mut row in self.rows.drain(..) {
            let Some(cell) = row.get_mut(column) else {
                rows.push(row);
                continue;
            };
            let mut lines = broken(cell, room).into_iter();
            *cell = lines.next().unwrap_or_default();
            rows.push(row);
            rows.extend(lines.map(|line| {
                let blank = std::iter::repeat_n(String::new(), column);
                blank.chain([line]).collect()
            }));
        }
        Self { rows }.render()
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        (0..columns).map(width).collect()
    }

    /// The text, one line a row, two spaces between columns.
    pub fn render(&self) -> String {
        let widths = self.widths();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                let _ = write!(line, "{cell:<width$}  ");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// A text in lines of at most `room` characters, broken at spaces. A word that is longer stays whole.
fn broken(text: &str, room: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// `1.5 GB`: powers of ten, as disks are sold.
pub fn bytes(count: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let name = units.get(unit).copied().unwrap_or("PB");
    if unit == 0 || value >= 99.5 {
        format!("{value:.0} {name}")
    } else {
        format!("{value:.1} {name}")
    }
}

/// `1 day`, `2 days`: a number and what it counts.
pub fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// `2h 5m`: the two largest units.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, ..) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S33.
    #[test]
    fn columns_align_and_control_characters_do_not_reach_the_terminal() {
        let mut table = Table::new(&["CAMERA", "STATE"]);
        table.row(["yard".to_owned(), "up".to_owned()]);
        table.row(["a-long-name".to_owned(), "\u{1b}[31mred".to_owned()]);
        let text = table.render();
        assert!(!text.contains('\u{1b}'), "{text:?}");
        assert!(
            text.starts_with("CAMERA       STATE\nyard         up\n"),
            "{text}"
        );
    }

    /// S33.
    #[test]
    fn json_says_a_strangers_words_without_a_character_that_a_terminal_obeys() {
        let client = "SSH-2.0-x\u{7f}\u{9b}2J\u{202e}\u{e0041}\u{1b}[2J Süd \\";
        let told = serde_json::json!({ "client": client, "peer": "192.0.2.7" });
        let text = visible(&serde_json::to_string_pretty(&told).unwrap());
        let obeyed = text.chars().find(|&one| one != '\n' && !shows_itself(one));
        assert_eq!(obeyed, None, "{text:?}");
        assert!(text.contains("Süd") && text.lines().count() == 4, "{text}");
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read, told, "programs read the same");
    }

    /// S33.
    #[test]
    fn a_text_has_no_character_that_a_terminal_obeys_and_keeps_its_lines() {
        let text = harmless_text("hint: its agent says: \u{1b}[2J\r\u{202e}\n\tSüd \\ 100 %\n");
        assert_eq!(
            text,
            "hint: its agent says: \\u{1b}[2J\\r\\u{202e}\n\tSüd \\ 100 %\n"
        );
    }

    #[test]
    fn a_long_text_is_cut_until_the_row_fits() {
        let mut table = Table::new(&["CAMERA", "TITLE", "STATE"]);
        table.row(["yard", "The yard behind the house and the barn", "up 3h"].map(str::to_owned));
        table.row(["gate", "Gate", "absent 2d"].map(str::to_owned));
        let text = table.fit(1, 40).render();
        assert!(
            text.contains("yard    The yard behind the …  up 3h"),
            "{text}"
        );
        assert!(
            text.lines().all(|line| line.chars().count() <= 40),
            "{text}"
        );
    }

    #[test]
    fn a_long_last_column_goes_on_below_itself() {
        let mut table = Table::new(&["WHAT", "WHY"]);
        table.row(
            [
                "gap",
                "the operator ended its connection or changed its settings",
            ]
            .map(str::to_owned),
        );
        table.row(["recorded", "store"].map(str::to_owned));
        assert_eq!(
            table.render_wrapped(40),
            "WHAT      WHY\n\
             gap       the operator ended its\n          connection or changed its\n          settings\n\
             recorded  store\n"
        );
    }

    #[test]
    fn sizes_and_durations_read_well() {
        assert_eq!(
            [bytes(0), bytes(999), bytes(1_500), bytes(21_600_000_000)],
            ["0 B", "999 B", "1.5 kB", "21.6 GB"]
        );
        assert_eq!([count(1, "day"), count(2, "day")], ["1 day", "2 days"]);
        let told = |seconds| duration(Duration::from_secs(seconds));
        assert_eq!(
            [told(5), told(65), told(3_700), told(90_000)],
            ["5s", "1m 5s", "1h 1m", "1d 1h"]
        );
    }
}
