//! Claims of several replicas on one API server that answers late, twice or not at all.
#![allow(
    clippy::disallowed_methods,
    reason = "tests may look at the real clock"
)]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use moorline_core::lifecycle::EndReason;
use moorline_core::port::{ClaimError, Claims as _, Holder, Holders as _};
use moorline_core::{Generation, SessionId};
use moorline_kube::{Gone, KubeUpgrades, Leases, ReleaseName, UpgradeState};
use proptest::prelude::*;
use serde_json::json;
use support::{
    Api, CAMERAS, Fault, Mon, camera, condition, events, server, session, until_told, within, yard,
};

/// A tunnel of that camera comes up on a replica.
fn up(mon: &Mon, number: u64) -> SessionId {
    mon.up(&yard(), number)
}

async fn two_replicas() -> (Api, Mon, Mon) {
    let (api, clock) = server();
    api.put(CAMERAS, camera("acme", "yard"));
    let (left, right) = (
        Mon::new(&api, &clock, 0).await,
        Mon::new(&api, &clock, 1).await,
    );
    api.forget_requests();
    (api, left, right)
}

#[tokio::test(start_paused = true)]
async fn a_claim_is_one_write_and_says_who_holds_the_camera() {
    let (api, left, right) = two_replicas().await;
    let first = up(&left, 1);
    assert_eq!(
        left.claims.claim(&yard(), first).await.unwrap(),
        Generation(1)
    );
    assert_eq!(
        api.writes(),
        ["PUT /apis/moorline.dev/v1alpha1/namespaces/t-acme/cameras/yard/status"]
    );
    let found = session(&api, "acme", "yard");
    assert_eq!(
        (&found["mon"], &found["generation"]),
        (&json!("moorline-mon-0"), &json!(1))
    );
    assert_eq!(found["peer"], "203.0.113.9:40001");
    assert_eq!(left.holders.holder(&yard()), Holder::Here(Generation(1)));
    let there = Holder::There {
        address: ([10, 0, 0, 1], 8443).into(),
        generation: Generation(1),
    };
    assert_eq!(
        within(
            "the other's watch",
            right.holders.changed(&yard(), &Holder::Nobody)
        )
        .await,
        there
    );
}

#[tokio::test(start_paused = true)]
async fn a_camera_that_calls_another_replica_ends_its_old_session_within_a_second() {
    let (api, left, right) = two_replicas().await;
    let old = up(&left, 1);
    left.claims.claim(&yard(), old).await.unwrap();
    tokio::time::advance(Duration::from_secs(3)).await;
    let new = up(&right, 2);
    assert_eq!(
        right.claims.claim(&yard(), new).await.unwrap(),
        Generation(2)
    );
    let superseded = async {
        while left.ended.all().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(1), superseded)
        .await
        .expect("within a second");
    assert_eq!(left.ended.all(), [(old, EndReason::Superseded)]);
    assert!(left.owned.get(&yard()).is_none());
    // The old holder's release is too late, and changes nothing.
    left.claims.release(&yard(), Generation(1)).await.unwrap();
    assert_eq!(session(&api, "acme", "yard")["mon"], "moorline-mon-1");
    until_told(&api, "Moved", "Normal", "moorline-mon-0 had its tunnel").await;
}

#[tokio::test(start_paused = true)]
async fn a_condition_that_was_written_meanwhile_costs_a_look_and_another_write() {
    let (api, left, _right) = two_replicas().await;
    let note = json!({"status": {"observedGeneration": 1}});
    api.trap(Method::PUT, "yard/status", 1, Fault::Overtaken(note));
    let tunnel = up(&left, 1);
    assert_eq!(
        left.claims.claim(&yard(), tunnel).await.unwrap(),
        Generation(1)
    );
    let asked: Vec<_> = api
        .requests()
        .into_iter()
        .map(|asked| asked[..4].to_owned())
        .collect();
    assert_eq!(asked, ["PUT ", "GET ", "PUT "]);
}

