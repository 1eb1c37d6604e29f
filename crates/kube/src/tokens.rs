//! `EnrollTokens` of a cluster (rule S3): a token stands, as its hash, in the spec of each Camera that it makes, written by the rights of whoever
//! makes it.
//!
//! The Camera is there before its device calls: so what it is like is checked, and counted by the tenant's quota, when the token is made, and what lets a
//! device in has nothing to make. A Camera has one token at a time. Its number is made of its hash, since nobody counts tokens.
//!
//! **Owns** `spec.enrolment`. Does not own: who spends a token (`enrol`).

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use moorline_base::CancellationToken;
use moorline_core::camera::{Record, RecordBy};
use moorline_core::port::{
    CameraAdminError, CameraLike, EnrollTokens, NewToken, PortError, Reuse, Stocked, TokenInfo,
    TokenMakes,
};
use moorline_core::segment::Retention;
use moorline_core::{CameraId, Masked, TenantId, Timestamp};

use crate::admin::{KubeAdmin, Made, broken_off};
use crate::cache::Known;
use crate::convert::{born, spent};
use crate::enrol::token_hash;
use crate::resource::{CameraSpec, EnrolmentSpec, ReusedToken};

/// 192 bits; the rule asks for 128.
const TOKEN_BYTES: usize = 24;
/// The most that one list gives.
const LISTED: usize = 1_000;
/// The greatest batch: each of its Cameras is made before the first device calls.
const MOST: u32 = 1_000;
/// Numbers of a batch that are tried, since other cameras may have some.
const NUMBERS: u32 = 10 * MOST;

/// The number by which people call a token: 40 bits of its hash.
fn number(hash: &str) -> Option<i64> {
    i64::from_str_radix(hash.strip_prefix("sha256:")?.get(..10)?, 16).ok()
}

/// Whether a camera that has this token, and a device, waits for somebody to claim it.
fn in_stock(token: &EnrolmentSpec) -> bool {
    token.batch.is_some() && !token.claimed
}

fn is_number(token: &EnrolmentSpec, id: i64) -> bool {
    number(&token.token_hash) == Some(id)
}

/// A token of some cameras, and when which of them was made.
struct Gathered {
    info: TokenInfo,
    made: Vec<(Timestamp, CameraId)>,
}

impl Gathered {
    /// As its first camera has it.
    fn of(token: &EnrolmentSpec, id: &CameraId, known: &Known) -> Self {
        let makes = match &token.batch {
            Some(prefix) => TokenMakes::Batch {
                prefix: prefix.clone(),
                count: 0,
            },
            None => TokenMakes::Camera(id.clone()),
        };
        let info = TokenInfo {
            id: number(&token.token_hash).unwrap_or_default(),
            token: NewToken {
                tenant: id.tenant().clone(),
                makes,
                like: like(known),
                expires: token.expires,
                comment: token.comment.clone().unwrap_or_default(),
            },
            created: token.created.unwrap_or_else(|| born(&known.object)),
            revoked: token.revoked,
            cameras: Vec::new(),
            reused: None,
        };
        Self {
            info,
            made: Vec::new(),
        }
    }

    fn told(mut self) -> TokenInfo {
        self.made.sort();
        self.info.cameras = self.made.into_iter().map(|(_, camera)| camera).collect();
        self.info
    }
}

/// What a camera that is there is like. One with a wrong field is what its spec says, as far as that is text.
fn like(known: &Known) -> CameraLike {
    match &known.record {
        Ok(record) => CameraLike {
            title: Some(record.title.clone()),
            site: record.site.clone(),
            timezone: record.timezone.clone(),
            record: record.record,
            record_by: record.record_by,
            retention: record.retention,
        },
        Err(_) => {
            let spec = &known.object.spec;
            CameraLike {
                title: spec.title.clone(),
                site: spec.site.clone(),
                timezone: spec.timezone.clone(),
                record: Record::Main,
                record_by: RecordBy::Auto,
                retention: Retention::Keep,
            }
        }
    }
}

/// What the status notes of a second key, as far as it can be read.
fn reuse(noted: &ReusedToken) -> Option<Reuse> {
    Some(Reuse {
        at: noted.at,
        from: noted.from.parse().ok()?,
        key: noted.key.clone(),
        times: noted.times,
    })
}

