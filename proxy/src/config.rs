//! Settings of relay and front door, each default with its reason.

use std::time::Duration;

use moorline_core::camera::Login;

/// A path that is tried on a camera whose record names none, with the login that its firmware is delivered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Path and query of the RTSP URL, from `/`.
    pub path: String,
    /// Tried after none, if the camera asks for one and its record has none.
    pub login: Option<Login>,
}

/// Known paths of camera firmware, in the order in which they are tried.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Candidates {
    /// Paths of the full picture.
    pub main: Vec<Candidate>,
    /// Paths of the smaller stream.
    pub sub: Vec<Candidate>,
}

impl Candidates {
    /// All that are known: those that a camera's agent tries too.
    #[must_use]
    pub fn known() -> Self {
        let candidate = |path: &str, logins: &[moorline_control::Login]| Candidate {
            path: path.to_owned(),
            login: logins.first().map(|login| Login {
                user: login.user.to_owned(),
                password: login.password.to_owned().into(),
            }),
        };
        let presets = moorline_control::PRESETS;
        Self {
            main: presets
                .iter()
                .map(|preset| candidate(preset.main, preset.logins))
                .collect(),
            sub: presets
                .iter()
                .filter_map(|preset| preset.sub.map(|sub| candidate(sub, preset.logins)))
                .collect(),
        }
    }
}

/// How much of a stream is kept for its readers, in bytes and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingLimits {
    /// The last group of pictures is kept up to so many bytes; beyond it a new reader waits for the next key frame.
    pub pinned_bytes: usize,
    /// The same in time.
    pub pinned_time: Duration,
    /// What is older than the last key frame is kept up to so many bytes in all: how far a reader may lag.
    pub history_bytes: usize,
    /// The same in time.
    pub history_time: Duration,
}

impl Default for RingLimits {
    /// 8 MB and 10 s for the group (25 s of a 3 Mbit/s camera, three groups of the slowest thingino); 3 s and 4 MiB for those who lag.
    fn default() -> Self {
        Self {
            pinned_bytes: 8_000_000,
            pinned_time: Duration::from_secs(10),
            history_bytes: 4 << 20,
            history_time: Duration::from_secs(3),
        }
    }
}

/// Settings of all relays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayConfig {
    /// Known paths.
    pub candidates: Candidates,
    /// What is kept.
    pub ring: RingLimits,
    /// Whether the landing gives each source under its own name (`main`, `sub`) instead of one server for both (`rtsp`): where what is read is
    /// another process's relay, as in a cluster's front door.
    pub landing_per_source: bool,
    /// A source that nobody reads is pulled for so long yet.
    pub linger: Duration,
    /// Media that stays away for so long is silence.
    pub silent_after: Duration,
    /// A silent camera is connected again after so long: its streamer may have forgotten us.
    pub reconnect_silent_after: Duration,
    /// A reader without progress is closed after so long (P5).
    pub stalled_after: Duration,
    /// A viewer's DESCRIBE, and a browser, wait so long for a stream.
    pub patience: Duration,
    /// Shortest pause after an RTSP fault, while the tunnel stays.
    pub retry_min: Duration,
    /// Longest pause after an RTSP fault.
    pub retry_max: Duration,
    /// Shortest pause after a login was refused: a camera may lock out whoever tries too often. Another login in the record ends it.
    pub retry_unauthorized: Duration,
    /// Readers of one camera, the archiver not counted.
    pub readers_per_camera: usize,
    /// Readers of one user.
    pub readers_per_user: usize,
    /// RTSP readers of one source address.
    pub readers_per_address: usize,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            candidates: Candidates::default(),
            ring: RingLimits::default(),
            landing_per_source: false,
            linger: Duration::from_secs(10),
            silent_after: Duration::from_secs(5),
            reconnect_silent_after: Duration::from_secs(60),
            stalled_after: Duration::from_secs(10),
            patience: Duration::from_secs(10),
            retry_min: Duration::from_millis(500),
            retry_max: Duration::from_secs(15),
            retry_unauthorized: Duration::from_secs(60),
            readers_per_camera: 200,
            // A wall of cameras, and no single user who takes every place of one.
            readers_per_user: 64,
            // An office behind one address watches a wall of cameras.
            readers_per_address: 400,
        }
    }
}

/// Settings of the front door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoorConfig {
    /// Longest time without having authenticated (P9).
    pub login_timeout: Duration,
    /// Connections that have not authenticated, in all. Each holds at most 128 KiB.
    pub strangers: usize,
    /// The same of one /24, /64 or /48.
    pub strangers_per_prefix: usize,
    /// Connections of one user, from the login on, whatever they do. Beyond it 503.
    pub connections_per_user: usize,
    /// How often it is looked whether a user is still there and has the same stream password (S15 allows 1 s).
    pub recheck: Duration,
    /// The socket's send buffer in bytes: what a slow viewer lags behind in the kernel. The system doubles it.
    pub send_buffer: usize,
    /// How long readers get to take their BYE when the door closes.
    pub goodbye: Duration,
}

impl Default for DoorConfig {
    fn default() -> Self {
        Self {
            login_timeout: Duration::from_secs(20),
            strangers: 512,
            strangers_per_prefix: 64,
            // Twice the streams: a wall that connects again before its old connections are seen to have ended.
            connections_per_user: 128,
            recheck: Duration::from_millis(500),
            // 20 Mbit/s over 100 ms need 256 KiB.
            send_buffer: 256 * 1024,
            goodbye: Duration::from_secs(2),
        }
    }
}
