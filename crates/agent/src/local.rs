//! The owner's file `local.conf`: only read. Of what stands in it the paths and the model are told to the server, for recording and for enrolment; the
//! login never is. A wrong line is told and left out: a camera that nobody can visit starts.

use std::net::IpAddr;

use moorline_control::{Host, Id, Model, ServerLine, UrlPath};

use crate::endpoint::Endpoint;
use crate::words::{Wrong, need, number, read, split_last};

/// What the owner says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// Which camera this is, where its key was added by hand.
    pub camera: Option<Id>,
    /// Where to call, in the order in which they stand.
    pub endpoints: Vec<Endpoint>,
    /// The streamer: anywhere, also another device.
    pub source: Option<(Host, u16)>,
    /// The loopback ports that the server may choose as `source` (S7).
    pub source_ports: Vec<u16>,
    /// The streamer's login. It never travels.
    pub login: Option<Login>,
    /// The path of the full picture.
    pub main: Option<UrlPath>,
    /// The path of the small one.
    pub sub: Option<UrlPath>,
    /// The port of the camera's web server, when the server may reach it.
    pub http: Option<u16>,
    /// What restarts the streamer: a program and its arguments, run without a shell.
    pub restart: Vec<String>,
    /// The hardware watchdog's device.
    pub watchdog: String,
    /// The camera's model, for enrolment.
    pub model: Option<Model>,
    /// Whether the server's TIME sets the clock.
    pub clock: bool,
    /// The relay's port on loopback.
    pub relay_port: u16,
}

/// A login of the streamer. Not shown by `Debug` (P10).
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The name.
    pub user: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Default for Local {
    fn default() -> Self {
        Local {
            camera: None,
            endpoints: Vec::new(),
            source: None,
            source_ports: vec![554, 8554],
            login: None,
            main: None,
            sub: None,
            http: None,
            restart: Vec::new(),
            watchdog: "/dev/watchdog".to_owned(),
            model: None,
            clock: true,
            relay_port: 8555,
        }
    }
}

impl Local {
    /// Reads the file.
    #[must_use]
    pub fn parse(text: &str) -> (Self, Vec<Wrong>) {
        let mut local = Local::default();
        let wrong = read(text, &mut |key, value| local.take(key, value));
        (local, wrong)
    }

    pub(crate) fn take(&mut self, key: &str, value: &str) -> Result<(), String> {
        let port = |value: &str| number::<u16>(value).filter(|port| *port > 0);
        match key {
            "camera" => self.camera = Some(need(key, Id::new(value), "tenant/camera")?),
            "endpoint" => {
                let line = ServerLine::parse(format!("REFER {value}").as_bytes());
                let Ok(ServerLine::Refer(target)) = line else {
                    return Err("endpoint: <user> <host> <port> <key>[,<key>]".to_owned());
                };
                Endpoint::gather(&mut self.endpoints, &target);
            }
            "source" => {
                let parts = split_last(value, b':');
                let parts = parts.and_then(|(host, at)| Some((Host::new(host)?, port(at)?)));
                self.source = Some(need(key, parts, "host:port")?);
            }
            "source-ports" => {
                let ports = value.split([' ', ',']).filter(|word| !word.is_empty());
                let ports: Option<Vec<u16>> = ports.map(port).collect();
                self.source_ports = need(key, ports, "ports, parted by spaces")?;
            }
            "login" => {
                let parts = value.split_once(':');
                let (user, password) = need(key, parts, "user:password")?;
                self.login = Some(Login {
                    user: user.to_owned(),
                    password: password.to_owned(),
                });
            }
            "main" => self.main = Some(need(key, UrlPath::new(value), "a path from /")?),
            "sub" => self.sub = Some(need(key, UrlPath::new(value), "a path from /")?),
            "http" => self.http = Some(need(key, port(value), "a port")?),
            "restart" => {
                let words: Vec<String> =
                    value.split_ascii_whitespace().map(str::to_owned).collect();
                let absolute = words.first().filter(|word| word.starts_with('/'));
                need(key, absolute, "a program from /, and its arguments")?;
                self.restart = words;
            }
            "watchdog" => {
                let path = value.starts_with('/').then(|| value.to_owned());
                self.watchdog = need(key, path, "a device from /")?;
            }
            "model" => {
                let what = "letters, digits, dots, hyphens and underscores";
                self.model = Some(need(key, Model::new(value), what)?);
            }
            "clock" => {
                let on = match value {
                    "on" => Some(true),
                    "off" => Some(false),
                    _ => None,
                };
                self.clock = need(key, on, "on or off")?;
            }
            "relay-port" => {
                // 0 lets the system choose: for a box that carries several agents.
                self.relay_port = need(key, number(value), "a port, or 0 for any")?;
            }
            // Cameras of the local network: `crate::gateway` reads them, for processes of their own.
            #[cfg(feature = "gateway")]
            key if key == "lan" || key.starts_with("lan.") => {}
            _ => {
                return Err(format!(
                    "unknown key; known: {}",
                    "camera endpoint source source-ports login main sub http restart watchdog model clock relay-port"
                ));
            }
        }
        Ok(())
    }

    /// Whether a server may choose this address as `source`: loopback, on a port of the list (S7).
    #[must_use]
    pub fn allows_source(&self, host: &Host, port: u16) -> bool {
        let loopback = host
            .as_str()
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback());
        loopback && self.source_ports.contains(&port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_read_and_a_wrong_line_is_told_and_left_out() {
        let (local, wrong) = Local::parse(
            "camera home/yard\nsource 192.168.1.20:554\nsource-ports 554 10554\nlogin admin:a:b\n\
             main /ch0\nsub /ch1\nhttp 80\nrestart /etc/init.d/S31prudynt restart\nwatchdog /dev/watchdog0\n\
             model xiaofang\nclock off\nrelay-port 0\nlogin hunter2\nshout loud\nrestart reboot\n",
        );
        assert_eq!(local.camera.unwrap().as_str(), "home/yard");
        assert_eq!(local.source_ports, [554, 10554]);
        let login = local.login.unwrap();
        assert_eq!(
            (login.user.as_str(), login.password.as_str()),
            ("admin", "a:b")
        );
        assert_eq!(format!("{login:?}"), "***");
        assert_eq!(local.restart, ["/etc/init.d/S31prudynt", "restart"]);
        let told: Vec<_> = wrong.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 3);
        assert_eq!(told[0], "line 13: login: user:password");
        assert!(told[1].starts_with("line 14: unknown key"));
        assert!(told[2].starts_with("line 15: restart: "));
    }

    #[test]
    fn a_server_may_choose_a_listed_port_on_loopback_only() {
        let local = Local::default();
        let allows = |host, port| local.allows_source(&Host::new(host).unwrap(), port);
        assert!(allows("127.0.0.1", 554) && allows("::1", 8554));
        for (host, port) in [
            ("127.0.0.1", 22),
            ("192.168.1.1", 554),
            ("localhost", 554),
            ("0.0.0.0", 554),
            ("camera.example.com", 554),
        ] {
            assert!(!allows(host, port), "{host}:{port}");
        }
    }
}
