//! `docs/reference/moorline-1.md` is all that somebody else's agent is written by: what it lists is what there is.

use std::collections::BTreeSet;

use super::*;

const REFERENCE: &str = include_str!("../../../../docs/reference/moorline-1.md");

/// What stands between back-ticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The rows of the first table behind these words.
fn rows(behind: &str) -> impl Iterator<Item = &'static str> {
    let (_, rest) = REFERENCE.split_once(behind).expect("a table");
    let table = rest.lines().skip_while(|line| !line.starts_with("| `"));
    table.take_while(|line| line.starts_with("| `"))
}

/// What the first cells of those rows name, up to the first of their fields.
fn named(behind: &str) -> BTreeSet<String> {
    let cells = rows(behind).filter_map(|row| row.split(" | ").next());
    let names = cells.flat_map(quoted);
    names
        .filter_map(|name| name.split(' ').next())
        .map(str::to_owned)
        .collect()
}

/// The nth words of lines.
fn words(lines: &[String], nth: usize) -> BTreeSet<String> {
    let words = lines.iter().filter_map(|line| line.split(' ').nth(nth));
    words.map(str::to_owned).collect()
}

#[test]
fn the_reference_lists_every_line_and_key_and_no_other() {
    let mut of_server = server_lines();
    of_server.retain(|line| line != "MOORLINE/2");
    assert_eq!(named("## The server says"), words(&of_server, 0));
    assert_eq!(named("## The camera says"), words(&agent_lines(), 0));

    of_server.retain(|line| line.starts_with("CONFIG "));
    let settings: BTreeSet<String> = words(&of_server, 1)
        .iter()
        .map(|key| key.replace(".0", ".<n>"))
        .collect();
    assert_eq!(named("| CONFIG key |"), settings);

    let status = agent_lines()
        .into_iter()
        .find(|line| line.starts_with("STATUS "));
    let status = status.expect("one that says all");
    let pairs = status
        .split(' ')
        .skip(1)
        .filter_map(|pair| pair.split_once('='));
    let keys: BTreeSet<String> = pairs.map(|(key, _)| key.to_owned()).collect();
    assert_eq!(named("| STATUS key |"), keys);
}

#[test]
fn the_reference_lists_the_words_of_each_closed_list() {
    let row = |begins: &str| {
        let row = REFERENCE.lines().find(|line| line.starts_with(begins));
        row.expect("a row").split_once(" | ").expect("two cells").1
    };
    let steps: Vec<&str> = quoted(row("| `DIAG <step>")).collect();
    let known: Vec<&str> = DiagStep::ALL.iter().map(|step| step.as_str()).collect();
    assert_eq!(steps, known, "in the order of the walk");

    let reasons = REFERENCE
        .lines()
        .find_map(|line| line.strip_prefix("Reasons: "));
    let reasons: Vec<&str> = quoted(reasons.expect("a line")).collect();
    let known: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(reasons, known);

    let roles: Vec<&str> = quoted(row("| `MOORLINE/1 <role>")).collect();
    let known: Vec<&str> = Role::ALL.iter().map(|role| role.as_str()).collect();
    assert_eq!(roles, known);
    let states: Vec<&str> = quoted(row("| `UPSTATE ")).collect();
    let known: Vec<&str> = UpState::ALL.iter().map(|state| state.as_str()).collect();
    assert_eq!(states, known);
    let levels: Vec<&str> = quoted(row("| `LOG ")).collect();
    let known: Vec<&str> = Level::ALL.iter().map(|level| level.as_str()).collect();
    assert_eq!(levels, known);
}
