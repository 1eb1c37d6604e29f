//! Who tells what in a cluster: each replica's monitor sees every camera, and knows only of those that it holds what they do.
//!
//! A camera that another replica holds is that one's to tell of; one that nobody holds is the janitor's, whose monitor hears by its resource what
//! its last holder knew. So the monitor looks only at its own, and whatever waits when a camera changes hands is told by nobody else.

use std::sync::Arc;

use async_trait::async_trait;
use moorline_core::CameraId;
use moorline_core::alarm::{Alarm, AlarmCamera, AlarmKind};
use moorline_core::port::{Holder, Holders, Notifier, NotifyError};
use tokio::sync::watch;

/// A notifier that tells of this replica's cameras alone.
pub struct OwnAlarms {
    holders: Arc<dyn Holders>,
    /// Whether this replica is the janitor.
    leads: watch::Receiver<bool>,
    next: Arc<dyn Notifier>,
}

impl OwnAlarms {
    /// Before `next`.
    pub fn new(
        holders: Arc<dyn Holders>,
        leads: watch::Receiver<bool>,
        next: Arc<dyn Notifier>,
    ) -> Self {
        Self {
            holders,
            leads,
            next,
        }
    }

    fn is_ours(&self, camera: &CameraId) -> bool {
        match self.holders.holder(camera) {
            Holder::Here(_) => true,
            Holder::There { .. } => false,
            Holder::Nobody | Holder::Unknown => *self.leads.borrow(),
        }
    }

    /// What is left to tell here; `None`: nothing.
    fn ours(&self, alarm: &Alarm) -> Option<Alarm> {
        let of = |cameras: &[AlarmCamera]| -> Option<Vec<AlarmCamera>> {
            let ours = cameras.iter().filter(|camera| self.is_ours(&camera.id));
            let ours: Vec<_> = ours.cloned().collect();
            (!ours.is_empty()).then_some(ours)
        };
        let kind = match &alarm.kind {
            AlarmKind::RecordingStopped { site, cameras } => AlarmKind::RecordingStopped {
                site: site.clone(),
                cameras: of(cameras)?,
            },
            AlarmKind::RecordingResumed { site, cameras } => AlarmKind::RecordingResumed {
                site: site.clone(),
                cameras: of(cameras)?,
            },
            AlarmKind::ToldLate { stopped, resumed } => {
                let (stopped, resumed) = (of(stopped), of(resumed));
                if stopped.is_none() && resumed.is_none() {
                    return None;
                }
                AlarmKind::ToldLate {
                    stopped: stopped.unwrap_or_default(),
                    resumed: resumed.unwrap_or_default(),
                }
            }
            // They arise from a session of this replica, whoever holds the camera by now, or from this process alone.
            kind @ (AlarmKind::KeyInTwoPlaces { .. }
            | AlarmKind::RecordingsDamaged { .. }
            | AlarmKind::Notice { .. }
            | AlarmKind::AgentRolledBack { .. }
            | AlarmKind::Test) => kind.clone(),
        };
        Some(Alarm {
            kind,
            ..alarm.clone()
        })
    }
}

#[async_trait]
impl Notifier for OwnAlarms {
    async fn tell(&self, alarm: &Alarm) -> Vec<Result<&'static str, NotifyError>> {
        match self.ours(alarm) {
            Some(alarm) => self.next.tell(&alarm).await,
            None => Vec::new(),
        }
    }

    fn reaches_anybody(&self) -> bool {
        self.next.reaches_anybody()
    }

    fn tells_of(&self, camera: &CameraId) -> bool {
        self.is_ours(camera)
    }

    fn channels(&self) -> Vec<&'static str> {
        self.next.channels()
    }

    async fn tell_by(
        &self,
        channel: &'static str,
        alarm: &Alarm,
    ) -> Vec<Result<&'static str, NotifyError>> {
        match self.ours(alarm) {
            Some(alarm) => self.next.tell_by(channel, &alarm).await,
            None => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use moorline_core::alarm::AlarmCause;
    use moorline_core::{Cause, Generation, TenantId, Timestamp};

    use super::*;

    /// `here` is ours, `there` another replica's, everything else nobody's.
    struct Fixed;

    #[async_trait]
    impl Holders for Fixed {
        fn holder(&self, camera: &CameraId) -> Holder {
            match camera.name() {
                "here" => Holder::Here(Generation(1)),
                "there" => Holder::There {
                    address: ([10, 0, 0, 2], 8443).into(),
                    generation: Generation(1),
                },
                _ => Holder::Nobody,
            }
        }

        async fn changed(&self, _: &CameraId, _: &Holder) -> Holder {
            std::future::pending().await
        }
    }

    #[derive(Default)]
    struct Told(Mutex<Vec<String>>);

    #[async_trait]
    impl Notifier for Told {
        async fn tell(&self, alarm: &Alarm) -> Vec<Result<&'static str, NotifyError>> {
            if let AlarmKind::RecordingStopped { cameras, .. } = &alarm.kind {
                let names = cameras.iter().map(|camera| camera.id.name().to_owned());
                self.0.lock().unwrap().extend(names);
            }
            Vec::new()
        }

        fn reaches_anybody(&self) -> bool {
            true
        }
    }

    async fn told(leads: bool, cameras: &[&str]) -> Vec<String> {
        let next = Arc::new(Told::default());
        let (_sender, leads) = watch::channel(leads);
        let own = OwnAlarms::new(Arc::new(Fixed), leads, Arc::clone(&next) as _);
        let camera = |name: &&str| AlarmCamera {
            id: format!("acme/{name}").parse().unwrap(),
            title: String::new(),
            timezone: "UTC".to_owned(),
            since: Timestamp::default(),
            until: None,
            cause: AlarmCause::Gap(Cause::TunnelDown),
            detail: None,
        };
        let alarm = Alarm {
            tenant: TenantId::home(),
            at: Timestamp::default(),
            kind: AlarmKind::RecordingStopped {
                site: None,
                cameras: cameras.iter().map(camera).collect(),
            },
        };
        own.tell(&alarm).await;
        let told = next.0.lock().unwrap();
        told.clone()
    }

    #[tokio::test]
    async fn a_camera_is_told_of_by_its_holder_and_without_one_by_the_janitor() {
        let all = ["here", "there", "away"];
        assert_eq!(told(false, &all).await, ["here"]);
        assert_eq!(told(true, &all).await, ["here", "away"]);
        assert!(told(true, &["there"]).await.is_empty());
    }
}
