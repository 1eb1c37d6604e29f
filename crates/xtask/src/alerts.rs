//! The alert rules of the chart, judged by the real promtool: their form, and whether each fires for the series of `tests/alerts` for which it should.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{
    debian::{self, Package},
    helm::{self, Outcome},
    process::{root, succeed, target_directory},
};

/// The series, and what they fire.
const CASES: &str = "tests/alerts/alerts.yaml";
/// The rules, as the cases name them.
const RULES: &str = "rules.yaml";

/// Renders the rules and runs promtool on them.
pub(crate) fn run() -> Result<Outcome> {
    let helm = match helm::program() {
        Ok(helm) => helm,
        Err(error) => return Ok(Outcome::Skipped(format!("no helm: {error:#}"))),
    };
    let promtool = match program() {
        Ok(promtool) => promtool,
        Err(error) => return Ok(Outcome::Skipped(format!("no promtool: {error:#}"))),
    };
    let place = target_directory()?.join("alerts");
    fs::create_dir_all(&place)?;
    let rendered = debian::output(
        Command::new(&helm)
            .current_dir(root())
            .args(["template", "moorline", "charts/moorline"])
            .args(["--namespace", helm::NAMESPACE])
            .args(["--values", "deploy/k8s/single-node/values.yaml"])
            .args(["--set", "alertRules.enabled=true"])
            .args(["--show-only", "templates/alertrules.yaml"]),
    )?;
    fs::write(place.join(RULES), rules(&rendered)?)?;
    let cases = Path::new(CASES)
        .file_name()
        .context("the cases are a file")?;
    fs::copy(root().join(CASES), place.join(cases))?;
    let promtool = || {
        let mut command = Command::new(&promtool);
        command.current_dir(&place);
        command
    };
    succeed(promtool().args(["check", "rules", RULES]))?;
    succeed(promtool().args(["test", "rules"]).arg(cases))?;
    Ok(Outcome::Done)
}

/// The installed one, or Debian's, unpacked: its package brings a server that starts.
fn program() -> Result<PathBuf> {
    let says = Command::new("promtool").arg("--version").output();
    if says.is_ok_and(|output| output.status.success()) {
        return Ok("promtool".into());
    }
    let told = debian::output(Command::new("dpkg").arg("--print-architecture"))?;
    let packages = [Package::Named("prometheus")];
    let tree = debian::unpacked("promtool", told.trim(), &packages)?;
    Ok(tree.join("usr/bin/promtool"))
}

/// What Prometheus itself reads: the spec of the operator's resource.
fn rules(resource: &str) -> Result<String> {
    let (_, spec) = resource
        .split_once("\nspec:\n")
        .context("the chart renders no alert rules")?;
    let lines = spec
        .lines()
        .map(|line| line.strip_prefix("  ").unwrap_or(line));
    Ok(lines.collect::<Vec<_>>().join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prometheus_reads_the_spec_alone() {
        let resource =
            "kind: PrometheusRule\nmetadata:\n  name: moorline\nspec:\n  groups:\n    - name: a\n";
        assert_eq!(rules(resource).unwrap(), "groups:\n  - name: a\n");
        assert!(rules("kind: PrometheusRule\n").is_err());
    }
}
