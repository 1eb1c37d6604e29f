//! What can be wrong with a camera, switched on and off while it runs.
//!
//! A [`Fault`] lasts until it is switched off; an [`Event`] happens once to every connection that is open. All of them were seen on cameras;
//! `docs/design/relay.md` says how the relay bears the worst.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::{broadcast, watch};

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A fault that lasts.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Fault { $($(#[$doc])* $name,)* }

        impl Fault {
            /// All of them.
            pub const ALL: &[Fault] = &[$(Fault::$name,)*];

            /// Its name, as [`FromStr`] reads it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Fault::$name => $text,)* }
            }
        }
    };
}

faults! {
    /// Connected, PLAY answered, and no media.
    Silence = "silence",
    /// Connections are closed at once: nothing listens behind the tunnel.
    Refuse = "refuse",
    /// Requests are read and never answered: half open.
    Unanswered = "unanswered",
    /// DESCRIBE is 404.
    NotFound = "not-found",
    /// Every request is 401, with another nonce each time.
    Unauthorized = "unauthorized",
    /// Answers are bytes that are no RTSP.
    Garbage = "garbage",
    /// DESCRIBE is a 302 to `/moved/<path>` of the same host.
    Redirect = "redirect",
    /// The second half of one RTP packet of each IDR is never written.
    PartialCut = "partial-cut",
    /// One RTP packet of each IDR is written half, then whole.
    PartialRepeat = "partial-repeat",
    /// After each IDR the only thread hangs for 600 ms; what was filmed comes then.
    Blocked = "blocked",
    /// RTP packets of up to 10,000 bytes (Tapo).
    HugePackets = "huge-packets",
    /// A frame on a channel that nobody set up, before each IDR.
    StrayChannel = "stray-channel",
    /// The reply to SETUP names other channels than those asked for.
    OtherChannels = "other-channels",
    /// A packet of payload type 50 before each IDR.
    StrayPayloadType = "stray-payload-type",
    /// A sender report comes before the reply to PLAY.
    RtcpFirst = "rtcp-first",
    /// PLAY is answered without `RTP-Info`.
    NoRtpInfo = "no-rtp-info",
    /// `RTP-Info` says seq=0 and rtptime=0, which means nothing.
    ZeroRtpInfo = "zero-rtp-info",
    /// Each SETUP is answered with another session id.
    SessionChanges = "session-changes",
    /// The SDP has no `a=control`.
    NoControl = "no-control",
    /// DESCRIBE is answered without `Content-Base`.
    BaseMissing = "base-missing",
    /// `Content-Base` has no scheme.
    BaseWithoutScheme = "base-without-scheme",
    /// `Content-Base` does not end with a slash.
    BaseWithoutSlash = "base-without-slash",
    /// `Content-Location` instead of `Content-Base`.
    BaseAsLocation = "base-as-location",
    /// Sender reports count from 1970: no battery, no NTP.
    Clock1970 = "clock-1970",
    /// Sender reports are an hour ahead.
    ClockAhead = "clock-ahead",
    /// The audio is MP3, whatever was configured (Dafang's default).
    Mp3Audio = "mp3-audio",
}

impl Fault {
    /// Those after which a reader that is built for cameras still gets pictures: what [`Faults::mix`] draws from.
    pub const SURVIVABLE: &[Fault] = &[
        Fault::PartialCut,
        Fault::PartialRepeat,
        Fault::Blocked,
        Fault::HugePackets,
        Fault::StrayChannel,
        Fault::OtherChannels,
        Fault::StrayPayloadType,
        Fault::RtcpFirst,
        Fault::NoRtpInfo,
        Fault::ZeroRtpInfo,
        Fault::SessionChanges,
        Fault::BaseMissing,
        Fault::BaseWithoutSlash,
        Fault::BaseAsLocation,
        Fault::Clock1970,
        Fault::ClockAhead,
        Fault::Mp3Audio,
    ];

    fn bit(self) -> u64 {
        1 << (self as u32)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No fault has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no fault is called {0:?}")]
pub struct UnknownFault(pub String);

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        let found = Fault::ALL.iter().find(|fault| fault.name() == text);
        found.copied().ok_or_else(|| UnknownFault(text.to_owned()))
    }
}

