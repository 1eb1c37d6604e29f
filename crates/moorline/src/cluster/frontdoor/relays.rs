//! The ports of a front door's readings: `Landings` at other pods' relays, and `Relays` for the page.
//!
//! What a browser sees comes from the front door's own ring, as what a player sees: each camera is pulled once however many watch, and a relay
//! that is restarted ends nobody's pictures. A still picture of a camera that nobody watches here is fetched from its relay.

use async_trait::async_trait;
use moorline_core::id::ForwardName;
use moorline_core::port::{
    ByteStream, LandingError, Landings, LiveFeed, Poster, ReaderRole, RelayError, Relays,
};
use moorline_core::{CameraId, Generation, SourceName};
use moorline_gateway::{RelayLandings, TicketRelays};
use moorline_proxy::Hub;

/// Landings at whatever relay the signer names now. The generation that a reading asks for counts its own orders to connect anew: which tunnel
/// is in force is the relay's business, and a ticket leads to the relay in force.
pub(super) struct InForce(pub(super) RelayLandings);

#[async_trait]
impl Landings for InForce {
    async fn connect(
        &self,
        camera: &CameraId,
        forward: &ForwardName,
        least: Generation,
    ) -> Result<(ByteStream, Generation), LandingError> {
        let (stream, _) = self.0.connect(camera, forward, Generation(0)).await?;
        Ok((stream, least))
    }
}

/// `Relays` of the page.
pub(super) struct Shared {
    pub(super) hub: Hub,
    pub(super) tickets: TicketRelays,
}

#[async_trait]
impl Relays for Shared {
    async fn open(
        &self,
        camera: &CameraId,
        source: SourceName,
        role: ReaderRole,
    ) -> Result<ByteStream, RelayError> {
        self.hub.open(camera, source, role).await
    }

    async fn live(
        &self,
        camera: &CameraId,
        source: SourceName,
        login: &str,
    ) -> Result<Box<dyn LiveFeed>, RelayError> {
        self.hub.live(camera, source, login).await
    }

    fn poster(&self, camera: &CameraId, source: SourceName) -> Option<Poster> {
        let own = self.hub.poster(camera, source);
        own.or_else(|| self.tickets.poster(camera, source))
    }
}
