//! The end: nothing of a camera's is left, and the claim is let go.

use std::sync::Arc;
use std::time::Duration;

use kube::Api;
use kube::api::{Patch, PatchParams};
use moorline_core::{CameraId, Cause, Timestamp};
use serde_json::json;

use super::pass::Next;
use super::{LOOK_AGAIN, Pods, Slot};
use crate::cache::Known;
use crate::call::{CALL, Fault, call};
use crate::names;
use crate::owned::Own;
use crate::resource::ready::{ABSENT, find};
use crate::resource::{ARCHIVE_FINALIZER, Away, Camera, ConditionKind, Newer};
use crate::status::{Note, StatusWriter};

/// After a write that failed, it is tried again in so long.
const AGAIN: Duration = Duration::from_secs(5);
/// So often a write of the finalizer is begun anew when another one came between.
const CONFLICTS: usize = 4;

impl Pods {
    /// Nothing stands and nothing is wanted: lets go of the claim, if it was given back.
    pub(super) async fn finish(&self, slot: &Slot, known: &Known, own: &Own) -> Next {
        if known.is_leaving() {
            return match remove_finalizer(self.writer(), known).await {
                Ok(()) => {
                    self.writer().owned().remove(&slot.camera, own.generation);
                    Next::End
                }
                Err(fault) => {
                    tracing::warn!(camera = %slot.camera, %fault, "a deleted camera is kept by its finalizer");
                    Next::Look(AGAIN)
                }
            };
        }
        if !own.released && own.session.is_some() {
            // A tunnel without pods: between two instances, or one that is about to be wanted.
            return Next::Look(LOOK_AGAIN);
        }
        let now = self.writer().now();
        let said = slot.with(|state| state.durable_until);
        let away = match own.session {
            Some(_) => self.0.memories.away(
                &slot.camera,
                Cause::TunnelDown,
                Timestamp::from_millis(now.as_millisecond()),
                said,
            ),
            None => found_away(known, now, said),
        };
        let note = Note {
            relay: Some(None),
            ..Note::condition(ConditionKind::Connected, false, ABSENT, "no tunnel")
        }
        .and(ConditionKind::WorkloadsReady, false, ABSENT, "")
        .and(ConditionKind::RelayReady, false, ABSENT, "")
        .and(ConditionKind::Archiving, false, ABSENT, "");
        let written = self
            .writer()
            .put_own(&slot.camera, own.generation, |status| {
                if let Some(session) = &mut status.session {
                    (session.mon, session.address, session.peer) = (None, None, None);
                }
                status.away = Some(away.clone());
                note.apply(status, now);
            })
            .await;
        match written {
            Ok(()) | Err(Fault::Conflict | Fault::Missing) => {
                self.writer().owned().remove(&slot.camera, own.generation);
                Next::End
            }
            Err(fault) => {
                tracing::warn!(camera = %slot.camera, %fault, "the end of a session was not written");
                Next::Look(AGAIN)
            }
        }
    }
}

/// Of a camera whose draining was taken over: since when its tunnel is known to be gone, and what its archiver has said. The monitor here knows
/// nothing of it.
fn found_away(known: &Known, now: jiff::Timestamp, durable_until: Option<Timestamp>) -> Away {
    let connected = find(known.conditions(), ConditionKind::Connected);
    let lost = connected.filter(|connected| connected.status == "False");
    let since = lost.map_or(now, |lost| lost.last_transition_time.0);
    Away {
        since: Timestamp::from_millis(since.as_millisecond()),
        cause: Cause::TunnelDown.to_string(),
        durable_until,
        recorded_until: None,
        alarmed_since: None,
        newer: Newer::new(),
    }
}

/// Whether a Camera that is deleted waits for us.
pub(crate) fn is_kept(camera: &Camera) -> bool {
    let mut marks = camera.metadata.finalizers.iter().flatten();
    marks.any(|name| name == ARCHIVE_FINALIZER)
}

/// Puts our finalizer onto a Camera that was made without: one that vanishes at once leaves an archiver that nobody signs for, with all that it has.
pub(crate) async fn add_finalizer(
    writer: &StatusWriter,
    id: &CameraId,
    known: &Known,
) -> Result<(), Fault> {
    let api: Api<Camera> = Api::namespaced(writer.client().clone(), &names::namespace(id.tenant()));
    let lane = writer.lane(id);
    let _turn = lane.turn.lock().await;
    // What this replica has written meanwhile is known.
    let seen = writer.cache().camera(id);
    let seen = seen.filter(|seen| seen.uid == known.uid);
    let mut camera = seen.map_or_else(|| Arc::clone(&known.object), |seen| seen.object);
    // Whoever else writes at this moment does not stand in the way for long.
    for _ in 0..CONFLICTS {
        if is_kept(&camera) {
            return Ok(());
        }
        let mut finalizers = camera.metadata.finalizers.clone().unwrap_or_default();
        finalizers.push(ARCHIVE_FINALIZER.into());
        let (uid, version) = (&known.uid, &camera.metadata.resource_version);
        let patch =
            json!({"metadata": {"uid": uid, "resourceVersion": version, "finalizers": finalizers}});
        let (parameters, patch) = (PatchParams::default(), Patch::Merge(&patch));
        match call(
            &**writer.clock(),
            CALL,
            api.patch(id.name(), &parameters, &patch),
        )
        .await
        {
            Ok(patched) => {
                writer.cache().saw_camera(patched);
                return Ok(());
            }
            Err(Fault::Conflict) => {
                camera = Arc::new(call(&**writer.clock(), CALL, api.get(id.name())).await?);
            }
            Err(fault) => return Err(fault),
        }
    }
    Err(Fault::Conflict)
}

/// Takes our finalizer from a Camera, and nobody else's.
pub(crate) async fn remove_finalizer(writer: &StatusWriter, known: &Known) -> Result<(), Fault> {
    let metadata = &known.object.metadata;
    let ours = metadata
        .finalizers
        .iter()
        .flatten()
        .position(|name| name == ARCHIVE_FINALIZER);
    let (Some(index), Some(name)) = (ours, metadata.name.as_deref()) else {
        return Ok(());
    };
    let path = format!("/metadata/finalizers/{index}");
    let patch = json!([
        {"op": "test", "path": "/metadata/uid", "value": known.uid},
        {"op": "test", "path": path, "value": ARCHIVE_FINALIZER},
        {"op": "remove", "path": path},
    ]);
    let patch: json_patch::Patch =
        serde_json::from_value(patch).map_err(|error| Fault::Invalid(error.to_string()))?;
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let api: Api<Camera> = Api::namespaced(writer.client().clone(), namespace);
    let (parameters, patch) = (PatchParams::default(), Patch::Json::<()>(patch));
    let patched = api.patch(name, &parameters, &patch);
    match call(&**writer.clock(), CALL, patched).await {
        Ok(_) => {
            if let Some(id) = names::camera(namespace, name) {
                writer.cache().camera_gone(&id, Some(&known.uid));
            }
            Ok(())
        }
        Err(Fault::Missing) => Ok(()),
        Err(fault) => Err(fault),
    }
}
