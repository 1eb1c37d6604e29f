//! Clients of the cluster's inside: what pods and the front door use.
//!
//! A [`Dialer`] reaches one Service with a token from a mounted file, which is read again for every request: the kubelet exchanges it long before
//! it expires. The name that TLS verifies is the Service's, whatever address is dialled, because a pod's address may be another's tomorrow.

mod control;
mod door;
mod landings;
mod password;
mod put;
mod relays;
mod sink;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use moorline_base::SharedClock;
use moorline_base::clock::{TimedOut, timeout};
use moorline_core::Masked;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::head::{self, Head, HeadError, Value};
use crate::reread::{self, FileError};
use crate::server::{InvalidService, server_name};
use crate::tls::Trust;

pub use control::{ControlLink, ControlSettings};
pub use door::RelayLandings;
pub use landings::GatewayLandings;
pub use password::mounted_password;
pub use put::StoreTrust;
pub use relays::TicketRelays;
pub use sink::SignedSink;

/// For TCP and TLS together.
const DIAL: Duration = Duration::from_secs(5);
/// For the answer: a request is held for 30 s.
const ANSWER: Duration = Duration::from_secs(40);
/// How often an answer may send on to another replica.
const HOPS: usize = 3;
/// The greatest body of an answer: a presigned URL with a session token of its store.
const LARGEST_ANSWER: usize = 64 * 1024;

pub(crate) type ClientStream = BufReader<tokio_rustls::client::TlsStream<TcpStream>>;

/// How a Service of the cluster's inside is reached.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The Service's name, which its certificate names.
    pub service: String,
    /// Its port.
    pub port: u16,
    /// Where it is dialled instead of by its name's addresses.
    pub address: Option<SocketAddr>,
    /// The file of our token.
    pub token: PathBuf,
}

