//! The S3 store against s3s-fs: the contract, faults on the way, and the probe.
#![cfg(feature = "s3")]
#![allow(
    clippy::disallowed_methods,
    reason = "tests may bind, write and look at the real clock"
)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use hyper::Method;
use moorline_base::{Clock as _, SimulatedClock, SystemClock};
use moorline_core::outside::Outside;
use moorline_core::port::{SegmentSink as _, SegmentStore as _, StoreError};
use moorline_core::segment::Retention;
use moorline_store::S3Store;
use moorline_store::s3::{Digest, Problem, Verify};
use moorline_testkit::authority;
use moorline_testkit::refusing::Refusing;
use moorline_testkit::s3::S3Server;
use moorline_testkit::s3fault::{S3Fault, S3FaultProxy};

struct Setup {
    server: S3Server,
    proxy: S3FaultProxy,
    store: S3Store,
    _folder: tempfile::TempDir,
    spool: Spool,
}

async fn setup() -> Setup {
    let server = S3Server::start().await.unwrap();
    let proxy = S3FaultProxy::start(server.address()).await.unwrap();
    let store = s3(proxy.endpoint());
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::at(folder.path());
    Setup {
        server,
        proxy,
        store,
        _folder: folder,
        spool,
    }
}

#[tokio::test]
async fn keeps_the_contract() {
    let setup = setup().await;
    let Setup {
        server,
        store,
        spool,
        ..
    } = &setup;
    suite(store, spool, Seed::Files(&server.object_file(""))).await;
}

#[tokio::test]
async fn keeps_the_contract_with_crc32c_and_a_trusted_etag() {
    let setup = setup().await;
    let Setup {
        server,
        proxy,
        spool,
        ..
    } = &setup;
    for (digest, verify) in [(Digest::Crc32c, Verify::Head), (Digest::Md5, Verify::Etag)] {
        let config = moorline_store::S3Config {
            digest,
            verify,
            ..s3_config(proxy.endpoint())
        };
        let store = S3Store::new(config, SystemClock::shared()).unwrap();
        store.probe().await.unwrap();
        suite(&store, spool, Seed::Files(&server.object_file(""))).await;
        std::fs::remove_dir_all(server.object_file("v1")).unwrap();
    }
}

#[tokio::test]
async fn a_put_is_one_request_with_one_digest_and_one_look() {
    let setup = setup().await;
    let Setup {
        proxy,
        store,
        spool,
        ..
    } = &setup;
    store
        .put(&spool.seal(
            &segment("r030", "2026/11/20/211005.250", 1, 0, "full"),
            &media(9_000_000),
        ))
        .await
        .unwrap();
    let methods: Vec<_> = proxy.seen().into_iter().map(|seen| seen.method).collect();
    assert_eq!(methods, [Method::PUT, Method::HEAD]);
}

#[tokio::test]
async fn every_fault_leaves_the_file_in_the_spool_and_the_next_put_succeeds() {
    let setup = setup().await;
    let Setup {
        proxy,
        store,
        spool,
        ..
    } = &setup;
    let key = segment("r030", "2026/11/20/211005.250", 1, 0, "full");
    for (fault, expected) in [
        (S3Fault::SlowDown, "unavailable"),
        (S3Fault::InternalError, "unavailable"),
        (S3Fault::ClockSkew, "refused"),
        (S3Fault::CorruptUpload, "digest"),
        (S3Fault::LoseObject, "unavailable"),
    ] {
        let file = spool.seal(&key, &media(40_000));
        proxy.add(Some(Method::PUT), "", fault, None);
        let error = store
            .put(&file)
            .await
            .expect_err("a fault was acknowledged");
        let kind = match &error {
            StoreError::Unavailable(_) => "unavailable",
            StoreError::Refused(_) => "refused",
            StoreError::Digest(_) => "digest",
            StoreError::Full(_) | StoreError::Missing(_) => "other",
        };
        assert_eq!(kind, expected, "{fault:?}: {error}");
        assert!(file.path.exists(), "{fault:?} removed the spool's file");
        proxy.clear();
        store.put(&file).await.unwrap();
        assert_eq!(
            store.get(&key.to_string(), 0..50_000).await.unwrap(),
            media(40_000)
        );
        store.delete(&key.to_string()).await.unwrap();
    }
}

#[tokio::test]
async fn a_stalled_store_is_left_at_the_deadline() {
    let server = S3Server::start().await.unwrap();
    let proxy = S3FaultProxy::start(server.address()).await.unwrap();
    let clock = SimulatedClock::new(1_790_000_000_000);
    let store = S3Store::new(s3_config(proxy.endpoint()), Arc::new(clock.clone())).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = Spool::at(folder.path()).seal(
        &segment("r030", "2026/11/20/211005.250", 1, 0, "full"),
        &media(200_000),
    );
    proxy.set(S3Fault::Stall(Duration::from_secs(600)));
    let put = async {
        let put = store.put(&file);
        let time = async {
            clock.sleepers(1).await;
            clock.advance(Duration::from_secs(33));
        };
        tokio::join!(put, time).0
    };
    let error = tokio::time::timeout(Duration::from_secs(60), put)
        .await
        .expect("bounded")
        .unwrap_err();
    assert!(
        matches!(error, StoreError::Unavailable(_)) && file.path.exists(),
        "{error}"
    );
    assert!(clock.wall_ms() > 1_790_000_000_000);
}

