//! Names that lie: a poisoned resolver, names that lead into the owner's network, names that are rebound after the check (S7).
//!
//! In a network namespace of its own: `192.0.2.0/24` is the Internet there, `10.0.0.5` a machine beside the camera.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use moorline_testkit::dns::Dns;
use moorline_testkit::netns::Netns;
use moorline_testkit::or_skip;

use crate::agent::Camera;
use crate::server::{Seen, Server, yard, yard_without_forwards};

/// Where the camera's own server lies.
const HOME: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Another machine of the Internet.
const AWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// A machine beside the camera.
const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);
/// A machine of the Internet at which nobody listens.
const NOBODY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 3);
/// The port of everything.
const PORT: u16 = 2222;

struct Site {
    netns: Netns,
    dns: Dns,
    inside: TcpListener,
    camera: Camera,
}

impl Site {
    /// `None` where there are no namespaces; then the test was skipped.
    async fn new() -> Option<Self> {
        let netns = or_skip(Netns::new().await)?;
        for address in [HOME, AWAY, NOBODY, INSIDE] {
            netns.add_address(address.into()).await.unwrap();
        }
        let resolver = SocketAddr::from((Ipv4Addr::LOCALHOST, 53));
        let dns = Dns::serve(netns.datagrams(resolver).await.unwrap());
        let inside = netns.listen_at((INSIDE, PORT).into()).await.unwrap();
        let mut camera = Camera::new();
        // Its own resolv.conf, in a mount namespace of its own; `exec` keeps the pid. A question that is asked again after a second of a busy
        // machine would be one more than the test counts.
        camera.write("resolv.conf", b"nameserver 127.0.0.1\noptions timeout:15\n");
        let mount = format!(
            "mount --bind {} /etc/resolv.conf && exec \"$@\"",
            camera.path("resolv.conf").display()
        );
        let enter = netns.command("unshare");
        let enter = enter.as_std();
        let words = std::iter::once(enter.get_program()).chain(enter.get_args());
        let mut runner: Vec<String> = words.map(|word| word.display().to_string()).collect();
        runner.extend(["-m", "--", "sh", "-c", &mount, "sh"].map(str::to_owned));
        camera.run_by(runner);
        Some(Site {
            netns,
            dns,
            inside: inside.into_std().unwrap(),
            camera,
        })
    }

    async fn server(&self, at: Ipv4Addr, role: &str) -> Server {
        let listener = self.netns.listen_at((at, PORT).into()).await.unwrap();
        let key = self.camera.key.public();
        let camera = match role {
            "endpoint" => yard_without_forwards(key),
            _ => yard(key),
        };
        Server::start_on(
            listener,
            &format!("MOORLINE/1 {role} home/yard"),
            vec![camera],
        )
    }

