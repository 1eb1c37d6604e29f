//! `Enrolment` over Camera resources (rule S3): a stranger who holds the token of a Camera's spec becomes that camera.
//!
//! ```text
//! ENROLL ─▶ hash ─▶ cache: whose spec has it? ─▶ PUT status.enrolledKey, with the version that was read ─▶ its record has the key ─▶ ENROLLED
//! ```
//! The token's hash, its end, whether the camera may connect and who spent the token stand in one object: one compare-and-swap spends it, and no spec is
//! written. Whoever guesses costs no call (rule S9). An answer that was lost is given again, since the status names the key.
//!
//! **Owns** `status.enrolledKey`. Does not own: tokens, which their owner's own rights make and take back (`tokens`).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use moorline_base::clock::timeout;
use moorline_base::rate::Limiter;
use moorline_core::camera::{Camera, CameraKey, CameraSet, Enabled};
use moorline_core::port::{CameraAdminError, EnrollAsked, EnrollError, Enrolment, PortError};
use moorline_core::{CameraId, PublicKey, Timestamp, check};
use sha2::{Digest as _, Sha256};

use crate::cache::Known;
use crate::call::{CALL, Fault};
use crate::convert::{key, key_line, spent};
use crate::resource::{CameraStatus, EnrolledKey, Newer, ReusedToken};
use crate::status::StatusWriter;

const OPERATION: &str = "enrol a camera";
/// The port's.
const DEADLINE: Duration = Duration::from_secs(10);
/// A token whose cameras others write meanwhile is asked for again so often.
const CONFLICTS: usize = 16;
/// The same second key is noted once in so many milliseconds: whoever has a copy of the file calls again and again.
const NOTED: i64 = 60_000;
/// Other second keys of one camera that are noted at once, and how many a second from then on: whoever has a copy of the file can make keys without end
/// (rule S9).
const KEYS_NOTED: (u32, f64) = (4, 1.0 / 60.0);
/// Cameras of which that is counted.
const COUNTED: usize = 10_000;
/// The greatest count of such notes.
const MOST_NOTED: u32 = 1_000_000_000;

/// A token as the resource has it.
pub(crate) fn token_hash(token: &str) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(token.as_bytes())))
}

/// `Enrolment` of a replica. Clones are the same.
#[derive(Debug, Clone)]
pub struct KubeEnrolment {
    writer: StatusWriter,
    notes: Arc<Mutex<Limiter<CameraId>>>,
}

/// What becomes of who holds a token.
#[derive(Debug)]
enum Decision {
    /// It is that camera: its answer was lost.
    Is(CameraId),
    /// It becomes that camera.
    Becomes(CameraId, Known),
    /// Others have become all that the token makes, that camera last.
    TooLate(CameraId, Known),
}

impl KubeEnrolment {
    /// By the cameras that this writer's cache knows.
    pub fn new(writer: StatusWriter) -> Self {
        let (many, per_second) = KEYS_NOTED;
        Self {
            writer,
            notes: Arc::new(Mutex::new(Limiter::new(many, per_second, COUNTED))),
        }
    }

    async fn run(&self, asked: &EnrollAsked) -> Result<CameraId, EnrollError> {
        let writer = &self.writer;
        let hash = token_hash(asked.token.reveal());
        let mut calls = 0;
        while calls < CONFLICTS {
            let now = Timestamp::from_millis(writer.clock().wall_ms());
            let cache = writer.cache();
            let decision = decide(cache.enrolling(&hash), &cache.records(), &asked.key, now)?;
            match decision {
                Decision::Is(id) => return Ok(id),
                Decision::Becomes(id, known) => {
                    let line = key_line(&CameraKey {
                        key: asked.key.clone(),
                        added: now,
                        comment: format!("enrolled: {} {}", asked.model, asked.mac),
                    });
                    let enrolled = EnrolledKey {
                        key: line,
                        token_hash: hash.clone(),
                        since: now,
                        reused: None,
                        newer: Newer::new(),
                    };
                    let change = |status: &mut CameraStatus| status.enrolled_key = Some(enrolled);
                    // What its record says then is the answer, whoever was first.
                    let called = self.write(&id, &known, change).await;
                    calls += usize::from(called.map_err(|fault| fault.port(OPERATION))?);
                }
                Decision::TooLate(id, known) => {
                    self.note(&id, &known, asked, now).await;
                    return Err(EnrollError::Spent { camera: Some(id) });
                }
            }
        }
        Err(PortError::new(OPERATION, "others change this camera all the time").into())
    }

    /// Writes a status. Where the object is another one by now, or nobody knows, it is read again instead. `false`: it is known already that it is another
    /// one, and nothing was asked: the devices of a batch that are given power together call each other's cameras theirs.
    async fn write(
        &self,
        id: &CameraId,
        known: &Known,
        change: impl FnOnce(&mut CameraStatus),
    ) -> Result<bool, Fault> {
        let writer = &self.writer;
        let _place = writer.room().place(&**writer.clock()).await?;
        let lane = writer.lane(id);
        let _turn = lane.turn.lock().await;
        let version = |known: &Known| known.object.metadata.resource_version.clone();
        if writer.cache().camera(id).as_ref().map(version) != Some(version(known)) {
            return Ok(false);
        }
        match writer.put(known, CALL, change).await {
            Err(Fault::Conflict | Fault::Unknown(_) | Fault::Missing) => {
                match writer.read(id, CALL).await {
                    Ok(_) | Err(Fault::Missing) => Ok(true),
                    Err(fault) => Err(fault),
                }
            }
            written => written.map(|()| true),
        }
    }

