//! Network namespaces of our own: for peers that listen on all interfaces whatever one tells them.
//!
//! A namespace has nothing but `lo`. Programs run in it through [`Netns::command`]; the test itself stays outside and reaches in with
//! sockets that are *made* inside ([`Netns::connect`], [`Netns::listen`]): a socket stays in the namespace in which it was made.
//! The namespace ends with the processes and sockets in it. Needs root.

use std::{
    net::{IpAddr, SocketAddr},
    os::fd::AsFd as _,
    sync::Arc,
    time::Duration,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::{
    net::{TcpListener, TcpStream, UdpSocket},
    process::Command,
};

use crate::{
    Error,
    child::{self, Child},
    serving::{Task, loopback, serve},
};

/// A namespace, held by a sleeping process.
#[derive(Debug)]
pub struct Netns {
    holder: Child,
    pid: u32,
}

impl Netns {
    /// Makes one with `lo` up.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without root, or where the kernel or a container forbids it.
    pub async fn new() -> Result<Self, Error> {
        let unavailable = |reason: String| Error::Unavailable {
            peer: "a network namespace",
            reason,
        };
        let mut command = Command::new("unshare");
        command.args([
            "--net",
            "--",
            "sh",
            "-c",
            "ip link set lo up && echo up && exec sleep 2147483647",
        ]);
        let holder =
            Child::spawn("unshare", command).map_err(|error| unavailable(error.to_string()))?;
        holder
            .wait_for_line("up", Duration::from_secs(30))
            .await
            .map_err(|error| unavailable(error.to_string()))?;
        let pid = holder
            .pid()
            .ok_or_else(|| unavailable("its holder ended".to_owned()))?;
        Ok(Self { holder, pid })
    }

    /// A command that will run inside.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{}/ns/net", self.pid))
            .arg("--")
            .arg(program);
        command
    }

    /// Connects to an address inside.
    ///
    /// # Errors
    /// As connecting does; nothing outside is reached.
    pub async fn connect(&self, address: SocketAddr) -> Result<TcpStream, Error> {
        let stream = self
            .inside(move || std::net::TcpStream::connect_timeout(&address, Duration::from_secs(30)))
            .await?;
        let failed = |source| Error::io("use a socket of a network namespace", source);
        stream.set_nonblocking(true).map_err(failed)?;
        TcpStream::from_std(stream).map_err(failed)
    }

    /// Listens inside on 127.0.0.1, on a free port.
    ///
    /// # Errors
    /// When no socket can be had.
    pub async fn listen(&self) -> Result<(TcpListener, SocketAddr), Error> {
        let listener = self
            .inside(|| std::net::TcpListener::bind(("127.0.0.1", 0)))
            .await?;
        let failed = |source| Error::io("use a socket of a network namespace", source);
        let address = listener.local_addr().map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok((TcpListener::from_std(listener).map_err(failed)?, address))
    }

    /// Gives `lo` a further address: what the namespace takes for another machine.
    ///
    /// # Errors
    /// When `ip` refuses it.
    pub async fn add_address(&self, address: IpAddr) -> Result<(), Error> {
        let mut command = self.command("ip");
        command.args(["address", "add", &address.to_string(), "dev", "lo"]);
        let output = child::run("ip", command, Duration::from_secs(30)).await?;
        if output.status.success() {
            return Ok(());
        }
        Err(Error::Refused {
            peer: "ip",
            message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }

    /// Listens inside on an address. No port is taken but by the test.
    ///
    /// # Errors
    /// When no socket can be had.
    pub async fn listen_at(&self, address: SocketAddr) -> Result<TcpListener, Error> {
        let listener = self
            .inside(move || std::net::TcpListener::bind(address))
            .await?;
        let failed = |source| Error::io("use a socket of a network namespace", source);
        listener.set_nonblocking(true).map_err(failed)?;
        TcpListener::from_std(listener).map_err(failed)
    }

    /// A datagram socket inside.
    ///
    /// # Errors
    /// When no socket can be had.
    pub async fn datagrams(&self, address: SocketAddr) -> Result<UdpSocket, Error> {
        let socket = self
            .inside(move || std::net::UdpSocket::bind(address))
            .await?;
        let failed = |source| Error::io("use a socket of a network namespace", source);
        socket.set_nonblocking(true).map_err(failed)?;
        UdpSocket::from_std(socket).map_err(failed)
    }

    /// Makes `inside`, an address in the namespace, reachable from outside: connections to the returned address of 127.0.0.1 are passed
    /// in. For clients that cannot be started inside, and for servers that know no port 0: in here every port is free.
    ///
    /// # Errors
    /// When no socket can be had.
    pub async fn expose(self: &Arc<Self>, inside: SocketAddr) -> Result<Exposed, Error> {
        let (listener, address) = loopback().await?;
        let netns = Arc::clone(self);
        let serving = serve(listener, move |mut outer| {
            let netns = Arc::clone(&netns);
            async move {
                if let Ok(mut inner) = netns.connect(inside).await {
                    let _ = tokio::io::copy_bidirectional(&mut outer, &mut inner).await;
                }
            }
        });
        Ok(Exposed {
            address,
            _serving: serving,
        })
    }

    /// Whether the process that holds it still runs.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.holder.pid().is_some()
    }

    /// Runs `work` on a thread of its own that has entered the namespace and ends in it: no other thread ever changes its namespace.
    async fn inside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let path = format!("/proc/{}/ns/net", self.pid);
        let (done, result) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let entered = std::fs::File::open(path).and_then(|namespace| {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                    .map_err(Into::into)
            });
            let _ = done.send(entered.and_then(|()| work()));
        });
        match result.await {
            Ok(value) => {
                value.map_err(|source| Error::io("make a socket in a network namespace", source))
            }
            Err(_) => Err(Error::io(
                "make a socket in a network namespace",
                std::io::ErrorKind::Other.into(),
            )),
        }
    }
}