/// Why a batch was not made, and what is left of it all the same.
fn with_left(error: CameraAdminError, left: &[&CameraId]) -> CameraAdminError {
    let (Some(first), Some(last)) = (left.first(), left.last()) else {
        return error;
    };
    let many = left.len();
    CameraAdminError::Unavailable(format!(
        "{error}; {many} of its cameras were made and are not taken back, {first} to {last}: remove them"
    ))
}

impl KubeAdmin {
    /// Gives a camera a token, and makes it where there is none of that name.
    async fn give(
        &self,
        id: &CameraId,
        like: &CameraLike,
        token: EnrolmentSpec,
    ) -> Result<(), CameraAdminError> {
        let known = self.directory().cache().camera(id);
        if known.is_some_and(|known| !known.is_leaving()) {
            let put = |spec: &mut CameraSpec| spec.enrolment = Some(token.clone());
            return self.change_with(id, |_| Ok(true), put).await.map(|_| ());
        }
        self.make_with(id, like, token).await.map(|_| ())
    }

    /// Makes a camera that has a token and no key.
    async fn make_with(
        &self,
        id: &CameraId,
        like: &CameraLike,
        token: EnrolmentSpec,
    ) -> Result<Made, CameraAdminError> {
        let mut camera = like.bare(id.clone(), token.created.unwrap_or_default());
        self.prepare(&mut camera)?;
        self.make_with_token(&camera, token).await
    }

    /// Makes the cameras of a batch, all or none. Whoever breaks it off, or is gone when the last one is made, never has the token: none of them stays.
    async fn give_all(
        &self,
        new: &NewToken,
        prefix: &str,
        count: u32,
        token: &EnrolmentSpec,
        broken: &CancellationToken,
    ) -> Result<(), CameraAdminError> {
        let cache = self.directory().cache();
        let free = (1..=NUMBERS).filter_map(|number| {
            let name = format!("{prefix}-{number}").parse().ok()?;
            let id = CameraId::new(new.tenant.clone(), name);
            cache.camera(&id).is_none().then_some(id)
        });
        let names: Vec<CameraId> = free.take(count as usize).collect();
        if names.len() < count as usize {
            return Err(CameraAdminError::Invalid {
                field: "prefix",
                value: prefix.to_owned(),
                expected: "too few of its names are left",
            });
        }
        let mut made = Vec::with_capacity(names.len());
        let mut why = None;
        for id in &names {
            if broken.is_cancelled() {
                break;
            }
            match self.make_with(id, &new.like, token.clone()).await {
                Ok(one) => made.push(one),
                Err(error) => {
                    why = Some(error);
                    break;
                }
            }
        }
        let Some(error) = why.or_else(|| broken.is_cancelled().then(broken_off)) else {
            return Ok(());
        };
        let left = self.unmake(&made).await;
        let left = left.iter().filter_map(|(at, _)| made.get(*at));
        let left: Vec<&CameraId> = left.map(|made| &made.id).collect();
        Err(with_left(error, &left))
    }
}

#[async_trait]
impl EnrollTokens for KubeAdmin {
    async fn issue(&self, new: NewToken) -> Result<(Masked<String>, TokenInfo), CameraAdminError> {
        let now = Timestamp::from_millis(self.clock().wall_ms());
        new.check(now, MOST, "from 1 to 1,000 on a cluster")?;
        let token = URL_SAFE_NO_PAD.encode(rand::random::<[u8; TOKEN_BYTES]>());
        let mut spec = EnrolmentSpec {
            token_hash: token_hash(&token),
            expires: new.expires,
            revoked: false,
            created: Some(now),
            batch: None,
            claimed: false,
            comment: Some(new.comment.clone()).filter(|comment| !comment.is_empty()),
        };
        let id = number(&spec.token_hash).unwrap_or_default();
        match &new.makes {
            TokenMakes::Camera(camera) => self.give(camera, &new.like, spec).await?,
            TokenMakes::Batch { prefix, count } => {
                spec.batch = Some(prefix.clone());
                let (prefix, count, new) = (prefix.clone(), *count, new.clone());
                let making = move |admin: KubeAdmin, broken: CancellationToken| async move {
                    let given = admin.give_all(&new, &prefix, count, &spec, &broken);
                    given.await
                };
                self.whole(making).await??;
            }
        }
        let info = TokenInfo {
            id,
            token: new,
            created: now,
            revoked: false,
            cameras: Vec::new(),
            reused: None,
        };
        Ok((Masked::new(token), info))
    }

