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
    let bans = list(&deny, "bans", "deny");
    let bans: Vec<_> = bans
        .iter()
        .map(|ban| (text(ban, "crate"), names(ban, "wrappers")))
        .collect();
    assert!(
        bans.iter().any(|ban| ban.0 == "openssl"),
        "the list of bans was not read"
    );
    for lock in LOCKS {
        let packages = parse(lock);
        let packages = packages["package"].as_array().unwrap();
        for (banned, wrappers) in &bans {
            let is_there = packages.iter().any(|one| text(one, "name") == *banned);
            // A dependency is a name, or a name and a version where there are two.
            let users: Vec<_> = packages
                .iter()
                .filter(|package| {
                    let dependencies = names(package, "dependencies").into_iter();
                    let mut dependencies = dependencies.filter_map(|one| one.split(' ').next());
                    dependencies.any(|name| name == *banned)
                })
                .map(|package| text(package, "name"))
                .collect();
            assert!(
                !is_there || !users.is_empty() && users.iter().all(|user| wrappers.contains(user)),
                "{lock}: {banned} is banned by deny.toml, which says why; {users:?} depend on it"
            );
        }
    }
}

fn names<'a>(value: &'a Value, key: &str) -> Vec<&'a str> {
    let all = value.get(key).and_then(Value::as_array);
    all.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
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
