//! The SDP that a reader gets: the camera's media lines, everything around them ours.

use std::fmt::Write as _;

use super::{Media, Sdp};
use crate::octets::clean;
use crate::url::append;

/// What to write around the camera's lines.
///
/// Kept: `m=` (port 0), `b=`, `a=rtpmap`, `a=fmtp`, `a=framerate`. Replaced: `v=`, `o=`, `s=`, `c=`, `t=`, `a=control`. All else is dropped, so no camera can
/// forge an `a=x-moorline-*` line.
#[derive(Clone, Debug)]
pub struct Rewrite<'a> {
    /// `rtsp://host/path` as the client typed scheme and host, without query ([`crate::url::Target::base`]).
    pub base: &'a str,
    /// The camera's title.
    pub title: &'a str,
    /// A number that changes with the SDP (`o=`'s session id): the generation.
    pub session_id: u64,
    /// For the archiver: names without `x-moorline-`.
    pub extras: &'a [(&'a str, String)],
}

impl Rewrite<'_> {
    /// The control URL of a track.
    #[must_use]
    pub fn track_url(&self, track: usize) -> String {
        append(self.base, &format!("trackID={track}"))
    }

    /// Writes the SDP. Tracks are numbered by their order in `media`; the caller leaves out what the reader shall not see (the backchannel).
    #[must_use]
    pub fn print<'m>(&self, media: impl IntoIterator<Item = &'m Media>) -> String {
        let mut text = String::with_capacity(512);
        let title = Some(clean(self.title))
            .filter(|title| !title.is_empty())
            .unwrap_or_else(|| "-".to_owned());
        let _ = write!(
            text,
            "v=0\r\no=- {} 1 IN IP4 0.0.0.0\r\ns={title}\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n",
            self.session_id
        );
        let _ = write!(text, "a=control:{}/\r\n", self.base.trim_end_matches('/'));
        for (name, value) in self.extras {
            let _ = write!(text, "a=x-moorline-{}:{}\r\n", clean(name), clean(value));
        }
        for (track, media) in media.into_iter().enumerate() {
            let _ = write!(text, "m={} 0 {}", media.kind, media.protocol);
            for payload_type in &media.payload_types {
                let _ = write!(text, " {payload_type}");
            }
            text.push_str("\r\n");
            for line in &media.kept {
                text.push_str(line);
                text.push_str("\r\n");
            }
            let _ = write!(text, "a=control:{}\r\n", self.track_url(track));
        }
        text
    }

    /// The same for all tracks of `sdp` that the camera sends.
    #[must_use]
    pub fn print_public(&self, sdp: &Sdp) -> String {
        self.print(sdp.media.iter().filter(|media| !media.is_backchannel()))
    }
}
