//! One session: connect, prove the key, ask for the forward, serve what comes through it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use moorline_control::{AgentLine, LineSplitter, ServerLine};
use russh::client::{self, AuthResult, ChannelOpenHandle, Msg, Session};
use russh::keys::{Algorithm, EcdsaCurve, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{
    Channel, ChannelMsg, ChannelOpenFailure, Preferred, Sig, SshId, cipher, compression, kex, mac,
};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::wire::{Switch, Wire};
use super::{HangUp, KnownHosts, Order, TunnelConfig, TunnelError, TunnelState};
use crate::fault::Fault;
use crate::source::Source;

/// From the first SYN to a granted forward, each step.
const STEP: Duration = Duration::from_secs(20);
/// How long a hang-up may take before the socket is closed: the server ends the session itself.
const FAREWELL: Duration = Duration::from_secs(5);
/// dropbear sends no more in a packet.
const PACKET: u32 = 16_384;

struct Client {
    known_hosts: KnownHosts,
    source: Source,
}

impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        key: &PublicKeyOrCertificate,
    ) -> Result<bool, russh::Error> {
        Ok(match key {
            PublicKeyOrCertificate::PublicKey { key, .. } => self.known_hosts.accepts(key),
            PublicKeyOrCertificate::Certificate(_) => false,
        })
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        channel: Channel<Msg>,
        _address: &str,
        _port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        if self.source.faults().is_on(Fault::Refuse) {
            reply.reject(ChannelOpenFailure::ConnectFailed).await;
        } else {
            reply.accept().await;
            self.source.serve(channel.into_stream());
        }
        Ok(())
    }
}

/// How a session ended that was up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The server, or the network, or [`Order::Kill`].
    Lost,
    /// We hung up.
    HungUp,
    /// The tunnel is being stopped.
    Stopped,
}

/// A session of russh. Its handle is a future that must not be asked again once it has answered.
struct Running {
    handle: client::Handle<Client>,
    over: bool,
}

impl Running {
    /// Waits for the end of the session's task.
    async fn end(&mut self) {
        if !self.over {
            // How it ended is of no interest: the caller calls again.
            let _ = (&mut self.handle).await;
            self.over = true;
        }
    }
}

/// What a dbclient of 2020.81 or later chooses first, with the strict key exchange of 2024.84.
const PREFERRED: Preferred = Preferred {
    kex: Cow::Borrowed(&[
        kex::CURVE25519,
        kex::CURVE25519_PRE_RFC_8731,
        kex::EXTENSION_SUPPORT_AS_CLIENT,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
    ]),
    key: Cow::Borrowed(&[
        Algorithm::Ed25519,
        Algorithm::Ecdsa {
            curve: EcdsaCurve::NistP256,
        },
    ]),
    cipher: Cow::Borrowed(&[
        cipher::CHACHA20_POLY1305,
        cipher::AES_128_CTR,
        cipher::AES_256_CTR,
    ]),
    mac: Cow::Borrowed(&[mac::HMAC_SHA256]),
    compression: Cow::Borrowed(&[compression::NONE]),
    host_key_certificates: Cow::Borrowed(&[]),
};

fn russh_config(config: &TunnelConfig) -> client::Config {
    client::Config {
        client_id: SshId::Standard("SSH-2.0-moorline_simcam".into()),
        window_size: config.window,
        maximum_packet_size: PACKET,
        channel_buffer_size: 16,
        keepalive_interval: Some(config.keepalive),
        keepalive_max: 3,
        nodelay: true,
        preferred: PREFERRED,
        ..client::Config::default()
    }
}

/// Runs one session to its end. Whatever happens, its socket is closed when this returns.
pub(super) async fn once(
    config: &TunnelConfig,
    source: &Source,
    state: &watch::Sender<TunnelState>,
    orders: &mut mpsc::Receiver<Order>,
    stop: &CancellationToken,
) -> Result<Ended, TunnelError> {
    let switch = Switch::default();
    let opening = open(config, source, &switch);
    let opened = tokio::select! {
        biased;
        () = stop.cancelled() => return Ok(Ended::Stopped),
        opened = opening => opened,
    };
    let (mut session, ports) = match opened {
        Ok((handle, ports)) => (
            Running {
                handle,
                over: false,
            },
            ports,
        ),
        Err(error) => {
            switch.cut();
            return Err(error);
        }
    };
    let monitor = match config.monitor {
        true => monitor(&session.handle).await,
        false => Ok(None),
    };
    let ended = match monitor {
        Ok(mut monitor) => {
            // Orders are for a session that is up.
            while orders.try_recv().is_ok() {}
            state.send_replace(TunnelState::Up { ports });
            // Stopped, it is cut without a word, as dbclient is by TERM (docs/design/tunnel.md).
            tokio::select! {
                biased;
                () = stop.cancelled() => Ended::Stopped,
                ended = live(&mut session, &mut monitor, &switch, orders) => ended,
            }
        }
        Err(error) => {
            switch.cut();
            let _ = timeout(FAREWELL, session.end()).await;
            return Err(error);
        }
    };
    switch.cut();
    let _ = timeout(FAREWELL, session.end()).await;
    Ok(ended)
}

