//! A server that means harm (S6, S7, S8), and a camera of 64 MB that calls it.

use std::path::Path;

use moorline_core::PublicKey;
use moorline_testkit::emu::{Camera, HOST, Wall};
use moorline_testkit::{eventually, or_skip, temp_dir};

use super::memory::MOST;
use super::{LATER, memory, wall};
use crate::support::{listening, quick};

#[path = "../../../../crates/agent/tests/peers/harm.rs"]
mod harm;
#[path = "../../../../crates/agent/tests/peers/openssh.rs"]
mod openssh;

use openssh::OpenSsh;

/// The public key of RFC 8032's first example: some release key that the camera trusts.
const RELEASE_KEY: &str = "ed25519 11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
/// What a shell on the camera would make, did one read a host.
const TOUCHED: &str = "/tmp/run-by-a-shell";
/// Bytes of a line that has no end for long: more than the agent may hold.
const LINE: u64 = 4_000_000;
/// `PING`s that stand behind the long line, behind the flood, and behind the last line of all.
const AFTER_LINE: u64 = 1_000_001;
const AFTER_FLOOD: u64 = 1_000_002;
const AT_LAST: u64 = 1_000_003;

/// What such a server says: the hello; then each of `lines` with a PING, and the next one when its PONG has come. `heard` is what it has read.
fn line_by_line(role: &str, lines: &Path, heard: &Path) -> String {
    format!(
        r#"until_pong() {{
	while IFS= read -r answer; do
		printf '%s\n' "$answer" >>'{heard}'
		[ "$answer" != "PONG $1" ] || return 0
	done
	exit 1
}}
echo 'MOORLINE/1 {role} home/yard'
n=0
while IFS= read -r line <&3; do
	printf '%s\nPING %s\n' "$line" "$n"
	until_pong "$n"
	n=$((n + 1))
done 3<'{lines}'
"#,
        heard = heard.display(),
        lines = lines.display(),
    )
}

/// What follows from one that wants to fill something: a part of an upgrade that was refused; one long line; then, without reading, more lines than
/// anybody keeps answers to.
fn flood() -> String {
    format!(
        r"echo 'PART 0 Zm9v'
head -c {LINE} /dev/zero | tr '\0' X
printf '\nPING {AFTER_LINE}\n'
until_pong {AFTER_LINE}
yes 'CONFIG source 10.0.0.1:1
PING 18446744073709551615' | head -n 4000
yes DIAG | head -n 1000
"
    )
}

/// The end of each: the same PING for ever.
fn pings(n: u64, heard: &Path) -> String {
    format!(
        "while echo 'PING {n}'; do sleep 1; done &\nexec cat >>'{}'",
        heard.display()
    )
}

/// The camera's public key, once it has made one.
async fn key_of(camera: &Camera) -> PublicKey {
    let key = "until test -e /etc/moorline/id; do sleep 1; done; \
               dropbearkey -y -f /etc/moorline/id | grep ^ssh-ed25519 | cut -d ' ' -f 1,2";
    let key = camera.order(key).await.unwrap();
    key.trim().parse().unwrap()
}

/// Has it call this server, by its owner's own file: more than that nobody can be trusted. `host`: the server as the camera sees it. Gives what its
/// directory held before.
async fn calls(camera: &Camera, server: &OpenSsh, host: &str) -> String {
    let (port, pin) = (server.address.port(), &server.pin);
    let endpoint = format!("endpoint {} {host} {port} {pin}", server.user);
    for (line, file) in [
        ("camera home/yard", "local.conf"),
        (endpoint.as_str(), "local.conf"),
        (RELEASE_KEY, "release-keys"),
    ] {
        let put = format!("echo '{line}' >>/etc/moorline/{file}");
        camera.order(&put).await.unwrap();
    }
    let before = camera.order(ALL).await.unwrap();
    let restart = "touch /tmp/since; moorline-agent restart";
    camera.order(restart).await.unwrap();
    before
}

/// All that outlives a reboot.
const ALL: &str = "sha256sum /etc/moorline/*";

