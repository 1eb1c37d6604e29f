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
