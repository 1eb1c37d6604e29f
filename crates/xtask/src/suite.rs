//! A test run from its first check to its last line.

use std::{
    collections::BTreeMap,
    io::BufReader,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use cargo_metadata::{Artifact, Message, MetadataCommand, PackageId};

use crate::{
    TestOptions, checks,
    process::{cargo, root},
    report::Report,
    runner::{self, Case, Limits},
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
    let whole = options.package.is_empty() && options.filter.is_none();
    if whole {
        checks::source(&mut report);
    }
    println!("==> build");
    let (programs, binary) = build(options)?;
    if whole {
        checks::generated(&mut report);
        checks::doctests(&mut report);
        if options.long {
            checks::dependencies(&mut report);
            checks::fuzz(&mut report);
        }
    }
    println!("==> tests");
    let mut cases = Vec::new();
    for program in &programs {
        let filter = options.filter.as_deref().unwrap_or_default();
        let names = runner::list(program)
            .with_context(|| format!("cannot list the tests of {}", program.name))?;
        let wanted = names.into_iter().filter(|name| name.contains(filter));
        cases.extend(wanted.map(|test| Case {
            program: program.clone(),
            test,
        }));
    }
    let limits = Limits {
        test: Duration::from_secs(120),
        long: options.long.then(|| Duration::from_secs(2 * 3600)),
    };
    let jobs = options
        .jobs
        .or_else(|| std::thread::available_parallelism().ok())
        .map_or(1, usize::from);
    runner::run(&cases, jobs, limits, binary.as_deref(), &mut report);
    println!("\nafter {:.0} s", start.elapsed().as_secs_f64());
    print!("{}", report.summary());
    Ok(!report.has_failures())
}

/// Builds tests and binaries; gives the test programs and the `moorline` binary.
fn build(options: &TestOptions) -> Result<(Vec<Program>, Option<PathBuf>)> {
    let packages: BTreeMap<PackageId, PathBuf> = MetadataCommand::new()
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
    let mut programs = Vec::new();
    let mut binary = None;
    let mut take = |artifact: Artifact| {
        let Some(executable) = artifact.executable.map(PathBuf::from) else {
            return;
        };
        let Some(directory) = packages.get(&artifact.package_id) else {
            return;
        };
        if !artifact.profile.test {
            if artifact.target.name == "moorline" {
                binary = Some(executable);
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
        programs.push(Program {
            name,
            executable,
            directory: directory.clone(),
        });
    };
    if options.package.is_empty() {
        // All targets but benches, so that the binary itself is built in the same pass.
        compile(
            &[
                "test",
                "--no-run",
                "--workspace",
                "--lib",
                "--bins",
                "--tests",
                "--examples",
            ],
            &mut take,
        )?;
    } else {
        let selected = options
            .package
            .iter()
            .flat_map(|package| ["--package", package.as_str()]);
        let arguments: Vec<_> = ["test", "--no-run"].into_iter().chain(selected).collect();
        compile(&arguments, &mut take)?;
        if options
            .package
            .iter()
            .any(|package| package == "moorline-tests")
        {
            // What they test.
            compile(
                &["build", "--package", "moorline", "--bin", "moorline"],
                &mut take,
            )?;
        }
    }
    // End-to-end tests last: they take longest and fail for whatever failed before.
    programs.sort_by_key(|program| (program.name.starts_with("tests"), program.name.clone()));
    Ok((programs, binary))
}

/// Runs cargo and hands on what it made.
fn compile(arguments: &[&str], take: &mut impl FnMut(Artifact)) -> Result<()> {
    let mut command = cargo();
    command
        .args(arguments)
        .arg("--message-format=json-render-diagnostics")
        .stdout(Stdio::piped());
    let mut child = command.spawn().context("cannot start cargo")?;
    let stdout = child.stdout.take().context("cargo has no output")?;
    for message in Message::parse_stream(BufReader::new(stdout)) {
        if let Message::CompilerArtifact(artifact) =
            message.context("cannot read cargo's messages")?
        {
            take(artifact);
        }
    }
    if !child.wait()?.success() {
        bail!("the build failed: no test was run");
    }
    Ok(())
}
