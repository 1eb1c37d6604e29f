//! What answers to LIST may be anything (rules S17, S32): no body makes the store panic, hang, or believe what it did not ask for.
//! No fuzz target does it: the SDK that reads them needs a runtime.
#![cfg(feature = "s3")]
#![allow(
    clippy::disallowed_methods,
    reason = "tests may bind, write and look at the real clock"
)]

mod common;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{camera, s3};
use moorline_core::port::{SegmentSink as _, SegmentStore as _, StoreError};
use moorline_core::segment::{Retention, Tier};
use moorline_store::S3Store;
use proptest::prelude::*;

/// A page as S3 writes it.
const PAGE: &str = include_str!("../../../fuzz/seeds/list-objects.xml");
const PREFIX: &str = "v1/r030/home/yard/";

/// Something that answers every request with the same body, on a free port of loopback. Its threads end with the test's process.
struct Anything {
    store: S3Store,
    body: Arc<Mutex<Vec<u8>>>,
}

impl Anything {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let body = Arc::new(Mutex::new(Vec::new()));
        let answered = Arc::clone(&body);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let body = Arc::clone(&answered);
                std::thread::spawn(move || serve(&stream, &body));
            }
        });
        Self {
            store: s3(endpoint),
            body,
        }
    }

    fn answers(&self, body: &[u8]) {
        *self.body.lock().unwrap() = body.to_vec();
    }
}

fn serve(stream: &TcpStream, body: &Mutex<Vec<u8>>) {
    let mut lines = BufReader::new(stream).lines();
    loop {
        // A request for a listing has a head alone.
        loop {
            match lines.next() {
                Some(Ok(line)) if line.is_empty() => break,
                Some(Ok(_)) => {}
                _ => return,
            }
        }
        let body = body.lock().unwrap().clone();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/xml\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = stream;
        let sent = stream.write_all(&[head.as_bytes(), &body].concat());
        if sent.is_err() {
            return;
        }
    }
}

/// Looks at everything that lists.
async fn look(store: &S3Store, after: &str) {
    if let Ok(page) = store.list(PREFIX, after).await {
        let keys: Vec<&str> = page.objects.iter().map(|object| &*object.key).collect();
        assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}");
        let asked = |key: &&str| key.starts_with(PREFIX) && *key > after;
        assert!(keys.iter().all(asked), "{keys:?} after {after:?}");
        assert!(!page.more || !keys.is_empty(), "more of nothing");
    }
    // The same answer to every request: it must come to an end all the same.
    let (camera, classes) = (camera(), [Retention::Days(30)]);
    let looked = store.last_end(&camera, &classes, Tier::Full);
    let _ = tokio::time::timeout(Duration::from_secs(60), looked)
        .await
        .expect("it goes on for ever");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn a_page_as_s3_writes_it_is_read() {
    let server = Anything::start();
    server.answers(PAGE.as_bytes());
    runtime().block_on(async {
        let page = server.store.list(PREFIX, "").await.unwrap();
        assert_eq!((page.objects.len(), page.more), (2, false));
        assert_eq!(page.objects[1].bytes, 11_834_021);
        let first = page.objects[0].key.clone();
        // A store that does not go on where it is told to is not listened to.
        let again = server.store.list(PREFIX, &first).await;
        assert!(matches!(again, Err(StoreError::Refused(_))), "{again:?}");
        let other = server.store.list("v1/r030/home/door/", "").await;
        assert!(matches!(other, Err(StoreError::Refused(_))), "{other:?}");
        let (camera, classes) = (camera(), [Retention::Days(30)]);
        let end = server.store.last_end(&camera, &classes, Tier::Full);
        assert_eq!(end.await.unwrap(), None, "a page has no folders");
    });
}

/// A body that never ends is left, with little of it read.
#[tokio::test]
async fn a_page_without_an_end_is_left() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let store = s3(format!("http://{}", listener.local_addr().unwrap()));
    let sending = tokio::task::spawn_blocking(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut sent = 0_u64;
        let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/xml\r\n\r\n<ListBucketResult>";
        let mut piece = head.to_vec();
        while stream.write_all(&piece).is_ok() {
            sent += piece.len() as u64;
            piece = b"<Contents><Key>v1/r030/home/yard/x</Key></Contents>".repeat(1_000);
        }
        sent
    });
    let listed = tokio::time::timeout(Duration::from_secs(60), store.list(PREFIX, "")).await;
    let listed = listed.expect("it is read for ever");
    assert!(listed.is_err(), "{listed:?}");
    drop(store);
    let sent = sending.await.unwrap();
    // What lies in the sockets' buffers counts.
    assert!(sent < 64 << 20, "{sent} bytes were taken");
}

fn xml() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        Just(format!(
            "{PREFIX}2026/11/20/211005.250Z_00060033_g0000000007_7f3a9c21_000042_b41d0e_full.mp4"
        )),
        Just(format!(
            "{PREFIX}2026/11/20/211105.283Z_00012000_g0000000007_gap_tunnel_down_full.json"
        )),
        "(v1/r030/home/yard/)?[0-9/&;<a-c]{0,12}",
    ];
    let size = prop_oneof![
        any::<i64>().prop_map(|size| size.to_string()),
        "[0-9a-f+-]{0,22}"
    ];
    let object = (key, size).prop_map(|(key, size)| {
        format!("<Contents><Key>{key}</Key><Size>{size}</Size></Contents>")
    });
    let folder = "(v1/r030/home/yard/)?(2026/)?(11/)?(20/)?[0-9a-c/]{0,3}";
    let folder = folder
        .prop_map(|folder| format!("<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>"));
    let entries = prop::collection::vec(prop_oneof![object, folder], 0..5);
    (entries, any::<bool>(), any::<bool>()).prop_map(|(entries, more, token)| {
        let token = match token {
            true => "<NextContinuationToken>again</NextContinuationToken>",
            false => "",
        };
        format!(
            "<?xml version=\"1.0\"?><ListBucketResult><IsTruncated>{more}</IsTruncated>{token}{}</ListBucketResult>",
            entries.concat()
        )
    })
}

#[test]
fn whatever_is_listed_is_asked_for_or_refused() {
    let (server, runtime) = (Anything::start(), runtime());
    let broken = (0..PAGE.len(), any::<u8>(), any::<bool>()).prop_map(|(at, byte, cut)| {
        let mut page = PAGE.as_bytes().to_vec();
        page[at] = byte;
        if cut {
            page.truncate(at);
        }
        page
    });
    let bodies = prop_oneof![xml().prop_map(String::into_bytes), broken];
    let after = prop_oneof![Just(String::new()), "(v1/r030/home/yard/)[0-9]{0,4}"];
    let mut runner = proptest::test_runner::TestRunner::default();
    let tried = runner.run(&(bodies, after), |(body, after)| {
        server.answers(&body);
        runtime.block_on(look(&server.store, &after));
        Ok(())
    });
    tried.unwrap();
}
