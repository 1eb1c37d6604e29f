//! Walking the chain from the camera to its pictures, link by link: for DIAG and for `moorline-agent check`.
//!
//! A link that cannot be looked at behind a broken one is told as broken too, with what it waits for: the first `fail` is the one to mend.

use std::net::SocketAddr;

use moorline_control::{DiagStep, Reason};

use crate::client::reachable;
use crate::local::Login;
use crate::names;
use crate::streamer::{answers, pictures};
use crate::system;
use crate::uplink::Uplink;
use crate::words::masked;

/// How the session with the endpoint stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Session {
    /// It is up.
    Up {
        /// Whether its forward was granted; `None` when it was not asked for.
        forward: Option<bool>,
    },
    /// It is not.
    Down(Reason),
    /// There is no dbclient.
    NoClient,
    /// The camera is to be enrolled: how the last call ended; `None` when the server answers.
    Enrolling(Option<Reason>),
    /// Nobody is to be called: not enrolled.
    Nobody,
}

/// What the walk looks at.
#[derive(Debug, Clone)]
pub struct Chain {
    /// The endpoint's host and port; why there is none.
    pub endpoint: Result<(String, u16), &'static str>,
    /// Its session.
    pub session: Session,
    /// The streamer.
    pub streamer: SocketAddr,
    /// The path of its full picture, if it was found.
    pub main: Option<String>,
    /// Its login.
    pub login: Option<Login>,
    /// What the relay saw of the uplink; `None` where no relay runs.
    pub uplink: Option<Uplink>,
    /// What the server's clock says now, as far as it is known.
    pub clock: Option<u64>,
}

/// Why nobody is called.
pub const NO_ENDPOINT: &str = "no endpoint: put the file enroll on the SD card";

/// Packets that prove pictures.
const ENOUGH: u32 = 30;

/// Who hears each step. Not generic: the walk is compiled once, not for each who hears it.
pub type Say<'a> = &'a mut dyn FnMut(DiagStep, bool, String);

/// Walks it. Takes seconds when something does not answer; each step within 10 s.
pub fn walk(chain: &Chain, say: Say<'_>) {
    let up: Vec<String> = system::interfaces()
        .into_iter()
        .filter(|name| system::is_up(name))
        .collect();
    if up.is_empty() {
        say(
            DiagStep::Link,
            false,
            "no network interface has a link: check cable or Wi-Fi".into(),
        );
    } else {
        say(DiagStep::Link, true, up.join(" "));
    }
    server(chain, say);
    streamer(chain, say);
    uplink(chain, say);
    clock(chain, say);
}

fn server(chain: &Chain, say: Say<'_>) {
    let (host, port) = match &chain.endpoint {
        Ok(endpoint) => endpoint,
        Err(why) => {
            for step in [DiagStep::Dns, DiagStep::Route, DiagStep::Tcp] {
                say(step, false, (*why).into());
            }
            session(chain, say);
            return;
        }
    };
    match names::addresses(host).first() {
        Some(address) => {
            say(DiagStep::Dns, true, format!("{host} is {address}"));
            let address = SocketAddr::new(*address, *port);
            match names::way_to(address) {
                Ok(from) => say(DiagStep::Route, true, format!("from {from}")),
                Err(error) => say(
                    DiagStep::Route,
                    false,
                    format!("{error}: check gateway and DHCP"),
                ),
            }
            match reachable(address) {
                Ok(()) => say(DiagStep::Tcp, true, format!("{address} accepts")),
                Err(error) => {
                    let what = format!("{address}: {error}: is the server up, and its port open?");
                    say(DiagStep::Tcp, false, what);
                }
            }
        }
        None => {
            say(
                DiagStep::Dns,
                false,
                format!("{host} is not known: check DNS, or its name"),
            );
            say(DiagStep::Route, false, "waits for dns".into());
            say(DiagStep::Tcp, false, "waits for dns".into());
        }
    }
    session(chain, say);
}

