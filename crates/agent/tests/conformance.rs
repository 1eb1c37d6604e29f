//! Whether a program speaks MOORLINE/1 as `docs/reference/moorline-1.md` has it: our agent, `firmware/sh/moorline-sh`, or anyone's
//! (`MOORLINE_CONFORMANCE='program arguments' cargo test -p moorline-agent --test conformance`).
#![allow(
    clippy::disallowed_methods,
    reason = "tests may bind, write and look at the real clock"
)]

#[path = "peers/reader.rs"]
#[allow(dead_code, reason = "shared with the tests of our agent")]
mod reader;
#[path = "peers/server.rs"]
#[allow(dead_code, reason = "shared with the tests of our agent")]
mod server;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use moorline_base::SystemClock;
use moorline_control::{AgentLine, base64_of};
use moorline_core::SessionId;
use moorline_core::key::KeyAlgorithm;
use moorline_core::port::ControlWriter as _;
use moorline_simcam::video::Shape;
use moorline_simcam::{Source, SourceConfig};
use moorline_testkit::child::Child;
use moorline_testkit::fault::FaultProxy;
use moorline_testkit::{eventually, peer, temp_dir};
use moorline_tunnel::keyfile::{HostKeys, PrivateKey};
use reader::Reader;
use server::{SOON, Seen, Server, yard};
use tokio::process::Command;

/// A program under test, on a camera of its own.
struct Subject {
    home: tempfile::TempDir,
    key: PrivateKey,
    _source: Source,
    streamer: u16,
    program: Vec<String>,
    starts: u32,
}