/// Dials one Service. Clones are the same.
#[derive(Debug, Clone)]
pub struct Dialer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: SharedClock,
    endpoint: Endpoint,
    name: ServerName<'static>,
    trust: Arc<Trust>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error(transparent)]
    Token(#[from] FileError),
    #[error("no address of {0} is known: {1}")]
    Name(String, std::io::Error),
    #[error("{0} does not take the connection: {1}")]
    Connect(SocketAddr, std::io::Error),
    #[error("the connection failed: {0}")]
    Io(#[from] std::io::Error),
    #[error("the answer is not ours: {0}")]
    Head(#[from] HeadError),
    #[error(transparent)]
    Late(#[from] TimedOut),
    #[error("sent on to another replica more than {HOPS} times")]
    Hops,
}

/// A Service does not answer under its name.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Unreached(#[from] DialError);

/// An answer's head: what of it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) reason: String,
    pub(crate) generation: Option<u64>,
    pub(crate) ticket_keys: Option<String>,
    /// How an archiver comes again.
    again: Option<Masked<String>>,
    location: Option<SocketAddr>,
    length: Option<usize>,
}

impl Reply {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, HeadError> {
        let head = Head::parse(bytes)?;
        let number = |name| {
            let text = head.header(name)?;
            text.map(|text| text.parse().map_err(|_| HeadError::Malformed))
                .transpose()
        };
        let location = match head.header("Location")? {
            Some(text) => {
                let address = text
                    .strip_prefix("https://")
                    .and_then(|rest| rest.strip_suffix('/'));
                let address = address.and_then(|address| address.parse().ok());
                Some(address.ok_or(HeadError::Malformed)?)
            }
            None => None,
        };
        Ok(Self {
            status: head.status()?,
            reason: head
                .header("Moorline-Reason")?
                .unwrap_or("-")
                .chars()
                .take(40)
                .collect(),
            generation: number("Moorline-Generation")?,
            ticket_keys: head.header("Moorline-Ticket-Keys")?.map(str::to_owned),
            again: head
                .header("Moorline-Again")?
                .map(|way| Masked::new(way.to_owned())),
            location,
            length: number("Content-Length")?.and_then(|length| usize::try_from(length).ok()),
        })
    }
}

impl Dialer {
    /// A dialer.
    ///
    /// # Errors
    /// [`InvalidService`].
    pub fn new(
        endpoint: Endpoint,
        trust: Arc<Trust>,
        clock: SharedClock,
    ) -> Result<Self, InvalidService> {
        Ok(Self(Arc::new(Inner {
            name: server_name(&endpoint.service)?,
            clock,
            endpoint,
            trust,
        })))
    }

    pub(crate) fn clock(&self) -> &SharedClock {
        &self.0.clock
    }

    /// Whether the Service takes a connection and shows the certificate of its name. Nothing is asked and no token is shown.
    ///
    /// # Errors
    /// [`Unreached`], after a few seconds at the latest.
    pub async fn reaches(&self) -> Result<(), Unreached> {
        self.dial(None).await?;
        Ok(())
    }

    /// The token as it is now. Never printed (P10).
    pub(crate) fn token(&self) -> Result<Masked<String>, FileError> {
        let bytes = reread::read(&self.0.endpoint.token)?;
        let text = String::from_utf8_lossy(&bytes).trim().to_owned();
        if text.is_empty() {
            return Err(FileError::new(&self.0.endpoint.token, "it is empty"));
        }
        Ok(Masked::new(text))
    }

    /// A connection to an address, or to one of the Service's.
    pub(crate) async fn dial(
        &self,
        address: Option<SocketAddr>,
    ) -> Result<ClientStream, DialError> {
        let dialled = async {
            let stream = match address.or(self.0.endpoint.address) {
                Some(address) => connect(address).await?,
                None => self.any().await?,
            };
            stream.set_nodelay(true)?;
            let connector = TlsConnector::from(self.0.trust.client());
            let stream = connector.connect(self.0.name.clone(), stream).await?;
            Ok(BufReader::with_capacity(2 * 1024, stream))
        };
        timeout(&*self.0.clock, DIAL, dialled).await?
    }

    /// The first of the Service's addresses that takes the connection.
    async fn any(&self) -> Result<TcpStream, DialError> {
        let Endpoint { service, port, .. } = &self.0.endpoint;
        let unknown = |error| DialError::Name(service.clone(), error);
        let addresses = tokio::net::lookup_host((service.as_str(), *port))
            .await
            .map_err(unknown)?;
        let mut last = unknown(std::io::ErrorKind::NotFound.into());
        for address in addresses {
            match connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Asks, and goes where the answer sends. `first` is the head's first line without version, `headers` whole lines.
    pub(crate) async fn ask(
        &self,
        first: &str,
        headers: &str,
    ) -> Result<(Reply, ClientStream), DialError> {
        let mut address = None;
        for _ in 0..=HOPS {
            let (reply, stream) = self.ask_at(address, first, headers).await?;
            match (reply.status, reply.location) {
                (307, Some(next)) => address = Some(next),
                _ => return Ok((reply, stream)),
            }
        }
        Err(DialError::Hops)
    }

    async fn ask_at(
        &self,
        address: Option<SocketAddr>,
        first: &str,
        headers: &str,
    ) -> Result<(Reply, ClientStream), DialError> {
        let token = self.token()?;
        let mut stream = self.dial(address).await?;
        let host = Value(&self.0.endpoint.service);
        let text = format!(
            "{first} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\n{headers}\r\n",
            Value(token.reveal())
        );
        let asked = async {
            stream.write_all(text.as_bytes()).await?;
            stream.flush().await?;
            let bytes = head::read(&mut stream).await?;
            Ok::<_, DialError>(Reply::parse(&bytes)?)
        };
        let reply = timeout(&*self.0.clock, ANSWER, asked).await??;
        Ok((reply, stream))
    }
}

impl Dialer {
    /// Posts a small body and returns the answer's. Goes where it is sent by nobody.
    pub(crate) async fn post(
        &self,
        path: &str,
        body: &[u8],
    ) -> Result<(Reply, Vec<u8>), DialError> {
        let token = self.token()?;
        let mut stream = self.dial(None).await?;
        let host = Value(&self.0.endpoint.service);
        let length = body.len();
        let mut bytes = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n",
            Value(token.reveal())
        )
        .into_bytes();
        bytes.extend(body);
        let asked = async {
            stream.write_all(&bytes).await?;
            stream.flush().await?;
            let head = head::read(&mut stream).await?;
            let reply = Reply::parse(&head)?;
            let length = reply.length.filter(|length| *length <= LARGEST_ANSWER);
            let mut body = vec![0; length.ok_or(HeadError::TooLarge)?];
            stream.read_exact(&mut body).await?;
            Ok::<_, DialError>((reply, body))
        };
        timeout(&*self.0.clock, ANSWER, asked).await?
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream, DialError> {
    TcpStream::connect(address)
        .await
        .map_err(|error| DialError::Connect(address, error))
}
