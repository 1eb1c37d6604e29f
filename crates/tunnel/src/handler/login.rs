//! Deciding a login (rule S1): the key proves, the name chooses, both must agree.
//!
//! From memory alone (P7). The client hears one constant sentence; the reason is counted, logged, and listed for `camera pending`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use moorline_base::Untrusted;
use moorline_core::camera::{Refusal, RefusalReason};
use moorline_core::{Camera, PublicKey, Timestamp};
use russh::keys::ssh_key;

use super::CameraHandler;
use super::enrolment::{Enrolling, USER};
use crate::stranger::Offer;

impl CameraHandler {
    /// Whether a key and a name ask to be enrolled: any key that a camera may have, unless it is the key of a camera that is called `enroll`.
    /// A key that became another camera's a moment ago asks again: the answer to its enrolment was lost (S3).
    pub(super) fn enrols(&self, user: &str, key: &ssh_key::PublicKey) -> Option<Enrolling> {
        let with = self.inner.enrolment.get().filter(|_| user == USER)?;
        let key = PublicKey::from_blob(&key.to_bytes().ok()?).ok()?;
        let camera = self.decide(user, &key);
        if camera.is_ok_and(|camera| camera.id.name() == USER) {
            return None;
        }
        Some(Enrolling::new(key, Arc::clone(with)))
    }

    /// Whether a key that is only offered may go on to its signature (S1). A key that would be refused with an alarm may: a public key is no
    /// secret, and only who has its other half is to make a camera look stolen, or gone elsewhere (S4).
    pub(super) fn may_sign(&self, user: &str, key: &ssh_key::PublicKey) -> bool {
        let own = key.to_bytes().ok();
        let own = own.and_then(|blob| PublicKey::from_blob(&blob).ok());
        let alarms = own.is_some_and(|key| {
            let decided = self.decide(user, &key);
            matches!(decided, Err(Refusal::Stolen(_) | Refusal::Elsewhere { .. }))
        });
        alarms || self.login(user, key).is_some()
    }

    /// Decides a key and a name from memory (S1). A refusal is counted and listed.
    pub(super) fn login(
        &self,
        user: &str,
        key: &ssh_key::PublicKey,
    ) -> Option<(Arc<Camera>, PublicKey)> {
        let refused = |reason| {
            self.session.refused_key.store(true, Ordering::Relaxed);
            self.inner.metrics.login_refused(reason);
        };
        let blob = key.to_bytes().unwrap_or_default();
        let key = match PublicKey::from_blob(&blob) {
            Ok(key) => key,
            Err(error) => {
                refused(RefusalReason::KeyAlgorithm);
                self.session.refused_stranger.store(true, Ordering::Relaxed);
                tracing::info!(peer = %self.session.peer, user = %Untrusted::new(user), %error, "login refused");
                return None;
            }
        };
        match self.decide(user, &key) {
            Ok(camera) => Some((camera, key)),
            Err(refusal) => {
                refused(refusal.reason());
                self.log_refusal(user, &key, &refusal);
                let offer = Offer {
                    key,
                    name: user,
                    peer: self.session.peer,
                    client: self.session.client(),
                    reason: refusal.reason().as_str(),
                };
                let now = Timestamp::from_millis(self.inner.clock.wall_ms());
                if !self.inner.strangers.refused(offer, now) {
                    self.session.refused_stranger.store(true, Ordering::Relaxed);
                }
                None
            }
        }
    }

    /// Whose key and name that are, by the installation's rule for names.
    fn decide(&self, user: &str, key: &PublicKey) -> Result<Arc<Camera>, Refusal> {
        let (cameras, from) = (self.inner.directory.snapshot(), self.session.peer.ip());
        if self.inner.config.names_required {
            cameras.login_by_name(user, key, from)
        } else {
            cameras.login(user, key, from)
        }
    }

    fn log_refusal(&self, user: &str, key: &PublicKey, refusal: &Refusal) {
        let (peer, key) = (self.session.peer, key.fingerprint());
        let user = Untrusted::new(user);
        let reason = refusal.reason().as_str();
        match refusal {
            Refusal::Stolen(camera) => {
                let client = Untrusted::new(self.session.client());
                tracing::warn!(%camera, %peer, %key, %user, %client, "a stolen camera called");
                self.monitor
                    .events
                    .stolen(camera, peer, self.session.client());
            }
            Refusal::Elsewhere { camera, allowed } => {
                let hint = "moorline camera set --allow-from lists where it may call from";
                tracing::warn!(%camera, %peer, %key, %user, %allowed, reason, hint, "login refused");
            }
            _ => tracing::info!(%peer, %key, %user, reason, "login refused"),
        }
    }
}
