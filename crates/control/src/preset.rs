//! What is known of camera firmware: where its streamer answers and with which login, one row per family.
//!
//! The agent's probe tries these after the local file's; without an agent the server's relay does. Sources of each row stand in
//! `docs/design/` (firmware, RTSP). A family whose URL nobody has seen has no row.

/// A login that firmware is delivered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Login {
    /// The user name.
    pub user: &'static str,
    /// The password: everybody knows it, so it is shown.
    pub password: &'static str,
}

/// One family of camera firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Preset {
    /// The family, as its project is called.
    pub family: &'static str,
    /// Its streamer.
    pub streamer: &'static str,
    /// The streamer's RTSP port on the camera.
    pub port: u16,
    /// The path of the full picture, from `/`.
    pub main: &'static str,
    /// The path of the small picture, when there is one.
    pub sub: Option<&'static str>,
    /// Logins to try, in this order, after none. Empty where the owner sets one.
    pub logins: &'static [Login],
}

/// Every known family, in the order in which they are tried: the wide-spread first.
pub const PRESETS: &[Preset] = &[
    Preset {
        family: "thingino",
        streamer: "raptor or prudynt-t",
        port: 554,
        main: "/ch0",
        sub: Some("/ch1"),
        // Digest is required.
        logins: &[Login {
            user: "thingino",
            password: "thingino",
        }],
    },
    Preset {
        family: "OpenIPC",
        streamer: "majestic or divinus",
        port: 554,
        main: "/stream=0",
        sub: Some("/stream=1"),
        logins: &[],
    },
    Preset {
        family: "Xiaomi-Dafang-Hacks",
        streamer: "v4l2rtspserver on live555 2020.05.15",
        port: 8554,
        main: "/unicast",
        sub: None,
        logins: &[],
    },
    Preset {
        family: "v4l2rtspserver",
        streamer: "v4l2rtspserver",
        port: 8554,
        main: "/unicast",
        sub: None,
        logins: &[],
    },
];
