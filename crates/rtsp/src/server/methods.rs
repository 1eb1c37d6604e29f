//! What each method does in each state.

use super::config::{Description, PlayInfo, ServerEvent, SetUpTrack};
use super::session::{Described, ServerSession, State, Waiting};
use crate::header::{LowerTransport, RtpInfo, SessionHeader, TransportSpec};
use crate::message::{Method, Request, Response};
use crate::url::{Target, append};

const PUBLIC: &str =
    "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, TEARDOWN, GET_PARAMETER, SET_PARAMETER";

fn requirements(request: &Request) -> impl Iterator<Item = &str> {
    request
        .headers
        .get_all("Require")
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|tag| !tag.is_empty())
}

impl ServerSession {
    pub(super) fn request(&mut self, request: Request) {
        // ONVIF's back channel too: the SDP leaves it out, and who requires it asks again without (ONVIF Streaming Specification §5.3).
        let unsupported: Vec<&str> = requirements(&request).take(8).collect();
        if !unsupported.is_empty() {
            let response = Response::new(551).header("Unsupported", unsupported.join(", "));
            self.respond(&request, response);
            return;
        }
        match &request.method {
            Method::Options => self.respond(&request, Response::new(200).header("Public", PUBLIC)),
            Method::GetParameter | Method::SetParameter => {
                self.respond(&request, Response::new(200))
            }
            Method::Setup | Method::Play if self.is_foreign(&request) => {
                self.respond(&request, Response::new(454));
            }
            Method::Describe | Method::Setup | Method::Play => self.authenticate(request),
            Method::Pause | Method::Teardown
                if self.state == State::Init || self.is_foreign(&request) =>
            {
                self.respond(&request, Response::new(454));
            }
            Method::Pause => {
                if self.state == State::Playing {
                    self.state = State::Ready;
                    self.events.push_back(ServerEvent::Pause);
                }
                self.respond(&request, Response::new(200));
            }
            Method::Teardown => {
                self.respond(&request, Response::new(200));
                self.state = State::Init;
                self.tracks.clear();
                self.events.push_back(ServerEvent::Teardown);
            }
            Method::Announce | Method::Record | Method::Redirect => {
                self.respond(&request, Response::new(405).header("Allow", PUBLIC));
            }
            Method::Other(_) => self.respond(&request, Response::new(501).header("Public", PUBLIC)),
        }
    }

    /// Whether the request names an RTSP session that is not ours. No `Session` at all is forgiven.
    fn is_foreign(&self, request: &Request) -> bool {
        let named = request
            .headers
            .get("Session")
            .and_then(SessionHeader::parse);
        named.is_some_and(|session| {
            self.state == State::Init || session.id != self.config.session_id
        })
    }

    pub(super) fn authenticated(&mut self, request: Request) {
        let target = Target::parse(&request.uri);
        match (&request.method, self.state) {
            (Method::Describe, State::Init | State::Ready) => self.ask_description(request, target),
            (Method::Setup, State::Init | State::Ready) => self.setup(request, target),
            (Method::Play, State::Ready) if self.is_described(&target) => {
                self.events.push_back(ServerEvent::Play {
                    tracks: self.tracks.clone(),
                });
                self.waiting = Some(Waiting::Play(request));
            }
            (Method::Play, State::Playing) if self.is_described(&target) => {
                // A repeated PLAY is a seek on recordings; live goes on.
                self.respond(&request, Response::new(200).header("Range", "npt=now-"));
            }
            (Method::Play, State::Ready | State::Playing) => {
                self.respond(&request, Response::new(404))
            }
            _ => self.respond(&request, Response::new(455)),
        }
    }

    /// Aggregate or per track, with or without a slash at the end, or without any path.
    fn is_described(&self, target: &Target) -> bool {
        target.path.is_empty()
            || self
                .described
                .as_ref()
                .is_some_and(|described| described.path == target.path)
    }

    pub(super) fn described(
        &mut self,
        request: &Request,
        target: &Target,
        description: Description,
    ) {
        let base = target.base(&self.config.fallback_base);
        let Description { sdp, tracks } = description;
        if self.state == State::Init || self.is_described(target) {
            self.described = Some(Described {
                path: target.path.clone(),
                base: base.clone(),
                tracks,
            });
        }
        if request.method == Method::Setup {
            self.set_up(request, target);
            return;
        }
        let mut response = Response::new(200)
            .header("Content-Type", "application/sdp")
            .header("Content-Base", format!("{}/", base.trim_end_matches('/')));
        response.body = sdp.into();
        self.respond(request, response);
    }

