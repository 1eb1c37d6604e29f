//! Each promise (P1–P11, `docs/design`, "Promises") has a test that carries its number, so that nobody has to ask whether it is kept or only made.
//!
//! A test carries a number by its name (`p4_what_is_missing_is_known`), or by the comment above it (`/// P4: …`, `/// …, S9.`); the first line of a
//! file in a `tests` folder speaks for the tests in it. Rules of security (S1–S36) are read the same way.

use std::collections::{BTreeMap, BTreeSet};

use crate::files::texts;

/// How many there are.
const PROMISES: u32 = 11;
const RULES: u32 = 36;

/// Rules of security that no test of these numbers tries yet, each with what stands in for one.
const UNTRIED: &[(u32, &str)] = &[
    (16, "people have no ssh and no sftp"),
    (27, "no object of the store is an index yet"),
    (28, "nothing is signed for a day yet"),
    (29, "no decoder runs here"),
    (30, "no lifecycle rule of a store is touched"),
];

/// The numbers behind `letter` that stand in a text as words of their own.
fn numbers(text: &str, letter: char) -> BTreeSet<u32> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let numbers = words.filter_map(|word| word.strip_prefix(letter)?.parse().ok());
    numbers.collect()
}

/// The same in a name: `s9_p9_a_flood` carries both.
fn numbers_of_name(name: &str, letter: char) -> BTreeSet<u32> {
    let letter = letter.to_ascii_lowercase();
    let parts = name.split('_').map_while(|part| {
        let number: u32 = part.get(1..)?.parse().ok()?;
        part.starts_with(['p', 's']).then_some((part, number))
    });
    let own = parts.filter(|(part, _)| part.starts_with(letter));
    own.map(|(_, number)| number).collect()
}

fn is_test(attribute: &str) -> bool {
    let name = attribute.trim_start_matches("#[");
    ["test]", "test(", "tokio::test]", "tokio::test("]
        .iter()
        .any(|start| name.starts_with(start))
}

/// The name of the function that a line begins.
fn function(line: &str) -> Option<&str> {
    let rest = ["async fn ", "fn "]
        .iter()
        .find_map(|start| line.trim_start_matches("pub ").strip_prefix(start))?;
    rest.split(|c: char| !c.is_alphanumeric() && c != '_')
        .next()
}

/// Tests of a file by the numbers that they carry.
fn carried(path: &str, text: &str, letter: char) -> Vec<(u32, String)> {
    let of_tests = path.contains("/tests/");
    let first = text.lines().next().filter(|_| of_tests).unwrap_or_default();
    let of_file = match first.strip_prefix("//!") {
        Some(said) => numbers(said, letter),
        None => BTreeSet::new(),
    };
    let (mut found, mut comment, mut tested) = (Vec::new(), String::new(), false);
    for line in text.lines().map(str::trim) {
        if let Some(said) = line.strip_prefix("///") {
            comment.push_str(said);
            comment.push(' ');
        } else if line.starts_with("#[") {
            tested |= is_test(line);
        } else if let Some(name) = function(line).filter(|_| tested) {
            let mut all = numbers(&comment, letter);
            all.extend(numbers_of_name(name, letter));
            all.extend(&of_file);
            found.extend(all.into_iter().map(|number| (number, name.to_owned())));
            (comment, tested) = (String::new(), false);
        } else if !tested && !line.starts_with("//") {
            // Between an attribute and its function the attribute may go on for lines.
            comment.clear();
        }
    }
    found
}

fn all(letter: char) -> BTreeMap<u32, Vec<String>> {
    let mut all: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for file in texts(&["rs"]) {
        for (number, name) in carried(&file.path, &file.text, letter) {
            all.entry(number)
                .or_default()
                .push(format!("{}: {name}", file.path));
        }
    }
    all
}

#[test]
fn every_promise_has_a_test_that_carries_its_number() {
    let kept = all('P');
    let missing: Vec<u32> = (1..=PROMISES)
        .filter(|number| !kept.contains_key(number))
        .collect();
    assert_eq!(missing, [0; 0], "no test carries the number of P…");
    let unknown: Vec<_> = kept.range(PROMISES + 1..).collect();
    assert!(unknown.is_empty(), "no such promise: {unknown:?}");
}

#[test]
fn every_rule_of_security_is_tried_or_says_what_stands_in() {
    let tried = all('S');
    let missing: Vec<u32> = (1..=RULES)
        .filter(|number| !tried.contains_key(number))
        .collect();
    let known: Vec<u32> = UNTRIED.iter().map(|(number, _)| *number).collect();
    assert_eq!(missing, known, "no test carries the number of S…");
    let unknown: Vec<_> = tried.range(RULES + 1..).collect();
    assert!(unknown.is_empty(), "no such rule: {unknown:?}");
}

/// P7: whoever answers a peer inside its SSH session awaits the answer's place in the queue, and nothing else; what takes time is a task.
#[test]
fn handlers_of_an_ssh_session_await_nothing_slow() {
    let file = texts(&["rs"])
        .into_iter()
        .find(|file| file.path == "crates/tunnel/src/handler/mod.rs")
        .expect("the handlers have moved");
    let awaited = file.text.lines().map(str::trim);
    let slow: Vec<&str> = awaited
        .filter(|line| line.contains(".await") && !line.starts_with("reply."))
        .collect();
    assert_eq!(slow, [""; 0]);
}

#[test]
fn a_number_is_read_from_name_comment_and_first_line() {
    let text = "//! What is lost (P3).\n\n/// P4: all of it, S9.\n#[tokio::test(\n    flavor = \"multi_thread\"\n)]\nasync fn p1_s2_some() {}\n\
                /// P7\nfn helper() {}\n#[test]\nfn other() {}\n";
    let of = |path, letter| {
        let found = carried(path, text, letter).into_iter();
        found
            .map(|(number, name)| format!("{name} {number}"))
            .collect::<Vec<_>>()
    };
    let tests = "crates/x/tests/some.rs";
    assert_eq!(
        of(tests, 'P'),
        ["p1_s2_some 1", "p1_s2_some 3", "p1_s2_some 4", "other 3"]
    );
    assert_eq!(of(tests, 'S'), ["p1_s2_some 2", "p1_s2_some 9"]);
    assert_eq!(
        of("crates/x/src/some.rs", 'P'),
        ["p1_s2_some 1", "p1_s2_some 4"]
    );
}
