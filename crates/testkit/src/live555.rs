//! live555's own tools, from Debian sid. Nothing is installed on the system.
//!
//! Debian 12's packages are years behind what cameras and clients of today run, so the newest is fetched (`debian`): it costs 17 MB of lists
//! and 7 MB of packages once. An optional peer.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::Command,
};

use crate::{
    Error,
    child::Child,
    debian::{Unpacked, Wanted},
    netns::Netns,
    patience,
};

const TOOLS: Wanted = Wanted {
    peer: "live555",
    suite: "sid",
    package: "livemedia-utils",
    program: "openRTSP",
};

/// The unpacked tools.
#[derive(Debug, Clone)]
pub struct Live555(Unpacked);

impl Live555 {
    /// The tools, from the cache or fetched now. Tests that ask at once wait for one fetch.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when they cannot be fetched here.
    pub async fn get() -> Result<Self, Error> {
        TOOLS.get().await.map(Self)
    }

    /// The version of the package: `2026.10.24-2`.
    #[must_use]
    pub fn version(&self) -> &str {
        self.0.version()
    }

    /// A command that runs `program` (`openRTSP`, `live555ProxyServer`, `live555MediaServer`) here.
    ///
    /// The servers listen on all interfaces: run them by [`Live555::command_in`].
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        self.0.command(program)
    }

    /// A command that runs `program` inside a network namespace.
    #[must_use]
    pub fn command_in(&self, netns: &Netns, program: &str) -> Command {
        self.0.arguments(netns.command(self.0.loader()), program)
    }

    /// Starts live555's proxy for one source, inside a namespace. It reads over TCP (`-t`): a source that refuses UDP it describes, and then
    /// gives no picture for ever.
    ///
    /// # Errors
    /// When it does not say within 30 s where it serves, or has no description of the source 20 s later.
    pub async fn proxy(&self, netns: &Netns, source: &str) -> Result<LiveProxy, Error> {
        let mut command = self.command_in(netns, "live555ProxyServer");
        command.arg("-t").arg(source);
        let child = Child::spawn("live555ProxyServer", command)?;
        let url = child
            .wait_for_after(0, "its URL", Duration::from_secs(30), |line| {
                line.split_once("Play this stream using the URL: ")
                    .map(|(_, url)| url.trim().to_owned())
            })
            .await?;
        // It names the address of an interface, or 0.0.0.0 where there is only `lo`; the port stands there unless it is RTSP's own.
        let authority = url.trim_start_matches("rtsp://");
        let (authority, path) = authority.split_once('/').unwrap_or((authority, ""));
        let port = authority
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok())
            .unwrap_or(554);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let proxy = LiveProxy {
            child,
            address,
            path: format!("/{path}"),
        };
        // It answers 404 until it has the description of its source.
        let deadline = patience(Duration::from_secs(20));
        let described = async {
            while !describes(netns, &proxy).await.unwrap_or(false) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        match tokio::time::timeout(deadline, described).await {
            Ok(()) => Ok(proxy),
            Err(_) => Err(Error::Timeout {
                what: format!("live555ProxyServer's description of {source}"),
                patience: deadline,
                detail: proxy.child.tail(),
            }),
        }
    }
}

/// A running live555ProxyServer, inside the namespace in which it was started.
#[derive(Debug)]
pub struct LiveProxy {
    /// Its process.
    pub child: Child,
    /// Where it listens, inside.
    pub address: SocketAddr,
    /// The path of its one stream.
    pub path: String,
}

impl LiveProxy {
    /// The stream's URL, for clients inside.
    #[must_use]
    pub fn url(&self) -> String {
        format!("rtsp://{}{}", self.address, self.path)
    }
}

/// Whether the proxy answers 200 to DESCRIBE.
async fn describes(netns: &Netns, proxy: &LiveProxy) -> Result<bool, Error> {
    let mut stream = netns.connect(proxy.address).await?;
    let request = format!(
        "DESCRIBE {} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n",
        proxy.url()
    );
    let failed = |source| Error::io("ask live555ProxyServer", source);
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.map_err(failed)?;
    Ok(answer == b"RTSP/1.0 200")
}

#[cfg(test)]
mod tests;
