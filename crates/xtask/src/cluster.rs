//! The cluster tests: on the lab, which is made for them, or on a cluster that the caller names.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::{
    TestOptions, bench,
    image::{self, Made},
    lab::{self, Lab},
    oci,
    process::target_directory,
    report::{Report, Verdict},
    runner::{self, Case, Conditions, Limits},
    suite::{self, Built},
};

/// Losing a node and getting it back takes half a minute; the guide, from an empty cluster to an empty cluster, minutes.
const LIMIT: Duration = Duration::from_secs(600);
/// Outages of minutes are the long tier's.
const LONG: Duration = Duration::from_secs(1800);
/// The tests that upgrade an installation.
const UPGRADES: &str = "rollout::";

/// The tests of `moorline bench cluster`.
const BENCH: &str = "benched::";

/// Runs the cluster tests that `options` select.
pub(crate) fn run(options: &TestOptions, report: &mut Report) -> Result<()> {
    println!("==> build of the cluster tests");
    let mut built = Built::new()?;
    // Of the whole workspace, so that dependencies have the features with which the other tests were built.
    built.add(&[
        "test",
        "--no-run",
        "--workspace",
        "--test",
        "cluster",
        "--features",
        "moorline-tests/cluster",
    ])?;
    // Other packages may have a program of this name.
    built
        .programs
        .retain(|program| program.name == "tests/cluster");
    let filter = options.with_cluster.as_ref().or(options.filter.as_ref());
    let cases = suite::cases(&built.programs, filter.map(String::as_str))?;
    match (&options.kubeconfig, &options.image) {
        (Some(kubeconfig), Some(image)) => {
            println!(
                "==> cluster tests on the cluster of {}",
                kubeconfig.display()
            );
            let kubeconfig = std::path::absolute(kubeconfig)?;
            let mut conditions = conditions(&kubeconfig, image, options);
            let binary = built.binary.iter();
            let binary = binary.map(|binary| ("MOORLINE_BIN", binary.into()));
            conditions.environment.extend(binary);
            runner::run(&cases, &conditions, report);
            Ok(())
        }
        _ => on_the_lab(&cases, options, report),
    }
}

/// How the tests run on any cluster. One at a time: some take a node away from under the others.
fn conditions(kubeconfig: &Path, image: &str, options: &TestOptions) -> Conditions {
    Conditions {
        jobs: 1,
        limits: Limits {
            test: LIMIT,
            long: options.long.then_some(LONG),
        },
        through: Vec::new(),
        environment: vec![
            ("MOORLINE_CLUSTER_KUBECONFIG", kubeconfig.into()),
            ("MOORLINE_CLUSTER_IMAGE", image.into()),
        ],
    }
}

fn on_the_lab(cases: &[Case], options: &TestOptions, report: &mut Report) -> Result<()> {
    if let Some(reason) = lab::impossible() {
        skip(
            cases,
            &format!("the cluster lab cannot run here: {reason}"),
            report,
        );
        return Ok(());
    }
    println!("==> programs of the cluster lab");
    let start = Instant::now();
    if let Err(error) = lab::fetch_for_tests(options.long) {
        skip(
            cases,
            &format!("the cluster lab cannot be had here: {error:#}"),
            report,
        );
        return Ok(());
    }
    println!("    {:.0} s", start.elapsed().as_secs_f64());
    println!("==> image");
    let start = Instant::now();
    let bench = options.long && cases.iter().any(|case| case.test.starts_with(BENCH));
    let bench = bench.then(bench::binary).transpose()?;
    let images = image(options).and_then(|image| Ok((next(&image, cases)?, image)));
    let (next, image) = match images {
        Ok(images) => images,
        Err(error) => {
            let verdict = Verdict::Failed(format!("{error:#}"));
            report.add("image of the cluster tests", verdict, Duration::ZERO);
            skip(cases, "there is no image, see the failed check", report);
            return Ok(());
        }
    };
    report.add(
        "image of the cluster tests",
        Verdict::Passed,
        Duration::ZERO,
    );
    println!("    {:.0} s", start.elapsed().as_secs_f64());

    println!("==> cluster tests on the lab");
    let start = Instant::now();
    let lab = match Lab::up(&image.file) {
        Ok(lab) => lab,
        Err(error) => {
            let verdict = Verdict::Failed(format!("{error:#}"));
            report.add("the cluster lab comes up", verdict, start.elapsed());
            skip(cases, "the lab is not up, see the failed check", report);
            return Ok(());
        }
    };
    println!("    up after {:.1} s", start.elapsed().as_secs_f64());
    let failures = report.failures();
    let mut conditions = conditions(&lab.kubeconfig()?, &image.reference, options);
    let (through, setting) = lab.through();
    conditions.through = vec![through.into()];
    conditions.environment.extend([
        (setting.0, OsString::from(setting.1)),
        ("MOORLINE_CLUSTER_LAB", lab::scripts().into()),
        ("MOORLINE_BIN", image.binary.into()),
    ]);
    let bench = bench.map(|bench| ("MOORLINE_BENCH_BIN", bench.into()));
    conditions.environment.extend(bench);
    if let Some((name, file)) = next {
        conditions.environment.extend([
            ("MOORLINE_CLUSTER_NEXT_IMAGE", name.into()),
            ("MOORLINE_CLUSTER_NEXT_IMAGE_FILE", file.into()),
        ]);
    }
    runner::run(cases, &conditions, report);
    if report.failures() > failures {
        let kept = lab.keep_logs().context("cannot keep the logs of the lab")?;
        println!("    logs of the lab: {}", kept.display());
    }
    let start = Instant::now();
    let verdict = match lab.down() {
        Ok(()) => Verdict::Passed,
        Err(error) => Verdict::Failed(format!("{error:#}")),
    };
    println!("    down after {:.1} s", start.elapsed().as_secs_f64());
    report.add("the lab leaves nothing behind", verdict, Duration::ZERO);
    Ok(())
}

/// What runs in the pods: in the long tier what is released; else, and where single tests are asked for, what was built for the tests.
fn image(options: &TestOptions) -> Result<Made> {
    if options.released || options.long && options.filter.is_none() {
        return image::run(None, false);
    }
    image::quick::run()
}

/// What an upgrade would bring: the same programs under another name and digest, in a file of its own of some 300 MB. The tests of an upgrade put it on the
/// nodes; where none of them runs there is none.
fn next(image: &Made, cases: &[Case]) -> Result<Option<(String, PathBuf)>> {
    if !cases.iter().any(|case| case.test.starts_with(UPGRADES)) {
        return Ok(None);
    }
    let place = target_directory()?.join("image-next");
    std::fs::create_dir_all(&place)?;
    let (name, file) = (
        format!("{}-next", image.reference),
        place.join("moorline.tar"),
    );
    let label = ("org.opencontainers.image.version", "next");
    oci::relabelled(&image.file, label, &name, &file)?;
    Ok(Some((name, file)))
}

fn skip(cases: &[Case], reason: &str, report: &mut Report) {
    for case in cases {
        let name = format!("{} {}", case.program.name, case.test);
        report.add(&name, Verdict::Skipped(reason.to_owned()), Duration::ZERO);
    }
}
