//! What `moorline serve` alone does: the guide's table is what people look at before they choose a cluster.

use std::path::Path;

use crate::cluster::run;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_guide_says_is_not_on_a_cluster_takes_none() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/camera.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let table = guide
        .split("\n| not on a cluster | instead |\n")
        .nth(1)
        .and_then(|rest| rest.split("\n\n").next())
        .unwrap();
    let cells = table.lines().filter_map(|row| row.split('|').nth(1));
    let commands = cells.filter_map(|cell| cell.split('`').nth(1));
    let commands: Vec<Vec<&str>> = commands.map(|typed| typed.split(' ').collect()).collect();
    assert!(commands.len() >= 5, "the table was not found: {commands:?}");
    let place = tempfile::tempdir().unwrap();
    for command in commands {
        let help = run(place.path(), &[&command[..], &["--help"]].concat()).await;
        let help = help.well();
        assert!(
            !help.contains("--cluster"),
            "{command:?} goes there: {help}"
        );
    }
}
