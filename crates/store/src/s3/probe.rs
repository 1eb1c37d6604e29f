//! What an endpoint does, found out by trying it under `.probe/`: at the start of a process and by `doctor`.
//!
//! S3-compatible stores accept what they do not honour, so only behaviour counts. What is tried here is what Moorline rests on.

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use md5::{Digest as _, Md5};
use moorline_core::port::{SegmentStore as _, StoreError};
use serde::Serialize;

use super::error::stored;
use super::put::{Sum, md5_of_etag, request};
use super::{S3Store, client};
use crate::deadline;

/// What an endpoint was seen to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EndpointProfile {
    /// It refuses bytes that do not fit their digest.
    pub refuses_wrong_digest: bool,
    /// The ETag of a put is the MD5 of its bytes.
    pub etag_is_md5: bool,
    /// A second put under one key replaces the first at once.
    pub overwrites: bool,
    /// It answers a range with that range.
    pub reads_ranges: bool,
    /// It lists what was just put, and begins after a given key.
    pub lists_after: bool,
    /// What was deleted is gone.
    pub deletes: bool,
    /// Anybody may read objects (S30).
    pub public_read: bool,
    /// Anybody may list the bucket (S30).
    pub public_list: bool,
}

/// Something about an endpoint that somebody must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// Strangers can watch the recordings.
    PublicRead,
    /// Strangers can see which recordings exist.
    PublicList,
    /// Wrong bytes are not noticed by the store; every object is looked at after its put.
    NoDigest,
    /// A repeated put does not repair an object.
    NoOverwrite,
    /// Reading does not work.
    NoRanges,
    /// Browsing does not work.
    NoListing,
    /// Retention does not work.
    NoDelete,
}

impl Problem {
    /// Whether it is an alarm: the archive is open to strangers, or cannot be used.
    pub fn is_alarm(self) -> bool {
        self != Self::NoDigest
    }

    /// What a person reads.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::PublicRead => {
                "anybody on the Internet can read the recordings in this bucket: remove its public policy or ACL"
            }
            Self::PublicList => {
                "anybody on the Internet can list this bucket: remove its public policy or ACL"
            }
            Self::NoDigest => {
                "the store does not check digests: each object is looked at after its upload (keep verify = \"head\")"
            }
            Self::NoOverwrite => "the store does not replace an object by a second upload",
            Self::NoRanges => {
                "the store ignores range requests: recordings cannot be played from it"
            }
            Self::NoListing => {
                "the store does not list what was just uploaded: recordings cannot be found"
            }
            Self::NoDelete => "the store keeps what is deleted: retention does not work",
        }
    }
}

impl EndpointProfile {
    /// What somebody must know, the worst first.
    pub fn problems(&self) -> Vec<Problem> {
        let found = [
            (self.public_read, Problem::PublicRead),
            (self.public_list, Problem::PublicList),
            (!self.reads_ranges, Problem::NoRanges),
            (!self.lists_after, Problem::NoListing),
            (!self.overwrites, Problem::NoOverwrite),
            (!self.deletes, Problem::NoDelete),
            (!self.refuses_wrong_digest, Problem::NoDigest),
        ];
        found
            .into_iter()
            .filter_map(|(is, problem)| is.then_some(problem))
            .collect()
    }

    #[cfg(test)]
    pub(super) fn flawless() -> Self {
        Self {
            refuses_wrong_digest: true,
            etag_is_md5: true,
            overwrites: true,
            reads_ranges: true,
            lists_after: true,
            deletes: true,
            public_read: false,
            public_list: false,
        }
    }
}

const FIRST: &[u8] = b"moorline probe, first version";
const SECOND: &[u8] = b"moorline probe, second";

pub(super) async fn run(store: &S3Store) -> Result<EndpointProfile, StoreError> {
    // A folder of its own: two processes may probe at once.
    let folder = format!(".probe/{:016x}/", rand::random::<u64>());
    let (a, b) = (format!("{folder}a"), format!("{folder}b"));
    let found = look(store, &folder, &a, &b).await;
    let swept = async {
        store.delete(&a).await?;
        store.delete(&b).await?;
        Ok(matches!(store.head(&a).await, Err(StoreError::Missing(_))))
    };
    let swept: Result<bool, StoreError> = swept.await;
    let mut profile = found?;
    profile.deletes = match swept {
        // A key that may not delete is one way to run: retention is somebody else's then.
        Err(StoreError::Refused(_)) => false,
        swept => swept?,
    };
    Ok(profile)
}

/// The one key of [`puts`].
const PUTS: &str = ".probe/puts";

