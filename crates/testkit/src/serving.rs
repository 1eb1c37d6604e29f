//! An accept loop that ends, with all its connections, when its value is dropped.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use crate::Error;

/// A task that is aborted when dropped.
#[derive(Debug)]
pub(crate) struct Task(JoinHandle<()>);

impl Task {
    pub(crate) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Listens on 127.0.0.1:0.
pub(crate) async fn loopback() -> Result<(TcpListener, SocketAddr), Error> {
    listen_on(Ipv4Addr::LOCALHOST.into()).await
}

/// Listens on a free port of an address.
pub(crate) async fn listen_on(address: IpAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let listener = TcpListener::bind((address, 0))
        .await
        .map_err(|source| Error::io(format!("listen on {address}"), source))?;
    let address = listener
        .local_addr()
        .map_err(|source| Error::io("read the listener's address", source))?;
    Ok((listener, address))
}

/// Serves every connection in a task of its own. An accept error skips that connection only.
pub(crate) fn serve<F, Fut>(listener: TcpListener, handle: F) -> Task
where
    F: Fn(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    Task::spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                    let _ = stream.set_nodelay(true);
                    connections.spawn(handle(stream));
                },
                Some(_) = connections.join_next() => {}
            }
        }
    })
}
