//! Manifests: one place for lints, versions and the toolchain.

use std::fs;

use moorline_tests::repository;
use toml::{Table, Value};

use crate::files::texts;

fn parse(path: &str) -> Table {
    let text = fs::read_to_string(repository().join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"));
    text.parse()
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The packages of the workspace; [`independent`] are those that are workspaces of their own.
fn packages() -> Vec<(String, Table)> {
    let all = manifests().into_iter();
    all.filter(|(_, manifest)| !manifest.contains_key("workspace"))
        .collect()
}

/// Packages that are workspaces of their own, since another toolchain or a sanitizer builds them (the fuzz targets).
fn independent() -> Vec<(String, Table)> {
    let all = manifests().into_iter();
    all.filter(|(_, manifest)| manifest.contains_key("workspace"))
        .collect()
}

fn manifests() -> Vec<(String, Table)> {
    let manifests = texts(&["toml"])
        .into_iter()
        .filter(|file| file.path.ends_with("/Cargo.toml"));
    manifests
        .map(|file| (file.path.clone(), parse(&file.path)))
        .collect()
}

#[test]
fn every_package_inherits_the_workspace_lints_and_its_identity() {
    let mut wrong = Vec::new();
    for (path, manifest) in packages() {
        let inherits = |table: &str, key: &str| {
            let field = manifest.get(table).and_then(|table| table.get(key));
            field.is_some_and(|field| field.get("workspace") == Some(&Value::Boolean(true)))
        };
        if manifest
            .get("lints")
            .and_then(|lints| lints.get("workspace"))
            != Some(&Value::Boolean(true))
        {
            wrong.push(format!("{path}: add [lints] workspace = true"));
        }
        for key in [
            "version",
            "edition",
            "rust-version",
            "license",
            "repository",
            "publish",
        ] {
            if !inherits("package", key) {
                wrong.push(format!("{path}: write {key}.workspace = true"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn versions_of_dependencies_stand_in_the_workspace() {
    let root = parse("Cargo.toml");
    let central = |name: &str| {
        let entry = root["workspace"]["dependencies"].get(name)?;
        entry.as_str().or_else(|| entry.get("version")?.as_str())
    };
    let mut wrong = Vec::new();
    for (path, manifest) in packages() {
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for (name, value) in manifest
                .get(section)
                .and_then(Value::as_table)
                .into_iter()
                .flatten()
            {
                let inherited = value.get("workspace") == Some(&Value::Boolean(true));
                // Features cannot be taken away from what is inherited: then the same version is written again.
                let without_features = value.get("version").is_some()
                    && value.get("version").and_then(Value::as_str) == central(name);
                if !inherited && !without_features {
                    wrong.push(format!(
                        "{path}: {name}: write workspace = true and its version in the root"
                    ));
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn every_member_is_a_directory_and_every_package_a_member() {
    let root = parse("Cargo.toml");
    let members: Vec<_> = root["workspace"]["members"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let mut found: Vec<_> = packages()
        .into_iter()
        .map(|(path, _)| path.trim_end_matches("/Cargo.toml").to_owned())
        .collect();
    let mut expected: Vec<_> = members.into_iter().map(str::to_owned).collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn an_independent_package_agrees_with_the_root_and_locks_its_own_dependencies() {
    let root = parse("Cargo.toml");
    let shared = &root["workspace"]["package"];
    let mut wrong = Vec::new();
    for (path, manifest) in independent() {
        for key in ["version", "edition", "license", "publish"] {
            if manifest["package"].get(key) != shared.get(key) {
                wrong.push(format!("{path}: {key} is not the root's"));
            }
        }
        let lock = path.replace("Cargo.toml", "Cargo.lock");
        if !repository().join(&lock).is_file() {
            wrong.push(format!("{lock} is missing"));
        }
        for (name, value) in manifest["dependencies"].as_table().into_iter().flatten() {
            let version = |value: &Value| {
                let text = value.as_str().or_else(|| value.get("version")?.as_str());
                text.map(str::to_owned)
            };
            let central = root["workspace"]["dependencies"].get(name);
            let agrees = match name.strip_prefix("moorline-") {
                // Foreign bytes reach these; a runtime would only slow the fuzzer down.
                Some(part) => {
                    matches!(part, "agent" | "control" | "core" | "fmp4" | "rtsp")
                        && value.get("path").is_some()
                }
                None => central.is_none_or(|central| version(central) == version(value)),
            };
            if !agrees {
                wrong.push(format!(
                    "{path}: {name} is not what the root says, or not to be fuzzed"
                ));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn every_fuzz_target_is_built_and_every_program_is_a_target() {
    let manifest = parse("fuzz/Cargo.toml");
    let mut built: Vec<String> = manifest["bin"]
        .as_array()
        .unwrap()
        .iter()
        .map(|bin| {
            let (name, path) = (bin["name"].as_str().unwrap(), bin["path"].as_str().unwrap());
            assert_eq!(path, format!("fuzz_targets/{name}.rs"));
            name.to_owned()
        })
        .collect();
    let mut found: Vec<String> = texts(&["rs"])
        .into_iter()
        .filter_map(|file| {
            let name = file.path.strip_prefix("fuzz/fuzz_targets/")?;
            Some(name.trim_end_matches(".rs").to_owned())
        })
        .collect();
    built.sort();
    found.sort();
    assert_eq!(built, found);
}

#[test]
fn the_toolchain_is_the_promised_rust_version() {
    let root = parse("Cargo.toml");
    let promised = root["workspace"]["package"]["rust-version"]
        .as_str()
        .unwrap();
    let toolchain = parse("rust-toolchain.toml");
    let pinned = toolchain["toolchain"]["channel"].as_str().unwrap();
    assert!(
        pinned.starts_with(promised),
        "rust-version is {promised}, rust-toolchain.toml says {pinned}"
    );
}

#[test]
fn unsafe_code_is_forbidden_everywhere() {
    let root = parse("Cargo.toml");
    assert_eq!(
        root["workspace"]["lints"]["rust"]["unsafe_code"].as_str(),
        Some("forbid")
    );
}
