//! Reading the recordings of many tenants: whoever reads names a tenant by its id, and the store knows it by its storage id, which is never used
//! again (rule S26). A tenant that was deleted and made anew under the same name sees nothing of its predecessor.
//!
//! Only whole keys and prefixes of one tenant pass: what names none, or one that is not known, is refused, so that no listing can reach over to
//! another tenant's recordings. Nothing is deleted or copied here: the key of a front door may get and list (rule S18).

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use moorline_base::Untrusted;
use moorline_core::TenantId;
use moorline_core::port::{Page, SegmentStore, StoreError};

/// Where a tenant's recordings lie.
#[derive(Clone)]
pub struct TenantRead {
    /// The store, with a key that may get and list.
    pub store: Arc<dyn SegmentStore>,
    /// What stands in stored keys for the tenant.
    pub storage_id: TenantId,
}

/// Finds where a tenant's recordings lie, from memory.
pub type FindRead = Arc<dyn Fn(&TenantId) -> Option<TenantRead> + Send + Sync>;

/// The recordings of all tenants, for reading.
#[derive(Clone)]
pub struct TenantReads {
    find: FindRead,
}

impl fmt::Debug for TenantReads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantReads").finish_non_exhaustive()
    }
}

/// A text that begins `version/class/tenant/`, in its parts.
struct Named<'a> {
    /// `version/class/`, with its last slash.
    head: &'a str,
    tenant: TenantId,
    /// What follows the tenant, from its slash on.
    rest: &'a str,
}

fn named(text: &str) -> Option<Named<'_>> {
    let mut slashes = text.match_indices('/').map(|(at, _)| at);
    let (_, second, third) = (slashes.next()?, slashes.next()?, slashes.next()?);
    let (head, from_tenant) = text.split_at_checked(second + 1)?;
    let (tenant, rest) = from_tenant.split_at_checked(third - second - 1)?;
    Some(Named {
        head,
        tenant: tenant.parse().ok()?,
        rest,
    })
}

fn refused(text: &str) -> StoreError {
    StoreError::Refused(format!(
        "{} names no tenant's recordings",
        Untrusted::new(text)
    ))
}

fn read_only() -> StoreError {
    StoreError::Refused("this process only reads recordings".to_owned())
}

impl TenantReads {
    /// Reads where `find` says.
    #[must_use]
    pub fn new(find: FindRead) -> Self {
        Self { find }
    }

    /// Whose text that is, where it lies, and what it is called there.
    fn stored(&self, text: &str) -> Result<(TenantRead, TenantId, String), StoreError> {
        let parts = named(text).ok_or_else(|| refused(text))?;
        let place = (self.find)(&parts.tenant).ok_or_else(|| refused(text))?;
        let stored = format!("{}{}{}", parts.head, place.storage_id, parts.rest);
        Ok((place, parts.tenant, stored))
    }
}

#[async_trait]
impl SegmentStore for TenantReads {
    async fn list(&self, prefix: &str, after: &str) -> Result<Page, StoreError> {
        let (place, tenant, stored) = self.stored(prefix)?;
        let after = match after {
            "" => String::new(),
            after => {
                let (_, owner, stored) = self.stored(after)?;
                // A listing goes on where it was: within one tenant.
                if owner != tenant {
                    return Err(refused(after));
                }
                stored
            }
        };
        let mut page = place.store.list(&stored, &after).await?;
        for object in &mut page.objects {
            let parts = named(&object.key).filter(|parts| parts.tenant == place.storage_id);
            let parts = parts.ok_or_else(|| refused(&object.key))?;
            object.key = format!("{}{tenant}{}", parts.head, parts.rest);
        }
        Ok(page)
    }

    async fn get(&self, key: &str, range: std::ops::Range<u64>) -> Result<Bytes, StoreError> {
        let (place, _, stored) = self.stored(key)?;
        place
            .store
            .get(&stored, range)
            .await
            .map_err(|error| renamed(error, key))
    }

    async fn head(&self, key: &str) -> Result<u64, StoreError> {
        let (place, _, stored) = self.stored(key)?;
        place
            .store
            .head(&stored)
            .await
            .map_err(|error| renamed(error, key))
    }

