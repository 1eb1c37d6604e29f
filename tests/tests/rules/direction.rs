//! Who may import what: the table of `docs/design` ("Parts"), over `cargo metadata`.

use std::collections::BTreeMap;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};
use moorline_tests::repository;

/// What each package may import of ours. Dev-dependencies on testkit, simcam and the formats are free: tests make their media with them.
const IMPORTS: &[(&str, &[&str])] = &[
    ("moorline-core", &[]),
    ("moorline-rtsp", &[]),
    ("moorline-fmp4", &[]),
    ("moorline-control", &[]),
    ("moorline-base", &[]),
    ("moorline-tunnel", &["core", "base", "control"]),
    ("moorline-mon", &["core", "base", "control"]),
    (
        "moorline-proxy",
        &["core", "base", "control", "rtsp", "fmp4"],
    ),
    ("moorline-archiver", &["core", "base", "fmp4"]),
    ("moorline-recordings", &["core", "base", "fmp4"]),
    ("moorline-registry", &["core", "base"]),
    ("moorline-store", &["core", "base"]),
    ("moorline-notify", &["core", "base"]),
    ("moorline-kube", &["core", "base"]),
    ("moorline-gateway", &["core", "base"]),
    ("moorline-web", &["core", "base"]),
    (
        "moorline-simcam",
        &["core", "base", "control", "rtsp", "fmp4"],
    ),
    // For a 64 MB camera: std and the grammar.
    ("moorline-agent", &["control"]),
    // It is what everybody's tests import, so it imports nobody.
    ("moorline-testkit", &[]),
    // The program of a camera's pods: small, since there are two of them for each camera. Nothing that is heavy comes with these.
    (
        "moorline-workload",
        &["core", "base", "proxy", "archiver", "gateway"],
    ),
    // The composition root; testkit only behind a feature, see below.
    (
        "moorline",
        &[
            "core",
            "base",
            "control",
            "rtsp",
            "fmp4",
            "tunnel",
            "mon",
            "proxy",
            "archiver",
            "recordings",
            "registry",
            "store",
            "notify",
            "kube",
            "gateway",
            "workload",
            "web",
            "simcam",
            "testkit",
        ],
    ),
    ("moorline-tests", &[]),
    ("xtask", &[]),
];

/// Who may import what is heavy, or decides a design. Dev-dependencies are free.
const OWNERS: &[(&str, &[&str])] = &[
    ("russh", &["moorline-tunnel", "moorline-simcam"]),
    ("aws-sdk-s3", &["moorline-store"]),
    ("aws-smithy-http-client", &["moorline-store"]),
    ("aws-smithy-runtime-api", &["moorline-store"]),
    ("sqlx", &["moorline-registry"]),
    ("retina", &["moorline-archiver"]),
    ("mp4-atom", &["moorline-fmp4"]),
    ("lettre", &["moorline-notify"]),
    ("reqwest", &["moorline-notify"]),
    ("axum", &["moorline-base", "moorline-web", "moorline"]),
    ("tracing-subscriber", &["moorline-base", "moorline"]),
    ("s3s", &["moorline-testkit"]),
    ("s3s-fs", &["moorline-testkit"]),
    // No library parses arguments, and none hides its errors' kinds.
    ("clap", &["moorline", "moorline-workload", "xtask"]),
    (
        "anyhow",
        &["moorline", "moorline-workload", "xtask", "moorline-tests"],
    ),
    ("kube", &["moorline-kube"]),
    ("k8s-openapi", &["moorline-kube"]),
];

/// Packages without a runtime, I/O or a service client.
const PURE: &[&str] = &["moorline-core", "moorline-rtsp", "moorline-fmp4"];
/// What they may not import.
const IMPURE: &[&str] = &[
    "tokio-util",
    "hyper",
    "hyper-util",
    "axum",
    "reqwest",
    "rustls",
    "tokio-rustls",
    "tower",
    "rustix",
    "socket2",
    "mio",
    "async-std",
    "tracing-subscriber",
    "jiff",
];

fn metadata() -> Metadata {
    MetadataCommand::new()
        .current_dir(repository())
        .no_deps()
        .other_options(["--offline".to_owned()])
        .exec()
        .unwrap()
}

fn normal(package: &Package) -> impl Iterator<Item = &cargo_metadata::Dependency> {
    package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind != DependencyKind::Development)
}

#[test]
fn packages_import_only_what_the_table_allows() {
    let allowed: BTreeMap<_, _> = IMPORTS.iter().copied().collect();
    let mut wrong = Vec::new();
    for package in metadata().packages {
        let name = package.name.as_str();
        let Some(allowed) = allowed.get(name) else {
            wrong.push(format!("{name} is not in the table of this test"));
            continue;
        };
        for dependency in &package.dependencies {
            let Some(part) = dependency.name.strip_prefix("moorline-") else {
                continue;
            };
            let dev = dependency.kind == DependencyKind::Development;
            let free = dev
                && (matches!(part, "testkit" | "simcam" | "rtsp" | "fmp4" | "control")
                    || name == "moorline-tests"
                    // The simulated camera's SSH client, and the agent, are tried against the real server.
                    || matches!((name, part), ("moorline-simcam" | "moorline-agent", "tunnel"))
                    || matches!((name, part), ("moorline-agent", "base" | "core")));
            if !free && !allowed.contains(&part) {
                wrong.push(format!("{name} imports {}", dependency.name));
            }
            if !dev && part == "testkit" && !dependency.optional {
                wrong.push(format!(
                    "{name} imports moorline-testkit outside tests and without a feature"
                ));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new(), "against docs/design, Parts");
}

#[test]
fn heavy_crates_have_their_owners() {
    let owners: BTreeMap<_, _> = OWNERS.iter().copied().collect();
    let mut wrong = Vec::new();
    for package in metadata().packages {
        for dependency in normal(&package) {
            let owned = owners.get(dependency.name.as_str());
            if owned.is_some_and(|owners| !owners.contains(&package.name.as_str())) {
                wrong.push(format!("{} imports {}", package.name, dependency.name));
            }
        }
    }
    assert_eq!(
        wrong,
        Vec::<String>::new(),
        "a heavy crate outside the packages that own it"
    );
}

#[test]
fn pure_packages_have_no_runtime_control_has_nothing_and_the_agent_has_control() {
    let mut wrong = Vec::new();
    for package in metadata().packages {
        let name = package.name.as_str();
        for dependency in normal(&package) {
            let impure = IMPURE.contains(&dependency.name.as_str());
            // Its I/O traits are free: they come without any feature.
            let runtime = dependency.name == "tokio"
                && (dependency.uses_default_features || !dependency.features.is_empty());
            if PURE.contains(&name) && (impure || runtime) {
                wrong.push(format!("{name} imports {}", dependency.name));
            }
            let agent_s = name == "moorline-agent" && dependency.name != "moorline-control";
            if name == "moorline-control" || agent_s {
                wrong.push(format!(
                    "{name} imports {}: it is on the camera",
                    dependency.name
                ));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}
