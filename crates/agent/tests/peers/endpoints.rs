//! Several servers: failover, REFER.

use std::time::{Duration, Instant};

use moorline_testkit::Starved;
use moorline_testkit::fault::{Fault, FaultProxy};

use crate::agent::Camera;
use crate::reader::Reader;
use crate::server::{Seen, Server, yard, yard_without_forwards};

#[tokio::test(flavor = "multi_thread")]
async fn a_main_endpoint_that_refuses_leads_to_the_backup_within_15_s() {
    let mut camera = Camera::new();
    let server = Server::start("both", vec![yard(camera.key.public())]);
    let main = FaultProxy::start(server.address).await.unwrap();
    main.set(Fault::Refuse).await;
    let pins = server.pins();
    // By its pins another server: at a second port of the same one the second call would be made.
    let (one, _) = pins.split_once(',').unwrap();
    camera.calls(main.address(), one);
    camera.calls(server.address, &pins);
    let (start, starved) = (Instant::now(), Starved::begin());
    let agent = camera.start();
    server.up(0).await;
    let took = start.elapsed();
    println!("two refusals, then the backup: {took:?}");
    assert!(
        took <= Duration::from_secs(15) + starved.so_far(),
        "{took:?}: {}",
        agent.tail()
    );
    let refused = agent
        .lines()
        .iter()
        .filter(|line| line.contains("Connection refused"))
        .count();
    assert_eq!(refused, 2, "{}", agent.tail());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_first_port_refuses_is_called_at_its_second_one() {
    let mut camera = Camera::new();
    let server = Server::start("both", vec![yard(camera.key.public())]);
    let first = FaultProxy::start(server.address).await.unwrap();
    first.set(Fault::Refuse).await;
    camera.calls(first.address(), &server.pins());
    camera.calls(server.address, &server.pins());
    let agent = camera.start();
    server.up(0).await;
    let lines = agent.lines();
    let calls = lines.iter().filter(|line| line.contains("calling "));
    assert_eq!(calls.count(), 2, "{}", agent.tail());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_referred_camera_streams_there_and_reports_here() {
    let mut camera = Camera::new();
    let endpoint = Server::start("endpoint", vec![yard_without_forwards(camera.key.public())]);
    let streampoint = Server::start("streampoint", vec![yard(camera.key.public())]);
    camera.calls(endpoint.address, &endpoint.pins());
    let agent = camera.start();
    let session = endpoint.opened(0).await;
    let port = streampoint.address.port();
    let refer = format!(
        "REFER home/yard 127.0.0.1 {port} {} 3600",
        streampoint.pins()
    );
    let start = Instant::now();
    endpoint.say(session, &refer);
    let there = streampoint.up(0).await;
    println!("REFER to the streampoint's tunnel: {:?}", start.elapsed());
    endpoint.line(&format!("UPSTATE up 127.0.0.1 {port}")).await;
    let mut reader = Reader::over(streampoint.landing().await);
    reader.play().await;
    reader.picture().await.unwrap();
    // S6: it may say what it wants.
    streampoint.say(there, "CONFIG queue 4096");
    streampoint.say(there, "PING 3");
    streampoint.line("PONG 3").await;
    assert!(
        !camera.read("etc/agent.conf").contains("queue"),
        "{}",
        agent.tail()
    );
    let ups = endpoint
        .all()
        .into_iter()
        .filter(|seen| matches!(seen, Seen::Up(_)));
    assert_eq!(ups.count(), 0, "the endpoint has no tunnel");
    // Another place: the old session ends, the stream goes on there.
    let third = Server::start("streampoint", vec![yard(camera.key.public())]);
    endpoint.say(
        session,
        &format!(
            "REFER home/yard 127.0.0.1 {} {}",
            third.address.port(),
            third.pins()
        ),
    );
    third.up(0).await;
    streampoint.ended(there).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streampoint_with_another_key_is_told_to_the_endpoint() {
    let mut camera = Camera::new();
    let endpoint = Server::start("endpoint", vec![yard_without_forwards(camera.key.public())]);
    let streampoint = Server::start("streampoint", vec![yard(camera.key.public())]);
    camera.calls(endpoint.address, &endpoint.pins());
    let _agent = camera.start();
    let session = endpoint.opened(0).await;
    let port = streampoint.address.port();
    endpoint.say(
        session,
        &format!("REFER home/yard 127.0.0.1 {port} {}", endpoint.pins()),
    );
    let state = endpoint.line("UPSTATE down").await;
    assert_eq!(state, format!("UPSTATE down 127.0.0.1 {port} hostkey"));
    assert_eq!(streampoint.all(), []);
}