    fn setup(&mut self, request: Request, target: Target) {
        // Refused before anything is opened or kept: clients try UDP first, some with port 0.
        let known = self
            .described
            .as_ref()
            .is_some_and(|described| described.path == target.path);
        if choose_transport(&request).is_none() {
            self.respond(&request, Response::new(461));
        } else if known {
            self.set_up(&request, &target);
        } else if self.state == State::Init {
            self.ask_description(request, target);
        } else {
            self.respond(&request, Response::new(404));
        }
    }

    fn set_up(&mut self, request: &Request, target: &Target) {
        let Some(transport) = choose_transport(request) else {
            self.respond(request, Response::new(461));
            return;
        };
        let tracks = self
            .described
            .as_ref()
            .map(|described| described.tracks.as_slice())
            .unwrap_or_default();
        let track = target.track.or((tracks.len() == 1).then_some(0));
        let Some((track, ssrc)) = track.and_then(|track| Some((track, *tracks.get(track)?))) else {
            self.respond(request, Response::new(404));
            return;
        };
        self.tracks.retain(|other| other.track != track);
        let (rtp, rtcp) = self.channels(transport.interleaved);
        self.tracks.push(SetUpTrack { track, rtp, rtcp });
        if self.state == State::Init {
            self.state = State::Ready;
        }
        let mut reply = TransportSpec::interleaved(rtp, rtcp);
        reply.ssrc = ssrc;
        self.respond(
            request,
            Response::new(200).header("Transport", format!("{reply};mode=\"PLAY\"")),
        );
    }

    /// The pair that was asked for, whatever it is, unless it is taken.
    fn channels(&self, wanted: Option<(u8, u8)>) -> (u8, u8) {
        let free = |rtp: u8, rtcp: u8| {
            let taken = |channel| {
                self.tracks
                    .iter()
                    .any(|track| track.rtp == channel || track.rtcp == channel)
            };
            rtp != rtcp && !taken(rtp) && !taken(rtcp)
        };
        let first_free = || {
            (0..=126)
                .map(|n| (2 * n, 2 * n + 1))
                .find(|(rtp, rtcp)| free(*rtp, *rtcp))
        };
        // At most 8 tracks hold at most 16 channels, so one pair is free.
        wanted
            .filter(|(rtp, rtcp)| free(*rtp, *rtcp))
            .or_else(first_free)
            .unwrap_or((254, 255))
    }

    pub(super) fn played(&mut self, request: &Request, infos: &[PlayInfo]) {
        let base = self
            .described
            .as_ref()
            .map(|described| described.base.clone())
            .unwrap_or_default();
        let infos: Vec<RtpInfo> = infos
            .iter()
            .map(|info| RtpInfo {
                url: append(&base, &format!("trackID={}", info.track)),
                sequence: Some(info.sequence),
                rtptime: Some(info.rtptime),
            })
            .collect();
        let mut response = Response::new(200);
        response.headers.push("Range", "npt=now-");
        if !infos.is_empty() {
            response
                .headers
                .push("RTP-Info", &RtpInfo::print_list(&infos));
        }
        self.state = State::Playing;
        self.respond(request, response);
    }

    /// Completes and writes a response.
    pub(super) fn respond(&mut self, request: &Request, response: Response) {
        let mut full = Response::new(response.status);
        full.body = response.body;
        if let Some(cseq) = request.headers.get("CSeq") {
            full.headers.push("CSeq", cseq);
        }
        full.headers.push("Server", &self.config.server);
        if matches!(self.state, State::Ready | State::Playing) {
            let session = SessionHeader {
                id: self.config.session_id.clone(),
                timeout: Some(self.config.timeout),
            };
            full.headers.push("Session", &session.to_string());
        }
        for (name, value) in response.headers.iter() {
            full.headers.push(name, value);
        }
        full.encode(&mut self.output);
    }

    /// An error without a request to answer.
    pub(super) fn respond_plain(&mut self, status: u16) {
        let response = Response::new(status)
            .header("Server", &self.config.server)
            .header("Connection", "close");
        response.encode(&mut self.output);
    }
}

/// The first alternative that we serve.
fn choose_transport(request: &Request) -> Option<TransportSpec> {
    let list = request
        .headers
        .get_all("Transport")
        .flat_map(TransportSpec::parse_list);
    list.into_iter()
        .find(|spec| spec.avp && spec.lower == LowerTransport::Tcp && !spec.record)
}
