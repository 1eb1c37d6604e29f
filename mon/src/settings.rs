use std::time::Duration;

/// The monitor's times. [`Settings::default`] holds the values of the design; tests shorten them.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long relay and archiver wait for a lost tunnel. Zero: none.
    pub grace: Duration,
    /// What a draining instance gets for its last upload; 5 s later it is killed.
    pub drain_budget: Duration,
    /// How long the stop of the process waits for all cameras to be at rest.
    pub stop_budget: Duration,
    /// `durable until` standing still for so long, although the camera is enabled, is an alarm.
    pub alarm_after: Duration,
    /// Cameras of one site of which no further one fails for so long are told in one message…
    pub site_settle: Duration,
    /// …and at the latest so long after the first.
    pub site_settle_at_most: Duration,
    /// Recording must move again for so long before the all-clear.
    pub clear_after: Duration,
    /// One camera sends at most one alarm and one all-clear within this window.
    pub flap_window: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(30),
            drain_budget: Duration::from_secs(60),
            stop_budget: Duration::from_secs(75),
            alarm_after: Duration::from_secs(180),
            site_settle: Duration::from_secs(30),
            // Segments of one site are cut up to 60 s apart, so its cameras stand still up to 60 s apart.
            site_settle_at_most: Duration::from_secs(90),
            clear_after: Duration::from_secs(60),
            flap_window: Duration::from_secs(30 * 60),
        }
    }
}
