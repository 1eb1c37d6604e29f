//! A bench leaves nothing behind, however it ends. Built with the feature alone: by `cargo xtask test --long`, or `cargo test -p moorline --features bench --test bench`.
#![allow(
    clippy::disallowed_methods,
    reason = "tests look at the real clock and at processes"
)]

use std::fs;
use std::time::Duration;

use moorline_testkit::child::{Child, Signal};
use moorline_testkit::{eventually, temp_dir};
use tokio::process::Command;

const BINARY: &str = env!("CARGO_BIN_EXE_moorline");
const SOON: Duration = Duration::from_secs(30);

/// Parent and state of a process, and its name; `None` when it is gone or only waits to be buried.
fn living(pid: u32) -> Option<(u32, String)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let name = head.split_once('(')?.1.to_owned();
    (state != "Z" && state != "X").then_some((parent, name))
}

/// What a process has started, and what that has started.
fn descendants(root: u32) -> Vec<(u32, String)> {
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let all: Vec<(u32, (u32, String))> = pids
        .filter_map(|pid| living(pid).map(|found| (pid, found)))
        .collect();
    let mut found = vec![(root, String::new())];
    let mut next = 0;
    while let Some((parent, _)) = found.get(next).cloned() {
        let own = all.iter().filter(|(_, (of, _))| *of == parent);
        found.extend(own.map(|(pid, (_, name))| (*pid, name.clone())));
        next += 1;
    }
    found.split_off(1)
}

async fn are_gone(processes: &[(u32, String)]) {
    eventually("the end of what was started", SOON, || {
        let left = processes.iter().filter(|(pid, _)| living(*pid).is_some());
        let left = left.count();
        async move { (left == 0).then_some(()) }
    })
    .await;
}

#[tokio::test]
async fn what_is_on_the_leash_dies_with_its_parent_and_starts_nothing_without_it() {
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg("\"$0\" bench leash --parent $$ -- sleep 600 & echo $!; wait")
        .arg(BINARY);
    let mut shell = Child::spawn("sh", shell).unwrap();
    let pid = |line: &str| line.trim().parse::<u32>().ok();
    let child = shell
        .wait_for_after(0, "the child's id", SOON, pid)
        .await
        .unwrap();
    eventually("that it became the program", SOON, || async move {
        living(child).filter(|(_, name)| name == "sleep").map(drop)
    })
    .await;
    shell.signal(Signal::KILL);
    shell.wait(SOON).await.unwrap();
    are_gone(&[(child, String::new())]).await;

    // As if the parent had died before its child came to ask.
    let mut orphan = Command::new(BINARY);
    orphan.args([
        "bench", "leash", "--parent", "4194305", "--", "sleep", "600",
    ]);
    let mut orphan = Child::spawn("moorline bench leash", orphan).unwrap();
    assert_eq!(orphan.wait(SOON).await.unwrap().code(), Some(1));
    assert!(orphan.tail().contains("is gone"), "{}", orphan.tail());
}

#[tokio::test]
async fn a_bench_that_is_killed_leaves_neither_its_server_nor_its_clients() {
    let scratch = temp_dir().unwrap();
    let mut bench = Command::new(BINARY);
    bench
        .args(["bench", "ssh", "--only", "alone", "--seconds", "60"])
        .arg("--scratch")
        .arg(scratch.path());
    let mut bench = Child::spawn("moorline bench ssh", bench).unwrap();
    let root = bench.pid().unwrap();
    let family = eventually("its server and its client", SOON, || async move {
        let family = descendants(root);
        let has = |wanted: &str| family.iter().any(|(_, name)| name == wanted);
        (has("moorline") && has("dbclient")).then_some(family)
    })
    .await;
    bench.signal(Signal::KILL);
    bench.wait(SOON).await.unwrap();
    are_gone(&family).await;
}
