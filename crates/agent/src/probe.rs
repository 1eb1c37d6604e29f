//! Finding the streamer: the owner's words first, then the presets of camera firmware, on the ports of the list.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use moorline_control::{Host, PRESETS, Source, SourceName, UrlPath};

use crate::local::{Local, Login};
use crate::names;
use crate::settings::Settings;
use crate::streamer::{describe, source};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where the streamer listens.
    pub address: SocketAddr,
    /// The login that it took.
    pub login: Option<Login>,
    /// Its streams: `main` first.
    pub sources: Vec<Source>,
}

/// Where the streamer is taken to be until it was found.
pub const FALLBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 554);

/// Where to look.
#[derive(Debug, Clone)]
pub struct Search {
    /// A name, which nobody has looked up yet.
    name: Option<(Host, u16)>,
    /// Where to look if there is no name.
    addresses: Vec<SocketAddr>,
    paths: Vec<Paths>,
}

#[derive(Debug, Clone)]
struct Paths {
    /// Of a preset: its port.
    port: Option<u16>,
    main: UrlPath,
    sub: Option<UrlPath>,
    logins: Vec<Option<Login>>,
}

impl Search {
    /// What the owner and the server said.
    #[must_use]
    pub fn new(local: &Local, settings: &Settings) -> Self {
        let chosen = local.source.as_ref().or(settings.source.as_ref());
        let literal = |(host, port): &(Host, u16)| {
            let address = host.as_str().parse::<IpAddr>().ok()?;
            Some(SocketAddr::new(address, *port))
        };
        let name = chosen.filter(|chosen| literal(chosen).is_none()).cloned();
        let addresses = match chosen {
            Some(chosen) => literal(chosen).into_iter().collect(),
            None => {
                let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
                let ports = local.source_ports.iter();
                ports.map(|port| SocketAddr::new(loopback, *port)).collect()
            }
        };
        let own = local.login.clone();
        let mut paths = Vec::new();
        if let Some(main) = &local.main {
            paths.push(Paths {
                port: None,
                main: main.clone(),
                sub: local.sub.clone(),
                logins: vec![own.clone()],
            });
        } else {
            for preset in PRESETS {
                let Some(main) = UrlPath::new(preset.main) else {
                    continue;
                };
                let known = preset.logins.iter().map(|login| {
                    Some(Login {
                        user: login.user.to_owned(),
                        password: login.password.to_owned(),
                    })
                });
                let logins = match &own {
                    // The owner's login is the login: others would be guesses on the owner's camera.
                    Some(_) => vec![own.clone()],
                    None => std::iter::once(None).chain(known).collect(),
                };
                paths.push(Paths {
                    port: Some(preset.port),
                    main,
                    sub: preset.sub.and_then(UrlPath::new),
                    logins,
                });
            }
        }
        Search {
            name,
            addresses,
            paths,
        }
    }

    /// Where to look, of which a name is looked up: that may take seconds.
    fn addresses(&self) -> Vec<SocketAddr> {
        match &self.name {
            Some((host, port)) => {
                let found = names::addresses(host.as_str());
                let first = found.first();
                first.map_or_else(Vec::new, |address| vec![SocketAddr::new(*address, *port)])
            }
            None => self.addresses.clone(),
        }
    }

    /// Looks; takes seconds when nobody answers.
    #[must_use]
    pub fn run(&self) -> Option<Found> {
        for address in self.addresses() {
            // A preset's own port first: another family's path may be answered too, with another stream.
            let foreign = |paths: &&Paths| paths.port.is_some_and(|port| port != address.port());
            let own = self.paths.iter().filter(|paths| !foreign(paths));
            for paths in own.chain(self.paths.iter().filter(foreign)) {
                for login in &paths.logins {
                    match look(address, &paths.main, paths.sub.as_ref(), login.as_ref()) {
                        Ok(Some(found)) => return Some(found),
                        Ok(None) => {}
                        // Nobody listens: no path of this address will do.
                        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                            break;
                        }
                        Err(_) => {}
                    }
                }
            }
        }
        None
    }

    /// Looks at what was found before; and everywhere when it is not there any more.
    #[must_use]
    pub fn again(&self, known: &Found) -> Option<Found> {
        let path = |nth: usize| known.sources.get(nth).map(|source| &source.path);
        let same = path(0).and_then(|main| {
            let found = look(known.address, main, path(1), known.login.as_ref());
            found.ok().flatten()
        });
        same.or_else(|| self.run())
    }

    /// Where to look first, without looking up any name.
    #[must_use]
    pub fn known_address(&self) -> Option<SocketAddr> {
        self.addresses.first().copied()
    }

    /// Where to look first; `None` when a name is not known. Takes seconds when nobody answers.
    #[must_use]
    pub fn first_address(&self) -> Option<SocketAddr> {
        self.addresses().first().copied()
    }
}