/// An address inside a namespace, reachable from outside as long as this lives.
#[derive(Debug)]
pub struct Exposed {
    /// The address outside.
    pub address: SocketAddr,
    _serving: Task,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{or_skip, refusing::Refusing};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn what_listens_inside_is_reached_from_inside_only() {
        let Some(netns) = or_skip(Netns::new().await) else {
            return;
        };
        // Outside nobody else may be given the same port.
        let outside = Refusing::new().unwrap();
        let address = outside.address();
        let listener = netns.listen_at(address).await.unwrap();
        assert!(
            TcpStream::connect(address).await.is_err(),
            "reached from outside"
        );
        let mut inner = netns.connect(address).await.unwrap();
        let (mut accepted, _) = listener.accept().await.unwrap();
        inner.write_all(b"in").await.unwrap();
        let mut two = [0; 2];
        accepted.read_exact(&mut two).await.unwrap();
        assert_eq!(&two, b"in");
    }

    #[tokio::test]
    async fn an_exposed_server_is_reached_from_outside() {
        let Some(netns) = or_skip(Netns::new().await) else {
            return;
        };
        let netns = Arc::new(netns);
        let (listener, address) = netns.listen().await.unwrap();
        let exposed = netns.expose(address).await.unwrap();
        let mut outer = TcpStream::connect(exposed.address).await.unwrap();
        let (mut inner, _) = listener.accept().await.unwrap();
        inner.write_all(b"out").await.unwrap();
        let mut three = [0; 3];
        outer.read_exact(&mut three).await.unwrap();
        assert_eq!(&three, b"out");
    }

    #[tokio::test]
    async fn programs_inside_see_only_loopback() {
        let Some(netns) = or_skip(Netns::new().await) else {
            return;
        };
        let mut command = netns.command("cat");
        command.arg("/proc/net/dev");
        let output = child::run("cat", command, Duration::from_secs(30))
            .await
            .unwrap();
        let table = String::from_utf8_lossy(&output.stdout).into_owned();
        let names: Vec<_> = table
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, _)| name.trim())
            .collect();
        assert_eq!(names, ["lo"]);
    }
}
