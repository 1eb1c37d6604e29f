//! Control connections: what workloads are told and say, over breaks.

use std::collections::BTreeSet;
use std::time::Duration;

use moorline_base::CancellationToken;
use moorline_core::camera::{Camera, Login, Source};
use moorline_core::cause::Cause;
use moorline_core::lifecycle::Role;
use moorline_core::port::{
    Audience, Holder, LinkEvent, WorkloadControl, WorkloadLinks as _, WorkloadOrder,
    WorkloadReport, WorkloadSpec,
};
use moorline_core::segment::Retention;
use moorline_core::status::{ArchiveReport, ArchiveState, OpenGap};
use moorline_core::{Generation, InstanceId, Masked, Timestamp};
use moorline_gateway::{ControlLink, ControlSettings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::fakes::{camera, pod, soon};
use crate::world::{Replica, World, passing, told};

const YARD: &str = "acme/yard";
const DRAIN: WorkloadOrder = WorkloadOrder::Drain {
    budget: Duration::from_secs(60),
};

fn spec(generation: u64) -> WorkloadSpec {
    let source = |user: &str| Source {
        path: None,
        login: Some(Login {
            user: user.to_owned(),
            password: Masked::new("never sent".to_owned()),
        }),
        allow_basic: false,
    };
    let generation = Generation(generation);
    WorkloadSpec {
        instance: InstanceId {
            generation,
            ordinal: 0,
        },
        camera: std::sync::Arc::new(Camera {
            title: "Yard".to_owned(),
            main: source("admin"),
            sub: Some(source("viewer")),
            ..Camera::new(camera(YARD), Timestamp::default(), Retention::Days(30))
        }),
        generation,
        gaps: Vec::new(),
        durable_until: None,
        recorded_from: None,
    }
}

fn report(spool_bytes: u64) -> WorkloadReport {
    WorkloadReport::Archive(ArchiveReport {
        state: ArchiveState::Recording,
        synced_until: None,
        durable_until: None,
        silent_since: None,
        spool_bytes,
        audio_note: None,
        store_error: None,
        waits: Default::default(),
        shut_out: false,
    })
}

/// A line that can be cut: everything goes by it, one connection after another.
struct Line {
    address: std::net::SocketAddr,
    cut: tokio::sync::watch::Sender<u64>,
}

impl Line {
    async fn to(replica: &Replica) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cut = tokio::sync::watch::Sender::new(0);
        let (target, cuts) = (replica.address, cut.clone());
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut far = TcpStream::connect(target).await.unwrap();
                let mut cuts = cuts.subscribe();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = cuts.changed() => {}
                    }
                });
            }
        });
        Self { address, cut }
    }

    fn cut(&self) {
        self.cut.send_modify(|count| *count += 1);
    }
}

struct Pod {
    link: ControlLink,
    control: Box<dyn WorkloadControl>,
    cancel: CancellationToken,
}

fn start(world: &World, address: std::net::SocketAddr) -> Pod {
    world
        .pods
        .workload("t", Audience::Gateway, YARD, Role::Archiver, "archiver-1");
    std::fs::write(world.path("main"), "hunter2\n").unwrap();
    std::fs::write(world.path("sub"), "another\n").unwrap();
    let settings = ControlSettings {
        passwords: Some(world.path("")),
        ..ControlSettings::default()
    };
    let cancel = world.cancel.child_token();
    let link = ControlLink::start(
        world.dialer("t", address),
        camera(YARD),
        settings,
        cancel.clone(),
    );
    Pod {
        control: link.control(),
        link,
        cancel,
    }
}

fn keeps(replica: &Replica, generation: u64) {
    replica
        .cameras
        .set(YARD, Holder::Here(Generation(generation)));
}

fn assign(replica: &Replica, spec: WorkloadSpec) {
    replica
        .links
        .assign(spec, &[(Role::Archiver, pod("archiver-1"))]);
}

/// A connection begins.
fn begins(event: &LinkEvent) -> bool {
    matches!(event, LinkEvent::Connected { .. })
}

/// A connection has ended.
fn ends(event: &LinkEvent) -> bool {
    matches!(event, LinkEvent::Disconnected { .. })
}

/// The numbers of the connections that have begun.
fn begun(events: &[LinkEvent]) -> BTreeSet<u64> {
    let number = |event: &LinkEvent| match event {
        LinkEvent::Connected { connection } => Some(*connection),
        _ => None,
    };
    events.iter().filter_map(number).collect()
}

