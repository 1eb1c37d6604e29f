//! An S3 bucket as the segment store.
//!
//! Owns: the client, its settings ([`S3Config`]), what a foreign error means, and the behaviour of the endpoint ([`EndpointProfile`]).
//! Does not own: repetition. The SDK's retries are off: the archiver has the back-off and the circuit breaker, and counts attempts.
//!
//! aws-sdk-s3's defaults send a checksum trailer that Garage answers with 400 and others answer with other errors; so checksums are
//! sent and checked only where an operation requires them, and a put carries exactly one digest that we computed ourselves.

mod authority;
mod bounded;
mod client;
mod config;
mod crc32c;
mod error;
mod listing;
mod outside;
mod presign;
mod probe;
mod put;

use std::ops::Range;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use bytes::Bytes;
use moorline_base::{Secret, SharedClock, clock};
use moorline_core::outside::Outside;
use moorline_core::port::{Page, SealedFile, SegmentSink, SegmentStore, StoreError};
use moorline_core::segment::{GapKey, Retention, Tier};
use moorline_core::{CameraId, Timestamp};

pub use authority::check_authority;
pub use config::{Digest, InvalidS3Config, S3Config, Verify};
pub use presign::{EXPIRES, FindStore, TenantPuts, TenantStore};
pub use probe::{EndpointProfile, Problem};

use crate::key_path::{components, folders};
use crate::newest::{Folders, last_end};
use crate::sweep::{self, Pace, Whose};
use crate::verify::{Digests, Markers};
use crate::{MARKER, MAX_RANGE, PAGE, deadline};
use error::stored;

/// A bucket that holds the archive.
#[derive(Debug, Clone)]
pub struct S3Store {
    /// Exchanged where the key is.
    client: Arc<RwLock<Client>>,
    anonymous: Client,
    config: Arc<S3Config>,
    profile: Arc<OnceLock<EndpointProfile>>,
    clock: SharedClock,
}

impl S3Store {
    /// A client of that bucket. Speaks to nobody yet: [`S3Store::probe`] does.
    ///
    /// # Errors
    /// [`InvalidS3Config`] with the field, the value and what would be right (P11).
    pub fn new(config: S3Config, clock: SharedClock) -> Result<Self, InvalidS3Config> {
        Self::with(config, None, clock)
    }

    /// A client of a tenant's own bucket (rule S17): its endpoint is one that `outside` allows, each name is resolved once per connection, and
    /// no address is dialled but an allowed one.
    ///
    /// # Errors
    /// As [`S3Store::new`].
    pub fn of_tenant(
        config: S3Config,
        outside: &Outside,
        clock: SharedClock,
    ) -> Result<Self, InvalidS3Config> {
        if let Some(endpoint) = &config.endpoint {
            outside.check(endpoint).map_err(|right| InvalidS3Config {
                field: "endpoint",
                value: endpoint.clone(),
                right,
            })?;
        }
        Self::with(config, Some(outside), clock)
    }

    fn with(
        config: S3Config,
        outside: Option<&Outside>,
        clock: SharedClock,
    ) -> Result<Self, InvalidS3Config> {
        config.check()?;
        Ok(Self {
            client: Arc::new(RwLock::new(client::signed(&config, outside))),
            anonymous: client::anonymous(&config, outside),
            config: Arc::new(config),
            profile: Arc::new(OnceLock::new()),
            clock,
        })
    }

    fn client(&self) -> Client {
        let client = self.client.read().unwrap_or_else(PoisonError::into_inner);
        client.clone()
    }

    /// From now on this store and its clones sign with another key, if that may list the bucket. Requests that are under way end with the old one.
    ///
    /// # Errors
    /// [`StoreError`]: the new key does not work, and the old one stays in use.
    pub async fn change_key(
        &self,
        access_key: &str,
        secret_key: &Secret<String>,
    ) -> Result<(), StoreError> {
        let client = client::with_key(&self.client(), access_key, secret_key);
        let tried = client::list(&client, &self.config.bucket, "v1/", "", 1);
        self.within(deadline::CALL, tried).await?;
        *self.client.write().unwrap_or_else(PoisonError::into_inner) = client;
        Ok(())
    }

    /// The bucket's name.
    pub fn bucket(&self) -> &str {
        &self.config.bucket
    }

    /// The authority (PEM) that is believed beside the public ones.
    pub fn authority(&self) -> Option<&str> {
        self.config.authority.as_deref()
    }

    /// What the probe found, once it has run.
    pub fn profile(&self) -> Option<&EndpointProfile> {
        self.profile.get()
    }

    /// Tries under `.probe/` what the endpoint can do, leaves nothing there, and remembers it for the acknowledgement of puts.
    ///
    /// # Errors
    /// [`StoreError`] if the bucket cannot be written and read at all; no profile is remembered then.
    pub async fn probe(&self) -> Result<EndpointProfile, StoreError> {
        let profile = probe::run(self).await?;
        // Puts go by the first profile of a process; later ones are for the eyes of whoever asked.
        self.profile.get_or_init(|| profile.clone());
        Ok(profile)
    }

