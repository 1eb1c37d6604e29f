//! A camera's RTSP server: a film with stamps, sound if wanted, and the faults of real streamers.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::{BufMut as _, Bytes, BytesMut};
use moorline_rtsp::auth::Ha1;
use moorline_rtsp::rtp::append_frame_header;
use moorline_rtsp::rtp::rtcp::{SenderReport, ntp_from_unix};
use moorline_rtsp::server::{Description, ServerConfig, ServerEvent, ServerSession, SetUpTrack};
use moorline_simcam::video::{Clip, Film, Generated, Shape, Stamp};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

/// What the camera does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// It is no RTSP server.
    Garbage,
    /// 404 for every path.
    NotFound,
    /// 401 at its path, whoever asks; 404 at any other.
    LoginAtPath,
    /// Two tracks that cannot be told apart.
    NoControl,
    /// The tail of a packet of every second IDR is lost, as by a full send buffer.
    PartialWrites,
    /// It plays so many pictures, then sends nothing.
    SilentAfter(u64),
    /// It plays and sends nothing at all.
    Mute,
}

#[derive(Clone)]
pub struct Script {
    pub number: u32,
    pub film: Arc<dyn Film>,
    /// What the SDP calls the pictures; they stay those of the film.
    pub codec: &'static str,
    /// `rtpmap` of a sound track, 20 ms packets of 160 ticks.
    pub sound: Option<&'static str>,
    pub fault: Fault,
    /// Then Digest is demanded.
    pub login: Option<(&'static str, &'static str)>,
    /// Path that exists.
    pub path: &'static str,
    /// Film pictures run at this multiple of their rate.
    pub speed: u32,
}

impl Script {
    /// The clip with the clock.
    pub fn clip(number: u32) -> Self {
        Self {
            number,
            film: Arc::new(Clip::clock()),
            codec: "H264",
            sound: None,
            fault: Fault::None,
            login: None,
            path: "ch0",
            speed: 1,
        }
    }

    /// Generated pictures: so many in a second, one IDR in so many.
    pub fn generated(number: u32, fps: u32, gop: u32, bitrate: u64) -> Self {
        let shape = Shape {
            fps,
            gop,
            bitrate,
            ..Shape::default()
        };
        Self {
            film: Arc::new(Generated::new(shape)),
            ..Self::clip(number)
        }
    }

    pub fn fault(mut self, fault: Fault) -> Self {
        self.fault = fault;
        self
    }

    fn sdp(&self) -> String {
        let (sps, pps) = self.film.parameter_sets();
        let control = |track| match self.fault {
            Fault::NoControl => String::new(),
            _ => format!("a=control:trackID={track}\r\n"),
        };
        let mut sdp = format!(
            "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=stage\r\nt=0 0\r\na=x-moorline-generation:999\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 {}/90000\r\n\
             {}{}",
            self.codec,
            match self.codec {
                "H264" => format!(
                    "a=fmtp:96 packetization-mode=1;sprop-parameter-sets={},{}\r\n",
                    base64(&sps),
                    base64(&pps)
                ),
                _ => String::new(),
            },
            control(0)
        );
        if let Some(rtpmap) = self.sound {
            sdp += &format!(
                "m=audio 0 RTP/AVP {}\r\na=rtpmap:{rtpmap}\r\n{}",
                rtpmap.split(' ').next().expect("a payload type"),
                control(1)
            );
        }
        sdp
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let all = group
            .iter()
            .chain(&[0, 0])
            .take(3)
            .fold(0u32, |all, byte| all << 8 | u32::from(*byte));
        for n in 0..4 {
            let digit = DIGITS[(all >> (18 - 6 * n) & 63) as usize];
            text.push(if n <= group.len() {
                char::from(digit)
            } else {
                '='
            });
        }
    }
    text
}

