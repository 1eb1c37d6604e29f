//! A test run from its first check to its last line.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use cargo_metadata::{Artifact, MetadataCommand, PackageId};

use crate::{
    TestOptions, bench, checks, cluster, emu,
    process::{cargo, compile, root},
    report::Report,
    runner::{self, Case, Conditions, Limits},
    setup,
};

/// A compiled test program.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// `moorline-core`, `moorline-tests/rules`.
    pub(crate) name: String,
    pub(crate) executable: PathBuf,
    /// Where cargo would run it.
    pub(crate) directory: PathBuf,
}

/// Runs what `options` select. False if anything failed.
pub(crate) fn run(options: &TestOptions) -> Result<bool> {
    let start = Instant::now();
    let mut report = Report::default();
    if !options.cluster && !options.emu {
        here(options, &mut report)?;
    }
    let whole = options.package.is_empty() && options.filter.is_none();
    if options.emu || options.long && whole && !options.cluster {
        emu::test(options, &mut report)?;
    }
    if options.cluster || options.with_cluster.is_some() {
        cluster::run(options, &mut report)?;
    }
    println!("\nafter {:.0} s", start.elapsed().as_secs_f64());
    print!("{}", report.summary());
    Ok(!report.has_failures())
}

/// The checks, and the tests that need no cluster.
fn here(options: &TestOptions, report: &mut Report) -> Result<()> {
    let whole = options.package.is_empty() && options.filter.is_none();
    if whole {
        checks::room()?;
        setup::peers_of_a_whole_run()?;
        checks::source(report);
    }
    println!("==> build");
    let (programs, binary) = build(options)?;
    if whole {
        checks::generated(report, binary.as_deref());
        checks::doctests(report);
        if options.long {
            checks::dependencies(report);
            checks::image(report);
            checks::fuzz(report);
        }
    }
    println!("==> tests");
    let cases = cases(&programs, options.filter.as_deref())?;
    let jobs = options
        .jobs
        .or_else(|| std::thread::available_parallelism().ok())
        .map_or(1, usize::from);
    let conditions = Conditions {
        jobs,
        limits: Limits {
            test: Duration::from_secs(120),
            long: options.long.then(|| Duration::from_secs(2 * 3600)),
        },
        through: Vec::new(),
        environment: binary
            .into_iter()
            .map(|binary| ("MOORLINE_BIN", binary.into()))
            .collect(),
    };
    runner::run(&cases, &conditions, report);
    if whole && options.long {
        bench::run(&conditions, report)?;
    }
    Ok(())
}

/// The tests of these programs whose name contains `filter`.
pub(crate) fn cases(programs: &[Program], filter: Option<&str>) -> Result<Vec<Case>> {
    let filter = filter.unwrap_or_default();
    let mut cases = Vec::new();
    for program in programs {
        let names = runner::list(program)
            .with_context(|| format!("cannot list the tests of {}", program.name))?;
        let wanted = names.into_iter().filter(|name| name.contains(filter));
        cases.extend(wanted.map(|test| Case {
            program: program.clone(),
            test,
        }));
    }
    Ok(cases)
}

/// Builds tests and binaries; gives the test programs and the `moorline` binary.
fn build(options: &TestOptions) -> Result<(Vec<Program>, Option<PathBuf>)> {
    let mut built = Built::new()?;
    if options.package.is_empty() {
        // All targets but benches, so that the binary itself is built in the same pass.
        built.add(&[
            "test",
            "--no-run",
            "--workspace",
            "--lib",
            "--bins",
            "--tests",
            "--examples",
        ])?;
    } else {
        let selected = options
            .package
            .iter()
            .flat_map(|package| ["--package", package.as_str()]);
        let arguments: Vec<_> = ["test", "--no-run"].into_iter().chain(selected).collect();
        built.add(&arguments)?;
        if options
            .package
            .iter()
            .any(|package| package == "moorline-tests")
        {
            // What they test.
            built.add(&["build", "--workspace", "--bin", "moorline"])?;
        }
    }
    let Built {
        mut programs,
        binary,
        ..
    } = built;
    // End-to-end tests last: they take longest and fail for whatever failed before.
    programs.sort_by_key(|program| (program.name.starts_with("tests"), program.name.clone()));
    Ok((programs, binary))
}

/// What cargo has built.
pub(crate) struct Built {
    pub(crate) programs: Vec<Program>,
    /// `moorline`.
    pub(crate) binary: Option<PathBuf>,
    /// The workspace's packages and where they lie.
    packages: BTreeMap<PackageId, PathBuf>,
}

impl Built {
    pub(crate) fn new() -> Result<Self> {
        let packages = MetadataCommand::new()
            .current_dir(root())
            .no_deps()
            .exec()
            .context("cannot read the workspace")?
            .packages
            .into_iter()
            .filter_map(|package| {
                let directory = package.manifest_path.parent()?.as_std_path().to_path_buf();
                Some((package.id, directory))
            })
            .collect();
        Ok(Self {
            programs: Vec::new(),
            binary: None,
            packages,
        })
    }

    /// Runs cargo with these arguments and keeps what it made.
    pub(crate) fn add(&mut self, arguments: &[&str]) -> Result<()> {
        compile(cargo().args(arguments), &mut |artifact| self.take(artifact))
            .context("no test was run")
    }

    fn take(&mut self, artifact: Artifact) {
        let Some(executable) = artifact.executable.map(PathBuf::from) else {
            return;
        };
        let Some(directory) = self.packages.get(&artifact.package_id) else {
            return;
        };
        if !artifact.profile.test {
            if artifact.target.name == "moorline" {
                self.binary = Some(executable);
            }
            return;
        }
        let package = directory
            .strip_prefix(root())
            .unwrap_or(directory)
            .display()
            .to_string();
        let target = artifact.target;
        let name = if target.is_test() {
            format!("{package}/{}", target.name)
        } else {
            package
        };
        self.programs.push(Program {
            name,
            executable,
            directory: directory.clone(),
        });
    }
}
