//! What a slow uplink does to the streamer, with the agent's relay and with dbclient alone, in the same seconds.
//!
//! A streamer that blocks, as those of cameras do: it measures by how much its writes keep it from its next picture. The namespace has the
//! TCP buffers of a 64 MB camera: the kernel's own would hide a stall for half a minute.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use moorline_agent::relay::Piece;
use moorline_testkit::child::{Child, run};
use moorline_testkit::netns::Netns;
use moorline_testkit::{or_skip, peer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::agent::Camera;
use crate::reader::Reader;
use crate::server::{Server, yard};

/// 4.09 Mbit/s of 30 pictures a second, an IDR every 30.
const PICTURE: usize = 17_000;
const PACKET: usize = 1_400;
const INTERVAL: Duration = Duration::from_nanos(1_000_000_000 / 30);
const GOP: u32 = 30;
/// What the uplink carries: 1.5 Mbit/s, in pieces of a twentieth of a second.
const PIECE: usize = 187_500 / 20;
const SECONDS: u64 = 42;

/// What a streamer saw.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// By how much its writes outlasted a picture's time, in all.
    stalled: Duration,
    written: u32,
    /// The encoder made them while it was held up.
    skipped: u32,
}

fn streamer(listener: TcpListener) -> Arc<Mutex<Seen>> {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let noting = Arc::clone(&seen);
    // Ends with the test's process.
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let noting = Arc::clone(&noting);
            std::thread::spawn(move || serve(socket, &noting));
        }
    });
    seen
}

/// Answers requests until PLAY, then sends until nobody takes it.
fn serve(mut socket: TcpStream, seen: &Mutex<Seen>) {
    let (mut held, mut room) = (Vec::new(), [0; 2048]);
    while let Ok(count @ 1..) = socket.read(&mut room) {
        held.extend_from_slice(&room[..count]);
        while let Some(end) = held.windows(4).position(|four| four == b"\r\n\r\n") {
            let request = String::from_utf8_lossy(&held[..end]).into_owned();
            held.drain(..end + 4);
            let cseq = request
                .lines()
                .find(|line| line.starts_with("CSeq"))
                .unwrap_or("CSeq: 0");
            let sdp =
                "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:trackID=0\r\n";
            let (headers, body) = match request.split(' ').next() {
                Some("DESCRIBE") => (format!("Content-Length: {}\r\n", sdp.len()), sdp),
                Some("SETUP") => (
                    "Session: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n".to_owned(),
                    "",
                ),
                _ => ("Session: 1\r\n".to_owned(), ""),
            };
            let answer = format!("RTSP/1.0 200 OK\r\n{cseq}\r\n{headers}\r\n{body}");
            if socket.write_all(answer.as_bytes()).is_err() {
                return;
            }
            if request.starts_with("PLAY") {
                return play(&mut socket, seen);
            }
        }
    }
}

fn play(socket: &mut TcpStream, seen: &Mutex<Seen>) {
    let begin = Instant::now();
    for number in 0.. {
        let due = INTERVAL * number;
        let now = begin.elapsed();
        if now > due + INTERVAL {
            seen.lock().unwrap().skipped += 1;
            continue;
        }
        std::thread::sleep(due.saturating_sub(now));
        let (picture, before) = (picture(number), begin.elapsed());
        if socket.write_all(&picture).is_err() {
            return;
        }
        let mut seen = seen.lock().unwrap();
        seen.stalled += (begin.elapsed() - before).saturating_sub(INTERVAL);
        seen.written += 1;
    }
}

/// A picture as interleaved frames: one NAL unit in fragments (RFC 6184, 5.8).
fn picture(number: u32) -> Vec<u8> {
    let kind = if number.is_multiple_of(GOP) { 5 } else { 1 };
    let mut out = Vec::new();
    let packets = PICTURE.div_ceil(PACKET);
    for at in 0..packets {
        let last = at + 1 == packets;
        let header = kind | u8::from(at == 0) << 7 | u8::from(last) << 6;
        out.extend([b'$', 0]);
        out.extend((14 + PACKET as u16).to_be_bytes());
        out.extend([0x80, 96 | u8::from(last) << 7]);
        out.extend(((number as usize * packets + at) as u16).to_be_bytes());
        out.extend((number * 3000).to_be_bytes());
        out.extend([0, 0, 0, 1, 0x7c, header]);
        out.resize(out.len() + PACKET, 7);
    }
    out
}

