//! The RTSP talk of one relayed connection: which channel carries what, the answer 461 to UDP, and the streamer's 401.
//!
//! Requests and answers pass unchanged, but: SETUP for UDP is answered here (only interleaved passes a tunnel), and with a login in `local.conf`
//! a 401 is answered here and never passed on, so that no byte of the login is in the tunnel.

use std::time::Duration;

use moorline_control::Codec;

use super::packet::packet;
use super::queue::Kind;
use crate::head::{Head, parameter, split};
use crate::local::Login;
use crate::login::{Challenge, authorized};
use crate::sdp::{Media, media};
use crate::words::{number, place_of, without_slash};

/// Where bytes go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Out {
    /// To the streamer.
    Streamer(Vec<u8>),
    /// To the server.
    Tunnel(Vec<u8>),
}

#[derive(Debug)]
struct Asked {
    cseq: String,
    method: String,
    url: String,
    /// Kept for a second try, when there is a login.
    request: Vec<u8>,
    tried: bool,
}

/// Requests without an answer that are remembered; a client that pipelines more gets its answers, and nothing is learned of them.
const MAX_ASKED: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Video(Option<Codec>),
    Audio,
}

/// One connection's talk.
#[derive(Debug, Default)]
pub(crate) struct Talk {
    login: Option<Login>,
    challenge: Option<Challenge>,
    asked: Vec<Asked>,
    media: Vec<Media>,
    channels: Vec<(u8, Use)>,
}

impl Talk {
    /// A talk that answers 401 with this login.
    #[must_use]
    pub(crate) fn new(login: Option<Login>) -> Self {
        Talk {
            login,
            ..Talk::default()
        }
    }

    /// The server asks.
    pub(crate) fn request(&mut self, request: Vec<u8>) -> Out {
        let head = Head::of(&request);
        let (Some(method), Some(url)) = (head.word(0), head.word(1)) else {
            return Out::Streamer(request);
        };
        let cseq = head.value("CSeq").unwrap_or_default();
        let transport = head.value("Transport").unwrap_or_default();
        let says = |part| place_of(&transport, part).is_some();
        if method == "SETUP" && !says("TCP") && !says("interleaved") {
            let answer = format!("RTSP/1.0 461 Unsupported Transport\r\nCSeq: {cseq}\r\n\r\n");
            return Out::Tunnel(answer.into_bytes());
        }
        let (method, url) = (method.to_owned(), url.to_owned());
        let sent = self.authorize(&request, &method, &url);
        if self.asked.len() == MAX_ASKED {
            self.asked.remove(0);
        }
        self.asked.push(Asked {
            cseq,
            method,
            url,
            request: if self.login.is_some() {
                request.clone()
            } else {
                Vec::new()
            },
            tried: false,
        });
        Out::Streamer(sent.unwrap_or(request))
    }

    fn authorize(&mut self, request: &[u8], method: &str, url: &str) -> Option<Vec<u8>> {
        let login = self.login.as_ref()?;
        let answer = self.challenge.as_mut()?.answer(login, method, url);
        Some(authorized(request, &answer))
    }

    /// The streamer answers (or asks by itself, which passes).
    pub(crate) fn answer(&mut self, message: Vec<u8>) -> Out {
        let head = Head::of(&message);
        let cseq = head.value("CSeq").unwrap_or_default();
        let (Some(status), Some(at)) = (
            head.status(),
            self.asked.iter().position(|asked| asked.cseq == cseq),
        ) else {
            return Out::Tunnel(message);
        };
        let mut asked = self.asked.remove(at);
        if status == 401
            && !asked.tried
            && self.login.is_some()
            && let Some(challenge) = Challenge::of(&head)
        {
            self.challenge = Some(challenge);
            asked.tried = true;
            if let Some(again) = self.authorize(&asked.request, &asked.method, &asked.url) {
                self.asked.push(asked);
                return Out::Streamer(again);
            }
        } else if status == 200 && asked.method == "DESCRIBE" {
            self.media = media(split(&message).1);
        } else if status == 200 && asked.method == "SETUP" {
            let transport = head.value("Transport").unwrap_or_default();
            self.learn(&asked.url, &transport);
        }
        Out::Tunnel(message)
    }

    /// A SETUP was granted: its channel carries the section whose control stands in its URL, else the next one in order.
    fn learn(&mut self, url: &str, transport: &str) {
        let pair = parameter(transport, "interleaved");
        let first = pair.and_then(|pair| number::<u8>(pair.split('-').next()?));
        let Some(channel) = first else {
            return;
        };
        let by_control = self.media.iter().find(|media| {
            let control = without_slash(&media.control);
            !control.is_empty() && without_slash(url).ends_with(control)
        });
        let media = by_control.or_else(|| self.media.get(self.channels.len()));
        let what = match media {
            Some(media) if media.video => Use::Video(media.codec),
            Some(_) => Use::Audio,
            // Nobody described it: dropped by whole pictures, each of which may be the first.
            None => Use::Video(None),
        };
        self.channels.retain(|(known, _)| *known != channel);
        self.channels.push((channel, what));
    }

