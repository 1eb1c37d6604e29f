//! Closed lists of words, as they stand in the lines.

/// An enumeration, each variant with its word.
macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? })+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* #[doc = concat!("\n\nWritten `", $word, "`.")] $variant,)+
        }

        impl $name {
            /// Every word of the list.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The word in the line.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }

            pub(crate) fn of(word: &[u8]) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.as_str().as_bytes() == word)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )+};
}

words! {
    /// What the server is for this camera, said by its hello.
    Role {
        /// One session does everything.
        Both = "both",
        /// The camera reports here; its stream goes where `REFER` says.
        Endpoint = "endpoint",
        /// The camera's stream goes here; only hello and PING count (S6).
        Streampoint = "streampoint",
        /// One `ENROLL`, nothing else.
        Enroll = "enroll",
    }

    /// A camera's stream.
    SourceName {
        /// The full picture.
        Main = "main",
        /// The small one.
        Sub = "sub",
    }

    /// The video codec of a source.
    Codec {
        /// H.264.
        H264 = "h264",
        /// H.265.
        H265 = "h265",
        /// Motion JPEG.
        Mjpeg = "mjpeg",
    }

    /// How bad a line of the agent's log is.
    Level {
        /// Something does not work.
        Error = "error",
        /// Something will not work.
        Warn = "warn",
        /// Something was done.
        Info = "info",
    }

    /// A link of the chain that DIAG walks, in the order of the walk.
    DiagStep {
        /// The network interface.
        Link = "link",
        /// The server's name.
        Dns = "dns",
        /// The way to the server.
        Route = "route",
        /// A connection to the server's port.
        Tcp = "tcp",
        /// The server's key against the pins.
        HostKey = "hostkey",
        /// The camera's own key.
        Key = "key",
        /// The remote forward.
        Forward = "forward",
        /// The streamer's answer.
        Rtsp = "rtsp",
        /// Pictures that come.
        Pictures = "pictures",
        /// The uplink's room.
        Uplink = "uplink",
        /// The camera's clock.
        Clock = "clock",
    }

    /// How the session with the streampoint stands.
    UpState {
        /// It is being connected.
        Trying = "trying",
        /// Its hello came.
        Up = "up",
        /// It ended or could not be had.
        Down = "down",
    }

    /// Why a session could not be had or ended: dbclient exits with 1 whatever happened, its text tells.
    Reason {
        /// "host key mismatch".
        HostKey = "hostkey",
        /// "No auth methods could be used".
        Auth = "auth",
        /// "Connect failed".
        Connect = "connect",
        /// "Remote TCP forward request failed".
        Forward = "forward",
        /// "Keepalive timeout".
        Keepalive = "keepalive",
        /// No hello within 20 s: killed.
        Hello = "hello",
        /// No PING for 45 s: killed.
        Ping = "ping",
        /// Another text.
        Exit = "exit",
    }

    /// What the streamer answered to the agent's probe.
    Probe {
        /// It answered.
        Ok = "ok",
        /// It did not, or with an error.
        Fail = "fail",
    }
}
