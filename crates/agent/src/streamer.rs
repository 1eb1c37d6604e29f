//! Asking the streamer as an RTSP client: OPTIONS whether it lives, DESCRIBE what it has, a few seconds of PLAY whether pictures come.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use moorline_control::{Source, SourceName, UrlPath};

use crate::head::{Head, split};
use crate::local::Login;
use crate::login::{Challenge, authorized};
use crate::moment::Moments;
use crate::relay::{Cutter, Piece};
use crate::sdp::{Media, media};
use crate::words::without_slash;

/// The streamer is on this camera.
const WITHIN: Duration = Duration::from_secs(5);

/// A connection to the streamer.
#[derive(Debug)]
pub struct Caller {
    socket: TcpStream,
    cutter: Cutter,
    /// What was read behind the last answer.
    ready: Vec<Piece>,
    login: Option<Login>,
    challenge: Option<Challenge>,
    cseq: u32,
}

impl Caller {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn connect(address: SocketAddr, login: Option<Login>) -> io::Result<Self> {
        let socket = TcpStream::connect_timeout(&address, WITHIN)?;
        socket.set_read_timeout(Some(WITHIN))?;
        socket.set_write_timeout(Some(WITHIN))?;
        Ok(Caller {
            socket,
            cutter: Cutter::default(),
            ready: Vec::new(),
            login,
            challenge: None,
            cseq: 0,
        })
    }

    /// One request and its answer; a 401 is answered with the login, once.
    ///
    /// # Errors
    /// No answer within 5 s, or none that is RTSP.
    pub fn ask(&mut self, method: &str, url: &str, headers: &str) -> io::Result<Vec<u8>> {
        let answer = self.ask_once(method, url, headers)?;
        let head = Head::of(&answer);
        if head.status() == Some(401)
            && self.login.is_some()
            && let Some(challenge) = Challenge::of(&head)
        {
            self.challenge = Some(challenge);
            return self.ask_once(method, url, headers);
        }
        Ok(answer)
    }

    fn ask_once(&mut self, method: &str, url: &str, headers: &str) -> io::Result<Vec<u8>> {
        self.cseq += 1;
        let cseq = self.cseq;
        let request = format!(
            "{method} {url} RTSP/1.0\r\nCSeq: {cseq}\r\nUser-Agent: moorline-agent\r\n{headers}\r\n"
        );
        let mut request = request.into_bytes();
        if let (Some(login), Some(challenge)) = (&self.login, &mut self.challenge) {
            request = authorized(&request, &challenge.answer(login, method, url));
        }
        self.socket.write_all(&request)?;
        let begin = Moments::begin();
        while begin.now() < WITHIN {
            match self.next()? {
                Piece::Text(message) if Head::of(&message).status().is_some() => {
                    return Ok(message);
                }
                Piece::Raw(_) => return Err(io::ErrorKind::InvalidData.into()),
                _ => {}
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    /// The next message or frame.
    fn next(&mut self) -> io::Result<Piece> {
        let mut room = [0; 4096];
        loop {
            if !self.ready.is_empty() {
                return Ok(self.ready.remove(0));
            }
            let count = self.socket.read(&mut room)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let bytes = room.get(..count).unwrap_or_default();
            self.cutter.push(bytes, |piece| self.ready.push(piece));
        }
    }
}

fn url(address: SocketAddr, path: &str) -> String {
    format!("rtsp://{address}{path}")
}

/// Whether the streamer lives: any answer of RTSP will do, also one that wants a login. A process that runs and does not answer is dead.
#[must_use]
pub fn answers(address: SocketAddr, path: &str) -> bool {
    let asked = Caller::connect(address, None)
        .and_then(|mut caller| caller.ask("OPTIONS", &url(address, path), ""));
    asked.is_ok()
}

/// Describes a path.
///
/// # Errors
/// No answer, or another status than 200: it stands in the error.
pub fn describe(address: SocketAddr, path: &str, login: Option<&Login>) -> io::Result<Vec<Media>> {
    let mut caller = Caller::connect(address, login.cloned())?;
    let answer = caller.ask(
        "DESCRIBE",
        &url(address, path),
        "Accept: application/sdp\r\n",
    )?;
    match Head::of(&answer).status() {
        Some(200) => Ok(media(split(&answer).1)),
        status => {
            let status = status.unwrap_or_default();
            Err(io::Error::other(format!("DESCRIBE was answered {status}")))
        }
    }
}

/// A path as the line SOURCE tells it; `None` when it has no video.
#[must_use]
pub fn source(name: SourceName, path: &UrlPath, media: &[Media]) -> Option<Source> {
    let video = media.iter().find(|media| media.video)?;
    Some(Source {
        name,
        path: path.clone(),
        codec: video.codec,
        size: video.size,
        fps: video.fps,
        kbps: video.kbps,
    })
}

/// Plays the first video of a path and counts its packets for at most 5 s, or until there are `enough`.
///
/// # Errors
/// The streamer does not play it.
pub fn pictures(
    address: SocketAddr,
    path: &str,
    login: Option<&Login>,
    enough: u32,
) -> io::Result<u32> {
    let url = url(address, path);
    let mut caller = Caller::connect(address, login.cloned())?;
    let answer = caller.ask("DESCRIBE", &url, "Accept: application/sdp\r\n")?;
    let base = Head::of(&answer)
        .value("Content-Base")
        .unwrap_or_else(|| format!("{url}/"));
    let all = media(split(&answer).1);
    let video = all.iter().find(|media| media.video);
    let video = video.ok_or_else(|| io::Error::other("no video is described"))?;
    let track = match video.control.as_str() {
        "" | "*" => url.clone(),
        absolute if absolute.starts_with("rtsp://") => absolute.to_owned(),
        relative => format!("{}/{relative}", without_slash(&base)),
    };
    let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
    let answer = caller.ask("SETUP", &track, transport)?;
    let session = Head::of(&answer).value("Session");
    let session = session.ok_or_else(|| io::Error::other("SETUP was refused"))?;
    let session = session.split(';').next().unwrap_or_default().to_owned();
    let header = format!("Session: {session}\r\n");
    let answer = caller.ask("PLAY", &base, &header)?;
    if Head::of(&answer).status() != Some(200) {
        return Err(io::Error::other("PLAY was refused"));
    }
    let (begin, mut packets) = (Moments::begin(), 0);
    while packets < enough && begin.now() < WITHIN {
        match caller.next() {
            Ok(Piece::Frame { channel: 0, .. }) => packets += 1,
            Ok(_) => {}
            Err(_) => break,
        }
    }
    let _ = caller
        .socket
        .write_all(format!("TEARDOWN {base} RTSP/1.0\r\nCSeq: 99\r\n{header}\r\n").as_bytes());
    Ok(packets)
}
