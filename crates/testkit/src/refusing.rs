//! An address at which nobody listens, and that nobody else is given meanwhile: a port that was let go may be another test's a moment later.
//!
//! A program that knows no port 0 may be told it and listen there: it gets it although it is held, as all servers set `SO_REUSEADDR`.

use std::net::SocketAddr;

use tokio::net::TcpSocket;

use crate::Error;

/// Holds a port of 127.0.0.1 and does not listen: who connects is refused as long as nobody does who was told of it.
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
            socket.set_reuseaddr(true)?;
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
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn who_connects_is_refused_until_somebody_listens_who_was_told_of_it() {
        let refusing = Refusing::new().unwrap();
        let refused = TcpStream::connect(refusing.address()).await;
        assert_eq!(
            refused.unwrap_err().kind(),
            std::io::ErrorKind::ConnectionRefused
        );
        let _listener = TcpListener::bind(refusing.address()).await.unwrap();
        TcpStream::connect(refusing.address()).await.unwrap();
    }
}
