//! A camera is hung on a wall with nothing but a file on its card.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::{generation, memory, recorded, server, until, until_recording, wall};
use crate::support::{exported, listening, quick};

/// The clock of a camera without a battery.
const AT_1970: &[&str] = &["-rtc", "base=1970-01-01T00:00:10"];

#[tokio::test(flavor = "multi_thread")]
async fn from_an_empty_flash_to_recorded_pictures_by_the_file_on_its_card() {
    let (_source, streamer) = listening(quick(7));
    let Some(wall) = wall(streamer) else { return };
    let server = server("").await;
    wall.put(&super::card(&server, "roof").await, "enroll")
        .await
        .unwrap();
    assert!(wall.on_card().await.unwrap().contains("enroll"));
    let power = Instant::now();
    let camera = wall.power_on_with(AT_1970).await.unwrap();
    let view = until(&server, &camera, "roof", "its tunnel", |view| {
        view["status"]["link"]["state"] == "up"
    })
    .await;
    println!(
        "MEASURED from power to a first tunnel, key and enrolment included: {:.1} s",
        power.elapsed().as_secs_f64()
    );
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
    let power = Instant::now();
    let camera = wall.power_on_with(AT_1970).await.unwrap();
    let view = until(&server, &camera, "roof", "its second tunnel", |view| {
        view["status"]["link"]["state"] == "up" && generation(view) > first
    })
    .await;
    println!(
        "MEASURED from power to the tunnel of a camera that is enrolled: {:.1} s",
        power.elapsed().as_secs_f64()
    );
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
    let links = server.cli(&["camera", "diagnose", "roof"]).await;
    let links = links.as_array().unwrap();
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