pub(super) async fn puts(store: &S3Store) -> Result<EndpointProfile, StoreError> {
    let sum = |content| super::put::sum(store.config.digest, content);
    let etag = put(store, PUTS, FIRST, sum(FIRST)).await?;
    let refuses_wrong_digest = match put(store, PUTS, FIRST, sum(SECOND)).await {
        Ok(_) => false,
        Err(StoreError::Unavailable(why)) => return Err(StoreError::Unavailable(why)),
        Err(_) => true,
    };
    put(store, PUTS, SECOND, sum(SECOND)).await?;
    let overwrites = store.head(PUTS).await? == SECOND.len() as u64;
    let listed = store.list(".probe/", "").await?;
    Ok(EndpointProfile {
        refuses_wrong_digest,
        etag_is_md5: etag == Some(Md5::digest(FIRST).into()),
        overwrites,
        reads_ranges: true,
        lists_after: listed.objects.iter().any(|object| object.key == PUTS),
        deletes: true,
        public_read: public_read(store, PUTS).await,
        public_list: public_list(store, ".probe/").await,
    })
}

async fn look(
    store: &S3Store,
    folder: &str,
    a: &str,
    b: &str,
) -> Result<EndpointProfile, StoreError> {
    let sum = |content| super::put::sum(store.config.digest, content);
    let etag = put(store, a, FIRST, sum(FIRST)).await?;
    let etag_is_md5 = etag == Some(Md5::digest(FIRST).into());
    let refuses_wrong_digest = match put(store, b, FIRST, sum(SECOND)).await {
        Ok(_) => false,
        Err(StoreError::Unavailable(why)) => return Err(StoreError::Unavailable(why)),
        Err(_) => true,
    };
    put(store, a, SECOND, sum(SECOND)).await?;
    put(store, b, FIRST, sum(FIRST)).await?;
    let overwrites = read(store, a, 0..1024).await? == SECOND;
    let reads_ranges = match read(store, a, 9..14).await {
        Err(StoreError::Refused(_)) => false,
        bytes => *bytes? == *b"probe",
    };
    let all = listed(store, folder, "").await?;
    let rest = listed(store, folder, a).await?;
    let lists_after = all == [a, b] && rest == [b];
    Ok(EndpointProfile {
        refuses_wrong_digest,
        etag_is_md5,
        overwrites,
        reads_ranges,
        lists_after,
        deletes: false,
        public_read: public_read(store, a).await,
        public_list: public_list(store, folder).await,
    })
}

/// Gives the ETag as MD5, if it looks like one.
async fn put(
    store: &S3Store,
    key: &str,
    content: &'static [u8],
    sum: Sum,
) -> Result<Option<[u8; 16]>, StoreError> {
    let length = content.len() as u64;
    let request = request(store, key, ByteStream::from_static(content), length, sum);
    let sent = async {
        let answer = request.send().await.map_err(|cause| stored(key, &cause))?;
        Ok(md5_of_etag(answer.e_tag()))
    };
    store.within(deadline::CALL, sent).await
}

async fn read(
    store: &S3Store,
    key: &str,
    range: std::ops::Range<u64>,
) -> Result<Bytes, StoreError> {
    store.get(key, range).await
}

/// Only a success is an alarm: every error, whatever it is, keeps the stranger out.
async fn public_read(store: &S3Store, key: &str) -> bool {
    let (anonymous, bucket) = (&store.anonymous, &store.config.bucket);
    let tried = store.within(deadline::CALL, client::get(anonymous, bucket, key, 0..1024));
    tried.await.is_ok()
}

async fn public_list(store: &S3Store, folder: &str) -> bool {
    let (anonymous, bucket) = (&store.anonymous, &store.config.bucket);
    let tried = store.within(
        deadline::CALL,
        client::list(anonymous, bucket, folder, "", 1),
    );
    tried.await.is_ok()
}

/// The keys of a page; none, where the store lists something else.
async fn listed(store: &S3Store, prefix: &str, after: &str) -> Result<Vec<String>, StoreError> {
    match store.list(prefix, after).await {
        Err(StoreError::Refused(_)) => Ok(Vec::new()),
        page => Ok(page?.objects.into_iter().map(|object| object.key).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_bucket_is_the_worst_problem() {
        let mut profile = EndpointProfile::flawless();
        assert_eq!(profile.problems(), []);
        profile.refuses_wrong_digest = false;
        profile.public_read = true;
        assert_eq!(profile.problems(), [Problem::PublicRead, Problem::NoDigest]);
        assert!(Problem::PublicRead.is_alarm() && !Problem::NoDigest.is_alarm());
    }
}