async fn open(
    config: &TunnelConfig,
    source: &Source,
    switch: &Switch,
) -> Result<(client::Handle<Client>, Vec<u32>), TunnelError> {
    let late = |_| TunnelError::Late;
    let socket = timeout(STEP, TcpStream::connect(config.server))
        .await
        .map_err(late)?
        .map_err(TunnelError::Connect)?;
    // Refused only on a connection that is already gone: its first read will tell.
    let _ = socket.set_nodelay(true);
    let client = Client {
        known_hosts: config.known_hosts.clone(),
        source: source.clone(),
    };
    let wire = Wire::new(socket, switch.clone());
    let connecting = client::connect_stream(Arc::new(russh_config(config)), wire, client);
    let mut handle = timeout(STEP, connecting).await.map_err(late)??;
    let key = PrivateKeyWithHashAlg::new(Arc::new(config.key.private()), None);
    match timeout(STEP, handle.authenticate_publickey(&config.user, key))
        .await
        .map_err(late)??
    {
        AuthResult::Success => {}
        AuthResult::Failure { .. } => return Err(TunnelError::Refused),
    }
    let mut ports = Vec::new();
    for (address, port) in &config.forwards {
        let granted = timeout(STEP, handle.tcpip_forward(address, *port))
            .await
            .map_err(late)??;
        ports.push(if *port == 0 { granted } else { *port });
    }
    Ok((handle, ports))
}

type Monitor = Option<(Channel<Msg>, LineSplitter)>;

async fn monitor(handle: &client::Handle<Client>) -> Result<Monitor, TunnelError> {
    let late = |_| TunnelError::Late;
    let channel = timeout(STEP, handle.channel_open_session())
        .await
        .map_err(late)??;
    timeout(STEP, channel.request_shell(false))
        .await
        .map_err(late)??;
    Ok(Some((channel, LineSplitter::new())))
}

/// Serves until the session ends or an order ends it.
async fn live(
    session: &mut Running,
    monitor: &mut Monitor,
    switch: &Switch,
    orders: &mut mpsc::Receiver<Order>,
) -> Ended {
    loop {
        tokio::select! {
            biased;
            order = orders.recv() => match order {
                None | Some(Order::Kill) => return Ended::Lost,
                Some(Order::Freeze) => switch.freeze(),
                Some(Order::Thaw) => switch.thaw(),
                Some(Order::HangUp(how)) => {
                    say_goodbye(session, monitor, how).await;
                    return Ended::HungUp;
                }
                Some(Order::Say(line)) => {
                    if let Some((channel, _)) = monitor {
                        say(channel, &line).await;
                    }
                }
            },
            message = next(monitor) => match message {
                Some(ChannelMsg::Data { data }) => answer(monitor, &data).await,
                Some(ChannelMsg::Close) | None => *monitor = None,
                Some(_) => {}
            },
            () = session.end() => return Ended::Lost,
        }
    }
}

async fn next(monitor: &mut Monitor) -> Option<ChannelMsg> {
    match monitor {
        Some((channel, _)) => channel.wait().await,
        None => std::future::pending().await,
    }
}

/// Answers PINGs; whatever else the server says is not for a camera that only films.
async fn answer(monitor: &mut Monitor, data: &Bytes) {
    let Some((channel, lines)) = monitor else {
        return;
    };
    let mut pongs = Vec::new();
    lines.push(data, |line| {
        if let Ok(ServerLine::Ping(number)) = ServerLine::parse(line) {
            pongs.push(AgentLine::Pong(number).to_string());
        }
    });
    for pong in pongs {
        say(channel, &pong).await;
    }
}

async fn say(channel: &Channel<Msg>, line: &str) {
    // A server that takes no line for so long is gone; its session ends by the keepalive.
    let _ = timeout(STEP, channel.data_bytes(format!("{line}\n").into_bytes())).await;
}

async fn say_goodbye(session: &mut Running, monitor: &mut Monitor, how: HangUp) {
    let Some((channel, _)) = monitor else {
        return;
    };
    match how {
        HangUp::Bye => say(channel, &AgentLine::Bye.to_string()).await,
        HangUp::Signal => {
            let _ = timeout(STEP, channel.signal(Sig::HUP)).await;
        }
        HangUp::Close => {
            let _ = timeout(STEP, channel.close()).await;
        }
    }
    // The server ends the session: a hang-up that we would cut could look like a loss.
    let _ = timeout(FAREWELL, session.end()).await;
}
