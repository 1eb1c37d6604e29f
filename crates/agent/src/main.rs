//! `moorline-agent`: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    moorline_agent::main(std::env::args().skip(1))
}
