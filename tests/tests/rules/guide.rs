//! What guides promise is what the sources say: faults of a camera; of clusters reasons of conditions, metrics of alarms. That the commands parse is a test of the
//! command line (`crates/moorline`), that a cluster's values render one of `cargo xtask generate`. And what is counted stands in the reference.

use std::fs;

use moorline_core::status::RtspFault;
use moorline_tests::repository;

use crate::files::texts;

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Whoever reads a word in `camera show` finds what to do.
#[test]
fn every_fault_of_a_camera_has_a_row_in_the_guide() {
    let guide = read("docs/guide/connect-a-camera.md");
    let rows = guide.lines().filter_map(|line| line.strip_prefix("| "));
    let words: Vec<&str> = rows
        .filter_map(|row| row.split(" | ").next())
        .flat_map(|cell| cell.split(", "))
        .collect();
    let missing: Vec<&str> = RtspFault::ALL
        .into_iter()
        .map(RtspFault::as_str)
        .filter(|fault| !words.contains(fault))
        .collect();
    assert_eq!(missing, [""; 0], "faults without a row");
}

#[test]
fn every_condition_that_the_guide_explains_is_one_that_is_said() {
    let guide = read("docs/guide/kubernetes.md");
    let sources: String = texts(&["rs"])
        .into_iter()
        .filter(|file| {
            file.path.starts_with("crates/kube/src/")
                || file.path.starts_with("crates/moorline/src/cluster/")
        })
        .map(|file| file.text)
        .collect();
    let mut seen = 0;
    let mut wrong = Vec::new();
    for line in guide.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [kinds, reasons, _] = cells[..] else {
            continue;
        };
        let words = kinds.split(", ").chain(reasons.split(", "));
        let of_the_table = ["condition", "event", "Event", "reason"];
        for word in words.filter(|word| !of_the_table.contains(word)) {
            seen += 1;
            if !sources.contains(&format!("\"{word}\"")) {
                wrong.push(format!("{word}: {line}"));
            }
        }
    }
    assert!(seen > 20, "the tables were not found");
    assert_eq!(wrong, Vec::<String>::new());
}

/// Words of Kubernetes' own, and of what is well again.
const NO_TROUBLE: [&str; 26] = [
    "AlreadyExists",
    "ClusterRole",
    "ConfigMap",
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "DisruptionTarget",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "KeysOfItsOwn",
    "KubeClaims",
    "LimitRange",
    "MainAgain",
    "NetworkPolicy",
    "NoExecute",
    "OOMKilled",
    "OwnerChose",
    "PodScheduled",
    "ResourceQuota",
    "RoleBinding",
    "RunContainerError",
    "RuntimeDefault",
    "ServiceAccount",
    "SessionEvents",
    "StartError",
];

/// Whoever reads a reason finds what to do.
#[test]
fn every_reason_of_a_condition_or_event_has_a_row_in_the_guide() {
    const PLACES: [&str; 7] = [
        "crates/kube/src/call.rs",
        "crates/kube/src/claim/",
        "crates/kube/src/janitor.rs",
        "crates/kube/src/places.rs",
        "crates/kube/src/pods/",
        "crates/kube/src/tenant/",
        "crates/kube/src/uplinks.rs",
    ];
    let guide = read("docs/guide/kubernetes.md");
    let explained = |word: &str| {
        let rows = guide.lines().filter(|line| line.starts_with("| "));
        let mut cells = rows.filter_map(|row| row.split(" | ").nth(1));
        cells.any(|cell| cell.split(", ").any(|reason| reason == word))
    };
    // Two words in one, as reasons are written.
    let is_reason = |word: &&str| {
        let starts = word.chars().filter(char::is_ascii_uppercase).count();
        word.starts_with(|first: char| first.is_ascii_uppercase())
            && word.chars().all(|letter| letter.is_ascii_alphabetic())
            && starts > 1
            && starts < word.len()
    };
    let (mut seen, mut missing) = (0, Vec::new());
    for file in texts(&["rs"]) {
        let is_one = PLACES.iter().any(|place| file.path.starts_with(place));
        if !is_one || file.path.contains("/tests") {
            continue;
        }
        let text = file.text.split("#[cfg(test)]").next().unwrap_or_default();
        let words = text.split('"').filter(is_reason);
        for word in words.filter(|word| !NO_TROUBLE.contains(word)) {
            seen += 1;
            if !explained(word) {
                missing.push(format!("{}: {word}", file.path));
            }
        }
    }
    assert!(seen > 25, "the reasons were not found: {seen}");
    assert_eq!(missing, Vec::<String>::new());
}

