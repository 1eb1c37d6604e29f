//! Who looks after cameras whose holder is gone: each replica after what its predecessor of the same name left, the janitor after all.
//!
//! ```text
//! holder lives                      → nothing
//! given back before it was used     → its pods, an earlier holder's, have their Grace here, and are drained
//! holder gone, or a predecessor     → Grace, in memory: nothing is written, a camera that comes back claims on
//! Grace over, or nobody's with pods → take over by compare-and-swap under the same generation: a claim meanwhile wins; then drain
//! an outage of the API server       → no Grace is over before every replica has written, and heard, who claimed what in it
//! deleted, nothing left             → take the finalizer away
//! made without our finalizer        → add it        a field is wrong, a key is an older camera's, an alarm was told → say so
//! ```
//! All by state, pass after pass: a change that was missed is seen by the next one.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use moorline_base::CancellationToken;
use moorline_base::config::HumanDuration;
use moorline_core::{CameraId, Generation, Timestamp};

use crate::cache::{DuplicateKey, Known};
use crate::call::{CALL, Fault};
use crate::events::Grade;
use crate::holders::Gone;
use crate::lease::Leases;
use crate::owned::Own;
use crate::pods::{Pods, add_finalizer, is_kept, remove_finalizer};
use crate::resource::ready::{DRAINING, INVALID, find};
use crate::resource::{ConditionKind, Newer, Session};
use crate::status::Note;

/// Between two passes.
const EVERY: Duration = Duration::from_secs(5);
/// Cameras that one pass takes over: a lost replica with thousands is drained at a pace.
const AT_ONCE: usize = 50;
/// Where the class says nothing that can be read.
const GRACE: Duration = Duration::from_secs(30);

/// What a camera needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// Nothing.
    Nothing,
    /// Its holder is gone, or it is nobody's and has pods: to be drained once its grace is over.
    Orphan,
    /// It was deleted and nothing is left of it.
    Finalizer,
    /// It was made without our finalizer.
    Mark,
    /// A field is wrong and its status does not say so, or says so and it is right by now.
    Wrong,
}

/// Judges one camera. `mine`: this process holds it. `all`: this replica is the janitor.
pub(crate) fn judge(
    known: &Known,
    me: &str,
    mine: bool,
    all: bool,
    gone: &Gone,
    pods: bool,
) -> Work {
    let marked = is_kept(&known.object);
    if mine {
        // Before its pods were made it was marked: somebody has taken that away, or an older version made them.
        return match known.is_leaving() || marked {
            true => Work::Nothing,
            false => Work::Mark,
        };
    }
    let mon = known.session().and_then(|session| session.mon.as_deref());
    match mon {
        Some(mon) if mon == me => return Work::Orphan,
        Some(mon) if all && gone.contains(mon) => return Work::Orphan,
        Some(_) => return Work::Nothing,
        None if !all => return Work::Nothing,
        None if pods => return Work::Orphan,
        None => {}
    }
    match (known.is_leaving(), marked) {
        (true, true) => Work::Finalizer,
        (true, false) => Work::Nothing,
        (false, false) => Work::Mark,
        (false, true) if has_to_be_told(known) => Work::Wrong,
        (false, true) => Work::Nothing,
    }
}

/// What is to be said of keys that belong to older cameras, if it is not said yet: whether there are any, and the words.
fn duplicates(known: &Known, taken: &[DuplicateKey]) -> Option<(bool, String)> {
    let said = find(known.conditions(), ConditionKind::DuplicateKey);
    let words: Vec<String> = taken
        .iter()
        .map(|key| {
            format!(
                "key {} belongs to the older camera {}",
                key.fingerprint, key.owner
            )
        })
        .collect();
    let message = match words.len() {
        0 => String::new(),
        _ => format!("{}; give this camera a key of its own", words.join(", ")),
    };
    let is_said = match said {
        Some(said) => (said.status == "True") != taken.is_empty() && said.message == message,
        None => taken.is_empty(),
    };
    (!is_said).then_some((!taken.is_empty(), message))
}

/// The condition of a camera that has not come back to its pods.
fn abandoned() -> Note {
    Note::condition(
        ConditionKind::Connected,
        false,
        DRAINING,
        "its holder is gone; the archiver uploads what it has",
    )
}

/// Whether the status has to say of the record what it does not say yet, or what is no longer so.
fn has_to_be_told(known: &Known) -> bool {
    let status = known.object.status.as_ref();
    let observed = status.and_then(|status| status.observed_generation);
    let said =
        find(known.conditions(), ConditionKind::Ready).is_some_and(|ready| ready.reason == INVALID);
    match &known.record {
        Err(_) => !said || observed != known.object.metadata.generation,
        Ok(_) => said,
    }
}

/// The keeper of one replica.
#[derive(Debug)]
pub struct Janitor {
    pods: Pods,
    leases: Leases,
    /// Since when a camera has no holder, with the generation that it had then.
    orphans: HashMap<CameraId, (Generation, Instant)>,
}

