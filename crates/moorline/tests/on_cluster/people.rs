//! `moorline user` and `moorline audit` against a cluster: a front door is a `moorline serve` here, and kubectl a script that starts what would be started in its pod.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::cluster::{BINARY, Ended, ended, run, serve};

const PASSWORD: &str = "correct horse battery";

/// A place with a file `password` and a kubeconfig that names no cluster that runs.
fn place() -> TempDir {
    let place = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| std::fs::write(place.path().join(name), text).unwrap();
    write("password", format!("{PASSWORD}\n"));
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "operator",
        "clusters": [{"name": "nowhere", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "somebody", "user": {"token": "t"}}],
        "contexts": [
            {"name": "operator", "context": {"cluster": "nowhere", "user": "somebody"}},
            {"name": "owner", "context": {"cluster": "nowhere", "user": "somebody", "namespace": "t-home"}},
        ],
    });
    write("kubeconfig", kubeconfig.to_string());
    place
}

/// Makes a kubectl that notes its words in `told` and goes on by these lines of shell. Gives the directory that it lies in.
fn kubectl(place: &Path, lines: &str) -> PathBuf {
    let programs = place.join("programs");
    std::fs::create_dir_all(&programs).unwrap();
    let told = place.join("told");
    let script = format!("#!/bin/sh\necho \"$*\" >> '{}'\n{lines}\n", told.display());
    let file = programs.join("kubectl");
    std::fs::write(&file, script).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    programs
}

/// Types a command on the cluster, with these programs alone.
async fn on_cluster(place: &Path, programs: &Path, words: &[&str]) -> Ended {
    let mut command = Command::new(BINARY);
    command
        .args(words)
        .args(["--kubeconfig", "kubeconfig"])
        .current_dir(place)
        .env_remove("KUBECONFIG")
        .env("HOME", place)
        .env("PATH", programs)
        .stdin(std::process::Stdio::null());
    ended(command).await
}

/// Without what differs by nature: passwords that were made, and instants.
fn alike(ended: &Ended) -> (Option<i32>, Vec<String>) {
    let clean = |line: &str| {
        let line = line.split("  20").next().unwrap_or_default();
        let mut words: Vec<&str> = line.split_whitespace().collect();
        if let Some(at) = words.iter().position(|word| *word == "password:")
            && let Some(made) = words.get_mut(at + 1)
        {
            *made = "MADE";
        }
        words.join(" ")
    };
    let lines = ended.out.lines().chain(ended.err.lines());
    (ended.code, lines.map(clean).collect())
}

