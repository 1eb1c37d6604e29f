//! `CONNECT tenant/camera`: each answer of the table, and what refuses.

use std::sync::Arc;
use std::time::Duration;

use moorline_core::Generation;
use moorline_core::id::ForwardName;
use moorline_core::lifecycle::Role;
use moorline_core::port::{
    Audience, Caller, Holder, IdentityError, KeyPin, LandingError, Landings as _,
};
use moorline_gateway::{GatewayLandings, TicketCheck};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::fakes::{camera, pod, soon};
use crate::world::{Replica, SERVICE, World, rest, told};

const YARD: &str = "acme/yard";

fn relay(world: &World, token: &str, uid: &str) {
    world
        .pods
        .workload(token, Audience::Gateway, YARD, Role::Relay, uid);
}

/// The tunnel first: a holder is asked for its landing as soon as it is known.
fn held_here(replica: &Replica, generation: u64) {
    replica.tunnels.set(YARD, Ok(Generation(generation)));
    replica
        .cameras
        .set(YARD, Holder::Here(Generation(generation)));
}

fn landings(world: &World, token: &str, replica: &Replica) -> GatewayLandings {
    GatewayLandings::new(world.dialer(token, replica.address), None, None)
}

async fn connect(
    landings: &GatewayLandings,
    least: u64,
) -> Result<(moorline_core::port::ByteStream, Generation), LandingError> {
    let forward = ForwardName::rtsp();
    soon(
        "an answer",
        landings.connect(&camera(YARD), &forward, Generation(least)),
    )
    .await
}

/// Lets the pause after a failure pass.
async fn pass<T>(world: &World, asking: &tokio::task::JoinHandle<T>) {
    let moving = async {
        while !asking.is_finished() {
            world.clock.advance(Duration::from_millis(100));
            tokio::task::yield_now().await;
        }
    };
    soon("the end of a pause", moving).await;
}

