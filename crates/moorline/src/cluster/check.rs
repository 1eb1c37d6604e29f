//! `moorline cluster-check`: tries the whole way of an installation with a simulated camera. `helm test` runs it as a pod.
//!
//! ```text
//! Camera made → SSH login, tunnel → claimed, pods → relay reads it, archiver records → hang-up, drain → its segment in the bucket → Camera removed
//! ```
//! Each step has a deadline and says what it waited for; the camera is removed whatever happened, and its minute of recordings goes after a day.
//! Where no cluster and no tenant is named, only what needs neither is tried ([`super::reach`]).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use moorline_base::clock::SystemClock;
use moorline_base::config::HumanDuration;
use moorline_base::error::Hinted;
use moorline_base::logging::{self, Format};
use moorline_base::{CancellationToken, SharedClock};
use moorline_core::camera::{Camera, CameraKey, Source};
use moorline_core::key::KeyAlgorithm;
use moorline_core::port::{CameraAdmin as _, SegmentStore as _};
use moorline_core::segment::{Retention, camera_prefix};
use moorline_core::{CameraId, TenantId, Timestamp};
use moorline_gateway::ServiceAddress;
use moorline_kube::resource::{ConditionKind, DEFAULT_CLASS};
use moorline_kube::{KubeAdmin, KubeDirectory};
use moorline_simcam as simcam;
use moorline_store::S3Store;
use moorline_tunnel::keyfile::PrivateKey;

use super::api::told;
use super::choice::OnCluster;
use crate::args::Global;
use crate::output;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// How long the camera sends once its archiver is there.
const SENDS: Duration = Duration::from_secs(10);
/// How long its recordings are kept.
const KEEP: Retention = Retention::Days(1);
/// What to do when a step does not come about. The camera is gone by then, its conditions are in the error.
const LATE: &str = "docs/guide/kubernetes.md says what to do about each reason; without one, kubectl logs of the pods of mon and of the signer say what they refused";

/// `moorline cluster-check`
#[derive(Debug, Clone, clap::Args)]
pub struct ClusterCheck {
    /// Which cluster, and the tenant in which the camera is made. Without both, bucket and parts of the installation are tried, and no camera.
    #[command(flatten)]
    pub on: OnCluster,
    /// Where cameras connect.
    #[arg(
        long,
        value_name = "SERVICE:PORT",
        default_value = "moorline-mon-ssh.moorline-system.svc:2222"
    )]
    pub ssh: ServiceAddress,
    /// How long each step may take.
    #[arg(long, value_name = "DURATION", default_value = "120s")]
    pub patience: HumanDuration,
}

struct Check {
    directory: KubeDirectory,
    admin: KubeAdmin,
    clock: SharedClock,
    camera: CameraId,
    patience: Duration,
}

/// Runs it. The bucket is that of the settings, section `[s3]`.
///
/// # Errors
/// The first step that did not come about.
pub async fn run(global: &Global, check: ClusterCheck) -> anyhow::Result<()> {
    let _ = logging::init("warn", Format::Auto);
    let settings = crate::settings::load(&global.data, global.config.as_deref())?;
    let clock = SystemClock::shared();
    let bucket = crate::serve::parts::s3_store(&settings, &clock)?;
    if !check.on.which.is_chosen() && check.on.tenant.is_none() {
        let parts = super::reach::Parts {
            cluster: &settings.cluster,
            ssh: &check.ssh,
            bucket: &bucket,
            patience: check.patience.get(),
            clock: &clock,
        };
        return parts.tried(global.output).await;
    }
    let chosen = check.on.which.connect().await?;
    let Some(tenant) = check.on.tenant_of(&chosen) else {
        bail!(Hinted::new("no tenant is named", "add --tenant TENANT"));
    };
    let directory = KubeDirectory::new(chosen.client, Arc::clone(&clock));
    directory.load(Some(&tenant)).await?;
    let storage_id = storage_id(&directory, &tenant)?;
    let name = format!("check-{:08x}", rand::random::<u32>());
    let this = Check {
        admin: KubeAdmin::new(directory.clone(), Arc::clone(&clock), DEFAULT_CLASS),
        camera: format!("{tenant}/{name}").parse()?,
        patience: check.patience.get(),
        directory,
        clock,
    };
    let key = PrivateKey::generate(KeyAlgorithm::Ed25519)?;
    this.admin.add(this.record(&key)).await?;
    output::say(&format!("camera {} made", this.camera));
    let done = this.whole_way(&check.ssh, &key, &bucket, &storage_id).await;
    let removed = this.admin.remove(&this.camera).await;
    let keys = done?;
    removed.context("it worked, but the camera was not removed")?;
    output::print(
        global.output,
        &serde_json::json!({"camera": this.camera, "stored": keys}),
        || format!("all is well: {} is in the bucket", keys.join(", ")),
    )
}

fn storage_id(directory: &KubeDirectory, tenant: &TenantId) -> anyhow::Result<TenantId> {
    let found = directory.cache().tenant(tenant);
    let known = found.with_context(|| format!("tenant {tenant} cannot be read"))?;
    if known.spec.store.is_some() {
        bail!(Hinted::new(
            format!("tenant {tenant} records to a bucket of its own"),
            "name one that records to the installation's bucket"
        ));
    }
    let status = known.status.clone().unwrap_or_default();
    let id = status.storage_id.with_context(|| {
        format!("tenant {tenant} has no storage id: is moorline tenants running?")
    })?;
    Ok(id.parse()?)
}

