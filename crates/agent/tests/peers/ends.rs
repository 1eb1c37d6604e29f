//! How sessions end, and what comes after.

use moorline_core::port::TunnelEnd;
use moorline_testkit::child::Signal;
use moorline_testkit::eventually;

use crate::agent::{Camera, children};
use crate::reader::Reader;
use crate::server::{SOON, Seen, Server, yard};

async fn kill(pid: u32) {
    let child = eventually("a dbclient", SOON, async || children(pid, "dbclient").pop()).await;
    let pid = rustix::process::Pid::from_raw(child).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_dbclient_is_lost_and_called_again_and_the_relay_goes_on() {
    let mut camera = Camera::new();
    let server = Server::start("both", vec![yard(camera.key.public())]);
    camera.calls(server.address, &server.pins());
    let agent = camera.start();
    let first = server.up(0).await;
    kill(agent.pid().unwrap()).await;
    assert_eq!(server.ended(first).await, TunnelEnd::Lost);
    server.up(1).await;
    let mut reader = Reader::over(server.landing().await);
    reader.play().await;
    reader.picture().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_says_bye_and_ends_within_its_two_seconds() {
    let mut camera = Camera::new();
    let server = Server::start("both", vec![yard(camera.key.public())]);
    camera.calls(server.address, &server.pins());
    let mut agent = camera.start();
    let session = server.up(0).await;
    server.line("STATUS").await;
    let (code, text) = camera.run(&["stop"]).await;
    assert_eq!(code, Some(0), "{text}");
    server.line("BYE").await;
    assert!(agent.wait(SOON).await.unwrap().success());
    server.ended(session).await;
    let bye = |seen: &Seen| matches!(seen, Seen::Line(_, line) if line == "BYE");
    let end = |seen: &Seen| matches!(seen, Seen::Ended(..));
    let all = server.all();
    let (bye, end) = (
        all.iter().position(bye).unwrap(),
        all.iter().position(end).unwrap(),
    );
    assert!(bye < end, "{all:?}");
    let (code, text) = camera.run(&["stop"]).await;
    assert_eq!(
        (code, text.contains("no agent runs")),
        (Some(1), true),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_agent_on_one_directory_is_refused_and_without_a_word_nothing_is_started() {
    let mut camera = Camera::new();
    let server = Server::start("both", vec![yard(camera.key.public())]);
    camera.calls(server.address, &server.pins());
    let mut agent = camera.start();
    server.up(0).await;
    let session = server.opened(0).await;
    let (code, text) = camera.run(&["run"]).await;
    assert_eq!(code, Some(1), "{text}");
    let named = format!("pid {}", agent.pid().unwrap());
    assert!(text.contains(&named), "{named}: {text}");
    let (code, text) = camera.run(&[]).await;
    assert_eq!(
        (code, text.contains("usage: ")),
        (Some(2), true),
        "whoever looks: {text}"
    );
    // The first one has its session still, and hears who wants to stop it.
    server.say(session, "PING 7");
    server.line("PONG 7").await;
    let (code, text) = camera.run(&["stop"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(agent.wait(SOON).await.unwrap().success());
}
