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
use moorline_core::port::{SegmentSink as _, SegmentStore as _, StoreError};
use moorline_core::segment::Retention;
use moorline_store::S3Store;
use moorline_store::s3::{Digest, Problem, Verify};
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
    suite(store, spool, &server.object_file("")).await;
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
        suite(&store, spool, &server.object_file("")).await;
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
    let error = tokio::time::timeout(Duration::from_secs(20), put)
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
    let dead = {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        s3(format!("http://{}", socket.local_addr().unwrap()))
    };
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

/// A bucket with a public policy, in front of a real one: requests without a signature are answered as a careless store would.
mod open {
    use std::convert::Infallible;

    use hyper::service::service_fn;
    use hyper::{Request, Response, body::Incoming};
    use moorline_testkit::s3::S3Server;
    use tokio::net::{TcpListener, TcpStream};

    pub(crate) struct Server {
        address: std::net::SocketAddr,
        task: tokio::task::JoinHandle<()>,
        _behind: S3Server,
    }

    impl Drop for Server {
        fn drop(&mut self) {
            self.task.abort();
        }
    }

    impl Server {
        pub(crate) async fn start(behind: S3Server) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let (address, target) = (listener.local_addr().unwrap(), behind.address());
            let task = tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(async move {
                        let service = service_fn(move |request| async move {
                            Ok::<_, Infallible>(answer(target, request).await)
                        });
                        let io = super::io::Io(stream);
                        let _ = hyper::server::conn::http1::Builder::new()
                            .serve_connection(io, service)
                            .await;
                    });
                }
            });
            Self {
                address,
                task,
                _behind: behind,
            }
        }

        pub(crate) fn endpoint(&self) -> String {
            format!("http://{}", self.address)
        }
    }

    type Body = http_body_util::Either<http_body_util::Full<bytes::Bytes>, Incoming>;

    async fn answer(target: std::net::SocketAddr, request: Request<Incoming>) -> Response<Body> {
        use http_body_util::{Either, Full};
        if request.headers().contains_key("authorization") {
            let stream = super::io::Io(TcpStream::connect(target).await.unwrap());
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
        let body = if request
            .uri()
            .query()
            .is_some_and(|query| query.contains("list-type"))
        {
            listing
        } else {
            "readable"
        };
        let status = if body == listing { 200 } else { 206 };
        let answer = Response::builder()
            .status(status)
            .header("content-range", "bytes 0-7/8");
        answer.body(Either::Left(Full::new(body.into()))).unwrap()
    }
}

mod io {
    pub(crate) type Io = hyper_util::rt::TokioIo<tokio::net::TcpStream>;
    #[allow(non_snake_case, reason = "reads as a constructor")]
    pub(crate) fn Io(stream: tokio::net::TcpStream) -> Io {
        hyper_util::rt::TokioIo::new(stream)
    }
}