/// The entries of an audit without when it was.
fn done(mut audit: Value) -> Vec<Value> {
    let entries = audit.as_array_mut().unwrap();
    for entry in entries.iter_mut() {
        assert!(entry.as_object_mut().unwrap().remove("at").is_some());
    }
    std::mem::take(entries)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_of_a_cluster_are_told_as_those_of_serve() {
    let (behind, beside) = (place(), place());
    let (front_door, server) = (
        serve(behind.path(), &[], &[]).await,
        serve(beside.path(), &[], &[]).await,
    );
    let data = behind.path().join("data");
    let in_pod = format!(
        "while [ \"$1\" != -- ]; do shift; done; shift 2\nexport MOORLINE_DATA='{}'\nexec '{BINARY}' \"$@\"",
        data.display()
    );
    let programs = kubectl(behind.path(), &in_pod);
    let typed: &[&[&str]] = &[
        &["user", "list"],
        &["user", "add", "anna", "--role", "operator"],
        &["user", "add", "anna"],
        &["user", "add", "An na"],
        &["user", "add", "bert", "--password-file", "password"],
        &["user", "add", "carl", "--password-file", "nowhere"],
        &["user", "list"],
        &["user", "passwd", "anna"],
        &["user", "passwd", "anna", "--password-file", "password"],
        &["user", "passwd", "anna", "--stream"],
        &["user", "passwd", "nobody"],
        &["user", "rm", "nobody"],
        &["user", "rm", "bert"],
        &["user", "rm", "admin"],
        &["user", "list"],
        &["audit", "--user", "nobody"],
        &["audit", "--camera", "No Yard"],
        &["audit", "--from", "nonsense"],
    ];
    for words in typed.iter().copied() {
        let named = [words, &["--tenant", "home"][..]].concat();
        let on_cluster = on_cluster(behind.path(), &programs, &named).await;
        let here = [words, &["--data", "data"][..]].concat();
        let on_serve = run(beside.path(), &here).await;
        assert_eq!(
            alike(&on_cluster),
            alike(&on_serve),
            "{words:?}\n{on_cluster:?}\n{on_serve:?}"
        );
    }
    let here = ["user", "list", "--data", "data"];
    let listed = run(behind.path(), &here).await.well();
    assert!(
        listed.contains("anna") && !listed.contains("bert"),
        "{listed}"
    );
    let audit = ["audit", "--output", "json"];
    let named = [&audit[..], &["--tenant", "home"]].concat();
    let of_cluster = on_cluster(behind.path(), &programs, &named).await;
    let of_serve = run(beside.path(), &[&audit[..], &["--data", "data"]].concat()).await;
    let (of_cluster, of_serve) = (done(of_cluster.json()), done(of_serve.json()));
    assert_eq!(of_cluster, of_serve);
    let anna = json!({"actor": "command line", "event": "user_add", "subject": "anna"});
    assert!(of_cluster.contains(&anna), "{of_cluster:?}");
    for words in [
        &["audit", "--context", "owner"][..],
        &["audit", "--camera", "home/yard"],
    ] {
        let told = on_cluster(behind.path(), &programs, words).await.well();
        assert!(told.starts_with("WHEN"), "{told}");
    }

    // The tenant of the context's namespace, as for cameras.
    let words = ["user", "list", "--context", "owner", "--output", "json"];
    let listed = on_cluster(behind.path(), &programs, &words).await.json();
    let logins = listed.as_array().unwrap().iter();
    assert!(
        logins.clone().any(|user| user["login"] == "anna"),
        "{listed}"
    );

    // S36: passwords travel in requests; arguments of exec are in the API server's audit log.
    let told = std::fs::read_to_string(behind.path().join("told")).unwrap();
    assert!(!told.contains(PASSWORD) && !told.contains("anna"), "{told}");
    let first = "--kubeconfig kubeconfig --namespace moorline-system exec --stdin --quiet --pod-running-timeout=20s \
        deployment/moorline-frontdoor -- moorline attach";
    assert_eq!(told.lines().next(), Some(first));
    for running in [front_door, server] {
        running.end(Duration::from_secs(60)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_front_door_that_is_not_reached_is_told_with_its_cure() {
    let place = place();
    let list = ["user", "list", "--tenant", "acme"];
    let refusals = [
        (
            "echo 'Error from server (NotFound): deployments.apps \"moorline-frontdoor\" not found' >&2; exit 1",
            "no front door answers: Error from server (NotFound)",
            "hint: frontdoor.enabled of the chart makes one",
        ),
        (
            "echo 'Error from server (Forbidden): pods is forbidden' >&2; exit 1",
            "no front door answers: Error from server (Forbidden): pods is forbidden",
            "hint: it takes the right to create pods/exec in the namespace moorline-system",
        ),
        (
            "echo \"error: unrecognized subcommand 'attach'\" >&2; echo 'command terminated with exit code 2' >&2; exit 2",
            "no front door answers: unrecognized subcommand 'attach'",
            "hint: the front door is older than this program: kubectl -n moorline-system exec",
        ),
        (
            "echo 'W1130 a warning' >&2; echo 'The connection to the server was refused' >&2; exit 1",
            "no front door answers: The connection to the server was refused",
            "hint: kubectl -n moorline-system get pods",
        ),
        (
            "exit 1",
            "no front door answers: kubectl says nothing",
            "hint: ",
        ),
    ];
    for (lines, title, hint) in refusals {
        let programs = kubectl(place.path(), lines);
        let told = on_cluster(place.path(), &programs, &list).await.refused();
        assert!(told.contains(title) && told.contains(hint), "{told}");
    }
    let none = place.path().join("none");
    let told = on_cluster(place.path(), &none, &list).await.refused();
    assert!(
        told.contains("cannot run kubectl") && told.contains("where PATH finds it"),
        "{told}"
    );
    for words in [&["user", "list"][..], &["audit"]] {
        let told = on_cluster(place.path(), &none, words).await.refused();
        assert!(
            told.contains("none is named\nhint: add --tenant TENANT"),
            "{told}"
        );
    }
}
