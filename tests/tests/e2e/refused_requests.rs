//! A real `ssh` in a camera's place asks for all that a person's login would have: it gets a tunnel and the monitor's lines, and nothing else.

use moorline_testkit::{child::Child, eventually, peer, temp_dir};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::support::{Moorline, SOON, listening, pin, quick};

/// What is refused, as the counters call it.
const REFUSED: [&str; 4] = ["env", "agent", "x11", "pty"];

/// How often each was refused.
async fn refused(moorline: &Moorline) -> Vec<u64> {
    let mut stream = TcpStream::connect(moorline.address("admin")).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let counted = |request: &str| {
        let name = format!("moorline_ssh_requests_refused_total{{request=\"{request}\"}} ");
        let line = answer.lines().find_map(|line| line.strip_prefix(&name));
        line.map_or(0, |value| value.parse().unwrap())
    };
    REFUSED.into_iter().map(counted).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn environment_agent_display_and_terminal_are_refused_and_counted_and_the_tunnel_lives() {
    let moorline = Moorline::with_short_segments().await;
    let home = temp_dir().unwrap();
    let key = home.path().join("key");
    let mut keygen = peer::SSH_KEYGEN.command().unwrap();
    keygen
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&key);
    assert!(keygen.status().await.unwrap().success());
    let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
    let added = moorline
        .cli(&[
            "camera",
            "add",
            "yard",
            "--key",
            public.trim(),
            "--path",
            "/main",
        ])
        .await;
    pin(home.path(), &added["known_hosts"]);
    assert_eq!(refused(&moorline).await, [0; 4]);

    let (_source, rtsp) = listening(quick(1));
    // ssh offers an agent only where one answers.
    let agent = home.path().join("agent");
    let mut listening = Command::new("ssh-agent");
    listening.args(["-D", "-a"]).arg(&agent);
    let agent_runs = Child::spawn("ssh-agent", listening).unwrap();
    agent_runs
        .wait_for_line("SSH_AUTH_SOCK", SOON)
        .await
        .unwrap();
    let ssh = |options: &[&str]| {
        let mut ssh = peer::SSH.command().unwrap();
        let hosts = home.path().join(".ssh/known_hosts");
        ssh.env("SSH_AUTH_SOCK", &agent)
            .env("DISPLAY", "127.0.0.1:9")
            .args(["-F", "none", "-v", "-o", "IdentitiesOnly=yes"])
            // The printed lines name no port, as dropbear wants them.
            .args(["-o", "HostKeyAlias=127.0.0.1", "-o"])
            .arg(format!("UserKnownHostsFile={}", hosts.display()))
            .args(["-o", "StrictHostKeyChecking=yes", "-i"])
            .arg(&key)
            .args(["-p", &moorline.address("ssh").port().to_string()])
            .args(options)
            .args(["-R", &format!("0:{rtsp}"), "home/yard@127.0.0.1"]);
        Child::spawn("ssh", ssh).unwrap()
    };
    // Whoever asks for a terminal and gets none goes.
    let mut person = ssh(&["-tt"]);
    person
        .wait_for_line("PTY allocation request failed", SOON)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    assert!(!person.wait(SOON).await.unwrap().success());
    let camera = ssh(&["-T", "-A", "-Y", "-o", "SetEnv=SECRET=none"]);
    // What it did not send could not be refused.
    for sent in [
        "setting env SECRET",
        "Requesting authentication agent forwarding",
        "X11 forwarding request failed",
    ] {
        camera
            .wait_for_line(sent, SOON)
            .await
            .unwrap_or_else(|error| panic!("{error}"));
    }
    moorline.until_recording("yard").await;
    eventually("not everything was refused once", SOON, || async {
        (refused(&moorline).await == [1; 4]).then_some(())
    })
    .await;
    let generation = moorline.camera("yard").await["status"]["link"]["generation"].clone();
    moorline.recorded_up_to_now("yard").await;
    let view = moorline.camera("yard").await;
    assert_eq!(view["status"]["link"]["generation"], generation, "{view}");
    moorline.stop().await;
}