    /// What a frame is, for dropping. A channel of which nothing is known (RTCP lies beside RTP) is kept.
    #[must_use]
    pub(crate) fn kind(&self, channel: u8, frame: &[u8], now: Duration) -> Kind {
        let known = self.channels.iter().find(|(known, _)| *known == channel);
        match known {
            None => Kind::Kept,
            Some((_, Use::Audio)) => Kind::Audio(now),
            Some((_, Use::Video(codec))) => match packet(frame, *codec) {
                None => Kind::Kept,
                Some(packet) => Kind::Video {
                    channel,
                    timestamp: packet.timestamp,
                    random_access: packet.random_access,
                    prefix: packet.prefix,
                },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(out: Out) -> (bool, String) {
        match out {
            Out::Streamer(bytes) => (true, String::from_utf8(bytes).unwrap()),
            Out::Tunnel(bytes) => (false, String::from_utf8(bytes).unwrap()),
        }
    }

    const SDP: &str = "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:track1\r\nm=audio 0 RTP/AVP 0\r\na=control:track2\r\n";

    #[test]
    fn channels_are_learned_from_what_was_granted() {
        let mut talk = Talk::default();
        talk.request(b"DESCRIBE rtsp://a/m RTSP/1.0\r\nCSeq: 1\r\n\r\n".to_vec());
        talk.answer(
            format!(
                "RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: {}\r\n\r\n{SDP}",
                SDP.len()
            )
            .into_bytes(),
        );
        for (cseq, track, pair) in [(2, 2, "0-1"), (3, 1, "2-3")] {
            talk.request(format!("SETUP rtsp://a/m/track{track} RTSP/1.0\r\nCSeq: {cseq}\r\nTransport: RTP/AVP/TCP;interleaved={pair}\r\n\r\n").into_bytes());
            talk.answer(format!("RTSP/1.0 200 OK\r\nCSeq: {cseq}\r\nTransport: RTP/AVP/TCP;unicast;interleaved={pair}\r\n\r\n").into_bytes());
        }
        let now = Duration::from_secs(9);
        let idr = [
            &b"$\x02\x00\x0d\x80\x60\x00\x01\x00\x00\x00\x05\x00\x00\x00\x00"[..],
            &[0x65],
        ]
        .concat();
        let video = Kind::Video {
            channel: 2,
            timestamp: 5,
            random_access: true,
            prefix: false,
        };
        assert_eq!(talk.kind(2, &idr, now), video);
        assert_eq!(talk.kind(0, &idr, now), Kind::Audio(now));
        assert_eq!(talk.kind(3, &idr, now), Kind::Kept, "RTCP");
    }

    #[test]
    fn udp_is_answered_here() {
        let mut talk = Talk::default();
        let request = b"SETUP rtsp://a/m RTSP/1.0\r\nCSeq: 7\r\nTransport: RTP/AVP;unicast;client_port=5000-5001\r\n\r\n";
        let (to_streamer, answer) = text(talk.request(request.to_vec()));
        assert!(!to_streamer);
        assert_eq!(
            answer,
            "RTSP/1.0 461 Unsupported Transport\r\nCSeq: 7\r\n\r\n"
        );
    }

    #[test]
    fn a_401_is_answered_here_once_and_later_requests_carry_the_answer() {
        let login = Login {
            user: "u".into(),
            password: "secret".into(),
        };
        let mut talk = Talk::new(Some(login));
        let request = |cseq: u32| {
            format!("DESCRIBE rtsp://a/m RTSP/1.0\r\nCSeq: {cseq}\r\n\r\n").into_bytes()
        };
        let refusal = |cseq: u32| {
            format!("RTSP/1.0 401 Unauthorized\r\nCSeq: {cseq}\r\nWWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\"\r\n\r\n").into_bytes()
        };
        assert_eq!(talk.request(request(1)), Out::Streamer(request(1)));
        let (to_streamer, again) = text(talk.answer(refusal(1)));
        assert!(
            to_streamer && again.contains("\r\nAuthorization: Digest username=\"u\""),
            "{again}"
        );
        assert!(again.contains("nc=00000001"));
        let (to_streamer, next) = text(talk.request(request(2)));
        assert!(to_streamer && next.contains("nc=00000002"), "{next}");
        // The login is wrong: the server hears it, and is not asked for it.
        let (to_streamer, told) = text(talk.answer(refusal(1)));
        assert!(!to_streamer && told.starts_with("RTSP/1.0 401"));
    }

    #[test]
    fn without_a_login_a_401_is_the_server_s() {
        let mut talk = Talk::default();
        let request = b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n".to_vec();
        assert_eq!(talk.request(request.clone()), Out::Streamer(request));
        let refusal =
            b"RTSP/1.0 401 Unauthorized\r\nCSeq: 1\r\nWWW-Authenticate: Basic realm=x\r\n\r\n"
                .to_vec();
        assert_eq!(talk.answer(refusal.clone()), Out::Tunnel(refusal));
    }
}