/// Asks for both paths of one address; `None` when the first is no picture that we know.
fn look(
    address: SocketAddr,
    main: &UrlPath,
    sub: Option<&UrlPath>,
    login: Option<&Login>,
) -> std::io::Result<Option<Found>> {
    let media = describe(address, main.as_str(), login)?;
    let Some(first) = source(SourceName::Main, main, &media) else {
        return Ok(None);
    };
    let second = sub.and_then(|sub| {
        let media = describe(address, sub.as_str(), login).ok()?;
        source(SourceName::Sub, sub, &media)
    });
    Ok(Some(Found {
        address,
        login: login.cloned(),
        sources: std::iter::once(first).chain(second).collect(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    /// A streamer that knows one path, behind Basic if asked to.
    fn streamer(path: &'static str, wants_login: bool) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let mut socket = socket.unwrap();
                let mut room = [0; 2048];
                while let Ok(count @ 1..) = socket.read(&mut room) {
                    let request = String::from_utf8_lossy(&room[..count]).into_owned();
                    let cseq = request
                        .lines()
                        .find(|line| line.starts_with("CSeq"))
                        .unwrap()
                        .to_owned();
                    let url = request.split(' ').nth(1).unwrap().to_owned();
                    let answer = if wants_login
                        && !request.contains("Basic dGhpbmdpbm86dGhpbmdpbm8=")
                    {
                        format!(
                            "RTSP/1.0 401 No\r\n{cseq}\r\nWWW-Authenticate: Basic realm=\"x\"\r\n\r\n"
                        )
                    } else if url.ends_with(path) {
                        let sdp =
                            "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=framerate:20\r\n";
                        format!(
                            "RTSP/1.0 200 OK\r\n{cseq}\r\nContent-Length: {}\r\n\r\n{sdp}",
                            sdp.len()
                        )
                    } else {
                        format!("RTSP/1.0 404 Not Found\r\n{cseq}\r\n\r\n")
                    };
                    socket.write_all(answer.as_bytes()).unwrap();
                }
            }
        });
        address
    }

    fn search(address: SocketAddr) -> Option<Found> {
        let (local, wrong) = Local::parse(&format!("source {address}\n"));
        assert_eq!(wrong, []);
        Search::new(&local, &Settings::default()).run()
    }

    #[test]
    fn presets_are_tried_with_their_logins() {
        let found = search(streamer("/ch0", true)).unwrap();
        assert_eq!(found.sources[0].to_string(), "main /ch0 h264 - 20 -");
        assert_eq!(found.login.unwrap().user, "thingino");
        let found = search(streamer("/unicast", false)).unwrap();
        assert_eq!(found.sources[0].path.as_str(), "/unicast");
        assert_eq!(found.login, None);
        assert_eq!(search(streamer("/elsewhere", false)), None);
    }

    #[test]
    fn a_camera_that_got_another_firmware_is_found_anew() {
        let address = streamer("/ch0", true);
        let known = search(address).unwrap();
        let (local, _) = Local::parse(&format!("source {address}\n"));
        let search = Search::new(&local, &Settings::default());
        assert_eq!(search.again(&known), Some(known.clone()), "nothing changed");
        let mut older = known.clone();
        older.sources[0].path = UrlPath::new("/unicast").unwrap();
        older.login = None;
        assert_eq!(search.again(&older), Some(known));
    }

    #[test]
    fn the_owner_s_login_is_the_only_one_that_is_tried() {
        let address = streamer("/ch0", true);
        let (local, _) = Local::parse(&format!("source {address}\nlogin thingino:other\n"));
        assert_eq!(Search::new(&local, &Settings::default()).run(), None);
    }

    #[test]
    fn a_name_is_not_looked_up_by_the_loop_that_asks_where_to_look() {
        let search = |text: &str| Search::new(&Local::parse(text).0, &Settings::default());
        let named = search("source nowhere.invalid:554\n");
        assert_eq!((named.known_address(), named.first_address()), (None, None));
        let literal = search("source 192.168.1.20:554\n");
        let expected = "192.168.1.20:554".parse().ok();
        assert_eq!(literal.known_address(), expected);
        assert_eq!(literal.first_address(), expected);
        assert_eq!(search("").known_address(), Some(FALLBACK));
    }
}
