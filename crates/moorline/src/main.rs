//! The one binary: reads arguments, environment and configuration, wires the parts, prints.
//!
//! Nothing else in the workspace reads the environment, parses arguments, prints or installs a subscriber. Exit codes: 0 done, 1 failed or
//! something is wrong, 2 usage.

#![expect(
    unreachable_pub,
    reason = "nothing is reachable from outside a binary; `pub` tells what a module offers"
)]
#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "tests may write plain files")
)]

mod absent;
mod agents;
mod args;
mod backup;
#[cfg(feature = "bench")]
mod bench;
mod client;
#[cfg(feature = "kube")]
mod cluster;
mod command;
mod demo;
mod generate;
mod moments;
mod offline;
mod output;
mod serve;
mod settings;
#[cfg(test)]
mod spoken;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use moorline_base::error::Hinted;
use moorline_base::logging::{self, Format, LogHandle};
use moorline_base::shutdown::Signals;
use serde_json::json;

use args::{AgentRelease, Cli, Command, Global, Listen, Output};
use client::Client;
use command::{operate, secret};
use serve::Server;

/// glibc's allocator trims and faults on each 33 KB packet: 1.2 to 1.5 times the CPU (docs/design/tunnel.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    moorline_base::secret::leave_no_core();
    let cli = Cli::try_parse().unwrap_or_else(|error| args::as_typed(error).exit());
    let code = match ran(cli) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => failed(&error),
    };
    logging::finish();
    code
}

fn ran(cli: Cli) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(run(cli));
    // What still runs was told to stop; blocking reads of a terminal would never return.
    runtime.shutdown_background();
    result
}

fn failed(error: &anyhow::Error) -> ExitCode {
    output::say(&format!(
        "error: {}",
        moorline_base::error::report(error.as_ref())
    ));
    ExitCode::FAILURE
}

/// Does what was asked; `false`: done, and something is wrong.
async fn run(cli: Cli) -> anyhow::Result<bool> {
    let Cli { global, command } = cli;
    let format = global.output;
    match command {
        Command::Serve(listen) => {
            let log = server_log(&global)?;
            let mut signals = Signals::install()?;
            if let Some(server) = started(&global, &listen, log, &mut signals).await? {
                announced(server, format, signals).await?;
            }
        }
        Command::Demo(demo) => demo::run(&global, demo).await?,
        #[cfg(feature = "kube")]
        Command::Mon => cluster::mon::run(&global).await?,
        #[cfg(feature = "kube")]
        Command::Signer => cluster::signer::run(&global).await?,
        #[cfg(feature = "kube")]
        Command::Tenants => cluster::tenants::run(&global).await?,
        #[cfg(feature = "kube")]
        Command::Sweeper => cluster::sweeper::run(&global).await?,
        #[cfg(feature = "kube")]
        Command::ClusterCheck(check) => cluster::check::run(&global, *check).await?,
        #[cfg(feature = "kube")]
        Command::Frontdoor => cluster::frontdoor::run(&global).await?,
        #[cfg(feature = "kube")]
        Command::Keys(args::Keys::Init(keys)) => {
            let made = cluster::keys::init(&keys)?;
            match keys.is_to_standard_output() {
                // The Secrets are there already, for whoever reads them from a pipe.
                true => output::say(&made.to_string()),
                false => output::print(format, &made, || made.to_string())?,
            }
        }
        #[cfg(feature = "kube")]
        Command::Keys(args::Keys::Rotate(asked)) => {
            let rotated = cluster::keys::rotate(&asked)?;
            output::print(format, &rotated, || rotated.to_string())?;
        }
        #[cfg(feature = "kube")]
        Command::Tenant(command) => {
            let _ = logging::init("warn", Format::Auto);
            command::tenant::run(command, format).await?;
        }
        #[cfg(feature = "kube")]
        Command::Camera(command) if command.on.which.is_chosen() => {
            let _ = logging::init("warn", Format::Auto);
            return command::camera::on_cluster(command, format).await;
        }
        #[cfg(feature = "kube")]
        Command::User(command) if command.on.which.is_chosen() => {
            let _ = logging::init("warn", Format::Auto);
            command::user::on_cluster(command, format).await?;
        }
        #[cfg(feature = "kube")]
        Command::Audit(wanted) if wanted.on.which.is_chosen() => {
            let _ = logging::init("warn", Format::Auto);
            command::audit::on_cluster(wanted, format).await?;
        }
        #[cfg(feature = "kube")]
        Command::Attach => {
            let data = global.data.clone();
            tokio::task::spawn_blocking(move || client::attach(&data)).await??;
        }
        #[cfg(feature = "bench")]
        Command::Bench(bench) => return bench::run(&global, bench).await,
        Command::Config(command) => {
            operate::config(&command, &global.data, global.config.as_deref(), format)?
        }
        Command::HostKey(asked) => command::host_key::run(&asked, &global.data, format)?,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "moorline", &mut script);
            let script = String::from_utf8(script)?;
            let told = json!({"shell": shell.to_string(), "script": script});
            output::print(format, &told, || script)?;
        }
        Command::Generate(args::Generate::Reference { out }) => generate::run(&out).await?,
        #[cfg(feature = "kube")]
        Command::Generate(args::Generate::Resources { out }) => generate::resources(&out)?,
        Command::Restore(restore) => {
            let passphrase = secret(
                restore.passphrase_file.as_deref(),
                "--passphrase-file",
                "passphrase of the backup",
            )?;
            let files = backup::restore(&restore.file, &passphrase, &global.data).await?;
            let told = json!({"data": global.data, "files": files});
            output::print(format, &told, || {
                format!(
                    "restored into {}: {}",
                    global.data.display(),
                    files.join(", ")
                )
            })?;
        }
        Command::AgentRelease(command) => return agent_release(command, &global).await,
        Command::Log(log) => {
            let client = Client::running(&global.data).await?;
            operate::log(&client, log.filter, format).await?;
        }
        other => return by_api(other, &global).await,
    }
    Ok(true)
}

