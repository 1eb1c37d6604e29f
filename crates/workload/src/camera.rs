//! The directory of a relay's pod: its one camera, as the holder described it, with the passwords that are mounted now.
//!
//! The holder knows no password, so a new one changes nothing that it sees, and the pod stays. The kubelet exchanges the mounted files; they are looked at
//! here, and the relay connects again with what has changed. Whatever else of a camera is changed gives it another pod.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use moorline_base::clock::sleep;
use moorline_base::{CancellationToken, Clock};
use moorline_core::port::CameraDirectory;
use moorline_core::{Camera, CameraSet, Masked, SourceName};
use moorline_gateway::mounted_password;
use tokio::sync::watch;

/// A kubelet takes up to a minute and a half until it has exchanged them.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The one camera.
#[derive(Debug)]
pub(crate) struct OneCamera {
    present: ArcSwap<CameraSet>,
    changes: watch::Sender<u64>,
}

impl OneCamera {
    pub(crate) fn new(camera: &Camera) -> Self {
        Self {
            present: ArcSwap::from_pointee(CameraSet::new([camera.clone()])),
            changes: watch::Sender::new(0),
        }
    }

    /// Looks at the mounted passwords, until `stop` is cancelled.
    pub(crate) async fn follow(
        &self,
        passwords: &Path,
        clock: &dyn Clock,
        stop: &CancellationToken,
    ) {
        while !sleep(clock, LOOK_EVERY, stop).await.is_cancelled() {
            self.look(|source| mounted_password(passwords, source).ok());
        }
    }

    /// Takes the passwords as they are now. One that is not there stays what it was: its Secret may be made anew.
    fn look(&self, password: impl Fn(SourceName) -> Option<Masked<String>>) {
        let cameras = self.present.load_full();
        let Some(before) = cameras.iter().next() else {
            return;
        };
        let mut camera = Camera::clone(before);
        let sources = [
            (SourceName::Main, Some(&mut camera.main)),
            (SourceName::Sub, camera.sub.as_mut()),
        ];
        for (name, source) in sources {
            if let Some(login) = source.and_then(|source| source.login.as_mut())
                && let Some(password) = password(name)
            {
                login.password = password;
            }
        }
        if camera != **before {
            tracing::info!("the camera's password has changed");
            self.present.store(Arc::new(CameraSet::new([camera])));
            self.changes.send_modify(|count| *count += 1);
        }
    }
}

#[async_trait]
impl CameraDirectory for OneCamera {
    fn snapshot(&self) -> Arc<CameraSet> {
        self.present.load_full()
    }

    async fn changed(&self, seen: u64) -> u64 {
        let mut changes = self.changes.subscribe();
        let changed = changes.wait_for(|count| *count != seen).await;
        match changed.map(|count| *count).ok() {
            Some(count) => count,
            None => std::future::pending().await,
        }
    }

    fn version(&self) -> u64 {
        *self.changes.borrow()
    }
}

#[cfg(test)]
mod tests {
    use moorline_core::Timestamp;
    use moorline_core::camera::{Login, Source};
    use moorline_core::segment::Retention;

    use super::*;

    fn source(password: &str) -> Source {
        Source {
            login: Some(Login {
                user: "admin".to_owned(),
                password: Masked::new(password.to_owned()),
            }),
            ..Source::default()
        }
    }

    fn yard(main: &str, sub: &str) -> Camera {
        let id = "acme/yard".parse().unwrap();
        Camera {
            main: source(main),
            sub: Some(source(sub)),
            ..Camera::new(id, Timestamp::default(), Retention::Days(14))
        }
    }

    fn shows(directory: &OneCamera, camera: &Camera) -> bool {
        let shown = directory.snapshot();
        shown
            .get(&camera.id)
            .is_some_and(|shown| **shown == *camera)
    }

    /// As where the wrong one was typed first: the camera's record is otherwise the same, and the pod stays.
    #[tokio::test]
    async fn a_password_that_was_changed_is_a_changed_record() {
        let directory = OneCamera::new(&yard("wrong", "small"));
        let seen = directory.version();
        let mounted = |main: &'static str| {
            move |source: SourceName| {
                let text = if source == SourceName::Main {
                    main
                } else {
                    "small"
                };
                Some(Masked::new(text.to_owned()))
            }
        };
        directory.look(mounted("wrong"));
        assert_eq!(directory.version(), seen, "nothing new");
        directory.look(mounted("right"));
        assert_ne!(directory.changed(seen).await, seen);
        assert!(shows(&directory, &yard("right", "small")));

        let seen = directory.version();
        directory.look(|_| None);
        assert_eq!(directory.version(), seen, "its Secret is away");
        assert!(shows(&directory, &yard("right", "small")));
    }

    #[test]
    fn a_camera_without_a_login_is_given_none() {
        let camera = Camera {
            main: Source::default(),
            sub: None,
            ..yard("", "")
        };
        let directory = OneCamera::new(&camera);
        directory.look(|_| Some(Masked::new("left over".to_owned())));
        assert!(shows(&directory, &camera));
    }
}
