//! An S3 server inside the test's process: s3s-fs over a temporary directory.
//!
//! It verifies signatures, digests and conditions; it has no lifecycle rules, versions, locks or fsync.

use std::{net::SocketAddr, path::PathBuf};

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use s3s_fs::FileSystem;

use crate::{
    Error,
    serving::{Task, listen_on, serve},
    temp_dir,
};

/// Version of s3s-fs that is built in.
pub const VERSION: &str = "0.14.1";

/// The running server. Dropping it ends it and removes what it stored.
#[derive(Debug)]
pub struct S3Server {
    address: SocketAddr,
    directory: tempfile::TempDir,
    _serving: Task,
}

impl S3Server {
    /// The only access key.
    pub const ACCESS_KEY: &str = "moorline-test";
    /// Its secret.
    pub const SECRET_KEY: &str = "moorline-test-secret";
    /// The bucket that exists from the start.
    pub const BUCKET: &str = "recordings";
    /// Any region is accepted; this one is as good as another.
    pub const REGION: &str = "us-east-1";

    /// Listens on 127.0.0.1:0 with one empty bucket.
    ///
    /// # Errors
    /// When no directory or socket can be had.
    pub async fn start() -> Result<Self, Error> {
        Self::start_on(std::net::Ipv4Addr::LOCALHOST.into()).await
    }

    /// The same on a free port of another address: of a network namespace without a way out.
    ///
    /// # Errors
    /// When no directory or socket can be had.
    pub async fn start_on(address: std::net::IpAddr) -> Result<Self, Error> {
        let directory = temp_dir()?;
        std::fs::create_dir(directory.path().join(Self::BUCKET))
            .map_err(|source| Error::io("make the bucket", source))?;
        let files = FileSystem::new(directory.path()).map_err(|error| Error::Refused {
            peer: "s3s-fs",
            message: format!("{error:?}"),
        })?;
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(Self::ACCESS_KEY, Self::SECRET_KEY));
        let service = builder.build();
        let (listener, address) = listen_on(address).await?;
        let serving = serve(listener, move |stream| {
            let service = service.clone();
            async move {
                let _ = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            }
        });
        crate::peer::announce("s3s-fs", VERSION);
        Ok(Self {
            address,
            directory,
            _serving: serving,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://address:port`, for path-style requests.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The file in which the server keeps this object: to look at it, to spoil it, to lose it.
    #[must_use]
    pub fn object_file(&self, key: &str) -> PathBuf {
        self.directory.path().join(Self::BUCKET).join(key)
    }

    /// Turns a bit in the middle of a stored object behind the server's back.
    ///
    /// # Errors
    /// When the object does not exist or is empty.
    pub fn spoil(&self, key: &str) -> Result<(), Error> {
        let failed = |source| Error::io(format!("spoil {key}"), source);
        let file = self.object_file(key);
        let mut bytes = std::fs::read(&file).map_err(failed)?;
        let middle = bytes.len() / 2;
        *bytes
            .get_mut(middle)
            .ok_or_else(|| failed(std::io::ErrorKind::UnexpectedEof.into()))? ^= 1;
        std::fs::write(&file, bytes).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http_call::call;
    use hyper::Method;
    use std::time::Duration;

    #[tokio::test]
    async fn serves_signed_requests_only() {
        let server = S3Server::start().await.unwrap();
        let path = format!("/{}?list-type=2", S3Server::BUCKET);
        let (status, body) = call(
            "s3",
            server.address(),
            Method::GET,
            &path,
            None,
            Duration::from_secs(30),
        )
        .await
        .unwrap();
        assert_eq!(status.as_u16(), 403, "{}", String::from_utf8_lossy(&body));
        assert!(String::from_utf8_lossy(&body).contains("AccessDenied"));
    }

    #[tokio::test]
    async fn spoils_what_it_is_told_to() {
        let server = S3Server::start().await.unwrap();
        std::fs::write(server.object_file("x"), b"abc").unwrap();
        server.spoil("x").unwrap();
        assert_eq!(std::fs::read(server.object_file("x")).unwrap(), b"acc");
        assert!(server.spoil("y").is_err());
    }
}
