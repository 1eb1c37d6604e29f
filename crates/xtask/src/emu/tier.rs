//! The tests that boot the emulated camera: `cargo xtask test --emu`, and the end of the long tier.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::{
    TestOptions,
    report::{Report, Verdict},
    runner::{self, Case, Conditions, Limits},
    setup,
    suite::{self, Built},
};

/// They are those of this module of the end-to-end tests.
const MODULE: &str = "emulated::";
/// A boot takes some seconds, noticing a dead camera most of a minute.
const LIMIT: Duration = Duration::from_secs(300);

/// Builds the agent, the board and the tests, and runs them.
pub(crate) fn run(options: &TestOptions, report: &mut Report) -> Result<()> {
    println!("==> build of the emulated camera's tests");
    let mut built = Built::new()?;
    built.add(&[
        "test",
        "--no-run",
        "--workspace",
        "--test",
        "e2e",
        "--features",
        "moorline-tests/emu",
    ])?;
    built.add(&["build", "--workspace", "--bin", "moorline"])?;
    built.programs.retain(|program| program.name == "tests/e2e");
    let mut cases = suite::cases(&built.programs, options.filter.as_deref())?;
    cases.retain(|case| case.test.starts_with(MODULE));

    println!("==> agent for MIPS, and the emulated camera");
    let start = Instant::now();
    // A machine without the tools may do without these tests; an agent that does not build, or is too large, is a failure.
    if let Err(error) = setup::install(&super::packages()) {
        skip(
            &cases,
            &format!("the emulated camera cannot be had here: {error:#}"),
            report,
        );
        return Ok(());
    }
    let board = super::board().context("no emulated camera")?;
    println!("    {:.0} s", start.elapsed().as_secs_f64());
    println!("==> tests of the emulated camera");
    let binary = built.binary.map(|binary| ("MOORLINE_BIN", binary.into()));
    let conditions = Conditions {
        // Each has a processor to itself: QEMU's is a tenth as fast.
        jobs: options
            .jobs
            .or_else(|| std::thread::available_parallelism().ok())
            .map_or(1, |jobs| usize::from(jobs).div_ceil(2)),
        limits: Limits {
            test: LIMIT,
            long: options.long.then_some(LIMIT),
        },
        through: Vec::new(),
        environment: binary
            .into_iter()
            .chain([("MOORLINE_EMU", board.into())])
            .collect(),
    };
    runner::run(&cases, &conditions, report);
    Ok(())
}

fn skip(cases: &[Case], reason: &str, report: &mut Report) {
    for case in cases {
        let name = format!("{} {}", case.program.name, case.test);
        report.add(&name, Verdict::Skipped(reason.to_owned()), Duration::ZERO);
    }
}
