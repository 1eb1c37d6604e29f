//! Reading an SDP by line. Only what is needed is understood; a line that is not is kept out of the way, never an error.

use thiserror::Error;

use super::Codec;
use crate::octets::clean;

/// Longest SDP that is read, in bytes (S31).
pub const MAX_SDP: usize = 16 * 1024;
/// Most media sections of one SDP (S31).
pub const MAX_TRACKS: usize = 8;

/// Why an SDP is refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SdpError {
    /// Longer than [`MAX_SDP`].
    #[error("an SDP of {0} bytes; {MAX_SDP} are allowed")]
    TooLong(usize),
    /// More than [`MAX_TRACKS`] media sections.
    #[error("more than {MAX_TRACKS} media sections")]
    TooManyTracks,
    /// No `m=` line with a payload type.
    #[error("no media section")]
    NoMedia,
}

/// Who sends on a track, seen from whoever wrote the SDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Nothing said: for a camera it means that it sends.
    Unsaid,
    /// `a=recvonly`: a camera writes it from the client's view for what the client receives.
    RecvOnly,
    /// `a=sendonly`: the ONVIF backchannel, what the client would send.
    SendOnly,
    /// `a=sendrecv`.
    SendRecv,
    /// `a=inactive`.
    Inactive,
}

/// `a=rtpmap`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtpMap {
    /// Encoding name as written.
    pub encoding: String,
    /// RTP clock in Hz; never 0.
    pub clock_rate: u32,
    /// Audio channels, if said.
    pub channels: Option<u16>,
}

/// One `m=` section.
#[derive(Clone, Debug, PartialEq)]
pub struct Media {
    /// `video`, `audio`, `application`.
    pub kind: String,
    /// `RTP/AVP`.
    pub protocol: String,
    /// Payload types 0–127 of the `m=` line; never empty.
    pub payload_types: Vec<u8>,
    /// The rtpmap of the first payload type that has one.
    pub rtpmap: Option<RtpMap>,
    /// Parameters of `a=fmtp` without the payload type; `None` also for the empty `a=fmtp:96`.
    pub fmtp: Option<String>,
    /// `a=control`, not resolved.
    pub control: Option<String>,
    /// `a=framerate`.
    pub framerate: Option<f64>,
    /// Direction attribute.
    pub direction: Direction,
    /// Lines that a reader gets unchanged (`b=`, `a=rtpmap`, `a=fmtp`, `a=framerate`), without control characters.
    pub(super) kept: Vec<String>,
}

impl Media {
    /// The codec.
    #[must_use]
    pub fn codec(&self) -> Codec {
        Codec::of(self)
    }

    /// RTP clock in Hz: rtpmap's, else that of the static type, else 90 kHz.
    #[must_use]
    pub fn clock_rate(&self) -> u32 {
        match (&self.rtpmap, self.codec()) {
            (Some(map), _) => map.clock_rate,
            (None, Codec::Pcma | Codec::Pcmu) => 8000,
            (None, _) => 90_000,
        }
    }

    /// A parameter of `a=fmtp`, its name without regard to case.
    #[must_use]
    pub fn fmtp_parameter(&self, name: &str) -> Option<&str> {
        self.fmtp
            .as_deref()?
            .split(';')
            .filter_map(|pair| pair.trim().split_once('='))
            .find_map(|(key, value)| key.trim().eq_ignore_ascii_case(name).then(|| value.trim()))
    }

    /// Whether the client would have to send on it.
    #[must_use]
    pub fn is_backchannel(&self) -> bool {
        self.direction == Direction::SendOnly
    }
}

/// An SDP as far as it matters here.
#[derive(Clone, Debug, PartialEq)]
pub struct Sdp {
    /// `s=`, what the camera calls itself: untrusted text.
    pub title: Option<String>,
    /// `a=control` before the first `m=`.
    pub control: Option<String>,
    /// `a=range:npt=now-` before the first `m=`: there is only the present to be played.
    pub is_live: bool,
    /// Media sections in their order.
    pub media: Vec<Media>,
    /// `a=x-moorline-*` before the first `m=`, names without the prefix `x-`: what our own relay tells the archiver.
    pub extras: Vec<(String, String)>,
}

