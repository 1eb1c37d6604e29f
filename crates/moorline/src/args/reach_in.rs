//! The command line of reaching into a camera: its own page, and a picture from it.

use std::net::SocketAddr;

use clap::Args;

use super::NewFile;

/// `moorline camera web`
#[derive(Debug, Args)]
pub struct CameraWeb {
    /// The camera.
    pub camera: String,
    /// Where to listen: an address of loopback; port 0 takes a free one.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:0", value_parser = loopback)]
    pub listen: SocketAddr,
}

/// `moorline camera snapshot`
#[derive(Debug, Args)]
pub struct CameraSnapshot {
    /// The camera.
    pub camera: String,
    /// Where its web server has the picture.
    #[arg(long, value_name = "PATH", default_value = "/snapshot.jpg")]
    pub path: String,
    /// Where it goes.
    #[command(flatten)]
    pub file: NewFile,
}

/// The value of `--listen`: whoever reaches the port reaches the camera's page, so it is never opened to a network (rule S14).
fn loopback(text: &str) -> Result<SocketAddr, &'static str> {
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Ok(address),
        Ok(_) => Err(
            "only an address of this machine's loopback, such as 127.0.0.1:8080: whoever reaches the port reaches the camera's page; \
             from another machine go by ssh -L",
        ),
        Err(_) => Err("write an address and a port, such as 127.0.0.1:8080"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S14.
    #[test]
    fn a_cameras_page_is_opened_on_loopback_alone() {
        for address in ["127.0.0.1:0", "127.0.0.2:8080", "[::1]:8080"] {
            assert_eq!(loopback(address), Ok(address.parse().unwrap()));
        }
        for address in ["0.0.0.0:0", "[::]:0", "192.0.2.7:8080"] {
            assert!(loopback(address).unwrap_err().contains("ssh -L"));
        }
        assert!(loopback("8080").is_err());
    }
}