/// Replicas that held a camera before tell of it for as long as they live, and know nothing new.
#[test]
fn an_alarm_about_a_camera_goes_by_the_replica_that_knows_most() {
    let rules = read("charts/moorline/templates/alertrules.yaml");
    let mut seen = 0;
    for line in rules.lines().filter(|line| line.contains("expr:")) {
        for before in line
            .split("moorline_camera_")
            .collect::<Vec<_>>()
            .iter()
            .rev()
            .skip(1)
        {
            seen += 1;
            assert!(before.ends_with("min by (camera) ("), "{}", line.trim());
        }
    }
    assert!(seen >= 2, "the rules were not found");
}

/// That they do so is promtool's to say (`cargo xtask test`).
#[test]
fn every_alarm_is_explained_and_tried_with_series_that_fire_it() {
    let rules = read("charts/moorline/templates/alertrules.yaml");
    let (guide, cases) = (
        read("docs/guide/kubernetes.md"),
        read("tests/alerts/alerts.yaml"),
    );
    let names = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    let names: Vec<&str> = names.collect();
    assert!(names.len() >= 7, "the rules were not found: {names:?}");
    for name in names {
        let explained = guide.contains(&format!("| {name} |"));
        assert!(explained, "{name} is not in docs/guide/kubernetes.md");
        let fired = format!("ALERTS{{alertname=\"{name}\", alertstate=\"firing\"");
        assert!(cases.contains(&fired), "{name}: nothing fires it");
    }
}

#[test]
fn alarms_go_by_metrics_that_there_are() {
    let rules = read("charts/moorline/templates/alertrules.yaml");
    let metrics = read("docs/reference/metrics.md");
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut wrong: Vec<&str> = rules
        .split(|c| !is_name(c))
        .filter(|word| word.starts_with("moorline_"))
        .filter(|word| !metrics.contains(&format!("| `{word}` |")))
        .collect();
    wrong.dedup();
    assert_eq!(wrong, Vec::<&str>::new());
}

/// A family that begins without a member is in no registry's text, and so would be missing on the page that is made of it.
#[test]
fn every_metric_of_a_server_is_in_the_reference() {
    const PARTS: [&str; 5] = [
        "archiver/src/",
        "crates/moorline/src/serve/",
        "crates/tunnel/src/",
        "mon/src/",
        "proxy/src/",
    ];
    let reference = read("docs/reference/metrics.md");
    let mut seen = 0;
    let mut missing = Vec::new();
    for file in texts(&["rs"]) {
        if !PARTS.iter().any(|part| file.path.starts_with(part)) {
            continue;
        }
        let calls =
            [".register(", ".register_with_unit("].map(|call| file.text.split(call).skip(1));
        for rest in calls.into_iter().flatten() {
            let rest = rest.trim_start().strip_prefix('"');
            let Some((name, _)) = rest.and_then(|rest| rest.split_once('"')) else {
                continue;
            };
            seen += 1;
            let ends = ["", "_total", "_bytes", "_bytes_total"];
            if !ends
                .iter()
                .any(|end| reference.contains(&format!("_{name}{end}` |")))
            {
                missing.push(format!("{}: {name}", file.path));
            }
        }
    }
    assert!(seen > 40, "the metrics were not found");
    assert_eq!(missing, Vec::<String>::new());
}
