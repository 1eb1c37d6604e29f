//! What a tenant's namespace shows to somebody who only watches it: each version of its Cameras and of their pods, in the order in which it came.
//!
//! Owns: the two watches, and that no end of a pod is missed. Does not own: what follows from it. For who measures an installation from outside;
//! no part of one uses it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::runtime::watcher;
use moorline_base::CancellationToken;
use moorline_core::port::PodUid;
use moorline_core::{CameraId, TenantId};
use tokio::sync::watch;

use crate::call::Connection;
use crate::directory::{Change, feed_in};
use crate::names;
use crate::pods::PodView;
use crate::resource::{Camera, MANAGED_BY, MANAGED_BY_LABEL, ROLE_LABEL};

/// One thing that was seen.
#[derive(Debug, Clone)]
pub enum Sight {
    /// A version of a Camera.
    Camera(Box<Camera>),
    /// A version of a camera's pod.
    Pod(Box<PodView>),
    /// A camera's pod is gone for good.
    PodGone {
        /// Whose it was.
        camera: CameraId,
        /// Its identity.
        uid: PodUid,
    },
    /// A watch broke: versions that came until it goes on may never be seen.
    Broke,
}

/// The watches of one tenant's namespace.
#[derive(Debug)]
pub struct Witness {
    client: Connection,
    namespace: String,
    /// Whether each watch has listed once: cameras, pods.
    listed: [watch::Sender<bool>; 2],
}

impl Witness {
    /// Of that tenant; it sees nothing until [`Witness::run`] is running.
    pub fn new(client: Client, tenant: &TenantId) -> Self {
        Self {
            client: Connection(client),
            namespace: names::namespace(tenant),
            listed: [false, false].map(watch::Sender::new),
        }
    }

    /// Returns once cameras and pods have been listed: nothing is missed from then on. Cancel-safe; no deadline.
    pub async fn listed(&self) {
        for listed in &self.listed {
            // The sender is ours, so that waiting cannot fail.
            let _ = listed.subscribe().wait_for(|listed| *listed).await;
        }
    }

    /// Tells what it sees until `cancel`.
    pub async fn run(&self, cancel: CancellationToken, tell: impl Fn(Sight)) {
        tokio::select! {
            () = cancel.cancelled() => {}
            () = self.watch_cameras(&tell) => {}
            () = self.watch_pods(&tell) => {}
        }
    }

    async fn watch_cameras(&self, tell: &impl Fn(Sight)) {
        feed_in::<Camera>(
            self.client.0.clone(),
            &self.namespace,
            watcher::Config::default(),
            &self.listed[0],
            // It renews no Lease, and hears of no outage.
            watch::channel(0).1,
            |change| match change {
                Change::All(cameras) => {
                    let cameras = cameras.into_iter().map(Box::new);
                    cameras.map(Sight::Camera).for_each(tell);
                }
                Change::Now(camera) => tell(Sight::Camera(camera)),
                Change::Broke => tell(Sight::Broke),
                Change::Gone(_) | Change::Unreadable(_) => {}
            },
        )
        .await;
    }

    async fn watch_pods(&self, tell: &impl Fn(Sight)) {
        let mut roll = Roll::default();
        let ours = watcher::Config::default()
            .labels(&format!("{MANAGED_BY_LABEL}={MANAGED_BY},{ROLE_LABEL}"));
        feed_in::<Pod>(
            self.client.0.clone(),
            &self.namespace,
            ours,
            &self.listed[1],
            watch::channel(0).1,
            |change| roll.sights(change).into_iter().for_each(tell),
        )
        .await;
    }
}

/// The pods that are there.
#[derive(Debug, Default)]
struct Roll(BTreeMap<PodUid, CameraId>);

impl Roll {
    /// What a change of the watch shows. A pod that a new list does not have went while the watch was broken.
    fn sights(&mut self, change: Change<Pod>) -> Vec<Sight> {
        match change {
            Change::All(pods) => {
                let mut before = std::mem::take(&mut self.0);
                let mut sights = Vec::new();
                for pod in &pods {
                    let sight = self.saw(pod);
                    if let Some(Sight::Pod(view)) = &sight {
                        before.remove(&view.uid);
                    }
                    sights.extend(sight);
                }
                let gone = before.into_iter();
                sights.extend(gone.map(|(uid, camera)| Sight::PodGone { camera, uid }));
                sights
            }
            Change::Now(pod) => self.saw(&pod).into_iter().collect(),
            Change::Gone(metadata) => {
                let uid = PodUid(metadata.uid.unwrap_or_default());
                let camera = self.0.remove(&uid);
                let gone = camera.map(|camera| Sight::PodGone { camera, uid });
                gone.into_iter().collect()
            }
            Change::Broke => vec![Sight::Broke],
            Change::Unreadable(_) => Vec::new(),
        }
    }

    fn saw(&mut self, pod: &Pod) -> Option<Sight> {
        let view = PodView::of(pod)?;
        self.0.insert(view.uid.clone(), view.camera.clone());
        Some(Sight::Pod(Box::new(view)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource::CAMERA_LABEL;

    fn pod(uid: &str) -> Pod {
        let pod = json!({
            "metadata": {
                "name": uid, "namespace": "t-acme", "uid": uid,
                "labels": {ROLE_LABEL: "relay", CAMERA_LABEL: "yard"},
            },
        });
        serde_json::from_value(pod).unwrap()
    }

    /// The pods that are told to be gone.
    fn gone(sights: &[Sight]) -> Vec<&str> {
        let gone = sights.iter().filter_map(|sight| match sight {
            Sight::PodGone { camera, uid } if camera.name() == "yard" => Some(uid.0.as_str()),
            _ => None,
        });
        gone.collect()
    }

    #[test]
    fn a_pod_that_went_while_the_watch_was_broken_is_told_once() {
        let mut roll = Roll::default();
        assert!(gone(&roll.sights(Change::All(vec![pod("p-1"), pod("p-2")]))).is_empty());
        assert!(matches!(
            roll.sights(Change::Broke).as_slice(),
            [Sight::Broke]
        ));
        let sights = roll.sights(Change::All(vec![pod("p-2")]));
        assert_eq!((sights.len(), gone(&sights)), (2, vec!["p-1"]));
        let metadata = |uid: &str| Box::new(pod(uid).metadata);
        assert!(roll.sights(Change::Gone(metadata("p-1"))).is_empty());
        let sights = roll.sights(Change::Gone(metadata("p-2")));
        assert_eq!(gone(&sights), ["p-2"]);
    }
}
