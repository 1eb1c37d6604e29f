//! A viewer that looks at the mark in each picture.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use moorline_rtsp::auth::Credentials;
use moorline_rtsp::client::{ClientConfig, ClientError, ClientEvent, ClientSession};
use moorline_rtsp::rtp::RtpHeader;
use moorline_simcam::video::Stamp;
use moorline_testkit::patience;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::SOON;
use super::world::World;

enum Seen {
    Packet {
        header: RtpHeader,
        stamp: Option<u32>,
        begins: bool,
    },
    Closed(Result<(), ClientError>),
}

/// How packets are numbered.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Numbering {
    pub(super) ssrc: u32,
    sequence: Option<u16>,
    pub(super) lost: u32,
}

pub(super) struct Viewer {
    seen: mpsc::Receiver<Seen>,
    numbering: Numbering,
}

impl Viewer {
    pub(super) async fn open(address: SocketAddr, path: &str, login: &str, password: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("the door is open");
        let mut config = ClientConfig::new(address.to_string(), vec![format!("/{path}")], [7; 16]);
        config.request_timeout = Duration::from_secs(40);
        config.credentials = Some(Credentials {
            user: login.to_owned(),
            password: password.to_owned(),
        });
        let (sender, seen) = mpsc::channel(100_000);
        tokio::spawn(run(stream, config, sender));
        Self {
            seen,
            numbering: Numbering::default(),
        }
    }

    #[track_caller]
    fn next(&mut self) -> impl Future<Output = Seen> + '_ {
        let caller = std::panic::Location::caller();
        async move {
            match tokio::time::timeout(patience(SOON), self.seen.recv()).await {
                Ok(Some(seen)) => seen,
                Ok(None) => panic!("{caller}: the viewer has ended"),
                Err(_) => panic!("{caller}: nothing is seen"),
            }
        }
    }

    /// Whose the next picture is, by the mark in it.
    #[track_caller]
    pub(super) fn picture(&mut self) -> impl Future<Output = u32> + '_ {
        let caller = std::panic::Location::caller();
        async move {
            let mut began = false;
            loop {
                match self.next().await {
                    Seen::Packet {
                        header,
                        stamp,
                        begins,
                    } => {
                        self.number(&header);
                        began |= begins;
                        if let Some(camera) = stamp.filter(|_| began) {
                            return camera;
                        }
                    }
                    Seen::Closed(end) => panic!("{caller}: the stream ended: {end:?}"),
                }
            }
        }
    }

    fn number(&mut self, header: &RtpHeader) {
        let numbering = &mut self.numbering;
        if let Some(last) = numbering.sequence {
            numbering.lost += u32::from(header.sequence.wrapping_sub(last.wrapping_add(1)));
        }
        numbering.sequence = Some(header.sequence);
        numbering.ssrc = header.ssrc;
    }

    pub(super) fn numbering(&self) -> Numbering {
        self.numbering
    }

    /// Waits until the connection is closed.
    pub(super) async fn ends(&mut self) {
        while !matches!(self.next().await, Seen::Closed(_)) {}
    }

    /// The status with which it was refused.
    pub(super) async fn refusal(&mut self) -> u16 {
        match self.next().await {
            Seen::Closed(Err(ClientError::Unauthorized(_))) => 401,
            Seen::Closed(Err(ClientError::NotFound { .. })) => 404,
            Seen::Closed(Err(ClientError::Status { status, .. })) => status,
            Seen::Closed(end) => panic!("it was not refused: {end:?}"),
            Seen::Packet { .. } => panic!("it was let in"),
        }
    }
}

/// What a user of the world gets for a path that they may not see.
pub(super) async fn refused_with(world: &World, path: &str, login: &str) -> u16 {
    let password = world.stream_password(login);
    let mut viewer = Viewer::open(world.rtsp, path, login, &password).await;
    viewer.refusal().await
}

async fn run(mut stream: TcpStream, config: ClientConfig, seen: mpsc::Sender<Seen>) {
    let (mut reader, mut writer) = stream.split();
    let started = Instant::now();
    let mut session = ClientSession::new(config, Duration::ZERO);
    let mut output = Bytes::new();
    loop {
        while let Some(event) = session.poll(started.elapsed()) {
            let told = match event {
                ClientEvent::Packet {
                    track: 0,
                    packet,
                    marks,
                } => {
                    let Some(header) = RtpHeader::parse(&packet) else {
                        continue;
                    };
                    let stamp = Stamp::from_nal(header.payload(&packet)).map(|stamp| stamp.camera);
                    Seen::Packet {
                        header,
                        stamp,
                        begins: marks.au_start,
                    }
                }
                ClientEvent::Closed(end) => {
                    let _ = seen.send(Seen::Closed(end)).await;
                    return;
                }
                _ => continue,
            };
            if seen.send(told).await.is_err() {
                return;
            }
        }
        if output.is_empty() {
            output = session.take_output();
        }
        let due = session.next_deadline().map(|due| started + due);
        session.buffer().reserve(64 * 1024);
        tokio::select! {
            // A viewer that nobody looks at any more hangs up.
            () = seen.closed() => return,
            read = reader.read_buf(session.buffer()) => match read {
                Ok(1..) => {}
                _ => session.on_end(started.elapsed()),
            },
            wrote = writer.write(&output), if !output.is_empty() => match wrote {
                Ok(count) => output.advance(count),
                Err(_) => output = Bytes::new(),
            },
            () = tokio::time::sleep_until(due.unwrap_or(started).into()), if due.is_some() => session.on_time(started.elapsed()),
        }
    }
}