/// What happens once, to every open connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Event {
    /// The connection is closed in the middle of a frame.
    Close,
    /// The camera sends OPTIONS and goes on.
    Request,
    /// Video gets another SSRC.
    Ssrc,
    /// Video's sequence numbers jump by 40,000 (more than 0x8000: retina takes it for the end).
    SequenceJump,
    /// Video's timestamps jump by an hour.
    TimestampJump,
    /// Video's timestamps jump back by this, as GStreamer's server's do when another client plays "from the beginning".
    TimestampBack(Duration),
    /// The other film begins, with parameter sets of its own; again: back. Nothing happens on a stream without another film.
    Parameters,
    /// The clock of sender reports jumps an hour back.
    ClockJump,
    /// The login has to be proved again, with another nonce.
    Nonce,
}

impl Event {
    /// Those that a reader which is built for cameras survives.
    pub const SURVIVABLE: &[Event] = &[
        Event::Request,
        Event::Ssrc,
        Event::SequenceJump,
        Event::ClockJump,
        Event::Nonce,
    ];
}

/// Events of a connection that did not read them yet; more are lost to it (it is closing or blocked).
const EVENTS: usize = 32;

/// The switches of one source. Clones are the same switches.
#[derive(Debug, Clone)]
pub struct Faults {
    lasting: watch::Sender<u64>,
    events: broadcast::Sender<Event>,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            lasting: watch::Sender::new(0),
            events: broadcast::Sender::new(EVENTS),
        }
    }
}

impl Faults {
    /// Switches one on.
    pub fn on(&self, fault: Fault) {
        self.lasting.send_modify(|bits| *bits |= fault.bit());
    }

    /// Switches one off.
    pub fn off(&self, fault: Fault) {
        self.lasting.send_modify(|bits| *bits &= !fault.bit());
    }

    /// Switches all off.
    pub fn clear(&self) {
        self.lasting.send_replace(0);
    }

    /// Whether it is on.
    #[must_use]
    pub fn is_on(&self, fault: Fault) -> bool {
        *self.lasting.borrow() & fault.bit() != 0
    }

    /// Lets something happen; returns how many connections will see it.
    pub fn fire(&self, event: Event) -> usize {
        self.events.send(event).unwrap_or(0)
    }

    /// Replaces what is on by `count` survivable faults, chosen by `seed`; the same seed gives the same ones.
    pub fn mix(&self, seed: u64, count: usize) -> Vec<Fault> {
        let mut random = StdRng::seed_from_u64(seed);
        let mut chosen: Vec<Fault> = Fault::SURVIVABLE
            .choose_multiple(&mut random, count)
            .copied()
            .collect();
        chosen.sort();
        self.lasting
            .send_replace(chosen.iter().fold(0, |bits, fault| bits | fault.bit()));
        chosen
    }

    /// A survivable event, chosen by `seed`. It is not fired.
    #[must_use]
    pub fn pick(seed: u64) -> Event {
        let index = StdRng::seed_from_u64(seed).random_range(0..Event::SURVIVABLE.len());
        Event::SURVIVABLE
            .get(index)
            .copied()
            .unwrap_or(Event::Request)
    }

    pub(crate) fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.lasting.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_every_fault_has_its_own_switch() {
        let faults = Faults::default();
        for fault in Fault::ALL {
            assert_eq!(fault.name().parse(), Ok(*fault));
            faults.on(*fault);
            let on: Vec<_> = Fault::ALL
                .iter()
                .filter(|other| faults.is_on(**other))
                .collect();
            assert_eq!(on, [fault]);
            faults.off(*fault);
        }
        assert_eq!("rain".parse::<Fault>(), Err(UnknownFault("rain".into())));
    }

    #[test]
    fn a_mix_is_decided_by_its_seed() {
        let faults = Faults::default();
        let first = faults.mix(7, 4);
        assert_eq!(first.len(), 4);
        assert_eq!(faults.mix(7, 4), first);
        assert!((0..20).any(|seed| faults.mix(seed, 4) != first));
        faults.clear();
        assert!(!Fault::ALL.iter().any(|fault| faults.is_on(*fault)));
    }
}