#[tokio::test(start_paused = true)]
async fn the_later_of_two_connections_that_claim_at_once_has_the_camera() {
    for (mine_is_later, rival) in [(true, -1_000), (false, 1_000)] {
        let (api, left, _right) = two_replicas().await;
        let tunnel = up(&left, 1);
        let since = moorline_core::Timestamp::from_millis(support::START + rival).to_string();
        let won = json!({"status": {"session": {"generation": 1, "mon": "moorline-mon-1", "address": "10.0.0.2:8443", "since": since}}});
        api.trap(Method::PUT, "yard/status", 1, Fault::Overtaken(won));
        let claimed = left.claims.claim(&yard(), tunnel).await;
        let holder = session(&api, "acme", "yard")["mon"].clone();
        if mine_is_later {
            assert_eq!(claimed.unwrap(), Generation(2));
            assert_eq!(holder, "moorline-mon-0");
        } else {
            assert!(matches!(claimed, Err(ClaimError::Port(_))), "{claimed:?}");
            assert_eq!(holder, "moorline-mon-1");
            let words = "moorline-mon-1. If it comes again, two devices have one key";
            until_told(&api, "NewerConnection", "Warning", words).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_is_looked_up_and_not_claimed_twice() {
    let (api, left, _right) = two_replicas().await;
    api.trap(Method::PUT, "yard/status", 1, Fault::AnswerLost);
    let tunnel = up(&left, 1);
    assert_eq!(
        left.claims.claim(&yard(), tunnel).await.unwrap(),
        Generation(1)
    );
    assert_eq!(api.writes().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_cluster_is_told_and_nothing_is_held() {
    let (api, left, _right) = two_replicas().await;
    let why = "cameras/status is forbidden".to_owned();
    api.trap(
        Method::PUT,
        "yard/status",
        1,
        Fault::Refused(403, "Forbidden", why),
    );
    let tunnel = up(&left, 1);
    let error = left.claims.claim(&yard(), tunnel).await.unwrap_err();
    assert!(error.to_string().contains("forbidden"), "{error}");
    assert!(left.owned.get(&yard()).is_none());
}

#[tokio::test(start_paused = true)]
async fn while_the_api_server_is_away_a_camera_is_served_and_its_claim_waits() {
    let (api, left, _right) = two_replicas().await;
    api.away(true);
    let tunnel = up(&left, 1);
    let begun = tokio::time::Instant::now();
    assert_eq!(
        left.claims.claim(&yard(), tunnel).await.unwrap(),
        Generation(1)
    );
    assert!(
        begun.elapsed() <= Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(left.holders.holder(&yard()), Holder::Here(Generation(1)));
    api.away(false);
    api.until("the queued claim", |api| {
        session(api, "acme", "yard")["mon"] == "moorline-mon-0"
    })
    .await;
    assert!(left.ended.all().is_empty());
    until_told(
        &api,
        "ApiServerAway",
        "Warning",
        "look at the control plane",
    )
    .await;
}

/// Whoever looks at a dead camera must not read that it is up.
#[tokio::test(start_paused = true)]
async fn a_claim_that_is_written_after_its_tunnel_has_gone_says_so() {
    for released in [false, true] {
        let (api, left, _right) = two_replicas().await;
        api.away(true);
        let tunnel = up(&left, 1);
        let generation = left.claims.claim(&yard(), tunnel).await.unwrap();
        left.down(tunnel);
        tokio::time::sleep(Duration::from_secs(10)).await;
        if released {
            left.claims.release(&yard(), generation).await.ok();
        }
        api.away(false);
        api.until("the queued claim", |api| {
            session(api, "acme", "yard")["mon"] == "moorline-mon-0"
        })
        .await;
        let reason = if released { "Draining" } else { "Lost" };
        assert_eq!(
            condition(&api, "acme", "yard", "Connected"),
            Some(("False".into(), reason.into()))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_away_is_noticed_so_that_peers_are_asked() {
    let (api, clock) = server();
    api.put(CAMERAS, camera("acme", "yard"));
    let mon = Mon::new(&api, &clock, 0).await;
    let name = mon.owned.replica().name.clone();
    let (gone, fresh) = (Gone::default(), mon.directory.freshness().clone());
    let leases = Leases::new(
        api.client(),
        "moorline-system",
        name,
        gone,
        fresh,
        clock.clone(),
    );
    let cancel = mon.stop.clone();
    tokio::spawn(async move { leases.run(cancel).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(mon.holders.is_current());
    assert_eq!(mon.holders.since(&yard()), None, "not held here");
    api.away(true);
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert!(!mon.holders.is_current());
    let tunnel = up(&mon, 1);
    mon.claims.claim(&yard(), tunnel).await.unwrap();
    let told = mon.holders.since(&yard()).unwrap().as_millis() - support::START;
    assert!(
        (15_000..25_000).contains(&told),
        "{told}: when the tunnel came up"
    );
    api.away(false);
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert!(mon.holders.is_current());
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_was_overtaken_during_an_outage_ends_its_session() {
    let (api, left, _right) = two_replicas().await;
    api.away(true);
    let tunnel = up(&left, 1);
    left.claims.claim(&yard(), tunnel).await.unwrap();
    let rival = json!({"status": {"session": {"generation": 1, "mon": "moorline-mon-1", "address": "10.0.0.2:8443", "since": "2026-11-18T09:06:41.000Z"}}});
    api.patch(CAMERAS, "t-acme", "yard", &rival);
    api.away(false);
    let ended = async {
        while left.ended.all().is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within("the end of the session", ended).await;
    assert!(left.owned.get(&yard()).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_flap_shorter_than_five_seconds_writes_only_its_claim_and_a_longer_one_says_so_first() {
    let (api, left, _right) = two_replicas().await;
    let first = up(&left, 1);
    left.claims.claim(&yard(), first).await.unwrap();
    api.forget_requests();
    left.down(first);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let second = up(&left, 2);
    left.claims.claim(&yard(), second).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(api.writes().len(), 1, "{:#?}", api.writes());
    for reason in ["Lost", "Back", "Moved"] {
        assert!(
            events(&api, reason).is_empty(),
            "a flap is no news: {reason}"
        );
    }
    api.forget_requests();
    left.down(second);
    api.until("the truth about a dead camera", |api| {
        condition(api, "acme", "yard", "Connected") == Some(("False".into(), "Lost".into()))
    })
    .await;
    let third = up(&left, 3);
    left.claims.claim(&yard(), third).await.unwrap();
    assert_eq!(api.writes().len(), 2, "{:#?}", api.writes());
    assert_eq!(
        condition(&api, "acme", "yard", "Connected"),
        Some(("True".into(), "Claimed".into()))
    );
}

#[tokio::test(start_paused = true)]
async fn a_claim_whose_caller_gave_up_is_given_back() {
    let (api, left, _right) = two_replicas().await;
    let tunnel = up(&left, 1);
    api.trap(Method::PUT, "yard/status", 1, Fault::AnswerLost);
    let camera = yard();
    let claim = left.claims.claim(&camera, tunnel);
    assert!(
        tokio::time::timeout(Duration::from_secs(1), claim)
            .await
            .is_err()
    );
    // As after any loss: an earlier holder's pods wait for the camera.
    api.until("the release", |api| {
        condition(api, "acme", "yard", "Connected") == Some(("False".into(), "Lost".into()))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_serves_while_a_newer_claim_is_given_back_unheard_ends_so_that_the_camera_calls_anew()
{
    let (api, left, _right) = two_replicas().await;
    let first = up(&left, 1);
    left.claims.claim(&yard(), first).await.unwrap();
    let second = up(&left, 2);
    api.trap(Method::PUT, "yard/status", 1, Fault::AnswerLost);
    let camera = yard();
    let claim = left.claims.claim(&camera, second);
    assert!(
        tokio::time::timeout(Duration::from_secs(1), claim)
            .await
            .is_err()
    );
    let ended = async {
        while left.ended.all().is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within("the end of the first session", ended).await;
    // By who gives the claim back, or before by the fence, which sees it in the resource.
    let ended = left.ended.all();
    assert!(
        ended.iter().all(|(session, reason)| *session == first
            && matches!(reason, EndReason::ClaimLost | EndReason::Superseded)),
        "{ended:?}"
    );
    assert_eq!(session(&api, "acme", "yard")["generation"], 2);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_claims_again_is_fenced_as_any_other() {
    let (_api, left, right) = two_replicas().await;
    let (first, second) = (up(&left, 1), up(&left, 2));
    for tunnel in [first, second, first] {
        left.claims.claim(&yard(), tunnel).await.unwrap();
    }
    assert_eq!(left.holders.holder(&yard()), Holder::Here(Generation(3)));
    tokio::time::advance(Duration::from_secs(3)).await;
    let third = up(&right, 3);
    right.claims.claim(&yard(), third).await.unwrap();
    let ended = async {
        while left.ended.all().is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within("the end of the first session", ended).await;
    assert_eq!(left.ended.all(), [(first, EndReason::Superseded)]);
}

#[tokio::test(start_paused = true)]
async fn p1_a_session_that_claims_again_takes_nothing_from_another_replica() {
    let (api, left, right) = two_replicas().await;
    let (first, second) = (up(&left, 1), up(&left, 2));
    for tunnel in [first, second] {
        left.claims.claim(&yard(), tunnel).await.unwrap();
    }
    left.down(second);
    tokio::time::advance(Duration::from_secs(3)).await;
    let third = up(&right, 3);
    right.claims.claim(&yard(), third).await.unwrap();
    let heard = async {
        while !matches!(left.holders.holder(&yard()), Holder::There { .. }) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within("the other's claim", heard).await;
    let again = left.claims.claim(&yard(), first).await;
    assert!(matches!(again, Err(ClaimError::Port(_))), "{again:?}");
    assert_eq!(session(&api, "acme", "yard")["mon"], "moorline-mon-1");
    assert!(right.ended.all().is_empty(), "{:?}", right.ended.all());
}

/// A herd, or an API server that is slow: the camera has called another replica while its claim here waited for its turn.
#[tokio::test(start_paused = true)]
async fn a_claim_whose_session_ended_before_its_turn_takes_nothing() {
    let (api, left, right) = two_replicas().await;
    api.trap(Method::PUT, "yard/status", 1, Fault::Swallowed);
    let claim = |session| {
        let claims = left.claims.clone();
        tokio::spawn(async move { claims.claim(&yard(), session).await })
    };
    let slow = claim(up(&left, 1));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let waiting = up(&left, 2);
    let waits = claim(waiting);
    tokio::time::sleep(Duration::from_millis(500)).await;
    left.down(waiting);
    let third = up(&right, 3);
    let served = right.claims.claim(&yard(), third).await.unwrap();
    for claim in [slow, waits] {
        assert!(within("a claim's end", claim).await.unwrap().is_err());
    }
    assert_eq!(right.holders.holder(&yard()), Holder::Here(served));
    assert!(right.ended.all().is_empty(), "{:?}", right.ended.all());
}

/// Whoever reads it looks for others who write, or at the API server.
#[tokio::test(start_paused = true)]
async fn a_status_without_an_answer_is_told_from_one_that_others_overtake() {
    let late = Fault::Refused(409, "Conflict", "the object has been modified".to_owned());
    for (fault, told) in [
        (Fault::Swallowed, "does not answer"),
        (late, "all the time"),
    ] {
        let (api, left, _right) = two_replicas().await;
        let session = up(&left, 1);
        left.claims.claim(&yard(), session).await.unwrap();
        let upgrades = KubeUpgrades::new(left.writer.clone());
        let held = upgrades.held();
        let name = ReleaseName {
            target: "mipsel-unknown-linux-musl".to_owned(),
            version: "0.2.0".to_owned(),
        };
        api.trap(Method::PUT, "yard/status", usize::MAX, fault);
        let written = upgrades.write(&held[0], &name, UpgradeState::Offered);
        let said = written.await.unwrap_err().to_string();
        assert!(said.contains(told), "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_camera_that_was_made_again_is_another_one() {
    let (api, left, _right) = two_replicas().await;
    let tunnel = up(&left, 1);
    left.claims.claim(&yard(), tunnel).await.unwrap();
    api.remove(CAMERAS, "t-acme", "yard");
    api.put(CAMERAS, camera("acme", "yard"));
    let ended = async {
        while left.ended.all().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within("the end of the session of the deleted one", ended).await;
    let again = up(&left, 2);
    assert_eq!(
        left.claims.claim(&yard(), again).await.unwrap(),
        Generation(2),
        "the name goes on"
    );
}

/// What happens next in an interleaving.
#[derive(Debug, Clone)]
enum Step {
    /// The camera connects to a replica.
    Connect(usize),
    /// The tunnel that this replica serves is lost.
    Drop(usize),
    /// The next write of a status goes wrong.
    Wrong(u8),
    /// Time passes.
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_usize..3).prop_map(Step::Connect),
        1 => (0_usize..3).prop_map(Step::Drop),
        2 => (0_u8..4).prop_map(Step::Wrong),
        3 => (1_u64..4_000).prop_map(Step::Wait),
    ]
}

async fn interleave(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let (api, clock) = server();
    api.put(CAMERAS, camera("acme", "yard"));
    let mut mons = Vec::new();
    for number in 0..3 {
        mons.push(Mon::new(&api, &clock, number).await);
    }
    let mut claims = Vec::new();
    let mut greatest = BTreeMap::new();
    for (number, step) in (1..).zip(steps) {
        match step {
            Step::Connect(which) => {
                let (mon, claim) = (&mons[which], mons[which].claims.clone());
                let tunnel = up(mon, number);
                claims.push(tokio::spawn(async move {
                    claim.claim(&yard(), tunnel).await.ok()
                }));
            }
            Step::Drop(which) => {
                if let Some(own) = mons[which].owned.get(&yard())
                    && let Some(session) = own.session
                {
                    mons[which].down(session);
                }
            }
            Step::Wrong(kind) => {
                let fault = match kind {
                    0 => Fault::Swallowed,
                    1 => Fault::AnswerLost,
                    2 => Fault::Overtaken(json!({"status": {"observedGeneration": number}})),
                    _ => Fault::Refused(429, "TooManyRequests", "slow down".into()),
                };
                api.trap(Method::PUT, "yard/status", 1, fault);
            }
            Step::Wait(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
        }
        // The generation never falls, and at most one replica is told as the holder of the one in force.
        let now = session(&api, "acme", "yard")["generation"]
            .as_u64()
            .unwrap_or(0);
        let before = greatest.insert("generation", now).unwrap_or(0);
        prop_assert!(now >= before, "{before} then {now}");
        let routable = mons
            .iter()
            .filter(|mon| mon.holders.holder(&yard()) == Holder::Here(Generation(now)));
        prop_assert!(routable.count() <= 1, "two serve generation {now}");
    }
    // Each claim that was granted had a generation of its own.
    let mut granted = Vec::new();
    for claim in claims {
        granted.extend(within("a claim's end", claim).await.unwrap());
    }
    // Everything that is under way comes to its end: one holder at most, the one that the server names.
    tokio::time::sleep(Duration::from_secs(120)).await;
    let holders: Vec<_> = mons
        .iter()
        .enumerate()
        .filter(|(_, mon)| matches!(mon.holders.holder(&yard()), Holder::Here(_)))
        .collect();
    prop_assert!(holders.len() <= 1, "{} replicas hold it", holders.len());
    if let [(number, _)] = holders[..] {
        prop_assert_eq!(
            session(&api, "acme", "yard")["mon"].clone(),
            json!(format!("moorline-mon-{number}"))
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// Claims of three replicas, with conflicts, lost answers and silences between them.
    #[test]
    fn at_most_one_live_generation_is_routable(steps in proptest::collection::vec(step(), 1..24)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(interleave(steps))?;
    }
}
