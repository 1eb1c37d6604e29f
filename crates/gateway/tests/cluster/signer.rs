//! The signer and its clients: presigned puts to a store of this test, and each refusal.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use md5::{Digest as _, Md5};
use moorline_core::lifecycle::Role;
use moorline_core::port::{
    Audience, Caller, IdentityError, PortError, PutLimits, PutPolicy, PutRequest, PutSigner,
    SealedFile, SegmentSink as _, SignedPut, StoreError,
};
use moorline_core::segment::{ObjectKey, Retention, Tier};
use moorline_core::{CameraId, Generation, Masked, Timestamp};
use moorline_gateway::{
    SignedSink, Signer, SignerConfig, SignerMetrics, SignerParts, StoreTrust, TicketSigner,
};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use crate::fakes::{Relays, camera, pod, soon};
use crate::world::{NOW, World, rest, told};

pub(crate) const SIGNER: &str = "moorline-mon.moorline-system.svc";
const YARD: &str = "acme/yard";

/// A store that takes puts, and what it does with them.
#[derive(Default)]
pub(crate) struct Store {
    objects: Mutex<HashMap<String, Vec<u8>>>,
    behaviour: Mutex<Behaviour>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Behaviour {
    #[default]
    Good,
    /// It answers 200 and keeps nothing.
    Forgets,
    /// It keeps other bytes.
    Spoils,
    /// It answers this.
    Answers(u16, &'static str),
}

impl Store {
    async fn start(self: &Arc<Self>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let store = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let store = store.clone();
                let service = hyper::service::service_fn(move |request| store.clone().put(request));
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        address
    }

    async fn put(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Full<bytes::Bytes>>, hyper::Error> {
        assert_eq!(request.method(), "PUT");
        assert_eq!(request.uri().query(), Some("signature=secret"));
        let (head, body) = request.into_parts();
        let mut body = body.collect().await?.to_bytes().to_vec();
        assert_eq!(
            head.headers["x-signed"],
            hex::encode(Md5::digest(&body)),
            "the signed headers are sent as they are"
        );
        assert_eq!(head.headers["content-length"], body.len().to_string());
        let behaviour = *self.behaviour.lock().unwrap();
        let (status, text) = match behaviour {
            Behaviour::Answers(status, text) => (status, text),
            _ => (200, ""),
        };
        if behaviour == Behaviour::Spoils {
            body[0] ^= 1;
        }
        if matches!(behaviour, Behaviour::Good | Behaviour::Spoils) {
            self.objects
                .lock()
                .unwrap()
                .insert(head.uri.path().trim_start_matches('/').to_owned(), body);
        }
        Ok(Response::builder()
            .status(status)
            .body(Full::from(text))
            .unwrap())
    }
}

struct Puts {
    store: Arc<Store>,
    address: SocketAddr,
    away: Arc<std::sync::atomic::AtomicBool>,
}

impl Puts {
    fn answers(&self) -> Result<(), PortError> {
        if self.away.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(PortError::new("ask the store", "it is away"));
        }
        Ok(())
    }
}

#[async_trait]
impl PutSigner for Puts {
    async fn sign_put(&self, request: &PutRequest) -> Result<SignedPut, PortError> {
        Ok(SignedPut {
            url: Masked::new(format!(
                "http://{}/{}?signature=secret",
                self.address, request.key
            )),
            headers: vec![
                ("x-signed".to_owned(), hex::encode(request.md5)),
                ("content-length".to_owned(), request.bytes.to_string()),
            ],
            expires_in: Duration::from_secs(3600),
        })
    }

    async fn digest(&self, key: &ObjectKey) -> Result<Option<[u8; 16]>, PortError> {
        self.answers()?;
        let objects = self.store.objects.lock().unwrap();
        Ok(objects
            .get(&key.to_string())
            .map(|content| Md5::digest(content).into()))
    }

    async fn last_end(
        &self,
        camera: &CameraId,
        classes: &[Retention],
        _tier: Tier,
    ) -> Result<Option<Timestamp>, PortError> {
        self.answers()?;
        let ends = self
            .store
            .objects
            .lock()
            .unwrap()
            .keys()
            .map(|key| key.parse::<ObjectKey>().unwrap())
            .filter(|key| key.place().camera == *camera && classes.contains(&key.place().retention))
            .map(|key| key.range().to)
            .max();
        Ok(ends)
    }
}

struct Limits(Mutex<PutLimits>);

impl PutPolicy for Limits {
    fn limits(&self, asked: &CameraId) -> Option<PutLimits> {
        (*asked == camera(YARD)).then(|| self.0.lock().unwrap().clone())
    }
}

pub(crate) struct Signing {
    pub(crate) address: SocketAddr,
    pub(crate) relays: Arc<Relays>,
    store: Arc<Store>,
    limits: Arc<Limits>,
    away: Arc<std::sync::atomic::AtomicBool>,
}

pub(crate) async fn signer(world: &World) -> Signing {
    world.certify("signer", SIGNER);
    let store = Arc::<Store>::default();
    let away = Arc::default();
    let puts = Puts {
        store: store.clone(),
        address: store.start().await,
        away: Arc::clone(&away),
    };
    let limits = Arc::new(Limits(Mutex::new(PutLimits {
        retention: Retention::Days(30),
        earlier: Vec::new(),
        generation: Generation(7),
        since: Timestamp::from_millis(NOW - 3_600_000),
        bytes_per_hour: 1 << 20,
    })));
    let relays = Arc::<Relays>::default();
    let parts = SignerParts {
        clock: world.shared_clock(),
        identities: world.pods.clone(),
        places: relays.clone(),
        policy: limits.clone(),
        puts: Arc::new(puts),
        tickets: Arc::new(
            TicketSigner::load(world.path("ticket.key"), world.shared_clock()).unwrap(),
        ),
        tls: world.tls("signer"),
        metrics: SignerMetrics::default(),
    };
    let signer = Signer::new(parts, SignerConfig::default());
    let listener = moorline_base::net::listen(([127, 0, 0, 1], 0).into()).unwrap();
    let address = listener.local_addr().unwrap();
    let cancel = world.cancel.child_token();
    tokio::spawn(async move { signer.run(listener, cancel).await });
    Signing {
        address,
        relays,
        store,
        limits,
        away,
    }
}

/// A key whose media begins so long before now.
fn key(before_ms: i64, generation: u64) -> ObjectKey {
    let start = Timestamp::from_millis(NOW - before_ms);
    let (date, time) = (start.date(), start.time_of_day());
    format!(
        "v1/r030/acme/yard/{:04}/{:02}/{:02}/{:02}{:02}{:02}.{:03}Z_00060000_g{generation:010}_7f3a9c21_000042_b41d0e_full.mp4",
        date.year, date.month, date.day, time.hour, time.minute, time.second, time.millisecond
    )
    .parse()
    .unwrap()
}

fn sink(world: &World, signing: &Signing) -> SignedSink {
    world.pods.workload(
        "archiver",
        Audience::Signer,
        YARD,
        Role::Archiver,
        "archiver-1",
    );
    let dialer = world.dialer_to(SIGNER, "archiver", signing.address);
    let trust = StoreTrust::load(world.path("no-store-ca.crt"), world.shared_clock()).unwrap();
    SignedSink::new(dialer, trust)
}

fn seal(world: &World, key: &ObjectKey, content: &[u8]) -> SealedFile {
    let path = world.path(&format!(
        "sealed-{}",
        hex::encode(Md5::digest(key.to_string()))
    ));
    std::fs::write(&path, content).unwrap();
    SealedFile {
        path,
        key: key.clone(),
        bytes: content.len() as u64,
        md5: Some(Md5::digest(content).into()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archiver_without_any_key_puts_its_segments_and_the_file_leaves_the_spool_when_the_store_has_it()
 {
    let world = World::new();
    let signing = signer(&world).await;
    let sink = sink(&world, &signing);
    let key = key(60_000, 7);
    let content = vec![7; 300_000];
    let file = seal(&world, &key, &content);
    assert_eq!(
        soon(
            "last end",
            sink.last_end(&camera(YARD), &[Retention::Days(30)], Tier::Full)
        )
        .await
        .unwrap(),
        None
    );
    soon("the put", sink.put(&file)).await.unwrap();
    assert!(!file.path.exists());
    assert_eq!(
        signing.store.objects.lock().unwrap()[&key.to_string()],
        content
    );
    soon("the same put again, whose file is gone", sink.put(&file))
        .await
        .unwrap();
    let unknown = SealedFile {
        md5: None,
        ..seal(&world, &self::key(120_000, 7), b"short")
    };
    soon("a put without a digest", sink.put(&unknown))
        .await
        .unwrap();
    let last = soon(
        "last end",
        sink.last_end(&camera(YARD), &[Retention::Days(30)], Tier::Full),
    )
    .await
    .unwrap();
    assert_eq!(last, Some(key.range().to));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_lies_gets_no_file_out_of_the_spool() {
    let world = World::new();
    let signing = signer(&world).await;
    let sink = sink(&world, &signing);
    let kind = |error: StoreError| match error {
        StoreError::Missing(_) => "missing",
        StoreError::Full(_) => "full",
        StoreError::Refused(_) => "refused",
        StoreError::Digest(_) => "digest",
        StoreError::Unavailable(_) => "unavailable",
    };
    for (number, (behaviour, expected)) in [
        (Behaviour::Forgets, "unavailable"),
        (Behaviour::Spoils, "digest"),
        (
            Behaviour::Answers(503, "<Code>SlowDown</Code>"),
            "unavailable",
        ),
        (
            Behaviour::Answers(403, "<Code>SignatureDoesNotMatch</Code>"),
            "refused",
        ),
        (Behaviour::Answers(507, ""), "full"),
    ]
    .into_iter()
    .enumerate()
    {
        *signing.store.behaviour.lock().unwrap() = behaviour;
        let file = seal(
            &world,
            &key(1000 * (number as i64 + 60), 7),
            &[number as u8; 50],
        );
        let error = soon("an answer", sink.put(&file)).await.unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
        assert_eq!(kind(error), expected, "{behaviour:?}");
        assert!(file.path.exists(), "{behaviour:?}");
    }
    *signing.store.behaviour.lock().unwrap() = Behaviour::Good;
    signing
        .away
        .store(true, std::sync::atomic::Ordering::SeqCst);
    let file = seal(&world, &key(300_000, 7), b"x");
    assert_eq!(
        kind(soon("an answer", sink.put(&file)).await.unwrap_err()),
        "unavailable"
    );
    assert!(file.path.exists());
}

/// Posts to the signer and returns status and reason.
async fn post(world: &World, address: SocketAddr, token: &str, path: &str, body: &str) -> String {
    let mut stream = world.raw(address).await;
    let text = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    told(&rest(stream).await)
}

fn presign(key: &str, bytes: u64, md5: u8) -> String {
    format!(
        "{{\"key\":\"{key}\",\"bytes\":{bytes},\"md5\":\"{}\"}}",
        hex::encode([md5; 16])
    )
}

/// S20.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_rule_of_a_put_has_its_refusal() {
    let world = World::new();
    let signing = signer(&world).await;
    world
        .pods
        .workload("t", Audience::Signer, YARD, Role::Archiver, "archiver-1");
    let ask = async |body: String| post(&world, signing.address, "t", "/v1/presign", &body).await;
    let good = key(60_000, 7).to_string();
    assert_eq!(ask(presign(&good, 1000, 1)).await, "200 ok");
    assert_eq!(
        ask(presign(&good, 1000, 1)).await,
        "200 ok",
        "the same again"
    );
    assert_eq!(
        ask(presign(&good, 1000, 2)).await,
        "409 digest",
        "one digest per key, for ever"
    );
    let other = key(61_000, 7);
    signing.store.objects.lock().unwrap().insert(
        other.to_string(),
        b"stored before this signer lived".to_vec(),
    );
    assert_eq!(
        ask(presign(&other.to_string(), 1000, 1)).await,
        "409 digest",
        "the store was asked"
    );
    for (key, bytes, expected) in [
        (good.replace("yard", "gate"), 1000, "403 camera"),
        (good.replace("acme", "evil"), 1000, "403 camera"),
        (good.replace("r030", "keep"), 1000, "403 class"),
        (good.clone(), 0, "413 length"),
        (good.clone(), (256 << 20) + 1, "413 length"),
        // A store was away for three weeks, and the spool of a slow camera has all of it.
        (key(21 * 86_400_000, 6).to_string(), 1000, "200 ok"),
        (key(60 * 86_400_000 + 1, 7).to_string(), 1000, "403 too_old"),
        (key(-600_000, 7).to_string(), 1000, "403 future"),
        (key(60_000, 8).to_string(), 1000, "503 generation_ahead"),
        (key(60_000, 6).to_string(), 1000, "403 generation_over"),
        (key(3_600_001, 6).to_string(), 1000, "200 ok"),
        (key(3_570_000, 6).to_string(), 1000, "200 ok"),
        (good.replace("_full.mp4", "_full.exe"), 1000, "400 body"),
        (
            "v1/idx/acme/yard/2026-11-20.json.zst".to_owned(),
            1000,
            "400 body",
        ),
        (key(62_000, 7).to_string(), 1 << 20, "429 quota"),
    ] {
        assert_eq!(
            ask(presign(&key, bytes, 1)).await,
            expected,
            "{key} {bytes}"
        );
    }
    let gap = good.replace(
        "7f3a9c21_000042_b41d0e_full.mp4",
        "gap_tunnel_down_full.json",
    );
    assert_eq!(ask(presign(&gap, 5000, 1)).await, "413 gap_length");
    assert_eq!(ask(presign(&gap, 3, 1)).await, "200 ok");
    signing.limits.0.lock().unwrap().bytes_per_hour = 1 << 40;
    assert_eq!(
        ask(presign(&key(62_000, 7).to_string(), 1 << 20, 1)).await,
        "200 ok"
    );
    signing
        .away
        .store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(
        ask(presign(&key(63_000, 7).to_string(), 10, 1)).await,
        "503 store",
        "an unknown key is not signed blindly"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_has_so_many_requests_and_no_other_pays_for_it() {
    let world = World::new();
    let signing = signer(&world).await;
    for (token, camera) in [("yard", YARD), ("gate", "acme/gate")] {
        let pod = format!("{token}-1");
        world
            .pods
            .workload(token, Audience::Signer, camera, Role::Archiver, &pod);
    }
    let ask = async |token: &str| post(&world, signing.address, token, "/v1/confirm", "{}").await;
    let mut answered = 0;
    // Bounded: 240 at once, and four more for each second that this takes.
    let refused = loop {
        let answer = ask("yard").await;
        if answer != "400 body" || answered == 1_000 {
            break answer;
        }
        answered += 1;
    };
    assert!((240..1_000).contains(&answered), "{answered}");
    assert_eq!(refused, "429 requests");
    assert_eq!(ask("gate").await, "400 body");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_an_archiver_puts_and_only_what_is_asked_for_exists() {
    let world = World::new();
    let signing = signer(&world).await;
    world
        .pods
        .workload("archiver", Audience::Signer, YARD, Role::Archiver, "a");
    world
        .pods
        .workload("relay", Audience::Signer, YARD, Role::Relay, "b");
    world
        .pods
        .workload("gateways", Audience::Gateway, YARD, Role::Archiver, "c");
    world.pods.workload(
        "removed",
        Audience::Signer,
        "acme/gate",
        Role::Archiver,
        "e",
    );
    world.pods.answer(
        "door",
        Audience::Signer,
        Ok(Caller::FrontDoor { pod: pod("d") }),
    );
    world.pods.answer(
        "cluster",
        Audience::Signer,
        Err(IdentityError::Unavailable("away".to_owned())),
    );
    let good = presign(&key(60_000, 7).to_string(), 1000, 1);
    let gates = good.replace("yard", "gate");
    for (token, path, body, expected) in [
        ("nobody", "/v1/presign", good.as_str(), "401 token"),
        ("gateways", "/v1/presign", &good, "401 audience"),
        ("relay", "/v1/presign", &good, "403 role"),
        ("door", "/v1/presign", &good, "403 role"),
        ("removed", "/v1/presign", &gates, "403 unknown"),
        ("cluster", "/v1/presign", &good, "503 cluster"),
        ("archiver", "/v1/presign", "{}", "400 body"),
        (
            "archiver",
            "/v1/presign",
            &good.replace("01010101", "0101"),
            "400 md5",
        ),
        (
            "archiver",
            "/v1/presign",
            &"x".repeat(9000),
            "413 body_too_large",
        ),
        ("archiver", "/v1/delete", &good, "404 path"),
        (
            "archiver",
            "/v1/confirm",
            "{\"key\":\"x\",\"md5\":\"y\"}",
            "400 body",
        ),
        ("archiver", "/v1/presign", &good, "200 ok"),
    ] {
        assert_eq!(
            post(&world, signing.address, token, path, body).await,
            expected,
            "{token} {path} {body}"
        );
    }
    let confirm = |camera: &str| {
        let key = key(60_000, 7).to_string().replace("yard", camera);
        format!("{{\"key\":\"{key}\",\"md5\":\"{}\"}}", hex::encode([1; 16]))
    };
    let ask =
        async |body: String| post(&world, signing.address, "archiver", "/v1/confirm", &body).await;
    assert_eq!(ask(confirm("gate")).await, "403 camera");
    assert_eq!(ask(confirm("yard")).await, "404 missing");
    let head = "GET /v1/presign HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(told(&world.say(signing.address, head).await), "405 method");
    let endless = "POST /v1/presign HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer archiver\r\n\r\n";
    assert_eq!(
        told(&world.say(signing.address, endless).await),
        "400 no_length"
    );
}
