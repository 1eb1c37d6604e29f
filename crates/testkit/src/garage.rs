//! Garage: the S3 server that people run at home, and the strictest teacher (it answers 200 to conditions that it ignores, and refuses
//! the SDK's default checksums). AGPL, so only ever a separate process.
//!
//! An optional peer of the long tier: building it takes 10 to 25 minutes (`cargo xtask setup --long`). It cannot listen on port 0, so it
//! runs in a network namespace and is reached through [`Netns::expose`].

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use hyper::Method;

use crate::{
    Error,
    child::{Child, run},
    eventually,
    http_call::call,
    netns::{Exposed, Netns},
    peer, temp_dir,
};

/// Ports inside the namespace, where all are free.
const S3_PORT: u16 = 3900;
const RPC_PORT: u16 = 3901;
const SOON: Duration = Duration::from_secs(30);

/// A running single-node Garage with one bucket. Dropping it ends it and removes what it stored.
#[derive(Debug)]
pub struct Garage {
    exposed: Exposed,
    child: Child,
    version: String,
    _directory: tempfile::TempDir,
}

impl Garage {
    /// The only access key.
    pub const ACCESS_KEY: &str = "GK6d6f6f726c696e65746573740a";
    /// Its secret.
    pub const SECRET_KEY: &str = "6d6f6f726c696e656d6f6f726c696e656d6f6f726c696e656d6f6f726c696e65";
    /// The bucket that exists from the start.
    pub const BUCKET: &str = "recordings";
    /// The only region whose signatures are accepted.
    pub const REGION: &str = "garage";

    /// Starts it.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where it is not built, or no network namespace can be made.
    pub async fn start() -> Result<Self, Error> {
        let program = find()?;
        let netns = Arc::new(Netns::new().await?);
        let directory = temp_dir()?;
        let at = |name: &str| directory.path().join(name).display().to_string();
        let configuration = format!(
            "metadata_dir = \"{}\"\ndata_dir = \"{}\"\ndb_engine = \"sqlite\"\nreplication_factor = 1\n\
             rpc_bind_addr = \"127.0.0.1:{RPC_PORT}\"\nrpc_secret = \"{}\"\n\
             [s3_api]\ns3_region = \"{}\"\napi_bind_addr = \"127.0.0.1:{S3_PORT}\"\nroot_domain = \".s3.garage\"\n",
            at("meta"),
            at("data"),
            Self::SECRET_KEY,
            Self::REGION,
        );
        let file = directory.path().join("garage.toml");
        std::fs::write(&file, configuration)
            .map_err(|source| Error::io("write garage.toml", source))?;

        let mut ask = tokio::process::Command::new(&program);
        ask.arg("--version");
        let answer = run("garage", ask, Duration::from_secs(10)).await?;
        let answer = String::from_utf8_lossy(&answer.stdout).into_owned();
        // `garage cargo:2.5.0 [features: …]`, or `garage v2.5.0 […]` where it was built from a checkout.
        let word = answer.split_whitespace().nth(1).unwrap_or_default();
        let version = word
            .trim_start_matches("cargo:")
            .trim_start_matches('v')
            .to_owned();
        peer::announce("garage", &version);

        let mut command = netns.command(&program);
        command
            .arg("-c")
            .arg(&file)
            .args(["server", "--single-node", "--default-bucket"])
            .env("GARAGE_DEFAULT_ACCESS_KEY", Self::ACCESS_KEY)
            .env("GARAGE_DEFAULT_SECRET_KEY", Self::SECRET_KEY)
            .env("GARAGE_DEFAULT_BUCKET", Self::BUCKET)
            .env("RUST_LOG", "garage=info");
        let child = Child::spawn("garage", command)?;
        child.wait_for_line("S3 API server listening", SOON).await?;
        let exposed = netns
            .expose(SocketAddr::from(([127, 0, 0, 1], S3_PORT)))
            .await?;
        // It says that it listens a moment before it does.
        eventually("Garage answers", SOON, || async {
            let asked = call("garage", exposed.address, Method::GET, "/", None, SOON);
            asked.await.ok()
        })
        .await;
        Ok(Self {
            exposed,
            child,
            version,
            _directory: directory,
        })
    }

    /// Where it is reached.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.exposed.address
    }

    /// `http://127.0.0.1:port`, for path-style requests.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.exposed.address)
    }

    /// `2.5.0`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Its process, to freeze or to kill.
    #[must_use]
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }
}

/// What `cargo xtask setup --long` built, or one on the `PATH`.
fn find() -> Result<PathBuf, Error> {
    let built = peer::directory()?.join("cargo/bin/garage");
    if built.is_file() {
        return Ok(built);
    }
    peer::locate("garage").ok_or_else(|| Error::Unavailable {
        peer: "garage",
        reason: "it is not built (cargo xtask setup --long)".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::or_skip;

    #[tokio::test]
    #[ignore = "long: Garage has to be built first"]
    async fn answers_and_demands_a_signature() {
        let Some(mut garage) = or_skip(Garage::start().await) else {
            return;
        };
        let path = format!("/{}?list-type=2", Garage::BUCKET);
        let (status, body) = call("garage", garage.address(), Method::GET, &path, None, SOON)
            .await
            .unwrap();
        assert_eq!(status.as_u16(), 403, "{}", String::from_utf8_lossy(&body));
        assert!(
            garage
                .version()
                .starts_with(|first: char| first.is_ascii_digit()),
            "{}",
            garage.version()
        );
        assert!(garage.child().pid().is_some());
    }
}
