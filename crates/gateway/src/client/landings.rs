//! The port `Landings` of a relay pod: CONNECT to the camera's holder.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use moorline_base::backoff::{Backoff, Jitter};
use moorline_core::id::ForwardName;
use moorline_core::port::{ByteStream, KeyPin, LandingError, Landings};
use moorline_core::{CameraId, Generation};

use super::Dialer;
use crate::head::Value;
use crate::ticket::{TicketCheck, parse_publics};

/// The pauses after what is not the camera's absence.
const SHORTEST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(5);
/// A 503 that comes sooner was not held: a replica that stops, say. It is not asked again at once.
const HELD: Duration = Duration::from_secs(1);

/// A relay pod's way to its camera.
#[derive(Debug)]
pub struct GatewayLandings {
    dialer: Dialer,
    /// This relay's own key, told with each request (rule S22).
    key: Option<KeyPin>,
    /// Gets the ticket keys that come with each answer, and the tunnel.
    tickets: Option<Arc<TicketCheck>>,
    backoff: Mutex<Backoff>,
}

impl GatewayLandings {
    /// Landings by way of the tunnel gateway; `key` and `tickets` are those of the relay's ticket door.
    #[must_use]
    pub fn new(dialer: Dialer, key: Option<KeyPin>, tickets: Option<Arc<TicketCheck>>) -> Self {
        let backoff = Backoff::new(SHORTEST, LONGEST, LONGEST, Jitter::Equal);
        Self {
            dialer,
            key,
            tickets,
            // The bounds above are in order.
            backoff: Mutex::new(backoff.unwrap_or_else(|_| Backoff::standard())),
        }
    }

    fn backoff<T>(&self, change: impl FnOnce(&mut Backoff) -> T) -> T {
        change(&mut self.backoff.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits before the caller may ask again.
    async fn pause(&self) {
        let clock = self.dialer.clock();
        let delay = self.backoff(Backoff::next_delay);
        clock.sleep_until(clock.monotonic() + delay).await;
    }
}

/// Hands the ticket keys of an answer on.
pub(super) fn learn(tickets: Option<&Arc<TicketCheck>>, keys: Option<&str>) {
    let (Some(tickets), Some(keys)) = (tickets, keys) else {
        return;
    };
    match parse_publics(keys) {
        Ok(keys) => tickets.set_keys(keys),
        Err(error) => tracing::warn!(%error, "the gateway's ticket keys cannot be read"),
    }
}

#[async_trait]
impl Landings for GatewayLandings {
    /// As the port says. A failure that is not the camera's absence returns after a pause (0.2 to 5 s), so that whoever asks again in a loop does not
    /// spin; such a failure is [`LandingError::Away`] too, unless the gateway knows no such camera.
    async fn connect(
        &self,
        camera: &CameraId,
        forward: &ForwardName,
        least: Generation,
    ) -> Result<(ByteStream, Generation), LandingError> {
        if *forward != ForwardName::rtsp() {
            return Err(LandingError::Unknown);
        }
        let mut headers = format!("Moorline-Generation: {least}\r\n");
        if let Some(key) = self.key {
            headers.push_str(&format!("Moorline-Relay-Key: {}\r\n", Value(key)));
        }
        let clock = self.dialer.clock();
        let asked = clock.monotonic();
        let error = match self
            .dialer
            .ask(&format!("CONNECT {camera}"), &headers)
            .await
        {
            Ok((reply, stream)) => {
                learn(self.tickets.as_ref(), reply.ticket_keys.as_deref());
                match (reply.status, reply.generation) {
                    (200, Some(generation)) if Generation(generation) >= least => {
                        self.backoff(Backoff::reset);
                        let generation = Generation(generation);
                        if let Some(tickets) = &self.tickets {
                            tickets.set_through(generation);
                        }
                        return Ok((Box::new(stream), generation));
                    }
                    (502, _) => {
                        self.backoff(Backoff::reset);
                        return Err(LandingError::RefusedByCamera);
                    }
                    (503, _) if clock.monotonic().saturating_duration_since(asked) >= HELD => {
                        self.backoff(Backoff::reset);
                        return Err(LandingError::Away);
                    }
                    (404, _) => LandingError::Unknown,
                    (status, _) => {
                        tracing::warn!(%camera, status, reason = reply.reason, "the gateway refuses");
                        LandingError::Away
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%camera, %error, "the gateway does not answer");
                LandingError::Away
            }
        };
        self.pause().await;
        Err(error)
    }
}
