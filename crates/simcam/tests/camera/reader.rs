//! A strict reader: RTSP by hand, every frame's place and header checked, pictures put together by their stamps.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use moorline_base::SystemClock;
use moorline_rtsp::interleaved::{Item, StrictDemux, StrictError};
use moorline_rtsp::message::{Message, Method, Request, Response};
use moorline_rtsp::rtp::RtpHeader;
use moorline_rtsp::rtp::rtcp::{self, RtcpPacket, SenderReport};
use moorline_simcam::video::{Shape, Stamp};
use moorline_simcam::{Source, SourceConfig};
use moorline_testkit::patience;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A quick camera: 30 pictures a second, an IDR every 10, 1 Mbit/s.
pub(crate) fn quick() -> SourceConfig {
    SourceConfig::generated(
        7,
        Shape {
            fps: 30,
            gop: 10,
            bitrate: 1_000_000,
            ..Shape::default()
        },
    )
}

pub(crate) fn source(config: SourceConfig) -> Source {
    Source::new(config, SystemClock::shared())
}

pub(crate) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// One client.
pub(crate) struct Reader {
    stream: Box<dyn Socket>,
    buffer: BytesMut,
    demux: StrictDemux,
    cseq: u32,
    session: Option<String>,
    /// Frames that came before an answer.
    pub(crate) early: Vec<(u8, Bytes)>,
    /// Requests of the camera.
    pub(crate) asked: Vec<Request>,
}

/// Why nothing more comes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    Closed,
    /// Closed within a frame or message, with so many bytes of it.
    Cut(usize),
    Framing(StrictError),
    Silence,
}

impl Reader {
    pub(crate) fn over(stream: impl Socket + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            buffer: BytesMut::new(),
            demux: StrictDemux::new(65_535),
            cseq: 0,
            session: None,
            early: Vec::new(),
            asked: Vec::new(),
        }
    }

    /// Connected in memory.
    pub(crate) fn of(source: &Source) -> Self {
        let (near, far) = tokio::io::duplex(256 * 1024);
        source.serve(far);
        Self::over(near)
    }

    pub(crate) async fn send(&mut self, method: Method, url: &str, headers: &[(&str, &str)]) {
        self.cseq += 1;
        let mut request = Request::new(method, url).header("CSeq", self.cseq.to_string());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(session) = &self.session {
            request = request.header("Session", session);
        }
        let mut bytes = BytesMut::new();
        request.encode(&mut bytes);
        // A connection that is closed already shows at the next read.
        let _ = self.stream.write_all(&bytes).await;
    }

    /// The next message or frame.
    pub(crate) async fn item(&mut self, wait: Duration) -> Result<Item, End> {
        loop {
            match self.demux.next(&mut self.buffer) {
                Ok(Some(item)) => return Ok(item),
                Ok(None) => {}
                Err(error) => return Err(End::Framing(error)),
            }
            match tokio::time::timeout(wait, self.stream.read_buf(&mut self.buffer)).await {
                Ok(Ok(1..)) => {}
                Ok(_) if self.buffer.is_empty() => return Err(End::Closed),
                Ok(_) => return Err(End::Cut(self.buffer.len())),
                Err(_) => return Err(End::Silence),
            }
        }
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn ask(
        &mut self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
    ) -> Result<Response, End> {
        self.send(method, url, headers).await;
        loop {
            match self.item(patience(SOON)).await? {
                Item::Message(Message::Response(response)) => {
                    let session = response.headers.get("Session");
                    if let Some(id) = session.and_then(|value| value.split(';').next()) {
                        self.session = Some(id.to_owned());
                    }
                    return Ok(response);
                }
                Item::Message(Message::Request(request)) => self.asked.push(request),
                Item::Frame(channel, packet) => self.early.push((channel, packet)),
            }
        }
    }

    /// DESCRIBE, SETUP of video (and audio), PLAY; returns the SDP.
    pub(crate) async fn play(&mut self, path: &str) -> String {
        let url = format!("rtsp://camera/{path}");
        let described = self.ask(Method::Describe, &url, &[]).await.unwrap();
        assert_eq!(described.status, 200);
        let sdp = String::from_utf8(described.body.to_vec()).unwrap();
        for track in 0..sdp.matches("m=").count() {
            let transport = format!(
                "RTP/AVP/TCP;unicast;interleaved={}-{}",
                2 * track,
                2 * track + 1
            );
            let set_up = self
                .ask(
                    Method::Setup,
                    &format!("{url}/trackID={track}"),
                    &[("Transport", &transport)],
                )
                .await;
            assert_eq!(set_up.unwrap().status, 200);
        }
        let playing = self
            .ask(Method::Play, &format!("{url}/"), &[])
            .await
            .unwrap();
        assert_eq!(playing.status, 200);
        sdp
    }

    /// The next frame, checked: an RTP packet or a report.
    pub(crate) async fn frame(&mut self) -> Result<(u8, Bytes), End> {
        loop {
            match self.item(patience(SOON)).await? {
                Item::Frame(channel, packet) => return Ok((channel, packet)),
                Item::Message(Message::Request(request)) => self.asked.push(request),
                Item::Message(Message::Response(_)) => {}
            }
        }
    }

    /// Waits until the connection is closed; what was on its way may still come.
    pub(crate) async fn ends(&mut self) {
        let closed = async { while self.frame().await.is_ok() {} };
        let in_time = tokio::time::timeout(patience(SOON), closed).await.is_ok();
        assert!(in_time, "the connection is still open");
    }

    /// The next RTP packet of video.
    pub(crate) async fn video(&mut self) -> Result<(RtpHeader, Bytes), End> {
        loop {
            let (channel, packet) = self.frame().await?;
            if channel == 0 {
                let header = RtpHeader::parse(&packet).expect("a whole RTP packet");
                return Ok((header, packet));
            }
        }
    }

    /// The next stamp. They travel in packets of their own.
    pub(crate) async fn stamp(&mut self) -> Result<Stamp, End> {
        loop {
            let (header, packet) = self.video().await?;
            if let Some(stamp) = Stamp::from_nal(header.payload(&packet)) {
                return Ok(stamp);
            }
        }
    }

    /// The next sender report of video.
    pub(crate) async fn report(&mut self) -> SenderReport {
        loop {
            let (channel, packet) = self.frame().await.unwrap();
            if channel == 1 {
                return report_of(&packet);
            }
        }
    }
}

#[track_caller]
pub(crate) fn report_of(packet: &[u8]) -> SenderReport {
    match rtcp::parse_compound(packet).first() {
        Some(RtcpPacket::SenderReport(report)) => *report,
        other => panic!("no sender report: {other:?}"),
    }
}

/// A source on a TCP port of loopback.
pub(crate) fn listening(config: SourceConfig) -> (Source, std::net::SocketAddr) {
    let listener = moorline_base::net::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let source = source(config);
    source.listen(listener);
    (source, address)
}
