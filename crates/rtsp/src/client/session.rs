//! The session's state, its way in and out, and its clock.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::config::{ClientConfig, KeepalivePolicy};
use super::error::ClientError;
use super::media::TrackReader;
use crate::auth::ClientAuth;
use crate::header::RtpInfo;
use crate::interleaved::{ResyncDemux, ResyncStatistics, StrictDemux};
use crate::message::{Method, Request};
use crate::nal::Marks;
use crate::rtp::rtcp::RtcpPacket;
use crate::sdp::{Media, Sdp};

/// A track that is being played.
#[derive(Clone, Debug, PartialEq)]
pub struct PlayingTrack {
    /// Its index in the SDP's `media`.
    pub media_index: usize,
    /// Its media section.
    pub media: Media,
    /// What `RTP-Info` says of it. Often missing or meaningless (a Tapo C320WS always says seq 1): a hint, never a rule.
    pub rtp_info: Option<RtpInfo>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientEvent {
    /// The camera described a stream.
    Described {
        /// Which of the configured paths.
        path_index: usize,
        /// What it said.
        sdp: Sdp,
    },
    /// Media flows; comes once, before the first packet. `track` of later events is an index into this list.
    Playing(Vec<PlayingTrack>),
    /// An RTP packet.
    Packet {
        /// The track.
        track: usize,
        /// A slice of the read buffer.
        packet: Bytes,
        /// What is known of it.
        marks: Marks,
    },
    /// RTCP of the camera; its APP packets are the caller's to ignore.
    Rtcp {
        /// The track.
        track: usize,
        /// The packets of the compound.
        packets: Vec<RtcpPacket>,
    },
    /// A packet came short (its sequence number is the hole). What else comes of its access unit is marked damaged.
    Damaged {
        /// The track.
        track: usize,
        /// Timestamp of the access unit, if it is known.
        timestamp: Option<u32>,
        /// Nothing refers to the picture: it costs only itself.
        disposable: bool,
    },
    /// The camera's streamer began anew with another SSRC.
    SourceChanged {
        /// The track.
        track: usize,
        /// The new SSRC.
        ssrc: u32,
    },
    /// The end; nothing comes after it. `Ok` after [`ClientSession::stop`].
    Closed(Result<(), ClientError>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Describe,
    Setup(usize),
    PlaySent,
    Playing,
    Teardown,
    Closed,
}

/// A request that waits for its reply.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) request: Request,
    pub(super) cseq: u32,
    pub(super) challenges: u8,
    pub(super) deadline: Duration,
}

/// Reads one camera over one connection. See the module's documentation.
#[derive(Debug)]
pub struct ClientSession {
    pub(super) config: ClientConfig,
    pub(super) phase: Phase,
    pub(super) input: BytesMut,
    pub(super) output: BytesMut,
    pub(super) events: VecDeque<ClientEvent>,
    pub(super) auth: ClientAuth,
    pub(super) cseq: u32,
    pub(super) pending: Option<Pending>,
    pub(super) strict: StrictDemux,
    pub(super) demux: ResyncDemux,
    pub(super) path_index: usize,
    pub(super) tried: Vec<String>,
    pub(super) redirects: u8,
    pub(super) request_url: String,
    pub(super) aggregate_url: String,
    /// The camera's description says that it plays the present alone.
    pub(super) is_live: bool,
    /// Control URLs of the tracks to set up, with their index in the SDP.
    pub(super) wanted: Vec<(usize, Media, String)>,
    pub(super) tracks: Vec<TrackReader>,
    pub(super) session_id: Option<String>,
    pub(super) session_timeout: Duration,
    pub(super) has_get_parameter: bool,
    pub(super) keepalive_at: Option<Duration>,
    pub(super) keepalive_cseq: Option<u32>,
    pub(super) report_at: Option<Duration>,
}

/// Receiver reports: some cameras need one at least this often (gortsplib).
pub(super) const REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// RFC 2326 §12.37.
const DEFAULT_SESSION_TIMEOUT: Duration = Duration::from_secs(60);
/// Answers to a camera that asks faster than we can write are dropped beyond this.
pub(super) const MAX_OUTPUT: usize = 64 * 1024;

impl ClientSession {
    /// A session whose first request waits in the output.
    #[must_use]
    pub fn new(config: ClientConfig, now: Duration) -> Self {
        let auth = ClientAuth::new(config.credentials.clone(), config.allow_basic, config.seed);
        let demux = ResyncDemux::new(config.resync);
        let mut session = Self {
            path_index: config.first_path,
            config,
            phase: Phase::Describe,
            input: BytesMut::new(),
            output: BytesMut::new(),
            events: VecDeque::new(),
            auth,
            cseq: 0,
            pending: None,
            strict: StrictDemux::new(usize::from(u16::MAX)),
            demux,
            tried: Vec::new(),
            redirects: 0,
            request_url: String::new(),
            aggregate_url: String::new(),
            is_live: false,
            wanted: Vec::new(),
            tracks: Vec::new(),
            session_id: None,
            session_timeout: DEFAULT_SESSION_TIMEOUT,
            has_get_parameter: false,
            keepalive_at: None,
            keepalive_cseq: None,
            report_at: None,
        };
        session.describe_path(now);
        session
    }

