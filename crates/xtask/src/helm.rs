//! Plain manifests from the chart: `deploy/k8s`, rendered by the Helm of the version that the cluster lab has.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    lab,
    process::{root, target_directory},
};

/// The namespace for which the manifests are rendered.
pub(crate) const NAMESPACE: &str = "moorline-system";
/// The folder with a folder per overlay.
const FOLDER: &str = "deploy/k8s";
/// In an overlay: what is given to the chart, and what comes out.
const VALUES: &str = "values.yaml";
const RENDERED: &str = "moorline.yaml";

/// What came of it.
pub(crate) enum Outcome {
    Done,
    /// Helm is not to be had, for this reason.
    Skipped(String),
}

/// Renders all overlays again, or says which of them differ.
pub(crate) fn run(check: bool) -> Result<Outcome> {
    let helm = match program() {
        Ok(helm) => helm,
        Err(error) => return Ok(Outcome::Skipped(format!("no helm: {error:#}"))),
    };
    let mut made = vec![(
        root().join(FOLDER).join("crds.yaml"),
        template(&helm, "moorline-crds", "charts/moorline-crds", None)?,
    )];
    guide(&helm)?;
    for overlay in overlays()? {
        let values = overlay.join(VALUES);
        let rendered = template(&helm, "moorline", "charts/moorline", Some(&values))?;
        made.push((overlay.join(RENDERED), rendered));
    }
    let mut stale = Vec::new();
    for (path, text) in made {
        if !check {
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        } else if fs::read_to_string(&path).ok() != Some(text) {
            let shown = path.strip_prefix(root()).unwrap_or(&path);
            stale.push(shown.display().to_string());
        }
    }
    if !stale.is_empty() {
        bail!(
            "not as the chart renders them: {}\nhint: run `cargo xtask generate`",
            stale.join(", ")
        );
    }
    Ok(Outcome::Done)
}

/// The values that the guide tells to write are values of the chart.
fn guide(helm: &Path) -> Result<()> {
    let page = root().join("docs/guide/kubernetes.md");
    let text = fs::read_to_string(&page)?;
    let blocks = text
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    let values: Vec<&str> = blocks
        .filter(|block| block.starts_with("publicHost:"))
        .collect();
    if values.is_empty() {
        bail!("{} has no block of values", page.display());
    }
    let folder = target_directory()?.join("generated");
    fs::create_dir_all(&folder)?;
    for block in values {
        let file = folder.join("guide-values.yaml");
        fs::write(&file, block)?;
        template(helm, "moorline", "charts/moorline", Some(&file))
            .context("docs/guide/kubernetes.md")?;
    }
    Ok(())
}

/// The folders with values.
fn overlays() -> Result<Vec<PathBuf>> {
    let folder = root().join(FOLDER);
    let entries =
        fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join(VALUES).is_file())
        .collect();
    found.sort();
    Ok(found)
}

fn template(helm: &Path, release: &str, chart: &str, values: Option<&Path>) -> Result<String> {
    let mut command = Command::new(helm);
    command
        .current_dir(root())
        .args(["template", release, chart, "--namespace", NAMESPACE])
        // What a cluster of the oldest promised version has.
        .args(["--kube-version", "1.33.0", "--skip-tests"]);
    if let Some(values) = values {
        command.arg("--values").arg(values);
    }
    let output = command.output().context("cannot start helm")?;
    if !output.status.success() {
        bail!(
            "{chart}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let text = String::from_utf8(output.stdout).context("helm wrote no text")?;
    let note = format!(
        "# Rendered from {chart} by `cargo xtask generate`. The chart is the source: change that, or the values beside this file.\n"
    );
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    Ok(note + lines.join("\n").trim_end() + "\n")
}

/// Helm of the version that the lab has: the lab's own, the installed one, or built from Go's module proxy into the target directory, once.
pub(crate) fn program() -> Result<PathBuf> {
    let version = version()?;
    // What was built by `go install` knows only its minor version, so a mark beside it says the rest.
    if let Ok(cache) = lab::cache()
        && fs::read_to_string(cache.join("versions/helm")).is_ok_and(|mark| mark.trim() == version)
        && cache.join("bin/helm").is_file()
    {
        return Ok(cache.join("bin/helm"));
    }
    let built = target_directory()?.join(format!("tools/helm-{version}/helm"));
    if built.is_file() {
        return Ok(built);
    }
    if says(Path::new("helm")).is_some_and(|said| said == version) {
        return Ok("helm".into());
    }
    let bin = target_directory()?.join(format!("tools/helm-{version}"));
    let mut go = Command::new("go");
    go.args(["install", "-ldflags", "-s -w"])
        .arg(format!("helm.sh/helm/v4/cmd/helm@{version}"))
        .env("GOBIN", &bin)
        .env("GOFLAGS", "-mod=mod -trimpath")
        .env("GOTOOLCHAIN", "local")
        .env("CGO_ENABLED", "0")
        .stdin(Stdio::null());
    let output = go.output().context(
        "it is not installed, the lab has not fetched it, and Go is not here to build it",
    )?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.trim().lines().next_back().unwrap_or_default();
        bail!("`go install` of {version} failed: {last}");
    }
    Ok(bin.join("helm"))
}

/// The version that the lab's script pins.
fn version() -> Result<String> {
    let script = lab::scripts().join("fetch.sh");
    let text = fs::read_to_string(&script)?;
    let pinned = text.lines().find_map(|line| line.strip_prefix("HELM="));
    pinned
        .map(str::to_owned)
        .with_context(|| format!("{} pins no HELM", script.display()))
}

/// What a Helm calls itself: `v4.2.4`.
fn says(helm: &Path) -> Option<String> {
    let output = Command::new(helm)
        .args(["version", "--template", "{{.Version}}"])
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(said)
}