    /// Nobody came to the machine beside the camera.
    #[track_caller]
    fn nobody_came_inside(&self) {
        let came = self.inside.accept().map(|(_, from)| from);
        assert_eq!(came.unwrap_err().kind(), ErrorKind::WouldBlock);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_resolver_leads_to_no_foreign_server() {
    let Some(mut site) = Site::new().await else {
        return;
    };
    let (server, foreign) = (
        site.server(HOME, "both").await,
        site.server(AWAY, "both").await,
    );
    site.dns.set("cctv.example.com", &[&[AWAY]]);
    site.camera
        .calls_name("cctv.example.com", PORT, &server.pins());
    let agent = site.camera.start();
    site.camera.file_says("run/state", "last-end hostkey").await;
    assert_eq!(foreign.all(), [], "{}", agent.tail());
    // Healed: the next call finds home.
    site.dns.set("cctv.example.com", &[&[HOME]]);
    server.up(0).await;
    assert_eq!(foreign.all(), [], "{}", agent.tail());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_into_the_owner_s_network_is_not_dialled() {
    let Some(mut site) = Site::new().await else {
        return;
    };
    let endpoint = site.server(HOME, "endpoint").await;
    let pins = endpoint.pins();
    site.dns.set("inside.example", &[&[INSIDE]]);
    site.camera.calls((HOME, PORT).into(), &pins);
    let agent = site.camera.start();
    let session = endpoint.opened(0).await;
    for (nth, host) in [
        "inside.example",
        "10.0.0.5",
        "127.0.0.1",
        "::1",
        "::ffff:10.0.0.5",
    ]
    .into_iter()
    .enumerate()
    {
        endpoint.say(session, &format!("REFER home/yard {host} {PORT} {pins}"));
        let told = endpoint.line(&format!("UPSTATE down {host} {PORT}")).await;
        assert!(
            told.ends_with(" connect"),
            "{nth}: {told}: {}",
            agent.tail()
        );
    }
    // As its endpoint neither, and it does not strand the camera: who enrolled it is called again.
    let config = format!("CONFIG endpoint.0 home/yard inside.example {PORT} {pins}");
    endpoint.say(session, &config);
    site.camera
        .file_says("etc/agent.conf", "inside.example")
        .await;
    endpoint.end(session);
    endpoint.opened(1).await;
    site.nobody_came_inside();
    assert!(site.dns.asked("inside.example") >= 2, "{}", agent.tail());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_rebound_after_the_check_leads_nowhere_else() {
    let Some(mut site) = Site::new().await else {
        return;
    };
    let (endpoint, streampoint) = (
        site.server(HOME, "endpoint").await,
        site.server(AWAY, "streampoint").await,
    );
    // Whoever asks a second time is led inside.
    site.dns.set("rebound.example", &[&[AWAY], &[INSIDE]]);
    site.camera.calls((HOME, PORT).into(), &endpoint.pins());
    let agent = site.camera.start();
    let session = endpoint.opened(0).await;
    let refer = |host: &str| format!("REFER home/yard {host} {PORT} {}", streampoint.pins());
    endpoint.say(session, &refer("rebound.example"));
    let there = streampoint.up(0).await;
    assert_eq!(
        site.dns.asked("rebound.example"),
        1,
        "checked once, dialled once"
    );
    streampoint.end(there);
    endpoint
        .line(&format!("UPSTATE down rebound.example {PORT} connect"))
        .await;
    // One answer with both: the public one is dialled, wherever it stands.
    site.dns.set("both.example", &[&[INSIDE, AWAY]]);
    endpoint.say(session, &refer("both.example"));
    streampoint.up(1).await;
    site.nobody_came_inside();
    // One with a public address that refuses, and a private one: the next address is checked as the first one was.
    site.dns.set("refuses.example", &[&[INSIDE, NOBODY]]);
    endpoint.say(session, &refer("refuses.example"));
    let down = format!("UPSTATE down refuses.example {PORT} connect");
    let twice = endpoint.told("two calls in vain", move |seen| {
        let said = |seen: &&Seen| matches!(seen, Seen::Line(_, line) if line.starts_with(&down));
        (seen.iter().filter(said).count() >= 2).then_some(())
    });
    twice.await;
    site.nobody_came_inside();
    println!("{}", agent.tail());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_at_which_nobody_answers_does_not_hide_the_server_s_other_one() {
    let Some(mut site) = Site::new().await else {
        return;
    };
    let server = site.server(HOME, "both").await;
    // It takes connections and says nothing, as a path that loses everything behind a proxy does.
    let mute = site.netns.listen_at((AWAY, PORT).into()).await.unwrap();
    // In both orders: the resolver's own may put either first.
    let names = [
        ("refused.example", [NOBODY, HOME]),
        ("refused-last.example", [HOME, NOBODY]),
        ("mute.example", [AWAY, HOME]),
        ("mute-last.example", [HOME, AWAY]),
    ];
    for (name, addresses) in names {
        site.dns.set(name, &[&addresses]);
    }
    for (nth, (name, _)) in names.into_iter().enumerate() {
        site.camera.forget_calls();
        site.camera.calls_name(name, PORT, &server.pins());
        let agent = site.camera.start();
        server.up(nth).await;
        let calls = |line: &&String| line.contains("calling ");
        assert_eq!(
            agent.lines().iter().filter(calls).count(),
            1,
            "{name}: {}",
            agent.tail()
        );
    }
    drop(mute);
}