#[tokio::test]
async fn reads_that_break_are_errors_and_not_short_objects() {
    let setup = setup().await;
    let Setup {
        proxy,
        store,
        spool,
        ..
    } = &setup;
    let key = segment("r030", "2026/11/20/211005.250", 1, 0, "full");
    store.put(&spool.seal(&key, &media(40_000))).await.unwrap();
    proxy.add(Some(Method::GET), "", S3Fault::TruncateDownload, None);
    let read = store.get(&key.to_string(), 0..40_000).await;
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
}

#[tokio::test]
async fn a_wrong_key_and_a_wrong_bucket_are_refused_and_a_dead_port_is_away() {
    let server = S3Server::start().await.unwrap();
    let mut config = s3_config(server.endpoint());
    config.secret_key = "wrong".to_owned().into();
    let wrong_key = S3Store::new(config, SystemClock::shared()).unwrap();
    is_refused(wrong_key.list("v1/", "").await);
    is_refused(wrong_key.probe().await);
    let mut config = s3_config(server.endpoint());
    config.bucket = "elsewhere".to_owned();
    let wrong_bucket = S3Store::new(config, SystemClock::shared()).unwrap();
    is_refused(wrong_bucket.list("v1/", "").await);
    let refusing = Refusing::new().unwrap();
    let dead = s3(format!("http://{}", refusing.address()));
    let away = dead.list("v1/", "").await;
    assert!(matches!(away, Err(StoreError::Unavailable(_))), "{away:?}");
}

#[tokio::test]
async fn the_probe_sees_what_an_honest_store_does_and_leaves_nothing() {
    let setup = setup().await;
    let Setup { store, .. } = &setup;
    let profile = store.probe().await.unwrap();
    assert_eq!(profile.problems(), []);
    assert!(profile.etag_is_md5);
    assert_eq!(store.profile(), Some(&profile));
    assert_eq!(store.list("", "").await.unwrap(), Default::default());
}

#[tokio::test]
async fn a_store_of_an_unknown_authority_is_told_with_what_to_do() {
    let server = S3Server::start_tls("127.0.0.1").await.unwrap();
    let store = s3(server.endpoint());
    let told = store.list("v1/", "").await.unwrap_err();
    assert!(matches!(told, StoreError::Unavailable(_)), "{told:?}");
    let told = told.to_string();
    assert!(told.contains("s3.authority"), "{told}");
}

#[tokio::test]
async fn a_store_of_an_authority_of_its_own_is_believed_where_that_is_named() {
    let server = S3Server::start_tls("127.0.0.1").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::at(folder.path());
    let config = || moorline_store::S3Config {
        authority: Some(authority::pem().unwrap()),
        ..s3_config(server.endpoint())
    };
    let outside = Outside::new(&["127.0.0.1/32".to_owned()], false).unwrap();
    let clock = SystemClock::shared;
    for store in [
        S3Store::new(config(), clock()).unwrap(),
        S3Store::of_tenant(config(), &outside, clock()).unwrap(),
    ] {
        assert_eq!(store.probe().await.unwrap().problems(), []);
        let key = segment("r030", "2026/11/20/211005.250", 1, 0, "full");
        store.put(&spool.seal(&key, &media(9_000))).await.unwrap();
        let stored = store.get(&key.to_string(), 0..9_000).await.unwrap();
        assert_eq!(stored, media(9_000));
    }
}

/// Naming the authority would mend nothing.
#[tokio::test]
async fn a_store_under_another_name_than_its_certificates_is_not_believed() {
    let server = S3Server::start_tls("s3.example.com").await.unwrap();
    let config = moorline_store::S3Config {
        authority: Some(authority::pem().unwrap()),
        ..s3_config(server.endpoint())
    };
    let store = S3Store::new(config, SystemClock::shared()).unwrap();
    let told = store.list("v1/", "").await.unwrap_err().to_string();
    assert!(!told.contains("s3.authority"), "{told}");
}

#[tokio::test]
async fn the_probe_is_not_fooled_by_a_store_that_keeps_nothing() {
    let setup = setup().await;
    let Setup { proxy, store, .. } = &setup;
    proxy.add(Some(Method::PUT), "", S3Fault::LoseObject, None);
    assert!(store.probe().await.is_err());
    assert_eq!(store.profile(), None);
}

#[tokio::test]
async fn a_bucket_that_anybody_may_read_is_an_alarm() {
    let server = open::Server::start(S3Server::start().await.unwrap()).await;
    let profile = s3(server.endpoint()).probe().await.unwrap();
    assert_eq!(
        profile.problems(),
        [Problem::PublicRead, Problem::PublicList]
    );
}

