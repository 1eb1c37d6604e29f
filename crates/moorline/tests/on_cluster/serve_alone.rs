//! What `moorline serve` alone does: on a cluster the command says so, and what is done instead, before it asks anybody.

use std::path::Path;

use crate::cluster::run;

const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIHtSwcjEgyQ6LUwxeGVQbPqjkYhPKxMkqzhJvU8cDhqT";

/// As they are typed.
const TYPED: &[&[&str]] = &[
    &[
        "camera",
        "refer",
        "yard",
        "--to",
        "b.example.com",
        "--key",
        KEY,
    ],
    &["camera", "refer", "yard", "--here"],
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_cluster_does_not_do_is_refused_with_what_is_done_instead() {
    let place = tempfile::tempdir().unwrap();
    for words in TYPED {
        let all = [*words, &["--cluster"][..]].concat();
        let err = run(place.path(), &all).await.refused();
        let (told, hint) = err.split_once("hint: ").unwrap_or_default();
        let named = format!("camera {} ", words[1]);
        let says = told.contains(&named) && told.contains("on a cluster");
        assert!(says, "{words:?}: {err}");
        assert!(!hint.trim().is_empty(), "{words:?}: {err}");
        let help = run(place.path(), &[words[0], words[1], "--help"])
            .await
            .well();
        let one_line: Vec<&str> = help.split_whitespace().collect();
        let says = one_line.join(" ").contains("Not on a cluster");
        assert!(says, "{words:?}: {help}");
    }
}

/// The guide's table is what people look at before they choose a cluster.
#[test]
fn the_guide_lists_no_command_that_a_cluster_would_take() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/camera.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let table = guide
        .split("\n| not on a cluster | instead |\n")
        .nth(1)
        .and_then(|rest| rest.split("\n\n").next())
        .unwrap();
    let cells = table.lines().filter_map(|row| row.split('|').nth(1));
    let mut listed = Vec::new();
    for cell in cells {
        let typed = cell.split('`').skip(1).step_by(2);
        listed.extend(typed.filter_map(|words| words.strip_prefix("camera ")?.split(' ').next()));
    }
    assert!(listed.contains(&"refer"), "{listed:?}");
    for name in &listed {
        assert!(
            TYPED.iter().any(|words| words[1] == *name),
            "camera {name} is listed, and not refused by a test"
        );
    }
    let left_out: Vec<_> = TYPED
        .iter()
        .map(|words| words[1])
        .filter(|name| !listed.contains(name))
        .collect();
    assert!(
        left_out.is_empty(),
        "refused, and not in the guide: {left_out:?}"
    );
}
