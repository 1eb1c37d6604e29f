//! The tunnel gateway and the signer of a cluster: servers and clients.
//!
//! **Owns** the protocols of the cluster's inside, all of them over TLS: `CONNECT tenant/camera` from a relay to the replica that holds its camera,
//! the control connections of workload pods, presigned puts, and tickets to relays. `docs/reference/gateway.md` has them byte by byte. **Does not
//! own** pods, claims and tokens (`kube`, behind the ports [`Identities`], [`Holders`], [`RelayPlaces`], [`PutPolicy`]), the store's keys
//! ([`PutSigner`]), tunnels ([`Landings`]), or what a relay and an archiver do.
//!
//! | in | server | client |
//! |---|---|---|
//! | relay pod → `moorline mon` | [`Gateway`] | [`GatewayLandings`] |
//! | workload pod → `moorline mon` | [`Gateway`] and [`Links`] | [`ControlLink`] |
//! | archiver pod → `moorline signer`, store | [`Signer`] | [`SignedSink`] |
//! | archiver pod, front door → relay pod | [`TicketDoor`] | [`TicketRelays`] |
//!
//! Tasks end with the token that they were given; nothing here outlives 5 s of it (P8).
//!
//! Promises and rules kept here: P2, P8, P9, P10, S18 to S20, S22, S24.
//!
//! [`Identities`]: moorline_core::port::Identities
//! [`Holders`]: moorline_core::port::Holders
//! [`RelayPlaces`]: moorline_core::port::RelayPlaces
//! [`PutPolicy`]: moorline_core::port::PutPolicy
//! [`PutSigner`]: moorline_core::port::PutSigner
//! [`Landings`]: moorline_core::port::Landings

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "tests may bind, write and look at the real clock"
    )
)]

mod callers;
mod client;
mod head;
mod metrics;
mod relay;
mod reread;
mod server;
mod service;
mod serving;
mod signer;
#[cfg(test)]
mod testing;
mod ticket;
mod tls;
mod wire;

pub use client::{
    ControlLink, ControlSettings, Dialer, Endpoint, GatewayLandings, RelayLandings, SignedSink,
    StoreTrust, TicketRelays, Unreached, mounted_password,
};
pub use metrics::{GatewayMetrics, SignerMetrics, TicketMetrics};
pub use relay::{RelayKey, TicketDoor};
pub use reread::FileError;
pub use server::{Gateway, GatewayConfig, GatewayParts, InvalidService, Links};
pub use service::{NoService, ServiceAddress};
pub use signer::{Signer, SignerConfig, SignerParts};
pub use ticket::{
    LIFETIME, Ticket, TicketCheck, TicketError, TicketPublic, TicketPublics, TicketSigner,
    generate_key, public_of,
};
pub use tls::{ServerTls, TlsFiles, Trust};
