//! A small memory, a full flash, a slow uplink.

use moorline_simcam::{SourceConfig, video::Shape};
use moorline_testkit::eventually;
use moorline_testkit::fault::{Fault, FaultProxy};

use super::{
    LATER, card, generation, memory, recorded, says, server, until, until_recording, wall,
};
use crate::agent_release::said;
use crate::support::{exported, listening, quick};

/// What the agent may hold, in KiB (docs/design/agent.md).
pub(super) const MOST: u64 = 3 * 1024;
/// What the streamer films, in bits a second, and what the uplink passes, in bytes: less than half of it.
const FILMED: u64 = 2_000_000;
const PASSED: u64 = 95_000;
/// Pictures between two key frames.
const GOP: u32 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_uplink_costs_whole_pictures_and_neither_the_streamer_nor_memory() {
    let shape = Shape {
        width: 640,
        height: 352,
        fps: 20,
        gop: GOP,
        bitrate: FILMED,
        ..Shape::default()
    };
    let (source, streamer) = listening(SourceConfig::generated(7, shape));
    let Some(wall) = wall(streamer) else { return };
    let server = server("").await;
    let uplink = FaultProxy::start(server.address("ssh")).await.unwrap();
    // The camera calls through the slow uplink.
    let file = card(&server, "roof").await;
    let text = std::fs::read_to_string(&file).unwrap();
    let (from, to) = (server.address("ssh").port(), uplink.address().port());
    std::fs::write(
        &file,
        text.replace(&format!("port {from}"), &format!("port {to}")),
    )
    .unwrap();
    wall.put(&file, "enroll").await.unwrap();
    let camera = wall.power_on().await.unwrap();
    until_recording(&server, &camera, "roof").await;
    println!(
        "MEASURED agent with a fast uplink: RSS {} KiB",
        memory(&camera, "VmRSS").await
    );

    uplink.set(Fault::Throttle(PASSED)).await;
    let before = source.counters();
    until(
        &server,
        &camera,
        "roof",
        "that pictures were dropped",
        |view| {
            said(view, "pictures-dropped")
                .and_then(|count| count.parse::<u64>().ok())
                .is_some_and(|count| count > 60)
        },
    )
    .await;
    let most = memory(&camera, "VmHWM").await;
    let counters = source.counters();
    println!(
        "MEASURED agent with a slow uplink: most RSS {most} KiB; the streamer gave {} pictures meanwhile and dropped {}",
        counters.pictures - before.pictures,
        counters.dropped
    );
    assert_eq!(counters.dropped, 0, "the streamer was stalled");
    assert!(most <= MOST, "the agent held {most} KiB");

    uplink.set(Fault::None).await;
    let path = server.place().join("roof.mp4");
    let name = path.to_str().unwrap();
    let export = ["segments", "export", "roof", "--from", "1h", "-f", name];
    // Some were dropped, so there is a gap: behind what had been waiting for the uplink.
    let gaps = eventually("a gap in what is recorded", LATER, async || {
        if !server.try_cli(&export).await.status.success() {
            return None;
        }
        let pictures = exported(&path).await;
        let _ = std::fs::remove_file(&path);
        let gaps: Vec<(u64, u64)> = pictures
            .windows(2)
            .filter(|pair| pair[1].frame != pair[0].frame + 1)
            .map(|pair| (pair[0].frame, pair[1].frame))
            .collect();
        (!gaps.is_empty()).then_some(gaps)
    })
    .await;
    println!("gaps: {gaps:?}");
    assert!(
        gaps.iter().all(|(_, next)| next % u64::from(GOP) == 0),
        "resumed where no decoder may begin: {gaps:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_flash_costs_settings_and_no_camera() {
    let (_source, streamer) = listening(quick(7));
    let Some(wall) = wall(streamer) else { return };
    let server = server("").await;
    let camera = recorded(&server, &wall, "roof").await;
    until(&server, &camera, "roof", "its agent's words", |view| {
        view["status"]["said"].to_string().contains("\"agent\"")
    })
    .await;
    camera.order(FILL).await.unwrap();
    let kept = camera.order("cat /etc/moorline/agent.conf").await.unwrap();
    let mark = camera.machine().mark();
    server
        .cli(&["camera", "agent", "roof", "queue", "1000000"])
        .await;
    says(&camera, mark, "what was set is lost at the next boot").await;
    assert_eq!(
        camera.order("cat /etc/moorline/agent.conf").await.unwrap(),
        kept
    );
    let before = generation(&server.camera("roof").await);
    camera.power_cut().await.unwrap();
    let camera = wall.power_on().await.unwrap();
    until(
        &server,
        &camera,
        "roof",
        "the camera with a full flash",
        |view| view["status"]["link"]["state"] == "up" && generation(view) > before,
    )
    .await;
    until_recording(&server, &camera, "roof").await;
}

/// The token is what such a camera has: it is kept until the camera has kept its name.
#[tokio::test(flavor = "multi_thread")]
async fn a_flash_that_is_full_when_the_camera_enrols_does_not_strand_it() {
    let (_source, streamer) = listening(quick(7));
    let Some(wall) = wall(streamer) else { return };
    let server = server("").await;
    let camera = wall.power_on().await.unwrap();
    camera
        .order("until test -e /etc/moorline/id; do sleep 1; done")
        .await
        .unwrap();
    camera.order(FILL).await.unwrap();
    camera.order("sync").await.unwrap();
    camera.power_cut().await.unwrap();
    wall.put(&card(&server, "roof").await, "enroll")
        .await
        .unwrap();
    let camera = wall.power_on().await.unwrap();
    says(&camera, 0, "what was set is lost at the next boot").await;
    until_recording(&server, &camera, "roof").await;
    assert!(
        wall.on_card().await.unwrap().contains("enroll"),
        "the token is gone"
    );
    // Room again, and power again: it enrols once more, with the same key, and is the same camera.
    camera.order("rm /data/fill*; sync").await.unwrap();
    let before = generation(&server.camera("roof").await);
    camera.power_cut().await.unwrap();
    let camera = wall.power_on().await.unwrap();
    let view = until(&server, &camera, "roof", "its return", |view| {
        view["status"]["link"]["state"] == "up" && generation(view) > before
    })
    .await;
    assert_eq!(view["keys"].as_array().unwrap().len(), 1, "{view:#}");
    camera
        .order("grep -q 'ENROLLED home/roof' /etc/moorline/agent.conf")
        .await
        .unwrap();
    assert!(!wall.on_card().await.unwrap().contains("enroll"));
}

/// jffs2 has no reserve for root.
const FILL: &str = "dd if=/dev/urandom of=/data/fill bs=4k 2>/dev/null; dd if=/dev/urandom of=/data/fill2 bs=64 2>/dev/null; sync; true";
