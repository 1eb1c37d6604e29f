//! Hands the target triple to the agent: it says in its own file and in STATUS what it was built for.
#![expect(
    clippy::disallowed_methods,
    reason = "cargo speaks to build scripts by their environment"
)]

use std::io::Write as _;

fn main() -> std::io::Result<()> {
    let target = std::env::var("TARGET").unwrap_or_else(|_| "unknown".to_owned());
    writeln!(
        std::io::stdout(),
        "cargo::rustc-env=MOORLINE_TARGET={target}\ncargo::rerun-if-changed=build.rs"
    )
}
