//! Servers that mean harm (S6, S7, S8): what they say is refused by name, changes nothing, and fills nothing.

use std::time::Duration;

use moorline_core::PublicKey;
use moorline_testkit::eventually;
use moorline_tunnel::keyfile::public_key_of_dropbear;

use crate::agent::{Camera, children, status};
use crate::harm;
use crate::openssh::OpenSsh;
use crate::server::{SOON, Seen, Server, yard, yard_without_forwards};

/// The lines of the camera that contain this.
fn saying(seen: &[Seen], what: &str) -> Vec<String> {
    let lines = seen.iter().filter_map(|seen| match seen {
        Seen::Line(_, line) => Some(line),
        _ => None,
    });
    lines.filter(|line| line.contains(what)).cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_would_lead_beyond_the_camera_is_named_and_changes_nothing() {
    let mut camera = Camera::new();
    let server = Server::start("both", vec![yard(camera.key.public())]);
    camera.calls(server.address, &server.pins());
    let rebooted = camera.path("rebooted");
    camera.program("reboot", &format!("touch {}", rebooted.display()));
    let agent = camera.start();
    let session = server.up(0).await;
    server.opened(0).await;
    let touched = camera.path("run-by-a-shell").display().to_string();
    let lines = harm::lines(&server.pins(), &touched);
    for (nth, (line, bad)) in lines.iter().enumerate() {
        server.say(session, line);
        server.say(session, &format!("PING {nth}"));
        let told = server.told(&format!("{line} is bad"), move |seen| {
            saying(seen, " bad=").get(nth).cloned()
        });
        let told = told.await;
        assert!(told.ends_with(&format!(" bad={bad}")), "{line}: {told}");
    }
    // A server in a loop cannot keep a camera down.
    server.say(session, "REBOOT");
    server.say(session, "CONFIG queue 1000000");
    let kept = camera.file_says("etc/agent.conf", "CONFIG queue").await;
    let configured: Vec<&str> = kept
        .lines()
        .filter(|line| line.starts_with("CONFIG"))
        .collect();
    assert_eq!(configured, ["CONFIG queue 1000000"], "{kept}");
    assert!(
        !camera.path("run-by-a-shell").exists(),
        "a shell read a host"
    );
    assert!(!rebooted.exists(), "rebooted in its first minute");
    assert_eq!(children(agent.pid().unwrap(), "dbclient").len(), 1);
    server.say(session, "PING 1000");
    server.line("PONG 1000").await;
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
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streampoint_may_say_hello_and_ping_whatever_it_calls_itself() {
    let mut camera = Camera::new();
    let endpoint = Server::start("endpoint", vec![yard_without_forwards(camera.key.public())]);
    // It says that it is an endpoint: what was dialled counts (S6).
    let streampoint = Server::start("both", vec![yard(camera.key.public())]);
    let elsewhere = Server::start("both", vec![yard(camera.key.public())]);
    camera.calls(endpoint.address, &endpoint.pins());
    let noted = camera.path("noted");
    for program in ["date", "reboot"] {
        camera.program(program, &format!("echo {program} >>{}", noted.display()));
    }
    camera.local("clock on");
    let agent = camera.start();
    let session = endpoint.opened(0).await;
    let target = |server: &Server| {
        format!(
            "home/yard 127.0.0.1 {} {}",
            server.address.port(),
            server.pins()
        )
    };
    endpoint.say(session, &format!("REFER {}", target(&streampoint)));
    let there = streampoint.up(0).await;
    streampoint.opened(0).await;
    for line in [
        format!("REFER {}", target(&elsewhere)),
        format!("CONFIG endpoint.0 {}", target(&elsewhere)),
        "CONFIG queue 4096".to_owned(),
        "TIME 2100000000".to_owned(),
        "ENROLLED home/other".to_owned(),
        "DIAG".to_owned(),
        "REBOOT".to_owned(),
    ] {
        streampoint.say(there, &line);
    }
    streampoint.say(there, "PING 9");
    streampoint.line("PONG 9").await;
    // Nor later: had it gone there, it would have left here.
    endpoint.say(session, "PING 1");
    endpoint.line("PONG 1").await;
    assert_eq!(
        children(agent.pid().unwrap(), "dbclient").len(),
        2,
        "{}",
        agent.tail()
    );
    let called = agent.lines();
    let elsewhere_s = format!(":{}", elsewhere.address.port());
    assert!(
        !called
            .iter()
            .any(|line| line.contains("calling") && line.ends_with(&elsewhere_s)),
        "the streampoint sent it on: {}",
        agent.tail()
    );
    assert_eq!(elsewhere.all(), [], "the streampoint sent it on");
    assert!(!noted.exists(), "{}", camera.read("noted"));
    assert!(
        !camera.read("etc/agent.conf").contains("CONFIG"),
        "{}",
        agent.tail()
    );
    let said: Vec<_> = saying(&streampoint.all(), "");
    assert_eq!(said, ["PONG 9"], "told to a streampoint");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_lines_of_log_twenty_are_told_and_the_rest_counted() {
    let mut camera = Camera::new();
    let server = Server::start("both", vec![yard(camera.key.public())]);
    camera.calls(server.address, &server.pins());
    let _agent = camera.start();
    let session = server.up(0).await;
    server.opened(0).await;
    server.line("SOURCE main").await;
    for n in 0..100 {
        // Each is noted: it is before the agent was built.
        server.say(session, "TIME 1000000000");
        server.say(session, &format!("PING {n}"));
        server.line(&format!("PONG {n}")).await;
    }
    server.say(session, "PING 200");
    let told = server.told("the rest is counted", |seen| {
        let last = saying(seen, " log-dropped=").pop()?;
        let count = last.split(" log-dropped=").nth(1)?.split(' ').next()?;
        let count: usize = count.parse().ok()?;
        (count >= 80).then_some(count)
    });
    let (dropped, logs) = (told.await, saying(&server.all(), "LOG ").len());
    assert_eq!(logs, 20);
    assert!(dropped < 90, "{dropped}");
}

/// Makes the camera take another key, as its present server; gives it.
async fn rekey(
    server: &Server,
    session: moorline_core::SessionId,
    nth: usize,
    old: &PublicKey,
) -> PublicKey {
    server.say(session, "REKEY");
    let new = server.told("NEWKEY", move |seen| {
        let said = saying(seen, "NEWKEY ");
        said.get(nth).map(|line| line["NEWKEY ".len()..].to_owned())
    });
    let new = new.await;
    let key: PublicKey = format!("ssh-ed25519 {new}").parse().unwrap();
    let mut both = yard(&key);
    both.keys.extend(yard(old).keys);
    server.set(vec![both]);
    server.say(session, &format!("REKEYED {new}"));
    server.ended(session).await;
    key
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_keys_a_told_server_gives_the_camera_the_one_that_enrolled_it_still_lets_it_in() {
    let mut camera = Camera::new();
    let own = Server::start("both", vec![yard(camera.key.public())]);
    let told = Server::start("both", vec![yard(camera.key.public())]);
    camera.calls(own.address, &own.pins());
    let agent = camera.start();
    let session = own.up(0).await;
    own.opened(0).await;
    // `camera move`: to somebody who turns out to mean harm.
    own.say(
        session,
        &format!(
            "CONFIG endpoint.0 home/yard 127.0.0.1 {} {}",
            told.address.port(),
            told.pins()
        ),
    );
    camera.file_says("etc/agent.conf", "endpoint.0").await;
    own.end(session);
    let session = told.up(0).await;
    told.opened(0).await;
    let first = rekey(&told, session, 0, camera.key.public()).await;
    let session = told.up(1).await;
    told.opened(1).await;
    // Now neither the camera's key nor the one before is known to who enrolled it.
    rekey(&told, session, 1, &first).await;
    told.up(2).await;
    // It throws the camera out by its key, as it can at every call.
    told.set(vec![]);
    let session = own.up(1).await;
    own.opened(1).await;
    // And the owner's server gives it a key that holds there from now on.
    let key = rekey(&own, session, 0, camera.key.public()).await;
    own.up(2).await;
    own.set(vec![yard(&key)]);
    drop(agent);
    assert_eq!(
        public_key_of_dropbear(&std::fs::read(camera.path("etc/id")).unwrap()).unwrap(),
        key
    );
    let agent = camera.start_without_key();
    own.up(3).await;
    println!("{}", agent.tail());
}

/// A camera that calls a server which says what this line of shell says.
async fn of_a_server_that_says(camera: &mut Camera, script: &str) -> OpenSsh {
    let hello = "echo 'MOORLINE/1 both home/yard'";
    let server = OpenSsh::start(camera.key.public(), &format!("{hello}\n{script}")).await;
    let (address, user, pin) = (server.address, &server.user, &server.pin);
    camera.local(&format!(
        "endpoint {user} {} {} {pin}",
        address.ip(),
        address.port()
    ));
    server
}

/// KiB that an agent may have used at most: a build for tests of a machine with big stacks, whose queue is empty.
const ROOM: u64 = 16 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_line_is_skipped_to_its_end_and_takes_no_room() {
    let mut camera = Camera::new();
    let heard = camera.path("heard");
    // Twice the room that it may take, and no more: the agent leaves a server from which no PING comes for 45 s, and would begin again.
    let script = format!(
        "head -c 32000000 /dev/zero | tr '\\0' X\necho\necho PING 1\nexec cat >{}",
        heard.display()
    );
    let _server = of_a_server_that_says(&mut camera, &script).await;
    let agent = camera.start();
    let heard = eventually("PONG 1", Duration::from_secs(90), async || {
        let text = camera.read("heard");
        text.contains("PONG 1\n").then_some(text)
    });
    let heard = heard.await;
    assert!(!heard.contains("bad="), "{heard}");
    let used = status(agent.pid().unwrap(), "VmHWM");
    println!("32 MB of one line: {used} KiB at most");
    assert!(used < ROOM, "{used} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_lines_from_a_server_that_reads_nothing_is_outlived() {
    let mut camera = Camera::new();
    let (heard, before) = (camera.path("heard"), camera.path("before"));
    // At the first call 9 MB of answers are asked for and not read; at the next one it reads. Each wrong line makes the next PING a STATUS of
    // a hundred bytes and more: so many PONGs alone would be a minute's work for unoptimised code on a machine that has other work.
    let script = format!(
        "if [ -e {before} ]; then echo PING 2; exec cat >{heard}; fi\ntouch {before}\n\
         yes 'CONFIG source 10.0.0.1:1\nPING 18446744073709551615' | head -n 100000\n\
         yes DIAG | head -n 1000\nyes 'LOG error x' | head -n 50000\nyes 'CONFIG source 10.0.0.1:1' | head -n 50000",
        before = before.display(),
        heard = heard.display()
    );
    let _server = of_a_server_that_says(&mut camera, &script).await;
    let agent = camera.start();
    eventually("PONG 2", Duration::from_secs(90), async || {
        camera.read("heard").contains("PONG 2\n").then_some(())
    })
    .await;
    let used = status(agent.pid().unwrap(), "VmHWM");
    println!("a flood: {used} KiB at most");
    assert!(used < ROOM, "{used} KiB");
    eventually("one dbclient is left", SOON, async || {
        (children(agent.pid().unwrap(), "dbclient").len() == 1).then_some(())
    })
    .await;
}
