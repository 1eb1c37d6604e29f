//! A server that means harm (S6, S7, S8), and a camera of 64 MB that calls it.

use std::path::Path;

use moorline_core::PublicKey;
use moorline_testkit::{eventually, temp_dir};

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
/// `PING`s that stand behind the long line, and behind the flood.
const AFTER_LINE: u64 = 1_000_001;
const AFTER_FLOOD: u64 = 1_000_002;

/// What the server says: the hello; each of `lines` with a PING, and the next one when its PONG has come; a part of an upgrade that was refused; one
/// long line; then, without reading, more lines than anybody keeps answers to. `heard` is what it has read.
fn script(lines: &Path, heard: &Path) -> String {
    format!(
        r#"until_pong() {{
	while IFS= read -r answer; do
		printf '%s\n' "$answer" >>'{heard}'
		[ "$answer" != "PONG $1" ] || return 0
	done
	exit 1
}}
echo 'MOORLINE/1 both home/yard'
n=0
while IFS= read -r line <&3; do
	printf '%s\nPING %s\n' "$line" "$n"
	until_pong "$n"
	n=$((n + 1))
done 3<'{lines}'
echo 'PART 0 Zm9v'
head -c {LINE} /dev/zero | tr '\0' X
printf '\nPING {AFTER_LINE}\n'
until_pong {AFTER_LINE}
yes 'CONFIG source 10.0.0.1:1
PING 18446744073709551615' | head -n 4000
yes DIAG | head -n 1000
while echo 'PING {AFTER_FLOOD}'; do sleep 1; done &
exec cat >>'{heard}'"#,
        heard = heard.display(),
        lines = lines.display(),
    )
}

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
    let key = "until test -e /etc/moorline/id; do sleep 1; done; \
               dropbearkey -y -f /etc/moorline/id | grep ^ssh-ed25519 | cut -d ' ' -f 1,2";
    let key = camera.order(key).await.unwrap();
    let key: PublicKey = key.trim().parse().unwrap();

    let place = temp_dir().unwrap();
    let (said, heard) = (place.path().join("said"), place.path().join("heard"));
    let server = OpenSsh::start(&key, &script(&said, &heard)).await;
    let lines = harm::lines(&server.pin, TOUCHED);
    let text: String = lines.iter().map(|(line, _)| format!("{line}\n")).collect();
    std::fs::write(&said, text).unwrap();

    // Its owner's own file names the server: more than that nobody can be trusted.
    let endpoint = format!(
        "endpoint {} {} {} {}",
        server.user,
        moorline_testkit::emu::HOST,
        server.address.port(),
        server.pin
    );
    for (line, file) in [
        ("camera home/yard", "local.conf"),
        (endpoint.as_str(), "local.conf"),
        (RELEASE_KEY, "release-keys"),
    ] {
        let put = format!("echo '{line}' >>/etc/moorline/{file}");
        camera.order(&put).await.unwrap();
    }
    let all = "sha256sum /etc/moorline/*";
    let before = camera.order(all).await.unwrap();
    let restart = "touch /tmp/since; moorline-agent restart";
    camera.order(restart).await.unwrap();

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
    assert_eq!(camera.order(all).await.unwrap(), before);
}
