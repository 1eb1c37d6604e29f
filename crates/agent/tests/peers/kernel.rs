//! The kernel of the cameras: Linux 3.10 lacks whatever came after it.

use moorline_testkit::{eventually, old_kernel, or_skip};

use crate::agent::{Camera, children, status};
use crate::reader::Reader;
use crate::server::{SOON, Server, yard};
use moorline_tunnel::keyfile::public_key_of_dropbear;

#[tokio::test(flavor = "multi_thread")]
async fn without_any_system_call_newer_than_3_10_a_camera_boots_tunnels_and_stops() {
    let Some(runner) = or_skip(old_kernel::runner()) else {
        return;
    };
    let mut camera = Camera::new();
    camera.run_by(runner);
    let server = Server::start("both", vec![]);
    camera.calls(server.address, &server.pins());
    // The first boot: dropbearkey and mkfifo are started, and wait for the entropy.
    let mut agent = camera.start_without_key();
    agent.wait_for_line("ssh-ed25519 AAAA", SOON).await.unwrap();
    let key = std::fs::read(camera.path("etc/id")).unwrap();
    server.set(vec![yard(&public_key_of_dropbear(&key).unwrap())]);
    let session = server.up(0).await;
    let pid = agent.pid().unwrap();
    let dbclient = children(pid, "dbclient").pop().expect("no dbclient");
    for filtered in [pid, u32::try_from(dbclient).unwrap()] {
        assert_eq!(status(filtered, "Seccomp"), 2, "runs without the filter");
    }
    server.line("SOURCE main /main h264").await;
    server.say(session, "PING 7");
    server.line("PONG 7").await;
    let mut reader = Reader::over(server.landing().await);
    reader.play().await;
    let first = reader.picture().await.unwrap();
    for next in 1..30 {
        assert_eq!(
            reader.picture().await,
            Some(first + next),
            "{}",
            agent.tail()
        );
    }
    server.say(session, "CONFIG queue 1000000");
    camera.file_says("etc/agent.conf", "CONFIG queue").await;
    // The walk asks the kernel for ways, resolves names and plays pictures.
    server.say(session, "DIAG");
    server.line("DIAG pictures ok").await;
    let (code, text) = camera.run(&["stop"]).await;
    assert_eq!(code, Some(0), "{text}");
    server.line("BYE").await;
    assert!(agent.wait(SOON).await.unwrap().success());
    eventually("no dbclient is left", SOON, async || {
        children(pid, "dbclient").is_empty().then_some(())
    })
    .await;
}
