//! What the camera's replies lead to.

use std::time::Duration;

use super::error::ClientError;
use super::media::TrackReader;
use super::session::{ClientEvent, ClientSession, MAX_OUTPUT, Phase, PlayingTrack};
use crate::header::{LowerTransport, RtpInfo, SessionHeader, TransportSpec};
use crate::interleaved::ChannelMap;
use crate::message::{Message, Method, Request, Response};
use crate::sdp::{Direction, Sdp, control};
use crate::url;

/// Challenges that one request answers: the first, and a newer nonce.
const MAX_CHALLENGES: u8 = 2;
/// Redirections of one DESCRIBE.
const MAX_REDIRECTS: u8 = 3;

impl ClientSession {
    pub(super) fn describe_path(&mut self, now: Duration) {
        match self.config.paths.get(self.path_index).cloned() {
            Some(path) => {
                self.tried.push(path.clone());
                let slash = if path.starts_with('/') { "" } else { "/" };
                self.describe(
                    format!("rtsp://{}{slash}{path}", self.config.authority),
                    now,
                );
            }
            None => {
                let tried = std::mem::take(&mut self.tried);
                self.close(Err(ClientError::NotFound { tried }));
            }
        }
    }

    fn describe(&mut self, url: String, now: Duration) {
        self.phase = Phase::Describe;
        self.request_url.clone_from(&url);
        let request = Request::new(Method::Describe, url).header("Accept", "application/sdp");
        self.send(request, now, self.config.request_timeout);
    }

    pub(super) fn message(&mut self, message: Message, now: Duration) {
        match message {
            Message::Request(request) => self.camera_asks(&request),
            Message::Response(response) => self.reply(&response, now),
        }
    }

    /// A request of the camera is answered at once (retina stalls up to 28 s on one).
    fn camera_asks(&mut self, request: &Request) {
        if self.output.len() >= MAX_OUTPUT {
            return;
        }
        let known = matches!(
            request.method,
            Method::Options | Method::GetParameter | Method::SetParameter
        );
        let mut response = Response::new(if known { 200 } else { 501 });
        if let Some(cseq) = request.headers.get("CSeq") {
            response.headers.push("CSeq", cseq);
        }
        if request.method == Method::Options {
            response
                .headers
                .push("Public", "OPTIONS, GET_PARAMETER, SET_PARAMETER");
        }
        response.encode(&mut self.output);
    }

    fn reply(&mut self, response: &Response, now: Duration) {
        if let Some(public) = response.headers.get("Public") {
            self.has_get_parameter = public
                .split(',')
                .any(|m| m.trim().eq_ignore_ascii_case("GET_PARAMETER"));
        }
        let cseq = response.headers.cseq();
        if cseq.is_some() && cseq == self.keepalive_cseq {
            self.keepalive_cseq = None;
            if response.status == 401
                && self
                    .auth
                    .challenge(response.headers.get_all("WWW-Authenticate"))
                    .is_ok()
            {
                self.keepalive(now);
            }
            return;
        }
        // A reply without CSeq, or with a wrong one, still is the reply: only one is awaited. An older number is a late one.
        let Some(pending) = self
            .pending
            .take_if(|pending| cseq.is_none_or(|cseq| cseq >= pending.cseq))
        else {
            return;
        };
        match response.status {
            401 => self.challenged(pending, response, now),
            200..=299 => self.granted(response, now),
            status => self.refused(&pending.request, status, response, now),
        }
    }

    fn challenged(
        &mut self,
        mut pending: super::session::Pending,
        response: &Response,
        now: Duration,
    ) {
        if self.phase == Phase::Teardown {
            self.close(Ok(()));
            return;
        }
        let answer = self
            .auth
            .challenge(response.headers.get_all("WWW-Authenticate"));
        pending.challenges += 1;
        match answer {
            Ok(()) if pending.challenges <= MAX_CHALLENGES => {
                pending.cseq = self.write(&pending.request);
                pending.deadline = now + self.config.request_timeout;
                self.pending = Some(pending);
            }
            Ok(()) => self.close(Err(ClientError::Unauthorized(
                crate::auth::AuthError::Rejected,
            ))),
            Err(error) => self.close(Err(error.into())),
        }
    }

