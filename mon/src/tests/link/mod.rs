//! Tunnels: claims, takeover, grace, hang-up, the record's changes, what is told of them.

mod changes;
mod claims;
mod ends;
mod notices;

use moorline_core::{Generation, SessionId};

use super::world::{Done, World, instance, record};

pub(super) const S1: SessionId = SessionId(1);
pub(super) const S2: SessionId = SessionId(2);
pub(super) const G1: Generation = Generation(1);
pub(super) const G2: Generation = Generation(2);
pub(super) const G3: Generation = Generation(3);
pub(super) const I1: moorline_core::InstanceId = instance(1, 0);

/// The yard with its tunnel up and its workloads started.
pub(super) async fn running() -> World {
    let world = World::new([record("yard")]);
    world.settle().await;
    world.up(1, "yard").await;
    assert_eq!(
        world.fakes.take(),
        [Done::Serve(S1, G1), Done::Start(I1, G1)]
    );
    world
}
