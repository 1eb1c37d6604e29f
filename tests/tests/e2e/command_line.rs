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
