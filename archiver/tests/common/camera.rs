//! A camera behind a relay, as the archiver sees it: RTSP on a byte stream, H.264 whose pictures carry their number.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use moorline_core::port::{ByteStream, LiveFeed, Poster, ReaderRole, RelayError, Relays};
use moorline_core::{CameraId, SourceName};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

/// Precedes the number of a picture in its SEI.
pub(crate) const MARK: &[u8] = b"MOORLINE-FRAME";

const SPROP: &str = "Z2QAH6zZQFAFuwFqAgICgAAAAwCAAAAeB4wYyw==,aOvjyyLA";

/// What a camera films.
#[derive(Debug, Clone)]
pub(crate) struct Film {
    pub(crate) fps: u32,
    pub(crate) gop: u64,
    /// Bytes of a picture.
    pub(crate) size: usize,
    /// A second track.
    pub(crate) audio: Option<&'static str>,
}

impl Default for Film {
    fn default() -> Self {
        Self {
            fps: 50,
            gop: 5,
            size: 2_000,
            audio: None,
        }
    }
}

/// The camera and its relay. It films on whether anyone reads or not.
pub(crate) struct FakeCamera {
    film: Film,
    began: tokio::time::Instant,
    /// The archiver's connections so far.
    pub(crate) opened: AtomicU32,
    /// Pictures are sent while this is so.
    pub(crate) filming: AtomicBool,
    /// The relay skips so many pictures and says `overrun`.
    pub(crate) skip: AtomicU64,
    /// Pictures are held back while this is so, and then all come at once.
    pub(crate) stalled: AtomicBool,
    /// Ends the connections that are there: with the mark of a boundary.
    boundary: tokio::sync::watch::Sender<u64>,
    /// The first picture that was sent since the last question.
    pub(crate) last_sent: AtomicU64,
    first_sent: Mutex<Option<u64>>,
    /// Packets of the next picture are lost.
    pub(crate) lose: AtomicBool,
    /// The picture whose packets were lost.
    pub(crate) lost: AtomicU64,
    /// RTP time lies so many ticks back.
    pub(crate) back: AtomicU64,
}

impl FakeCamera {
    pub(crate) fn new(film: Film) -> Arc<Self> {
        Arc::new(Self {
            film,
            began: tokio::time::Instant::now(),
            opened: AtomicU32::new(0),
            filming: AtomicBool::new(true),
            skip: AtomicU64::new(0),
            stalled: AtomicBool::new(false),
            boundary: tokio::sync::watch::Sender::new(0),
            last_sent: AtomicU64::new(0),
            first_sent: Mutex::new(None),
            lose: AtomicBool::new(false),
            lost: AtomicU64::new(u64::MAX),
            back: AtomicU64::new(0),
        })
    }

    /// The relay marks a boundary and closes.
    pub(crate) fn boundary(&self) {
        self.boundary.send_modify(|count| *count += 1);
    }

    pub(crate) fn first_sent(&self) -> Option<u64> {
        *self.first_sent.lock().unwrap()
    }

