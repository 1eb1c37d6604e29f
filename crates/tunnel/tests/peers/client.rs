//! A client of our own (russh), logged in over a connection that can be cut.

use std::net::SocketAddr;
use std::sync::Arc;

use moorline_core::port::ByteStream;
use moorline_testkit::patience;
use moorline_tunnel::keyfile::PrivateKey;
use russh::client::{self, ChannelOpenHandle, Handle, Msg};
use russh::keys::agent::AgentIdentity;
use russh::keys::{HashAlg, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{Channel, SendError, Signer};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::support::{Rig, SOON};

pub(crate) struct Opened(mpsc::Sender<(Channel<Msg>, ChannelOpenHandle)>);

impl client::Handler for Opened {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        channel: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), russh::Error> {
        // Full: the reply is dropped, which refuses the channel.
        let _ = self.0.try_send((channel, reply));
        Ok(())
    }
}

/// Who knows a public key, and not its other half.
struct PublicHalf;

#[derive(Debug)]
enum Unsigned {
    Asked,
    Gone,
}

impl From<SendError> for Unsigned {
    fn from(_: SendError) -> Self {
        Unsigned::Gone
    }
}

impl Signer for PublicHalf {
    type Error = Unsigned;

    async fn auth_sign(
        &mut self,
        _: &AgentIdentity,
        _: Option<HashAlg>,
        _: Vec<u8>,
    ) -> Result<Vec<u8>, Unsigned> {
        Err(Unsigned::Asked)
    }
}

/// Offers the public half of a key alone. Whether the server asks for a signature by the other.
pub(crate) async fn offer_public(rig: &Rig, key: &PrivateKey, user: &str) -> bool {
    let socket = TcpStream::connect(rig.address).await.unwrap();
    let (sender, _opened) = mpsc::channel(1);
    let config = Arc::new(client::Config::default());
    let mut handle = client::connect_stream(config, socket, Opened(sender))
        .await
        .unwrap();
    let text = key.to_openssh().unwrap();
    let key = russh::keys::decode_secret_key(text.expose(), None).unwrap();
    let public = key.public_key().clone();
    let mut signer = PublicHalf;
    let offering = handle.authenticate_publickey_with(user, public, None, &mut signer);
    let result = tokio::time::timeout(patience(SOON), offering)
        .await
        .expect("an answer in time");
    matches!(result, Err(Unsigned::Asked))
}

/// Shakes hands, proves no key, and asks for signs of life as fast as they are taken, until it is shut out.
pub(crate) async fn flood_keepalives(address: SocketAddr) {
    let socket = TcpStream::connect(address).await.unwrap();
    let (sender, _opened) = mpsc::channel(1);
    let config = Arc::new(client::Config::default());
    let handle = client::connect_stream(config, socket, Opened(sender))
        .await
        .unwrap();
    while handle.send_keepalive(true).await.is_ok() {}
}

/// A logged-in client whose TCP connection can be cut.
pub(crate) struct Client {
    pub(crate) handle: Handle<Opened>,
    opened: mpsc::Receiver<(Channel<Msg>, ChannelOpenHandle)>,
    pub(crate) wire: JoinHandle<()>,
}

impl Client {
    pub(crate) async fn login(rig: &Rig, key: &PrivateKey, user: &str) -> Client {
        Self::login_with(rig, key, user, client::Config::default()).await
    }

    pub(crate) async fn login_with(
        rig: &Rig,
        key: &PrivateKey,
        user: &str,
        config: client::Config,
    ) -> Client {
        Self::connect(rig, key, user, config, false).await
    }

    /// `stubborn`: the socket stays open even when the server has closed its side.
    pub(crate) async fn connect(
        rig: &Rig,
        key: &PrivateKey,
        user: &str,
        config: client::Config,
        stubborn: bool,
    ) -> Client {
        let mut socket = TcpStream::connect(rig.address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        // Ends when the server closes. A client that ends leaves its socket open, so that only its word counts.
        let wire = tokio::spawn(async move {
            let (mut from_client, mut to_client) = tokio::io::split(theirs);
            let (mut from_server, mut to_server) = socket.split();
            let client = async {
                let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = client => {}
                _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
            }
            if stubborn {
                std::future::pending::<()>().await;
            }
        });
        let (sender, opened) = mpsc::channel(64);
        let mut handle = client::connect_stream(Arc::new(config), ours, Opened(sender))
            .await
            .unwrap();
        let text = key.to_openssh().unwrap();
        let key = russh::keys::decode_secret_key(text.expose(), None).unwrap();
        let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
        let result = handle.authenticate_publickey(user, key).await.unwrap();
        assert!(result.success(), "{result:?}");
        Client {
            handle,
            opened,
            wire,
        }
    }

    /// Closes the TCP connection without a word.
    pub(crate) fn cut(&self) {
        self.wire.abort();
    }

    /// Waits until a stream is offered, and leaves it unanswered.
    pub(crate) async fn offers_one(&self) {
        moorline_testkit::eventually("an offered stream", SOON, || async {
            (!self.opened.is_empty()).then_some(())
        })
        .await;
    }

    pub(crate) async fn offered(&mut self) -> (Channel<Msg>, ChannelOpenHandle) {
        tokio::time::timeout(patience(SOON), self.opened.recv())
            .await
            .expect("a channel is offered in time")
            .unwrap()
    }

    /// Accepts the next stream, whenever it comes; waits for ever when none does.
    pub(crate) async fn accept(&mut self) -> Channel<Msg> {
        match self.opened.recv().await {
            Some((channel, reply)) => {
                reply.accept().await;
                channel
            }
            None => std::future::pending().await,
        }
    }

    /// Accepts the stream that `rig` opens.
    pub(crate) async fn stream(&mut self, rig: &Rig) -> (ByteStream, Channel<Msg>) {
        self.stream_of(rig, "yard").await
    }

    /// The same for another camera than `yard`.
    pub(crate) async fn stream_of(
        &mut self,
        rig: &Rig,
        camera: &str,
    ) -> (ByteStream, Channel<Msg>) {
        let accepting = async {
            let (channel, reply) = self.offered().await;
            reply.accept().await;
            channel
        };
        let (stream, channel) = tokio::join!(rig.connect(camera), accepting);
        (stream.unwrap().0, channel)
    }
}
