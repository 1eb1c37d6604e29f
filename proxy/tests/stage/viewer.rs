//! A viewer that notes every packet, and can stop reading.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use moorline_rtsp::auth::Credentials;
use moorline_rtsp::client::{ClientConfig, ClientError, ClientEvent, ClientSession, PlayingTrack};
use moorline_rtsp::nal::Marks;
use moorline_rtsp::rtp::RtpHeader;
use moorline_rtsp::rtp::rtcp::RtcpPacket;
use moorline_simcam::video::Stamp;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

#[derive(Debug)]
pub enum Seen {
    Described(String),
    Playing(Vec<PlayingTrack>),
    Packet {
        track: usize,
        packet: Bytes,
        marks: Marks,
        at: Instant,
    },
    Rtcp {
        track: usize,
        packets: Vec<RtcpPacket>,
    },
    Closed(Result<(), ClientError>),
}

pub struct Viewer {
    pub seen: mpsc::Receiver<Seen>,
    reading: watch::Sender<bool>,
}

/// A picture: marks of its first packet and the camera's stamp.
#[derive(Debug, Clone, Copy)]
pub struct PictureSeen {
    pub first: Marks,
    pub idr: bool,
    pub damaged: bool,
    pub stamp: Option<Stamp>,
    pub at: Instant,
}

impl Viewer {
    pub async fn open(address: SocketAddr, path: &str, login: Option<(&str, &str)>) -> Self {
        let stream = TcpStream::connect(address).await.expect("the door is open");
        Self::on(stream, &address.to_string(), path, login)
    }

    pub fn on<S>(stream: S, authority: &str, path: &str, login: Option<(&str, &str)>) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut config = ClientConfig::new(authority, vec![format!("/{path}")], [7; 16]);
        config.request_timeout = Duration::from_secs(40);
        config.credentials = login.map(|(user, password)| Credentials {
            user: user.to_owned(),
            password: password.to_owned(),
        });
        let (sender, seen) = mpsc::channel(100_000);
        let (reading, may_read) = watch::channel(true);
        tokio::spawn(run(stream, config, sender, may_read));
        Self { seen, reading }
    }

    /// Stops or goes on reading.
    pub fn read(&self, reading: bool) {
        self.reading.send_replace(reading);
    }

    #[track_caller]
    pub fn next(&mut self) -> impl Future<Output = Seen> + '_ {
        let caller = std::panic::Location::caller();
        async move {
            match tokio::time::timeout(super::PATIENCE, self.seen.recv()).await {
                Ok(Some(seen)) => seen,
                Ok(None) => panic!("{caller}: the viewer has ended"),
                Err(_) => panic!("{caller}: nothing is seen"),
            }
        }
    }

    /// The next packet of a track.
    pub async fn packet(&mut self, wanted: usize) -> (Marks, Bytes, Instant) {
        loop {
            match self.next().await {
                Seen::Packet {
                    track,
                    packet,
                    marks,
                    at,
                } if track == wanted => return (marks, packet, at),
                Seen::Closed(end) => panic!("the stream ended: {end:?}"),
                _ => {}
            }
        }
    }

    /// The next whole picture of track 0.
    pub async fn picture(&mut self) -> PictureSeen {
        let mut picture: Option<PictureSeen> = None;
        loop {
            let (marks, packet, at) = self.packet(0).await;
            if marks.au_start {
                picture = Some(PictureSeen {
                    first: marks,
                    idr: false,
                    damaged: false,
                    stamp: None,
                    at,
                });
            }
            let Some(seen) = &mut picture else { continue };
            seen.idr |= marks.idr;
            seen.damaged |= marks.damaged;
            let header = RtpHeader::parse(&packet).expect("RTP");
            seen.stamp = seen.stamp.or(Stamp::from_nal(header.payload(&packet)));
            if marks.au_end {
                return *seen;
            }
        }
    }

    /// How the connection ended.
    pub async fn end(&mut self) -> Result<(), ClientError> {
        let ending = async {
            loop {
                if let Seen::Closed(end) = self.next().await {
                    return end;
                }
            }
        };
        let ended = tokio::time::timeout(super::PATIENCE, ending).await;
        ended.expect("the connection ends")
    }

    /// Waits until it plays.
    pub async fn plays(&mut self) -> Vec<PlayingTrack> {
        loop {
            match self.next().await {
                Seen::Playing(tracks) => return tracks,
                Seen::Closed(end) => panic!("it does not play: {end:?}"),
                _ => {}
            }
        }
    }
}

async fn run<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    config: ClientConfig,
    sender: mpsc::Sender<Seen>,
    mut may_read: watch::Receiver<bool>,
) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let started = Instant::now();
    let mut session = ClientSession::new(config, Duration::ZERO);
    let mut output = Bytes::new();
    loop {
        let now = started.elapsed();
        while let Some(event) = session.poll(now) {
            let seen = match event {
                ClientEvent::Described { sdp, .. } => Seen::Described(format!("{sdp:?}")),
                ClientEvent::Playing(tracks) => Seen::Playing(tracks),
                ClientEvent::Packet {
                    track,
                    packet,
                    marks,
                } => Seen::Packet {
                    track,
                    packet,
                    marks,
                    at: Instant::now(),
                },
                ClientEvent::Rtcp { track, packets } => Seen::Rtcp { track, packets },
                ClientEvent::Closed(end) => {
                    let _ = sender.send(Seen::Closed(end)).await;
                    return;
                }
                _ => continue,
            };
            if sender.send(seen).await.is_err() {
                return;
            }
        }
        if output.is_empty() {
            output = session.take_output();
        }
        let reading = *may_read.borrow_and_update();
        let due = session
            .next_deadline()
            .map(|due| tokio::time::Instant::from_std(started + due));
        session.buffer().reserve(64 * 1024);
        tokio::select! {
            read = reader.read_buf(session.buffer()), if reading => match read {
                Ok(count) if count > 0 => (),
                _ => session.on_end(started.elapsed()),
            },
            wrote = writer.write(&output), if !output.is_empty() => match wrote {
                Ok(count) => output.advance(count),
                Err(_) => output = Bytes::new(),
            },
            changed = may_read.changed() => if changed.is_err() { return },
            () = tokio::time::sleep_until(due.unwrap_or_else(tokio::time::Instant::now)), if due.is_some() => session.on_time(started.elapsed()),
        }
    }
}
