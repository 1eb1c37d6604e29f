//! What of an installation can be tried without a tenant: that its bucket takes what is put, and that its parts answer by their names. `helm test`
//! runs it where `test.tenant` is empty. A camera's way is [`super::check`]'s; what was not tried is said.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use moorline_base::SharedClock;
use moorline_base::clock::timeout;
use moorline_base::error::{Hinted, report};
use moorline_gateway::{Dialer, Endpoint, ServiceAddress, Trust};
use moorline_store::S3Store;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::role::service;
use crate::args::Output;
use crate::output;
use crate::settings::Cluster;

/// What an SSH server says first (RFC 4253, section 4.2).
const GREETING: &[u8] = b"SSH-2.0-";
/// What is left for a tenant to try.
const LEFT: &str = "a camera's way was not tried, since no tenant is named: set test.tenant of the chart, or add --cluster --tenant TENANT";

/// What is asked, and for how long each.
pub(super) struct Parts<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) ssh: &'a ServiceAddress,
    pub(super) bucket: &'a S3Store,
    pub(super) patience: Duration,
    pub(super) clock: &'a SharedClock,
}

impl Parts<'_> {
    /// Tries all of it, whatever the first says.
    ///
    /// # Errors
    /// Which parts do not work.
    pub(super) async fn tried(&self, format: Output) -> anyhow::Result<()> {
        let mut wrong = Vec::new();
        let mut well = Vec::new();
        for (what, said) in [
            ("the bucket", self.within(self.stores()).await),
            ("the port for cameras", self.within(self.greets()).await),
            (
                "the tunnel gateway",
                self.within(self.answers("cluster.gateway", &self.cluster.gateway))
                    .await,
            ),
            (
                "the signer",
                self.within(self.answers("cluster.signer", &self.cluster.signer))
                    .await,
            ),
        ] {
            match said {
                Ok(()) => {
                    output::say(&format!("{what}: well"));
                    well.push(what);
                }
                Err(error) => {
                    output::say(&format!("{what}: {}", report(error.as_ref())));
                    wrong.push(what);
                }
            }
        }
        if !wrong.is_empty() {
            bail!(Hinted::new(
                format!(
                    "{} of the installation: no answer as it should be",
                    wrong.join(", ")
                ),
                "the lines above say why"
            ));
        }
        output::print(
            format,
            &serde_json::json!({"well": well, "left": LEFT}),
            || format!("{} are well; {LEFT}", well.join(", ")),
        )
    }

    async fn within(&self, part: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
        timeout(&**self.clock, self.patience, part).await?
    }

    /// The bucket takes an object, and shows it.
    async fn stores(&self) -> anyhow::Result<()> {
        let profile = self.bucket.probe_puts().await?;
        for problem in profile.problems() {
            output::say(&format!("the bucket: {}", problem.explanation()));
        }
        Ok(())
    }

    /// An SSH server stands behind the Service for cameras.
    async fn greets(&self) -> anyhow::Result<()> {
        let ServiceAddress { name, port } = self.ssh;
        let mut stream = TcpStream::connect((name.as_str(), *port))
            .await
            .with_context(|| format!("{name}:{port}"))?;
        let mut said = [0; GREETING.len()];
        let read = stream.read_exact(&mut said).await;
        read.with_context(|| format!("{name}:{port} says nothing"))?;
        if said != GREETING {
            bail!("{name}:{port} is no SSH server");
        }
        Ok(())
    }

    /// A Service of the inside shows the certificate of its name.
    async fn answers(&self, field: &str, address: &str) -> anyhow::Result<()> {
        let found = service(field, address)?;
        let authority = Path::new(&self.cluster.tls).join("ca.crt");
        let trust = Trust::load(authority, Arc::clone(self.clock))
            .context("cluster.tls cannot be used: it holds the authority ca.crt")?;
        let endpoint = Endpoint {
            service: found.name,
            port: found.port,
            address: None,
            // Nothing is asked, so no token is shown.
            token: std::path::PathBuf::new(),
        };
        let dialer = Dialer::new(endpoint, Arc::new(trust), Arc::clone(self.clock))?;
        Ok(dialer.reaches().await?)
    }
}
