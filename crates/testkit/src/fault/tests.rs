use super::*;
use crate::serving::{loopback, serve};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{Instant, timeout},
};

const SOON: Duration = Duration::from_secs(30);
const A_WHILE: Duration = Duration::from_millis(150);

/// A server that echoes, and a proxy before it.
async fn echo() -> (Task, FaultProxy) {
    let (listener, address) = loopback().await.unwrap();
    let server = serve(listener, |mut stream| async move {
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    });
    let proxy = FaultProxy::start(address).await.unwrap();
    (server, proxy)
}

async fn connect(proxy: &FaultProxy) -> TcpStream {
    timeout(SOON, TcpStream::connect(proxy.address()))
        .await
        .unwrap()
        .unwrap()
}

async fn round_trip(stream: &mut TcpStream, text: &[u8]) {
    stream.write_all(text).await.unwrap();
    let mut back = vec![0; text.len()];
    timeout(SOON, stream.read_exact(&mut back))
        .await
        .expect("an echo")
        .unwrap();
    assert_eq!(back, text);
}

#[tokio::test]
async fn passes_bytes_both_ways_and_the_end_of_input() {
    let (_server, proxy) = echo().await;
    let mut stream = connect(&proxy).await;
    round_trip(&mut stream, b"hello").await;
    stream.shutdown().await.unwrap();
    assert_eq!(
        timeout(SOON, stream.read(&mut [0; 8]))
            .await
            .unwrap()
            .unwrap(),
        0
    );
    assert_eq!(
        (
            proxy.traffic().connections(),
            proxy.traffic().to_server(),
            proxy.traffic().to_client()
        ),
        (1, 5, 5)
    );
}

#[tokio::test]
async fn refuses_as_if_no_process_were_there_and_comes_back_on_the_same_port() {
    let (_server, proxy) = echo().await;
    let mut live = connect(&proxy).await;
    round_trip(&mut live, b"before").await;
    proxy.set(Fault::Refuse).await;
    let refused = timeout(SOON, TcpStream::connect(proxy.address()))
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    let reset = timeout(SOON, live.read(&mut [0; 8]))
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(reset.kind(), std::io::ErrorKind::ConnectionReset);
    proxy.set(Fault::None).await;
    round_trip(&mut connect(&proxy).await, b"after").await;
}

#[tokio::test]
async fn a_black_hole_answers_nothing_and_gives_back_what_it_held() {
    let (_server, proxy) = echo().await;
    let mut stream = connect(&proxy).await;
    proxy.set(Fault::BlackHole).await;
    stream.write_all(b"anyone?").await.unwrap();
    assert!(
        timeout(A_WHILE, stream.read(&mut [0; 8])).await.is_err(),
        "a black hole answered"
    );
    proxy.set(Fault::None).await;
    let mut back = [0; 7];
    timeout(SOON, stream.read_exact(&mut back))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&back, b"anyone?");
}

#[tokio::test]
async fn a_black_hole_stops_whoever_sends_much() {
    let (_server, proxy) = echo().await;
    proxy.set(Fault::BlackHole).await;
    let mut stream = connect(&proxy).await;
    let much = vec![0; 64 << 20];
    assert!(
        timeout(2 * A_WHILE, stream.write_all(&much)).await.is_err(),
        "64 MiB vanished"
    );
    assert_eq!(proxy.traffic().to_server(), 0);
}

#[tokio::test]
async fn half_open_keeps_the_client_and_loses_the_server() {
    let (listener, address) = loopback().await.unwrap();
    let (ended, mut seen) = tokio::sync::mpsc::channel(1);
    let _server = serve(listener, move |mut stream| {
        let ended = ended.clone();
        async move {
            let end = stream.read(&mut [0; 8]).await.map_or(0, |n| n);
            let _ = ended.send(end).await;
        }
    });
    let proxy = FaultProxy::start(address).await.unwrap();
    let mut stream = connect(&proxy).await;
    crate::eventually("the connection", SOON, || {
        let up = proxy.traffic().connections() == 1;
        async move { up.then_some(()) }
    })
    .await;
    proxy.set(Fault::HalfOpen).await;
    assert_eq!(
        timeout(SOON, seen.recv()).await.unwrap(),
        Some(0),
        "the server sees the end"
    );
    for _ in 0..64 {
        stream.write_all(&[0; 16 * 1024]).await.unwrap();
    }
    assert!(
        timeout(A_WHILE, stream.read(&mut [0; 8])).await.is_err(),
        "the client was told"
    );
}

#[tokio::test]
async fn resets_in_the_middle_after_the_ordered_bytes() {
    let (_server, proxy) = echo().await;
    let mut stream = connect(&proxy).await;
    round_trip(&mut stream, b"not counted").await;
    proxy.set(Fault::ResetAfter(1000)).await;
    let mut stream = connect(&proxy).await;
    stream.write_all(&[7; 100_000]).await.unwrap();
    let error = loop {
        match timeout(SOON, stream.read(&mut [0; 4096])).await.unwrap() {
            Ok(0) => panic!("closed in good order"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn truncates_what_the_server_sends_as_if_all_were_well() {
    let (_server, proxy) = echo().await;
    proxy.set(Fault::TruncateAfter(10)).await;
    let mut stream = connect(&proxy).await;
    stream.write_all(b"0123456789abcdef").await.unwrap();
    let mut all = Vec::new();
    timeout(SOON, stream.read_to_end(&mut all))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(all, b"0123456789");
}

#[tokio::test]
async fn delays_and_throttles() {
    let (_server, proxy) = echo().await;
    let mut stream = connect(&proxy).await;
    proxy.set(Fault::Delay(Duration::from_millis(60))).await;
    let start = Instant::now();
    round_trip(&mut stream, b"slow").await;
    assert!(
        start.elapsed() >= Duration::from_millis(120),
        "one delay each way, took {:?}",
        start.elapsed()
    );

    proxy.set(Fault::Throttle(20_000)).await;
    let start = Instant::now();
    round_trip(&mut stream, &[1; 4000]).await;
    assert!(
        start.elapsed() >= Duration::from_millis(180),
        "4,000 bytes at 20 kB/s took {:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn a_cut_resets_what_is_up_and_serves_what_comes() {
    let (_server, proxy) = echo().await;
    let mut stream = connect(&proxy).await;
    round_trip(&mut stream, b"x").await;
    proxy.cut();
    assert!(
        timeout(SOON, stream.read(&mut [0; 8]))
            .await
            .unwrap()
            .is_err()
    );
    round_trip(&mut connect(&proxy).await, b"y").await;
}