    /// As [`S3Store::probe`], for a key that may put, head and list and nothing else, as a signer has it: what it cannot try counts as good. Under one
    /// key, since nothing of it can be deleted.
    ///
    /// # Errors
    /// [`StoreError`] if the bucket cannot be written; no profile is remembered then.
    pub async fn probe_puts(&self) -> Result<EndpointProfile, StoreError> {
        let profile = probe::puts(self).await?;
        self.profile.get_or_init(|| profile.clone());
        Ok(profile)
    }

    /// Deletes all recordings of a camera or a tenant, and looks whether they are gone. Idempotent; returns how many objects went.
    ///
    /// # Errors
    /// The first [`StoreError`]; what was deleted stays deleted.
    pub async fn erase(&self, whose: &Whose, pace: &Pace) -> Result<u64, StoreError> {
        sweep::erase(self, whose, pace).await
    }

    /// Stores a few bytes, such as a gap marker that was not in a spool. Overwrites.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn put_bytes(&self, key: &str, content: Bytes) -> Result<(), StoreError> {
        components(key)?;
        put::bytes(self, key, content).await
    }

    async fn within<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        match clock::timeout(&*self.clock, limit, call).await {
            Ok(result) => result,
            Err(late) => Err(StoreError::Unavailable(late.to_string())),
        }
    }

    async fn head_object(&self, key: &str) -> Result<Head, StoreError> {
        components(key)?;
        let request = self
            .client()
            .head_object()
            .bucket(&self.config.bucket)
            .key(key);
        self.within(deadline::CALL, async {
            let answer = request.send().await.map_err(|cause| stored(key, &cause))?;
            let bytes = answer
                .content_length()
                .and_then(|length| u64::try_from(length).ok());
            Ok(Head {
                bytes: bytes
                    .ok_or_else(|| StoreError::Unavailable("HEAD without a length".to_owned()))?,
                etag_md5: put::md5_of_etag(answer.e_tag()),
                signed_md5: presign::signed_md5(answer.metadata()),
            })
        })
        .await
    }
}

struct Head {
    bytes: u64,
    etag_md5: Option<[u8; 16]>,
    /// What a signed put left as metadata.
    signed_md5: Option<[u8; 16]>,
}

#[async_trait]
impl SegmentStore for S3Store {
    async fn list(&self, prefix: &str, after: &str) -> Result<Page, StoreError> {
        folders(prefix)?;
        self.within(
            deadline::CALL,
            client::list(&self.client(), &self.config.bucket, prefix, after, PAGE),
        )
        .await
    }

    async fn get(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        components(key)?;
        let wanted = range.end.saturating_sub(range.start);
        if wanted > MAX_RANGE {
            return Err(StoreError::Refused(
                "more than 64 MiB in one read".to_owned(),
            ));
        }
        if wanted == 0 {
            return self.head(key).await.map(|_| Bytes::new());
        }
        let (client, bucket) = (self.client(), &self.config.bucket);
        self.within(deadline::CALL, client::get(&client, bucket, key, range))
            .await
    }

    async fn head(&self, key: &str) -> Result<u64, StoreError> {
        self.head_object(key).await.map(|head| head.bytes)
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        components(key)?;
        let request = self
            .client()
            .delete_object()
            .bucket(&self.config.bucket)
            .key(key);
        self.within(deadline::CALL, async {
            match request.send().await.map_err(|cause| stored(key, &cause)) {
                Ok(_) | Err(StoreError::Missing(_)) => Ok(()),
                Err(cause) => Err(cause),
            }
        })
        .await
    }

    async fn copy(&self, from: &str, to: &str) -> Result<(), StoreError> {
        components(from)?;
        components(to)?;
        let source = client::copy_source(&self.config.bucket, from);
        let request = self.client().copy_object().bucket(&self.config.bucket);
        self.within(deadline::CALL, async {
            let sent = request.copy_source(source).key(to).send().await;
            sent.map(|_| ()).map_err(|cause| stored(from, &cause))
        })
        .await
    }
}

#[async_trait]
impl Folders for S3Store {
    async fn folders(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let (client, bucket) = (self.client(), &self.config.bucket);
        self.within(deadline::CALL, client::folders(&client, bucket, prefix))
            .await
    }
}

#[async_trait]
impl Markers for S3Store {
    async fn mark(&self, gap: &GapKey) -> Result<(), StoreError> {
        self.put_bytes(&gap.to_string(), MARKER).await
    }
}

#[async_trait]
impl Digests for S3Store {
    /// As the ETag tells it: `None` before the probe has seen that it is the MD5.
    async fn md5(&self, key: &str) -> Result<Option<[u8; 16]>, StoreError> {
        let head = self.head_object(key).await?;
        let told = self.profile().is_some_and(|profile| profile.etag_is_md5);
        Ok(head.etag_md5.filter(|_| told))
    }
}

#[async_trait]
impl SegmentSink for S3Store {
    async fn put(&self, file: &SealedFile) -> Result<(), StoreError> {
        put::sealed(self, file).await
    }

    fn wants_md5(&self) -> bool {
        true
    }

    async fn last_end(
        &self,
        camera: &CameraId,
        classes: &[Retention],
        tier: Tier,
    ) -> Result<Option<Timestamp>, StoreError> {
        last_end(self, camera, classes, tier).await
    }
}
