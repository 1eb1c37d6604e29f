//! What the camera answers, rightly or as its faults want it. No I/O.

use bytes::BytesMut;
use moorline_rtsp::auth::{Ha1, ServerAuth};
use moorline_rtsp::header::{LowerTransport, RtpInfo, TransportSpec};
use moorline_rtsp::message::{Method, Request, Response};
use moorline_rtsp::url::{Target, append};

use super::player::First;
use super::rtp::Channels;
use super::{Audio, Shared, Stream, sdp};
use crate::fault::Fault;

const PUBLIC: &str = "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, TEARDOWN, GET_PARAMETER";
const REALM: &str = "Simulated camera";

/// What follows from a request, besides the answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    Answered,
    /// Media is to begin; the reply is [`Conversation::play`]'s.
    Play,
    /// Media ends.
    Stop,
}

/// What was said on one connection.
pub(super) struct Conversation {
    auth: ServerAuth,
    session: String,
    described: Option<usize>,
    /// Channels of video and audio.
    pub(super) tracks: [Option<Channels>; 2],
    base: String,
}

impl Conversation {
    pub(super) fn new(shared: &Shared) -> Self {
        Self {
            auth: new_auth(shared),
            session: token(),
            described: None,
            tracks: [None; 2],
            base: String::new(),
        }
    }

