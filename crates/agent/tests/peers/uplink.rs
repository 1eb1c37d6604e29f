//! A slow uplink: dbclient's connection passes fewer bytes than the streamer films.

use moorline_testkit::fault::{Fault, FaultProxy};

use crate::agent::Camera;
use crate::reader::Reader;
use crate::server::{Seen, Server, yard};

/// What the streamer films, and what the uplink passes, in bytes a second: the kernel's queues on loopback are big, so both are too.
const FILMED: u64 = 5_000_000;
const PASSED: u64 = 1_200_000;

#[tokio::test(flavor = "multi_thread")]
async fn the_streamer_is_never_stalled_and_after_each_gap_comes_an_idr() {
    let mut camera = Camera::filming(FILMED * 8);
    let server = Server::start("both", vec![yard(camera.key.public())]);
    let uplink = FaultProxy::start(server.address).await.unwrap();
    camera.calls(uplink.address(), &server.pins());
    let agent = camera.start();
    let session = server.up(0).await;
    let mut reader = Reader::over(server.landing().await);
    reader.play().await;
    uplink.set(Fault::Throttle(PASSED)).await;
    let (mut last, mut gaps) = (reader.picture().await.unwrap(), Vec::new());
    while gaps.len() < 3 {
        let next = reader.picture().await.unwrap();
        if next != last + 1 {
            gaps.push((last, next));
        }
        last = next;
    }
    println!("gaps: {gaps:?}, streamer: {:?}", camera.source.counters());
    assert!(
        gaps.iter().all(|(_, next)| next % 10 == 0),
        "resumed where no decoder may begin: {gaps:?}"
    );
    // The simulated streamer counts what its client did not take in time.
    assert_eq!(
        camera.source.counters().dropped,
        0,
        "the streamer was stalled: {}",
        agent.tail()
    );
    server.say(session, "PING 1");
    let lost: u64 = gaps.iter().map(|(last, next)| next - last - 1).sum();
    // An earlier STATUS may have told a part of it.
    let told = server.told("what the reader missed is counted", move |seen| {
        seen.iter().find_map(|seen| match seen {
            Seen::Line(_, line) => {
                let count = line
                    .split(" pictures-dropped=")
                    .nth(1)?
                    .split(' ')
                    .next()?
                    .parse::<u64>()
                    .ok()?;
                (count > 0 && count >= lost).then_some(())
            }
            _ => None,
        })
    });
    told.await;
}
