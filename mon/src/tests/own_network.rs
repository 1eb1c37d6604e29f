//! Cameras of the own network: read without a tunnel.

use moorline_core::camera::{Access, Enabled, Record};
use moorline_core::lifecycle::EndReason;
use moorline_core::port::Statuses as _;
use moorline_core::status::{LinkStatus, RelayState};
use moorline_core::{Camera, Cause, Generation, SessionId};

use super::link::{G1, G2, I1, S1, S2, running};
use super::world::{ClaimMode, Done, START, World, instance, record};

#[tokio::test(start_paused = true)]
async fn a_lan_camera_is_up_from_the_start_and_again_after_enabling() {
    let lan = || Camera {
        access: Access::Lan {
            host: "192.168.1.5".to_owned(),
            port: 554,
        },
        ..record("shed")
    };
    let world = World::new([lan()]);
    world.settle().await;
    let first = SessionId(crate::FIRST_LAN_SESSION);
    assert_eq!(
        world.fakes.take(),
        [Done::Serve(first, G1), Done::Start(I1, G1)]
    );
    world.fakes.cameras([Camera {
        enabled: Enabled::Disabled,
        ..lan()
    }]);
    world.settle().await;
    assert!(world.fakes.take().contains(&Done::Drain(I1)));
    world.fakes.claims(ClaimMode::Refuse);
    world.fakes.cameras([lan()]);
    world.settle().await;
    assert_eq!(world.fakes.take(), []);
    world.fakes.claims(ClaimMode::Grant);
    world.pass(60).await;
    assert!(
        matches!(world.fakes.take().first(), Some(Done::Serve(_, G2))),
        "a claim that failed is tried again"
    );
}

#[tokio::test(start_paused = true)]
async fn a_lan_camera_that_is_hung_up_on_is_read_anew() {
    let lan = Camera {
        access: Access::Lan {
            host: "192.168.1.5".to_owned(),
            port: 554,
        },
        ..record("shed")
    };
    // Also while its first claim is under way: nothing else would claim again.
    let world = World::new([lan]);
    let hang_up = || world.monitor.hang_up(&"shed".parse().unwrap());
    world.fakes.claims(ClaimMode::Hold);
    world.settle().await;
    hang_up();
    world.settle().await;
    world.fakes.claims(ClaimMode::Grant);
    world.settle().await;
    let first = SessionId(crate::FIRST_LAN_SESSION);
    assert_eq!(
        world.fakes.take(),
        [Done::Serve(first, G1), Done::Start(I1, G1)]
    );
    world.relay("shed", I1, RelayState::Playing).await;
    world.archive("shed", I1, START).await;
    hang_up();
    world.settle().await;
    assert_eq!(
        world.fakes.take(),
        [Done::Drain(I1), Done::Start(instance(1, 1), G1)]
    );
    let gap = world.status("shed").open_gap().unwrap();
    assert_eq!(gap.cause, Cause::Operator);
}

#[tokio::test(start_paused = true)]
async fn a_lan_camera_is_connecting_until_it_plays_and_when_it_no_longer_does() {
    use moorline_core::status::RtspFault;
    let lan = |record_of| Camera {
        access: Access::Lan {
            host: "192.168.1.5".to_owned(),
            port: 554,
        },
        record: record_of,
        ..record("shed")
    };
    let world = World::new([lan(Record::Main)]);
    world.settle().await;
    let state = || match world.status("shed").link {
        LinkStatus::Connecting { .. } => "connecting",
        LinkStatus::Idle { .. } => "idle",
        LinkStatus::Up { .. } => "up",
        _ => "other",
    };
    assert_eq!(state(), "connecting", "nothing has answered");
    let fault = RtspFault::Timeout;
    for (relay, shown) in [
        (RelayState::Connecting, "connecting"),
        (RelayState::Playing, "up"),
        (RelayState::Silent, "up"),
        (RelayState::Refused { fault }, "connecting"),
        (RelayState::NoLanding, "connecting"),
        (RelayState::Idle, "idle"),
    ] {
        world.relay("shed", I1, relay).await;
        assert_eq!(state(), shown, "{relay:?}");
    }
    let mut shown = String::new();
    prometheus_client::encoding::text::encode(&mut shown, &world.registry).unwrap();
    assert!(
        shown.contains("moorline_cameras{state=\"idle\"} 1"),
        "{shown}"
    );
    let unread = World::new([lan(Record::Off)]);
    unread.settle().await;
    let link = unread.status("shed").link;
    assert!(matches!(link, LinkStatus::Idle { .. }), "{link:?}");
}

#[tokio::test(start_paused = true)]
async fn a_camera_that_moves_to_the_local_network_leaves_its_tunnel_and_comes_back() {
    let world = running().await;
    let lan = Camera {
        access: Access::Lan {
            host: "192.168.1.5".to_owned(),
            port: 554,
        },
        ..record("yard")
    };
    world.fakes.cameras([lan]);
    world.settle().await;
    let done = world.fakes.take();
    assert_eq!(
        done[..2],
        [Done::End(S1, EndReason::HungUp), Done::Drain(I1)]
    );
    let synthetic = SessionId(crate::FIRST_LAN_SESSION);
    assert!(done.contains(&Done::Serve(synthetic, G2)), "{done:?}");
    world.up(2, "yard").await;
    assert_eq!(world.fakes.take(), [Done::End(S2, EndReason::ClaimLost)]);
    world.fakes.cameras([record("yard")]);
    world.settle().await;
    assert!(world.fakes.take().contains(&Done::Drain(instance(2, 0))));
    world.up(3, "yard").await;
    let served = world.fakes.take();
    assert_eq!(served[0], Done::Serve(SessionId(3), Generation(3)));
}
