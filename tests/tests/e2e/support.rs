//! What the themes share: a running server, cameras in front of it, players behind it.
//!
//! - [`Moorline`]: `moorline serve` as a child process, its command line and its API;
//! - [`Dbclient`], [`simulated`], [`listening`]: cameras;
//! - [`foreign`]: GStreamer's camera, which tells what it sent;
//! - [`Player`]: any program that writes H.264 to standard output, seen as the [`Stamp`]s of its pictures.
//!
//! Every wait has a deadline that `MOORLINE_TEST_PATIENCE` stretches; whatever is started ends with its value.

mod camera;
pub(crate) mod foreign;
mod player;
mod server;
mod stamps;

use std::time::Duration;

pub(crate) use camera::{Dbclient, listening, pin, quick, simulated, simulated_with};
pub(crate) use player::{Player, ffmpeg, unplayable};
pub(crate) use server::{Moorline, Setup, command};
pub(crate) use stamps::{assert_in_order, exported, numbers};

/// The deadline of what takes no time on a quiet machine. On a busy one a dozen programs that start at once take half a minute.
pub(crate) const SOON: Duration = Duration::from_secs(60);
