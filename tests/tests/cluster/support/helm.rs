//! The real helm, with values of a test.

use moorline_testkit::{
    child::run,
    cluster::{Cluster, SOON},
    temp_dir,
    tempfile::TempDir,
};
use serde_json::Value;
use tokio::process::Command;

/// Helm, and files of values for it.
pub(crate) struct Helm {
    place: TempDir,
    cluster: Cluster,
}

impl Helm {
    pub(crate) fn new(cluster: &Cluster) -> Self {
        Self {
            place: temp_dir().unwrap(),
            cluster: cluster.clone(),
        }
    }

    /// A file with these values.
    pub(crate) fn values(&self, name: &str, values: &Value) -> String {
        let path = self.place.path().join(format!("{name}.json"));
        std::fs::write(&path, values.to_string()).unwrap();
        path.display().to_string()
    }

    /// What it printed, or how it refused.
    pub(crate) async fn try_run(&self, words: &[&str]) -> Result<String, String> {
        let mut command = Command::new("helm");
        command
            .arg("--kubeconfig")
            .arg(self.cluster.kubeconfig())
            .args(words)
            .current_dir(moorline_tests::repository());
        let output = run("helm", command, SOON * 3).await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stdout) + &text(&output.stderr))
        }
    }

    /// What it printed.
    pub(crate) async fn run(&self, words: &[&str]) -> String {
        let answer = self.try_run(words).await;
        answer.unwrap_or_else(|error| panic!("helm {words:?}: {error}"))
    }
}
