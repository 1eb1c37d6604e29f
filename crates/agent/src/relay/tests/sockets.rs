//! Real sockets: a streamer that writes as fast as it is read, and a server that reads slowly, or not at all.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use moorline_testkit::refusing::Refusing;

use crate::local::Login;
use crate::moment::Moments;
use crate::relay::{Cutter, Piece, Relay, Streamer};

const LIMIT: usize = 200_000;

fn relay_to(address: SocketAddr, login: Option<Login>) -> (Arc<Relay>, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = listener.local_addr().unwrap();
    let streamer = Streamer { address, login };
    let relay = Relay::start(listener, streamer, LIMIT, Moments::begin()).unwrap();
    (relay, own)
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn message(socket: &mut TcpStream) -> String {
    socket
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let mut bytes = Vec::new();
    let mut one = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut one).unwrap();
        bytes.push(one[0]);
    }
    String::from_utf8(bytes).unwrap()
}

const SDP: &str = "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:t1\r\n";

fn packet(timestamp: u32, first: u8, length: usize) -> Vec<u8> {
    let mut payload = vec![0x80, 96, 0, 0];
    payload.extend(timestamp.to_be_bytes());
    payload.extend([9, 9, 9, 9, first, first & 31 | 0x80]);
    payload.resize(length, 1);
    let size = u16::try_from(length).unwrap().to_be_bytes();
    [&[b'$', 0][..], &size, &payload].concat()
}

/// DESCRIBE and SETUP through the relay; gives both ends.
fn play(relay: SocketAddr, listener: &TcpListener) -> (TcpStream, TcpStream) {
    let mut server = TcpStream::connect(relay).unwrap();
    server
        .write_all(b"DESCRIBE rtsp://c/m RTSP/1.0\r\nCSeq: 1\r\n\r\n")
        .unwrap();
    let (mut camera, _) = listener.accept().unwrap();
    assert!(message(&mut camera).starts_with("DESCRIBE"));
    write!(
        camera,
        "RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: {}\r\n\r\n{SDP}",
        SDP.len()
    )
    .unwrap();
    message(&mut server);
    let mut body = vec![0; SDP.len()];
    server.read_exact(&mut body).unwrap();
    let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1";
    write!(
        server,
        "SETUP rtsp://c/m/t1 RTSP/1.0\r\nCSeq: 2\r\n{transport}\r\n\r\n"
    )
    .unwrap();
    assert!(message(&mut camera).starts_with("SETUP"));
    write!(camera, "RTSP/1.0 200 OK\r\nCSeq: 2\r\n{transport}\r\n\r\n").unwrap();
    message(&mut server);
    (camera, server)
}

/// 60 MB in groups of 10 pictures of 20 packets. A reader that pauses must not be felt here.
fn stream(camera: &mut TcpStream) -> Duration {
    camera
        .set_write_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let mut longest = Duration::ZERO;
    for picture in 0..2_000u32 {
        let first = if picture % 10 == 0 { 0x65 } else { 0x41 };
        for _ in 0..20 {
            let start = Instant::now();
            camera.write_all(&packet(picture, first, 1_400)).unwrap();
            longest = longest.max(start.elapsed());
        }
    }
    longest
}

#[test]
fn a_server_that_reads_nothing_never_stalls_the_streamer_and_then_gets_whole_pictures() {
    let (listener, address) = listen();
    let (relay, own) = relay_to(address, None);
    let (mut camera, mut server) = play(own, &listener);
    let longest = stream(&mut camera);
    println!("longest write of the streamer: {longest:?}");
    assert!(relay.waiting() <= LIMIT);
    let dropped = relay.counters().pictures_dropped.load(Ordering::Relaxed);
    assert!(dropped > 100, "nothing was dropped of 56 MB: {dropped}");
    drop(camera);
    let (mut cutter, mut pictures) = (Cutter::default(), Vec::<(u32, u32)>::new());
    let mut heard = 0;
    let mut room = vec![0; 65_536];
    server
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    loop {
        let count = server.read(&mut room).unwrap();
        if count == 0 {
            break;
        }
        heard += count;
        cutter.push(&room[..count], |piece| {
            let Piece::Frame { bytes, .. } = piece else {
                panic!("framing was lost")
            };
            let number = u32::from_be_bytes(bytes[8..12].try_into().unwrap());
            match pictures.last_mut() {
                Some((last, packets)) if *last == number => *packets += 1,
                _ => pictures.push((number, 1)),
            }
        });
    }
    assert!(
        pictures.iter().all(|(_, packets)| *packets == 20),
        "half a picture: {pictures:?}"
    );
    let gaps = pictures.windows(2).filter(|two| two[1].0 != two[0].0 + 1);
    let resumed: Vec<u32> = gaps.map(|two| two[1].0).collect();
    assert!(!resumed.is_empty());
    assert!(
        resumed.iter().all(|number| number % 10 == 0),
        "not at an IDR: {resumed:?}"
    );
    assert_eq!(
        pictures.len() + relay.counters().pictures_dropped.load(Ordering::Relaxed) as usize,
        2_000
    );
    // The answers of RTSP went before.
    let sent = relay.counters().sent.load(Ordering::Relaxed) as usize;
    assert!((heard..heard + 1_000).contains(&sent), "{sent} of {heard}");
}

#[test]
fn the_end_of_either_side_ends_the_other_and_the_place_is_free_again() {
    let (listener, address) = listen();
    let (relay, own) = relay_to(address, None);
    for _ in 0..20 {
        let (mut camera, server) = play(own, &listener);
        drop(server);
        camera
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        let mut rest = Vec::new();
        let _ = camera.read_to_end(&mut rest);
        let (camera, mut server) = play(own, &listener);
        drop(camera);
        server
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        server.read_to_end(&mut rest).unwrap();
    }
    assert_eq!(relay.waiting(), 0);
}

#[test]
fn the_login_never_reaches_the_tunnel() {
    let (listener, address) = listen();
    let login = Login {
        user: "owner".into(),
        password: "hunter2".into(),
    };
    let (_relay, own) = relay_to(address, Some(login));
    let mut server = TcpStream::connect(own).unwrap();
    server
        .write_all(b"OPTIONS rtsp://c/m RTSP/1.0\r\nCSeq: 1\r\n\r\n")
        .unwrap();
    let (mut camera, _) = listener.accept().unwrap();
    assert!(!message(&mut camera).contains("Authorization"));
    camera
        .write_all(
            b"RTSP/1.0 401 Unauthorized\r\nCSeq: 1\r\nWWW-Authenticate: Basic realm=\"x\"\r\n\r\n",
        )
        .unwrap();
    let again = message(&mut camera);
    assert!(
        again.contains("Authorization: Basic b3duZXI6aHVudGVyMg=="),
        "{again}"
    );
    camera
        .write_all(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n")
        .unwrap();
    assert_eq!(message(&mut server), "RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n");
}

#[test]
fn without_a_streamer_the_connection_ends_at_once() {
    let refusing = Refusing::new().unwrap();
    let (_relay, own) = relay_to(refusing.address(), None);
    let mut server = TcpStream::connect(own).unwrap();
    server
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    assert_eq!(server.read(&mut [0; 9]).unwrap(), 0);
}