    /// Notes a second key for the camera's owner, who does not see this log; seldom, where keys come without end.
    async fn note(&self, id: &CameraId, known: &Known, asked: &EnrollAsked, now: Timestamp) {
        let before = spent(&known.object).and_then(|spent| spent.reused.as_ref());
        let key = asked.key.fingerprint();
        let until = before.map(|before| before.at.as_millis().saturating_add(NOTED));
        if before.is_some_and(|before| before.key == key)
            && until.is_some_and(|until| now.as_millis() < until)
        {
            return;
        }
        let instant = self.writer.clock().monotonic();
        let may = {
            let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
            notes.try_take(id.clone(), instant).is_ok()
        };
        if !may {
            return;
        }
        let reused = ReusedToken {
            at: now,
            from: asked.peer.ip().to_canonical().to_string(),
            key,
            times: before.map_or(1, |before| before.times.saturating_add(1).min(MOST_NOTED)),
            newer: Newer::new(),
        };
        let change = |status: &mut CameraStatus| {
            if let Some(spent) = &mut status.enrolled_key {
                spent.reused = Some(reused);
            }
        };
        if let Err(fault) = self.write(id, known, change).await {
            tracing::warn!(camera = %id, %fault, "the second key of a token was not noted");
        }
    }
}

/// What becomes of a key whose token these cameras have.
fn decide(
    mut found: Vec<(CameraId, Known)>,
    records: &CameraSet,
    asked: &PublicKey,
    now: Timestamp,
) -> Result<Decision, EnrollError> {
    let tenant = found.first().map(|(id, _)| id.tenant().clone());
    let tenant = tenant.ok_or(EnrollError::Refused("unknown"))?;
    // Whoever may read a Camera can put its token's hash into one of their own.
    if found.iter().any(|(id, _)| *id.tenant() != tenant) {
        return Err(EnrollError::Refused("cameras of two tenants have it"));
    }
    // A batch goes by its numbers.
    found.sort_by_cached_key(|(id, _)| (id.name().len(), id.name().to_owned()));
    let is_it = |enrolled: &EnrolledKey| {
        let known = key(&enrolled.key, enrolled.since);
        known.is_ok_and(|known| known.key == *asked)
    };
    let same = |known: &Known| spent(&known.object).is_some_and(is_it);
    if let Some((id, _)) = found.iter().find(|(_, known)| same(known)) {
        // Unless it is not the camera's any more.
        let holds = records.get(id).is_some_and(|camera| {
            camera.enabled == Enabled::Yes && camera.keys.iter().any(|one| one.key == *asked)
        });
        return match holds {
            true => Ok(Decision::Is(id.clone())),
            false => Err(EnrollError::Refused("revoked")),
        };
    }
    let mut refused = None;
    let unspent = found
        .iter()
        .filter(|(_, known)| spent(&known.object).is_none());
    for (id, known) in unspent {
        match is_open(known, records.get(id).map(|camera| &**camera), now) {
            Ok(camera) => {
                fits(camera, records, asked)?;
                return Ok(Decision::Becomes(id.clone(), known.clone()));
            }
            Err(why) => {
                refused.get_or_insert(why);
            }
        }
    }
    if let Some(why) = refused {
        return Err(EnrollError::Refused(why));
    }
    // All is spent: then a copy of the file tells of itself, however old its token is.
    let last = found
        .into_iter()
        .max_by_key(|(_, known)| spent(&known.object).map(|spent| spent.since));
    last.map(|(id, known)| Decision::TooLate(id, known))
        .ok_or(EnrollError::Refused("unknown"))
}

/// The camera that an unspent token makes now, or why it makes none.
fn is_open<'a>(
    known: &Known,
    record: Option<&'a Camera>,
    now: Timestamp,
) -> Result<&'a Camera, &'static str> {
    let token = known.object.spec.enrolment.as_ref().ok_or("unknown")?;
    if token.revoked {
        return Err("revoked");
    }
    if now >= token.expires {
        return Err("expired");
    }
    match record {
        Some(camera) if camera.enabled == Enabled::Yes => Ok(camera),
        Some(_) => Err("its camera is disabled"),
        None => Err("its camera has a field that is wrong"),
    }
}

/// Whether a camera may have that key besides: no other camera of its tenant has it (rule S2), and there is room.
fn fits(camera: &Camera, records: &CameraSet, key: &PublicKey) -> Result<(), CameraAdminError> {
    let mut owners = records.having(key).iter();
    let other = owners.find(|owner| **owner != camera.id && owner.tenant() == camera.id.tenant());
    if let Some(owner) = other {
        return Err(CameraAdminError::KeyTaken {
            fingerprint: key.fingerprint(),
            owner: format!("camera {owner}"),
        });
    }
    if camera.keys.len() >= check::KEYS && !camera.keys.iter().any(|one| one.key == *key) {
        return Err(CameraAdminError::Invalid {
            field: "keys",
            value: format!("{} keys", camera.keys.len()),
            expected: "use at most 16: revoke old ones first",
        });
    }
    Ok(())
}

#[async_trait]
impl Enrolment for KubeEnrolment {
    async fn enroll(&self, asked: EnrollAsked) -> Result<CameraId, EnrollError> {
        let decided = timeout(&**self.writer.clock(), DEADLINE, self.run(&asked)).await;
        decided.unwrap_or_else(|late| Err(PortError::new(OPERATION, late).into()))
    }
}
