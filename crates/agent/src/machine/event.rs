//! What comes into the table, and what comes out of it.

use moorline_control::{AgentLine, BadField, Data, HostKey, Level, Offer, Reason, Setting};

use super::Serial;
use crate::endpoint::Endpoint;
use crate::enroll::Enroll;
use crate::settings::{Settings, Trust};

/// One of the two sessions that may run at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Link {
    /// With the server that the camera reports to (or is enrolled by).
    Endpoint,
    /// With the server that REFER named.
    Streampoint,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Nothing but time.
    Tick,
    /// The camera's key was made, or could not be.
    Key(bool),
    /// Another key was made aside for the camera, or could not be.
    NextKey(Option<HostKey>),
    /// Files `enroll` were found: the first one's server has its turn first.
    Enroll(Vec<Enroll>),
    /// A line of a server, without its LF.
    Line {
        /// Whose.
        link: Link,
        /// Of which call.
        serial: Serial,
        /// The line.
        line: Vec<u8>,
    },
    /// Whether the address that is being dialled for the endpoint is private.
    Private {
        /// Of which call.
        serial: Serial,
        /// Whether it is.
        private: bool,
    },
    /// dbclient ended, or could not be started.
    Ended {
        /// Whose.
        link: Link,
        /// Of which call.
        serial: Serial,
        /// What its text told.
        reason: Reason,
    },
    /// A new agent is tried: this one has no session meanwhile.
    Pause,
    /// The trial is over: what is set now, perhaps by words that the new agent heard.
    Resume(Box<Settings>),
    /// The agent is to end.
    Stop {
        /// The camera is being switched off on purpose: say `BYE`.
        hang_up: bool,
    },
}

/// What is to be done. The driver does them in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make the camera's key, then [`Event::Key`].
    MakeKey,
    /// Make another key aside, if none is there yet, then [`Event::NextKey`].
    MakeNextKey,
    /// The key that lies aside is the camera's from now on; the one before it is kept, and so is the one that the owner's server knows (S6).
    TakeNextKey {
        /// Whether it is a server of the owner that has taken the new one.
        owner: bool,
        /// What that server has. Another one that lies aside is not taken.
        key: HostKey,
    },
    /// Call a server. Ends with [`Event::Ended`], unless it is killed.
    Dial(Dial),
    /// Kill dbclient, if it runs. No event follows.
    Kill(Link),
    /// Say a line.
    Say(Link, AgentLine),
    /// The hello came: say STATUS and SOURCE.
    Greet,
    /// A PING came: say STATUS and SOURCE if they changed.
    Report,
    /// A line of the endpoint was refused: report it.
    Bad(BadField),
    /// Set the clock to this, if it is not below the build's floor.
    Clock(u64),
    /// A setting is new.
    Apply(Setting),
    /// Write `agent.conf`.
    Keep(Box<Settings>),
    /// The camera is enrolled: wipe the token wherever it was found.
    WipeToken,
    /// Walk the chain, and say its steps.
    Diagnose,
    /// The endpoint offers an upgrade.
    Offer(Offer),
    /// A part of one: its offset and its bytes.
    Part(u32, Data),
    /// Sync and reboot.
    Reboot,
    /// Tell the console and the endpoint.
    Note(Level, String),
    /// End the process.
    Exit,
}

/// Which forwards are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwards {
    /// None: enrolment.
    None,
    /// `rtsp`, and any refusal ends the client: a streampoint.
    RtspOrEnd,
    /// `rtsp`; the client goes on when it is refused: an endpoint.
    Rtsp,
    /// `rtsp`, then `http`.
    RtspAndHttp,
}

/// A call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dial {
    /// Which session.
    pub link: Link,
    /// Names this call in events.
    pub serial: Serial,
    /// Where, and as whom.
    pub endpoint: Endpoint,
    /// The pins of this attempt: at most one per algorithm.
    pub pins: Vec<HostKey>,
    /// Who named this server.
    pub trust: Trust,
    /// Which of the camera's keys has its turn: see [`crate::run::Places::identities`].
    pub key: usize,
    /// Which of the server's addresses has its turn.
    pub address: usize,
    /// What it asks for.
    pub forwards: Forwards,
    /// Whether its address may be private (S7).
    pub private: bool,
}