/// An uplink to a server: where it begins, inside.
async fn uplink(netns: &Netns, server: SocketAddr) -> SocketAddr {
    let (listener, address) = netns.listen().await.unwrap();
    tokio::spawn(async move {
        while let Ok((camera, _)) = listener.accept().await {
            tokio::spawn(async move {
                let server = tokio::net::TcpStream::connect(server).await?;
                let (mut from_camera, mut to_camera) = camera.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                let down = tokio::io::copy(&mut from_server, &mut to_camera);
                let up = async {
                    let mut tick = tokio::time::interval(Duration::from_millis(50));
                    let mut room = [0; PIECE];
                    loop {
                        // Not to wait for something: this is how slow it is.
                        tick.tick().await;
                        let count = from_camera.read(&mut room).await?;
                        if count == 0 {
                            return Ok::<u64, std::io::Error>(0);
                        }
                        to_server.write_all(&room[..count]).await?;
                    }
                };
                tokio::try_join!(down, up)
            });
        }
    });
    address
}

/// Reads for so long; the pictures that came after a gap, by their numbers.
async fn read(mut reader: Reader) -> Vec<u32> {
    reader.play().await;
    let (mut last, mut after_gaps) = (None, Vec::new());
    let reading = async {
        while let Some(piece) = reader.piece().await {
            let Piece::Frame { bytes, .. } = piece else {
                panic!("framing was lost: {piece:?}");
            };
            let number = u32::from_be_bytes(bytes[8..12].try_into().unwrap()) / 3000;
            if last.is_some_and(|last| number > last + 1) {
                after_gaps.push(number);
            }
            last = Some(number);
        }
        panic!("the stream ended");
    };
    let _ = tokio::time::timeout(Duration::from_secs(SECONDS), reading).await;
    after_gaps
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: 42 s at 1.5 Mbit/s"]
async fn a_slow_uplink_stalls_the_streamer_of_a_bare_dbclient_and_not_that_of_the_relay() {
    let Some(netns) = or_skip(Netns::new().await) else {
        return;
    };
    // Linux' own choice for 49.5 MB of memory: net/ipv4/tcp.c, tcp_init.
    let mut small = netns.command("sh");
    small.args(["-c", "cd /proc/sys/net/ipv4 && echo 4096 16384 405504 >tcp_wmem && echo 4096 87380 405504 >tcp_rmem"]);
    let set = run("sh", small, Duration::from_secs(10)).await.unwrap();
    assert!(set.status.success(), "{set:?}");

    let streamer_of = async || {
        let (listener, address) = netns.listen().await.unwrap();
        let listener = listener.into_std().unwrap();
        listener.set_nonblocking(false).unwrap();
        (streamer(listener), address)
    };
    let (with_relay, at) = streamer_of().await;
    let mut camera = Camera::new();
    let enter = netns.command("env");
    let words = enter.as_std();
    let words = std::iter::once(words.get_program()).chain(words.get_args());
    camera.run_by(words.map(|word| word.display().to_string()).collect());
    let server_of = || Server::start("both", vec![yard(camera.key.public())]);
    let (server, other) = (server_of(), server_of());
    camera.local(&format!("source {at}"));
    camera.calls(uplink(&netns, server.address).await, &server.pins());
    let _agent = camera.start();

    let (bare, at) = streamer_of().await;
    std::fs::create_dir_all(camera.path("home/.ssh")).unwrap();
    let pins = other.known_hosts("127.0.0.1").join("\n") + "\n";
    camera.write("home/.ssh/known_hosts", pins.as_bytes());
    let to = uplink(&netns, other.address).await;
    let mut command = netns.command(&peer::DBCLIENT.find().unwrap().path);
    command
        .env("HOME", camera.path("home"))
        .args(["-T", "-K", "15", "-l", "home/yard", "-i"])
        .arg(camera.path("etc/id"))
        .args([
            "-p",
            &to.port().to_string(),
            "-R",
            &format!("0:{at}"),
            "127.0.0.1",
        ]);
    let _dbclient = Child::spawn("dbclient", command).unwrap();
    server.up(0).await;
    other.up(0).await;
    let session = server.opened(0).await;
    // An agent leaves a server that does not ping for 45 s.
    server.say(session, "PING 1");
    let (after_gaps, _) = tokio::join!(
        read(Reader::over(server.landing().await)),
        read(Reader::over(other.landing().await)),
    );
    let (with_relay, bare) = (*with_relay.lock().unwrap(), *bare.lock().unwrap());
    println!("with the relay, of {SECONDS} s: {with_relay:?}, resumed at {after_gaps:?}");
    println!("dbclient alone, of {SECONDS} s: {bare:?}");
    assert!(
        with_relay.stalled < Duration::from_secs(1),
        "{with_relay:?}"
    );
    assert!(
        bare.stalled > Duration::from_secs(10),
        "no stall to cure: {bare:?}"
    );
    assert!(!after_gaps.is_empty(), "nothing was dropped");
    let not_idr = after_gaps.iter().find(|number| !number.is_multiple_of(GOP));
    assert_eq!(not_idr, None, "resumed where no decoder may begin");
}
