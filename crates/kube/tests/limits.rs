//! What happens to all cameras at once does not become as many calls at once.
#![allow(
    clippy::disallowed_methods,
    reason = "tests may look at the real clock"
)]

mod support;

use std::time::Duration;

use http::Method;
use moorline_core::port::{Audience, Claims as _, Identities as _, IdentityError};
use moorline_core::{CameraId, Masked};
use moorline_kube::PodCache;
use support::{CAMERAS, Fault, Mon, camera, condition, identities, reviews, server, within};

/// As many cameras as one replica claims at once.
const CAMERAS_LOST: u64 = 100;
/// As `docs/design/cluster.md` says.
const WRITES: usize = 32;
const REVIEWS: usize = 32;

fn name(number: u64) -> String {
    format!("cam-{number}")
}

fn id(name: &str) -> CameraId {
    format!("acme/{name}").parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn tunnels_that_are_lost_together_are_written_a_few_at_a_time_and_hold_up_no_claim() {
    let (api, clock) = server();
    api.put(CAMERAS, camera("acme", "gate"));
    for number in 0..CAMERAS_LOST {
        api.put(CAMERAS, camera("acme", &name(number)));
    }
    let mon = Mon::new(&api, &clock, 0).await;
    let mut sessions = Vec::new();
    for number in 0..CAMERAS_LOST {
        let camera = id(&name(number));
        let session = mon.up(&camera, number);
        mon.claims.claim(&camera, session).await.unwrap();
        sessions.push(session);
    }
    api.forget_requests();
    api.trap(Method::PUT, "cameras/cam-", WRITES, Fault::Swallowed);
    sessions.into_iter().for_each(|session| mon.down(session));
    // A lost tunnel is written after 5 s, and a write is given up 5 s later.
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(api.writes().len(), WRITES, "writes under way");

    let gate = id("gate");
    let session = mon.up(&gate, CAMERAS_LOST);
    let claim = mon.claims.claim(&gate, session);
    let claimed = tokio::time::timeout(Duration::from_secs(1), claim).await;
    assert!(claimed.is_ok(), "the claim waits behind notes");

    api.until("what is to be said of all of them", |api| {
        (0..CAMERAS_LOST).all(|number| {
            condition(api, "acme", &name(number), "Connected")
                == Some(("False".into(), "Lost".into()))
        })
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn tokens_that_come_together_are_asked_about_a_few_at_a_time_and_none_waits_for_ever() {
    let (api, clock) = server();
    let mon = Mon::new(&api, &clock, 0).await;
    let identities = identities(&api, &mon, PodCache::default(), clock);
    api.trap(Method::POST, "tokenreviews", 100, Fault::Swallowed);
    let asking: Vec<_> = (0..100)
        .map(|number| {
            let (identities, token) = (identities.clone(), Masked::new(format!("token-{number}")));
            tokio::spawn(async move { identities.caller(&token, Audience::Gateway).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(reviews(&api), REVIEWS);
    for asked in asking {
        let answer = within("an answer", asked).await.unwrap();
        assert!(matches!(answer, Err(IdentityError::Unavailable(_))));
    }
}