    fn refused(&mut self, request: &Request, status: u16, response: &Response, now: Duration) {
        match (self.phase, status) {
            (Phase::Teardown, _) => self.close(Ok(())),
            (Phase::Describe, 300..=399) => self.redirected(response, now),
            (Phase::Describe, 400..=499 | 500 | 501 | 551) => {
                self.path_index += 1;
                self.describe_path(now);
            }
            (Phase::Setup(_), 461) => self.close(Err(ClientError::TransportRefused)),
            // Sound that cannot be had must not cost the picture.
            (Phase::Setup(n), _)
                if self.wanted.get(n).is_some_and(|w| w.1.kind != "video")
                    && self.wanted.len() > 1 =>
            {
                self.wanted.remove(n);
                self.setup(n, now);
            }
            _ => self.close(Err(ClientError::Status {
                method: request.method.to_string(),
                status,
            })),
        }
    }

    /// Followed only inside the landing: the path is taken, the host is the one that we are connected to.
    fn redirected(&mut self, response: &Response, now: Duration) {
        let location = response
            .headers
            .get("Location")
            .unwrap_or_default()
            .to_owned();
        self.redirects += 1;
        let parts = url::split(&location);
        let same_port = parts.is_some_and(|parts| {
            parts.scheme.eq_ignore_ascii_case("rtsp")
                && port(parts.authority) == port(&self.config.authority)
        });
        if self.redirects > MAX_REDIRECTS || !(same_port || location.starts_with('/')) {
            self.close(Err(ClientError::Redirected(location)));
            return;
        }
        let rest = url::path_and_query(&location).to_owned();
        self.describe(format!("rtsp://{}{rest}", self.config.authority), now);
    }

    fn granted(&mut self, response: &Response, now: Duration) {
        match self.phase {
            Phase::Describe => self.described(response, now),
            Phase::Setup(n) => self.was_set_up(n, response, now),
            Phase::PlaySent => self.playing(response.headers.get("RTP-Info"), now),
            Phase::Teardown => self.close(Ok(())),
            Phase::Playing | Phase::Closed => {}
        }
    }

    fn described(&mut self, response: &Response, now: Duration) {
        let sdp = match Sdp::parse(&response.body) {
            Ok(sdp) => sdp,
            Err(_) if self.path_index + 1 < self.config.paths.len() => {
                self.path_index += 1;
                self.describe_path(now);
                return;
            }
            Err(error) => {
                self.close(Err(error.into()));
                return;
            }
        };
        let base = control::base(
            &self.request_url,
            response.headers.get("Content-Base"),
            response.headers.get("Content-Location"),
        );
        self.aggregate_url = control::resolve(&base, sdp.control.as_deref());
        self.is_live = sdp.is_live;
        // An absolute control of the session is the base of its tracks, as ffmpeg has it.
        let track_base = if sdp.control.as_deref().is_some_and(|c| c.contains("://")) {
            &self.aggregate_url
        } else {
            &base
        };
        let sent = |media: &&(usize, &crate::sdp::Media)| {
            matches!(media.1.kind.as_str(), "video" | "audio")
                && !matches!(media.1.direction, Direction::SendOnly | Direction::Inactive)
        };
        let media: Vec<_> = sdp.media.iter().enumerate().collect();
        let media: Vec<_> = media.iter().filter(sent).collect();
        let single = media.len() == 1;
        self.wanted = media
            .iter()
            .filter(|(_, media)| single || media.control.is_some())
            .map(|(index, media)| {
                (
                    *index,
                    (*media).clone(),
                    control::resolve(track_base, media.control.as_deref()),
                )
            })
            .collect();
        if self.wanted.is_empty() {
            self.close(Err(if media.is_empty() {
                ClientError::NoTracks
            } else {
                ClientError::NoControl
            }));
            return;
        }
        self.events.push_back(ClientEvent::Described {
            path_index: self.path_index,
            sdp,
        });
        self.setup(0, now);
    }

