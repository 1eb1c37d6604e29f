//! A camera is hung on a wall with nothing but a file on its card.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use moorline_testkit::emu::{Camera, Wall};
use serde_json::Value;

use super::{LATER, generation, memory, recorded, server, until, until_recording, wall};
use crate::support::{Moorline, exported, listening, quick};

/// The clock of a camera without a battery.
const AT_1970: &[&str] = &["-rtc", "base=1970-01-01T00:00:10"];

/// A boot takes 6 s on a quiet machine, and ten times as long on one that compiles.
const BOOT: Duration = Duration::from_secs(180);

/// Gives it power, and tells how long it takes until the server says that its tunnel is up: from the start of QEMU's process, and from the kernel's
/// first line, which is printed before the kernel has read `quiet`. The server is asked every 10 ms.
#[expect(clippy::print_stdout, reason = "what is measured")]
async fn tunnel_after_boot(
    server: &Moorline,
    wall: &Wall,
    what: &str,
    after: u64,
) -> (Camera, Value) {
    let power = Instant::now();
    let camera = wall.plug_in(AT_1970).await.unwrap();
    let first = camera.machine().wait_for_line("Linux version", LATER);
    first.await.unwrap_or_else(|error| panic!("{error}"));
    let kernel = Instant::now();
    let up = |view: &Value| view["status"]["link"]["state"] == "up" && generation(view) > after;
    let view = server
        .until_within(BOOT, "roof", "its tunnel", up, camera.given_up())
        .await;
    println!(
        "MEASURED boot to tunnel: {what}, {:.2} s from QEMU's start, {:.2} s from the kernel's first line",
        power.elapsed().as_secs_f64(),
        kernel.elapsed().as_secs_f64()
    );
    camera.until_booted().await.unwrap();
    (camera, view)
}

#[tokio::test(flavor = "multi_thread")]
async fn from_an_empty_flash_to_recorded_pictures_by_the_file_on_its_card() {
    let (_source, streamer) = listening(quick(7));
    let Some(wall) = wall(streamer) else { return };
    let server = server("").await;
    wall.put(&super::card(&server, "roof").await, "enroll")
        .await
        .unwrap();
    assert!(wall.on_card().await.unwrap().contains("enroll"));
    let what = "first boot, key and enrolment included";
    let (camera, view) = tunnel_after_boot(&server, &wall, what, 0).await;
    let first = generation(&view);
    let view = until_recording(&server, &camera, "roof").await;
    println!("MEASURED agent: RSS {} KiB", memory(&camera, "VmRSS").await);

    // The private key is the camera's own, and nobody else's to read.
    let key = "dropbearkey -y -f /etc/moorline/id | grep ^ssh-ed25519 | cut -d ' ' -f 1,2";
    let made = camera.order(key).await.unwrap();
    assert_eq!(view["keys"].as_array().unwrap().len(), 1);
    let known = view["keys"][0]["key"].as_str().unwrap();
    assert!(known.starts_with(made.trim()), "{known} is not {made}");
    let mode = camera.order("stat -c %a /etc/moorline/id").await.unwrap();
    assert_eq!(mode, "600\n");
    // The token is nowhere any more.
    assert!(!wall.on_card().await.unwrap().contains("enroll"));
    let kept = camera.order("cat /etc/moorline/*.conf").await.unwrap();
    assert!(
        kept.contains("ENROLLED home/roof\n") && !kept.contains("token"),
        "{kept}"
    );
    // The server's time is the camera's.
    let told: u64 = camera
        .order("date +%s")
        .await
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    assert!(
        now.abs_diff(told) < 30,
        "the camera's clock stands at {told}"
    );

    // A power cut, in the middle of everything: it is the same camera afterwards, with the same key.
    camera.power_cut().await.unwrap();
    let what = "second boot, enrolled";
    let (camera, view) = tunnel_after_boot(&server, &wall, what, first).await;
    assert_eq!(view["keys"].as_array().unwrap().len(), 1);
    assert_eq!(camera.order(key).await.unwrap(), made);
    let second = generation(&view);

    // A reboot in order.
    camera.order("reboot").await.unwrap();
    camera.until_booted().await.unwrap();
    until(&server, &camera, "roof", "its third tunnel", |view| {
        view["status"]["link"]["state"] == "up" && generation(view) > second
    })
    .await;
    until_recording(&server, &camera, "roof").await;
    assert_eq!(
        server
            .cli(&["camera", "list"])
            .await
            .as_array()
            .unwrap()
            .len(),
        1
    );

    let file = server.place().join("roof.mp4");
    let path = file.to_str().unwrap();
    server
        .cli(&["segments", "export", "roof", "--from", "1h", "-f", path])
        .await;
    let pictures = exported(&file).await;
    assert!(pictures.len() >= 20, "{} pictures", pictures.len());
    assert!(pictures.iter().all(|stamp| stamp.camera == 7));
}

/// The chain that an owner walks when something is wrong, on the camera and from the server.
#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_camera_finds_nothing_wrong_with_itself() {
    let (_source, streamer) = listening(quick(7));
    let Some(wall) = wall(streamer) else { return };
    let server = server("").await;
    let camera = recorded(&server, &wall, "roof").await;
    let checked = camera.order("moorline-agent check --report").await.unwrap();
    assert!(!checked.contains("FAIL"), "{checked}");
    let links = server.diagnose("roof").await;
    let failed: Vec<_> = links.iter().filter(|link| link["ok"] == false).collect();
    assert!(failed.is_empty() && links.len() > 10, "{failed:?}");
    let view = server
        .until("roof", "what its streamer films", |view| {
            view["main"]["path"] == "/main"
        })
        .await;
    let said = view["status"]["said"].to_string();
    assert!(said.contains("2022.83"), "{said}");
}
