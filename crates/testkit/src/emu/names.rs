//! Names of the emulated camera: QEMU passes on what is asked at [`super::RESOLVER`] to the name server of its own `/etc/resolv.conf`, which is one
//! of the test's there.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use tokio::{net::UdpSocket, process::Command};

use crate::{Error, child, dns::Dns};

/// A name server that QEMU will ask, and the `resolv.conf` that says so.
pub(super) async fn serve(resolv_conf: &Path) -> Result<Dns, Error> {
    let unavailable = |reason: String| Error::Unavailable {
        peer: "a name server for the emulated camera",
        reason,
    };
    let mut own_mounts = Command::new("unshare");
    own_mounts.args(["-m", "true"]);
    let able = child::run("unshare", own_mounts, Duration::from_secs(10)).await?;
    if !able.status.success() {
        let reason = String::from_utf8_lossy(&able.stderr).trim().to_owned();
        return Err(unavailable(reason));
    }
    // QEMU knows no port but 53: so the address is one of this process alone.
    let address = SocketAddr::from((own_loopback(), 53));
    let socket = std::net::UdpSocket::bind(address).map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::AddrInUse => {
            unavailable(format!("{address}: {error}"))
        }
        _ => Error::io(format!("listen at {address}"), error),
    })?;
    let failed = |source| Error::io("serve names to the emulated camera", source);
    socket.set_nonblocking(true).map_err(failed)?;
    let socket = UdpSocket::from_std(socket).map_err(failed)?;
    let line = format!("nameserver {}\n", address.ip());
    std::fs::write(resolv_conf, line).map_err(failed)?;
    Ok(Dns::serve(socket))
}

/// An address of loopback that no other test uses at this time.
fn own_loopback() -> Ipv4Addr {
    let [_, second, third, fourth] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 | (second & 63), third, fourth)
}

/// A program that sees that file as its `/etc/resolv.conf`. The process that is started becomes the program: its pid stays.
pub(super) fn seeing(resolv_conf: &Path, program: &str) -> Command {
    let mut command = Command::new("unshare");
    let mount = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
    command.args(["-m", "--", "sh", "-c", mount]);
    command.arg(resolv_conf).arg(program);
    command
}
