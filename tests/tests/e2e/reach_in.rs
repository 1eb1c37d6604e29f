//! A camera's own page, seen from the machine with the server by way of the tunnel (rule S14).

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use moorline_testkit::child::{Child, Signal};
use moorline_testkit::patience;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::faults_http::http;
use crate::support::{Dbclient, Moorline, SOON, command, listening, quick};

const PAGE: &str = "<h1>the gate's own page</h1>";
const PICTURE: &[u8] = b"\xff\xd8\xff\xe0 a picture \xff\xd9";

/// A camera's web server on a port of loopback.
fn web_server() -> SocketAddr {
    let listener = moorline_base::net::listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let served =
                http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
            tokio::spawn(served);
        }
    });
    address
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = match request.uri().path() {
        "/" | "/page.jpg" => Bytes::from_static(PAGE.as_bytes()),
        "/snapshot.jpg" => Bytes::from_static(PICTURE),
        "/large.jpg" => {
            let mut large = PICTURE.to_vec();
            large.resize(2 << 20, 0);
            Bytes::from(large)
        }
        _ => {
            let mut missing = Response::new(Full::default());
            *missing.status_mut() = hyper::StatusCode::NOT_FOUND;
            return Ok(missing);
        }
    };
    Ok(Response::new(Full::new(body)))
}

/// What a command that is refused says.
async fn refused(moorline: &Moorline, arguments: &[&str]) -> String {
    let output = moorline.try_cli(arguments).await;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {told}");
    assert!(output.stdout.is_empty(), "{output:?}");
    told
}

/// A connection over which the page was asked for, which both sides leave open.
async fn open_page(address: SocketAddr) -> TcpStream {
    let mut browser = TcpStream::connect(address).await.unwrap();
    let asked = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    browser.write_all(asked).await.unwrap();
    let mut told = Vec::new();
    while !told.ends_with(PAGE.as_bytes()) {
        let read = timeout(patience(SOON), browser.read_buf(&mut told)).await;
        let length = read.expect("the page in time").unwrap();
        assert!(length > 0, "{}", String::from_utf8_lossy(&told));
    }
    browser
}

/// S14.
#[tokio::test(flavor = "multi_thread")]
async fn a_cameras_own_page_is_seen_where_both_sides_allow_it() {
    let moorline = Moorline::start().await;
    let added = moorline
        .cli(&["camera", "add", "gate", "--path", "/main"])
        .await;
    let web = ["camera", "web", "gate"];
    let told = refused(&moorline, &web).await;
    for half in ["camera set gate --forward http", "a second -R"] {
        assert!(told.contains(half), "{half}: {told}");
    }
    let told = refused(&moorline, &["camera", "web", "gaet"]).await;
    assert!(told.contains("did you mean gate?"), "{told}");

    moorline
        .cli(&["camera", "set", "gate", "--forward", "http"])
        .await;
    let (_source, address) = listening(quick(7));
    let printed = added["command"].as_str().unwrap();
    let second = format!(":127.0.0.1:554 -R 0:{} ", web_server());
    let line = printed.replace(":127.0.0.1:554 ", &second);
    assert_ne!(line, printed);
    let _camera = Dbclient::run(&line, &added, address);
    // The camera has asked for both forwards when the first one is used.
    moorline.until_recording("gate").await;

    let mut opened = command(moorline.place());
    opened.args(web);
    let mut opened = Child::spawn("moorline camera web", opened).unwrap();
    let url = opened
        .wait_for_after(0, "its URL", SOON, |line| {
            let told: Value = serde_json::from_str(line).ok()?;
            told["url"].as_str().map(str::to_owned)
        })
        .await;
    let url = url.unwrap_or_else(|error| panic!("{error}"));
    let port = url
        .strip_prefix("http://")
        .and_then(|url| url.strip_suffix('/'));
    let port: SocketAddr = port.unwrap().parse().unwrap();
    assert!(port.ip().is_loopback(), "{url}");
    let page = http(port, "/").await;
    assert_eq!((page.status, page.text().as_str()), (200, PAGE));

    snapshots(&moorline).await;
    let entries = moorline.cli(&["audit", "--camera", "gate"]).await;
    let reached = |entry: &Value| entry["event"] == "reach_in" && entry["actor"] == "command line";
    assert!(entries.as_array().unwrap().iter().any(reached), "{entries}");

    let mut browser = open_page(port).await;
    moorline
        .cli(&["camera", "set", "gate", "--forward", "none"])
        .await;
    let mut more = [0; 1];
    let read = timeout(patience(SOON), browser.read(&mut more)).await;
    let read = read.expect("its end in time");
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    let page = http(port, "/").await;
    assert_eq!(page.status, 502);
    let told = page.text();
    assert!(told.contains("camera set gate --forward http"), "{told}");

    opened.signal(Signal::INT);
    let status = opened.wait(SOON).await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", opened.tail());
    moorline.stop().await;
}

/// A picture becomes a file; what is none, or is too large, does not.
async fn snapshots(moorline: &Moorline) {
    let file = moorline.place().join("gate.jpg");
    let path = file.to_str().unwrap();
    let snapshot = ["camera", "snapshot", "gate", "-f", path];
    for (at, why) in [
        ("/page.jpg", "is no JPEG"),
        ("/large.jpg", "at most 1 MiB"),
        ("/nothing.jpg", "answers 404 Not Found at /nothing.jpg"),
    ] {
        let told = refused(moorline, &[&snapshot[..], &["--path", at]].concat()).await;
        assert!(told.contains(why), "{told}");
        assert!(!file.exists(), "{at}");
    }
    let told = moorline.cli(&snapshot).await;
    assert_eq!(told["bytes"], PICTURE.len());
    assert_eq!(std::fs::read(&file).unwrap(), PICTURE);
    let told = refused(moorline, &snapshot).await;
    assert!(told.contains("is there already"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_server_there_is_no_way_to_a_camera() {
    let moorline = Moorline::start().await;
    let place = moorline.stop().await;
    let mut web = command(place.path());
    web.args(["camera", "web", "gate"]);
    let output = moorline_testkit::child::run("moorline", web, SOON).await;
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("no server runs on"), "{told}");
    assert!(!told.contains("on its files"), "{told}");
}
