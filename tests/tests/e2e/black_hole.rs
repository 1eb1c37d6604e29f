//! A network that swallows every packet and says nothing: the session is lost within a minute, by the settings that everybody has.

use std::time::{Duration, Instant};

use moorline_simcam::{Source, Tunnel};
use moorline_testkit::fault::{Fault, FaultProxy};
use moorline_testkit::{Starved, patience};

use crate::faults_device::{Device, small};
use crate::faults_rig::{SHORT, Server};

/// 60 s since the last packet, and what a busy machine needs to say so.
const MINUTE: Duration = Duration::from_secs(63);

/// Waits until the link of a camera is lost, and tells how long that took.
async fn lost(server: &Server, name: &str, since: Instant) -> Duration {
    let waited = tokio::time::timeout(patience(MINUTE * 2), async {
        let mut every = tokio::time::interval(Duration::from_millis(200));
        loop {
            every.tick().await;
            let camera = server.camera(name).await;
            if camera["status"]["link"]["state"] != "up" {
                return since.elapsed();
            }
        }
    });
    waited
        .await
        .unwrap_or_else(|_| panic!("{name} is up after {:?}", since.elapsed()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: a minute of silence"]
async fn a_session_in_a_black_hole_is_lost_within_a_minute_whatever_its_client() {
    let server = Server::start(SHORT).await;
    let _well = server.healthy("well", 1).await;
    let network = FaultProxy::start(server.address("ssh")).await.unwrap();
    let mut devices = Vec::new();
    // An agent answers PINGs; a bare dbclient has no monitor's channel, and SSH's own signs of life alone tell.
    for (number, name, monitor) in [(2, "agent", true), (3, "bare", false)] {
        let key = server.add(name, &[]).await;
        let mut tunnel = server.tunnel(name, &key);
        tunnel.server = network.address();
        tunnel.monitor = monitor;
        let clock = moorline_base::SystemClock::shared();
        let source = Source::new(small(number), clock.clone());
        let tunnel = Tunnel::start(tunnel, source.clone(), clock);
        devices.push(Device { tunnel, source });
        server.moves_on(name).await;
    }
    network.set(Fault::BlackHole).await;
    let (since, starved) = (Instant::now(), Starved::begin());
    let (agent, bare) = tokio::join!(lost(&server, "agent", since), lost(&server, "bare", since));
    let bound = patience(MINUTE) + starved.so_far();
    println!("lost after {agent:?} with an agent, {bare:?} without");
    assert!(agent < bound && bare < bound, "not within {bound:?}");
    network.set(Fault::None).await;
    network.cut();
    for (name, number) in [("agent", 2), ("bare", 3)] {
        server.moves_on(name).await;
        let stamps = server.exported(name).await;
        assert!(stamps.iter().all(|stamp| stamp.camera == number));
        for gap in server.gaps(name).await {
            assert!(
                ["camera_silent", "tunnel_down"].contains(&&*gap),
                "{name}: {gap}"
            );
        }
    }
    server.nothing_lost("well", 1).await;
    server.stop().await;
}