impl Janitor {
    /// Looks after what the replica of `pods` may have to.
    pub fn new(pods: Pods, leases: Leases) -> Self {
        Self {
            pods,
            leases,
            orphans: HashMap::new(),
        }
    }

    /// Passes until `cancel`. Begins once the watch of pods has listed.
    pub async fn run(mut self, cancel: CancellationToken) {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = self.pods.cache().listed() => {}
        }
        loop {
            self.pass().await;
            let clock = self.pods.writer().clock();
            if moorline_base::clock::sleep(&**clock, EVERY, &cancel)
                .await
                .is_cancelled()
            {
                return;
            }
        }
    }

    async fn pass(&mut self) {
        let all = *self.leases.leads().borrow();
        let (writer, me) = (
            self.pods.writer().clone(),
            self.pods.writer().owned().replica().name.clone(),
        );
        let now = writer.clock().monotonic();
        for (id, own) in writer.owned().all() {
            // A claim that came after its tunnel had gone was given back before any pod of it was looked after.
            let done = match own.waits {
                Some(since) if self.has_waited(&id, since, now) => self.end_wait(&id, &own).await,
                None if own.released => {
                    self.pods.take_over(&id);
                    Ok(())
                }
                _ => Ok(()),
            };
            if let Err(fault) = done
                && fault != Fault::Conflict
            {
                tracing::warn!(camera = %id, %fault, "the pods of a claim that was given back are not drained yet");
            }
        }
        let mut taken = 0;
        let cameras = writer.cache().cameras();
        let sessions = cameras.iter().filter_map(|(_, known)| known.session());
        self.leases
            .named(sessions.filter_map(|session| session.mon.as_deref()));
        let ids: HashSet<&CameraId> = cameras.iter().map(|(id, _)| id).collect();
        self.orphans.retain(|id, _| ids.contains(id));
        for (id, known) in cameras {
            let mine = writer.owned().get(&id).is_some();
            let pods = self
                .pods
                .cache()
                .of(&known.uid)
                .iter()
                .any(|pod| !pod.deleting);
            // Each says it of its own cameras, the janitor of those that nobody holds.
            let held = known.session().is_some_and(|session| session.mon.is_some());
            if (mine || (all && !held)) && !known.is_leaving() {
                let taken = writer.cache().duplicates(&id);
                if let Some((are, message)) = duplicates(&known, &taken)
                    && let Err(fault) = self.say_duplicates(&id, &known, mine, are, &message).await
                    && fault != Fault::Conflict
                {
                    tracing::warn!(camera = %id, %fault, "duplicate keys were not told");
                }
            }
            if all
                && !held
                && let Err(fault) = self.say_alarmed(&id, &known).await
                && fault != Fault::Conflict
            {
                tracing::warn!(camera = %id, %fault, "an alarm was not written down: it may be told once more");
            }
            let work = judge(&known, &me, mine, all, self.leases.gone(), pods);
            if work != Work::Orphan {
                self.orphans.remove(&id);
            }
            let done = match work {
                Work::Nothing => Ok(()),
                Work::Orphan if taken >= AT_ONCE || !self.grace_is_over(&id, &known, now) => Ok(()),
                Work::Orphan => {
                    taken += 1;
                    self.take_over(&id, &known).await
                }
                Work::Finalizer => remove_finalizer(&writer, &known).await,
                Work::Mark => add_finalizer(&writer, &id, &known).await,
                Work::Wrong => self.say_wrong(&id, &known).await,
            };
            if let Err(fault) = done
                && fault != Fault::Conflict
            {
                tracing::warn!(camera = %id, ?work, %fault, "the janitor could not");
            }
        }
    }

    fn grace(&self, known: &Known) -> Duration {
        let class = self.pods.writer().cache().class(&known.object.spec.class);
        let grace = class.and_then(|class| class.grace.parse::<HumanDuration>().ok());
        grace.map_or(GRACE, HumanDuration::get)
    }

    /// Whether a camera that was lost before it was served here has had its grace. One that may not come back has none.
    fn has_waited(&self, id: &CameraId, since: Instant, now: Instant) -> bool {
        let known = self.pods.writer().cache().camera(id);
        let may_return = |known: &Known| {
            let record = known.record.as_ref();
            !known.is_leaving() && record.is_ok_and(|record| record.enabled.is_yes())
        };
        known
            .filter(may_return)
            .is_none_or(|known| self.is_over(since, self.grace(&known), now))
    }

    /// Whether a grace is over. Not in an outage of the API server, and a while after it: another replica may have the camera.
    fn is_over(&self, since: Instant, grace: Duration, now: Instant) -> bool {
        let waited = now.saturating_duration_since(since) >= grace;
        waited && self.leases.freshness().unsettled(now).is_zero()
    }

    /// The camera has not come back: says so before any pod is told to drain, so that whoever claims it from then on does not use them.
    async fn end_wait(&self, id: &CameraId, own: &Own) -> Result<(), Fault> {
        let writer = self.pods.writer();
        let (note, now) = (abandoned(), writer.now());
        writer
            .put_own(id, own.generation, |status| note.apply(status, now))
            .await?;
        let owned = writer.owned();
        if owned.change(id, own.generation, |own| own.waits = None) {
            self.pods.take_over(id);
        }
        Ok(())
    }

    /// Counts a camera's grace. What nobody held and is still there had its grace already.
    fn grace_is_over(&mut self, id: &CameraId, known: &Known, now: Instant) -> bool {
        let held = known.session().is_some_and(|session| session.mon.is_some());
        let grace = self.grace(known);
        let generation = known.generation();
        let since = self.orphans.entry(id.clone()).or_insert((generation, now));
        if since.0 != generation {
            *since = (generation, now);
        }
        let since = since.1;
        !held || known.is_leaving() || self.is_over(since, grace, now)
    }

    /// Takes an orphan's draining over, under its own generation.
    async fn take_over(&mut self, id: &CameraId, known: &Known) -> Result<(), Fault> {
        let writer = self.pods.writer();
        let replica = writer.owned().replica().clone();
        let generation = known.generation();
        let since = known.session().and_then(|session| session.since);
        let note = abandoned();
        let now = writer.now();
        let lane = writer.lane(id);
        let _turn = lane.turn.lock().await;
        writer
            .put(known, CALL, |status| {
                status.claimed(Session {
                    generation: generation.0,
                    mon: Some(replica.name.clone()),
                    address: Some(replica.gateway.to_string()),
                    since,
                    peer: None,
                    newer: Newer::new(),
                });
                note.apply(status, now);
            })
            .await?;
        tracing::info!(camera = %id, %generation, "taken over, to be drained");
        if let Some(holder) = known.session().and_then(|session| session.mon.as_deref())
            && !known.is_leaving()
        {
            let message = format!(
                "{holder}, which had its tunnel, ended, and the camera has not called since: its archiver uploads what it has, and its pods go. Look at mon (kubectl get pods -A -l app.kubernetes.io/component=mon) and at the camera's power and network"
            );
            let events = writer.events();
            events.tell(id, &known.object, "HolderGone", &message, Grade::Warning);
        }
        let own = Own {
            uid: known.uid.clone(),
            generation,
            session: None,
            since: since.unwrap_or(Timestamp::from_millis(0)),
            provisional: false,
            found_draining: false,
            released: true,
            waits: None,
            left: None,
        };
        writer.owned().put(id, own);
        self.pods.take_over(id);
        self.orphans.remove(id);
        Ok(())
    }

    /// Says that keys belong to older cameras, or that none does any more.
    async fn say_duplicates(
        &self,
        id: &CameraId,
        known: &Known,
        mine: bool,
        are: bool,
        message: &str,
    ) -> Result<(), Fault> {
        const REASON: [&str; 2] = ["KeysOfItsOwn", "KeyOfOlderCamera"];
        let writer = self.pods.writer();
        let reason = REASON[usize::from(are)];
        let note = Note::condition(ConditionKind::DuplicateKey, are, reason, message);
        if mine && let Some(own) = writer.owned().get(id) {
            writer.note(id, own.generation, note);
        } else {
            let now = writer.now();
            let lane = writer.lane(id);
            let _turn = lane.turn.lock().await;
            let put = writer.put(known, CALL, |status| note.apply(status, now));
            put.await?;
        }
        let told = match are {
            true => message,
            false => "no key of it belongs to an older camera any more",
        };
        let events = writer.events();
        events.tell(id, &known.object, reason, told, Grade::of(!are));
        Ok(())
    }

    /// Somebody was told that a camera which nobody holds stands still: the replica that it comes back to tells that it goes on.
    async fn say_alarmed(&self, id: &CameraId, known: &Known) -> Result<(), Fault> {
        let status = known.object.status.as_ref();
        let written = status.and_then(|status| status.away.as_ref());
        let Some(since) = self.pods.memories().alarmed(id) else {
            return Ok(());
        };
        if written.is_none_or(|away| away.alarmed_since.is_some()) {
            return Ok(());
        }
        let writer = self.pods.writer();
        let lane = writer.lane(id);
        let _turn = lane.turn.lock().await;
        let put = writer.put(known, CALL, |status| {
            if let Some(away) = &mut status.away {
                away.alarmed_since = Some(since);
            }
        });
        put.await
    }

    async fn say_wrong(&self, id: &CameraId, known: &Known) -> Result<(), Fault> {
        let writer = self.pods.writer();
        let lane = writer.lane(id);
        let _turn = lane.turn.lock().await;
        writer
            // What is wrong follows from the record, as in every write.
            .put(known, CALL, |_| ())
            .await
    }
}
