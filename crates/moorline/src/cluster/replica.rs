//! What a replica of `moorline mon` alone knows, for whoever may enter its pod: the keys that it refused, and the agents and own pages of the cameras
//! whose tunnels it holds. The routes are those of `serve`, on a Unix socket; no port leads to them.
//!
//! **Owns** which part stands behind which port of the routes there. What a replica does not have is [`Absent`], and it changes no camera.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use moorline_base::{CancellationToken, SharedClock};
use moorline_core::port::{CameraDirectory, Landings, Statuses, Strangers};
use moorline_web::Site;

use super::api::{place, told};
use super::unchanged::Unchanged;
use crate::absent::Absent;

/// The parts of a replica that its commands ask.
pub(super) struct Replica {
    pub(super) cameras: Arc<dyn CameraDirectory>,
    pub(super) statuses: Arc<dyn Statuses>,
    pub(super) strangers: Arc<dyn Strangers>,
    pub(super) landings: Arc<dyn Landings>,
    pub(super) clock: SharedClock,
    /// The host that cameras know.
    pub(super) public_host: String,
}

impl Replica {
    /// The routes over it.
    pub(super) fn router(self) -> Router {
        let says = BTreeMap::from([(told::PUBLIC_HOST.to_owned(), self.public_host)]);
        moorline_web::router(Site {
            cameras: self.cameras,
            admin: Arc::new(Unchanged::BY_A_REPLICA),
            tokens: Arc::new(Absent),
            statuses: self.statuses,
            users: Arc::new(Absent),
            sessions: Arc::new(Absent),
            audit: Arc::new(Absent),
            relays: Arc::new(Absent),
            landings: Some(self.landings),
            recordings: Arc::new(Absent),
            store: Arc::new(Absent),
            strangers: self.strangers,
            operations: Arc::new(Absent),
            clock: self.clock,
            place: Arc::new(place(&says)),
        })
    }
}

/// Forgets the refused keys that were given to a camera since, by whomever: they are not pending any more. Ends with `stop`.
pub(super) async fn forget_added(
    cameras: Arc<dyn CameraDirectory>,
    strangers: Arc<dyn Strangers>,
    stop: CancellationToken,
) {
    let mut version = cameras.version();
    let mut before = cameras.snapshot();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            seen = cameras.changed(version) => version = seen,
        }
        let now = cameras.snapshot();
        for stranger in strangers.pending() {
            // A key that was a camera's before was refused for another reason, which goes on.
            let added =
                before.having(&stranger.key).is_empty() && !now.having(&stranger.key).is_empty();
            if added {
                strangers.forget(&stranger.key);
            }
        }
        before = now;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use moorline_base::clock::SystemClock;
    use moorline_core::port::Stranger;
    use moorline_core::{PublicKey, Timestamp};
    use moorline_kube::KubeDirectory;
    use moorline_kube::resource::Camera;
    use serde_json::json;
    use tokio::sync::Notify;

    use super::super::testing::api::Api;
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHtSwcjEgyQ6LUwxeGVQbPqjkYhPKxMkqzhJvU8cDhqT";
    const OTHER: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB";

    /// Refused keys, and a bell for when one is forgotten.
    struct Listed(Mutex<Vec<Stranger>>, Notify);

    impl Strangers for Listed {
        fn pending(&self) -> Vec<Stranger> {
            self.0.lock().unwrap().clone()
        }

        fn forget(&self, key: &PublicKey) {
            self.0.lock().unwrap().retain(|one| one.key != *key);
            self.1.notify_one();
        }
    }

    fn stranger(key: &str) -> Stranger {
        Stranger {
            key: key.parse().unwrap(),
            name: "acme/yard".into(),
            names: vec!["acme/yard".into()],
            peer: "192.0.2.7:4711".parse().unwrap(),
            client: "SSH-2.0-dropbear".into(),
            first: Timestamp::default(),
            last: Timestamp::default(),
            tries: 1,
            reason: "unknown_key",
            held_off: None,
        }
    }

    /// A camera as the watch shows it.
    fn camera(name: &str, key: &str, version: &str) -> Camera {
        let spec = serde_json::from_value(json!({"keys": [key]})).unwrap();
        let mut camera = Camera::new(name, spec);
        camera.metadata.namespace = Some("t-acme".into());
        camera.metadata.uid = Some(name.into());
        camera.metadata.resource_version = Some(version.into());
        camera
    }

    #[tokio::test]
    async fn a_refused_key_that_is_given_to_a_camera_is_pending_no_more() {
        let api = Api::new(|| 0);
        let directory = KubeDirectory::new(api.client(), SystemClock::shared());
        let cache = directory.cache().clone();
        cache.saw_camera(camera("gate", OTHER, "1"));
        let refused = vec![stranger(KEY), stranger(OTHER)];
        let strangers = Arc::new(Listed(Mutex::new(refused), Notify::new()));
        let forgetting = forget_added(
            Arc::new(directory),
            strangers.clone(),
            CancellationToken::new(),
        );
        let added = async {
            cache.saw_camera(camera("yard", KEY, "2"));
            let patience = moorline_testkit::patience(Duration::from_secs(30));
            let forgotten = tokio::time::timeout(patience, strangers.1.notified()).await;
            forgotten.expect("it is forgotten");
        };
        tokio::select! {
            biased;
            () = forgetting => panic!("it ends by its token alone"),
            () = added => {}
        }
        let left: Vec<PublicKey> = strangers.pending().into_iter().map(|one| one.key).collect();
        let other: PublicKey = OTHER.parse().unwrap();
        assert_eq!(
            left,
            [other],
            "a camera's own key is refused for another reason"
        );
    }
}
