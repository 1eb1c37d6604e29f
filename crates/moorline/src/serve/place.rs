//! What the outside calls this server: the host name and ports in every printed command and URL.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};

use anyhow::Context as _;

use crate::args::Listen;
use crate::settings::Server;

/// Where to listen: the command line, else the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// For cameras.
    pub ssh: SocketAddr,
    /// For players.
    pub rtsp: SocketAddr,
    /// For people.
    pub https: SocketAddr,
    /// Metrics and health.
    pub admin: SocketAddr,
}

impl Addresses {
    /// Reads them.
    ///
    /// # Errors
    /// A setting is no address and port; names the field.
    pub fn of(listen: &Listen, server: &Server) -> anyhow::Result<Self> {
        let of = |given: Option<SocketAddr>, field: &str, text: &str| match given {
            Some(address) => Ok(address),
            None => text
                .parse()
                .with_context(|| format!("server.{field} = {text:?}: write it like 0.0.0.0:2222")),
        };
        Ok(Self {
            ssh: of(listen.listen_ssh, "listen_ssh", &server.listen_ssh)?,
            rtsp: of(listen.listen_rtsp, "listen_rtsp", &server.listen_rtsp)?,
            https: of(listen.listen_https, "listen_https", &server.listen_https)?,
            admin: of(listen.listen_admin, "listen_admin", &server.listen_admin)?,
        })
    }
}

/// The host name in printed commands and URLs, and whether it was guessed.
pub fn public_host(listen: &Listen, server: &Server, ssh: SocketAddr) -> (String, bool) {
    let given = listen
        .public_host
        .clone()
        .unwrap_or_else(|| server.public_host.clone());
    match ssh.ip() {
        _ if !given.is_empty() => (given, false),
        ip if !ip.is_unspecified() => (ip.to_string(), true),
        _ => (
            own_address()
                .unwrap_or(IpAddr::from([127, 0, 0, 1]))
                .to_string(),
            true,
        ),
    }
}

/// The host name in the URLs of page and streams: the public one, unless viewers have another.
pub fn viewer_host(server: &Server, public_host: &str) -> String {
    let own = Some(&*server.public_viewer_host).filter(|own| !own.is_empty());
    own.unwrap_or(public_host).to_owned()
}

/// The address from which this machine would speak to the Internet. Connecting a UDP socket sends nothing; 192.0.2.1 is nobody's (RFC 5737).
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).ok()?;
    socket.connect(("192.0.2.1", 9)).ok()?;
    socket
        .local_addr()
        .ok()
        .map(|address| address.ip())
        .filter(|ip| !ip.is_unspecified())
}

/// What a public host looks like, for whoever wrote another thing.
pub const HOST_EXPECTED: &str = "write a name or an address alone, such as cctv.example.com: it stands in URLs and SSH commands";

/// Whether a text can stand for this server in a URL and in an SSH command: no scheme, port or path around it.
pub fn is_host(text: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '_');
    text.parse::<Ipv6Addr>().is_ok() || (!text.is_empty() && text.chars().all(plain))
}

/// The value of `--public-host`. Empty: it is guessed, as in the configuration.
///
/// # Errors
/// It is neither a name nor an address.
pub fn host_argument(text: &str) -> Result<String, &'static str> {
    if text.is_empty() || is_host(text) {
        Ok(text.to_owned())
    } else {
        Err(HOST_EXPECTED)
    }
}

/// A host for a URL: IPv6 in brackets.
pub fn in_url(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

/// The port that is told: the public one, if a router maps it, else the one that is listened on.
pub fn public_port(setting: u16, listened: SocketAddr) -> u16 {
    if setting == 0 {
        listened.port()
    } else {
        setting
    }
}

/// Whether an address may change under the feet of cameras that were told it.
pub fn may_change(host: &str) -> bool {
    host.parse::<IpAddr>()
        .is_ok_and(|ip| !ip.is_loopback() && is_inside(ip))
}

/// Whether an address is of a private network, or of this machine.
pub fn is_inside(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local() || ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_loopback(),
    }
}