/// RTP packets of one picture.
pub fn packets(nals: &[Bytes], mut sequence: u16, timestamp: u32, ssrc: u32) -> Vec<Vec<u8>> {
    const MOST: usize = 1400;
    let mut payloads: Vec<Vec<u8>> = Vec::new();
    for nal in nals {
        if nal.len() <= MOST {
            payloads.push(nal.to_vec());
            continue;
        }
        let (header, body) = (nal[0], &nal[1..]);
        let count = body.len().div_ceil(MOST);
        for (n, part) in body.chunks(MOST).enumerate() {
            let start = if n == 0 { 0x80 } else { 0 };
            let end = if n + 1 == count { 0x40 } else { 0 };
            let mut payload = vec![header & 0xe0 | 28, start | end | header & 0x1f];
            payload.extend_from_slice(part);
            payloads.push(payload);
        }
    }
    let count = payloads.len();
    let mut all = Vec::new();
    for (n, payload) in payloads.into_iter().enumerate() {
        let marker = if n + 1 == count { 0x80 } else { 0 };
        all.push(rtp(96 | marker, sequence, timestamp, ssrc, &payload));
        sequence = sequence.wrapping_add(1);
    }
    all
}

fn rtp(kind: u8, sequence: u16, timestamp: u32, ssrc: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, kind];
    packet.extend(sequence.to_be_bytes());
    packet.extend(timestamp.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

pub fn unix_micros() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    since.as_micros() as u64
}

struct Play {
    tracks: Vec<SetUpTrack>,
    began: tokio::time::Instant,
    frame: u64,
    sound: u64,
    sequence: u16,
    offset: u32,
    ssrc: u32,
    camera_clock: Instant,
}

