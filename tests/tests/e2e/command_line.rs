//! The binary as a shell sees it.

use std::{process::Output, time::Duration};

use moorline_testkit::child::run;
use tokio::process::Command;

async fn moorline(arguments: &[&str]) -> Output {
    let mut command = Command::new(moorline_tests::moorline());
    command.args(arguments);
    run("moorline", command, Duration::from_secs(60))
        .await
        .unwrap()
}

#[tokio::test]
async fn says_its_version() {
    let output = moorline(&["--version"]).await;
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        concat!("moorline ", env!("CARGO_PKG_VERSION"))
    );
}

#[tokio::test]
async fn an_option_of_the_environment_is_not_told_as_if_it_had_been_typed() {
    let mut command = Command::new(moorline_tests::moorline());
    command
        .env("MOORLINE_DATA", "/srv/moorline")
        .args(["camera", "add"]);
    let output = run("moorline", command, Duration::from_secs(60))
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("Usage: moorline camera add <NAME>"), "{told}");
}

#[tokio::test]
async fn a_usage_error_is_2_and_goes_to_standard_error() {
    let output = moorline(&["no-such-command"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty(), "a pipe would have got it");
    assert!(String::from_utf8_lossy(&output.stderr).contains("no-such-command"));
}

#[tokio::test]
async fn completions_are_a_script_for_a_shell_and_a_document_for_a_program() {
    let script = moorline(&["completions", "bash"]).await;
    assert!(script.status.success(), "{script:?}");
    let script = String::from_utf8(script.stdout).unwrap();
    assert!(script.starts_with("_moorline()"), "{script}");
    let document = moorline(&["completions", "bash", "--output", "json"]).await;
    let document: serde_json::Value = serde_json::from_slice(&document.stdout).unwrap();
    assert_eq!(document["shell"], "bash");
    let same = document["script"].as_str().unwrap();
    assert_eq!(same.trim_end(), script.trim_end());
}

/// S36: they go into a pipe, and nothing that is no Secret goes with them.
#[tokio::test]
async fn secrets_on_standard_output_are_all_that_stands_there() {
    let output = moorline(&["keys", "init", "--out", "-"]).await;
    assert!(output.status.success(), "{output:?}");
    let secrets = String::from_utf8(output.stdout).unwrap();
    for document in secrets.split("\n---\n") {
        let document: serde_json::Value = serde_json::from_str(document).unwrap();
        assert_eq!(document["kind"], "Secret");
    }
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("keep a copy"), "{told}");
}
