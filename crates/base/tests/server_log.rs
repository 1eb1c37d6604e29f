//! The log of a whole process: what a server says on a standard error that nobody reads, by a panic, and at its end.
#![allow(
    clippy::disallowed_methods,
    reason = "a test begins itself as a process of its own"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Command, Stdio};
use std::thread;

use moorline_base::logging::{self, Format};

const CHILD: &str = "MOORLINE_TEST_SERVER_LOG";
/// Twice what pipe, queue and thread hold together, some 120 bytes each.
const LINES: u64 = 5_000;

/// Runs only as the child of the test below.
#[test]
fn child_that_logs() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    logging::init_server("info", Format::Json).unwrap();
    for number in 0..LINES {
        tracing::info!(number, "said while nobody reads");
    }
    println!("all is said");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let ended = thread::spawn(|| panic!("a test's panic")).join();
    assert!(ended.is_err());
    tracing::warn!("the last line");
    logging::say("error: over\u{1b}[2J");
    logging::finish();
}

#[test]
fn a_server_goes_on_while_nobody_reads_its_log_and_its_last_words_are_written() {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_logs", "--nocapture"])
        .env(CHILD, "1")
        .env_remove("RUST_BACKTRACE")
        .env_remove("RUST_LIB_BACKTRACE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut said = String::new();
    while !said.contains("all is said") {
        assert_ne!(output.read_line(&mut said).unwrap(), 0, "{said}");
    }

    let mut log = BufReader::new(child.stderr.take().unwrap());
    let (mut expected, mut notes) = (0, 0);
    while expected < LINES {
        let mut line = String::new();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "{expected} were told");
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        let message = line["message"].as_str().unwrap();
        match message.split_once(" lines of the log were lost: nobody read it for ") {
            Some((lost, _)) => {
                expected += lost.parse::<u64>().unwrap();
                notes += 1;
            }
            None => {
                assert_eq!(line["number"], expected, "{line}");
                expected += 1;
            }
        }
    }
    assert_eq!(expected, LINES);
    assert!(notes > 0);

    child.stdin.take().unwrap().write_all(b"go on\n").unwrap();
    let mut rest = String::new();
    log.read_to_string(&mut rest).unwrap();
    // So that it can say that it is done.
    output.read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success(), "{said}{rest}");
    let lines: Vec<&str> = rest.lines().collect();
    let [panicked, why, last, over] = lines[..] else {
        panic!("{rest}");
    };
    assert!(
        panicked.starts_with("thread 'unnamed' panicked at "),
        "{rest}"
    );
    assert_eq!(why, "a test's panic");
    assert!(last.contains("\"the last line\""), "{rest}");
    assert_eq!(over, "error: over\\u{1b}[2J");
}
