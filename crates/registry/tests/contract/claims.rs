//! `Claims`.

use std::collections::BTreeSet;

use futures::future::join_all;
use moorline_core::port::{CameraAdmin, ClaimError, Claims};
use moorline_core::{Generation, SessionId};

use super::{camera, id};

pub(crate) async fn generations_only_grow(admin: &dyn CameraAdmin, claims: &dyn Claims) {
    admin.add(camera("grow", &[111])).await.unwrap();
    let grow = id("grow");
    let first = claims.claim(&grow, SessionId(7)).await.unwrap();
    let second = claims.claim(&grow, SessionId(7)).await.unwrap();
    assert!(first > Generation(0) && second > first, "{first} {second}");
    claims.release(&grow, first).await.unwrap();
    claims.release(&grow, second).await.unwrap();
    claims.release(&grow, second).await.unwrap();
    let third = claims.claim(&grow, SessionId(8)).await.unwrap();
    assert!(third > second);
    admin.remove(&grow).await.unwrap();
    assert!(matches!(
        claims.claim(&grow, SessionId(9)).await,
        Err(ClaimError::Unknown(_))
    ));
    claims.release(&grow, third).await.unwrap();
    admin.add(camera("grow", &[111])).await.unwrap();
    assert!(
        claims.claim(&grow, SessionId(9)).await.unwrap() > third,
        "a name that returns goes on"
    );
}

pub(crate) async fn no_two_claims_are_equal(admin: &dyn CameraAdmin, claims: &dyn Claims) {
    admin.add(camera("race", &[112])).await.unwrap();
    let race = id("race");
    let all = join_all((0..300).map(|session| claims.claim(&race, SessionId(session)))).await;
    let distinct: BTreeSet<_> = all.into_iter().map(Result::unwrap).collect();
    assert_eq!(distinct.len(), 300);
}

pub(crate) async fn a_stranger_among_many_fails_alone(
    admin: &dyn CameraAdmin,
    claims: &dyn Claims,
) {
    admin.add(camera("known", &[113])).await.unwrap();
    let names = [id("known"), id("stranger"), id("known"), id("acme/known")];
    let all = join_all(names.iter().map(|name| claims.claim(name, SessionId(1)))).await;
    let fine: Vec<_> = all.iter().map(Result::is_ok).collect();
    assert_eq!(fine, [true, false, true, false]);
}
