//! The put: one request with one digest, then proof that the store has it, then the spool's file goes (P3).

use std::path::Path;

use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::primitives::{ByteStream, Length};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use md5::{Digest as _, Md5};
use moorline_core::port::{SealedFile, StoreError};
use tokio::io::AsyncReadExt as _;

use super::S3Store;
use super::config::{Digest, Verify};
use super::crc32c::Crc32c;
use super::error::{stored, unavailable};
use super::probe::EndpointProfile;
use crate::{MAX_OBJECT, deadline};

const CHUNK: usize = 256 * 1024;

/// What a put carries.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sum {
    Md5([u8; 16]),
    Crc32c([u8; 4]),
}

/// Stores a sealed file under its key and removes it from the spool.
pub(super) async fn sealed(store: &S3Store, file: &SealedFile) -> Result<(), StoreError> {
    let key = file.key.to_string();
    if file.bytes > MAX_OBJECT {
        return Err(StoreError::Refused(format!("{key} is larger than 256 MiB")));
    }
    let put = store.within(deadline::put(file.bytes), async {
        match tokio::fs::metadata(&file.path).await {
            Ok(metadata) if metadata.len() == file.bytes => {}
            Ok(_) => return Err(StoreError::Digest(key.clone())),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
                return put_before(store, file, &key).await;
            }
            Err(cause) => return Err(unavailable(&key, &cause)),
        }
        let sum = digest(store.config.digest, file)
            .await
            .map_err(|cause| unavailable(&key, &cause))?;
        let body = ByteStream::read_from()
            .path(&file.path)
            .length(Length::Exact(file.bytes))
            .build()
            .await
            .map_err(|cause| unavailable(&key, &cause))?;
        send(store, &key, body, file.bytes, sum).await
    });
    put.await?;
    match tokio::fs::remove_file(&file.path).await {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            Err(unavailable(&key, &cause))
        }
        _ => Ok(()),
    }
}

/// A put whose caller was cancelled after the removal comes again, without a file.
async fn put_before(store: &S3Store, file: &SealedFile, key: &str) -> Result<(), StoreError> {
    match store.head_object(key).await {
        Ok(head) if head.bytes == file.bytes => Ok(()),
        Ok(_) => Err(StoreError::Digest(key.to_owned())),
        Err(cause) => Err(cause),
    }
}

/// Stores a few bytes.
pub(super) async fn bytes(store: &S3Store, key: &str, content: Bytes) -> Result<(), StoreError> {
    let length = content.len() as u64;
    let sum = sum(store.config.digest, &content);
    let sent = send(store, key, ByteStream::from(content), length, sum);
    store.within(deadline::put(length), sent).await
}

async fn send(
    store: &S3Store,
    key: &str,
    body: ByteStream,
    length: u64,
    sum: Sum,
) -> Result<(), StoreError> {
    let answer = request(store, key, body, length, sum)
        .send()
        .await
        .map_err(|cause| stored(key, &cause))?;
    let profile = store.profile();
    let lies = |told: Option<[u8; 16]>| match (told, sum) {
        (Some(told), Sum::Md5(sent)) => etag_counts(profile) && told != sent,
        _ => false,
    };
    let told = md5_of_etag(answer.e_tag());
    if lies(told) {
        return Err(StoreError::Digest(key.to_owned()));
    }
    let proven = told.is_some() && matches!(sum, Sum::Md5(_));
    if proven && etag_suffices(store.config.verify, profile) {
        return Ok(());
    }
    let head = match store.head_object(key).await {
        // Acknowledged and not kept: the file stays in the spool and goes again.
        Err(StoreError::Missing(_)) => {
            return Err(StoreError::Unavailable(format!(
                "the store acknowledged {key} and does not have it"
            )));
        }
        head => head?,
    };
    if head.bytes != length || lies(head.etag_md5) {
        return Err(StoreError::Digest(key.to_owned()));
    }
    Ok(())
}

/// A put of `length` bytes with that digest.
pub(super) fn request(
    store: &S3Store,
    key: &str,
    body: ByteStream,
    length: u64,
    sum: Sum,
) -> PutObjectFluentBuilder {
    let content_type = match Path::new(key)
        .extension()
        .and_then(|extension| extension.to_str())
    {
        Some("mp4") => "video/mp4",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    };
    let request = store
        .client()
        .put_object()
        .bucket(&store.config.bucket)
        .key(key)
        .content_length(i64::try_from(length).unwrap_or(i64::MAX))
        .content_type(content_type)
        .body(body);
    match sum {
        Sum::Md5(sum) => request.content_md5(BASE64.encode(sum)),
        Sum::Crc32c(sum) => request.checksum_crc32_c(BASE64.encode(sum)),
    }
}

/// Whether this endpoint's ETag is the MD5: with SSE-KMS and SSE-C it looks like one and is none, so only the probe can tell.
fn etag_counts(profile: Option<&EndpointProfile>) -> bool {
    profile.is_some_and(|profile| profile.etag_is_md5)
}

fn etag_suffices(verify: Verify, profile: Option<&EndpointProfile>) -> bool {
    let trusted =
        profile.is_some_and(|profile| profile.refuses_wrong_digest && profile.etag_is_md5);
    verify == Verify::Etag && trusted
}

/// The digest of bytes in memory.
pub(super) fn sum(kind: Digest, content: &[u8]) -> Sum {
    match kind {
        Digest::Md5 => Sum::Md5(Md5::digest(content).into()),
        Digest::Crc32c => {
            let mut sum = Crc32c::new();
            sum.update(content);
            Sum::Crc32c(sum.finish())
        }
    }
}

async fn digest(kind: Digest, file: &SealedFile) -> std::io::Result<Sum> {
    if let (Digest::Md5, Some(md5)) = (kind, file.md5) {
        return Ok(Sum::Md5(md5));
    }
    let mut source = tokio::fs::File::open(&file.path).await?;
    let mut buffer = vec![0; CHUNK];
    let (mut md5, mut crc) = (Md5::new(), Crc32c::new());
    loop {
        let count = source.read(&mut buffer).await?;
        let chunk = buffer.get(..count).unwrap_or_default();
        match kind {
            _ if chunk.is_empty() => break,
            Digest::Md5 => md5.update(chunk),
            Digest::Crc32c => crc.update(chunk),
        }
    }
    Ok(match kind {
        Digest::Md5 => Sum::Md5(md5.finalize().into()),
        Digest::Crc32c => Sum::Crc32c(crc.finish()),
    })
}

/// The MD5 that an ETag may be: 32 hex digits in quotes. A multipart object's has a hyphen.
pub(super) fn md5_of_etag(etag: Option<&str>) -> Option<[u8; 16]> {
    let mut md5 = [0; 16];
    hex::decode_to_slice(etag?.trim_matches('"'), &mut md5).ok()?;
    Some(md5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_etag_alone_is_enough_only_where_the_probe_saw_that_it_is() {
        let mut profile = EndpointProfile::flawless();
        assert!(etag_suffices(Verify::Etag, Some(&profile)));
        assert!(!etag_suffices(Verify::Etag, None));
        assert!(!etag_suffices(Verify::Head, Some(&profile)));
        profile.refuses_wrong_digest = false;
        assert!(!etag_suffices(Verify::Etag, Some(&profile)));
    }

    #[test]
    fn a_multipart_etag_is_no_md5() {
        assert!(md5_of_etag(Some("\"900150983cd24fb0d6963f7d28e17f72\"")).is_some());
        assert!(md5_of_etag(Some("\"900150983cd24fb0d6963f7d28e17f72-2\"")).is_none());
        assert!(md5_of_etag(None).is_none());
    }
}
