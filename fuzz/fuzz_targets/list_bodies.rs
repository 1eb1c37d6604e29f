//! Whatever answers to LIST, through the SDK's XML reader: a page is what was asked for or refused, and whoever lists comes to an end.
#![no_main]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, LazyLock, Mutex};

use libfuzzer_sys::fuzz_target;
use moorline_base::SystemClock;
use moorline_core::port::{SegmentSink as _, SegmentStore as _};
use moorline_core::segment::{Retention, Tier};
use moorline_store::{S3Config, S3Store};

const PREFIX: &str = "v1/r030/home/yard/";

/// A store on loopback whose every answer is the same body.
struct Anything {
    store: S3Store,
    body: Arc<Mutex<Vec<u8>>>,
    runtime: tokio::runtime::Runtime,
}

static ANYTHING: LazyLock<Anything> = LazyLock::new(|| {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port of loopback");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let body = Arc::new(Mutex::new(Vec::new()));
    let answered = Arc::clone(&body);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let body = Arc::clone(&answered);
            std::thread::spawn(move || serve(&stream, &body));
        }
    });
    let config = S3Config {
        endpoint: Some(endpoint),
        region: "us-east-1".to_owned(),
        bucket: "moorline".to_owned(),
        access_key: "key".to_owned(),
        secret_key: "secret".to_owned().into(),
        path_style: Some(true),
        digest: Default::default(),
        verify: Default::default(),
    };
    Anything {
        store: S3Store::new(config, SystemClock::shared()).expect("a store"),
        body,
        runtime: tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime"),
    }
});

fn serve(stream: &TcpStream, body: &Mutex<Vec<u8>>) {
    let mut lines = BufReader::new(stream).lines();
    loop {
        loop {
            match lines.next() {
                Some(Ok(line)) if line.is_empty() => break,
                Some(Ok(_)) => {}
                _ => return,
            }
        }
        let body = body.lock().expect("no panic").clone();
        let length = body.len();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
        let mut stream = stream;
        if stream
            .write_all(&[head.as_bytes(), &body].concat())
            .is_err()
        {
            return;
        }
    }
}

// The first line is where the listing goes on, if it begins with the prefix; the rest is the body.
fuzz_target!(|bytes: &[u8]| {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let (line, rest) = bytes.split_at(end.map_or(0, |end| end + 1));
    let after = std::str::from_utf8(line).unwrap_or_default().trim_end();
    let (after, body) = match after.starts_with(PREFIX) {
        true => (after, rest),
        false => ("", bytes),
    };
    let anything = &*ANYTHING;
    body.clone_into(&mut anything.body.lock().expect("no panic"));
    anything.runtime.block_on(async {
        if let Ok(page) = anything.store.list(PREFIX, after).await {
            let keys: Vec<&str> = page.objects.iter().map(|object| &*object.key).collect();
            assert!(keys.is_sorted_by(|a, b| a < b));
            assert!(
                keys.iter()
                    .all(|key| key.starts_with(PREFIX) && *key > after)
            );
            assert!(!page.more || !keys.is_empty());
        }
        let camera = "home/yard".parse().expect("a camera");
        let classes = [Retention::Days(30)];
        let _ = anything.store.last_end(&camera, &classes, Tier::Full).await;
    });
});