    async fn serve(self: Arc<Self>, stream: tokio::io::DuplexStream) {
        let (reader, mut writer) = tokio::io::split(stream);
        let mut reader = BufReader::new(reader);
        loop {
            let Some((method, uri, cseq)) = request(&mut reader).await else {
                return;
            };
            let mut head = format!("RTSP/1.0 200 OK\r\nCSeq: {cseq}\r\n");
            let mut body = String::new();
            match method.as_str() {
                "DESCRIBE" => {
                    body = format!(
                        "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=control:*\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n\
                         a=fmtp:96 packetization-mode=1;profile-level-id=64001f;sprop-parameter-sets={SPROP}\r\na=control:trackID=0\r\n"
                    );
                    if let Some(audio) = self.film.audio {
                        body.push_str(audio);
                        body.push_str("a=control:trackID=1\r\n");
                    }
                    head.push_str(&format!("Content-Base: {uri}/\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n", body.len()));
                }
                "SETUP" => {
                    let track: u32 = if uri.ends_with('1') { 2 } else { 0 };
                    head.push_str(&format!("Session: 1;timeout=60\r\nTransport: RTP/AVP/TCP;unicast;interleaved={}-{};ssrc=0000000{}\r\n", track, track + 1, track + 1));
                }
                "PLAY" => head.push_str("Session: 1\r\nRange: npt=now-\r\n"),
                _ => head.push_str("Session: 1\r\n"),
            }
            if writer
                .write_all(format!("{head}\r\n{body}").as_bytes())
                .await
                .is_err()
            {
                return;
            }
            if method == "PLAY" {
                break;
            }
        }
        let mut boundary = self.boundary.subscribe();
        let replies = Mutex::new(Vec::new());
        tokio::select! {
            () = self.play(&mut writer, &replies) => {}
            _ = boundary.changed() => {
                let mut report = vec![b'$', 1, 0, 20];
                report.extend([0x80, 201, 0, 1, 0, 0, 0, 1]);
                report.extend([0x87, 204, 0, 2, 0, 0, 0, 1]);
                report.extend(b"MOOR");
                let _ = writer.write_all(&report).await;
                let _ = writer.shutdown().await;
            }
            // keep-alives; the end of input ends it
            () = async {
                while let Some((_, _, cseq)) = request(&mut reader).await {
                    let reply = format!("RTSP/1.0 200 OK\r\nCSeq: {cseq}\r\nSession: 1\r\n\r\n");
                    replies.lock().unwrap().extend(reply.into_bytes());
                }
            } => {}
        }
    }

    /// Sends pictures from now on, from the next key frame, and before each what is to be replied.
    async fn play(
        &self,
        writer: &mut (impl tokio::io::AsyncWrite + Unpin),
        replies: &Mutex<Vec<u8>>,
    ) {
        let interval = Duration::from_secs(1) / self.film.fps;
        let passed = self.began.elapsed().as_nanos() / interval.as_nanos();
        let mut number = (passed as u64).next_multiple_of(self.film.gop);
        let (mut sequence, mut sound_sequence) = (7_u16, 9_u16);
        let mut sound = 0_u64;
        let mut started = false;
        let mut held = Vec::new();
        loop {
            tokio::time::sleep_until(self.began + interval * number as u32).await;
            let key = number.is_multiple_of(self.film.gop);
            if !self.filming.load(Ordering::Relaxed) {
                started = false;
                number += 1;
                continue;
            }
            let skip = self.skip.swap(0, Ordering::Relaxed);
            if skip > 0 {
                held.extend([b'$', 1, 0, 28, 0x80, 201, 0, 1, 0, 0, 0, 1]);
                held.extend([0x80, 204, 0, 4, 0, 0, 0, 1]);
                held.extend(b"MOORoverrun\0");
                started = false;
                number = (number + skip).next_multiple_of(self.film.gop);
                continue;
            }
            // a camera begins with a key frame
            if !started && !key {
                number += 1;
                continue;
            }
            started = true;
            let time = (number * 90_000 / u64::from(self.film.fps)) as u32;
            let time = time.wrapping_sub(self.back.load(Ordering::Relaxed) as u32);
            if self.lose.swap(false, Ordering::Relaxed) {
                self.lost.store(number, Ordering::Relaxed);
            }
            let mut packets = Vec::new();
            for (nal, last) in [(sei(number), false), (slice(key, self.film.size), true)] {
                for (payload, end) in fragments(&nal) {
                    let lost = self.lost.load(Ordering::Relaxed) == number;
                    if !lost {
                        rtp(
                            &mut packets,
                            0,
                            96,
                            (end && last, sequence, time, 1),
                            &payload,
                        );
                    }
                    sequence = sequence.wrapping_add(1);
                }
            }
            if self.film.audio.is_some() {
                // 20 ms of 8 kHz, as long as the pictures have come
                let until = number * 50 / u64::from(self.film.fps);
                sound = sound.max(until.saturating_sub(10));
                while sound <= until {
                    rtp(
                        &mut packets,
                        2,
                        8,
                        (false, sound_sequence, (sound * 160) as u32, 3),
                        &[0xd5; 160],
                    );
                    sound_sequence = sound_sequence.wrapping_add(1);
                    sound += 1;
                }
            }
            held.append(&mut packets);
            if !self.stalled.load(Ordering::Relaxed) {
                let replies = std::mem::take(&mut *replies.lock().unwrap());
                held.splice(..0, replies);
                if writer.write_all(&held).await.is_err() {
                    return;
                }
                held.clear();
            }
            self.first_sent.lock().unwrap().get_or_insert(number);
            self.last_sent.store(number, Ordering::Relaxed);
            number += 1;
        }
    }
}

