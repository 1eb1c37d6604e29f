//! Walking the chain from the camera to its pictures, link by link: for DIAG and for `moorline-agent check`.
//!
//! A link that cannot be looked at behind a broken one is told as broken too, with what it waits for: the first `fail` is the one to mend.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};

use moorline_control::{DiagStep, Reason};

use crate::client::reachable;
use crate::local::Login;
use crate::streamer::{answers, pictures};
use crate::system;

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
    /// Nobody is to be called: not enrolled.
    Nobody,
}

/// What the walk looks at.
#[derive(Debug, Clone)]
pub struct Chain {
    /// The endpoint's host and port.
    pub endpoint: Option<(String, u16)>,
    /// Its session.
    pub session: Session,
    /// The streamer.
    pub streamer: SocketAddr,
    /// The path of its full picture, if it was found.
    pub main: Option<String>,
    /// Its login.
    pub login: Option<Login>,
    /// Pictures that the relay dropped, and bytes that wait now; `None` where no relay runs.
    pub relay: Option<(u64, usize)>,
    /// What the server's clock said last, and the wall clock then.
    pub clock: Option<(u64, u64)>,
}

/// Packets that prove pictures.
const ENOUGH: u32 = 30;

/// Walks it. Takes seconds when something does not answer; each step within 10 s.
pub fn walk(chain: &Chain, mut say: impl FnMut(DiagStep, bool, String)) {
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
    server(chain, &mut say);
    streamer(chain, &mut say);
    uplink(chain, &mut say);
    clock(chain, &mut say);
}

fn server(chain: &Chain, say: &mut impl FnMut(DiagStep, bool, String)) {
    let Some((host, port)) = &chain.endpoint else {
        for step in [DiagStep::Dns, DiagStep::Route, DiagStep::Tcp] {
            say(
                step,
                false,
                "no endpoint: put the file enroll on the SD card".into(),
            );
        }
        session(chain, say);
        return;
    };
    let address = (host.as_str(), *port)
        .to_socket_addrs()
        .ok()
        .and_then(|mut all| all.next());
    match address {
        Some(address) => {
            say(DiagStep::Dns, true, format!("{host} is {}", address.ip()));
            // Connecting a datagram socket sends nothing: it only asks the kernel for a way.
            let any = match address {
                SocketAddr::V4(_) => IpAddr::from([0; 4]),
                SocketAddr::V6(_) => IpAddr::from([0; 16]),
            };
            let way = UdpSocket::bind(SocketAddr::new(any, 0)).and_then(|socket| {
                socket.connect(address)?;
                socket.local_addr()
            });
            match way {
                Ok(from) => say(DiagStep::Route, true, format!("from {}", from.ip())),
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

fn session(chain: &Chain, say: &mut impl FnMut(DiagStep, bool, String)) {
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
        Session::Down(Reason::HostKey) => (
            (
                false,
                "the server has another key than the pinned one: not the server that enrolled this camera, or it was set up anew",
            ),
            (false, "waits for hostkey"),
            (false, "waits for hostkey"),
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
        Session::Down(Reason::Connect) => (
            (false, "waits for tcp"),
            (false, "waits for tcp"),
            (false, "waits for tcp"),
        ),
        Session::Down(_) => (
            (false, "no hello came: is it Moorline's port?"),
            (false, "waits for hostkey"),
            (false, "waits for hostkey"),
        ),
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

fn streamer(chain: &Chain, say: &mut impl FnMut(DiagStep, bool, String)) {
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
    match (
        &chain.main,
        pictures(address, path, chain.login.as_ref(), ENOUGH),
    ) {
        (_, Ok(packets @ 1..)) => say(
            DiagStep::Pictures,
            true,
            format!("{packets} packets of {path}"),
        ),
        (None, _) => {
            let what = "no known path is answered: write main and login into local.conf";
            say(DiagStep::Pictures, false, what.into());
        }
        (_, Ok(0)) => say(
            DiagStep::Pictures,
            false,
            format!("{path} plays, and nothing comes: is the sensor up?"),
        ),
        (_, Err(error)) => say(DiagStep::Pictures, false, format!("{path}: {error}")),
    }
}

fn uplink(chain: &Chain, say: &mut impl FnMut(DiagStep, bool, String)) {
    match chain.relay {
        None => say(
            DiagStep::Uplink,
            true,
            "no relay runs here: not measured".into(),
        ),
        Some((0, waiting)) => say(
            DiagStep::Uplink,
            true,
            format!("nothing dropped, {waiting} bytes wait"),
        ),
        Some((dropped, waiting)) => {
            let what = format!(
                "{dropped} pictures dropped since the agent's start, {waiting} bytes wait: lower the bitrate"
            );
            say(DiagStep::Uplink, waiting == 0, what);
        }
    }
}

fn clock(chain: &Chain, say: &mut impl FnMut(DiagStep, bool, String)) {
    let now = system::wall();
    match chain.clock {
        Some((server, then)) if server.abs_diff(then) > 5 => {
            let apart = server.abs_diff(then);
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
        _ => say(DiagStep::Clock, true, now.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walked(chain: &Chain) -> Vec<(DiagStep, bool, String)> {
        let mut steps = Vec::new();
        walk(chain, |step, ok, text| steps.push((step, ok, text)));
        steps
    }

    fn chain() -> Chain {
        // Bound and dropped: nobody listens there.
        let free = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        Chain {
            endpoint: Some(("127.0.0.1".into(), free.port())),
            session: Session::Down(Reason::Connect),
            streamer: free,
            main: None,
            login: None,
            relay: None,
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

    #[test]
    fn each_broken_link_is_named() {
        let fails = |chain: &Chain, broken: DiagStep| {
            let steps = walked(chain);
            let step = steps
                .into_iter()
                .find(|(step, ..)| *step == broken)
                .unwrap();
            assert!(!step.1, "{broken} was told to hold");
            step.2
        };
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
        let unknown = Chain {
            endpoint: Some(("nowhere.invalid".into(), 22)),
            ..chain()
        };
        assert!(fails(&unknown, DiagStep::Dns).contains("nowhere.invalid"));
        let late = Chain {
            clock: Some((2_000_000_000, 1_900_000_000)),
            ..chain()
        };
        assert!(fails(&late, DiagStep::Clock).contains("apart"));
        let full = Chain {
            relay: Some((7, 1_000)),
            ..chain()
        };
        assert!(fails(&full, DiagStep::Uplink).contains("lower the bitrate"));
    }
}
