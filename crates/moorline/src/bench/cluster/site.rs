//! The installation that is measured: the bench's own tenant in it, from its making to its end, and the cameras of that tenant.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use moorline_base::clock::SystemClock;
use moorline_base::error::Hinted;
use moorline_base::{CancellationToken, SharedClock};
use moorline_core::camera::Record;
use moorline_core::port::CameraAdmin as _;
use moorline_core::{CameraId, PublicKey, TenantId};
use moorline_kube::resource::DEFAULT_CLASS;
use moorline_kube::{
    Client, KubeAdmin, KubeDirectory, KubeTenants, TenantAdminError, TenantChange, Witness,
    tenant_ready,
};
use moorline_simcam::Key;
use tokio_util::sync::DropGuard;

use super::stories::Stories;
use crate::args::ClusterBench;
use crate::bench::place::{self, name};
use crate::cluster::api::told as keys;
use crate::command::tenant::told;
use crate::serve::place::in_url;

/// Between two looks whether the tenant is gone.
const LOOK: Duration = Duration::from_secs(1);

/// A camera of the bench's tenant.
#[derive(Debug)]
pub struct Camera {
    /// Its name.
    pub id: CameraId,
    /// The number in its pictures.
    pub number: usize,
    /// Its key.
    pub key: Key,
}

/// A running watch, which ends with its value.
pub struct Watching {
    /// What it tells.
    pub stories: Stories,
    _stop: DropGuard,
}

/// The installation, and the tenant in it.
pub struct Site {
    /// The way to the API server.
    pub client: Client,
    /// The clock of its calls.
    pub clock: SharedClock,
    tenants: KubeTenants,
    directory: KubeDirectory,
    tenant: TenantId,
    patience: Duration,
    /// How the cluster is chosen, to be typed again.
    typed: String,
}

impl Site {
    /// Connects. Nothing is made yet.
    ///
    /// # Errors
    /// No such file, context or cluster.
    pub async fn connect(asked: &ClusterBench) -> anyhow::Result<Self> {
        let client = asked.which.connect().await?.client;
        let clock = SystemClock::shared();
        let typed = match asked.which.is_chosen() {
            true => asked.which.typed(),
            false => " --cluster".to_owned(),
        };
        Ok(Self {
            tenants: KubeTenants::new(client.clone(), Arc::clone(&clock)),
            directory: KubeDirectory::new(client.clone(), Arc::clone(&clock)),
            tenant: asked.tenant.clone(),
            patience: asked.patience.get(),
            typed,
            client,
            clock,
        })
    }

    /// Makes the tenant, for so many cameras. From then on it has to be removed.
    ///
    /// # Errors
    /// It exists, or the API server refuses it: nothing was made.
    pub async fn make(&self, cameras: u32) -> anyhow::Result<()> {
        let fields = TenantChange {
            cameras: Some(cameras),
            ..TenantChange::default()
        };
        match self.tenants.add(&self.tenant, &fields).await {
            Err(error @ TenantAdminError::Exists(_)) => bail!(Hinted::new(
                error.to_string(),
                "the bench removes its tenant at the end: name one that does not exist with --tenant NAME"
            )),
            made => told(made).map(|_| ()),
        }
    }

    /// Waits until the tenant's namespace is there with all that it needs.
    ///
    /// # Errors
    /// It does not come about.
    pub async fn until_ready(&self) -> anyhow::Result<()> {
        let settled = told(self.tenants.settled(&self.tenant, self.patience).await)?;
        match settled.as_ref().and_then(tenant_ready) {
            Some((true, _)) => Ok(()),
            Some((false, words)) => bail!("tenant {} is not ready: {words}", self.tenant),
            None => bail!(Hinted::new(
                format!(
                    "nobody has made the namespace of tenant {} within {:?}",
                    self.tenant, self.patience
                ),
                "is moorline tenants running?"
            )),
        }
    }

    /// What the installation tells its tenants: where cameras call, and what they pin.
    ///
    /// # Errors
    /// The namespace does not say it.
    pub async fn says(&self) -> anyhow::Result<BTreeMap<String, String>> {
        Ok(self.directory.place(&self.tenant).await?)
    }