fn session(chain: &Chain, say: Say<'_>) {
    let (host_key, key, forward) = match chain.session {
        Session::Up { forward } => (
            (true, "the pin holds"),
            (true, "accepted"),
            match forward {
                Some(true) => (true, "granted"),
                Some(false) => (
                    true,
                    "refused: this server sends the camera to a streampoint",
                ),
                None => (true, "not asked for: the running agent has it"),
            },
        ),
        Session::Down(Reason::HostKey) => behind_host_key(
            "the server has another key than the pinned one: not the server that enrolled this camera, or it was set up anew",
        ),
        Session::Enrolling(Some(Reason::HostKey)) => behind_host_key(
            "the server has another key than the one in the file enroll: not the server that wrote it, or it was set up anew",
        ),
        Session::Enrolling(None) => (
            (true, "the pin holds"),
            (true, "it takes enrolments"),
            (false, "waits for the enrolment"),
        ),
        Session::Enrolling(Some(Reason::Auth | Reason::Exit)) => (
            (true, "the server answers"),
            (
                false,
                "the token was not taken: wrong, expired, used by another camera or revoked; `moorline camera enrolments` on the server tells, `moorline camera enroll` writes another file",
            ),
            (false, "waits for the enrolment"),
        ),
        Session::Down(Reason::Auth) => (
            (true, "the pin holds"),
            (
                false,
                "refused: see `moorline camera pending` on the server, or enrol again",
            ),
            (false, "waits for key"),
        ),
        Session::Down(Reason::Forward) => (
            (true, "the pin holds"),
            (true, "accepted"),
            (
                false,
                "refused: too many forwards, or the camera is disabled",
            ),
        ),
        Session::Down(Reason::Connect) | Session::Enrolling(Some(Reason::Connect)) => (
            (false, "waits for tcp"),
            (false, "waits for tcp"),
            (false, "waits for tcp"),
        ),
        Session::Down(Reason::Ping | Reason::Keepalive) => (
            (true, "the pin held"),
            (true, "was accepted"),
            (
                false,
                "the session fell silent: the way to the server broke off, or it hangs",
            ),
        ),
        Session::Down(Reason::Exit) => behind_host_key(
            "dbclient ended and named no reason: the server ended the session, or the way to it broke off",
        ),
        Session::Down(Reason::Hello) | Session::Enrolling(Some(_)) => {
            behind_host_key("no hello came: is it Moorline's port?")
        }
        Session::NoClient => {
            behind_host_key("there is no dbclient on this camera: it is the client of dropbear")
        }
        Session::Nobody => (
            (false, "not enrolled"),
            (false, "not enrolled"),
            (false, "not enrolled"),
        ),
    };
    for (step, (ok, text)) in [
        (DiagStep::HostKey, host_key),
        (DiagStep::Key, key),
        (DiagStep::Forward, forward),
    ] {
        say(step, ok, text.to_owned());
    }
}

