//! What a plan has to be written: pods are deleted and made. What is refused says how long the namespace is left alone, and why.

use std::sync::PoisonError;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, PostParams, Preconditions};
use moorline_core::CameraId;
use moorline_core::lifecycle::Role;
use moorline_core::port::PodUid;

use super::finish::{add_finalizer, is_kept};
use super::plan::{Plan, Step};
use super::template;
use super::view::Trouble;
use super::{Pods, Slot};
use crate::cache::Known;
use crate::call::{CALL, Fault, call};
use crate::names;
use crate::resource::CameraClassSpec;

/// Pods of one namespace that wait for a place or an image: beyond, no more are made.
const PENDING: usize = 100;
/// Between two tries to make a successor for which the quota has no room.
const SPARE: Duration = Duration::from_secs(30);

fn told(fault: &Fault) -> Trouble {
    Trouble {
        reason: fault.reason(),
        message: fault.to_string(),
    }
}

impl Pods {
    /// Deletes, then creates: both pods at once. On failure: how long to wait, and why.
    pub(super) async fn carry_out(
        &self,
        slot: &Slot,
        known: &Known,
        class: Option<&CameraClassSpec>,
        decided: &Plan,
    ) -> Result<(), (Duration, Trouble)> {
        let namespace = names::namespace(slot.camera.tenant());
        let tasks = decided.steps.iter().map(|step| {
            let api: Api<Pod> = Api::namespaced(self.writer().client().clone(), &namespace);
            async move {
                match (step, class) {
                    (Step::Delete { name, uid }, _) => self.delete(&api, name, uid).await,
                    (Step::Create { role, name }, Some(class)) => {
                        self.create(&api, &slot.camera, known, class, *role, name)
                            .await
                    }
                    (Step::Create { .. } | Step::Leave { .. }, _) => Ok(()),
                }
            }
        });
        let creates = decided.creates();
        if creates {
            self.may_create(&namespace)?;
            self.turn(&slot.camera)?;
            if !is_kept(&known.object) {
                let kept = add_finalizer(self.writer(), &slot.camera, known).await;
                kept.map_err(|fault| (self.0.teller.failed(&namespace), told(&fault)))?;
            }
        }
        let results = futures::future::join_all(tasks).await;
        if creates {
            let full = |result: &Result<(), Fault>| matches!(result, Err(Fault::Quota(_)));
            let full = results.iter().any(full);
            slot.with(|state| state.over_quota = full);
        }
        match results.into_iter().find_map(Result::err) {
            None => {
                if creates {
                    self.0.teller.succeeded(&namespace);
                }
                Ok(())
            }
            Some(fault) => {
                let trouble = told(&fault);
                // Others' pods do not wait because there is no room for one that nobody needs yet.
                if decided.creates_spare() && matches!(fault, Fault::Quota(_)) {
                    let again = self.clock().monotonic() + SPARE;
                    slot.with(|state| state.spare_after = Some(again));
                    return Err((SPARE, trouble));
                }
                Err((self.0.teller.failed(&namespace), trouble))
            }
        }
    }

    /// Takes the camera's turn to have pods made (rule S5).
    fn turn(&self, camera: &CameraId) -> Result<(), (Duration, Trouble)> {
        let now = self.clock().monotonic();
        let mut pace = self.0.pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace.turn(camera, now)
    }

    pub(super) fn may_create(&self, namespace: &str) -> Result<(), (Duration, Trouble)> {
        if let Some((wait, trouble)) = self.0.teller.waits(namespace) {
            return Err((wait, trouble));
        }
        let pending = self.0.pods.pending(namespace);
        if pending >= PENDING {
            let message = format!(
                "namespace {namespace}: {pending} pods wait for a place or an image already"
            );
            let trouble = Trouble {
                reason: "TooManyPending",
                message,
            };
            return Err((Duration::from_secs(5), trouble));
        }
        Ok(())
    }

    async fn create(
        &self,
        api: &Api<Pod>,
        id: &CameraId,
        known: &Known,
        class: &CameraClassSpec,
        role: Role,
        name: &str,
    ) -> Result<(), Fault> {
        let _place = self.0.writes.acquire().await;
        let pod = template::pod(id, &known.object, class, role, name, &self.0.settings)
            .map_err(Fault::Invalid)?;
        let parameters = PostParams::default();
        let created = call(&**self.clock(), CALL, api.create(&parameters, &pod)).await;
        let found = match created {
            Err(Fault::Exists | Fault::Unknown(_)) => {
                call(&**self.clock(), CALL, api.get(name)).await
            }
            other => other,
        }?;
        let uid = found.metadata.uid.clone().unwrap_or_default();
        let ours = found
            .metadata
            .owner_references
            .iter()
            .flatten()
            .any(|owner| owner.uid == known.uid);
        if !ours {
            return Err(Fault::Invalid(format!(
                "pod {name} ({uid}) exists and is not this camera's: delete it"
            )));
        }
        self.0.pods.saw(&found);
        Ok(())
    }

    async fn delete(&self, api: &Api<Pod>, name: &str, uid: &PodUid) -> Result<(), Fault> {
        let _place = self.0.writes.acquire().await;
        let parameters = DeleteParams::background().preconditions(Preconditions {
            uid: Some(uid.0.clone()),
            resource_version: None,
        });
        match call(&**self.clock(), CALL, api.delete(name, &parameters)).await {
            Ok(_) => self.0.pods.deleting(uid),
            // Another pod has the name, or none: this one is gone.
            Err(Fault::Missing | Fault::Conflict) => self.0.pods.gone(uid),
            Err(fault) => return Err(fault),
        }
        Ok(())
    }
}
