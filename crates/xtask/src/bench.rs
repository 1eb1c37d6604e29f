//! The tests of `moorline bench`: a feature that no other build has.
//!
//! They come after all others: with the feature cargo puts another `moorline` where that one lies which the others start. What follows builds its own
//! again.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};

use crate::{
    process::target_directory,
    report::{Report, Verdict},
    runner::{self, Case, Conditions},
    suite::{self, Built, Program},
};

const BUILD: &str = "build with the feature bench";
const PACKAGE: &str = "crates/moorline";

/// Builds and runs them. If they do not build, that is one failed check and the run goes on.
pub(crate) fn run(conditions: &Conditions, report: &mut Report) -> Result<()> {
    println!("==> {BUILD}");
    let mut built = Built::new()?;
    // Of the whole workspace, so that dependencies have the features with which the other tests were built.
    let made = built.add(&[
        "test",
        "--no-run",
        "--workspace",
        "--bin",
        "moorline",
        "--test",
        "bench",
        "--test",
        "on_cluster",
        "--features",
        "moorline/bench",
    ]);
    let verdict = match &made {
        Ok(()) => Verdict::Passed,
        Err(error) => Verdict::Failed(format!("{error:#}")),
    };
    report.add(BUILD, verdict, Duration::ZERO);
    if made.is_err() {
        return Ok(());
    }
    println!("==> tests of the bench");
    let programs: Vec<_> = built.programs.into_iter().filter_map(told_apart).collect();
    let mut cases = suite::cases(&programs, None)?;
    cases.retain(is_the_benchs);
    runner::run(&cases, conditions, report);
    Ok(())
}

/// Builds a `moorline` that has the bench, for the tests of an installation, and puts it aside: what follows builds its own again.
pub(crate) fn binary() -> Result<PathBuf> {
    let mut built = Built::new()?;
    built.add(&[
        "build",
        "--workspace",
        "--bin",
        "moorline",
        "--features",
        "moorline/bench",
    ])?;
    let binary = built.binary.context("cargo built no moorline")?;
    let place = target_directory()?.join("bench");
    std::fs::create_dir_all(&place)?;
    let aside = place.join("moorline");
    // A new file: the old one may run.
    let new = place.join("moorline.new");
    std::fs::copy(binary, &new)?;
    std::fs::rename(new, &aside)?;
    Ok(aside)
}

/// `crates/moorline (bench)`: the same programs have run without the feature.
fn told_apart(mut program: Program) -> Option<Program> {
    let target = program.name.strip_prefix(PACKAGE)?;
    program.name = format!("{PACKAGE} (bench){target}");
    Some(program)
}

/// Whether it is only there with the feature.
fn is_the_benchs(case: &Case) -> bool {
    case.program.name.ends_with("/bench") || case.test.starts_with("bench::")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(program: &str, test: &str) -> Option<Case> {
        let program = told_apart(Program {
            name: program.to_owned(),
            executable: "program".into(),
            directory: ".".into(),
        })?;
        let test = test.to_owned();
        Some(Case { program, test })
    }

    #[test]
    fn only_what_has_not_run_yet_runs_and_under_a_name_of_its_own() {
        let cases = [
            case("crates/moorline", "bench::report::tests::a_bar"),
            case("crates/moorline", "backup::tests::a_backup"),
            case("crates/moorline/bench", "a_leash"),
            case("crates/moorline/on_cluster", "bench::a_tenant"),
            case("crates/moorline/on_cluster", "erase::a_camera"),
            case("tests/bench", "another_packages"),
        ];
        let run = cases.iter().flatten().filter(|case| is_the_benchs(case));
        let names = run.map(|case| format!("{} {}", case.program.name, case.test));
        assert_eq!(
            names.collect::<Vec<_>>(),
            [
                "crates/moorline (bench) bench::report::tests::a_bar",
                "crates/moorline (bench)/bench a_leash",
                "crates/moorline (bench)/on_cluster bench::a_tenant",
            ]
        );
    }
}