/// Whether a step is good, and what is said of it.
type Told = (bool, &'static str);

/// What is told of a session that has not come further than the server's key.
fn behind_host_key(why: &'static str) -> (Told, Told, Told) {
    (
        (false, why),
        (false, "waits for hostkey"),
        (false, "waits for hostkey"),
    )
}

fn streamer(chain: &Chain, say: Say<'_>) {
    let path = chain.main.as_deref().unwrap_or("/");
    let address = chain.streamer;
    if !answers(address, path) {
        say(
            DiagStep::Rtsp,
            false,
            format!("{address} does not answer RTSP: is the streamer running?"),
        );
        say(DiagStep::Pictures, false, "waits for rtsp".into());
        return;
    }
    say(DiagStep::Rtsp, true, format!("{address} answers"));
    // Some cameras have their password in it, and this is sent to the server and pasted into issues (P10).
    let shown = masked(path);
    match (
        &chain.main,
        pictures(address, path, chain.login.as_ref(), ENOUGH),
    ) {
        (_, Ok(packets @ 1..)) => say(
            DiagStep::Pictures,
            true,
            format!("{packets} packets of {shown}"),
        ),
        (None, _) => {
            let what = "no known path is answered: write main and login into local.conf";
            say(DiagStep::Pictures, false, what.into());
        }
        (_, Ok(0)) => say(
            DiagStep::Pictures,
            false,
            format!("{shown} plays, and nothing comes: is the sensor up?"),
        ),
        (_, Err(error)) => say(DiagStep::Pictures, false, format!("{shown}: {error}")),
    }
}

fn uplink(chain: &Chain, say: Say<'_>) {
    let Some(seen) = &chain.uplink else {
        let what = "no relay runs: not measured";
        return say(DiagStep::Uplink, true, what.into());
    };
    let Uplink {
        pictures,
        dropped,
        waiting,
        seconds,
        ..
    } = seen;
    if *pictures == 0 {
        let what = format!("nobody took pictures in the last {seconds} s: not measured");
        return say(DiagStep::Uplink, true, what);
    }
    let rate = seen.rate();
    let mut what = format!(
        "{dropped} of {pictures} pictures dropped in the last {seconds} s, {rate} kbit/s went out, {waiting} bytes wait"
    );
    if seen.is_slow() {
        what.push_str(": lower the bitrate");
    }
    say(DiagStep::Uplink, !seen.is_slow(), what);
}

/// The server's clock now, of what it told and the uptime then.
pub(crate) fn server_s(clock: Option<(u64, u64)>) -> Option<u64> {
    let (told, then) = clock?;
    told.checked_add(system::uptime()?.checked_sub(then)?)
}

fn clock(chain: &Chain, say: Say<'_>) {
    let now = system::wall();
    match chain.clock {
        Some(server) if server.abs_diff(now) > 5 => {
            let apart = server.abs_diff(now);
            say(
                DiagStep::Clock,
                false,
                format!("{apart} s apart from the server's: may this user run date?"),
            );
        }
        _ if now < system::built_at() => {
            say(
                DiagStep::Clock,
                false,
                format!("{now}: older than the agent itself, no server has told the time"),
            );
        }
        Some(_) => say(DiagStep::Clock, true, now.to_string()),
        None => {
            let what = format!("{now}: not compared with a server's");
            say(DiagStep::Clock, true, what);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::LazyLock;

    use moorline_testkit::refusing::Refusing;

    use super::*;

    /// Nobody listens there, and nobody else is given it meanwhile.
    static FREE: LazyLock<Refusing> = LazyLock::new(|| Refusing::new().unwrap());

    fn walked(chain: &Chain) -> Vec<(DiagStep, bool, String)> {
        let mut steps = Vec::new();
        walk(chain, &mut |step, ok, text| steps.push((step, ok, text)));
        steps
    }

    fn chain() -> Chain {
        let free = FREE.address();
        Chain {
            endpoint: Ok(("127.0.0.1".into(), free.port())),
            session: Session::Down(Reason::Connect),
            streamer: free,
            main: None,
            login: None,
            uplink: None,
            clock: None,
        }
    }

    #[test]
    fn every_link_is_told_once_in_the_order_of_the_walk() {
        let steps = walked(&chain());
        let names: Vec<_> = steps.iter().map(|(step, ..)| *step).collect();
        assert_eq!(names, DiagStep::ALL);
        assert!(steps.iter().all(|(.., text)| text.len() < 1_000));
    }

    /// What is said of a link that is broken.
    #[track_caller]
    fn fails(chain: &Chain, broken: DiagStep) -> String {
        let steps = walked(chain);
        let step = steps
            .into_iter()
            .find(|(step, ..)| *step == broken)
            .unwrap();
        assert!(!step.1, "{broken} was told to hold");
        step.2
    }

    #[test]
    fn each_broken_link_is_named() {
        assert!(fails(&chain(), DiagStep::Tcp).contains("is the server up"));
        assert!(fails(&chain(), DiagStep::Rtsp).contains("is the streamer running"));
        let with = |session| Chain { session, ..chain() };
        assert!(
            fails(&with(Session::Down(Reason::HostKey)), DiagStep::HostKey).contains("another key")
        );
        assert!(
            fails(&with(Session::Down(Reason::Auth)), DiagStep::Key).contains("camera pending")
        );
        assert!(
            fails(&with(Session::Down(Reason::Forward)), DiagStep::Forward).contains("refused")
        );
        assert!(fails(&with(Session::Down(Reason::Hello)), DiagStep::HostKey).contains("no hello"));
        for silent in [Reason::Ping, Reason::Keepalive] {
            let why = fails(&with(Session::Down(silent)), DiagStep::Forward);
            assert!(why.contains("silent"), "{why}");
        }
        let why = fails(&with(Session::Down(Reason::Exit)), DiagStep::HostKey);
        assert!(why.contains("named no reason"), "{why}");
        let why = fails(&with(Session::NoClient), DiagStep::HostKey);
        assert!(why.contains("dropbear"), "{why}");
        let refused = Session::Enrolling(Some(Reason::Exit));
        assert!(fails(&with(refused), DiagStep::Key).contains("camera enrolments"));
        let other = Session::Enrolling(Some(Reason::HostKey));
        assert!(fails(&with(other), DiagStep::HostKey).contains("file enroll"));
        let wrong = Chain {
            endpoint: Err("the file enroll is wrong"),
            session: Session::Nobody,
            ..chain()
        };
        assert!(fails(&wrong, DiagStep::Dns).contains("is wrong"));
        let unknown = Chain {
            endpoint: Ok(("nowhere.invalid".into(), 22)),
            ..chain()
        };
        assert!(fails(&unknown, DiagStep::Dns).contains("nowhere.invalid"));
        let late = Chain {
            clock: Some(2_000_000_000),
            ..chain()
        };
        assert!(fails(&late, DiagStep::Clock).contains("apart"));
        let full = Chain {
            uplink: Some(Uplink {
                pictures: 100,
                dropped: 7,
                waiting: 1_000,
                seconds: 90,
                sent: 11_250_000,
            }),
            ..chain()
        };
        let told = fails(&full, DiagStep::Uplink);
        assert!(
            told.contains("1000 kbit/s") && told.contains("lower the bitrate"),
            "{told}"
        );
        let well = Chain {
            uplink: Some(Uplink {
                pictures: 100,
                dropped: 5,
                ..Uplink::default()
            }),
            ..chain()
        };
        let steps = walked(&well);
        assert!(
            steps
                .iter()
                .any(|(step, ok, _)| *step == DiagStep::Uplink && *ok)
        );
    }

    /// A streamer with one path, whose sensor hangs: it plays, and nothing comes.
    fn without_sensor(path: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // Ends with the process of the tests.
        std::thread::spawn(move || {
            for mut socket in listener.incoming().flatten() {
                let mut room = [0; 2048];
                while let Ok(count @ 1..) = socket.read(&mut room) {
                    let request = String::from_utf8_lossy(&room[..count]).into_owned();
                    let mut words = request.split(' ');
                    let (method, url) = (words.next().unwrap(), words.next().unwrap());
                    let cseq = request
                        .lines()
                        .find(|line| line.starts_with("CSeq"))
                        .unwrap();
                    let sdp = "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n";
                    let (status, rest) = match method {
                        "DESCRIBE" if !url.ends_with(path) => ("404 Not Found", String::new()),
                        "DESCRIBE" => {
                            let length = sdp.len();
                            ("200 OK", format!("Content-Length: {length}\r\n\r\n{sdp}"))
                        }
                        _ => ("200 OK", "Session: 1\r\n\r\n".to_owned()),
                    };
                    let end = if rest.is_empty() { "\r\n" } else { "" };
                    let answer = format!("RTSP/1.0 {status}\r\n{cseq}\r\n{rest}{end}");
                    if socket.write_all(answer.as_bytes()).is_err() || method == "PLAY" {
                        break;
                    }
                }
            }
        });
        address
    }

    #[test]
    fn a_streamer_whose_sensor_hangs_is_told_apart_from_one_that_lacks_the_path() {
        let streamer = without_sensor("/ch0");
        for (main, why) in [
            (
                Some("/ch0"),
                "/ch0 plays, and nothing comes: is the sensor up?",
            ),
            (Some("/ch1"), "/ch1: no video is described"),
            (
                Some("/ch1?user=a&password=hunter2"),
                "/ch1?user=a&password=***: no video is described",
            ),
            (
                None,
                "no known path is answered: write main and login into local.conf",
            ),
        ] {
            let chain = Chain {
                streamer,
                main: main.map(str::to_owned),
                ..chain()
            };
            assert_eq!(fails(&chain, DiagStep::Pictures), why);
            let steps = walked(&chain);
            let rtsp = steps.iter().find(|(step, ..)| *step == DiagStep::Rtsp);
            assert!(rtsp.unwrap().1, "it answers: {steps:?}");
        }
    }
}