    /// Those that stand in Cameras, in one with a wrong field too: one that another has replaced there is none any more.
    async fn list(&self, tenant: &TenantId) -> Result<Vec<TokenInfo>, PortError> {
        let mut all: BTreeMap<String, Gathered> = BTreeMap::new();
        for (id, known) in self.directory().cache().cameras() {
            if id.tenant() != tenant || known.is_leaving() {
                continue;
            }
            let Some(token) = &known.object.spec.enrolment else {
                continue;
            };
            let gathered = all
                .entry(token.token_hash.clone())
                .or_insert_with(|| Gathered::of(token, &id, &known));
            let info = &mut gathered.info;
            if let TokenMakes::Batch { count, .. } = &mut info.token.makes {
                *count += 1;
            }
            // One key that was revoked closes its own camera alone: the others' devices may still come.
            info.revoked &= token.revoked;
            if let Some(spent) = spent(&known.object) {
                let noted = spent.reused.as_ref().and_then(reuse);
                let both = [info.reused.take(), noted].into_iter().flatten();
                info.reused = both.max_by_key(|reuse| reuse.at);
                gathered.made.push((spent.since, id.clone()));
            }
        }
        let mut told: Vec<TokenInfo> = all.into_values().map(Gathered::told).collect();
        told.sort_by_key(|info| Reverse((info.created, info.id)));
        told.truncate(LISTED);
        Ok(told)
    }

    async fn stock(&self, tenant: &TenantId) -> Result<Vec<Stocked>, PortError> {
        let all = self.directory().cache().cameras();
        let waiting = all.into_iter().filter_map(|(camera, known)| {
            let waits = camera.tenant() == tenant && !known.is_leaving();
            let token = known.object.spec.enrolment.as_ref()?;
            let enrolled = spent(&known.object)?.since;
            (waits && in_stock(token)).then_some(Stocked { camera, enrolled })
        });
        let mut stock: Vec<Stocked> = waiting.collect();
        stock.sort_by_cached_key(|one| (Reverse(one.enrolled), one.camera.clone()));
        stock.truncate(LISTED);
        Ok(stock)
    }

    async fn claim(&self, camera: &CameraId) -> Result<bool, CameraAdminError> {
        let waits = |known: Known| {
            let token = known.object.spec.enrolment.as_ref();
            token.is_some_and(in_stock) && spent(&known.object).is_some()
        };
        let known = self.directory().cache().camera(camera);
        if !known.is_some_and(waits) {
            return Ok(false);
        }
        // What the last try found is what was written.
        let claimed = AtomicBool::new(false);
        let claim = |spec: &mut CameraSpec| {
            let token = spec.enrolment.as_mut().filter(|token| in_stock(token));
            claimed.store(token.is_some(), Ordering::Relaxed);
            if let Some(token) = token {
                token.claimed = true;
            }
        };
        self.change_with(camera, |_| Ok(true), claim).await?;
        Ok(claimed.into_inner())
    }

    /// Of all its cameras: one that cannot be changed holds up no other.
    async fn revoke(&self, tenant: &TenantId, id: i64) -> Result<bool, CameraAdminError> {
        let (mut found, mut refused) = (false, None);
        for (camera, known) in self.directory().cache().cameras() {
            let token = known.object.spec.enrolment.as_ref();
            let has_it = token.is_some_and(|token| is_number(token, id));
            if camera.tenant() != tenant || known.is_leaving() || !has_it {
                continue;
            }
            let take_back = |spec: &mut CameraSpec| {
                if let Some(token) = &mut spec.enrolment
                    && is_number(token, id)
                {
                    token.revoked = true;
                }
            };
            let revoked = self.change_with(&camera, |_| Ok(true), take_back).await;
            match revoked {
                // Removed meanwhile, and its token with it.
                Ok(_) | Err(CameraAdminError::Unknown(_)) => found = true,
                Err(error @ CameraAdminError::Unavailable(_)) => return Err(error),
                Err(error) => {
                    refused.get_or_insert((camera, error));
                }
            }
        }
        match refused {
            Some((camera, error)) => Err(CameraAdminError::Refused(format!(
                "the token still stands in camera {camera}: {error}"
            ))),
            None => Ok(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_a_number_that_people_can_type() {
        let hash = token_hash("a-token-of-some-30-characters");
        assert_eq!(hash.len(), "sha256:".len() + 64);
        let number = number(&hash).unwrap();
        assert!((0..1 << 40).contains(&number), "{number}");
        assert_eq!(super::number("sha256:short"), None);
    }
}