impl Check {
    fn record(&self, key: &PrivateKey) -> Camera {
        let now = Timestamp::from_millis(self.clock.wall_ms());
        Camera {
            title: "Check of the installation".to_owned(),
            keys: vec![CameraKey {
                key: key.public().clone(),
                added: now,
                comment: "cluster-check".to_owned(),
            }],
            main: Source {
                path: Some("/main".to_owned()),
                ..Source::default()
            },
            ..Camera::new(self.camera.clone(), now, KEEP)
        }
    }

    async fn whole_way(
        &self,
        ssh: &ServiceAddress,
        key: &PrivateKey,
        bucket: &S3Store,
        storage_id: &TenantId,
    ) -> anyhow::Result<Vec<String>> {
        let says = self.directory.place(self.camera.tenant()).await?;
        let pins = says.get(told::KNOWN_HOSTS).cloned().unwrap_or_default();
        let server = resolve(ssh).await?;
        let config = simcam::CameraConfig {
            source: simcam::SourceConfig::clip(1),
            tunnel: simcam::TunnelConfig::new(
                server,
                self.camera.to_string(),
                simcam::Key::from_dropbear(key.to_dropbear()?.expose())?,
                simcam::KnownHosts::parse(pins.lines())?,
            ),
            client: simcam::Client::BuiltIn,
        };
        let simulated = simcam::Camera::start(config, Arc::clone(&self.clock)).await?;
        let recorded = self.recorded(&simulated, bucket, storage_id).await;
        simulated.stop().await;
        recorded
    }

    async fn recorded(
        &self,
        simulated: &simcam::Camera,
        bucket: &S3Store,
        storage_id: &TenantId,
    ) -> anyhow::Result<Vec<String>> {
        let tunnel = simulated.tunnel().context("a camera without a tunnel")?;
        let up = moorline_base::clock::timeout(&*self.clock, self.patience, tunnel.up()).await;
        if up.is_err() {
            bail!(Hinted::new(
                format!("the camera did not get in: {:?}", *tunnel.state().borrow()),
                "look at the log of the mon pods, and at the Service for cameras"
            ));
        }
        output::say("logged in, its tunnel is up");
        self.until(
            "its pods, and that the archiver is told to record",
            async || {
                self.directory.load(Some(self.camera.tenant())).await?;
                Ok(self.holds(ConditionKind::Archiving).then_some(()))
            },
        )
        .await?;
        output::say("its archiver is there");
        self.pause(SENDS).await;
        tunnel.hang_up(simcam::HangUp::Bye).await;
        let stored = CameraId::new(storage_id.clone(), self.camera.name().parse()?);
        let prefix = camera_prefix(&stored, KEEP);
        self.until("its segment in the bucket", async || {
            let page = bucket.list(&prefix, "").await?;
            let keys = page.objects.into_iter().map(|object| object.key);
            let segments: Vec<String> = keys.filter(|key| key.ends_with(".mp4")).collect();
            Ok((!segments.is_empty()).then_some(segments))
        })
        .await
    }

    fn holds(&self, kind: ConditionKind) -> bool {
        let known = self.directory.cache().camera(&self.camera);
        let status = known.and_then(|known| known.object.status.clone());
        let conditions = status.map(|status| status.conditions).unwrap_or_default();
        conditions
            .iter()
            .any(|condition| condition.type_ == kind.as_str() && condition.status == "True")
    }

    /// What does not hold, for whoever reads why it failed.
    fn trouble(&self) -> String {
        let known = self.directory.cache().camera(&self.camera);
        let status = known.and_then(|known| known.object.status.clone());
        let conditions = status.map(|status| status.conditions).unwrap_or_default();
        let told: Vec<String> = conditions
            .iter()
            .filter(|condition| condition.status != "True")
            .map(|condition| {
                format!(
                    "{} ({}) {}",
                    condition.type_, condition.reason, condition.message
                )
            })
            .collect();
        if told.is_empty() {
            "no condition tells why".to_owned()
        } else {
            told.join("; ")
        }
    }

    async fn until<T>(
        &self,
        what: &str,
        look: impl AsyncFn() -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        let end: Instant = self.clock.monotonic() + self.patience;
        loop {
            // One look that fails is not the end: the API server or the store may be busy.
            let failed = match look().await {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => None,
                Err(error) => Some(error),
            };
            if self.clock.monotonic() >= end {
                let late = format!("not within {:?}: {what}; {}", self.patience, self.trouble());
                let late = Hinted::new(late, LATE);
                return Err(match failed {
                    Some(error) => error.context(late),
                    None => late.into(),
                });
            }
            self.pause(LOOK).await;
        }
    }

    async fn pause(&self, length: Duration) {
        let never = CancellationToken::new();
        let _ = moorline_base::clock::sleep(&*self.clock, length, &never).await;
    }
}

async fn resolve(service: &ServiceAddress) -> anyhow::Result<SocketAddr> {
    let asked = (service.name.as_str(), service.port);
    let mut found = tokio::net::lookup_host(asked)
        .await
        .with_context(|| format!("--ssh {}:{}", service.name, service.port))?;
    found
        .next()
        .with_context(|| format!("--ssh {}: it has no address", service.name))
}
