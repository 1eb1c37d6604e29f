//! Containers that were begun anew, pods that the cluster takes away, and archivers that were waited for long enough: each is mended by itself, and told
//! once, since what it cost and whether it comes again is for the owner to look at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use moorline_base::config::HumanDuration;
use moorline_core::lifecycle::Role;
use moorline_core::port::PodUid;

use super::plan::{Plan, Progress, Step};
use super::view::{PodView, Trouble};
use super::{Pods, Slot};
use crate::cache::Known;
use crate::events::Grade;

/// What was told of a camera's pods.
#[derive(Debug, Default)]
pub(super) struct Deaths {
    /// How often the container of each had been begun anew when it was last looked at.
    restarts: BTreeMap<PodUid, i32>,
    disrupted: BTreeSet<PodUid>,
    given_up: BTreeSet<PodUid>,
}

impl Deaths {
    /// What is new. What had happened to a pod before it was seen here was its last holder's to tell.
    fn news(&mut self, pods: &[Arc<PodView>]) -> Vec<Trouble> {
        let there = |uid: &PodUid| pods.iter().any(|pod| pod.uid == *uid);
        self.restarts.retain(|uid, _| there(uid));
        self.disrupted.retain(there);
        self.given_up.retain(there);
        let mut news = Vec::new();
        for pod in pods {
            let before = self.restarts.insert(pod.uid.clone(), pod.restarts);
            if before.is_some_and(|before| before < pod.restarts) {
                news.push(restarted(pod));
            }
            if let Some(why) = &pod.disrupted
                && self.disrupted.insert(pod.uid.clone())
            {
                news.push(disrupted(pod, why));
            }
        }
        news
    }

    /// The archivers that are deleted although they have not said `drained`.
    fn given_up<'a>(
        &mut self,
        pods: &'a [Arc<PodView>],
        leaving: &BTreeMap<PodUid, Progress>,
        decided: &Plan,
    ) -> Vec<&'a PodView> {
        let deleted = |pod: &PodView| {
            let is_it = |step: &Step| matches!(step, Step::Delete { uid, .. } if *uid == pod.uid);
            decided.steps.iter().any(is_it)
        };
        let has_a_spool = |pod: &PodView| pod.role == Role::Archiver && !pod.over && !pod.untouched;
        let overdue = |pod: &PodView| {
            let progress = leaving.get(&pod.uid);
            progress.is_some_and(|progress| progress.overdue && !progress.drained)
        };
        let pods = pods.iter().map(|pod| &**pod);
        pods.filter(|pod| has_a_spool(pod) && overdue(pod) && deleted(pod))
            .filter(|pod| self.given_up.insert(pod.uid.clone()))
            .collect()
    }
}

fn restarted(pod: &PodView) -> Trouble {
    let (name, ended) = (
        &pod.name,
        pod.ended.as_deref().unwrap_or("for no known reason"),
    );
    let (reason, cost) = match pod.role {
        Role::Relay => ("RelayRestarted", "its readers wait and read on"),
        Role::Archiver => (
            "ArchiverRestarted",
            "it finds its spool again and uploads what is there",
        ),
    };
    Trouble {
        reason,
        message: format!(
            "the container of {name} ended ({ended}) and was begun anew: {cost}. If it comes again: kubectl logs --previous {name}; where it is OOMKilled, raise {}.memory of the CameraClass",
            pod.role.as_str()
        ),
    }
}

fn disrupted(pod: &PodView, why: &str) -> Trouble {
    let name = &pod.name;
    let cost = match pod.role {
        Role::Relay => "a successor is made",
        Role::Archiver => {
            "a successor is made; what its spool had not uploaded is lost with it unless it still can"
        }
    };
    Trouble {
        reason: "PodDisrupted",
        message: format!(
            "{name} is taken away ({why}): {cost}. Look at its node: kubectl get nodes"
        ),
    }
}

