//! Lists of cameras as CSV: any text is read or refused with a line that it has, and what was read is read again when it is quoted.
#![no_main]

use libfuzzer_sys::fuzz_target;
use moorline_core::csv::rows;

fuzz_target!(|text: &str| {
    let lines = 1 + text.matches(['\n', '\r']).count();
    let read = match rows(text) {
        Ok(read) => read,
        Err(error) => return assert!((1..=lines).contains(&error.line())),
    };
    let mut again = String::new();
    for row in &read {
        assert!((1..=lines).contains(&row.line));
        let cells = row.cells.iter();
        let quoted: Vec<_> = cells
            .map(|cell| format!("\"{}\"", cell.replace('"', "\"\"")))
            .collect();
        again += &quoted.join(",");
        again.push('\n');
    }
    // What parts the cells is guessed from the first line: a cell with more of another sign than there are commas may mislead it.
    let first = read
        .first()
        .map(|row| row.cells.concat())
        .unwrap_or_default();
    if !first.contains(['\t', ';', '\n', '\r']) {
        let cells = |rows: Vec<moorline_core::csv::Row>| {
            rows.into_iter().map(|row| row.cells).collect::<Vec<_>>()
        };
        assert_eq!(rows(&again).map(cells), Ok(cells(read)));
    }
});
