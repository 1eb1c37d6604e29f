//! An S3 server inside the test's process: s3s-fs over a temporary directory.
//!
//! It verifies signatures, digests and conditions; it has no lifecycle rules, versions, locks or fsync. Keys come and go while it runs. It speaks
//! plain HTTP, or TLS with a certificate of the tests' own [`authority`].

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use s3s::{
    S3Result,
    auth::{S3Auth, SecretKey},
    s3_error,
    service::{S3Service, S3ServiceBuilder},
};
use s3s_fs::FileSystem;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use crate::{
    Error, authority,
    serving::{Task, listen_on, serve},
    temp_dir,
};

/// Version of s3s-fs that is built in.
pub const VERSION: &str = "0.14.1";

/// The running server. Dropping it ends it and removes what it stored.
#[derive(Debug)]
pub struct S3Server {
    address: SocketAddr,
    scheme: &'static str,
    directory: tempfile::TempDir,
    keys: Keys,
    _serving: Task,
}

/// The keys that are good at this moment, each with its secret and how many requests came with it.
#[derive(Debug, Clone, Default)]
struct Keys(Arc<Mutex<HashMap<String, (SecretKey, u64)>>>);

impl Keys {
    fn good(&self) -> MutexGuard<'_, HashMap<String, (SecretKey, u64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait::async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let mut good = self.good();
        let Some((secret, requests)) = good.get_mut(access_key) else {
            return Err(s3_error!(InvalidAccessKeyId, "there is no such key"));
        };
        *requests += 1;
        Ok(secret.clone())
    }
}

impl S3Server {
    /// The access key that is good from the start.
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
        Self::start_on(Ipv4Addr::LOCALHOST.into()).await
    }

    /// The same on a free port of another address: of a network namespace without a way out.
    ///
    /// # Errors
    /// When no directory or socket can be had.
    pub async fn start_on(address: IpAddr) -> Result<Self, Error> {
        Self::begin(address, None).await
    }

    /// The same on 127.0.0.1 over TLS. `name` is by what it is reached, a DNS name or an address: its certificate of the [`authority`] names that alone.
    ///
    /// # Errors
    /// When no directory, socket or certificate can be had.
    pub async fn start_tls(name: &str) -> Result<Self, Error> {
        let tls = authority::server(name)?;
        Self::begin(Ipv4Addr::LOCALHOST.into(), Some(tls)).await
    }

    async fn begin(address: IpAddr, tls: Option<TlsAcceptor>) -> Result<Self, Error> {
        let directory = temp_dir()?;
        std::fs::create_dir(directory.path().join(Self::BUCKET))
            .map_err(|source| Error::io("make the bucket", source))?;
        let files = FileSystem::new(directory.path()).map_err(|error| Error::Refused {
            peer: "s3s-fs",
            message: format!("{error:?}"),
        })?;
        let mut builder = S3ServiceBuilder::new(files);
        let keys = Keys::default();
        builder.set_auth(keys.clone());
        let service = builder.build();
        let (listener, address) = listen_on(address).await?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let serving = serve(listener, move |stream| {
            let (service, tls) = (service.clone(), tls.clone());
            async move {
                match tls {
                    None => answer(stream, service).await,
                    // Who does not believe it goes.
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            answer(stream, service).await;
                        }
                    }
                }
            }
        });
        crate::peer::announce("s3s-fs", VERSION);
        let server = Self {
            address,
            scheme,
            directory,
            keys,
            _serving: serving,
        };
        server.allow(Self::ACCESS_KEY, Self::SECRET_KEY);
        Ok(server)
    }

    /// From now on this key is good too.
    pub fn allow(&self, access_key: &str, secret_key: &str) {
        let secret = SecretKey::from(secret_key);
        self.keys.good().insert(access_key.to_owned(), (secret, 0));
    }

    /// From now on what is signed with this key is refused, whenever it was signed.
    pub fn revoke(&self, access_key: &str) {
        self.keys.good().remove(access_key);
    }

    /// How many requests came with a key while it was good.
    #[must_use]
    pub fn requests_with(&self, access_key: &str) -> u64 {
        let good = self.keys.good();
        good.get(access_key).map_or(0, |(_, requests)| *requests)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http`, or `https` where it speaks TLS.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        self.scheme
    }

    /// `http://address:port` or `https://address:port`, for path-style requests.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
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

async fn answer(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, service: S3Service) {
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
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
    async fn a_key_is_good_from_its_allowance_to_its_revocation() {
        let server = S3Server::start().await.unwrap();
        let is_good = async |key: &str| server.keys.get_secret_key(key).await.is_ok();
        assert!(is_good(S3Server::ACCESS_KEY).await);
        assert!(!is_good("new").await);
        server.allow("new", "secret");
        assert!(is_good("new").await);
        assert_eq!(server.requests_with("new"), 1);
        server.revoke(S3Server::ACCESS_KEY);
        assert!(!is_good(S3Server::ACCESS_KEY).await);
        assert!(is_good("new").await);
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
