//! The port `Landings` of a front door: it reads other pods' relays as a relay reads its camera, so that its own ring serves RTSP viewers, keeps
//! them while a relay is restarted, and pulls each stream once however many watch.

use std::time::Duration;

use async_trait::async_trait;
use moorline_core::id::ForwardName;
use moorline_core::port::{ByteStream, LandingError, Landings, RelayError};
use moorline_core::{CameraId, Generation, SourceName};

use super::relays::TicketRelays;

/// As whom a front door reads: its viewers are its own affair.
const LOGIN: &str = "front-door";
/// Whoever asks again in a loop must not spin.
const PAUSE: Duration = Duration::from_secs(1);

/// Landings at relays: the forward `sub` is the smaller stream, `main` and `rtsp` are the full picture.
#[derive(Debug, Clone)]
pub struct RelayLandings(TicketRelays);

impl RelayLandings {
    /// Landings at these relays.
    #[must_use]
    pub fn new(relays: TicketRelays) -> Self {
        Self(relays)
    }
}

#[async_trait]
impl Landings for RelayLandings {
    async fn connect(
        &self,
        camera: &CameraId,
        forward: &ForwardName,
        least: Generation,
    ) -> Result<(ByteStream, Generation), LandingError> {
        let source = match forward.as_str() {
            "rtsp" | "main" => SourceName::Main,
            "sub" => SourceName::Sub,
            _ => return Err(LandingError::Unknown),
        };
        match self.0.reach(camera, source, Some(LOGIN), "rtsp").await {
            Ok((stream, generation)) if generation >= least => Ok((Box::new(stream), generation)),
            // The signer has not heard of the newer tunnel yet.
            Ok(_) => Err(LandingError::Superseded),
            Err(error) => {
                let clock = self.0.clock();
                clock.sleep_until(clock.monotonic() + PAUSE).await;
                Err(match error {
                    RelayError::Unknown => LandingError::Unknown,
                    _ => LandingError::Away,
                })
            }
        }
    }
}
