//! The guard on outgoing calls (rule S17): which URL may be called, and which address is dialled for it.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use moorline_base::clock::{SharedClock, timeout};
use moorline_core::outside::Outside;
use url::{Host, Url};

use crate::config::{Config, ConfigError};

/// How long a name may take.
const RESOLVING: Duration = Duration::from_secs(5);

type Resolving = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Turns a name and port into addresses.
pub(crate) type Resolver = Arc<dyn Fn(String, u16) -> Resolving + Send + Sync>;

/// The system's resolver.
pub(crate) fn system_resolver() -> Resolver {
    Arc::new(|host, port| {
        Box::pin(async move {
            let addresses = tokio::net::lookup_host((host, port)).await?;
            Ok(addresses.collect())
        })
    })
}

/// What the operator allows.
#[derive(Clone)]
pub(crate) struct Guard {
    outside: Outside,
    resolver: Resolver,
    clock: SharedClock,
}

/// Why no address is dialled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// The name did not resolve, for now.
    #[error("the host name does not resolve")]
    Unresolved,
    /// It resolves to what must not be called.
    #[error("the host lies in a private network: the operator can list it in webhook_private")]
    Private,
}

impl Guard {
    pub(crate) fn new(
        config: &Config,
        clock: SharedClock,
        resolver: Resolver,
    ) -> Result<Self, ConfigError> {
        let outside = Outside::new(&config.webhook_private, config.webhook_http);
        let outside = outside.map_err(|text| {
            let expected = "use an address or a network, such as 192.168.1.0/24";
            ConfigError::new("webhook_private", text, expected)
        })?;
        Ok(Self {
            outside,
            resolver,
            clock,
        })
    }

    /// Checks a URL of the configuration, as far as that goes without a resolver.
    pub(crate) fn parse(&self, field: &'static str, text: &str) -> Result<Url, ConfigError> {
        let wrong = |expected: &str| ConfigError::new(field, shown(text), expected);
        let url = Url::parse(text)
            .map_err(|_| wrong("use a whole URL, such as https://example.com/hook"))?;
        match url.scheme() {
            "https" => {}
            "http" if self.outside.http => {}
            "http" => return Err(wrong("use https, or allow http with webhook_http = true")),
            _ => return Err(wrong("use a URL that begins with https://")),
        }
        let address = match url.host() {
            None => return Err(wrong("the URL names no host")),
            Some(Host::Domain(_)) => return Ok(url),
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
        };
        if self.outside.allows(address) {
            Ok(url)
        } else {
            Err(wrong(&format!(
                "the address is not a public one: list {address} in webhook_private to allow it"
            )))
        }
    }

    /// The one address that is dialled for a URL: the first allowed one of those that its name has now.
    pub(crate) async fn address(&self, url: &Url) -> Result<SocketAddr, Refused> {
        let port = url.port_or_known_default().unwrap_or(443);
        let addresses = match url.host() {
            Some(Host::Ipv4(address)) => vec![SocketAddr::new(address.into(), port)],
            Some(Host::Ipv6(address)) => vec![SocketAddr::new(address.into(), port)],
            Some(Host::Domain(name)) => {
                let resolving = (self.resolver)(name.to_owned(), port);
                match timeout(&*self.clock, RESOLVING, resolving).await {
                    Ok(Ok(addresses)) => addresses,
                    _ => return Err(Refused::Unresolved),
                }
            }
            None => Vec::new(),
        };
        if addresses.is_empty() {
            return Err(Refused::Unresolved);
        }
        let mut addresses = addresses.into_iter();
        addresses
            .find(|address| self.outside.allows(address.ip()))
            .ok_or(Refused::Private)
    }

    pub(crate) fn allows_http(&self) -> bool {
        self.outside.http
    }
}

/// Scheme and host of what was given as a URL (promise P10): what stands before `@`, and a webhook's path and query, are its password.
fn shown(text: &str) -> String {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), text),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    scheme
        .chars()
        .take(16)
        .chain(host.chars().take(80))
        .collect()
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard")
            .field("outside", &self.outside)
            .finish_non_exhaustive()
    }
}
