//! `deny.toml` is sound, and what it bans is not in the lock file, also where cargo-deny is not installed.

use std::fs;

use moorline_tests::repository;
use toml::{Table, Value};

/// Of the workspace, and of the fuzz targets, which are one of their own.
const LOCKS: &[&str] = &["Cargo.lock", "fuzz/Cargo.lock"];

fn parse(name: &str) -> Table {
    fs::read_to_string(repository().join(name))
        .unwrap()
        .parse()
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn list<'a>(table: &'a Table, section: &str, key: &str) -> &'a [Value] {
    table
        .get(section)
        .and_then(|section| section.get(key))
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[test]
fn every_ban_and_every_exception_has_its_reason() {
    let deny = parse("deny.toml");
    for (section, key) in [
        ("bans", "deny"),
        ("bans", "skip"),
        ("bans", "skip-tree"),
        ("advisories", "ignore"),
    ] {
        for entry in list(&deny, section, key) {
            assert!(
                !text(entry, "reason").is_empty(),
                "deny.toml: {section}.{key}: {entry} has no reason"
            );
        }
    }
    // Exceptions of licences have no field for it: a comment stands above each.
    let raw = fs::read_to_string(repository().join("deny.toml")).unwrap();
    let lines: Vec<_> = raw.lines().map(str::trim).collect();
    for pair in lines.windows(2) {
        if pair[1].starts_with("{ allow = ") {
            assert!(
                pair[0].starts_with('#'),
                "deny.toml: no comment above {}",
                pair[1]
            );
        }
    }
}

#[test]
fn nothing_that_is_banned_is_in_the_lock_file() {
    let deny = parse("deny.toml");
    let banned: Vec<_> = list(&deny, "bans", "deny")
        .iter()
        .map(|entry| text(entry, "crate"))
        .collect();
    assert!(banned.contains(&"openssl"), "the list of bans was not read");
    // A ban with wrappers holds for everybody but them: that is cargo-deny's to judge.
    let conditional = |name: &str| {
        list(&deny, "bans", "deny")
            .iter()
            .any(|entry| text(entry, "crate") == name && entry.get("wrappers").is_some())
    };
    for name in LOCKS {
        let lock = parse(name);
        let packages = lock["package"].as_array().unwrap();
        let found: Vec<_> = packages
            .iter()
            .map(|package| text(package, "name"))
            .filter(|name| banned.contains(name) && !conditional(name))
            .collect();
        assert_eq!(
            found,
            Vec::<&str>::new(),
            "{name}: banned by deny.toml, which says why"
        );
    }
}

#[test]
fn every_dependency_comes_from_the_registry() {
    let deny = parse("deny.toml");
    assert_eq!(deny["sources"]["unknown-registry"].as_str(), Some("deny"));
    assert_eq!(deny["sources"]["unknown-git"].as_str(), Some("deny"));
    for name in LOCKS {
        let lock = parse(name);
        let foreign: Vec<_> = lock["package"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|package| {
                !matches!(
                    text(package, "source"),
                    "" | "registry+https://github.com/rust-lang/crates.io-index"
                )
            })
            .map(|package| text(package, "name"))
            .collect();
        assert_eq!(foreign, Vec::<&str>::new(), "{name}");
    }
}
