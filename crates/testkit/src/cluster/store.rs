//! A bucket that pods and the test both reach.

use super::Cluster;
use crate::{Error, s3::S3Server};

/// A bucket: on a server of the test's own in the lab, or the one that the caller of `cargo xtask test --cluster --kubeconfig` named.
#[derive(Debug)]
pub struct Store {
    /// URL for path-style requests, from pods and from the test.
    pub endpoint: String,
    /// The bucket.
    pub bucket: String,
    /// Its region.
    pub region: String,
    /// The access key.
    pub access_key: String,
    /// Its secret.
    pub secret_key: String,
    /// The server, where it is the test's own: to look into it, to spoil it.
    pub server: Option<S3Server>,
}

impl Cluster {
    /// A bucket. In the lab it is empty and ends with the value.
    ///
    /// # Errors
    /// [`Error::Unavailable`] on a cluster of the caller's own, as [`Store::named`].
    pub async fn store(&self) -> Result<Store, Error> {
        if let Ok(lab) = self.lab() {
            let server = S3Server::start_on(lab.host().into()).await?;
            return Ok(Store {
                endpoint: server.endpoint(),
                bucket: S3Server::BUCKET.to_owned(),
                region: S3Server::REGION.to_owned(),
                access_key: S3Server::ACCESS_KEY.to_owned(),
                secret_key: S3Server::SECRET_KEY.to_owned(),
                server: Some(server),
            });
        }
        Store::named()
    }
}

impl Store {
    /// The bucket that the caller of `cargo xtask test --cluster --kubeconfig` named.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without `MOORLINE_CLUSTER_S3_ENDPOINT`, `…_BUCKET`, `…_REGION`, `…_ACCESS_KEY` and `…_SECRET_KEY`.
    pub fn named() -> Result<Self, Error> {
        let setting = |name: &str| {
            let name = format!("MOORLINE_CLUSTER_S3_{name}");
            std::env::var(&name).map_err(|_| Error::Unavailable {
                peer: "a bucket",
                reason: format!("{name} is not set"),
            })
        };
        Ok(Self {
            endpoint: setting("ENDPOINT")?,
            bucket: setting("BUCKET")?,
            region: setting("REGION")?,
            access_key: setting("ACCESS_KEY")?,
            secret_key: setting("SECRET_KEY")?,
            server: None,
        })
    }
}