    /// Watches the tenant's Cameras and pods from now on.
    ///
    /// # Errors
    /// The API server does not list them.
    pub async fn watch(&self) -> anyhow::Result<Watching> {
        let (stories, cancel) = (Stories::default(), CancellationToken::new());
        let witness = Arc::new(Witness::new(self.client.clone(), &self.tenant));
        let watching = Watching {
            stories: stories.clone(),
            _stop: cancel.clone().drop_guard(),
        };
        let running = Arc::clone(&witness);
        tokio::spawn(async move {
            let tell = |sight| stories.add(Instant::now(), sight);
            running.run(cancel, tell).await;
        });
        tokio::time::timeout(self.patience, witness.listed())
            .await
            .context("the API server does not list the tenant's Cameras and pods")?;
        Ok(watching)
    }

    /// Adds cameras `c0`, `c1`, … with keys, recorded and kept for a day.
    ///
    /// # Errors
    /// The cluster refuses one.
    pub async fn add(&self, count: u32) -> anyhow::Result<Vec<Camera>> {
        self.directory.load(Some(&self.tenant)).await?;
        let clock = Arc::clone(&self.clock);
        let admin = KubeAdmin::new(self.directory.clone(), clock, DEFAULT_CLASS);
        let mut cameras = Vec::new();
        for number in 0..count as usize {
            let key = Key::generate()?;
            let id: CameraId = format!("{}/{}", self.tenant, name(number)).parse()?;
            let public: PublicKey = key.public_line().parse()?;
            let record = place::camera(id.clone(), public, Record::Main);
            admin.add(record).await?;
            cameras.push(Camera { id, number, key });
        }
        Ok(cameras)
    }

    /// Removes the tenant with all its cameras, and waits until it is gone.
    ///
    /// # Errors
    /// It is not gone in time: how to remove it.
    pub async fn remove(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + self.patience;
        loop {
            // Told again and again, whatever became of the first time.
            let left = match self.tenants.remove(&self.tenant).await {
                Err(TenantAdminError::Unknown(_)) => return Ok(()),
                Ok(()) => "its cameras still drain".to_owned(),
                Err(error) => error.to_string(),
            };
            if Instant::now() >= deadline {
                return Err(self.left(&left));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The tenant is there when the bench ends.
    pub fn left(&self, why: &str) -> anyhow::Error {
        let (tenant, typed) = (&self.tenant, &self.typed);
        Hinted::new(
            format!("tenant {tenant} may be left: {why}"),
            format!(
                "moorline tenant show {tenant}{typed} tells; remove it with moorline tenant rm {tenant} --yes{typed}"
            ),
        )
        .into()
    }
}

/// Where the installation says that cameras call.
///
/// # Errors
/// It says nothing.
pub fn public(says: &BTreeMap<String, String>) -> anyhow::Result<String> {
    let said = |key: &str| says.get(key).filter(|text| !text.is_empty());
    match (said(keys::PUBLIC_HOST), said(keys::SSH_PORT)) {
        (Some(host), Some(port)) => Ok(format!("{}:{port}", in_url(host))),
        _ => bail!(Hinted::new(
            "the installation does not say where cameras call",
            "name it with --ssh HOST:PORT"
        )),
    }
}

/// The addresses of `HOST:PORT`.
///
/// # Errors
/// A name that is none.
pub async fn resolved(names: &[String]) -> anyhow::Result<Vec<SocketAddr>> {
    let mut addresses = Vec::new();
    for name in names {
        let mut found = tokio::net::lookup_host(name.as_str())
            .await
            .with_context(|| format!("--ssh {name}"))?;
        let address = found.next();
        addresses.push(address.with_context(|| format!("--ssh {name}: it has no address"))?);
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cameras_call_where_the_installation_says() {
        let says = |host: &str| {
            let pairs = [("public_host", host), ("ssh_port", "22")];
            BTreeMap::from(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())))
        };
        assert_eq!(public(&says("cctv.test")).unwrap(), "cctv.test:22");
        assert_eq!(public(&says("2001:db8::1")).unwrap(), "[2001:db8::1]:22");
        let told = moorline_base::error::report(public(&says("")).unwrap_err().as_ref());
        assert!(told.contains("--ssh HOST:PORT"), "{told}");
    }
}
