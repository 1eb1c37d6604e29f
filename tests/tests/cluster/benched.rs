//! `moorline bench cluster`, as its user types it: the figures of `docs/reference/benchmarks.md`. No time is asserted, since others use the machine.

use moorline_testkit::{child::run, cluster::SOON};
use serde_json::Value;
use tokio::process::Command;

use crate::support::Moorline;

/// Its tenant.
const TENANT: &str = "benched";
/// Each takes half a minute and more.
const CAMERAS: usize = 10;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: each camera of the bench takes most of a minute"]
async fn the_bench_sees_each_step_of_its_cameras_and_leaves_nothing() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let binary = std::env::var_os("MOORLINE_BENCH_BIN");
    let binary = binary.expect("cargo xtask test has built the bench");
    let cameras = CAMERAS.to_string();
    let mut bench = Command::new(binary);
    bench.args(["--output", "json", "bench", "cluster", "--tenant", TENANT]);
    bench.args(["--cameras", &cameras, "--kubeconfig"]);
    bench.arg(moorline.cluster().kubeconfig());
    for replica in moorline.pair().await {
        bench.arg("--ssh").arg(replica.ssh().to_string());
    }
    // It fails where a bar is missed, too.
    let output = run("moorline bench", bench, SOON * 30).await.unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("no report ({error}): {words}"));
    println!("MEASURED {report:#}");
    let rows = report["rows"].as_array().unwrap();
    let row = |what: &str| {
        let is_it = |row: &&Value| row["what"].as_str().is_some_and(|told| told.contains(what));
        let found = rows.iter().find(is_it);
        found.unwrap_or_else(|| panic!("nothing of {what}: {report:#} {words}"))
    };
    let whole = row("recorded");
    assert_eq!(whole["measured"].as_f64(), Some(CAMERAS as f64), "{words}");
    let touched = row("pods made or ended by a flap or a takeover");
    assert_eq!(touched["measured"].as_f64(), Some(0.0), "{words}");
    let tenant = ["get", "tenant", TENANT, "--ignore-not-found", "-o", "name"];
    let left = moorline.cluster().kubectl(&tenant).await.unwrap();
    assert!(left.trim().is_empty(), "{left}");
}