#[tokio::test]
async fn a_store_that_keeps_other_bytes_than_it_acknowledged_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let key = segment("r030", "2026/11/20/211005.250", 1, 0, "full");
    let file = Spool::at(folder.path()).seal(&key, &media(5_000));
    let server = lying::Server::start(4_999).await;
    let put = s3(server.endpoint()).put(&file).await;
    assert!(matches!(put, Err(StoreError::Digest(_))), "{put:?}");
    assert!(file.path.exists());
    let server = lying::Server::start(5_000).await;
    s3(server.endpoint()).put(&file).await.unwrap();
    assert!(!file.path.exists());
}

#[tokio::test]
async fn listing_after_the_newest_costs_no_page_of_the_past() {
    let setup = setup().await;
    let Setup {
        proxy,
        store,
        spool,
        ..
    } = &setup;
    for day in 1..=20 {
        let key = segment(
            "r030",
            &format!("2026/11/{day:02}/211005.250"),
            1,
            day,
            "full",
        );
        store.put(&spool.seal(&key, &media(100))).await.unwrap();
    }
    proxy.forget();
    let end = store
        .last_end(
            &camera(),
            &[Retention::Days(30)],
            moorline_core::segment::Tier::Full,
        )
        .await
        .unwrap();
    assert_eq!(end, Some(at("2026-11-20T21:11:05.250Z")));
    assert_eq!(
        proxy.seen().len(),
        4,
        "years, months, days and the newest day"
    );
}

/// A store that takes everything and says of everything that it has so many bytes.
mod lying {
    use super::serve::{Running, serve};
    use http_body_util::{BodyExt as _, Empty};
    use hyper::{Request, Response, body::Incoming};

    pub(crate) struct Server(Running);

    impl Server {
        pub(crate) async fn start(length: u64) -> Self {
            Self(
                serve(move |request: Request<Incoming>| async move {
                    let is_head = request.method() == hyper::Method::HEAD;
                    let _ = request.into_body().collect().await;
                    let length = if is_head { length } else { 0 };
                    let answer = Response::builder().header("content-length", length);
                    answer.body(Empty::<bytes::Bytes>::new()).unwrap()
                })
                .await,
            )
        }

        pub(crate) fn endpoint(&self) -> String {
            self.0.endpoint()
        }
    }
}

/// A bucket with a public policy, in front of a real one: requests without a signature are answered as a careless store would.
mod open {
    use super::serve::{Io, Running, serve};
    use http_body_util::{Either, Full};
    use hyper::{Request, Response, body::Incoming};
    use moorline_testkit::s3::S3Server;
    use tokio::net::TcpStream;

    pub(crate) struct Server {
        running: Running,
        _behind: S3Server,
    }

    impl Server {
        pub(crate) async fn start(behind: S3Server) -> Self {
            let target = behind.address();
            let running = serve(move |request| answer(target, request)).await;
            Self {
                running,
                _behind: behind,
            }
        }

        pub(crate) fn endpoint(&self) -> String {
            self.running.endpoint()
        }
    }

    type Body = Either<Full<bytes::Bytes>, Incoming>;

    async fn answer(target: std::net::SocketAddr, request: Request<Incoming>) -> Response<Body> {
        if request.headers().contains_key("authorization") {
            let stream = Io::new(TcpStream::connect(target).await.unwrap());
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            return sender
                .send_request(request)
                .await
                .unwrap()
                .map(Either::Right);
        }
        let listing = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
        let is_list = request
            .uri()
            .query()
            .is_some_and(|query| query.contains("list-type"));
        let (status, body) = if is_list {
            (200, listing)
        } else {
            (206, "readable")
        };
        let answer = Response::builder()
            .status(status)
            .header("content-range", "bytes 0-7/8");
        answer.body(Either::Left(Full::new(body.into()))).unwrap()
    }
}

/// HTTP on a free port of the loopback, until it is dropped.
mod serve {
    use std::convert::Infallible;

    use hyper::body::{Body, Incoming};
    use hyper::service::service_fn;
    use hyper::{Request, Response};
    use tokio::net::{TcpListener, TcpStream};

    pub(crate) type Io = hyper_util::rt::TokioIo<TcpStream>;

    pub(crate) struct Running {
        address: std::net::SocketAddr,
        task: tokio::task::JoinHandle<()>,
    }

    impl Running {
        pub(crate) fn endpoint(&self) -> String {
            format!("http://{}", self.address)
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            self.task.abort();
        }
    }

    pub(crate) async fn serve<A, F, B>(answer: A) -> Running
    where
        A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let answer = answer.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let answer = answer(request);
                        async move { Ok::<_, Infallible>(answer.await) }
                    });
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http.serve_connection(Io::new(stream), service).await;
                });
            }
        });
        Running { address, task }
    }
}
