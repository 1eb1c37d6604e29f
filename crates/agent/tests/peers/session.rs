//! A session: what the agent says, what it keeps, what it does with a server's lines.

use std::os::unix::fs::PermissionsExt;

use moorline_testkit::child::Signal;
use moorline_testkit::eventually;
use moorline_testkit::refusing::Refusing;
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
async fn a_file_that_cannot_be_read_makes_it_nobody_s_camera_for_no_moment() {
    let mut camera = Camera::new();
    let server = Server::start("both", vec![yard(camera.key.public())]);
    camera.calls(server.address, &server.pins());
    // What a worn flash says: the file is there, reading it fails.
    std::fs::create_dir(camera.path("etc/agent.conf")).unwrap();
    camera.write("etc/agent.tries", b"2");
    let mut agent = camera.start();
    assert_eq!(agent.wait(SOON).await.unwrap().code(), Some(1));
    assert!(agent.tail().contains("agent.conf"), "{}", agent.tail());
    assert_eq!(
        camera.read("etc/agent.tries"),
        "1",
        "the flash's fault is not the installed agent's"
    );
    assert!(camera.path("etc/agent.conf").is_dir());
    // It reads again, and init has started it again.
    std::fs::remove_dir(camera.path("etc/agent.conf")).unwrap();
    let _agent = camera.start();
    server.up(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_another_program_has_keeps_no_camera_away() {
    let mut camera = Camera::new();
    let server = Server::start("both", vec![yard(camera.key.public())]);
    camera.calls(server.address, &server.pins());
    let other = moorline_base::net::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = other.local_addr().unwrap().port();
    camera.local(&format!("relay-port {port}"));
    let agent = camera.start();
    server.up(0).await;
    server.line("SOURCE main").await;
    let mut reader = Reader::over(server.landing().await);
    reader.play().await;
    assert!(reader.picture().await.is_some(), "{}", agent.tail());
    agent
        .wait_for_line("the relay takes another one", SOON)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_tells_why_an_enrolment_does_not_come_about() {
    let mut camera = Camera::new();
    camera.forget_local_camera();
    std::fs::create_dir(camera.path("card")).unwrap();
    // It enrols nobody.
    let server = Server::start("both", vec![]);
    let card = |port: u16, pins: &str, more: &str| {
        let keys = pins.split(',').map(|key| format!("key {key}\n"));
        let keys: String = keys.collect();
        format!("host 127.0.0.1\nport {port}\n{keys}token abcdefghijklmnopqrstuvwxyz\n{more}")
    };
    let port = server.address.port();
    camera.write("card/enroll", card(port, &server.pins(), "").as_bytes());
    let agent = camera.start();
    camera.file_says("run/state", "last-end auth").await;
    let failed = |text: &str, link: &str| {
        let line = text
            .lines()
            .find(|line| line.split_ascii_whitespace().nth(1) == Some(link));
        line.filter(|line| line.starts_with("FAIL"))
            .unwrap_or_else(|| panic!("{link} holds: {text}"))
            .to_owned()
    };
    let (code, text) = camera.run(&["check"]).await;
    assert_eq!(code, Some(1));
    let line = failed(&text, "key");
    assert!(line.contains("token was not taken"), "{text}");
    assert!(text.contains("ok   tcp"), "{text}");
    drop(agent);
    // A wrong line: its number, not its text.
    let wrong = card(port, &server.pins(), "password hunter2\n");
    camera.write("card/enroll", wrong.as_bytes());
    let (_, text) = camera.run(&["check"]).await;
    assert!(text.contains("enroll: line "), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    assert!(failed(&text, "dns").contains("enroll is wrong"), "{text}");
    assert!(failed(&text, "agent").contains("does not run"), "{text}");
    // A port at which nobody listens.
    let refusing = Refusing::new().unwrap();
    let closed = refusing.address().port();
    camera.write("card/enroll", card(closed, &server.pins(), "").as_bytes());
    let (_, text) = camera.run(&["check"]).await;
    assert!(failed(&text, "tcp").contains(&closed.to_string()), "{text}");
}

/// A slow camera takes a tenth of a second for each program that it starts.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_call_does_not_wait_for_the_version_of_dbclient() {
    let mut camera = Camera::new();
    let server = Server::start("both", vec![yard(camera.key.public())]);
    camera.calls(server.address, &server.pins());
    let started = camera.path("started").display().to_string();
    let script = format!("echo \"$1\" >>'{started}'; PATH=${{PATH#*:}}; exec dbclient \"$@\"");
    camera.program("dbclient", &script);
    let _agent = camera.start();
    server.up(0).await;
    let started = camera.file_says("started", "-V").await;
    assert!(!started.starts_with("-V"), "{started}");
    let status = server.line("STATUS ").await;
    assert!(status.contains(" dbclient=20"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_console_is_told_is_kept_where_init_scripts_throw_it_away() {
    let mut camera = Camera::new();
    let server = Server::start("both", vec![yard(camera.key.public())]);
    camera.calls(server.address, &server.pins());
    camera.local("shout loud");
    let _agent = camera.start_daemon();
    server.up(0).await;
    camera.file_says("run/log", "unknown key").await;
    camera.file_says("run/log", "ssh-ed25519 ").await;
    let (_, text) = camera.run(&["check", "--report"]).await;
    let kept = |line: &str| line.starts_with("log ") && line.contains("unknown key");
    assert!(text.lines().any(kept), "{text}");
    let (code, text) = camera.run(&["stop"]).await;
    assert_eq!(code, Some(0), "{text}");
}

/// P10: it is pasted where everybody reads it.
#[tokio::test(flavor = "multi_thread")]
async fn a_report_to_paste_tells_neither_login_nor_token() {
    let mut camera = Camera::new();
    let server = Server::start("both", vec![yard(camera.key.public())]);
    camera.calls(server.address, &server.pins());
    camera.local("login owner:hunter2");
    // A wrong line is told by its key.
    camera.local("login hunter3");
    std::fs::create_dir(camera.path("card")).unwrap();
    let card = "host 127.0.0.1\ntoken abcdefghijklmnopqrstuvwxyz\n";
    camera.write("card/enroll", card.as_bytes());
    let _agent = camera.start_daemon();
    server.up(0).await;
    server.line("SOURCE main ").await;
    camera.file_says("run/log", "login").await;
    let (_, text) = camera.run(&["check", "--report"]).await;
    for begins in ["source main /main ", "log "] {
        let told = text.lines().any(|line| line.starts_with(begins));
        assert!(told, "no {begins:?}: {text}");
    }
    for secret in ["hunter", "abcdefghijklmnopqrstuvwxyz"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    let (code, text) = camera.run(&["stop"]).await;
    assert_eq!(code, Some(0), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_cut_by_the_power_is_made_again_while_nobody_knows_it() {
    let mut camera = Camera::new();
    camera.forget_local_camera();
    camera.write("etc/id", b"");
    let _agent = camera.start_without_key();
    eventually("a key", SOON, async || {
        let file = std::fs::read(camera.path("etc/id")).ok()?;
        public_key_of_dropbear(&file).ok()
    })
    .await;
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
    // What `camera add --key` takes: the very key that the file holds.
    let said: Vec<&str> = shown.split(' ').skip(1).take(2).collect();
    let said: moorline_core::PublicKey = said.join(" ").parse().unwrap();
    assert_eq!(said, key, "{shown}");
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
async fn pins_of_one_server_on_lines_of_their_own_are_tried_in_one_call() {
    // dbclient negotiates the algorithm: with the other one's pin alone it would know no key.
    let mut camera = Camera::new();
    let server = Server::start("both", vec![yard(camera.key.public())]);
    let pins = server.pins();
    let both: Vec<&str> = pins.split(',').collect();
    assert_eq!(both.len(), 2, "{pins}");
    for pin in both {
        camera.calls(server.address, pin);
    }
    let agent = camera.start();
    server.up(0).await;
    let known = camera.read("run/endpoint/.ssh/known_hosts");
    assert_eq!(known.lines().count(), 2, "{known}");
    let calls = |line: &&String| line.contains("calling ");
    assert_eq!(
        agent.lines().iter().filter(calls).count(),
        1,
        "{}",
        agent.tail()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_four_pins_has_its_turn_until_one_holds() {
    // The server's own ed25519 key is the fourth: rotations and a recovery key stand before it.
    let mut camera = Camera::new();
    let server = Server::start("both", vec![yard(camera.key.public())]);
    for _ in 0..3 {
        let other = HostKeys::generate().unwrap().known_hosts_dropbear("x");
        let other = other.iter().find(|line| line.contains("ssh-ed25519"));
        camera.calls(server.address, other.unwrap().split(' ').nth(2).unwrap());
    }
    let pins = server.pins();
    let ed = pins.split(',').find(|pin| pin.starts_with("AAAAC3Nz"));
    camera.calls(server.address, ed.unwrap());
    let agent = camera.start();
    server.up(0).await;
    let refused = |line: &&String| line.contains("ended: hostkey");
    assert_eq!(
        agent.lines().iter().filter(refused).count(),
        3,
        "{}",
        agent.tail()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_local_reset_makes_it_nobody_s_camera_and_it_enrols_anew() {
    let mut camera = Camera::new();
    let server = Server::start("both", vec![yard(camera.key.public())]);
    let pins = server.pins();
    camera.write(
        "etc/agent.conf",
        format!(
            "ENROLLED home/yard\nREFER home/yard 127.0.0.1 {} {pins}\n",
            server.address.port()
        )
        .as_bytes(),
    );
    camera.forget_local_camera();
    let mut agent = camera.start();
    let session = server.up(0).await;
    server.opened(0).await;
    server.say(session, "CONFIG queue 1000000");
    camera.file_says("etc/agent.conf", "queue").await;
    let key = std::fs::read(camera.path("etc/id")).unwrap();
    let (code, text) = camera.run(&["reset"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("waits for a file enroll"), "{text}");
    // Whoever started it starts it again; to the server it is lost, not hung up.
    assert_eq!(agent.wait(SOON).await.unwrap().code(), Some(3));
    assert_eq!(
        server.ended(session).await,
        moorline_core::port::TunnelEnd::Lost
    );
    assert!(!camera.path("etc/agent.conf").exists());
    assert_eq!(
        std::fs::read(camera.path("etc/id")).unwrap(),
        key,
        "the key stays"
    );
    let mut agent = camera.start_without_key();
    camera.file_says("run/state", "state enrol").await;

    // With --key it is another device. A card is its way back.
    let (code, text) = camera.run(&["reset", "--key"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(agent.wait(SOON).await.unwrap().code(), Some(3));
    assert!(!camera.path("etc/id").exists());
    let _agent = camera.start_without_key();
    eventually("another key", SOON, async || {
        camera.path("etc/id").exists().then_some(())
    })
    .await;
    assert_ne!(std::fs::read(camera.path("etc/id")).unwrap(), key);
    // Without a running agent, too.
    drop(_agent);
    let (code, text) = camera.run(&["reset", "--key"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(!camera.path("etc/id").exists(), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reboot_that_the_server_asked_for_is_a_loss_and_a_hung_one_is_cut_by_the_watchdog() {
    let mut camera = Camera::new();
    let server = Server::start("both", vec![yard(camera.key.public())]);
    camera.calls(server.address, &server.pins());
    camera.write("watchdog", b"");
    camera.local(&format!("watchdog {}", camera.path("watchdog").display()));
    let noted = camera.path("rebooting");
    camera.program("reboot", &format!("echo on >{}", noted.display()));
    camera.program("sync", "exit 0");
    camera.write("etc/agent.tries", b"3");
    let mut agent = camera.start();
    let session = server.up(0).await;
    server.opened(0).await;
    server.say(session, "CONFIG watchdog on");
    camera.file_says("watchdog", "\n").await;
    server.say(session, "REBOOT");
    // A session that held a minute clears what was counted against the installed agent.
    let (minute, pings) = (std::time::Duration::from_secs(90), std::cell::Cell::new(0));
    eventually("it has settled", minute, async || {
        let n = pings.get() + 1;
        pings.set(n);
        server.say(session, &format!("PING {n}"));
        server.line(&format!("PONG {n}")).await;
        (!camera.path("etc/agent.tries").exists()).then_some(())
    })
    .await;
    assert!(
        !noted.exists(),
        "in its first minute: a server in a loop cannot keep a camera down"
    );
    server.say(session, "REBOOT");
    camera.file_says("rebooting", "on").await;
    let fed = camera.read("watchdog").len();
    // What busybox's init does then: `S60moorline-agent stop`.
    let (code, text) = camera.run(&["stop"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(agent.wait(SOON).await.unwrap().success());
    assert_eq!(
        server.ended(session).await,
        moorline_core::port::TunnelEnd::Lost
    );
    assert!(
        !server
            .all()
            .iter()
            .any(|seen| matches!(seen, Seen::Line(_, line) if line == "BYE"))
    );
    let after = camera.read("watchdog");
    assert!(!after.contains('V'), "the watchdog stays armed");
    assert_eq!(after.len(), fed, "and is not fed any more");
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
