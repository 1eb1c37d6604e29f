use std::fs;

use super::*;
use crate::{
    gst::{GstCamera, GstOptions},
    or_skip, temp_dir,
};

/// The proxy that Moorline replaces, between a GStreamer camera and openRTSP, all three inside a namespace.
#[tokio::test]
async fn proxy_and_client_of_today_run_on_this_system() {
    let Some(live555) = or_skip(Live555::get().await) else {
        return;
    };
    let Some(netns) = or_skip(Netns::new().await) else {
        return;
    };
    let camera = GstCamera::start_in(&netns, GstOptions::default())
        .await
        .unwrap();
    let proxy = live555.proxy(&netns, &camera.url()).await.unwrap();

    // Reached by a socket that was made inside.
    netns.connect(proxy.address).await.unwrap();

    let directory = temp_dir().unwrap();
    let mut client = live555.command_in(&netns, "openRTSP");
    client
        .current_dir(directory.path())
        .args(["-t", "-F", "received-"])
        .arg(proxy.url());
    let client = Child::spawn("openRTSP", client).unwrap();
    client
        .wait_for_line("Receiving streamed data", Duration::from_secs(30))
        .await
        .unwrap();
    crate::eventually(
        "pictures in openRTSP's file",
        Duration::from_secs(30),
        || {
            let bytes: u64 = fs::read_dir(directory.path())
                .unwrap()
                .flatten()
                .filter_map(|entry| entry.metadata().ok())
                .map(|metadata| metadata.len())
                .sum();
            async move { (bytes > 20_000).then_some(()) }
        },
    )
    .await;
    // It writes its file's end only when it is asked to end.
    client.end(Duration::from_secs(30)).await.unwrap();
}
