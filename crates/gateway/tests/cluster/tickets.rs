//! Tickets: a relay is reached by its key and opened once, whatever happens to it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use moorline_base::CancellationToken;
use moorline_core::lifecycle::Role;
use moorline_core::port::{
    Audience, ByteStream, Caller, LiveFeed, LiveItem, PodUid, Poster, ReaderRole, RelayError,
    RelayPlace, Relays,
};
use moorline_core::{CameraId, Generation, SourceName, Timestamp};
use moorline_gateway::{
    RelayKey, Ticket, TicketCheck, TicketDoor, TicketMetrics, TicketRelays, TicketSigner,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::fakes::{camera, pod, soon};
use crate::signer::{SIGNER, Signing, signer};
use crate::world::{NOW, World, counted, passing, told};

const YARD: &str = "acme/yard";

/// A relay of this process.
struct Local {
    opened: mpsc::Sender<(SourceName, ReaderRole, DuplexStream)>,
    refusal: Mutex<Option<RelayError>>,
    items: Mutex<Vec<Result<LiveItem, RelayError>>>,
}

struct Items(Vec<Result<LiveItem, RelayError>>);

#[async_trait]
impl LiveFeed for Items {
    async fn next(&mut self) -> Result<LiveItem, RelayError> {
        if self.0.is_empty() {
            std::future::pending::<()>().await;
        }
        self.0.remove(0)
    }
}

fn poster() -> Poster {
    Poster {
        mime: "video/mp4".to_owned(),
        bytes: Bytes::from_static(b"picture"),
        wall: Timestamp::from_millis(NOW),
    }
}

#[async_trait]
impl Relays for Local {
    async fn open(
        &self,
        asked: &CameraId,
        source: SourceName,
        role: ReaderRole,
    ) -> Result<ByteStream, RelayError> {
        assert_eq!(*asked, camera(YARD));
        if let Some(error) = self.refusal.lock().unwrap().clone() {
            return Err(error);
        }
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        self.opened.try_send((source, role, theirs)).unwrap();
        Ok(Box::new(ours))
    }

    async fn live(
        &self,
        _: &CameraId,
        _: SourceName,
        login: &str,
    ) -> Result<Box<dyn LiveFeed>, RelayError> {
        assert_eq!(login, "ann");
        if let Some(error) = self.refusal.lock().unwrap().clone() {
            return Err(error);
        }
        Ok(Box::new(Items(std::mem::take(
            &mut self.items.lock().unwrap(),
        ))))
    }

    fn poster(&self, _: &CameraId, _: SourceName) -> Option<Poster> {
        Some(poster())
    }
}

/// A relay pod.
struct RelayPod {
    place: RelayPlace,
    check: Arc<TicketCheck>,
    metrics: prometheus_client::registry::Registry,
    local: Arc<Local>,
    opened: mpsc::Receiver<(SourceName, ReaderRole, DuplexStream)>,
    cancel: CancellationToken,
}

impl RelayPod {
    /// Waits until it has seen that nobody reads any more.
    async fn unread(&self) {
        let unread = async {
            while counted(&self.metrics, "tickets_streams") > 0 {
                tokio::task::yield_now().await;
            }
        };
        soon("the end of all readings", unread).await;
    }

    /// The next stream that was opened here.
    async fn opened(&mut self) -> (SourceName, ReaderRole) {
        let (source, role, _) = soon("a reader", self.opened.recv()).await.unwrap();
        (source, role)
    }
}

fn relay_pod(world: &World, name: &str, uid: &str) -> RelayPod {
    let scratch = world.path(uid);
    std::fs::create_dir_all(&scratch).unwrap();
    let key = RelayKey::load_or_make(&scratch).unwrap();
    let check = Arc::new(TicketCheck::new(camera(name), pod(uid)));
    check.set_keys(vec![world.ticket_key]);
    let (sender, opened) = mpsc::channel(16);
    let local = Arc::new(Local {
        opened: sender,
        refusal: Mutex::default(),
        items: Mutex::default(),
    });
    let listener = moorline_base::net::listen(([127, 0, 0, 1], 0).into()).unwrap();
    let place = RelayPlace {
        pod: pod(uid),
        address: listener.local_addr().unwrap(),
        key: key.pin(),
        generation: Generation(7),
    };
    let mut metrics = prometheus_client::registry::Registry::default();
    let door = TicketDoor::new(
        world.shared_clock(),
        key,
        check.clone(),
        local.clone(),
        TicketMetrics::register(&mut metrics),
    );
    let cancel = world.cancel.child_token();
    let stop = cancel.clone();
    tokio::spawn(async move { door.run(listener, stop).await });
    RelayPod {
        place,
        check,
        metrics,
        local,
        opened,
        cancel,
    }
}

fn archivers(world: &World, signing: &Signing) -> TicketRelays {
    world.pods.workload(
        "archiver",
        Audience::Signer,
        YARD,
        Role::Archiver,
        "archiver-1",
    );
    TicketRelays::new(world.dialer_to(SIGNER, "archiver", signing.address))
}

fn front_doors(world: &World, signing: &Signing) -> TicketRelays {
    world.pods.answer(
        "door",
        Audience::Signer,
        Ok(Caller::FrontDoor { pod: pod("door-1") }),
    );
    TicketRelays::new(world.dialer_to(SIGNER, "door", signing.address))
}

fn ann() -> ReaderRole {
    ReaderRole::Viewer {
        login: "ann".to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archiver_reads_its_own_relay_and_the_front_door_any() {
    let world = World::new();
    let signing = signer(&world).await;
    let mut relay = relay_pod(&world, YARD, "relay-1");
    signing.relays.set(YARD, relay.place.clone());
    let relays = archivers(&world, &signing);
    let yard = camera(YARD);
    let opening = relays.open(&yard, SourceName::Main, ReaderRole::Archiver);
    let mut stream = soon("a stream", opening).await.unwrap();
    let (source, role, mut there) = soon("a reader", relay.opened.recv()).await.unwrap();
    assert_eq!((source, role), (SourceName::Main, ReaderRole::Archiver));
    stream.write_all(b"DESCRIBE").await.unwrap();
    stream.flush().await.unwrap();
    let mut asked = [0; 8];
    soon("the request", there.read_exact(&mut asked))
        .await
        .unwrap();
    there.write_all(b"200").await.unwrap();
    let mut answered = [0; 3];
    soon("the answer", stream.read_exact(&mut answered))
        .await
        .unwrap();
    assert_eq!((&asked, &answered), (b"DESCRIBE", b"200"));
    let viewing = front_doors(&world, &signing);
    soon(
        "a viewer",
        viewing.open(&camera(YARD), SourceName::Sub, ann()),
    )
    .await
    .unwrap();
    let (source, role, _) = soon("a reader", relay.opened.recv()).await.unwrap();
    assert_eq!((source, role), (SourceName::Sub, ann()));
    relay.cancel.cancel();
    assert_eq!(
        soon("the end", stream.read(&mut answered))
            .await
            .unwrap_or(0),
        0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_a_ticket_that_is_not_theirs() {
    let world = World::new();
    let signing = signer(&world).await;
    signing
        .relays
        .set(YARD, relay_pod(&world, YARD, "relay-1").place);
    world
        .pods
        .workload("other", Audience::Signer, "acme/gate", Role::Archiver, "b");
    world
        .pods
        .workload("relay", Audience::Signer, YARD, Role::Relay, "c");
    for token in ["other", "relay"] {
        let relays = TicketRelays::new(world.dialer_to(SIGNER, token, signing.address));
        let opened = soon(
            "an answer",
            relays.open(&camera(YARD), SourceName::Main, ReaderRole::Archiver),
        )
        .await;
        assert_eq!(opened.map(|_| ()), Err(RelayError::Unknown), "{token}");
    }
    // An archiver is no viewer, and the front door no archiver.
    let relays = archivers(&world, &signing);
    let opened = soon(
        "an answer",
        relays.open(&camera(YARD), SourceName::Main, ann()),
    )
    .await;
    assert_eq!(opened.map(|_| ()), Err(RelayError::Unknown));
    let relays = front_doors(&world, &signing);
    let yard = camera(YARD);
    let opening = relays.open(&yard, SourceName::Main, ReaderRole::Archiver);
    let opened = soon("an answer", opening).await;
    assert_eq!(opened.map(|_| ()), Err(RelayError::Unknown));
}

/// Shows this ticket to a relay and returns status and reason.
async fn show(world: &World, address: SocketAddr, target: &str, ticket: &str) -> String {
    told(&knock(world, address, target, &format!("Ticket {ticket}"), "rtsp").await)
}

/// Shows this to a relay, wants that, and returns the head of the answer.
async fn knock(
    world: &World,
    address: SocketAddr,
    target: &str,
    shown: &str,
    want: &str,
) -> String {
    let stream = TcpStream::connect(address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(world.any_key());
    let name = rustls::pki_types::ServerName::try_from("anything").unwrap();
    let mut stream = soon("TLS", connector.connect(name, stream)).await.unwrap();
    let text = format!(
        "CONNECT {target} HTTP/1.1\r\nHost: x\r\nAuthorization: {shown}\r\nMoorline-Want: {want}\r\n\r\n"
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon("an answer", stream.read_u8()).await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// What to show when one comes again, as the head of an answer says.
fn again(head: &str) -> Option<String> {
    let found = |line: &str| line.strip_prefix("Moorline-Again: ").map(str::to_owned);
    head.lines().find_map(found)
}

/// S22.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_opens_once_in_time_at_its_pod_and_on_no_other_path() {
    let world = World::new();
    let (relay, other) = (
        relay_pod(&world, YARD, "relay-1"),
        relay_pod(&world, YARD, "relay-2"),
    );
    let gate = relay_pod(&world, "acme/gate", "relay-3");
    let signer = TicketSigner::load(world.path("ticket.key"), world.shared_clock()).unwrap();
    let ticket = |id: u8| Ticket {
        id: [id; 16],
        expires: Timestamp::from_millis(NOW + 60_000),
        generation: Generation(7),
        camera: camera(YARD),
        source: SourceName::Main,
        role: ann(),
        pod: PodUid("relay-1".to_owned()),
    };
    let text = signer.sign(&ticket(1)).unwrap();
    let at = relay.place.address;
    assert_eq!(
        show(&world, other.place.address, YARD, &text).await,
        "401 pod"
    );
    assert_eq!(
        show(&world, gate.place.address, YARD, &text).await,
        "404 path",
        "a reused address"
    );
    assert_eq!(
        show(&world, gate.place.address, "acme/gate", &text).await,
        "401 camera"
    );
    assert_eq!(show(&world, at, "yard", &text).await, "404 path");
    assert_eq!(show(&world, at, "/acme/yard", &text).await, "404 path");
    assert_eq!(
        show(&world, at, YARD, &text.replace("v1.", "v2.")).await,
        "401 malformed"
    );
    // The last letter of a signature is an A already in one of 16.
    let last = if text.ends_with('A') { 'B' } else { 'A' };
    let forged = format!("{}{last}", &text[..text.len() - 1]);
    let told = show(&world, at, YARD, &forged).await;
    assert!(
        ["401 signature", "401 malformed"].contains(&told.as_str()),
        "{told}"
    );
    assert_eq!(show(&world, at, YARD, &text).await, "200 -");
    assert_eq!(show(&world, at, YARD, &text).await, "401 used");
    world.clock.advance(Duration::from_secs(66));
    assert_eq!(
        show(&world, at, YARD, &signer.sign(&ticket(2)).unwrap()).await,
        "401 expired"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_moved_or_was_restarted_is_found_with_the_next_ticket() {
    let world = World::new();
    let signing = signer(&world).await;
    let relays = archivers(&world, &signing);
    let opening = tokio::spawn(async move {
        relays
            .open(&camera(YARD), SourceName::Main, ReaderRole::Archiver)
            .await
            .map(|_| ())
    });
    // None yet; then one at whose address another pod answers by now; then the one.
    let (gone, stranger) = (
        relay_pod(&world, YARD, "relay-1"),
        relay_pod(&world, "acme/gate", "relay-2"),
    );
    signing.relays.set(
        YARD,
        RelayPlace {
            address: stranger.place.address,
            ..gone.place.clone()
        },
    );
    world.clock.sleepers(1).await;
    let mut relay = relay_pod(&world, YARD, "relay-3");
    signing.relays.set(YARD, relay.place.clone());
    passing(&world, "the relay", relay.opened.recv())
        .await
        .unwrap();
    opening.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_does_not_come_is_away_after_ten_seconds() {
    let world = World::new();
    let signing = signer(&world).await;
    let relays = archivers(&world, &signing);
    let yard = camera(YARD);
    let opening = relays.open(&yard, SourceName::Main, ReaderRole::Archiver);
    let opened = passing(&world, "an answer", opening).await;
    assert_eq!(opened.map(|_| ()), Err(RelayError::Away));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_pictures_posters_and_refusals_are_the_relays_own() {
    let world = World::new();
    let signing = signer(&world).await;
    let relay = relay_pod(&world, YARD, "relay-1");
    signing.relays.set(YARD, relay.place.clone());
    let relays = front_doors(&world, &signing);
    let items = vec![
        Ok(LiveItem::Init {
            mime: "video/mp4; codecs=\"avc1.64001f\"".to_owned(),
            bytes: Bytes::from_static(b"moov"),
        }),
        Ok(LiveItem::Fragment {
            bytes: Bytes::from(vec![5; 300_000]),
            key: true,
            wall: Timestamp::from_millis(NOW),
        }),
        Err(RelayError::Stalled),
    ];
    *relay.local.items.lock().unwrap() = items.clone();
    let mut feed = soon(
        "a feed",
        relays.live(&camera(YARD), SourceName::Main, "ann"),
    )
    .await
    .unwrap();
    for item in items {
        assert_eq!(soon("an item", feed.next()).await, item);
    }
    assert_eq!(soon("the end", feed.next()).await, Err(RelayError::Stalled));
    for error in [
        RelayError::NotPlayable("MJPEG".to_owned()),
        RelayError::TooMany,
        RelayError::Away,
        RelayError::Unknown,
    ] {
        *relay.local.refusal.lock().unwrap() = Some(error.clone());
        let refused = soon(
            "an answer",
            relays.live(&camera(YARD), SourceName::Main, "ann"),
        )
        .await;
        assert_eq!(refused.map(|_| ()), Err(error));
    }
    let found = async {
        loop {
            if let Some(poster) = relays.poster(&camera(YARD), SourceName::Main) {
                return poster;
            }
            tokio::task::yield_now().await;
        }
    };
    assert_eq!(soon("a poster", found).await, poster());
}

/// The way to a signer, which may stand still: its kernel takes connections then, and nobody answers.
struct Signers {
    address: SocketAddr,
    still: Arc<AtomicBool>,
}

impl Signers {
    async fn before(signer: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let still = Arc::new(AtomicBool::new(false));
        let stands = still.clone();
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((mut near, _)) = listener.accept().await {
                if stands.load(Ordering::SeqCst) {
                    held.push(near);
                    continue;
                }
                let mut far = TcpStream::connect(signer).await.unwrap();
                tokio::spawn(async move {
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        Self { address, still }
    }
}

/// As when its camera has called another replica: the reading ends at the boundary of the two tunnels.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archiver_opens_its_relay_again_while_no_signer_answers() {
    let world = World::new();
    let signing = signer(&world).await;
    let mut relay = relay_pod(&world, YARD, "relay-1");
    signing.relays.set(YARD, relay.place.clone());
    let signers = Signers::before(signing.address).await;
    archivers(&world, &signing);
    let relays = TicketRelays::new(world.dialer_to(SIGNER, "archiver", signers.address));
    let yard = camera(YARD);
    let sub = (SourceName::Sub, ReaderRole::Archiver);
    let opening = relays.open(&yard, sub.0, sub.1.clone());
    let mut stream = soon("a stream", opening).await.unwrap();
    assert_eq!(relay.opened().await, sub);
    assert_eq!(relays.generation(&yard), Some(Generation(7)));
    signers.still.store(true, Ordering::SeqCst);
    relay.check.set_through(Generation(8));
    relay.check.set_through(Generation(6));
    for _ in 0..3 {
        drop(stream);
        // Time stands still: nothing is waited for.
        let opening = relays.open(&yard, sub.0, sub.1.clone());
        stream = soon("a stream again", opening).await.unwrap();
        assert_eq!(relay.opened().await, sub);
        assert_eq!(relays.generation(&yard), Some(Generation(8)));
    }
    let opening = relays.open(&yard, SourceName::Main, ReaderRole::Archiver);
    let other = passing(&world, "an answer", opening).await;
    assert_eq!(other.map(|_| ()), Err(RelayError::Away), "another stream");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archiver_whose_relay_does_not_know_it_any_more_comes_with_a_ticket() {
    let world = World::new();
    let signing = signer(&world).await;
    let mut relay = relay_pod(&world, YARD, "relay-1");
    signing.relays.set(YARD, relay.place.clone());
    let relays = archivers(&world, &signing);
    let (yard, main) = (camera(YARD), SourceName::Main);
    let opening = relays.open(&yard, main, ReaderRole::Archiver);
    drop(soon("a stream", opening).await.unwrap());
    relay.opened().await;
    relay.unread().await;
    world.clock.advance(Duration::from_secs(601));
    let opening = relays.open(&yard, main, ReaderRole::Archiver);
    drop(soon("a stream again", opening).await.unwrap());
    relay.opened().await;
    let forgotten = r#"tickets_answers_total{reason="again"}"#;
    assert_eq!(counted(&relay.metrics, forgotten), 1);
    // Nor does one wait for a relay that is gone.
    relay.cancel.cancel();
    let mut successor = relay_pod(&world, YARD, "relay-2");
    signing.relays.set(YARD, successor.place.clone());
    let opening = relays.open(&yard, main, ReaderRole::Archiver);
    passing(&world, "a stream of the next", opening)
        .await
        .unwrap();
    successor.opened().await;
}

/// S22.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_way_to_come_again_opens_once_in_time_its_own_source_and_is_told_to_no_viewer() {
    let world = World::new();
    let mut relay = relay_pod(&world, YARD, "relay-1");
    let other = relay_pod(&world, YARD, "relay-2");
    let gate = relay_pod(&world, "acme/gate", "relay-3");
    let signer = TicketSigner::load(world.path("ticket.key"), world.shared_clock()).unwrap();
    let ticket = |id: u8, source, role| {
        let ticket = Ticket {
            id: [id; 16],
            expires: Timestamp::from_millis(world.shared_clock().wall_ms() + 60_000),
            generation: Generation(7),
            camera: camera(YARD),
            source,
            role,
            pod: PodUid("relay-1".to_owned()),
        };
        format!("Ticket {}", signer.sign(&ticket).unwrap())
    };
    let at = relay.place.address;
    let sub = (SourceName::Sub, ReaderRole::Archiver);
    let shown = ticket(1, SourceName::Sub, ReaderRole::Archiver);
    let head = knock(&world, at, YARD, &shown, "rtsp").await;
    assert_eq!(told(&head), "200 -");
    assert_eq!(relay.opened().await, sub);
    let first = again(&head).unwrap();
    let way = format!("Again {first}");
    for (address, target, shown, refusal) in [
        (at, YARD, "Again AAAA", "401 again"),
        (at, YARD, &*format!("Ticket {first}"), "401 malformed"),
        (at, YARD, &*format!("Bearer {first}"), "401 no_token"),
        (other.place.address, YARD, &*way, "401 again"),
        (gate.place.address, "acme/gate", &*way, "401 again"),
        (gate.place.address, YARD, &*way, "404 path"),
    ] {
        let head = knock(&world, address, target, shown, "rtsp").await;
        assert_eq!(told(&head), refusal, "{target} {shown}");
    }
    let head = knock(&world, at, YARD, &way, "rtsp").await;
    assert_eq!(told(&head), "200 -");
    assert_eq!(relay.opened().await, sub, "the source of its ticket");
    let head_of_used = knock(&world, at, YARD, &way, "rtsp").await;
    assert_eq!(told(&head_of_used), "401 again", "used");
    // It is an archiver's, which has no pictures for a browser; and is used with that.
    let second = format!("Again {}", again(&head).unwrap());
    for (want, refusal) in [("live", "403 role"), ("poster", "401 again")] {
        let head = knock(&world, at, YARD, &second, want).await;
        assert_eq!(told(&head), refusal, "{want}");
    }
    relay.check.set_through(Generation(8));
    let shown = ticket(2, SourceName::Main, ann());
    let head = knock(&world, at, YARD, &shown, "rtsp").await;
    assert_eq!(told(&head), "200 -");
    assert_eq!(relay.opened().await, (SourceName::Main, ann()));
    assert_eq!(head, "HTTP/1.1 200 OK\r\n\r\n", "a viewer");
    let shown = ticket(3, SourceName::Sub, ReaderRole::Archiver);
    let head = knock(&world, at, YARD, &shown, "rtsp").await;
    assert!(head.contains("Moorline-Generation: 8\r\n"), "{head}");
    relay.opened().await;
    relay.unread().await;
    world.clock.advance(Duration::from_secs(601));
    let late = format!("Again {}", again(&head).unwrap());
    let head = knock(&world, at, YARD, &late, "rtsp").await;
    assert_eq!(told(&head), "401 again", "too late");
}