/// Answers each request with 401 at the path, and with 404 elsewhere.
async fn refuse(
    reader: &mut (impl tokio::io::AsyncRead + Unpin),
    writer: &mut (impl tokio::io::AsyncWrite + Unpin),
    path: &str,
) {
    let mut text = String::new();
    let mut buffer = [0; 1024];
    loop {
        match reader.read(&mut buffer).await {
            Ok(count) if count > 0 => text += &String::from_utf8_lossy(&buffer[..count]),
            _ => return,
        }
        while let Some(end) = text.find("\r\n\r\n") {
            let request: String = text.drain(..end + 4).collect();
            let url = request.split(' ').nth(1).unwrap_or_default();
            let line = request.lines().find(|line| line.starts_with("CSeq"));
            let status = if url.ends_with(path) {
                "401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"camera\", nonce=\"0123\""
            } else {
                "404 Not Found"
            };
            let answer = format!("RTSP/1.0 {status}\r\n{}\r\n\r\n", line.unwrap_or_default());
            if writer.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

/// Serves one connection.
pub async fn serve(stream: DuplexStream, script: Script) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    if script.fault == Fault::Garbage {
        let _ = writer.write_all(b"SSH-2.0-dropbear_2022.83\r\n").await;
        let mut sink = [0; 1024];
        while matches!(reader.read(&mut sink).await, Ok(count) if count > 0) {}
        return;
    }
    if script.fault == Fault::LoginAtPath {
        refuse(&mut reader, &mut writer, script.path).await;
        return;
    }
    let started = Instant::now();
    let mut config = ServerConfig::new("camera", "0123456789abcdef", "00c0ffee");
    config.trusted = script.login.is_none();
    let mut session = ServerSession::new(config, Duration::ZERO);
    let mut play: Option<Play> = None;
    let interval = script.film.interval() / script.speed;
    let sound_interval = Duration::from_millis(20);
    loop {
        let now = started.elapsed();
        while let Some(event) = session.poll(now) {
            match event {
                ServerEvent::Authenticate { .. } => {
                    let (user, password) = script.login.expect("a login");
                    session.secret(Some(Ha1::new(user, "camera", password)), || true);
                }
                ServerEvent::Describe(request) => {
                    let known = request.target.path == script.path;
                    if known && script.fault != Fault::NotFound {
                        session.describe(Description {
                            sdp: script.sdp(),
                            tracks: vec![None; 1 + usize::from(script.sound.is_some())],
                        });
                    } else {
                        session.reject(404, None);
                    }
                }
                ServerEvent::Play { tracks } => {
                    session.play(&[], now);
                    play = Some(Play {
                        tracks,
                        began: tokio::time::Instant::now(),
                        frame: 0,
                        sound: 0,
                        sequence: rand_u32() as u16,
                        offset: rand_u32(),
                        ssrc: rand_u32(),
                        camera_clock: Instant::now(),
                    });
                }
                ServerEvent::Teardown => play = None,
                ServerEvent::Closed(_) => {
                    let _ = writer.write_all(&session.take_output()).await;
                    return;
                }
                _ => {}
            }
        }
        if writer.write_all(&session.take_output()).await.is_err() {
            return;
        }
        let video_at = play
            .as_ref()
            .map(|play| play.began + interval * play.frame as u32);
        let sound_at = play
            .as_ref()
            .filter(|_| script.sound.is_some())
            .map(|play| play.began + sound_interval * play.sound as u32);
        tokio::select! {
            read = reader.read_buf(session.buffer()) => match read {
                Ok(count) if count > 0 => (),
                _ => session.on_end(),
            },
            () = until(video_at) => {
                let play = play.as_mut().expect("plays");
                if writer.write_all(&picture(&script, play)).await.is_err() {
                    return;
                }
            }
            () = until(sound_at) => {
                let play = play.as_mut().expect("plays");
                if writer.write_all(&sound(&script, play)).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn rand_u32() -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(
        &unix_micros()
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .to_be_bytes()[..4],
    );
    u32::from_be_bytes(bytes)
}

async fn until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn silent(script: &Script, play: &Play) -> bool {
    match script.fault {
        Fault::Mute => true,
        Fault::SilentAfter(count) => play.frame > count,
        _ => false,
    }
}

fn framed(channel: u8, packet: &[u8], out: &mut BytesMut) {
    append_frame_header(out, channel, packet.len() as u16);
    out.put_slice(packet);
}

fn picture(script: &Script, play: &mut Play) -> BytesMut {
    let mut out = BytesMut::new();
    let frame = play.frame;
    play.frame += 1;
    let Some(track) = play.tracks.iter().find(|track| track.track == 0).copied() else {
        return out;
    };
    if silent(script, play) {
        return out;
    }
    let ticks = script.film.interval().as_micros() as u64 * 9 / 100 * frame;
    let timestamp = play.offset.wrapping_add(ticks as u32);
    let stamp = Stamp {
        camera: script.number,
        frame,
        sent_us: unix_micros(),
    };
    let picture = script.film.picture(frame).stamped(stamp);
    let all = packets(&picture.nals, play.sequence, timestamp, play.ssrc);
    play.sequence = play.sequence.wrapping_add(all.len() as u16);
    let hurt = (script.fault == Fault::PartialWrites && picture.idr && frame % 30 == 15)
        .then_some(all.len() - 1);
    for (n, packet) in all.iter().enumerate() {
        let start = out.len();
        framed(track.rtp, packet, &mut out);
        if hurt == Some(n) {
            out.truncate(start + 4 + packet.len() / 2);
        }
    }
    if frame.is_multiple_of(15) {
        // The camera booted in 1970.
        let report = SenderReport {
            ssrc: play.ssrc,
            ntp: ntp_from_unix(play.camera_clock.elapsed() + Duration::from_secs(100)),
            rtp_time: timestamp,
            packets: 0,
            octets: 0,
        };
        let mut compound = BytesMut::new();
        report.encode("camera", &mut compound);
        framed(track.rtcp, &compound, &mut out);
    }
    out
}

fn sound(script: &Script, play: &mut Play) -> BytesMut {
    let mut out = BytesMut::new();
    let number = play.sound;
    play.sound += 1;
    let Some(track) = play.tracks.iter().find(|track| track.track == 1).copied() else {
        return out;
    };
    if silent(script, play) {
        return out;
    }
    let kind: u8 = script
        .sound
        .and_then(|rtpmap| rtpmap.split(' ').next()?.parse().ok())
        .expect("a payload type");
    let timestamp = play.offset.wrapping_add(160 * number as u32);
    let packet = rtp(kind, number as u16, timestamp, !play.ssrc, &[0xd5; 160]);
    framed(track.rtp, &packet, &mut out);
    out
}
