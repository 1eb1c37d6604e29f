//! Servers that send a camera elsewhere, bring it a new agent, or are not what they say.

use std::net::Ipv4Addr;
use std::sync::Arc;

use moorline_testkit::emu::{CAMERA, Camera, HOST, RESOLVER};
use moorline_testkit::{or_skip, temp_dir};
use serde_json::Value;

use super::{generation, recorded, says, server, until, until_recording, wall};
use crate::agent_release::{MARK, release, said, stamped};
use crate::refer::{elsewhere, knows, refer};
use crate::support::{Moorline, listening, quick};

/// Waits until the agent has spoken, and gives the camera's key.
async fn speaks(server: &Moorline, camera: &Camera) -> String {
    let view = until(server, camera, "roof", "its agent's words", |view| {
        said(view, "agent").is_some()
    })
    .await;
    view["keys"][0]["key"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_referred_camera_is_recorded_there_and_comes_back() {
    let (_source, streamer) = listening(quick(7));
    let Some(wall) = wall(streamer) else { return };
    let (here, there) = (server("").await, server("").await);
    let camera = recorded(&here, &wall, "roof").await;
    let key = speaks(&here, &camera).await;
    knows(&there, &key).await;
    refer(&here, &there, "1h").await;
    let up = format!("up {}", there.seen_by_cameras().replace(':', " "));
    until(&here, &camera, "roof", &up, |view| elsewhere(view) == up).await;
    until_recording(&there, &camera, "roof").await;
    here.cli(&["camera", "refer", "roof", "--here"]).await;
    until_recording(&here, &camera, "roof").await;
    until(&there, &camera, "roof", "that it left", |view| {
        view["status"]["link"]["state"] != "up"
    })
    .await;
}

/// Whoever stands at the server's address, by a poisoned name or otherwise, has not its key.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_to_another_server_is_not_believed() {
    const NAME: &str = "moorline.example.com";
    let (_source, streamer) = listening(quick(7));
    let Some(wall) = wall(streamer) else { return };
    let home = server("").await;
    let camera = wall.power_on().await.unwrap();
    // Names are looked up in this file before any server of names is asked.
    let hosts = format!("echo '{HOST} {NAME}' >/etc/hosts");
    camera.order(&hosts).await.unwrap();
    let card = super::card(&home, "roof").await;
    let card = std::fs::read_to_string(card).unwrap();
    let host = format!("host {HOST}\n");
    assert!(card.contains(&host), "{card}");
    let card = card.replace(&host, &format!("host {NAME}\n"));
    for line in card.lines().filter(|line| !line.starts_with('#')) {
        let put = format!("echo '{line}' >>/etc/moorline/enroll.part");
        camera.order(&put).await.unwrap();
    }
    let put = "mv /etc/moorline/enroll.part /etc/moorline/enroll";
    camera.order(put).await.unwrap();
    until_recording(&home, &camera, "roof").await;

    let ports = home.ready().clone();
    let mark = camera.machine().mark();
    let place = home.stop().await;
    let impostor = Moorline::on(Arc::new(temp_dir().unwrap()), &ports).await;
    says(&camera, mark, "session with the endpoint ended: hostkey").await;
    let strangers = impostor.cli(&["camera", "pending"]).await;
    assert_eq!(strangers, Value::Array(Vec::new()), "it was shown a key");
    impostor.stop().await;
    let home = Moorline::on(place, &ports).await;
    until_recording(&home, &camera, "roof").await;
}

/// The camera's resolver is poisoned: the name leads to its own address, where another server is reached at that port.
#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_resolver_leads_to_another_server_which_is_shown_no_key() {
    const NAME: &str = "cctv.example.com";
    let (_source, streamer) = listening(quick(7));
    let Some(mut wall) = wall(streamer) else {
        return;
    };
    let Some(dns) = or_skip(wall.names().await) else {
        return;
    };
    let leads_to = |address: &str| {
        let address: Ipv4Addr = address.parse().unwrap();
        dns.set(NAME, &[&[address]]);
    };
    leads_to(HOST);
    let (home, other) = (server("").await, server("").await);
    let card = super::card(&home, "roof").await;
    let text = std::fs::read_to_string(&card).unwrap();
    let host = format!("host {HOST}\n");
    assert!(text.contains(&host), "{text}");
    let text = text.replace(&host, &format!("host {NAME}\n"));
    std::fs::write(&card, text).unwrap();
    wall.put(&card, "enroll").await.unwrap();
    let camera = wall.power_on().await.unwrap();
    let asks = format!("echo nameserver {RESOLVER} >/etc/resolv.conf");
    camera.order(&asks).await.unwrap();
    until_recording(&home, &camera, "roof").await;

    let port = home.address("ssh").port();
    let passes_on = format!(
        "nc -ll -p {port} -e nc {HOST} {} >/dev/null 2>&1 & until netstat -ltn | grep -q ':{port} '; do sleep 1; done",
        other.address("ssh").port()
    );
    camera.order(&passes_on).await.unwrap();
    let before = generation(&home.camera("roof").await);
    let mark = camera.machine().mark();
    leads_to(CAMERA);
    camera.order("killall dbclient").await.unwrap();
    says(&camera, mark, "session with the endpoint ended: hostkey").await;
    let strangers = other.cli(&["camera", "pending"]).await;
    assert_eq!(strangers, Value::Array(Vec::new()), "it was shown a key");

    // Healed: the next call finds home.
    leads_to(HOST);
    until(&home, &camera, "roof", "its return", |view| {
        view["status"]["link"]["state"] == "up" && generation(view) > before
    })
    .await;
    until_recording(&home, &camera, "roof").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_agent_is_tried_and_kept_a_bad_one_taken_back_and_a_forged_one_refused() {
    let (_source, streamer) = listening(quick(7));
    let Some(wall) = wall(streamer) else { return };
    let server = server("").await;
    let at = |name: &str| server.place().join(name).display().to_string();
    let key = at("release.key");
    let keygen = ["agent-release", "keygen", "--file", &key];
    let made = server.cli(&keygen).await;
    let camera = recorded(&server, &wall, "roof").await;
    let trusts = format!(
        "echo '{}' >/etc/moorline/release-keys && moorline-agent restart",
        made["public"].as_str().unwrap()
    );
    camera.order(&trusts).await.unwrap();
    speaks(&server, &camera).await;

    let own = wall.board().join("tree/usr/bin/moorline-agent");
    let (program, target) = stamped(std::fs::read(own).unwrap(), "0.1.9");
    let new = at("agent-0.1.9");
    std::fs::write(&new, program).unwrap();
    release(&server, &new, &key, "0.1.9").await;
    let one = |version| ["agent-release", "roll-out", version, "--to", "one"];
    server.cli(&one("0.1.9")).await;
    until(&server, &camera, "roof", "agent 0.1.9", |view| {
        said(view, "agent") == Some("0.1.9")
    })
    .await;
    until_recording(&server, &camera, "roof").await;

    // One that does not even start.
    let bad = at("bad");
    std::fs::write(&bad, format!("#!/bin/sh\n# {MARK}0.2.0 {target}\nexit 1\n")).unwrap();
    release(&server, &bad, &key, "0.2.0").await;
    server.cli(&one("0.2.0")).await;
    let view = until(&server, &camera, "roof", "the roll-back", |view| {
        said(view, "rolled-back") == Some("0.2.0")
    })
    .await;
    assert_eq!(said(&view, "agent"), Some("0.1.9"));
    until_recording(&server, &camera, "roof").await;

    // Signed by somebody else.
    let other = at("other.key");
    let keygen = ["agent-release", "keygen", "--file", &other];
    server.cli(&keygen).await;
    let forged = at("forged");
    std::fs::write(&forged, format!("#!/bin/sh\n# {MARK}0.9.9 {target}\n")).unwrap();
    release(&server, &forged, &other, "0.9.9").await;
    server.cli(&one("0.9.9")).await;
    until(&server, &camera, "roof", "the refusal", |view| {
        said(view, "bad") == Some("UPGRADE.signature")
    })
    .await;
    let nothing = "! test -e /etc/moorline/agent.part && ! test -e /etc/moorline/agent.new";
    camera.order(nothing).await.unwrap();

    // What was installed outlives the power.
    let before = generation(&server.camera("roof").await);
    camera.power_cut().await.unwrap();
    let camera = wall.power_on().await.unwrap();
    let view = until(&server, &camera, "roof", "its return", |view| {
        view["status"]["link"]["state"] == "up" && generation(view) > before
    })
    .await;
    let agent = until(&server, &camera, "roof", "its version", |view| {
        said(view, "agent").is_some()
    })
    .await;
    assert_eq!(said(&agent, "agent"), Some("0.1.9"), "{view:#}");
}
