//! The clock from the pinned session.

use crate::agent::Camera;
use crate::server::{Server, yard};

#[tokio::test(flavor = "multi_thread")]
async fn time_sets_the_clock_but_not_below_the_build() {
    let mut camera = Camera::new();
    let server = Server::start("both", vec![yard(camera.key.public())]);
    camera.calls(server.address, &server.pins());
    // `date` of a camera whose clock stands at 1970 takes it; this one notes it.
    let noted = camera.path("noted");
    camera.program("date", &format!("echo \"$@\" >> {}", noted.display()));
    camera.local("clock on");
    let _agent = camera.start();
    let session = server.opened(0).await;
    server.say(session, "TIME 1000000000");
    server.say(session, "TIME 2100000000");
    let text = camera.file_says("noted", "\n").await;
    assert_eq!(text, "-s @2100000000\n");
    server
        .line("LOG warn the server's TIME is before this agent was built")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_on_the_camera_compares_its_clock_with_the_server_s() {
    let mut camera = Camera::new();
    let server = Server::start("both", vec![yard(camera.key.public())]);
    camera.calls(server.address, &server.pins());
    let agent = camera.start();
    let session = server.opened(0).await;
    server.line("STATUS ").await;
    let clock = async || {
        let (_, text) = camera.run(&["check"]).await;
        let line = text.lines().find(|line| line.contains(" clock "));
        line.map(str::to_owned).unwrap_or(text)
    };
    let alone = clock().await;
    assert!(
        alone.starts_with("ok ") && alone.contains("not compared"),
        "{alone}"
    );
    // This camera takes no time from its server (`clock off`).
    server.say(session, "TIME 2100000000");
    camera.file_says("run/state", "clock 2100000000 ").await;
    let told = clock().await;
    assert!(
        told.starts_with("FAIL ") && told.contains("s apart from the server's"),
        "{told}: {}",
        agent.tail()
    );
}
