//! What this agent is: its version and the target that it was built for, as they stand in its file.

use moorline_control::{Stamp, Version};

/// One text in the file, and all that the agent says of itself is read from it: what is offered, signed and started is known by the same bytes.
static STAMP: &str = concat!(
    "moorline-agent-stamp ",
    env!("CARGO_PKG_VERSION"),
    " ",
    env!("MOORLINE_TARGET"),
    "\n"
);

/// This agent's own stamp; `None` for a build whose version is not `a.b.c`, which is never upgraded.
#[must_use]
pub fn own() -> Option<Stamp> {
    // Not to be worked out by the compiler: the text must stand in the file.
    Stamp::find(std::hint::black_box(STAMP).as_bytes())
}

/// This agent's version, as it is shown.
#[must_use]
pub fn version() -> String {
    own().map_or_else(
        || env!("CARGO_PKG_VERSION").to_owned(),
        |stamp| stamp.version.to_string(),
    )
}

/// Whether an agent of that version may take the place of this one.
#[must_use]
pub fn is_not_older(version: Version) -> bool {
    own().is_some_and(|own| version >= own.version)
}
