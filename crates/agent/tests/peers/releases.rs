//! The agent with the dbclients that cameras may have. Without the agent they are tried in `crates/tunnel`, too.

use moorline_testkit::dropbear::{Release, SID, TRIXIE};
use moorline_testkit::or_skip;
use moorline_tunnel::keyfile::HostKeys;

use crate::agent::{Camera, cpu_of_ended_children};
use crate::reader::Reader;
use crate::server::{SOON, Server, yard};

/// Which dbclient: the system's, or another release and how its version begins.
type Which = Option<(Release, &'static str)>;

/// A camera with this dbclient, and its version.
async fn camera(which: Which) -> Option<(Camera, String)> {
    let camera = Camera::new();
    let Some((release, begins)) = which else {
        return Some((camera, "2022.83".to_owned()));
    };
    let dropbear = or_skip(release.get().await)?;
    let version = dropbear.version().split('-').next().unwrap().to_owned();
    assert!(version.starts_with(begins), "{version} is not {begins}");
    camera.dbclient(&dropbear.command("dbclient"));
    Some((camera, version))
}

/// A tunnel with pictures, and its loss; then a server with another key.
async fn calls(which: Which) {
    let Some((mut yards, version)) = camera(which).await else {
        return;
    };
    let server = Server::start("both", vec![yard(yards.key.public())]);
    yards.calls(server.address, &server.pins());
    let agent = yards.start();
    for nth in 0..2 {
        let session = server.up(nth).await;
        let status = server.line("STATUS ").await;
        assert!(
            status.contains(&format!(" dbclient={version}")),
            "not the dbclient that was meant: {status}"
        );
        let mut reader = Reader::over(server.landing().await);
        reader.play().await;
        let first = reader.picture().await.unwrap();
        assert_eq!(reader.picture().await, Some(first + 1), "{}", agent.tail());
        server.end(session);
    }
    drop(agent);

    // A foreign key: never talked to, told, and left without burning the CPU.
    let (mut other, _) = camera(which).await.unwrap();
    let foreign = Server::start("both", vec![yard(other.key.public())]);
    let pinned = HostKeys::generate().unwrap().known_hosts_dropbear("x");
    let pins = pinned.iter().filter_map(|line| line.split(' ').nth(2));
    let pins: Vec<&str> = pins.collect();
    assert_eq!(pins.len(), 2, "one of each algorithm");
    other.calls(foreign.address, &pins.join(","));
    let agent = other.start();
    other.file_says("run/state", "last-end hostkey").await;
    assert_eq!(foreign.all(), [], "{}", agent.tail());
    let cpu = cpu_of_ended_children(agent.pid().unwrap());
    assert!(cpu < 2.0, "dbclient took {cpu} s of CPU: {}", agent.tail());
}

#[tokio::test(flavor = "multi_thread")]
async fn debian_12_s_2022_83_calls_by_the_agent() {
    calls(None).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: fetches Debian 13's dropbear"]
async fn debian_13_s_2025_89_calls_by_the_agent() {
    calls(Some((TRIXIE, "2025.89"))).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: fetches sid's dropbear"]
async fn sid_s_dbclient_calls_by_the_agent() {
    calls(Some((SID, "20"))).await;
}

/// Only the server's ecdsa key is pinned, and dbclient prefers ed25519: an unknown key. At the end of its input 2022.83 would spin for ever.
async fn spins_nothing(which: Which) {
    let Some((mut camera, _)) = camera(which).await else {
        return;
    };
    let server = Server::start("both", vec![yard(camera.key.public())]);
    let pins = server.pins();
    let ecdsa = pins.split(',').find(|pin| pin.starts_with("AAAAE2Vj"));
    camera.calls(server.address, ecdsa.unwrap());
    let agent = camera.start();
    let ended = agent.wait_for_line("session with the endpoint ended", SOON);
    let line = ended.await.unwrap();
    assert!(line.ends_with("ended: hostkey"), "{line}: {}", agent.tail());
    let cpu = cpu_of_ended_children(agent.pid().unwrap());
    assert!(cpu < 2.0, "dbclient took {cpu} s of CPU: {}", agent.tail());
    assert_eq!(server.all(), [], "an unknown key was talked to");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_not_pinned_at_all_spins_nothing() {
    spins_nothing(None).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: fetches Debian 13's dropbear"]
async fn a_key_that_is_not_pinned_at_all_spins_nothing_in_2025_89() {
    spins_nothing(Some((TRIXIE, "2025.89"))).await;
}
