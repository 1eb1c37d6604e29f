use super::*;

const SOON: Duration = Duration::from_secs(30);

fn shell(script: &str) -> Child {
    let mut command = Command::new("sh");
    command.arg("-c").arg(script);
    Child::spawn("shell", command).expect("sh starts")
}

#[tokio::test]
async fn lines_of_both_streams_are_awaited_and_input_is_written() {
    let mut child = shell("read name; echo hello $name; echo careful >&2; printf 'a\\rb'");
    child.write(b"camera\n").await.unwrap();
    assert_eq!(
        child.wait_for_line("hello", SOON).await.unwrap(),
        "hello camera"
    );
    child.wait_for_line("careful", SOON).await.unwrap();
    child.wait_for_line("b", SOON).await.unwrap();
    assert!(child.wait(SOON).await.unwrap().success());
}

#[tokio::test]
async fn a_line_that_never_comes_shows_what_came() {
    let child = shell("echo only this");
    let error = child.wait_for_line("that", SOON).await.unwrap_err();
    assert!(matches!(error, Error::Ended { .. }), "{error}");
    assert!(error.to_string().contains("only this"), "{error}");
}

#[tokio::test]
async fn what_a_child_started_ends_with_it() {
    let child = shell("sleep 1000 & echo $!; wait");
    let grandchild: i32 = child
        .wait_for_after(0, "a pid", SOON, |line| line.parse().ok())
        .await
        .unwrap();
    drop(child);
    // At once: it was waited for. A zombie that its new parent has not reaped yet is as good as gone.
    let stat = std::fs::read_to_string(format!("/proc/{grandchild}/stat")).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
}

#[tokio::test]
async fn a_child_that_was_waited_for_has_said_all_and_one_that_was_killed_is_gone() {
    let mut child = shell("echo first; exec seq 2000");
    assert!(child.wait(SOON).await.unwrap().success());
    assert_eq!(child.lines().last().map(String::as_str), Some("2000"));
    let child = shell("sleep 1000 & wait");
    let pid = child.pid().unwrap();
    child.kill(SOON).await.unwrap();
    assert!(!std::fs::exists(format!("/proc/{pid}")).unwrap());
}

#[tokio::test]
async fn a_frozen_child_is_silent_until_it_thaws() {
    let mut child = shell("echo ready; read x; echo awake");
    child.wait_for_line("ready", SOON).await.unwrap();
    child.freeze();
    child.write(b"\n").await.unwrap();
    assert!(
        child
            .wait_for_line("awake", Duration::from_millis(100))
            .await
            .is_err()
    );
    child.thaw();
    child.wait_for_line("awake", SOON).await.unwrap();
}
