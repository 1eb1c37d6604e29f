//! The cluster tests that run on any cluster are those that the page about it lists.

use std::{collections::BTreeSet, fs};

use moorline_tests::repository;

use crate::files::texts;

/// How a test begins that does not need the lab.
const BEGINNINGS: [&str; 2] = ["= Moorline::anywhere()", "= cluster().await"];

/// The tests of a theme that ask for any cluster, and not for the lab.
fn anywhere(text: &str) -> Vec<String> {
    let tests = text.split("#[tokio::test").skip(1);
    let needs_no_lab = tests.filter(|test| {
        // Up to the end of the function.
        let test = test.split("\n}\n").next().unwrap_or_default();
        let begins = BEGINNINGS.iter().any(|words| test.contains(words));
        begins && !test.contains(".lab()")
    });
    let name = |test: &str| {
        let (_, rest) = test.split_once("async fn ")?;
        rest.split_once('(').map(|(name, _)| name.to_owned())
    };
    needs_no_lab.filter_map(name).collect()
}

#[test]
fn the_page_lists_the_tests_that_run_on_any_cluster() {
    let page = repository().join("docs/design/cluster-lab.md");
    let page = fs::read_to_string(page).unwrap();
    let section = page
        .split("\n## ")
        .find(|part| part.starts_with("On a cluster of your own"));
    let mut listed = BTreeSet::new();
    for line in section.unwrap().lines() {
        // `| `file` | `test`, `test` |`
        let Some((file, tests)) = line
            .strip_prefix("| `")
            .and_then(|line| line.split_once("` | `"))
        else {
            continue;
        };
        let names = tests.split('`').step_by(2);
        listed.extend(
            names
                .filter(|name| name.contains('_'))
                .map(|name| format!("{file}::{name}")),
        );
    }
    let mut found = BTreeSet::new();
    for file in texts(&["rs"]) {
        let theme = file
            .path
            .strip_prefix("tests/tests/cluster/")
            .and_then(|path| path.strip_suffix(".rs"));
        let Some(theme) = theme.filter(|theme| !theme.contains('/')) else {
            continue;
        };
        let names = anywhere(&file.text).into_iter();
        found.extend(names.map(|name| format!("{theme}::{name}")));
    }
    assert!(found.len() > 15, "the tests were not found: {found:?}");
    assert_eq!(found, listed);
}

/// What the rule is for.
#[test]
fn who_asks_for_the_lab_is_not_listed() {
    let test =
        |name: &str, body: &str| format!("#[tokio::test]\nasync fn {name}() {{\n    {body}\n}}\n");
    let text = [
        test(
            "one",
            "let Some(moorline) = Moorline::anywhere().await else { return; };",
        ),
        test(
            "two",
            "let Some(moorline) = Moorline::installed().await else { return; };",
        ),
        test(
            "three",
            "let Some(cluster) = cluster().await else { return; };",
        ),
        test(
            "four",
            "let Some(cluster) = cluster().await else { return; };\n    cluster.lab();",
        ),
    ];
    assert_eq!(anywhere(&text.concat()), ["one", "three"]);
}