/// Keys and signing need nobody; everything else is asked of a cluster or a server.
async fn agent_release(asked: args::AgentReleaseCommand, global: &Global) -> anyhow::Result<bool> {
    let format = global.output;
    match asked.command {
        AgentRelease::Keygen { file } => agents::sign::keygen(&file, format)?,
        AgentRelease::Sign { file, key, out } => agents::sign::sign(&file, &key, out, format)?,
        #[cfg(feature = "kube")]
        command if asked.which.is_chosen() => {
            let _ = logging::init("warn", Format::Auto);
            let api = cluster::api::ClusterApi::of_installation(&asked.which, &asked.at).await?;
            let client = Client::Cluster(Box::new(api));
            command::agent_release::run(&client, command, format).await?;
        }
        command => {
            let _ = logging::init("warn", Format::Auto);
            let client = Client::connect(&global.data, global.config.as_deref()).await?;
            let result = command::agent_release::run(&client, command, format).await;
            client.close().await;
            result?;
        }
    }
    Ok(true)
}

/// Starts a server; nothing if it is told to stop before it is up. In a task of its own, since a start waits for disks, and whatever it does is fit
/// to be cut off at any moment, as by a power cut.
async fn started(
    global: &Global,
    listen: &Listen,
    log: LogHandle,
    signals: &mut Signals,
) -> anyhow::Result<Option<Server>> {
    let (global, listen) = (global.clone(), listen.clone());
    let mut starting = tokio::spawn(async move { Server::start(&global, &listen, log).await });
    tokio::select! {
        started = &mut starting => Ok(Some(started??)),
        () = signals.stopped() => {
            starting.abort();
            tracing::info!("stopped before the start was done");
            Ok(None)
        }
    }
}

/// Commands that are clients of the HTTP API.
async fn by_api(command: Command, global: &Global) -> anyhow::Result<bool> {
    let format = global.output;
    // A command that answers itself logs only what is wrong.
    let _ = logging::init("warn", Format::Auto);
    let client = match &command {
        Command::Camera(asked) if asked.command.needs_a_server() => {
            Client::running(&global.data).await?
        }
        _ => Client::connect(&global.data, global.config.as_deref()).await?,
    };
    let result = match command {
        Command::Camera(command) => command::camera::run(&client, command.command, format).await,
        Command::User(command) => command::user::run(&client, command.command, format)
            .await
            .map(|()| true),
        Command::Segments(command) => command::segments::run(&client, command, format).await,
        Command::Alert(args::Alert::Test) => operate::alert_test(&client, format).await,
        Command::Audit(wanted) => command::audit::run(&client, &wanted, format)
            .await
            .map(|()| true),
        Command::Doctor => operate::doctor(&client, format).await,
        Command::Backup(backup) => operate::backup(&client, &backup, format)
            .await
            .map(|()| true),
        _ => Err(anyhow::anyhow!("this command is no request")),
    };
    client.close().await;
    result
}

fn server_log(global: &Global) -> anyhow::Result<LogHandle> {
    let settings = settings::load(&global.data, global.config.as_deref())?;
    Ok(logging::init_server(&settings.server.log, Format::Auto)?)
}

/// Says that the server is ready and runs it. Where that cannot be said nobody learns where it listens: it ends, as orderly as by a signal, since
/// cameras may have come.
async fn announced(server: Server, format: Output, mut signals: Signals) -> anyhow::Result<()> {
    let Err(error) = announce(&server, format) else {
        return server.run(signals).await;
    };
    if let Err(undrained) = server.stop(&mut signals).await {
        tracing::error!("{undrained:#}");
    }
    let what = format!("cannot say where the server listens on standard output: {error:#}");
    Err(Hinted::new(
        what,
        "redirect it to something that can be written, or to /dev/null",
    )
    .into())
}

/// Says that the server is ready: one JSON line for programs, a few lines for people.
fn announce(server: &Server, format: Output) -> anyhow::Result<()> {
    let ready = &server.ready;
    if format == Output::Json {
        return output::print_line(ready);
    }
    let mut text = format!(
        "moorline serves {} cameras\n  page     {}\n  cameras  ssh to {}\n  players  rtsp to {}\n  metrics  http://{}/metrics\n  state    {}\n",
        serve::camera_count(&server.site),
        ready.page,
        ready.ssh,
        ready.rtsp,
        ready.admin,
        ready.data.display(),
    );
    if let Some(file) = &ready.first_user {
        text.push_str(&format!(
            "\nThe first user is admin; the passwords are in {}\n",
            file.display()
        ));
    }
    let data = output::data_flag(&ready.data);
    text.push_str(&format!("\nAdd a camera: moorline {data}camera add NAME\n"));
    output::write_all(text.as_bytes())
}
