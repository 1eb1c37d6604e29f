//! Puts that others make: the port `PutSigner`, for the signer of a cluster.
//!
//! What is signed is everything that S3 lets a signature fix: the key, `Content-Length`, `Content-MD5`, `Content-Type`, and the digest once more as
//! metadata, so that a HEAD tells it where the ETag is something else (SSE-KMS). The bytes are the holder's affair: the store refuses others.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use moorline_core::id::TenantId;
use moorline_core::port::{
    PortError, PutRequest, PutSigner, SegmentSink as _, SignedPut, StoreError,
};
use moorline_core::segment::{ObjectKey, Retention, Tier};
use moorline_core::{CameraId, Masked, Timestamp};

use super::S3Store;
use super::put::{self, Sum};

/// The metadata that holds the digest: `x-amz-meta-md5`.
const MD5: &str = "md5";
/// How long a signed put is good. The archiver puts at once; a slow uplink needs minutes.
pub const EXPIRES: Duration = Duration::from_secs(3600);

/// A tenant's bucket.
#[derive(Debug, Clone)]
pub struct TenantStore {
    /// The bucket, with the key that may put, head and list. Probed: else an ETag that is no MD5 is taken for one, and no put is confirmed.
    pub store: S3Store,
    /// The tenant's storage id, which stands in keys for the tenant (rule S26).
    pub storage_id: TenantId,
}

/// Finds a tenant's bucket, from memory.
pub type FindStore = Arc<dyn Fn(&TenantId) -> Option<TenantStore> + Send + Sync>;

/// Signs puts to the buckets of all tenants.
#[derive(Clone)]
pub struct TenantPuts {
    find: FindStore,
}

impl fmt::Debug for TenantPuts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantPuts").finish_non_exhaustive()
    }
}

impl TenantPuts {
    /// Signs for the buckets that `find` knows.
    #[must_use]
    pub fn new(find: FindStore) -> Self {
        Self { find }
    }

    fn of(&self, tenant: &TenantId, operation: &'static str) -> Result<TenantStore, PortError> {
        let missing = || PortError::new(operation, format!("tenant {tenant} has no store"));
        (self.find)(tenant).ok_or_else(missing)
    }
}

/// The key as it is stored: with the storage id in the tenant's place.
fn stored_key(key: &ObjectKey, storage_id: &TenantId) -> Result<ObjectKey, PortError> {
    let mut key = key.clone();
    let place = match &mut key {
        ObjectKey::Segment(key) => &mut key.place,
        ObjectKey::Gap(key) => &mut key.place,
    };
    place.camera = stored_camera(&place.camera, storage_id)?;
    Ok(key)
}

fn stored_camera(camera: &CameraId, storage_id: &TenantId) -> Result<CameraId, PortError> {
    let name = camera.name().parse();
    let name = name.map_err(|cause| PortError::new("name a camera in the store", cause))?;
    Ok(CameraId::new(storage_id.clone(), name))
}

#[async_trait]
impl PutSigner for TenantPuts {
    async fn sign_put(&self, request: &PutRequest) -> Result<SignedPut, PortError> {
        let tenant = self.of(request.key.place().camera.tenant(), "sign a put")?;
        let key = stored_key(&request.key, &tenant.storage_id)?;
        tenant
            .store
            .sign(&key.to_string(), request.bytes, request.md5)
            .await
    }

    async fn digest(&self, key: &ObjectKey) -> Result<Option<[u8; 16]>, PortError> {
        let tenant = self.of(key.place().camera.tenant(), "look for an object")?;
        let key = stored_key(key, &tenant.storage_id)?;
        let failed = |cause: StoreError| PortError::new("look for an object", cause);
        match tenant.store.head_object(&key.to_string()).await {
            Ok(head) => head.md5(&tenant.store).map(Some).ok_or_else(|| {
                PortError::new(
                    "look for an object",
                    format!("the store tells no digest of {key}"),
                )
            }),
            Err(StoreError::Missing(_)) => Ok(None),
            Err(cause) => Err(failed(cause)),
        }
    }

    async fn last_end(
        &self,
        camera: &CameraId,
        classes: &[Retention],
        tier: Tier,
    ) -> Result<Option<Timestamp>, PortError> {
        let tenant = self.of(camera.tenant(), "look for the last object")?;
        let stored = stored_camera(camera, &tenant.storage_id)?;
        let found = tenant.store.last_end(&stored, classes, tier).await;
        found.map_err(|cause| PortError::new("look for the last object", cause))
    }
}

impl super::Head {
    /// The digest: the ETag, which tells of the bytes that are stored; where the probe saw that it is none (SSE-KMS), what was signed with the put.
    fn md5(&self, store: &S3Store) -> Option<[u8; 16]> {
        match store.profile() {
            Some(profile) if !profile.etag_is_md5 => self.signed_md5,
            _ => self.etag_md5.or(self.signed_md5),
        }
    }
}

/// The digest that a signed put left.
pub(super) fn signed_md5(metadata: Option<&HashMap<String, String>>) -> Option<[u8; 16]> {
    let mut md5 = [0; 16];
    hex::decode_to_slice(metadata?.get(MD5)?, &mut md5).ok()?;
    Some(md5)
}

impl S3Store {
    async fn sign(&self, key: &str, bytes: u64, md5: [u8; 16]) -> Result<SignedPut, PortError> {
        let failed = |cause: String| PortError::new("sign a put", cause);
        let config =
            PresigningConfig::expires_in(EXPIRES).map_err(|cause| failed(cause.to_string()))?;
        let request = put::request(
            self,
            key,
            ByteStream::from_static(b""),
            bytes,
            Sum::Md5(md5),
        );
        let signed = request
            .metadata(MD5, hex::encode(md5))
            .presigned(config)
            .await;
        let signed = signed.map_err(|cause| failed(cause.to_string()))?;
        let headers = signed.headers();
        Ok(SignedPut {
            url: Masked::new(signed.uri().to_owned()),
            headers: headers
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            expires_in: EXPIRES,
        })
    }
}