    /// The stream that is set up.
    pub(super) fn stream<'a>(&self, shared: &'a Shared) -> Option<&'a Stream> {
        shared.config.streams.get(self.described?)
    }

    /// Asks for the login again.
    pub(super) fn renew_nonce(&mut self, shared: &Shared) {
        self.auth = new_auth(shared);
    }

    /// Answers a request into `out`.
    pub(super) fn answer(
        &mut self,
        shared: &Shared,
        request: &Request,
        out: &mut BytesMut,
    ) -> Step {
        let faults = &shared.faults;
        if faults.is_on(Fault::Unanswered) {
            return Step::Answered;
        }
        if faults.is_on(Fault::Garbage) {
            out.extend_from_slice(b"HTTP/0.9 maybe\0\xff\r\n\r\n<html>not a camera</html>\r\n\r\n");
            return Step::Answered;
        }
        if request.method != Method::Options && !self.may(shared, request) {
            if faults.is_on(Fault::Unauthorized) {
                self.renew_nonce(shared);
            }
            let mut response = Response::new(401);
            for challenge in self.auth.challenges() {
                response.headers.push("WWW-Authenticate", &challenge);
            }
            self.respond(request, response, out);
            return Step::Answered;
        }
        let response = match &request.method {
            Method::Options => Response::new(200).header("Public", PUBLIC),
            Method::GetParameter => Response::new(200),
            Method::Describe => self.describe(shared, request),
            Method::Setup => self.set_up(shared, request),
            Method::Play if self.tracks.iter().any(Option::is_some) => return Step::Play,
            Method::Play | Method::Pause | Method::Teardown if self.tracks == [None; 2] => {
                Response::new(454)
            }
            Method::Pause | Method::Teardown => {
                self.respond(request, Response::new(200), out);
                if request.method == Method::Teardown {
                    self.tracks = [None; 2];
                }
                return Step::Stop;
            }
            // As Tapo answers what it does not know.
            Method::SetParameter => Response::new(400),
            _ => Response::new(501),
        };
        self.respond(request, response, out);
        Step::Answered
    }

    fn may(&self, shared: &Shared, request: &Request) -> bool {
        if shared.faults.is_on(Fault::Unauthorized) {
            return false;
        }
        let Some(login) = &shared.config.login else {
            return true;
        };
        let sent = request.headers.get("Authorization");
        let attempt = sent.and_then(|value| {
            self.auth
                .attempt(value, request.method.as_str(), &request.uri)
        });
        attempt.is_some_and(|attempt| {
            attempt.user() == login.user
                && attempt.verify(&Ha1::new(&login.user, REALM, &login.password))
        })
    }

    fn describe(&mut self, shared: &Shared, request: &Request) -> Response {
        let faults = &shared.faults;
        let target = Target::parse(&request.uri);
        let moved = target.path.strip_prefix("moved/");
        if moved.is_none() && faults.is_on(Fault::Redirect) {
            let host = target.authority.as_deref().unwrap_or("localhost");
            return Response::new(302)
                .header("Location", format!("rtsp://{host}/moved/{}", target.path));
        }
        let path = moved.unwrap_or(&target.path);
        let found = shared
            .config
            .streams
            .iter()
            .position(|stream| stream.path == path);
        let Some((index, stream)) =
            found.and_then(|index| Some((index, shared.config.streams.get(index)?)))
        else {
            return Response::new(404);
        };
        if faults.is_on(Fault::NotFound) {
            return Response::new(404);
        }
        self.described = Some(index);
        self.base = target.base("rtsp://localhost");
        let base = format!("{}/", self.base);
        let mut response = Response::new(200).header("Content-Type", "application/sdp");
        if faults.is_on(Fault::BaseAsLocation) {
            response.headers.push("Content-Location", &base);
        } else if faults.is_on(Fault::BaseWithoutScheme) {
            response
                .headers
                .push("Content-Base", base.trim_start_matches("rtsp://"));
        } else if faults.is_on(Fault::BaseWithoutSlash) {
            response.headers.push("Content-Base", &self.base);
        } else if !faults.is_on(Fault::BaseMissing) {
            response.headers.push("Content-Base", &base);
        }
        let audio = audio_of(shared, stream);
        response.body = sdp::describe(&*stream.film, audio, !faults.is_on(Fault::NoControl)).into();
        response
    }

    fn set_up(&mut self, shared: &Shared, request: &Request) -> Response {
        let target = Target::parse(&request.uri);
        if self.described.is_none() {
            let path = target.path.strip_prefix("moved/").unwrap_or(&target.path);
            self.described = shared
                .config
                .streams
                .iter()
                .position(|stream| stream.path == path);
            self.base = target.base("rtsp://localhost");
        }
        let Some(stream) = self.stream(shared) else {
            return Response::new(404);
        };
        // Without a track in the URL (an SDP without controls) they come in their order.
        let next = self.tracks.iter().position(Option::is_none);
        let track = target.track.or(next);
        let exists =
            |track: &usize| *track == 0 || *track == 1 && audio_of(shared, stream).is_some();
        let Some(track) = track.filter(exists) else {
            return Response::new(404);
        };
        let offers = request
            .headers
            .get("Transport")
            .map(TransportSpec::parse_list)
            .unwrap_or_default();
        let tcp = |offer: &&TransportSpec| {
            offer.avp && offer.lower == LowerTransport::Tcp && !offer.record
        };
        let Some(offer) = offers.iter().find(tcp) else {
            return Response::new(461);
        };
        let own = (2 * track as u8, 2 * track as u8 + 1);
        let (rtp, rtcp) = match offer
            .interleaved
            .filter(|_| !shared.faults.is_on(Fault::OtherChannels))
        {
            Some(wanted) => wanted,
            None if shared.faults.is_on(Fault::OtherChannels) => (own.0 + 10, own.1 + 10),
            None => own,
        };
        if let Some(place) = self.tracks.get_mut(track) {
            *place = Some(Channels { rtp, rtcp });
        }
        if shared.faults.is_on(Fault::SessionChanges) {
            self.session = token();
        }
        Response::new(200).header(
            "Transport",
            TransportSpec::interleaved(rtp, rtcp).to_string(),
        )
    }

    /// The answer to PLAY.
    pub(super) fn play(
        &self,
        shared: &Shared,
        request: &Request,
        first: &[First],
        out: &mut BytesMut,
    ) {
        let mut response = Response::new(200).header("Range", "npt=now-");
        if !shared.faults.is_on(Fault::NoRtpInfo) {
            let zero = shared.faults.is_on(Fault::ZeroRtpInfo);
            let info = |first: &First| RtpInfo {
                url: append(&self.base, &format!("trackID={}", first.track)),
                sequence: Some(if zero { 0 } else { first.sequence }),
                rtptime: Some(if zero { 0 } else { first.timestamp }),
            };
            let infos: Vec<RtpInfo> = first.iter().map(info).collect();
            response
                .headers
                .push("RTP-Info", &RtpInfo::print_list(&infos));
        }
        self.respond(request, response, out);
    }

    fn respond(&self, request: &Request, response: Response, out: &mut BytesMut) {
        let mut full = Response::new(response.status);
        full.body = response.body;
        if let Some(cseq) = request.headers.get("CSeq") {
            full.headers.push("CSeq", cseq);
        }
        if self.tracks != [None; 2] {
            full.headers
                .push("Session", &format!("{};timeout=60", self.session));
        }
        for (name, value) in response.headers.iter() {
            full.headers.push(name, value);
        }
        full.encode(out);
    }
}

/// What is heard, as the faults want it.
pub(super) fn audio_of(shared: &Shared, stream: &Stream) -> Option<Audio> {
    if shared.faults.is_on(Fault::Mp3Audio) {
        Some(Audio::Mp3)
    } else {
        stream.audio
    }
}

fn new_auth(shared: &Shared) -> ServerAuth {
    let basic = shared
        .config
        .login
        .as_ref()
        .is_some_and(|login| login.basic);
    ServerAuth::new(REALM, token(), basic)
}

/// 16 hexadecimal digits.
fn token() -> String {
    format!("{:016x}", rand::random::<u64>())
}