    /// Sets up the n-th wanted track, or plays when all are set up.
    fn setup(&mut self, n: usize, now: Duration) {
        let Some((_, _, url)) = self.wanted.get(n) else {
            if self.tracks.is_empty() {
                self.close(Err(ClientError::NoTracks));
            } else {
                self.play(now);
            }
            return;
        };
        self.phase = Phase::Setup(n);
        let (rtp, rtcp) = channels(n);
        let transport = format!("RTP/AVP/TCP;unicast;interleaved={rtp}-{rtcp}");
        let request = Request::new(Method::Setup, url.clone()).header("Transport", transport);
        self.send(request, now, self.config.request_timeout);
    }

    fn was_set_up(&mut self, n: usize, response: &Response, now: Duration) {
        if let Some(session) = response
            .headers
            .get("Session")
            .and_then(SessionHeader::parse)
        {
            // The first id is kept: some cameras send another one with each SETUP.
            if self.session_id.is_none() {
                self.session_id = Some(session.id);
                if let Some(timeout) = session.timeout {
                    self.session_timeout = timeout;
                }
            }
        }
        let transport = response
            .headers
            .get("Transport")
            .map(TransportSpec::parse_list)
            .unwrap_or_default();
        let transport = transport.first();
        let udp =
            |spec: &TransportSpec| spec.lower == LowerTransport::Udp && spec.interleaved.is_none();
        if transport.is_some_and(udp) {
            self.close(Err(ClientError::TransportRefused));
            return;
        }
        let (rtp, rtcp) = transport
            .and_then(|spec| spec.interleaved)
            .unwrap_or(channels(n));
        if let Some((media_index, media, url)) = self.wanted.get(n) {
            let reader = TrackReader::new(*media_index, media.clone(), url.clone(), (rtp, rtcp));
            self.tracks.push(reader);
        }
        self.setup(n + 1, now);
    }

    fn play(&mut self, now: Duration) {
        let mut map = ChannelMap::default();
        for track in &self.tracks {
            map.add(
                track.channels.0,
                track.channels.1,
                &track.media.payload_types,
            );
        }
        self.demux.set_channels(map);
        self.phase = Phase::PlaySent;
        self.wanted.clear();
        // To GStreamer's server a beginning is a seek: it flushes a stream that others watch, and its RTP time starts anew for all of them. A
        // camera that says `now-` of itself is asked for just that, as GStreamer's own client does; all others for what ffmpeg asks for.
        let range = if self.is_live {
            "npt=now-"
        } else {
            "npt=0.000-"
        };
        let request = Request::new(Method::Play, self.aggregate_url.clone()).header("Range", range);
        self.send(request, now, self.config.request_timeout);
    }

    /// The reply to PLAY came, or media before it.
    pub(super) fn playing(&mut self, rtp_info: Option<&str>, now: Duration) {
        self.phase = Phase::Playing;
        self.keepalive_at = Some(now + self.keepalive_interval());
        self.report_at = Some(now + super::session::REPORT_INTERVAL);
        let infos = rtp_info.map(RtpInfo::parse_list).unwrap_or_default();
        let tracks = self.tracks.iter().map(|track| PlayingTrack {
            media_index: track.media_index,
            media: track.media.clone(),
            rtp_info: infos
                .iter()
                .find(|info| info_belongs(&info.url, &track.url))
                .cloned(),
        });
        self.events
            .push_back(ClientEvent::Playing(tracks.collect()));
    }
}

/// The channels that we propose for the n-th track.
fn channels(n: usize) -> (u8, u8) {
    let rtp = u8::try_from(2 * n).unwrap_or(254);
    (rtp, rtp + 1)
}

fn port(authority: &str) -> &str {
    authority.rsplit_once(':').map_or("554", |(_, port)| port)
}

/// Cameras write the whole URL, the path or only the control's last part.
fn info_belongs(info: &str, track: &str) -> bool {
    !info.is_empty() && (info == track || track.ends_with(url::path_and_query(info)))
}