    async fn delete(&self, _key: &str) -> Result<(), StoreError> {
        Err(read_only())
    }

    async fn copy(&self, _from: &str, _to: &str) -> Result<(), StoreError> {
        Err(read_only())
    }
}

/// An error by the name that the caller knows: a storage id is nobody's business.
fn renamed(error: StoreError, key: &str) -> StoreError {
    match error {
        StoreError::Missing(_) => StoreError::Missing(key.to_owned()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use moorline_base::SystemClock;

    use super::*;
    use crate::DirectoryStore;

    const ACME: &str = "v1/r014/acme/yard/2026/11/29/a.mp4";

    fn id(text: &str) -> TenantId {
        text.parse().unwrap()
    }

    /// `acme` lies under `k7q2`, `shop` under `acme`: a storage id may be another tenant's name.
    fn reads(root: &std::path::Path) -> TenantReads {
        for (tenant, camera) in [("k7q2", "yard"), ("acme", "yard"), ("old", "yard")] {
            let folder = root.join(format!("v1/r014/{tenant}/{camera}/2026/11/29"));
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("a.mp4"), tenant).unwrap();
            std::fs::write(folder.join("b.mp4"), tenant).unwrap();
        }
        let store: Arc<dyn SegmentStore> =
            Arc::new(DirectoryStore::open(root, SystemClock::shared()).unwrap());
        TenantReads::new(Arc::new(move |tenant| {
            let storage_id = match tenant.as_str() {
                "acme" => id("k7q2"),
                "shop" => id("acme"),
                _ => return None,
            };
            Some(TenantRead {
                store: Arc::clone(&store),
                storage_id,
            })
        }))
    }

    #[tokio::test]
    async fn a_tenant_reads_what_lies_under_its_storage_id_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let reads = reads(root.path());
        for (tenant, stored) in [("acme", "k7q2"), ("shop", "acme")] {
            let key = format!("v1/r014/{tenant}/yard/2026/11/29/a.mp4");
            assert_eq!(reads.get(&key, 0..9).await.unwrap(), stored);
            assert_eq!(reads.head(&key).await.unwrap(), 4);
            let page = reads
                .list(&format!("v1/r014/{tenant}/yard/"), "")
                .await
                .unwrap();
            assert_eq!(page.objects[0].key, key);
            assert_eq!(page.objects.len(), 2);
            let rest = reads.list(&format!("v1/r014/{tenant}/"), &key).await;
            let rest = rest.unwrap().objects;
            assert_eq!(rest.len(), 1, "{rest:?}");
            assert!(
                rest[0]
                    .key
                    .ends_with(&format!("{tenant}/yard/2026/11/29/b.mp4"))
            );
        }
    }

    #[tokio::test]
    async fn what_names_no_known_tenant_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let reads = reads(root.path());
        for prefix in [
            "",
            "v1/",
            "v1/r014/",
            "v1/r014/ac",
            "v1/r014/acme",
            "v1/r014/k7q2/",
            "v1/r014/old/",
            "v1/r014/../acme/",
            "v1/r014//yard/",
        ] {
            let refused = reads.list(prefix, "").await;
            assert!(matches!(refused, Err(StoreError::Refused(_))), "{prefix:?}");
        }
        let over = reads.list("v1/r014/shop/", ACME).await;
        assert!(matches!(over, Err(StoreError::Refused(_))), "{over:?}");
        for key in ["v1/r014/old/yard/2026/11/29/a.mp4", "a.mp4"] {
            assert!(matches!(
                reads.get(key, 0..9).await,
                Err(StoreError::Refused(_))
            ));
        }
        let missing = reads.get("v1/r014/acme/yard/x", 0..9).await.unwrap_err();
        assert!(!missing.to_string().contains("k7q2"), "{missing}");
        assert!(matches!(
            reads.delete(ACME).await,
            Err(StoreError::Refused(_))
        ));
        assert!(matches!(
            reads.copy(ACME, ACME).await,
            Err(StoreError::Refused(_))
        ));
    }
}