    /// Where the caller appends what it reads. Packets are slices of it: `reserve` 16 KiB or more before each read.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.input
    }

    /// What is to be written, and is then forgotten here. Empty if nothing.
    pub fn take_output(&mut self) -> Bytes {
        self.output.split().freeze()
    }

    /// When [`Self::on_time`] wants to be called.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        let pending = self.pending.as_ref().map(|pending| pending.deadline);
        [
            pending,
            self.keepalive_at,
            self.report_at,
            self.demux.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Counters of the framing.
    #[must_use]
    pub fn statistics(&self) -> ResyncStatistics {
        self.demux.statistics()
    }

    /// The path that is tried or played.
    #[must_use]
    pub fn path_index(&self) -> usize {
        self.path_index
    }

    /// The next event, out of what is buffered. Call until `None`, after each read and after each of the other calls.
    pub fn poll(&mut self, now: Duration) -> Option<ClientEvent> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            if self.phase == Phase::Closed || !self.read(now) {
                return self.events.pop_front();
            }
        }
    }

    /// Does what is due: gives up waiting, keeps alive, reports.
    pub fn on_time(&mut self, now: Duration) {
        if self.phase == Phase::Closed {
            return;
        }
        if let Some(pending) = self
            .pending
            .as_ref()
            .filter(|pending| pending.deadline <= now)
        {
            let method = pending.request.method.to_string();
            let result = if self.phase == Phase::Teardown {
                Ok(())
            } else {
                Err(ClientError::Timeout(method))
            };
            self.close(result);
            return;
        }
        if self.keepalive_at.is_some_and(|at| at <= now) {
            self.keepalive(now);
        }
        if self.report_at.is_some_and(|at| at <= now) {
            self.report(now);
            self.report_at = Some(now + REPORT_INTERVAL);
        }
    }

    /// The connection ended.
    pub fn on_end(&mut self, now: Duration) {
        while self.phase != Phase::Closed && self.read(now) {}
        let trying = self.phase == Phase::Describe && self.tried.len() > 1;
        let result = match self.phase {
            Phase::Closed => return,
            Phase::Teardown => Ok(()),
            _ => Err(ClientError::Ended {
                next_path: trying.then_some(self.path_index),
            }),
        };
        self.close(result);
    }

    /// Says TEARDOWN and waits for its reply, at most `teardown_timeout`. Without an RTSP session the end comes at once.
    pub fn stop(&mut self, now: Duration) {
        if matches!(self.phase, Phase::Closed | Phase::Teardown) {
            return;
        }
        if self.session_id.is_none() {
            self.close(Ok(()));
            return;
        }
        self.phase = Phase::Teardown;
        self.keepalive_at = None;
        self.report_at = None;
        let request = Request::new(Method::Teardown, self.aggregate_url.clone());
        self.send(request, now, self.config.teardown_timeout);
    }

    pub(super) fn close(&mut self, result: Result<(), ClientError>) {
        self.phase = Phase::Closed;
        self.pending = None;
        self.keepalive_at = None;
        self.report_at = None;
        self.events.push_back(ClientEvent::Closed(result));
    }

    /// Sends a request that waits for its reply.
    pub(super) fn send(&mut self, request: Request, now: Duration, patience: Duration) {
        let cseq = self.write(&request);
        self.pending = Some(Pending {
            request,
            cseq,
            challenges: 0,
            deadline: now + patience,
        });
    }

    /// Writes a request with what every request has; answers its CSeq.
    pub(super) fn write(&mut self, request: &Request) -> u32 {
        self.cseq = self.cseq.wrapping_add(1);
        let mut full = Request::new(request.method.clone(), request.uri.clone());
        full.headers.push("CSeq", &self.cseq.to_string());
        full.headers.push("User-Agent", &self.config.user_agent);
        if let Some(value) = self.auth.authorize(request.method.as_str(), &request.uri) {
            full.headers.push("Authorization", &value);
        }
        if let Some(id) = &self.session_id {
            full.headers.push("Session", id);
        }
        for (name, value) in request.headers.iter() {
            full.headers.push(name, value);
        }
        full.encode(&mut self.output);
        self.cseq
    }

    pub(super) fn keepalive(&mut self, now: Duration) {
        let get_parameter = match self.config.keepalive {
            KeepalivePolicy::Auto => self.has_get_parameter,
            KeepalivePolicy::Options => false,
            KeepalivePolicy::GetParameter => true,
        };
        let method = if get_parameter {
            Method::GetParameter
        } else {
            Method::Options
        };
        if self.output.len() < MAX_OUTPUT {
            let request = Request::new(method, self.aggregate_url.clone());
            self.keepalive_cseq = Some(self.write(&request));
        }
        self.keepalive_at = Some(now + self.keepalive_interval());
    }

    pub(super) fn keepalive_interval(&self) -> Duration {
        (self.session_timeout / 2).clamp(Duration::from_secs(1), Duration::from_secs(30))
    }
}
