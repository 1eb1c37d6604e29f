//! Reading the camera: one task per source, while somebody wants it.
//!
//! **Owns** the connection over the landing, the RTSP session on it, the pauses between tries, and the state that is reported.
//! **Does not own** what readers see (`source`).
//!
//! ```text
//! Idle ──wanted──▶ Connecting ──PLAY──▶ Playing ◀──media──▶ Silent (5 s without; connected again after 60 s)
//!  ▲                  │  │                 │
//!  │                  │  └─ fault ─▶ Refused ── pause, or Rebind, or another record ─▶ Connecting
//!  │                  └─ no landing ─▶ NoLanding ─▶ Connecting
//!  └── nobody wanted it for 10 s ──────────┘
//! ```
//! The pull is driven by events: a `Rebind` ends every pause. The task ends when its token is cancelled, after one TEARDOWN of at most
//! 2 s (P8). It never stops reading (P6), and never waits for a reader (P5).

mod approach;
mod drive;
mod settings;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use moorline_base::backoff::{Backoff, Jitter};
use moorline_base::clock::sleep;
use moorline_base::{CancellationToken, Untrusted};
use moorline_core::id::ForwardName;
use moorline_core::port::{CameraDirectory, LandingError, Landings};
use moorline_core::status::{RelayState, RtspFault};
use moorline_core::{Generation, camera};
use tokio::sync::watch;

use crate::config::RelayConfig;
use crate::metrics::{ProxyMetrics, Reason};
use crate::source::Source;
use approach::Approach;

/// How one try ended.
#[derive(Debug)]
enum Once {
    /// The relay ends.
    Stopped,
    /// Nobody wants it any more.
    Unwanted,
    /// Connect again at once: another tunnel, another record, or media flowed until now.
    Again,
    /// Connect again at once for the next of a few known paths and logins: one try in several connections.
    Next,
    /// The camera is away.
    Away,
    /// The camera refuses.
    Fault(RtspFault, String),
}

/// What an upstream task is made of.
pub(crate) struct Upstream {
    pub(crate) source: Arc<Source>,
    pub(crate) landings: Arc<dyn Landings>,
    pub(crate) directory: Arc<dyn CameraDirectory>,
    pub(crate) config: Arc<RelayConfig>,
    pub(crate) metrics: ProxyMetrics,
    /// The least generation that may be read.
    pub(crate) least: watch::Receiver<Generation>,
    /// Pulled whether somebody reads or not.
    pub(crate) recorded: bool,
    pub(crate) cancel: CancellationToken,
}

/// A newer tunnel took over while a stream was being opened: it is there, so this is short.
const SUPERSEDED_PAUSE: Duration = Duration::from_millis(20);
/// A camera of the own network that has not answered for so long is away: before the monitor takes what lasts for a refusal (after 5 s).
const UNANSWERED: Duration = Duration::from_secs(3);
/// A read that lasted so long was no failed try.
const STABLE_AFTER: Duration = Duration::from_secs(10);

