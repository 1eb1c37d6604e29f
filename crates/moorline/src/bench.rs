//! `moorline bench`: numbers of this machine, the real peer in the same run where one exists.
//!
//! **Owns** the load and the measuring; the server that is measured is `moorline serve` in a process of its own, for `bench cluster` an
//! installation that is there already, and cameras and viewers run in this process. **Does not own** correctness: that is the tests'. Everything that a bench starts ends with it, also when it
//! is killed (`leash`), and every wait has a deadline.
#![allow(
    clippy::disallowed_methods,
    reason = "a stop watch looks at the real clock and waits in real time; nothing here runs in the server"
)]

mod against;
mod alone;
mod archive;
#[cfg(feature = "kube")]
mod cluster;
mod leash;
mod machine;
mod place;
mod relay;
mod report;
mod ssh;
mod sshd;
mod viewer;

use std::path::PathBuf;
use std::time::Duration;

use moorline_base::logging::{self, Format};

use crate::args::{Bench, BenchOptions, Global};
use crate::output;
use machine::Observation;
use report::Report;

/// How a bench is run.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Where data directories are made: its disk is part of what is measured.
    pub scratch: PathBuf,
    /// Seconds of each measurement.
    pub seconds: u64,
    /// Numbers of cameras to record, rising.
    pub cameras: Vec<usize>,
}

/// Runs a bench; `false` if a bar is not met.
///
/// # Errors
/// A server or a camera does not start; what was measured so far is printed.
pub async fn run(global: &Global, bench: Bench) -> anyhow::Result<bool> {
    match bench {
        Bench::Leash { parent, command } => leash::run(parent, &command).map(|()| true),
        Bench::Alone { keys } => {
            prepare();
            alone::serve(&keys).await.map(|()| true)
        }
        Bench::Ssh { options, only } => {
            let setting = Setting::of(&options, Vec::new());
            let work = async |report: &mut Report| ssh::run(&only, &setting, report).await;
            observed("ssh", global, work).await
        }
        Bench::Relay { options, only } => {
            let setting = Setting::of(&options, Vec::new());
            let work = async |report: &mut Report| relay::run(&only, &setting, report).await;
            observed("relay", global, work).await
        }
        Bench::Archive {
            options,
            cameras,
            only_recording,
        } => {
            let setting = Setting::of(&options, cameras);
            let work =
                async |report: &mut Report| archive::run(only_recording, &setting, report).await;
            observed("archive", global, work).await
        }
        #[cfg(feature = "kube")]
        Bench::Cluster(asked) => {
            let work = async |report: &mut Report| cluster::run(&asked, report).await;
            observed("cluster", global, work).await
        }
    }
}

impl Setting {
    fn of(options: &BenchOptions, cameras: Vec<usize>) -> Self {
        Self {
            scratch: options.scratch.clone().unwrap_or_else(std::env::temp_dir),
            seconds: options.seconds.clamp(1, 600),
            cameras,
        }
    }
}

fn prepare() {
    let _ = logging::init("error", Format::Auto);
    let _ = moorline_base::net::raise_open_files();
}

/// Measures, watches the machine meanwhile, and prints.
async fn observed(
    name: &'static str,
    global: &Global,
    work: impl AsyncFnOnce(&mut Report) -> anyhow::Result<()>,
) -> anyhow::Result<bool> {
    prepare();
    let mut report = Report::new(name);
    let observation = Observation::begin();
    let result = work(&mut report).await;
    report.machine = Some(observation.end());
    report.print(global.output)?;
    result.map(|()| report.is_met())
}

/// Waits.
async fn pause(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// Says what comes, and how long it takes.
fn progress(what: &str, seconds: u64) {
    output::say(&format!("{what} (about {seconds} s)"));
}
