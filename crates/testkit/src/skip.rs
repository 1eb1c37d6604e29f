//! Skipping a test in the open: the reason is printed and counted, never swallowed.

use std::io::Write as _;

use crate::Error;

/// Says that the running test is skipped and why. The test must return right after.
///
/// The line `SKIPPED <test>: <reason>` goes to standard error past libtest's capture, so that plain `cargo test` shows it too.
pub fn skip(reason: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("test");
    let line = format!("SKIPPED {test}: {}\n", reason.replace('\n', "; "));
    // One write: lines of tests that run beside each other do not mix.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// The peer, or `None` after [`skip`] when an optional one cannot be had here.
///
/// # Panics
/// When the error is any other than "cannot be had here": a required peer is missing, or a present one failed.
#[track_caller]
pub fn or_skip<T>(result: Result<T, Error>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) if error.may_skip() => {
            skip(&error.to_string());
            None
        }
        Err(error) => panic!("{error}"),
    }
}