impl Upstream {
    /// Reads the camera until the token is cancelled.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::new(
            self.config.retry_min,
            self.config.retry_max,
            STABLE_AFTER,
            Jitter::Equal,
        )
        .unwrap_or_else(|_| Backoff::standard());
        let mut approach = Approach::default();
        loop {
            if !self.until_wanted().await {
                break;
            }
            backoff.started(self.source.clock.monotonic());
            let once = self.run_once(&mut approach).await;
            let poster = crate::live::poster(&self.source);
            let now = self.source.now();
            self.source.change(|inner| {
                inner.poster = poster.or(inner.poster.take());
                inner.end_play(now);
            });
            match once {
                Once::Stopped => break,
                Once::Unwanted => self.let_go(),
                Once::Again => backoff.reset(),
                Once::Next => {}
                Once::Away => {
                    self.source.set_state(RelayState::NoLanding);
                    self.pause(self.config.retry_min, None).await;
                }
                Once::Fault(fault, text) => {
                    let mut retry_in = backoff.failed(self.source.clock.monotonic());
                    if fault == RtspFault::Unauthorized {
                        retry_in = retry_in.max(self.config.retry_unauthorized);
                    }
                    let reason = fault.as_str();
                    self.metrics
                        .upstream_faults
                        .get_or_create(&Reason { reason })
                        .inc();
                    let cameras = self.directory.snapshot();
                    let camera = cameras.get(&self.source.camera);
                    let hint = camera.map_or_else(String::new, |camera| fault.hint(camera));
                    tracing::warn!(
                        source = %self.source.name, reason, error = %Untrusted::new(text), ?retry_in,
                        hint, "the camera's stream cannot be read"
                    );
                    self.source.set_state(RelayState::Refused { fault });
                    self.pause(retry_in, approach.record()).await;
                }
            }
        }
        self.source.end();
    }

    /// Waits for somebody who wants the source; `false` when the relay ends.
    async fn until_wanted(&mut self) -> bool {
        if self.cancel.is_cancelled() {
            return false;
        }
        if self.recorded {
            return true;
        }
        let mut demand = self.source.demand();
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => false,
            wanted = demand.wait_for(|demand| demand.iter().any(|count| *count > 0)) => wanted.is_ok(),
        }
    }

    /// Nobody reads: nothing is kept but the still picture.
    fn let_go(&self) {
        let (now, wall) = (self.source.now(), self.source.wall());
        self.source.change(|inner| inner.let_go(now, wall));
        tracing::debug!(source = %self.source.name, "nobody reads: the camera is let go");
    }

    /// Waits; a newer tunnel, another record and the end cut it short.
    async fn pause(&mut self, duration: Duration, record: Option<camera::Source>) {
        let clock = Arc::clone(&self.source.clock);
        let other = record_changed(&*self.directory, &self.source, record);
        tokio::select! {
            biased;
            _ = self.least.changed() => (),
            () = other => (),
            _ = sleep(&*clock, duration, &self.cancel) => (),
        }
    }

    async fn run_once(&mut self, approach: &mut Approach) -> Once {
        let snapshot = self.directory.snapshot();
        let Some(camera) = snapshot.get(&self.source.camera) else {
            return Once::Away;
        };
        let Some(record) = camera.source(self.source.name) else {
            return Once::Fault(RtspFault::NotFound, "the camera has no such stream".into());
        };
        approach.prepare(record, &self.config.candidates, self.source.name);
        let is_lan = matches!(camera.access, camera::Access::Lan { .. });
        match self.source.look(|inner| inner.state) {
            RelayState::Silent => {}
            // Nothing has answered, and nothing says that something will now.
            RelayState::NoLanding if is_lan => {}
            _ => self.source.set_state(RelayState::Connecting),
        }
        let least = *self.least.borrow_and_update();
        let own = self.source.name.as_str().parse();
        let forward = own
            .ok()
            .filter(|_| self.config.landing_per_source)
            .unwrap_or_else(ForwardName::rtsp);
        let connecting = self.landings.connect(&self.source.camera, &forward, least);
        let unwanted = unwanted(&self.source, self.recorded, self.config.linger);
        let connected = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Once::Stopped,
            _ = self.least.changed() => return Once::Again,
            connected = connecting => connected,
            () = unwanted => return Once::Unwanted,
            never = unanswered(&self.source, &self.cancel, is_lan) => match never {},
        };
        if connected.is_ok() && self.source.look(|inner| inner.state) == RelayState::NoLanding {
            self.source.set_state(RelayState::Connecting);
        }
        match connected {
            Ok((stream, generation)) => {
                let authority = settings::authority(camera);
                drive::drive(self, approach, &authority, stream, generation).await
            }
            Err(LandingError::Away | LandingError::Unknown) => Once::Away,
            Err(error @ LandingError::RefusedByCamera) => {
                Once::Fault(RtspFault::RefusedByCamera, error.to_string())
            }
            Err(LandingError::Superseded) => {
                self.pause(SUPERSEDED_PAUSE, None).await;
                Once::Again
            }
        }
    }
}

/// Says that a camera of the own network is away where nothing answers at its address for a while: no link does, as a tunnel's would.
async fn unanswered(source: &Source, cancel: &CancellationToken, is_lan: bool) -> Infallible {
    if is_lan
        && !sleep(&*source.clock, UNANSWERED, cancel)
            .await
            .is_cancelled()
    {
        source.set_state(RelayState::NoLanding);
    }
    std::future::pending().await
}

/// Ends when nobody has wanted the source for the linger time; never while it is recorded.
pub(super) async fn unwanted(source: &Source, recorded: bool, linger: Duration) {
    if recorded {
        std::future::pending::<()>().await;
    }
    let mut demand = source.demand();
    loop {
        if demand
            .wait_for(|demand| demand.iter().all(|count| *count == 0))
            .await
            .is_err()
        {
            return;
        }
        let deadline = source.clock.monotonic() + linger;
        tokio::select! {
            biased;
            _ = demand.wait_for(|demand| demand.iter().any(|count| *count > 0)) => (),
            () = source.clock.sleep_until(deadline) => return,
        }
    }
}

/// Ends when the camera's record of this source is no longer `record`.
pub(super) async fn record_changed(
    directory: &dyn CameraDirectory,
    source: &Source,
    record: Option<camera::Source>,
) {
    let Some(record) = record else {
        return std::future::pending().await;
    };
    let mut seen = directory.version();
    loop {
        let snapshot = directory.snapshot();
        let now = snapshot
            .get(&source.camera)
            .and_then(|camera| camera.source(source.name));
        if now.is_some_and(|now| *now != record) {
            return;
        }
        seen = directory.changed(seen).await;
    }
}
