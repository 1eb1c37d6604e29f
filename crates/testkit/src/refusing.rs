//! An address at which nobody listens, and that nobody else is given meanwhile: a port that was let go may be another test's a moment later.

use std::net::SocketAddr;

use tokio::net::TcpSocket;

use crate::Error;

/// Holds a port of 127.0.0.1 and does not listen: who connects is refused as long as this lives.
#[derive(Debug)]
pub struct Refusing {
    _socket: TcpSocket,
    address: SocketAddr,
}

impl Refusing {
    /// Takes a port.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn new() -> Result<Self, Error> {
        let bound = || -> std::io::Result<(TcpSocket, SocketAddr)> {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
            let address = socket.local_addr()?;
            Ok((socket, address))
        };
        let (socket, address) = bound().map_err(|source| Error::io("hold a port", source))?;
        Ok(Self {
            _socket: socket,
            address,
        })
    }

    /// Where nobody listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_connects_is_refused() {
        let refusing = Refusing::new().unwrap();
        let refused = tokio::net::TcpStream::connect(refusing.address()).await;
        assert_eq!(
            refused.unwrap_err().kind(),
            std::io::ErrorKind::ConnectionRefused
        );
    }
}