impl Pods {
    /// Tells what has happened to a camera's pods.
    pub(super) fn deaths(&self, slot: &Slot, known: &Known, pods: &[Arc<PodView>]) {
        let news = slot.with(|state| state.deaths.news(pods));
        for Trouble { reason, message } in news {
            tracing::warn!(camera = %slot.camera, reason, message, "a pod was not let live");
            self.tell(slot, known, reason, &message, Grade::Warning);
        }
    }

    /// Tells of archivers that are given up with what their spools have.
    pub(super) fn given_up(
        &self,
        slot: &Slot,
        known: &Known,
        pods: &[Arc<PodView>],
        leaving: &BTreeMap<PodUid, Progress>,
        decided: &Plan,
    ) {
        let given_up = slot.with(|state| {
            let all = state.deaths.given_up(pods, leaving, decided);
            all.into_iter()
                .map(|pod| pod.name.clone())
                .collect::<Vec<_>>()
        });
        for name in given_up {
            let patience = HumanDuration::from_secs(self.patience(&slot.camera).as_secs());
            let message = format!(
                "{name} has not said within {patience} that all is uploaded, and is deleted with what its spool still has: look at the store and at the tenant's StoreReady; drainPatience of the CameraClass says how long is waited"
            );
            tracing::warn!(camera = %slot.camera, message, "an archiver is given up");
            self.tell(slot, known, "DrainOverdue", &message, Grade::Warning);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::resource::{CAMERA_LABEL, ROLE_LABEL};

    fn pod(role: &str, uid: &str, status: &Value) -> Arc<PodView> {
        let pod = json!({
            "metadata": {"name": format!("cam-yard-{role}"), "namespace": "t-acme", "uid": uid, "labels": {ROLE_LABEL: role, CAMERA_LABEL: "yard"}},
            "status": status,
        });
        Arc::new(PodView::of(&serde_json::from_value(pod).unwrap()).unwrap())
    }

    fn container(restarts: u32, ended: &Value) -> Value {
        json!({"containerStatuses": [{
            "name": "c", "image": "a", "imageID": "", "ready": true, "restartCount": restarts, "lastState": ended,
        }]})
    }

    fn reasons(news: &[Trouble]) -> Vec<&str> {
        news.iter().map(|word| word.reason).collect()
    }

    #[test]
    fn a_container_that_was_begun_anew_is_told_once_with_how_it_ended() {
        let mut deaths = Deaths::default();
        let oom = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
        let killed = json!({"terminated": {"exitCode": 137, "reason": "Error"}});
        let first = [
            pod("relay", "r-1", &container(0, &json!({}))),
            // What its last holder saw.
            pod("archiver", "a-1", &container(3, &killed)),
        ];
        assert!(deaths.news(&first).is_empty());
        let both = [
            pod("relay", "r-1", &container(1, &oom)),
            pod("archiver", "a-1", &container(4, &killed)),
        ];
        let news = deaths.news(&both);
        assert_eq!(reasons(&news), ["RelayRestarted", "ArchiverRestarted"]);
        for part in ["OOMKilled, exit code 137", "raise relay.memory"] {
            assert!(news[0].message.contains(part), "{}", news[0].message);
        }
        assert!(
            news[1].message.contains("finds its spool again"),
            "{}",
            news[1].message
        );
        assert!(deaths.news(&both).is_empty());
    }

    #[test]
    fn a_pod_that_the_cluster_takes_away_is_told_once_with_why() {
        let mut deaths = Deaths::default();
        let gone = json!({"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint"}]});
        let pods = [pod("archiver", "a-1", &gone)];
        let news = deaths.news(&pods);
        assert_eq!(reasons(&news), ["PodDisrupted"]);
        for part in [
            "DeletionByTaintManager",
            "NoExecute taint",
            "kubectl get nodes",
        ] {
            assert!(news[0].message.contains(part), "{}", news[0].message);
        }
        assert!(deaths.news(&pods).is_empty());
    }
}