async fn request(
    reader: &mut (impl tokio::io::AsyncBufRead + Unpin),
) -> Option<(String, String, String)> {
    let (mut first, mut cseq) = (None, String::new());
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            let (method, uri): (String, String) = first?;
            return Some((method, uri, cseq));
        }
        if let Some(value) = line.strip_prefix("CSeq: ") {
            cseq = value.to_owned();
        }
        if first.is_none() {
            let mut words = line.split(' ');
            first = Some((words.next()?.to_owned(), words.next()?.to_owned()));
        }
    }
}

fn sei(number: u64) -> Vec<u8> {
    let mut nal = vec![6, 5, 40];
    nal.extend(MARK);
    // no byte of it is zero, so that nothing needs emulation prevention
    nal.extend(format!("{number:016}").bytes());
    nal.push(0x80);
    nal
}

fn slice(key: bool, size: usize) -> Vec<u8> {
    let mut nal = vec![0x55; size.max(8)];
    nal[0] = if key { 0x65 } else { 0x41 };
    nal[1] = 0x88;
    nal
}

/// RFC 6184: whole, or FU-A. With whether it ends the NAL unit.
fn fragments(nal: &[u8]) -> Vec<(Vec<u8>, bool)> {
    if nal.len() <= 1_200 {
        return vec![(nal.to_vec(), true)];
    }
    let (header, body) = nal.split_first().unwrap();
    let chunks: Vec<&[u8]> = body.chunks(1_200).collect();
    let last = chunks.len() - 1;
    let part = |(index, chunk): (usize, &&[u8])| {
        let flags = u8::from(index == 0) << 7 | u8::from(index == last) << 6;
        let mut payload = vec![header & 0xe0 | 28, flags | header & 0x1f];
        payload.extend(*chunk);
        (payload, index == last)
    };
    chunks.iter().enumerate().map(part).collect()
}

fn rtp(
    out: &mut Vec<u8>,
    channel: u8,
    kind: u8,
    (marker, sequence, time, ssrc): (bool, u16, u32, u32),
    payload: &[u8],
) {
    out.extend([b'$', channel]);
    out.extend((12 + payload.len() as u16).to_be_bytes());
    out.extend([0x80, u8::from(marker) << 7 | kind]);
    out.extend(sequence.to_be_bytes());
    out.extend(time.to_be_bytes());
    out.extend(ssrc.to_be_bytes());
    out.extend(payload);
}

/// The relays of one camera.
pub(crate) struct OneCamera(pub(crate) Arc<FakeCamera>);

#[async_trait::async_trait]
impl Relays for OneCamera {
    async fn open(
        &self,
        _: &CameraId,
        _: SourceName,
        role: ReaderRole,
    ) -> Result<ByteStream, RelayError> {
        assert_eq!(role, ReaderRole::Archiver);
        self.0.opened.fetch_add(1, Ordering::Relaxed);
        let (near, far) = tokio::io::duplex(1 << 20);
        tokio::spawn(Arc::clone(&self.0).serve(far));
        Ok(Box::new(near))
    }

    async fn live(
        &self,
        _: &CameraId,
        _: SourceName,
        _: &str,
    ) -> Result<Box<dyn LiveFeed>, RelayError> {
        Err(RelayError::Unknown)
    }

    fn poster(&self, _: &CameraId, _: SourceName) -> Option<Poster> {
        None
    }
}

/// A camera that is away.
pub(crate) struct Away;

#[async_trait::async_trait]
impl Relays for Away {
    async fn open(
        &self,
        _: &CameraId,
        _: SourceName,
        _: ReaderRole,
    ) -> Result<ByteStream, RelayError> {
        Err(RelayError::Away)
    }

    async fn live(
        &self,
        _: &CameraId,
        _: SourceName,
        _: &str,
    ) -> Result<Box<dyn LiveFeed>, RelayError> {
        Err(RelayError::Away)
    }

    fn poster(&self, _: &CameraId, _: SourceName) -> Option<Poster> {
        None
    }
}
