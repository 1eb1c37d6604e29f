//! `moorline agent-release add`, `list` and `roll-out`: new agents for cameras.

use std::path::Path;

use anyhow::{Context as _, bail};
use hyper::Method;
use moorline_base::error::Hinted;
use moorline_control::base64_of;
use moorline_web::api::{AgentReleaseAdd, AgentReleaseView, AgentRollOut};

use crate::args::{AgentRelease, Output};
use crate::client::{Client, segment};
use crate::output::{self, Table};

const PATH: &str = "/agent-releases";

/// Does what was asked.
///
/// # Errors
/// The file is no release, or the server refuses.
pub async fn run(client: &Client, command: AgentRelease, format: Output) -> anyhow::Result<()> {
    match command {
        AgentRelease::Add { file } => add(client, &file, format).await,
        AgentRelease::List => {
            let all: Vec<AgentReleaseView> = client.get(PATH).await?;
            output::print(format, &all, || listed(&all))
        }
        AgentRelease::RollOut {
            version,
            to,
            target,
        } => roll_out(client, &version, target, to, format).await,
        AgentRelease::Keygen { .. } | AgentRelease::Sign { .. } => {
            bail!("this command is no request")
        }
    }
}

async fn add(client: &Client, file: &Path, format: Output) -> anyhow::Result<()> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let request = AgentReleaseAdd {
        release: base64_of(&bytes),
    };
    let made: AgentReleaseView = client.json(Method::POST, PATH, Some(&request)).await?;
    output::print(format, &made, || {
        format!(
            "agent {} for {} is here; no camera has it yet\nhint: moorline agent-release roll-out {} --to one{}",
            made.version,
            made.target,
            made.version,
            client.typed()
        )
    })
}

async fn roll_out(
    client: &Client,
    version: &str,
    target: Option<String>,
    to: String,
    format: Output,
) -> anyhow::Result<()> {
    let target = match target {
        Some(target) => target,
        None => only_target(&client.get::<Vec<AgentReleaseView>>(PATH).await?, version)?,
    };
    let path = format!("{PATH}/{}/{}/roll-out", segment(&target), segment(version));
    let request = AgentRollOut { to };
    let now: AgentReleaseView = client.json(Method::PUT, &path, Some(&request)).await?;
    output::print(format, &now, || {
        let whom = match now.roll_out.as_str() {
            "off" => "no further camera gets".to_owned(),
            "one" => "one camera gets".to_owned(),
            "all" => "all cameras get".to_owned(),
            share => format!("{share} of the cameras get"),
        };
        format!(
            "{whom} agent {} for {}, each as it is connected\nhint: moorline agent-release list{} tells how far it is",
            now.version,
            now.target,
            client.typed()
        )
    })
}

/// The target for which this version is here.
fn only_target(all: &[AgentReleaseView], version: &str) -> anyhow::Result<String> {
    let mut targets = all.iter().filter(|release| release.version == version);
    match (targets.next(), targets.next()) {
        (Some(one), None) => Ok(one.target.clone()),
        (Some(_), Some(_)) => bail!(Hinted::new(
            format!("agent {version} is here for several targets"),
            "name one with --target: moorline agent-release list"
        )),
        (None, _) => bail!(Hinted::new(
            format!("there is no agent {version} here"),
            "moorline agent-release add FILE brings one"
        )),
    }
}

fn listed(all: &[AgentReleaseView]) -> String {
    if all.is_empty() {
        return "no releases of the agent\nhint: moorline agent-release sign makes one, add brings it here"
            .to_owned();
    }
    let mut table = Table::new(&[
        "VERSION", "TARGET", "ROLL-OUT", "OFFERED", "UPDATED", "STATE",
    ]);
    for release in all {
        let state = match (&release.stopped, release.roll_out.as_str()) {
            (Some(why), _) => format!("stopped: {why}"),
            (None, "off") => "rests".to_owned(),
            (None, _) => "goes on".to_owned(),
        };
        table.row([
            release.version.clone(),
            release.target.clone(),
            release.roll_out.clone(),
            release.cameras.len().to_string(),
            release.updated.len().to_string(),
            state,
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(version: &str, target: &str) -> AgentReleaseView {
        AgentReleaseView {
            target: target.into(),
            version: version.into(),
            bytes: 264_504,
            roll_out: "one".into(),
            stopped: Some("camera home/yard took it back".into()),
            cameras: vec!["home/yard".into()],
            updated: Vec::new(),
            failed: vec!["home/yard".into()],
        }
    }

    #[test]
    fn a_version_of_one_target_needs_no_target_named() {
        let all = [
            release("0.2.0", "mipsel"),
            release("0.2.0", "arm"),
            release("0.3.0", "arm"),
        ];
        assert_eq!(only_target(&all, "0.3.0").unwrap(), "arm");
        assert!(only_target(&all, "0.2.0").is_err());
        assert!(only_target(&all, "0.4.0").is_err());
        assert!(listed(&all).contains("stopped: camera home/yard took it back"));
    }
}