impl Sdp {
    /// Reads an SDP. Line ends may be CRLF, LF or CR; bytes that are no UTF-8 are replaced.
    ///
    /// # Errors
    /// When it is too long, has too many tracks or none.
    pub fn parse(bytes: &[u8]) -> Result<Self, SdpError> {
        if bytes.len() > MAX_SDP {
            return Err(SdpError::TooLong(bytes.len()));
        }
        let text = String::from_utf8_lossy(bytes);
        let mut sdp = Self {
            title: None,
            control: None,
            is_live: false,
            media: Vec::new(),
            extras: Vec::new(),
        };
        // Lines of an m= that cannot be used must not be taken for the section before it.
        let mut skipping = false;
        for line in text.split(['\r', '\n']) {
            let line = clean(line);
            let Some((kind, value)) = line.split_once('=') else {
                continue;
            };
            let value = value.trim();
            match (kind.trim(), sdp.media.last_mut()) {
                ("m", _) => match parse_media(value) {
                    Some(_) if sdp.media.len() == MAX_TRACKS => {
                        return Err(SdpError::TooManyTracks);
                    }
                    Some(media) => {
                        skipping = false;
                        sdp.media.push(media);
                    }
                    None => skipping = true,
                },
                _ if skipping => {}
                ("s", None) => sdp.title = Some(value.to_owned()),
                ("a", None) => sdp.session_attribute(value),
                ("a", Some(media)) => media.attribute(value),
                ("b", Some(media)) => media.kept.push(format!("b={value}")),
                _ => {}
            }
        }
        if sdp.media.is_empty() {
            Err(SdpError::NoMedia)
        } else {
            Ok(sdp)
        }
    }

    fn session_attribute(&mut self, attribute: &str) {
        let (name, value) = split_attribute(attribute);
        if name.eq_ignore_ascii_case("control") {
            self.control = Some(value.to_owned());
        } else if name.eq_ignore_ascii_case("range") {
            let words: String = value.split_ascii_whitespace().collect();
            self.is_live = words.to_ascii_lowercase().starts_with("npt=now");
        } else if let Some(extra) = name
            .strip_prefix("x-")
            .filter(|n| n.starts_with("moorline-"))
        {
            self.extras.push((extra.to_owned(), value.to_owned()));
        }
    }
}

fn split_attribute(attribute: &str) -> (&str, &str) {
    let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
    (name.trim(), value.trim())
}

fn parse_media(value: &str) -> Option<Media> {
    let mut words = value.split_ascii_whitespace();
    let kind: String = words
        .next()?
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect();
    let _port = words.next()?;
    let protocol: String = words
        .next()?
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '/')
        .collect();
    let payload_types: Vec<u8> = words
        .filter_map(|word| word.parse().ok())
        .filter(|pt| *pt < 128)
        .take(32)
        .collect();
    if kind.is_empty() || protocol.is_empty() || payload_types.is_empty() {
        return None;
    }
    Some(Media {
        kind: kind.to_ascii_lowercase(),
        protocol,
        payload_types,
        rtpmap: None,
        fmtp: None,
        control: None,
        framerate: None,
        direction: Direction::Unsaid,
        kept: Vec::new(),
    })
}

impl Media {
    fn attribute(&mut self, attribute: &str) {
        let (name, value) = split_attribute(attribute);
        match name.to_ascii_lowercase().as_str() {
            "control" => self.control = Some(value.to_owned()),
            "recvonly" => self.direction = Direction::RecvOnly,
            "sendonly" => self.direction = Direction::SendOnly,
            "sendrecv" => self.direction = Direction::SendRecv,
            "inactive" => self.direction = Direction::Inactive,
            "framerate" => {
                self.framerate = value
                    .parse()
                    .ok()
                    .filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
                self.kept.push(format!("a=framerate:{value}"));
            }
            "rtpmap" => {
                if let Some(map) = self.for_our_type(value).and_then(parse_rtpmap) {
                    self.rtpmap.get_or_insert(map);
                    self.kept.push(format!("a=rtpmap:{value}"));
                }
            }
            "fmtp" => {
                if let Some(parameters) = self.for_our_type(value).filter(|p| !p.is_empty()) {
                    let parameters = parameters.to_owned();
                    self.fmtp.get_or_insert(parameters);
                    self.kept.push(format!("a=fmtp:{value}"));
                }
            }
            _ => {}
        }
    }

    /// What follows the payload type, if that type stands in the `m=` line.
    fn for_our_type<'a>(&self, value: &'a str) -> Option<&'a str> {
        let (payload_type, rest) = value.split_once(char::is_whitespace).unwrap_or((value, ""));
        let payload_type: u8 = payload_type.parse().ok()?;
        self.payload_types
            .contains(&payload_type)
            .then(|| rest.trim())
    }
}

fn parse_rtpmap(text: &str) -> Option<RtpMap> {
    let mut parts = text.split('/').map(str::trim);
    let encoding = parts.next().filter(|name| !name.is_empty())?.to_owned();
    let clock_rate = parts.next()?.parse().ok().filter(|rate| *rate > 0)?;
    let channels = parts.next().and_then(|text| text.parse().ok());
    Some(RtpMap {
        encoding,
        clock_rate,
        channels,
    })
}