/// The numbers of the connections that have ended.
fn ended(events: &[LinkEvent]) -> BTreeSet<u64> {
    let number = |event: &LinkEvent| match event {
        LinkEvent::Disconnected { connection } => Some(*connection),
        _ => None,
    };
    events.iter().filter_map(number).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workload_is_told_its_spec_and_orders_and_its_reports_arrive() {
    let world = World::new();
    let replica = world.replica(&[]).await;
    keeps(&replica, 7);
    let mut archiver = start(&world, replica.address);
    replica
        .said
        .until("a connection", |events| events.iter().any(begins))
        .await;
    assign(&replica, spec(7));
    let told = soon("the spec", archiver.link.spec()).await.unwrap();
    assert_eq!(
        (told.instance, told.generation),
        (spec(7).instance, Generation(7))
    );
    let login = told.camera.main.login.clone().unwrap();
    assert_eq!(
        (login.user.as_str(), login.password.reveal().as_str()),
        ("admin", "hunter2"),
        "the pod's own file"
    );
    let sub = told.camera.sub.as_ref().unwrap().login.clone().unwrap();
    assert_eq!(
        (sub.user.as_str(), sub.password.reveal().as_str()),
        ("viewer", "another"),
        "each source has its own"
    );
    archiver.control.report(report(1));
    replica
        .said
        .until("a report", |events| {
            events.contains(&LinkEvent::Report(report(1)))
        })
        .await;
    let gap = OpenGap {
        since: Timestamp::from_millis(5),
        cause: Cause::TunnelDown,
    };
    let orders = [
        WorkloadOrder::Rebind {
            generation: Generation(8),
        },
        WorkloadOrder::Cause { gap: Some(gap) },
        WorkloadOrder::Cause { gap: None },
        DRAIN,
    ];
    for order in orders {
        replica.links.order(&camera(YARD), spec(7).instance, order);
        assert_eq!(
            soon("the order", archiver.control.order()).await,
            Some(order)
        );
    }
    archiver.cancel.cancel();
    assert_eq!(
        soon("the end", archiver.control.order()).await,
        None,
        "drain with the default budget"
    );
    replica
        .said
        .until("the end", |events| events.iter().any(ends))
        .await;
}

/// An archiver that was told its spec over a line which can be cut.
async fn through_a_line(world: &World, replica: &Replica) -> (Line, Pod) {
    keeps(replica, 7);
    assign(replica, spec(7));
    let line = Line::to(replica).await;
    let archiver = start(world, line.address);
    soon("the spec", archiver.link.spec()).await.unwrap();
    (line, archiver)
}

/// Cuts it, and waits until the replica has noticed.
async fn broken(line: &Line, replica: &Replica) {
    line.cut();
    let noticed = replica
        .said
        .until("a break", |events| events.iter().any(ends));
    noticed.await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_noted_while_the_way_was_broken_is_told_and_not_known_before() {
    let world = World::new();
    let replica = world.replica(&[]).await;
    let (line, mut archiver) = through_a_line(&world, &replica).await;
    assert!(archiver.control.has_heard(Generation(7)));
    assert!(
        !archiver.control.has_heard(Generation(8)),
        "another replica has that tunnel"
    );
    broken(&line, &replica).await;
    let first = ended(&replica.said.all());
    assert_eq!(first.len(), 1, "{first:?}");
    assert!(begun(&replica.said.all()).is_superset(&first));
    let gap = OpenGap {
        since: Timestamp::from_millis(5_000),
        cause: Cause::TunnelDown,
    };
    for gap in [Some(gap), None] {
        let order = WorkloadOrder::Cause { gap };
        replica.links.order(&camera(YARD), spec(7).instance, order);
    }
    for gap in [Some(gap), None] {
        let order = passing(&world, "a cause", archiver.control.order()).await;
        assert_eq!(order, Some(WorkloadOrder::Cause { gap }));
    }
    assert!(archiver.control.has_heard(Generation(7)));
    let newer = begun(&replica.said.all());
    assert!(
        newer.last() > first.last(),
        "{newer:?}: a later one has a greater number"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_is_neither_lost_nor_doubled_when_the_connection_breaks_in_it() {
    let world = World::new();
    let replica = world.replica(&[]).await;
    let (line, mut archiver) = through_a_line(&world, &replica).await;
    let connected = |times| move |events: &[LinkEvent]| begun(events).len() >= times;
    // Broken before the order: it waits.
    broken(&line, &replica).await;
    replica.links.order(&camera(YARD), spec(7).instance, DRAIN);
    let order = passing(&world, "the drain", archiver.control.order()).await;
    assert_eq!(order, Some(DRAIN));
    // Broken while it drains: the order comes again and is not given to the workload again; its report is told to the new connection.
    archiver.control.report(report(2));
    line.cut();
    passing(
        &world,
        "a third connection",
        replica.said.until("a third connection", connected(3)),
    )
    .await;
    passing(
        &world,
        "the report again",
        replica.said.until("it", |events| {
            events.contains(&LinkEvent::Report(report(2)))
        }),
    )
    .await;
    // Drained, and broken at once: said until it is heard, passed on once.
    let link = archiver.link.clone();
    let saying = tokio::spawn(async move { link.drained().await });
    line.cut();
    assert!(passing(&world, "drained is heard", saying).await.unwrap());
    line.cut();
    let again = begun(&replica.said.all()).len() + 1;
    passing(
        &world,
        "one more connection",
        replica.said.until("it", connected(again)),
    )
    .await;
    assert!(passing(&world, "drained is heard again", archiver.link.drained()).await);
    let said = replica.said.all();
    let drained = said.iter().filter(|event| **event == LinkEvent::Drained);
    assert_eq!(drained.count(), 1);
    tokio::select! {
        biased;
        order = archiver.control.order() => panic!("no further order, but {order:?}"),
        () = tokio::task::yield_now() => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workload_follows_its_camera_to_another_replica() {
    let world = World::new();
    let (first, second) = (world.replica(&[]).await, world.replica(&[]).await);
    keeps(&first, 7);
    assign(&first, spec(7));
    let mut archiver = start(&world, first.address);
    soon("the spec", archiver.link.spec()).await.unwrap();
    keeps(&second, 8);
    assign(&second, spec(8));
    first.cameras.set(
        YARD,
        Holder::There {
            address: second.address,
            generation: Generation(8),
        },
    );
    first
        .said
        .until("the end at the first", |events| events.iter().any(ends))
        .await;
    let order = passing(&world, "the news of the second", archiver.control.order()).await;
    assert_eq!(
        order,
        Some(WorkloadOrder::Rebind {
            generation: Generation(8)
        }),
        "the workload goes on"
    );
    assert!(second.said.all().first().is_some_and(begins));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_nobody_holds_the_camera_its_pods_are_the_janitors() {
    let world = World::new();
    let replica = world.replica(&[]).await;
    replica.cameras.set(YARD, Holder::Nobody);
    replica.cameras.keep(YARD, Holder::Here(Generation(7)));
    assign(&replica, spec(7));
    replica.links.order(&camera(YARD), spec(7).instance, DRAIN);
    let mut archiver = start(&world, replica.address);
    soon("the spec", archiver.link.spec()).await.unwrap();
    assert_eq!(
        soon("the drain", archiver.control.order()).await,
        Some(DRAIN)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_is_over_is_closed() {
    let world = World::new();
    let replica = world.replica(&[]).await;
    keeps(&replica, 7);
    assign(&replica, spec(7));
    let archiver = start(&world, replica.address);
    soon("the spec", archiver.link.spec()).await.unwrap();
    replica.links.forget(&camera(YARD), spec(7).instance);
    replica
        .said
        .until("the end", |events| events.iter().any(ends))
        .await;
}

/// What a pod says that does not follow the protocol.
async fn bare(world: &World, replica: &Replica) -> tokio_rustls::client::TlsStream<TcpStream> {
    world
        .pods
        .workload("t", Audience::Gateway, YARD, Role::Relay, "relay-1");
    let mut stream = world.raw(replica.address).await;
    let text = "GET /v1/control/acme/yard HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t\r\nUpgrade: moorline-control/1\r\n\r\n";
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon("the head", stream.read_u8()).await.unwrap());
    }
    assert_eq!(told(std::str::from_utf8(&head).unwrap()), "101 -");
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_silent_for_thirty_seconds_is_closed_and_so_is_who_talks_too_much() {
    let world = World::new();
    let replica = world.replica(&[]).await;
    keeps(&replica, 7);
    let mut silent = bare(&world, &replica).await;
    let mut beat = [0; 16];
    passing(&world, "a beat", silent.read_exact(&mut beat))
        .await
        .unwrap();
    assert_eq!(beat, *b"{\"type\":\"beat\"}\n");
    let mut rest = Vec::new();
    let _ = passing_fast(&world, "the end", silent.read_to_end(&mut rest)).await;
    replica
        .counts("gateway_closed_total{reason=\"silent\"}", 1)
        .await;
    let mut loud = bare(&world, &replica).await;
    let _ = loud.write_all(&vec![b'x'; 20_000]).await;
    replica
        .counts("gateway_closed_total{reason=\"line_too_long\"}", 1)
        .await;
    let mut wrong = bare(&world, &replica).await;
    wrong.write_all(b"hello\n").await.unwrap();
    replica
        .counts("gateway_closed_total{reason=\"line_malformed\"}", 1)
        .await;
    // A relay does not speak for the archive.
    let mut liar = bare(&world, &replica).await;
    let text = "{\"type\":\"archive\",\"report\":{\"state\":\"recording\",\"spool_bytes\":0}}\n{\"type\":\"drained\"}\n";
    liar.write_all(text.as_bytes()).await.unwrap();
    let events = replica
        .said
        .until("it to be drained", |events| {
            events.contains(&LinkEvent::Drained)
        })
        .await;
    assert!(
        !events
            .iter()
            .any(|event| matches!(event, LinkEvent::Report(_))),
        "{events:?}"
    );
}

async fn passing_fast<T>(world: &World, what: &str, future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let moving = async {
        loop {
            tokio::select! {
                biased;
                value = &mut future => return value,
                () = tokio::task::yield_now() => world.clock.advance(Duration::from_millis(20)),
            }
        }
    };
    soon(what, moving).await
}
