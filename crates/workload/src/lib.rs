//! The program of a camera's pods, `moorline-workload`: relay and archiver of one camera.
//!
//! ```text
//!  moorline mon (tunnel gateway) ◀─TLS─ relay pod ◀─ticket─ archiver pod ─presigned PUT─▶ store
//!                ▲── control ── both                          └─ presign, ticket ─▶ moorline signer
//! ```
//! **Owns** composition only: which adapter of `gateway` stands behind a port of `proxy` and `archiver`, the order of the stop, and what these two
//! processes are told ([`args`]). **Does not own** pods (`kube`) and what relay and archiver do. It is no part of `moorline` since there are two such
//! processes for each camera: what they do not use (the API server's client, the bucket's, databases, pages) must not be in their memory.
//!
//! How it ends: on SIGTERM the workload drains within its budget, then its connections close (P8); by a fault it ends with 1, and the kubelet starts
//! the container again. Exit codes: 0 done, 1 failed, 2 usage.

mod archive;
pub mod args;
mod camera;
mod pod;
mod proxy;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use moorline_base::logging;
use tokio::runtime::Builder;

use args::{Cli, Command};

/// What may block at a time. The archiver's spool has at most twelve such jobs (eight that write, four that read): a disk that hangs holds them all, and there
/// must be threads left for names of Services and a file's length.
const BLOCKING: usize = 16;
/// An idle one ends after so long. A fragment is synced each 2 s or less, so the one that does it stays, and those of a burst go.
const IDLE: Duration = Duration::from_secs(3);

/// Runs the program: reads arguments and environment, runs the workload until it ends.
pub fn main() -> ExitCode {
    moorline_base::secret::leave_no_core();
    let cli = Cli::parse();
    let code = match ran(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    };
    logging::finish();
    code
}

fn ran(cli: Cli) -> anyhow::Result<()> {
    // One thread carries one camera (its media are some Mbit/s, its readers a few front doors) and each more would have a stack and memory of its own;
    // what blocks has threads that come and go, and one writes the log, so that nobody who does not read it holds this one up.
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING)
        .thread_keep_alive(IDLE)
        .build()?;
    let result = runtime.block_on(run(cli.command));
    // What still runs was told to stop; a read of a disk that hangs would never return.
    runtime.shutdown_background();
    result
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Proxy(args) => proxy::run(*args).await,
        Command::Archive(args) => archive::run(*args).await,
    }
}

/// Tells why on standard error, which is the pod's log.
fn failed(error: &anyhow::Error) -> ExitCode {
    let told = moorline_base::error::report(error.as_ref());
    logging::say(&format!("error: {told}"));
    ExitCode::FAILURE
}
