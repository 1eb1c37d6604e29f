//! Cameras of the own network that cannot be reached: what is shown and told names the cure, and the cure is enough.
//!
//! Server and cameras have a network of their own, in which an address can be switched off.

use std::net::SocketAddr;
use std::sync::Arc;

use moorline_base::SystemClock;
use moorline_simcam::Source;
use moorline_testkit::child::run;
use moorline_testkit::http::Receiver;
use moorline_testkit::netns::Netns;
use moorline_testkit::or_skip;
use serde_json::Value;

use crate::support::{Moorline, SOON, Setup, quick};

/// The server's interface.
const OURS: &str = "10.9.9.1/24";
/// Where the cameras are. Every port is free in a network of one's own.
const CAMERAS: &str = "10.9.9.2/32";
const HALL: ([u8; 4], u16) = ([10, 9, 9, 2], 554);
const PORCH: ([u8; 4], u16) = ([10, 9, 9, 2], 8554);

struct Network(Arc<Netns>);

impl Network {
    async fn new() -> Option<Self> {
        let network = Self(Arc::new(or_skip(Netns::new().await)?));
        network.ip("link add lan type veth peer name far").await;
        network.ip(&format!("addr add {OURS} dev lan")).await;
        network.ip("link set lan up").await;
        network.ip("link set far up").await;
        // Who sends there while the cameras are away hears nothing at all.
        network
            .ip("neigh replace 10.9.9.2 lladdr 02:00:00:00:00:01 dev lan nud permanent")
            .await;
        network.plugged_in().await;
        Some(network)
    }

    async fn ip(&self, words: &str) {
        let mut command = self.0.command("ip");
        command.args(words.split(' '));
        let output = run("ip", command, SOON).await.unwrap();
        assert!(output.status.success(), "ip {words}: {output:?}");
    }

    async fn plugged_in(&self) {
        self.ip(&format!("addr add {CAMERAS} dev lo")).await;
    }

    async fn unplugged(&self) {
        self.ip(&format!("addr del {CAMERAS} dev lo")).await;
    }

    /// A camera that films, at an address.
    async fn camera(&self, at: ([u8; 4], u16), number: u32) -> Source {
        let listener = self.0.listen_at(SocketAddr::from(at)).await.unwrap();
        let source = Source::new(quick(number), SystemClock::shared());
        source.listen(listener);
        source
    }
}

/// Waits until `camera show` names a trouble and its cure, for programs and for people.
async fn shown(moorline: &Moorline, camera: &str, trouble: &str, cure: &str) {
    moorline
        .until(camera, cure, |view| {
            let notes = view["notes"].to_string();
            notes.contains(trouble) && notes.contains(cure)
        })
        .await;
    let mut command = tokio::process::Command::new(moorline_tests::moorline());
    command.arg("--data").arg(moorline.data());
    command.args(["camera", "show", camera]);
    let output = run("moorline", command, SOON).await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains(cure), "{text}");
}

/// The causes of what is missing since the first picture.
async fn causes(moorline: &Moorline, camera: &str) -> Vec<String> {
    let rows = moorline.segments(camera).await;
    let rows = rows.iter().skip_while(|row| row["kind"] != "recorded");
    let gaps = rows.filter(|row| row["kind"] != "recorded");
    let mut causes: Vec<String> = gaps
        .map(|row| row["cause"].as_str().unwrap_or("unexplained").to_owned())
        .collect();
    causes.dedup();
    causes
}

#[tokio::test(flavor = "multi_thread")]
async fn cameras_of_the_own_network_that_are_unreachable_are_shown_told_and_cured() {
    let Some(network) = Network::new().await else {
        return;
    };
    let (listener, address) = network.0.listen().await.unwrap();
    let hook = Receiver::on(listener, address);
    let sections = format!(
        "[alert]\nafter = \"12s\"\nwebhook = \"{}\"\nwebhook_private = [\"127.0.0.0/8\"]\nwebhook_http = true\n",
        hook.url("/hook"),
    );
    let moorline = Moorline::with(Setup {
        archive: "segment = \"2s\"\n".to_owned(),
        sections,
        network: Some(Arc::clone(&network.0)),
        ..Setup::default()
    })
    .await;
    let hall = network.camera(HALL, 1).await;
    let porch = network.camera(PORCH, 2).await;
    for (name, url) in [
        ("hall", "rtsp://10.9.9.2/main"),
        ("porch", "rtsp://10.9.9.2:8554/main"),
    ] {
        moorline.cli(&["camera", "add", name, "--rtsp", url]).await;
        moorline
            .until(name, "something durable", |view| {
                view["status"]["recorded_until"].is_string()
            })
            .await;
    }

    // Its RTSP server ends: the address refuses.
    hall.stop().await;
    let cure =
        "nothing listens at its address: check host and port, moorline camera set hall --rtsp";
    shown(&moorline, "hall", "refused_by_camera", cure).await;
    let told = hook.wait_for(1, SOON).await.unwrap()[0].json().to_string();
    assert!(
        told.contains("home/hall") && told.contains("rtsp_error"),
        "{told}"
    );
    // It comes back at another port.
    let elsewhere = ([10, 9, 9, 2], 10_554);
    let _hall = network.camera(elsewhere, 1).await;
    let url = "rtsp://10.9.9.2:10554/main";
    moorline
        .cli(&["camera", "set", "hall", "--rtsp", url])
        .await;
    moorline.recorded_up_to_now("hall").await;

    // The other one loses its power: nothing answers, which is no refusal.
    porch.stop().await;
    moorline.cli(&["camera", "disable", "hall"]).await;
    network.unplugged().await;
    let cure = "nothing answers at 10.9.9.2:8554: check the camera's power and network";
    shown(&moorline, "porch", "unreachable", cure).await;
    let told = hook.wait_for(2, SOON).await.unwrap()[1].json().to_string();
    assert!(
        told.contains("home/porch") && told.contains("tunnel_down"),
        "{told}"
    );
    assert!(!told.contains("tunnel is"), "it has none: {told}");
    let findings = moorline.try_cli(&["doctor"]).await;
    let findings: Value = serde_json::from_slice(&findings.stdout).unwrap();
    let found = findings.to_string();
    assert!(
        found.contains("porch: the camera could not be reached") && found.contains(cure),
        "{found}"
    );

    // It has power again.
    network.plugged_in().await;
    let _porch = network.camera(PORCH, 2).await;
    moorline.recorded_up_to_now("porch").await;
    moorline.cli(&["camera", "enable", "hall"]).await;
    moorline.recorded_up_to_now("hall").await;
    let view = moorline.camera("porch").await;
    assert!(!view["notes"].to_string().contains("unreachable"), "{view}");
    let causes_of_porch = causes(&moorline, "porch").await;
    assert!(
        causes_of_porch
            .iter()
            .all(|cause| cause == "tunnel_down" || cause == "rtsp_error"),
        "{causes_of_porch:?}"
    );
    assert!(
        causes_of_porch.contains(&"tunnel_down".to_owned()),
        "{causes_of_porch:?}"
    );
}
