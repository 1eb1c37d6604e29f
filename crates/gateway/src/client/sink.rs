//! The port `SegmentSink` of an archiver pod: the signer presigns, the pod puts, the signer confirms, the spool's file goes.
//!
//! ```text
//! file ─▶ presign (one key, length, digest, type) ─▶ PUT to the store ─▶ confirm (the signer's HEAD) ─▶ removed
//! ```
//! The store's `200` alone removes nothing (P3): the signer, which has a key that may look, compares the digest of what the store has. The pod has no
//! key to the store at all.

use std::time::Duration;

use async_trait::async_trait;
use md5::{Digest as _, Md5};
use moorline_base::clock::timeout;
use moorline_core::port::{SealedFile, SegmentSink, StoreError};
use moorline_core::segment::{ObjectKey, Retention, Tier};
use moorline_core::{CameraId, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::AsyncReadExt as _;

use super::put::{self, StoreTrust};
use super::{Dialer, Reply};
use crate::signer::protocol::{
    CONFIRM, ConfirmBody, LAST_END, LastEndBody, LastEndReply, PRESIGN, PresignBody, PresignReply,
};

const CHUNK: usize = 256 * 1024;

/// An archiver pod's way to its tenant's store.
#[derive(Debug)]
pub struct SignedSink {
    signer: Dialer,
    trust: StoreTrust,
}

impl SignedSink {
    /// A sink by way of the signer; `trust` is for the store itself.
    #[must_use]
    pub fn new(signer: Dialer, trust: StoreTrust) -> Self {
        Self { signer, trust }
    }

    /// Asks the signer.
    async fn ask<B: Serialize, R: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<R, StoreError> {
        let (reply, body) = self.post(path, body).await?;
        if reply.status != 200 {
            return Err(refused(path, &reply));
        }
        let unreadable =
            |_| StoreError::Unavailable("the signer's answer cannot be read".to_owned());
        serde_json::from_slice(&body).map_err(unreadable)
    }

    async fn post<B: Serialize>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<(Reply, Vec<u8>), StoreError> {
        let body =
            serde_json::to_vec(body).map_err(|error| StoreError::Refused(error.to_string()))?;
        let posted = self.signer.post(path, &body).await;
        posted.map_err(|error| {
            StoreError::Unavailable(format!("the signer does not answer: {error}"))
        })
    }

    /// Whether the store has this very object.
    async fn confirm(&self, key: &ObjectKey, md5: [u8; 16]) -> Result<(), StoreError> {
        let body = ConfirmBody {
            key: key.clone(),
            md5: hex::encode(md5),
        };
        let (reply, _) = self.post(CONFIRM, &body).await?;
        match reply.status {
            200 => Ok(()),
            404 if reply.reason == "missing" => Err(StoreError::Missing(key.to_string())),
            409 => Err(StoreError::Digest(key.to_string())),
            _ => Err(refused(CONFIRM, &reply)),
        }
    }

    async fn store(&self, file: &SealedFile) -> Result<(), StoreError> {
        let key = file.key.to_string();
        match tokio::fs::metadata(&file.path).await {
            Ok(metadata) if metadata.len() == file.bytes => {}
            Ok(_) => return Err(StoreError::Digest(key)),
            // A put whose caller was cancelled after the removal comes again, without a file.
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
                let lost =
                    || StoreError::Refused(format!("neither the spool nor the store has {key}"));
                let md5 = file.md5.ok_or_else(lost)?;
                return match self.confirm(&file.key, md5).await {
                    Err(StoreError::Missing(_) | StoreError::Digest(_)) => Err(lost()),
                    confirmed => confirmed,
                };
            }
            Err(cause) => return Err(spool(&key, &cause)),
        }
        let md5 = match file.md5 {
            Some(md5) => md5,
            None => digest(file).await.map_err(|cause| spool(&key, &cause))?,
        };
        let body = PresignBody {
            key: file.key.clone(),
            bytes: file.bytes,
            md5: hex::encode(md5),
        };
        let signed: PresignReply = self.ask(PRESIGN, &body).await?;
        put::put(&self.trust, &signed, file).await?;
        match self.confirm(&file.key, md5).await {
            // Acknowledged and not kept: the file stays in the spool and goes again.
            Err(StoreError::Missing(_)) => Err(StoreError::Unavailable(format!(
                "the store acknowledged {key} and does not have it"
            ))),
            confirmed => confirmed,
        }
    }
}

fn spool(key: &str, cause: &std::io::Error) -> StoreError {
    StoreError::Unavailable(format!("{key}: the spool's file: {cause}"))
}

/// What the signer's refusal means for whoever waits.
fn refused(path: &str, reply: &Reply) -> StoreError {
    let text = format!(
        "the signer refuses {path}: {} {}",
        reply.status, reply.reason
    );
    match reply.status {
        // The token may have been exchanged in between, or the cluster not know us yet.
        401 | 408 | 429 | 500.. => StoreError::Unavailable(text),
        _ => StoreError::Refused(text),
    }
}

async fn digest(file: &SealedFile) -> std::io::Result<[u8; 16]> {
    let mut source = tokio::fs::File::open(&file.path).await?;
    let mut buffer = vec![0; CHUNK];
    let mut md5 = Md5::new();
    loop {
        let count = source.read(&mut buffer).await?;
        if count == 0 {
            return Ok(md5.finalize().into());
        }
        md5.update(buffer.get(..count).unwrap_or_default());
    }
}

#[async_trait]
impl SegmentSink for SignedSink {
    async fn put(&self, file: &SealedFile) -> Result<(), StoreError> {
        let limit = Duration::from_secs(30) + Duration::from_secs(file.bytes / 100_000);
        let stored = timeout(&**self.signer.clock(), limit, self.store(file)).await;
        stored.unwrap_or_else(|late| Err(StoreError::Unavailable(late.to_string())))?;
        match tokio::fs::remove_file(&file.path).await {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                Err(spool(&file.key.to_string(), &cause))
            }
            _ => Ok(()),
        }
    }

    fn wants_md5(&self) -> bool {
        true
    }

    /// The signer knows the camera by our token; another one's end it does not tell.
    async fn last_end(
        &self,
        _camera: &CameraId,
        classes: &[Retention],
        tier: Tier,
    ) -> Result<Option<Timestamp>, StoreError> {
        let body = LastEndBody {
            classes: classes.to_vec(),
            tier,
        };
        let reply: LastEndReply = self.ask(LAST_END, &body).await?;
        Ok(reply.last_end)
    }
}
