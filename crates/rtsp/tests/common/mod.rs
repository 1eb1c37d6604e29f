//! Streams and sessions that the tests share.
#![allow(dead_code, missing_docs, reason = "each test binary uses a part of it")]

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use moorline_rtsp::client::{ClientConfig, ClientEvent, ClientSession};
use moorline_rtsp::message::{Message, MessageParser, Request, Response};

pub(crate) const SSRC: u32 = 0x1122_3344;
pub(crate) const AUDIO_SSRC: u32 = 0x5566_7788;

/// An RTP packet.
pub(crate) fn rtp(
    ssrc: u32,
    pt: u8,
    sequence: u16,
    timestamp: u32,
    marker: bool,
    payload: &[u8],
) -> Vec<u8> {
    let mut packet = vec![0x80, pt | if marker { 0x80 } else { 0 }];
    packet.extend(sequence.to_be_bytes());
    packet.extend(timestamp.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend(payload);
    packet
}

/// A `$` frame.
pub(crate) fn frame(channel: u8, packet: &[u8]) -> Vec<u8> {
    let mut out = vec![b'$', channel];
    out.extend(u16::try_from(packet.len()).unwrap().to_be_bytes());
    out.extend(packet);
    out
}

/// Bytes that look like slice data: all values, `$` among them.
pub(crate) fn noise(seed: u32, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (state >> 8) as u8
        })
        .collect()
}

/// One frame of a generated stream.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) bytes: Vec<u8>,
    pub(crate) channel: u8,
    /// The access unit, by its number.
    pub(crate) unit: usize,
}

/// Pictures of several packets, an IDR every 4, with audio and RTCP in between.
pub(crate) fn stream(units: usize) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut sequence = 65_530u16;
    let mut audio_sequence = 100u16;
    for unit in 0..units {
        let timestamp = 1000 + 3600 * u32::try_from(unit).unwrap();
        let idr = unit % 4 == 0;
        let parts = if idr { 4 } else { 2 };
        for part in 0..parts {
            let nal = if idr { 0x65u8 } else { 0x41 };
            let fu = (nal & 0x1f)
                | if part == 0 { 0x80 } else { 0 }
                | if part == parts - 1 { 0x40 } else { 0 };
            let mut payload = vec![(nal & 0xe0) | 28, fu];
            payload.extend(noise(
                u32::try_from(unit * 10 + part).unwrap(),
                20 + 7 * part,
            ));
            let packet = rtp(SSRC, 96, sequence, timestamp, part == parts - 1, &payload);
            pieces.push(Piece {
                bytes: frame(0, &packet),
                channel: 0,
                unit,
            });
            sequence = sequence.wrapping_add(1);
        }
        let audio = rtp(
            AUDIO_SSRC,
            8,
            audio_sequence,
            320 * u32::try_from(unit).unwrap(),
            true,
            &noise(9, 16),
        );
        audio_sequence = audio_sequence.wrapping_add(1);
        pieces.push(Piece {
            bytes: frame(2, &audio),
            channel: 2,
            unit,
        });
        if unit % 3 == 0 {
            let mut report = BytesMut::new();
            report.put_slice(&[0x80, 200, 0, 6]);
            report.put_u32(SSRC);
            report.put_slice(&noise(3, 20));
            pieces.push(Piece {
                bytes: frame(1, &report),
                channel: 1,
                unit,
            });
        }
    }
    pieces
}

/// The usual camera's SDP.
pub(crate) const SDP: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=cam\r\nt=0 0\r\na=control:*\r\n\
m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:trackID=0\r\n\
m=audio 0 RTP/AVP 8\r\na=control:trackID=1\r\n";

/// A camera that is a script: it takes requests and gives whatever a test says.
pub(crate) struct Camera {
    parser: MessageParser,
    input: BytesMut,
}

impl Camera {
    pub(crate) fn new() -> Self {
        Self {
            parser: MessageParser::new(),
            input: BytesMut::new(),
        }
    }

    /// The requests that the client has sent. `$` frames (its reports) are left out.
    pub(crate) fn requests(&mut self, session: &mut ClientSession) -> Vec<Request> {
        self.input.extend_from_slice(&session.take_output());
        let mut requests = Vec::new();
        loop {
            if self.input.first() == Some(&b'$') {
                let length = 4 + usize::from(u16::from_be_bytes([self.input[2], self.input[3]]));
                let _ = self.input.split_to(length);
                continue;
            }
            match self.parser.parse(&mut self.input).unwrap() {
                Some(Message::Request(request)) => requests.push(request),
                Some(Message::Response(_)) => {}
                None => return requests,
            }
        }
    }

    #[track_caller]
    pub(crate) fn request(&mut self, session: &mut ClientSession) -> Request {
        let mut requests = self.requests(session);
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests.remove(0)
    }
}

pub(crate) fn ok(request: &Request) -> Response {
    Response::new(200).header("CSeq", request.headers.get("CSeq").unwrap())
}

pub(crate) fn status(request: &Request, status: u16) -> Response {
    Response::new(status).header("CSeq", request.headers.get("CSeq").unwrap())
}

pub(crate) fn described(request: &Request, sdp: &str) -> Response {
    let mut response = ok(request);
    response.body = sdp.to_owned().into();
    response
}

pub(crate) fn give(session: &mut ClientSession, response: &Response) {
    let mut bytes = BytesMut::new();
    response.encode(&mut bytes);
    session.buffer().extend_from_slice(&bytes);
}

pub(crate) fn events(session: &mut ClientSession, now: Duration) -> Vec<ClientEvent> {
    std::iter::from_fn(|| session.poll(now)).collect()
}

pub(crate) fn config() -> ClientConfig {
    ClientConfig::new("127.0.0.1:554", vec!["/ch0".to_owned()], [7; 16])
}

/// A session that plays `sdp` with two tracks or one; `camera` answers everything with 200.
pub(crate) fn playing(
    session: &mut ClientSession,
    camera: &mut Camera,
    sdp: &str,
) -> Vec<ClientEvent> {
    let now = Duration::ZERO;
    let mut all = Vec::new();
    loop {
        let Some(request) = camera.requests(session).into_iter().next() else {
            return all;
        };
        let response = match request.method.as_str() {
            "DESCRIBE" => described(&request, sdp),
            "SETUP" => ok(&request)
                .header("Transport", request.headers.get("Transport").unwrap())
                .header("Session", "77;timeout=20"),
            _ => ok(&request),
        };
        give(session, &response);
        all.extend(events(session, now));
    }
}