/// Waits until the server has heard a line, and gives all that it has heard.
async fn heard_by_then(heard: &Path, line: &str) -> String {
    eventually(line, LATER, async || {
        let text = std::fs::read_to_string(heard).ok()?;
        text.lines().any(|said| said == line).then_some(text)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_means_harm_changes_nothing_fills_nothing_and_is_outlived() {
    let (_source, streamer) = listening(quick(7));
    let Some(wall) = wall(streamer) else { return };
    let camera = wall.power_on().await.unwrap();
    let key = key_of(&camera).await;

    let place = temp_dir().unwrap();
    let (said, heard) = (place.path().join("said"), place.path().join("heard"));
    let script = line_by_line("both", &said, &heard) + &flood() + &pings(AFTER_FLOOD, &heard);
    let server = OpenSsh::start(&key, &script).await;
    let lines = harm::lines(&server.pin, TOUCHED);
    let text: String = lines.iter().map(|(line, _)| format!("{line}\n")).collect();
    std::fs::write(&said, text).unwrap();
    let before = calls(&camera, &server, HOST).await;

    heard_by_then(&heard, "PONG 0").await;
    let agent = "pidof moorline-agent";
    let running = camera.order(agent).await.unwrap();
    let text = heard_by_then(&heard, &format!("PONG {AFTER_LINE}")).await;
    let bad = text.lines().filter_map(|line| line.split_once(" bad="));
    // It may have heard answers to the flood by now.
    let bad: Vec<&str> = bad.map(|(_, field)| field).take(lines.len()).collect();
    let expected: Vec<&str> = lines.iter().map(|(_, field)| *field).collect();
    assert_eq!(bad, expected, "{text}");
    heard_by_then(&heard, &format!("PONG {AFTER_FLOOD}")).await;

    let most = memory(&camera, "VmHWM").await;
    println!("MEASURED agent with a server that means harm: most RSS {most} KiB");
    assert!(most <= MOST, "the agent held {most} KiB");
    // The same agent, in its first session, on a camera that was not rebooted.
    assert_eq!(camera.order(agent).await.unwrap(), running);
    let lives = format!("test -e /tmp/since && pidof dbclient && ! test -e {TOUCHED}");
    camera.order(&lives).await.unwrap();
    let text = std::fs::read_to_string(&heard).unwrap();
    let first = text.lines().filter(|line| *line == "PONG 0").count();
    assert_eq!(first, 1, "it called anew: {}", camera.machine().tail());
    assert_eq!(camera.order(ALL).await.unwrap(), before);
}

/// S6: whatever it calls itself, and though each of these lines is one that the camera's endpoint may say.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_reached_by_refer_is_answered_its_pings_and_nothing_else() {
    let (_source, streamer) = listening(quick(7));
    let Some(wall) = wall(streamer) else { return };
    let camera = wall.power_on().await.unwrap();
    let key = key_of(&camera).await;

    let place = temp_dir().unwrap();
    let at = |name: &str| place.path().join(name);
    let (said, there) = (at("said"), at("there"));
    let script = line_by_line("both", &said, &there) + &pings(AT_LAST, &there);
    let streampoint = OpenSsh::start(&key, &script).await;
    // Where it would have the camera go: whoever called would be in its queue.
    let elsewhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let target = |port: u16| {
        let (user, pin) = (&streampoint.user, &streampoint.pin);
        format!("{user} {HOST} {port} {pin}")
    };
    let on = target(elsewhere.local_addr().unwrap().port());
    // A day in 2036, after any on which this is run.
    let lines = format!(
        "REFER {on}\nCONFIG endpoint.0 {on}\nCONFIG queue 4096\nCONFIG watchdog on\nTIME 2100000000\nENROLLED home/other\n\
         REKEY\nDIAG\nREBOOT\nCONFIG source 127.0.0.1:8554\n"
    );
    std::fs::write(&said, lines).unwrap();

    let (refer, here) = (at("refer"), at("here"));
    let port = streampoint.address.port();
    std::fs::write(&refer, format!("REFER {}\n", target(port))).unwrap();
    let script = format!(
        "echo 'MOORLINE/1 endpoint home/yard'\ncat '{}'\n{}",
        refer.display(),
        pings(AT_LAST, &here)
    );
    let endpoint = OpenSsh::start(&key, &script).await;
    let before = calls(&camera, &endpoint, HOST).await;

    heard_by_then(&here, &format!("UPSTATE up {HOST} {port}")).await;
    let agent = camera.order("pidof moorline-agent").await.unwrap();
    // Not at once, and not later either: each hears of it more than once after the last line.
    let last = format!("PONG {AT_LAST}");
    heard_by_then(&there, &last).await;
    for heard in [&there, &here] {
        let text = std::fs::read_to_string(heard).unwrap();
        let count = |text: &str| text.lines().filter(|line| *line == last).count();
        let so_far = count(&text);
        eventually("three more PONGs", LATER, async || {
            let text = std::fs::read_to_string(heard).ok()?;
            (count(&text) >= so_far + 3).then_some(())
        })
        .await;
    }
    let text = std::fs::read_to_string(&there).unwrap();
    let other: Vec<_> = text
        .lines()
        .filter(|line| !line.starts_with("PONG "))
        .collect();
    assert!(other.is_empty(), "told to a streampoint: {other:?}");
    let called = elsewhere.accept().map(|(_, from)| from);
    let nobody = called
        .as_ref()
        .is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
    assert!(nobody, "the streampoint sent it on: {called:?}");
    // The same agent on the same camera, with one session here and one there.
    let lives = "test -e /tmp/since && pidof moorline-agent";
    assert_eq!(camera.order(lives).await.unwrap(), agent);
    let sessions = camera.order("pidof dbclient | wc -w").await.unwrap();
    assert_eq!(sessions.trim(), "2", "{}", camera.machine().tail());
    let clock = camera.order("date +%s").await.unwrap();
    let clock: u64 = clock.trim().parse().unwrap();
    assert!(clock < 2_100_000_000, "it set the camera's clock");
    let fed = "ls -l /proc/$(pidof moorline-agent)/fd";
    let open = camera.order(fed).await.unwrap();
    assert!(!open.contains("/dev/watchdog"), "{open}");
    assert_eq!(camera.order(ALL).await.unwrap(), before);
}

/// A network of the documentation (RFC 5737): it counts as the Internet, which QEMU's own one does not.
const INTERNET: &str = "192.0.2";
/// Where something beside the camera listens.
const INSIDE: u16 = 4444;
/// The same place, and others of private networks, in several dresses.
const PRIVATE: [&str; 5] = [
    "127.0.0.1",
    "::ffff:127.0.0.1",
    "::1",
    "10.0.0.5",
    "192.168.1.1",
];

/// S7, in a camera whose owner's server stands in the Internet.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_in_the_internet_leads_it_to_another_one_there_and_into_no_private_network() {
    let (_source, streamer) = listening(quick(7));
    let host = format!("{INTERNET}.2");
    let boot = [
        format!("moorline.network={INTERNET}"),
        format!("local.source={host}:{}", streamer.port()),
        "local.main=/main".to_owned(),
    ];
    let Some(wall) = or_skip(Wall::new(&boot.each_ref().map(String::as_str))) else {
        return;
    };
    let camera = wall.power_on().await.unwrap();
    let key = key_of(&camera).await;
    // Whoever comes there leaves what it says.
    let listens = format!(
        "nc -l -p {INSIDE} >/tmp/came 2>&1 & until netstat -ltn | grep -q ':{INSIDE} '; do sleep 1; done"
    );
    camera.order(&listens).await.unwrap();

    let place = temp_dir().unwrap();
    let at = |name: &str| place.path().join(name);
    let (private, here, there) = (at("private"), at("here"), at("there"));
    let script = format!(
        "echo 'MOORLINE/1 streampoint home/yard'\n{}",
        pings(AT_LAST, &there)
    );
    let streampoint = OpenSsh::start(&key, &script).await;
    let (user, port, pin) = (
        &streampoint.user,
        streampoint.address.port(),
        &streampoint.pin,
    );
    let lines = PRIVATE.map(|inside| format!("{user} {inside} {INSIDE} {pin}\n"));
    std::fs::write(&private, lines.concat()).unwrap();
    // Each when the one before has been given up.
    let script = format!(
        r#"until_down() {{
	while IFS= read -r answer; do
		printf '%s\n' "$answer" >>'{here}'
		case $answer in
		"UPSTATE down $2 $3 "*) return 0 ;;
		esac
	done
	exit 1
}}
echo 'MOORLINE/1 endpoint home/yard'
while IFS= read -r target <&3; do
	echo "REFER $target"
	until_down $target
done 3<'{private}'
echo 'REFER {user} {host} {port} {pin}'
{pings}"#,
        here = here.display(),
        private = private.display(),
        pings = pings(AT_LAST, &here)
    );
    let endpoint = OpenSsh::start(&key, &script).await;
    calls(&camera, &endpoint, &host).await;

    // One of the Internet is dialled: it is not that this camera is led nowhere.
    let text = heard_by_then(&here, &format!("UPSTATE up {host} {port}")).await;
    for inside in PRIVATE {
        let down = format!("UPSTATE down {inside} {INSIDE} connect");
        assert!(text.lines().any(|line| line == down), "{down}: {text}");
    }
    heard_by_then(&there, &format!("PONG {AT_LAST}")).await;
    let nobody = "pidof nc && ! test -s /tmp/came";
    camera.order(nobody).await.unwrap();
}
