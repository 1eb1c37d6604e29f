//! The kernel of cameras, Linux 3.10: what came after it is not there. musl for MIPS asks for newer calls first, as for the time in 64 bits.

use super::{generation, recorded, server, until, until_recording, wall_with};
use crate::support::{listening, quick};

#[tokio::test(flavor = "multi_thread")]
async fn without_any_system_call_newer_than_3_10_it_enrols_is_recorded_and_keeps_what_it_was_told()
{
    let (_source, streamer) = listening(quick(7));
    let Some(wall) = wall_with(streamer, &["moorline.kernel=3.10"]) else {
        return;
    };
    let server = server("").await;
    // From an empty flash: it makes its key, wipes its token, sets its clock, reads its streamer.
    let camera = recorded(&server, &wall, "roof").await;
    let filtered = |program| format!("grep -qx 'Seccomp:.2' /proc/$(pidof {program})/status");
    for program in ["moorline-agent", "dbclient"] {
        camera.order(&filtered(program)).await.unwrap();
    }
    let view = until(&server, &camera, "roof", "its agent's words", |view| {
        view["status"]["said"].to_string().contains("\"agent\"")
    })
    .await;
    let key = view["keys"][0]["key"].clone();

    // The walk asks the kernel for ways and plays pictures; by a program of its own, and by the agent that runs.
    let check = "linux-3.10 /usr/bin/moorline-agent check --report";
    let checked = camera.order(check).await.unwrap();
    assert!(!checked.contains("FAIL"), "{checked}");
    let links = server.diagnose("roof").await;
    let failed: Vec<_> = links.iter().filter(|link| link["ok"] == false).collect();
    assert!(failed.is_empty() && links.len() > 10, "{failed:?}");

    let set = ["camera", "agent", "roof", "queue", "1000000"];
    server.cli(&set).await;
    let kept = "grep -qx 'CONFIG queue 1000000' /etc/moorline/agent.conf";
    let until_kept = format!("until {kept}; do sleep 1; done");
    camera.order(&until_kept).await.unwrap();
    let before = generation(&server.camera("roof").await);
    camera.order("reboot").await.unwrap();
    camera.until_booted().await.unwrap();
    let view = until(&server, &camera, "roof", "its return", |view| {
        view["status"]["link"]["state"] == "up" && generation(view) > before
    })
    .await;
    assert_eq!(view["keys"][0]["key"], key, "another key: {view:#}");
    until_recording(&server, &camera, "roof").await;
    camera.order(&filtered("moorline-agent")).await.unwrap();
    camera.order(kept).await.unwrap();
}
