//! A session: what the agent says, what it keeps, what it does with a server's lines.

use std::os::unix::fs::PermissionsExt;

use moorline_testkit::child::Signal;
use moorline_testkit::eventually;
use moorline_tunnel::keyfile::{HostKeys, public_key_of_dropbear};

use crate::agent::{Camera, children};
use crate::reader::Reader;
use crate::server::{SOON, Seen, Server, yard};

#[tokio::test(flavor = "multi_thread")]
async fn the_tunnel_comes_up_the_streams_are_told_and_pictures_come_through_the_relay() {
    let mut camera = Camera::new();
    let server = Server::start("both", vec![yard(camera.key.public())]);
    camera.calls(server.address, &server.pins());
    let agent = camera.start();
    let session = server.up(0).await;
    let source = server.line("SOURCE main /main").await;
    assert!(source.starts_with("SOURCE main /main h264 "), "{source}");
    let status = server.line("STATUS ").await;
    for part in [
        " uptime=",
        " memory=",
        " probe=ok",
        " agent=",
        " dbclient=20",
    ] {
        assert!(status.contains(part), "{status}");
    }
    server.say(session, "PING 7");
    assert_eq!(server.line("PONG").await, "PONG 7");
    let mut reader = Reader::over(server.landing().await);
    reader.play().await;
    let first = reader.picture().await.unwrap();
    for next in 1..30 {
        assert_eq!(
            reader.picture().await,
            Some(first + next),
            "{}",
            agent.tail()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_kept_over_a_restart_and_a_wrong_one_is_reported() {
    let mut camera = Camera::new();
    let server = Server::start("both", vec![yard(camera.key.public())]);
    camera.calls(server.address, &server.pins());
    camera.write("watchdog", b"");
    let watchdog = format!("watchdog {}", camera.path("watchdog").display());
    camera.local(&watchdog);
    let agent = camera.start();
    server.up(0).await;
    let session = server.opened(0).await;
    server.say(session, "CONFIG queue 1000000");
    server.say(session, "CONFIG watchdog on");
    server.say(session, "CONFIG source 192.168.1.1:554");
    server.say(session, "PING 1");
    let status = server.told("STATUS bad", |seen| {
        seen.iter().find_map(|seen| match seen {
            Seen::Line(_, line) if line.contains(" bad=") => Some(line.clone()),
            _ => None,
        })
    });
    assert!(status.await.ends_with(" bad=CONFIG.source"));
    let kept = camera.file_says("etc/agent.conf", "watchdog on").await;
    assert!(
        kept.contains("CONFIG queue 1000000\n") && !kept.contains("192.168"),
        "{kept}"
    );
    camera.file_says("watchdog", "\n").await;
    let (code, text) = camera.run(&["restart"]).await;
    assert_eq!(code, Some(0), "{text}");
    let mut agent = agent;
    assert!(agent.wait(SOON).await.unwrap().success());
    assert!(
        camera.read("watchdog").ends_with('V'),
        "a clean stop disarms the watchdog"
    );
    assert!(
        !server
            .all()
            .iter()
            .any(|seen| matches!(seen, Seen::Line(_, line) if line == "BYE"))
    );
    camera.write("watchdog", b"");
    let _agent = camera.start();
    server.up(1).await;
    camera.file_says("watchdog", "\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_boot_makes_the_key_once_for_the_camera_alone() {
    let mut camera = Camera::new();
    let server = Server::start("both", vec![]);
    camera.calls(server.address, &server.pins());
    let agent = camera.start_without_key();
    let shown = agent.wait_for_line("ssh-ed25519 AAAA", SOON).await.unwrap();
    let file = std::fs::read(camera.path("etc/id")).unwrap();
    let mode = std::fs::metadata(camera.path("etc/id"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let key = public_key_of_dropbear(&file).unwrap();
    assert!(shown.contains(shown.split(' ').nth(1).unwrap()));
    agent
        .wait_for_line("No auth methods could be used", SOON)
        .await
        .unwrap();
    // It is added from `camera pending`: the next call is the camera's.
    server.set(vec![yard(&key)]);
    server.up(0).await;
    drop(agent);
    let agent = camera.start_without_key();
    server.up(1).await;
    assert_eq!(
        std::fs::read(camera.path("etc/id")).unwrap(),
        file,
        "{}",
        agent.tail()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_another_key_is_never_talked_to() {
    let mut camera = Camera::new();
    let server = Server::start("both", vec![yard(camera.key.public())]);
    let other = HostKeys::generate().unwrap().known_hosts_dropbear("x");
    let pin = other[0].split(' ').nth(2).unwrap();
    camera.calls(server.address, pin);
    let agent = camera.start();
    camera.file_says("run/state", "last-end hostkey").await;
    assert_eq!(server.all(), []);
    let (code, text) = camera.run(&["check"]).await;
    assert_eq!(code, Some(1));
    let line = text.lines().find(|line| line.contains("hostkey")).unwrap();
    assert!(
        line.starts_with("FAIL") && line.contains("another key"),
        "{text}"
    );
    // Never left running: that is where 2022.83 spins at end of input.
    let pid = agent.pid().unwrap();
    eventually("no dbclient is left", SOON, async || {
        children(pid, "dbclient").is_empty().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_of_the_other_algorithm_alone_serves_too() {
    // An older dropbear negotiates ecdsa-p256; a newer one finds only that pinned: it asks, and the deadline ends it.
    let mut camera = Camera::new();
    let server = Server::start("both", vec![yard(camera.key.public())]);
    let pins = server.pins();
    let both: Vec<&str> = pins.split(',').collect();
    assert_eq!(both.len(), 2, "{pins}");
    for pin in both {
        camera.calls(server.address, pin);
    }
    let _agent = camera.start();
    server.up(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_diagnosis_through_the_tunnel_walks_every_link() {
    let mut camera = Camera::new();
    let server = Server::start("both", vec![yard(camera.key.public())]);
    camera.calls(server.address, &server.pins());
    let agent = camera.start();
    let session = server.up(0).await;
    server.line("SOURCE main").await;
    server.say(session, "DIAG");
    for step in [
        "tcp ok",
        "hostkey ok",
        "key ok",
        "forward ok",
        "rtsp ok",
        "pictures ok",
        "uplink ok",
        "clock ok",
    ] {
        server.line(&format!("DIAG {step} ")).await;
    }
    let (code, text) = camera.run(&["check", "--report"]).await;
    let failed: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("FAIL") && !line.contains("link"))
        .collect();
    assert_eq!(failed, [""; 0], "{code:?} {text}");
    assert!(text.contains("source main /main h264"), "{text}");
    assert_eq!(
        server
            .told("one tunnel", |seen| Some(
                seen.iter()
                    .filter(|seen| matches!(seen, Seen::Up(_)))
                    .count()
            ))
            .await,
        1
    );
    agent.signal(Signal::KILL);
}
