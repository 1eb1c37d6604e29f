//! MOORLINE/1: the lines between a camera and its server.
//!
//! Owns: the grammar of every line in both directions ([`ServerLine`], [`AgentLine`]), cutting a byte stream into lines
//! ([`LineSplitter`]), and what is known of camera firmware ([`PRESETS`]). Does not own: when a line is said and what follows from it (the
//! server's monitor, the camera's agent). No I/O, no clock, no dependencies: the agent is built of it and std alone.
//!
//! - A line is printable ASCII, its fields parted by one space, ended by LF, at most [`MAX_LINE`] bytes with it. A `<text>` runs to the
//!   end of the line.
//! - What is not known is [`ServerLine::Unknown`] or [`AgentLine::Unknown`], and ignored.
//! - A known line with a wrong field is a [`FieldError`], which names `<line>.<field>`: it changes nothing and is reported
//!   (`STATUS bad=REFER.host`; P11).
//! - Nothing counts before the hello. Another major number than 1 ends the session.
//!
//! Everything here is fed by strangers: nothing panics, nothing grows beyond one line (S32).
//!
//! ```
//! use moorline_control::{AgentLine, ServerLine};
//!
//! assert_eq!(ServerLine::parse(b"PING 7"), Ok(ServerLine::Ping(7)));
//! assert_eq!(AgentLine::Pong(7).to_string(), "PONG 7");
//! assert_eq!(ServerLine::parse(b"PING x").unwrap_err().to_string(), "PING.n");
//! ```

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

mod agent;
mod base64;
mod field;
mod host_key;
mod preset;
mod server;
mod splitter;
mod stamp;
mod status;
mod target;
mod words;

pub use agent::{AgentLine, Source, UrlPath};
pub use base64::{base64_of, bytes_of_base64};
pub use field::{Data, Fault, FieldError, Host, Id, Mac, Model, Text, Token, Version};
pub use host_key::{HostKey, HostKeyAlgorithm};
pub use preset::{Login, PRESETS, Preset};
pub use server::{Offer, ServerLine, Setting};
pub use splitter::LineSplitter;
pub use stamp::{STAMP_MARK, Stamp};
pub use status::{BadField, Status};
pub use target::{MAX_TTL_SECONDS, SshUser, Target};
pub use words::{Codec, DiagStep, Level, Probe, Reason, Role, SourceName, UpState};

/// The longest line in bytes, its LF included.
pub const MAX_LINE: usize = 1024;

#[cfg(test)]
mod tests;