fn write(path: &Path, content: &[u8], mode: u32) {
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

impl Subject {
    fn new(program: Vec<String>) -> Self {
        let shape = Shape {
            fps: 30,
            gop: 10,
            bitrate: 500_000,
            ..Shape::default()
        };
        let source = Source::new(SourceConfig::generated(7, shape), SystemClock::shared());
        let listener = moorline_base::net::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let streamer = listener.local_addr().unwrap().port();
        source.listen(listener);
        Subject {
            home: temp_dir().unwrap(),
            key: PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap(),
            _source: source,
            streamer,
            program,
            starts: 0,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Starts it, pinned to these known hosts.
    fn start(&mut self, address: SocketAddr, pins: &[String]) -> Child {
        write(
            &self.path("key"),
            self.key.to_dropbear().unwrap().expose(),
            0o600,
        );
        write(
            &self.path("key.openssh"),
            self.key.to_openssh().unwrap().expose().as_bytes(),
            0o600,
        );
        // Empty for each: what is left of a former one must not read this one's files.
        self.starts += 1;
        let own = |name: &str| self.path(&format!("{name}-{}", self.starts));
        let (run, pinned) = (own("run"), own("pins"));
        std::fs::create_dir(&run).unwrap();
        write(&pinned, format!("{}\n", pins.join("\n")).as_bytes(), 0o600);
        let (program, arguments) = self.program.split_first().unwrap();
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("MOORLINE_HOST", "127.0.0.1")
            .env("MOORLINE_PORT", address.port().to_string())
            .env("MOORLINE_USER", "home/yard")
            .env("MOORLINE_KEY", self.path("key"))
            .env("MOORLINE_KEY_OPENSSH", self.path("key.openssh"))
            .env("MOORLINE_PINS", pinned)
            .env("MOORLINE_RTSP", self.streamer.to_string())
            .env("MOORLINE_RUN", run);
        Child::spawn("the program", command).unwrap()
    }
}

/// What the server was told, as lines of the camera.
fn lines(server: &Server) -> Vec<String> {
    let seen = server.all().into_iter();
    seen.filter_map(|seen| match seen {
        Seen::Line(_, line) => Some(line),
        _ => None,
    })
    .collect()
}

async fn conforms(program: Vec<String>) {
    let mut subject = Subject::new(program);
    let server = Server::start("both", vec![yard(subject.key.public())]);
    let pins = server.known_hosts("127.0.0.1");

    // Always pinned: a server with another key is never talked to.
    let foreign = HostKeys::generate()
        .unwrap()
        .known_hosts_dropbear("127.0.0.1");
    let watched = FaultProxy::start(server.address).await.unwrap();
    let wrong = subject.start(watched.address(), &foreign);
    // The second call shows that the first was left.
    eventually(
        "pins: a server with another key is left",
        SOON,
        async || (watched.traffic().connections() > 1).then_some(()),
    )
    .await;
    assert_eq!(
        server.all(),
        [],
        "pins: a server with another key was talked to"
    );
    drop(wrong);

    let program = subject.start(server.address, &pins);
    let session = server.up(0).await;
    server.opened(0).await;

    // Forwards: the first is RTSP.
    let mut reader = Reader::over(server.landing().await);
    reader.play().await;
    reader
        .picture()
        .await
        .expect("forwards: no picture comes through the first one");

    // PING is answered with its number, the greatest too.
    for number in ["1", "18446744073709551615"] {
        server.say(session, &format!("PING {number}"));
        server.line(&format!("PONG {number}")).await;
    }

    // Unknown, wrong and overlong lines change nothing, and the next line counts.
    let long = "X".repeat(1023);
    for line in [
        "HELLO you",
        "PING x",
        "PING 3 4",
        "PING",
        "",
        " PING 5",
        "ping 6",
        "TIME -1",
        "CONFIG source 10.0.0.1:80",
        &long,
    ] {
        server.say(session, line);
    }
    server.say(session, "PING 100");
    server.line("PONG 100").await;
    let pongs: Vec<String> = lines(&server)
        .into_iter()
        .filter(|line| line.starts_with("PONG"))
        .collect();
    assert_eq!(
        pongs,
        ["PONG 1", "PONG 18446744073709551615", "PONG 100"],
        "lines: a wrong PING was answered"
    );

    // Whatever it says follows the grammar.
    for line in lines(&server) {
        let read = AgentLine::parse(line.as_bytes());
        assert!(
            read.is_ok_and(|read| read != AgentLine::Unknown),
            "grammar: {line}"
        );
    }

    // An upgrade that nobody signed is nothing, whether the program knows upgrades or not.
    let nothing = base64_of(&[0; 64]);
    let target = lines(&server).iter().find_map(|line| {
        let mut words = line.split(' ');
        let target = words.find_map(|word| word.strip_prefix("target="))?;
        Some(target.to_owned())
    });
    let target = target.unwrap_or_else(|| "mipsel".to_owned());
    server.say(
        session,
        &format!("UPGRADE {target} 9.9.9 3 {nothing} {nothing}"),
    );
    server.say(session, "PART 0 Zm9v");
    server.say(session, "PING 101");
    server.line("PONG 101").await;
    server.say(session, "PING 102");
    server.line("PONG 102").await;
    let taken = lines(&server)
        .into_iter()
        .find(|line| line.contains(" upgrade="));
    assert_eq!(taken, None, "upgrade: one without a signature was taken");

    // A session that is lost is called again.
    server.end(session);
    let again = server.up(1).await;
    server.opened(1).await;
    server.say(again, "PING 9");
    server.line("PONG 9").await;

    // PINGs that come together with the end keep nobody from calling again.
    for number in 10..20 {
        server.say(again, &format!("PING {number}"));
    }
    server.end(again);
    let last = server.up(2).await;
    server.opened(2).await;
    server.say(last, "PING 60");
    server.line("PONG 60").await;
    drop(program);

    // Another major number ends the session, and nothing counts before the hello.
    let other = Server::start_saying(
        "MOORLINE/2 both home/yard",
        vec![yard(subject.key.public())],
    );
    let program = subject.start(other.address, &other.known_hosts("127.0.0.1"));
    let session = other.opened(0).await;
    // Not sent when the program was quicker, which is as well.
    let _ = other.tunnel.send(session, "PING 1");
    other.ended(session).await;
    assert_eq!(
        lines(&other),
        [""; 0],
        "hello: something was said to MOORLINE/2"
    );
    drop(program);
}

/// No hello within 20 s, no PING for 45 s; some seconds more on a machine that has other work.
const LEFT: Duration = Duration::from_secs(75);

/// Waits until the camera has left a session of a server that fell silent, and calls again.
async fn is_left(server: &Server, session: SessionId, clause: &str) {
    eventually(clause, LEFT, async || {
        let ended = |seen: &Seen| matches!(seen, Seen::Ended(id, _) if *id == session);
        server.all().iter().any(ended).then_some(())
    })
    .await;
    server.opened(1).await;
}

/// A server that is there and says nothing is left: dbclient waits for it for ever, since its keepalives are answered.
async fn leaves_who_says_nothing(program: Vec<String>) {
    let (mut early, mut late) = (Subject::new(program.clone()), Subject::new(program));
    // The first line is no hello, and so nothing that counts.
    let without_hello = Server::start_saying("PING 1", vec![yard(early.key.public())]);
    let pins = without_hello.known_hosts("127.0.0.1");
    let _first = early.start(without_hello.address, &pins);
    let without_ping = Server::start("both", vec![yard(late.key.public())]);
    let pins = without_ping.known_hosts("127.0.0.1");
    let _second = late.start(without_ping.address, &pins);
    let (unheard, unasked) = tokio::join!(without_hello.opened(0), without_ping.opened(0));
    tokio::join!(
        is_left(
            &without_hello,
            unheard,
            "hello: a server without one is left"
        ),
        is_left(&without_ping, unasked, "PING: a server without one is left"),
    );
    assert_eq!(
        lines(&without_hello),
        [""; 0],
        "hello: something was said before it"
    );
}

/// Our agent with its files, of what the run gives every program.
fn our_agent() -> Vec<String> {
    let script = format!(
        "mkdir -p \"$MOORLINE_RUN/etc\" && cp \"$MOORLINE_KEY\" \"$MOORLINE_RUN/etc/id\" && \
         keys=$(cut -d' ' -f3 \"$MOORLINE_PINS\" | paste -sd,) && \
         printf 'camera %s\\nendpoint %s %s %s %s\\nsource 127.0.0.1:%s\\nmain /main\\nrelay-port 0\\nclock off\\n' \
           \"$MOORLINE_USER\" \"$MOORLINE_USER\" \"$MOORLINE_HOST\" \"$MOORLINE_PORT\" \"$keys\" \"$MOORLINE_RTSP\" >\"$MOORLINE_RUN/etc/local.conf\" && \
         exec {} run --dir \"$MOORLINE_RUN/etc\" --run \"$MOORLINE_RUN/run\" --card \"$MOORLINE_RUN/card\"",
        env!("CARGO_BIN_EXE_moorline-agent")
    );
    ["sh", "-c", &script].map(str::to_owned).to_vec()
}

fn shell_client() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../firmware/sh/moorline-sh");
    file.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn moorline_agent_conforms() {
    if std::env::var("MOORLINE_CONFORMANCE").is_ok() {
        return;
    }
    conforms(our_agent()).await;
}

/// That the agent's table does so is a test of every run.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: 45 s without a PING"]
async fn moorline_agent_leaves_who_says_nothing() {
    leaves_who_says_nothing(our_agent()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: 45 s without a PING"]
async fn moorline_sh_leaves_who_says_nothing() {
    peer::BUSYBOX.find().unwrap();
    leaves_who_says_nothing(vec!["busybox".to_owned(), "sh".to_owned(), shell_client()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn moorline_sh_conforms_under_dash() {
    if std::env::var("MOORLINE_CONFORMANCE").is_ok() {
        return;
    }
    conforms(vec!["dash".to_owned(), shell_client()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn moorline_sh_conforms_under_busybox() {
    if std::env::var("MOORLINE_CONFORMANCE").is_ok() {
        return;
    }
    peer::BUSYBOX.find().unwrap();
    conforms(vec!["busybox".to_owned(), "sh".to_owned(), shell_client()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anyone_s_program_conforms() {
    // Only when somebody asks; the three above are what runs otherwise.
    if let Ok(program) = std::env::var("MOORLINE_CONFORMANCE") {
        let words: Vec<String> = program.split_whitespace().map(str::to_owned).collect();
        conforms(words.clone()).await;
        leaves_who_says_nothing(words).await;
    }
}
