//! `cargo xtask`: what a contributor and the CI run.
//!
//! **Owns**: the test tiers, the packages that the tests need, the cluster lab, the emulated camera, the image, what is released, and the files that are generated. **Does not own**: the rules of the
//! repository, which are tests (`tests/tests/rules`), and anything of the product.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "the bans keep the product's time and environment injectable; this is a build tool"
)]

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

mod alerts;
mod bench;
mod checks;
mod cluster;
mod debian;
mod dist;
mod emu;
mod fuzz;
mod generate;
mod helm;
mod image;
mod lab;
mod oci;
mod process;
mod report;
mod runner;
mod setup;
mod suite;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tasks of the Moorline repository")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Format, lints, docs, generated files and all tests; ends with "N passed, N failed, N skipped"
    Test(TestOptions),
    /// Install the Debian packages of the peers that the tests need
    Setup {
        /// Also build what the long tier needs (Garage, cargo-deny, cargo-fuzz; up to half an hour) into target/peers
        #[arg(long)]
        long: bool,
        /// Also install what `test --emu`, `emu` and `dist` need: QEMU, cross compilers, a compiler with the source of its library (1 GB)
        #[arg(long)]
        emu: bool,
    },
    /// Fuzz everything that reads strangers' bytes; needs what `setup --long` builds
    Fuzz {
        /// Only this target (a file of fuzz/fuzz_targets) [default: all, one after another]
        target: Option<String>,
        /// How long each runs
        #[arg(long, value_name = "N", default_value_t = 60)]
        seconds: u64,
    },
    /// Make the generated files again (docs/reference, charts/moorline-crds, deploy/k8s)
    Generate {
        /// Change nothing; fail if a file is not what would be made
        #[arg(long)]
        check: bool,
    },
    /// Build the binary statically and write it as an OCI image into target/image; needs no container daemon
    Image {
        /// Name of the image; the version becomes its tag
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// Build it again from nothing in another directory and fail unless the digest is the same
        #[arg(long)]
        twice: bool,
        /// The image of the cluster tests instead, into target/image-quick: the debug binary with the libraries of this machine, within seconds
        #[arg(long, conflicts_with_all = ["name", "twice"])]
        quick: bool,
    },
    /// Build the agent for cameras, static and small, into target/dist with SHA256SUMS and SHA512SUMS; installs the compilers that are missing
    Dist(dist::Options),
    /// Start the emulated camera: a 64 MB MIPS machine in QEMU with the agent on it. Ctrl-C ends it
    Emu(emu::Options),
    /// A Kubernetes cluster of real nodes on this machine, in namespaces without a way out. Needs root
    Lab {
        #[command(subcommand)]
        task: lab::Task,
    },
}

#[derive(Args)]
struct TestOptions {
    /// The long tier: also tests marked `#[ignore = "long: …"]`, those of `moorline bench`, cargo-deny and a minute of each fuzz target
    #[arg(long)]
    long: bool,
    /// Only the cluster tests, on the lab, or on a cluster of your own; with --long those of the long tier too
    #[arg(long, conflicts_with = "package")]
    cluster: bool,
    /// The pods of the cluster tests run what is released (`cargo xtask image`), as in the whole long tier, and not what was built for the tests
    #[arg(long)]
    released: bool,
    /// Also the cluster tests, at the end: all, or those whose name contains this
    #[arg(long, value_name = "FILTER", num_args = 0..=1, require_equals = true, default_missing_value = "", conflicts_with_all = ["cluster", "package", "filter"])]
    with_cluster: Option<String>,
    /// Only the tests of the emulated camera (docs/design/camera-lab.md); with --long they run at the end
    #[arg(long, conflicts_with_all = ["cluster", "package"])]
    emu: bool,
    /// The cluster tests run on the cluster of this file instead of the lab (docs/design/cluster-lab.md says what it needs)
    #[arg(long, value_name = "FILE", requires_all = ["cluster", "image"])]
    kubeconfig: Option<PathBuf>,
    /// The image that the nodes of that cluster can pull
    #[arg(long, value_name = "REFERENCE", requires = "kubeconfig")]
    image: Option<String>,
    /// Only the tests of this package; leaves out the checks (may be repeated)
    #[arg(long, short, value_name = "NAME")]
    package: Vec<String>,
    /// Only tests whose name contains this; leaves out the checks
    #[arg(value_name = "FILTER")]
    filter: Option<String>,
    /// How many tests run at once [default: one per processor]
    #[arg(long, short, value_name = "N")]
    jobs: Option<std::num::NonZeroUsize>,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().task {
        Task::Test(options) => suite::run(&options),
        Task::Setup { long, emu } => setup::run(long, emu).map(|()| true),
        Task::Fuzz { target, seconds } => fuzz::run(target.as_deref(), seconds).map(|()| true),
        Task::Generate { check } => generated(check),
        Task::Image { quick: true, .. } => image::quick::run().map(|_| true),
        Task::Image { name, twice, .. } => image::run(name.as_deref(), twice).map(|_| true),
        Task::Dist(options) => dist::run(&options).map(|()| true),
        Task::Emu(options) => emu::run(&options).map(|()| true),
        Task::Lab { task } => lab::run(&task).map(|()| true),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// All generated files; those of the chart after the definitions that the binary makes.
fn generated(check: bool) -> anyhow::Result<bool> {
    generate::run(check, None)?;
    if let helm::Outcome::Skipped(reason) = helm::run(check)? {
        println!("deploy/k8s was left as it is: {reason}");
    }
    Ok(true)
}
