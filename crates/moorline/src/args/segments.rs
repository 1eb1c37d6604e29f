//! The arguments of `moorline segments`.

use clap::{Args, Subcommand, ValueEnum};

use super::Target;

const EXPORT_EXAMPLES: &str = "Examples:
  moorline segments export yard --from 21:10 --to 21:20 -f clip.mp4
  moorline segments export yard --from \"2026-11-20 21:10\" --to \"2026-11-20 21:20\" -f clip.mp4
  moorline segments export yard --from 10m -f clip.mp4   # the last ten minutes";

/// A stretch of time.
#[derive(Debug, Clone, Args)]
pub struct Stretch {
    /// Its first instant: 2026-11-20T21:10:05Z, "2026-11-20 21:10" in the camera's time zone, the last 21:10, or an age such as 2h.
    #[arg(long)]
    pub from: String,
    /// Its end, written likewise (21:10: the first one after the beginning); default: now.
    #[arg(long)]
    pub to: Option<String>,
}

/// Which of a camera's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Source {
    /// The full picture.
    Main,
    /// The smaller stream.
    Sub,
}

/// `moorline segments`
#[derive(Debug, Subcommand)]
pub enum Segments {
    /// What is recorded, and why what is missing is missing.
    List {
        /// The camera.
        camera: String,
        /// Its beginning: an age such as 2h, 21:10, "2026-11-20 21:10", or 2026-11-20T21:10:05Z.
        #[arg(long, default_value = "24h")]
        from: String,
        /// Its end; default: now.
        #[arg(long)]
        to: Option<String>,
        /// Recordings of one stream alone, main or sub; default: the best at each instant.
        #[arg(long, value_enum)]
        source: Option<Source>,
    },
    /// Fetch one stored segment by its key.
    Get {
        /// The key, as `segments list --output json` shows it.
        key: String,
        /// Where it goes.
        #[command(flatten)]
        target: Target,
    },
    /// Make one MP4 of a stretch of at most 25 hours, without re-encoding.
    #[command(after_help = EXPORT_EXAMPLES)]
    Export {
        /// The camera.
        camera: String,
        /// The stretch.
        #[command(flatten)]
        stretch: Stretch,
        /// Recordings of one stream alone, main or sub; default: the best at each instant.
        #[arg(long, value_enum)]
        source: Option<Source>,
        /// Where it goes.
        #[command(flatten)]
        target: Target,
    },
    /// Find what the store lost or spoiled.
    Verify {
        /// The camera; default: all.
        camera: Option<String>,
        /// Its beginning, as in `segments list`; default: everything kept.
        #[arg(long)]
        from: Option<String>,
        /// Its end; default: now.
        #[arg(long)]
        to: Option<String>,
        /// Read every object instead of a sample.
        #[arg(long)]
        full: bool,
        /// Recordings of one stream alone, main or sub; default: of both.
        #[arg(long, value_enum)]
        source: Option<Source>,
    },
}