fn request(token: &str) -> String {
    format!(
        "CONNECT {YARD} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nMoorline-Generation: 3\r\n\r\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_reads_its_camera_and_learns_generation_and_ticket_keys() {
    let world = World::new();
    let mut replica = world.replica(&[]).await;
    relay(&world, "t", "relay-1");
    held_here(&replica, 7);
    let check = Arc::new(TicketCheck::new(camera(YARD), pod("relay-1")));
    let key = KeyPin([9; 32]);
    let landings = GatewayLandings::new(
        world.dialer("t", replica.address),
        Some(key),
        Some(check.clone()),
    );
    let (mut stream, generation) = connect(&landings, 3).await.unwrap();
    assert_eq!(generation, Generation(7));
    assert_eq!(check.through(), Some(Generation(7)));
    let (_, mut there) = soon("a landing", replica.opened.recv()).await.unwrap();
    stream.write_all(b"OPTIONS").await.unwrap();
    stream.flush().await.unwrap();
    let mut asked = [0; 7];
    soon("the request", there.read_exact(&mut asked))
        .await
        .unwrap();
    assert_eq!(&asked, b"OPTIONS");
    there.write_all(b"RTSP/1.0 200 OK").await.unwrap();
    let mut answered = [0; 15];
    soon("the answer", stream.read_exact(&mut answered))
        .await
        .unwrap();
    assert_eq!(&answered, b"RTSP/1.0 200 OK");
    let mut announced = replica.relays.announced.subscribe();
    let told = soon("the relay's key", announced.wait_for(|all| !all.is_empty()))
        .await
        .unwrap()
        .clone();
    assert_eq!(told, [(camera(YARD), pod("relay-1"), key)]);
    drop(there);
    assert_eq!(
        soon("the end", stream.read(&mut [0; 1])).await.unwrap_or(0),
        0,
        "a tunnel that ends ends the stream"
    );
    let unread = check.take("v1.00000000.AAAA", moorline_core::Timestamp::default());
    assert!(unread.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_holder_is_dialled_and_answers_under_the_services_name() {
    let world = World::new();
    let (first, mut second) = (world.replica(&[]).await, world.replica(&[]).await);
    relay(&world, "t", "relay-1");
    held_here(&second, 8);
    first.cameras.set(
        YARD,
        Holder::There {
            address: second.address,
            generation: Generation(8),
        },
    );
    let answer = told(&world.say(first.address, &request("t")).await);
    assert_eq!(answer, "307 elsewhere");
    let (_stream, generation) = connect(&landings(&world, "t", &first), 3).await.unwrap();
    assert_eq!(generation, Generation(8));
    soon("a landing at the second", second.opened.recv())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_that_point_at_each_other_do_not_hold_a_relay_in_a_circle() {
    let world = World::new();
    let (first, second) = (world.replica(&[]).await, world.replica(&[]).await);
    relay(&world, "t", "relay-1");
    let there = |replica: &Replica| Holder::There {
        address: replica.address,
        generation: Generation(8),
    };
    first.cameras.set(YARD, there(&second));
    second.cameras.set(YARD, there(&first));
    let landings = landings(&world, "t", &first);
    let asking = tokio::spawn(async move { connect(&landings, 0).await.map(|_| ()) });
    let line = "gateway_answers_total{status=\"307\",reason=\"elsewhere\"}";
    first.counts(line, 2).await;
    second.counts(line, 2).await;
    pass(&world, &asking).await;
    assert_eq!(asking.await.unwrap(), Err(LandingError::Away));
    assert_eq!(
        (first.counted(line), second.counted(line)),
        (2, 2),
        "three hops, and no more"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_for_an_absent_camera_is_held_until_the_camera_is_back() {
    let world = World::new();
    let mut replica = world.replica(&[]).await;
    relay(&world, "t", "relay-1");
    replica.cameras.set(YARD, Holder::Nobody);
    let client = landings(&world, "t", &replica);
    let asking = tokio::spawn(async move { connect(&client, 5).await });
    replica.cameras.somebody_waits().await;
    // A session that is older than what the relay has seen is as good as none.
    held_here(&replica, 4);
    replica.cameras.somebody_waits().await;
    held_here(&replica, 5);
    let (_stream, generation) = asking.await.unwrap().unwrap();
    assert_eq!(generation, Generation(5));
    soon("a landing", replica.opened.recv()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_held_for_thirty_seconds_hears_503() {
    let world = World::new();
    let replica = world.replica(&[]).await;
    relay(&world, "t", "relay-1");
    replica.cameras.set(YARD, Holder::Nobody);
    let mut stream = world.raw(replica.address).await;
    stream.write_all(request("t").as_bytes()).await.unwrap();
    replica.cameras.somebody_waits().await;
    world.clock.advance(Duration::from_secs(29));
    replica.cameras.somebody_waits().await;
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(told(&rest(stream).await), "503 away");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_tunnel_answers_is_passed_on() {
    let world = World::new();
    let replica = world.replica(&[]).await;
    relay(&world, "t", "relay-1");
    held_here(&replica, 7);
    replica
        .tunnels
        .set(YARD, Err(LandingError::RefusedByCamera));
    let refused = connect(&landings(&world, "t", &replica), 0)
        .await
        .map(|_| ());
    assert_eq!(refused, Err(LandingError::RefusedByCamera));
    replica.cameras.set(YARD, Holder::Unknown);
    assert_eq!(
        told(&world.say(replica.address, &request("t")).await),
        "404 unknown"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_relay_of_this_very_camera_gets_in() {
    let world = World::new();
    let replica = world.replica(&[]).await;
    held_here(&replica, 7);
    world
        .pods
        .workload("archiver", Audience::Gateway, YARD, Role::Archiver, "a");
    world
        .pods
        .workload("other", Audience::Gateway, "acme/gate", Role::Relay, "b");
    world
        .pods
        .workload("signers", Audience::Signer, YARD, Role::Relay, "c");
    world.pods.answer(
        "door",
        Audience::Gateway,
        Ok(Caller::FrontDoor { pod: pod("d") }),
    );
    world.pods.answer(
        "expired",
        Audience::Gateway,
        Err(IdentityError::Refused("expired")),
    );
    world.pods.answer(
        "gone",
        Audience::Gateway,
        Err(IdentityError::Forbidden("pod")),
    );
    world.pods.answer(
        "cluster",
        Audience::Gateway,
        Err(IdentityError::Unavailable("away".to_owned())),
    );
    relay(&world, "good", "relay-1");
    for (token, expected) in [
        ("nobody", "401 token"),
        ("signers", "401 audience"),
        ("expired", "401 expired"),
        ("gone", "403 pod"),
        ("archiver", "403 role"),
        ("other", "403 camera"),
        ("door", "403 role"),
        ("cluster", "503 cluster"),
    ] {
        assert_eq!(
            told(&world.say(replica.address, &request(token)).await),
            expected,
            "{token}"
        );
    }
    let good = request("good");
    for (text, expected) in [
        (
            good.replace("Authorization: Bearer good\r\n", ""),
            "401 no_token",
        ),
        (good.replace("Bearer", "Basic"), "401 no_token"),
        (good.replace("acme/yard", "yard"), "400 target"),
        (good.replace("acme/yard", "acme/yard:554"), "400 target"),
        (good.replace("HTTP/1.1", "HTTP/1.0"), "400 version"),
        (
            good.replace("Generation: 3", "Generation: many"),
            "400 generation",
        ),
        (
            good.replace("Host: x", "Moorline-Relay-Key: x"),
            "400 relay_key",
        ),
        (
            good.replace("Host: x", "Authorization: Bearer other"),
            "400 head_malformed",
        ),
        (
            good.replace("\r\nHost: x", "\nHost: x"),
            "400 head_malformed",
        ),
        (good.replace("CONNECT", "POST"), "405 method"),
        (
            good.replace("CONNECT acme/yard", "GET /metrics"),
            "404 path",
        ),
        (
            good.replace("CONNECT acme/yard", "GET /v1/control/acme/yard"),
            "426 protocol",
        ),
        (
            good.replace("CONNECT acme/yard", "GET /v1/holds/acme/yard"),
            "403 peer",
        ),
    ] {
        assert_eq!(
            told(&world.say(replica.address, &text).await),
            expected,
            "{text}"
        );
    }
    assert!(
        connect(&landings(&world, "good", &replica), 0)
            .await
            .is_ok()
    );
}

/// P9.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_oversized_head_is_refused_and_a_dripping_one_costs_twenty_seconds() {
    let world = World::new();
    let replica = world.replica(&[]).await;
    relay(&world, "t", "relay-1");
    let large = request("t").replace("Host: x", &format!("Host: {}", "x".repeat(9000)));
    assert_eq!(
        told(&world.say(replica.address, &large).await),
        "431 head_too_large"
    );
    let mut slow = world.raw(replica.address).await;
    slow.write_all(b"CONNECT acme/yard HTTP/1.1\r\nHost: ")
        .await
        .unwrap();
    slow.flush().await.unwrap();
    // Of the sweeps and of this connection.
    world.clock.sleepers(2).await;
    world.clock.advance(Duration::from_secs(20));
    assert_eq!(rest(slow).await, "", "closed without an answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_pod_takes_the_camera_from_an_older_one() {
    let world = World::new();
    let mut replica = world.replica(&[]).await;
    held_here(&replica, 7);
    relay(&world, "old", "relay-1");
    relay(&world, "new", "relay-2");
    world.pods.made("relay-1", 1);
    world.pods.made("relay-2", 2);
    let (mut old, _) = connect(&landings(&world, "old", &replica), 0)
        .await
        .unwrap();
    let (_, _there) = soon("a landing", replica.opened.recv()).await.unwrap();
    let (_new, _) = connect(&landings(&world, "new", &replica), 0)
        .await
        .unwrap();
    let read = soon("the end of the older one", old.read(&mut [0; 1])).await;
    assert_eq!(read.unwrap_or(0), 0);
    assert_eq!(
        told(&world.say(replica.address, &request("old")).await),
        "403 older_pod"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stream_of_a_deleted_pod_ends() {
    let world = World::new();
    let replica = world.replica(&[]).await;
    held_here(&replica, 7);
    relay(&world, "t", "relay-1");
    let (mut stream, _) = connect(&landings(&world, "t", &replica), 0).await.unwrap();
    world.pods.delete("relay-1");
    let moving = async {
        let mut byte = [0; 1];
        loop {
            tokio::select! {
                read = stream.read(&mut byte) => return read.unwrap_or(0),
                () = tokio::task::yield_now() => world.clock.advance(Duration::from_secs(1)),
            }
        }
    };
    assert_eq!(soon("the end", moving).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_cluster_is_away_peers_are_asked_who_holds_the_camera() {
    let world = World::new();
    let mut holder = world.replica(&[]).await;
    let lesser = world.replica(&[]).await;
    let asked = world.replica(&[lesser.address, holder.address]).await;
    relay(&world, "t", "relay-1");
    held_here(&holder, 8);
    held_here(&lesser, 7);
    // Of the last word of the cluster one replica holds it that is gone by now.
    let gone = Holder::There {
        address: ([127, 0, 0, 1], 1).into(),
        generation: Generation(7),
    };
    asked.cameras.go_stale();
    for known in [Holder::Nobody, gone] {
        asked.cameras.set(YARD, known);
        let (_stream, generation) = connect(&landings(&world, "t", &asked), 3).await.unwrap();
        assert_eq!(generation, Generation(8), "the highest generation");
        soon("a landing", holder.opened.recv()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_certificate_of_the_service_is_a_peer() {
    let world = World::new();
    let replica = world.replica(&[]).await;
    held_here(&replica, 7);
    world.certify("peer", SERVICE);
    world.certify("signer", "moorline-signer.moorline-system.svc");
    let text = "GET /v1/holds/acme/yard HTTP/1.1\r\nHost: x\r\n\r\n";
    for (file, expected) in [("peer", "200 held_here"), ("signer", "403 peer")] {
        let mut stream = world.raw_as(replica.address, Some(file)).await;
        stream.write_all(text.as_bytes()).await.unwrap();
        assert_eq!(told(&rest(stream).await), expected, "{file}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_another_name_gets_no_token() {
    let world = World::new();
    let replica = world.replica(&[]).await;
    held_here(&replica, 7);
    relay(&world, "t", "relay-1");
    let elsewhere = world.dialer_to("moorline-signer.moorline-system.svc", "t", replica.address);
    let landings = GatewayLandings::new(elsewhere, None, None);
    let asking = tokio::spawn(async move { connect(&landings, 0).await.map(|_| ()) });
    replica
        .counts("gateway_closed_total{reason=\"tls\"}", 1)
        .await;
    pass(&world, &asking).await;
    assert_eq!(asking.await.unwrap(), Err(LandingError::Away));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_and_tokens_are_read_again() {
    let world = World::new();
    let replica = world.replica(&[]).await;
    held_here(&replica, 7);
    relay(&world, "first", "relay-1");
    let landings = landings(&world, "first", &replica);
    assert!(connect(&landings, 0).await.is_ok());
    world.pods.answer(
        "first",
        Audience::Gateway,
        Err(IdentityError::Refused("expired")),
    );
    relay(&world, "second", "relay-1");
    std::fs::write(world.path("token-first"), "second\n").unwrap();
    assert!(connect(&landings, 0).await.is_ok(), "the token of the file");
    world.certify("mon", "somebody-else.svc");
    world.clock.advance(Duration::from_secs(2));
    let shown = world.raw_result(replica.address).await;
    assert!(shown.is_err(), "the new certificate has another name");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_stops_answers_what_it_holds() {
    let world = World::new();
    let replica = world.replica(&[]).await;
    relay(&world, "t", "relay-1");
    replica.cameras.set(YARD, Holder::Nobody);
    let mut stream = world.raw(replica.address).await;
    stream.write_all(request("t").as_bytes()).await.unwrap();
    replica.cameras.somebody_waits().await;
    replica.cancel.cancel();
    assert_eq!(told(&rest(stream).await), "503 stopping");
    soon("the end of the server", replica.ended).await.unwrap();
}

/// What `helm test` asks: no token is shown, so none need be there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_is_reached_under_its_own_name_alone() {
    let world = World::new();
    let replica = world.replica(&[]).await;
    let dialer = world.dialer("t", replica.address);
    soon("a handshake", dialer.reaches()).await.unwrap();
    let elsewhere = world.dialer_to("moorline-signer.moorline-system.svc", "t", replica.address);
    let error = soon("an end", elsewhere.reaches()).await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    // Held without being listened at: nobody else is given it meanwhile.
    let held = tokio::net::TcpSocket::new_v4().unwrap();
    held.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let nobody = world.dialer("t", held.local_addr().unwrap());
    let error = soon("an end", nobody.reaches()).await.unwrap_err();
    assert!(
        error.to_string().contains("does not take the connection"),
        "{error}"
    );
}
