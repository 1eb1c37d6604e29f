//! The heartbeat: a URL that is fetched while the server lives, so that somebody else notices its death.
//!
//! Says nothing about cameras. A failure is counted, and logged once until the next success: the service on the other side raises the
//! alarm, not we. Ends with its token.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use moorline_base::CancellationToken;
use moorline_base::SharedClock;
use moorline_base::clock::sleep;
use moorline_core::Timestamp;
use url::Url;

use crate::call::call;
use crate::config::{Config, ConfigError};
use crate::guard::{Guard, system_resolver};

/// The configured heartbeat.
#[derive(Clone)]
pub struct Heartbeat {
    guard: Guard,
    url: Url,
    every: Duration,
    clock: SharedClock,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    failed: AtomicU64,
    /// Milliseconds since 1970 on the wall; 0: not yet.
    last: AtomicI64,
    failing: AtomicBool,
}

impl Heartbeat {
    /// The heartbeat of a configuration; `None` when there is no URL.
    ///
    /// # Errors
    /// [`ConfigError`] for the first field that is wrong.
    pub fn new(config: &Config, clock: SharedClock) -> Result<Option<Self>, ConfigError> {
        if config.heartbeat.is_empty() {
            return Ok(None);
        }
        let guard = Guard::new(config, clock.clone(), system_resolver())?;
        Ok(Some(Self {
            url: guard.parse("heartbeat", &config.heartbeat)?,
            guard,
            every: config.heartbeat_interval()?,
            clock,
            counts: Arc::default(),
        }))
    }

    /// Beats at once and then each interval, until `stop` is cancelled.
    pub async fn run(&self, stop: CancellationToken) {
        loop {
            let beat = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                beat = call(&self.guard, &self.url, None) => beat,
            };
            match beat {
                Ok(()) => {
                    self.counts.sent.fetch_add(1, Ordering::Relaxed);
                    self.counts
                        .last
                        .store(self.clock.wall_ms(), Ordering::Relaxed);
                    if self.counts.failing.swap(false, Ordering::Relaxed) {
                        tracing::info!("the heartbeat gets out again");
                    }
                }
                Err(failure) => {
                    self.counts.failed.fetch_add(1, Ordering::Relaxed);
                    if !self.counts.failing.swap(true, Ordering::Relaxed) {
                        tracing::warn!(reason = %failure.why, "the heartbeat does not get out; it is tried each interval");
                    }
                }
            }
            if sleep(&*self.clock, self.every, &stop).await.is_cancelled() {
                return;
            }
        }
    }

    /// How many beats got out.
    pub fn sent(&self) -> u64 {
        self.counts.sent.load(Ordering::Relaxed)
    }

    /// When one got out last; `None`: none since the start.
    pub fn last(&self) -> Option<Timestamp> {
        let last = self.counts.last.load(Ordering::Relaxed);
        (last != 0).then(|| Timestamp::from_millis(last))
    }

    /// Whether the last one did not get out.
    pub fn is_failing(&self) -> bool {
        self.counts.failing.load(Ordering::Relaxed)
    }

    /// How many did not.
    pub fn failed(&self) -> u64 {
        self.counts.failed.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Heartbeat {
    /// The host alone: the rest of the URL is a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Heartbeat")
            .field("host", &self.url.host_str())
            .field("every", &self.every)
            .finish_non_exhaustive()
    }
}
