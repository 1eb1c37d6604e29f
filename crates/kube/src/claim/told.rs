//! What the owner is told of a tunnel, as Events: that it was lost, where it is now, and that another connection took the camera.

use moorline_core::CameraId;

use super::KubeClaims;
use crate::cache::Known;
use crate::events::Grade;
use crate::resource::ConditionKind;
use crate::resource::ready::{self, find};

/// What a lost tunnel means, and what to do.
pub(super) const LOST: &str = "the tunnel was lost and its pods wait for it: it is back by itself, or else the camera's power and network are to be looked at, and the log of mon";

/// A claim whose write had to wait.
const LATE: &str = "it called while the API server did not answer, and was served from memory; its claim is written now. Nothing is to be done for it: look at the control plane if it comes again";

impl KubeClaims {
    /// The tunnel was lost, and has not come back for a while.
    pub(super) fn tell_lost(&self, camera: &CameraId) {
        let writer = &self.0.writer;
        if let Some(known) = writer.cache().camera(camera) {
            let object = &known.object;
            writer
                .events()
                .tell(camera, object, ready::LOST, LOST, Grade::Warning);
        }
    }

    /// A claim was taken here: of a tunnel that had been lost, or that another replica had. A first one is no news.
    pub(super) fn tell_where_it_was(&self, camera: &CameraId, before: &Known) {
        let Some(connected) = find(before.conditions(), ConditionKind::Connected) else {
            return;
        };
        let writer = &self.0.writer;
        let owned = writer.owned();
        let here = &owned.replica().name;
        let session = before.session();
        let there = session.and_then(|session| session.mon.as_deref());
        let (reason, message) = match (connected.status.as_str(), there) {
            _ if connected.reason == ready::LOST => (
                "Back",
                format!("the tunnel is back, at {here}: its pods go on"),
            ),
            ("True", Some(there)) if there != here.as_str() => (
                "Moved",
                format!(
                    "the camera called {here} while {there} had its tunnel: its pods go on. That is so when {there} ends or is cut off; if it comes again and again, look at both (kubectl describe pod) and at the load balancer"
                ),
            ),
            // A predecessor's: this process never had it.
            ("True", Some(_)) if owned.get(camera).is_none() => (
                "Moved",
                format!(
                    "{here}, which had its tunnel, ended and was begun anew, and the camera called it again: its pods go on. Why it ended: kubectl logs --previous {here}"
                ),
            ),
            _ => return,
        };
        writer
            .events()
            .tell(camera, &before.object, reason, &message, Grade::Normal);
    }

    /// A connection of this replica gave way to a newer one elsewhere.
    pub(super) fn tell_newer(&self, camera: &CameraId, found: &Known, peer: Option<&str>) {
        let session = found.session();
        let there = session.and_then(|session| session.mon.as_deref());
        let message = format!(
            "of two connections at once the one from {} gave way to the newer one, at {}. If it comes again, two devices have one key: give each its own, moorline camera key add {}",
            peer.unwrap_or("an unknown address"),
            there.unwrap_or("another replica"),
            camera.in_command(),
        );
        let events = self.0.writer.events();
        events.tell(
            camera,
            &found.object,
            "NewerConnection",
            &message,
            Grade::Warning,
        );
    }

    /// A claim was written that had waited for the API server.
    pub(super) fn tell_late(&self, camera: &CameraId) {
        let writer = &self.0.writer;
        if let Some(known) = writer.cache().camera(camera) {
            let object = &known.object;
            writer
                .events()
                .tell(camera, object, "ApiServerAway", LATE, Grade::Warning);
        }
    }
}
