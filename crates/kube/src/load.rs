//! Cameras read once: for a command that ends, which watches nothing.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ListParams;
use kube::core::DeserializeGuard;
use kube::{Api, Resource};
use moorline_core::TenantId;
use moorline_core::port::PortError;
use serde::de::DeserializeOwned;

use crate::call::{CALL, Fault, call};
use crate::directory::{KubeDirectory, readable};
use crate::names;
use crate::resource::{Camera, Tenant};

const OPERATION: &str = "read the cameras of the cluster";
/// Objects of one answer.
const PAGE: u32 = 500;

/// Why cameras cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is no such tenant.
    #[error("there is no tenant {0}")]
    NoTenant(TenantId),
    /// The caller may not.
    #[error("{0}")]
    Forbidden(String),
    /// The cluster does not have our resources.
    #[error("the cluster does not know Moorline's resources")]
    NotInstalled,
    /// The API server failed.
    #[error(transparent)]
    Port(#[from] PortError),
}

impl From<Fault> for LoadError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Forbidden(message) => Self::Forbidden(message),
            Fault::Missing => Self::NotInstalled,
            fault => Self::Port(fault.port(OPERATION)),
        }
    }
}

impl KubeDirectory {
    /// Reads all cameras, or those of one tenant, once; and the tenants, as far as the caller may.
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn load(&self, tenant: Option<&TenantId>) -> Result<(), LoadError> {
        // A tenant's own people may not read Tenants: then whether there is one shows when a camera is made.
        match tenant {
            Some(id) => match self.tenant_once(id).await {
                Ok(found) => self.cache().saw_tenant(found),
                Err(Fault::Forbidden(_)) => {}
                Err(Fault::Missing) => {
                    // Either is missing, the tenant or the kind.
                    self.list_once::<Camera>(Some(id)).await?;
                    return Err(LoadError::NoTenant(id.clone()));
                }
                Err(fault) => return Err(fault.into()),
            },
            None => match self.list_once::<Tenant>(None).await {
                Ok(all) => self.cache().all_tenants(all),
                Err(Fault::Forbidden(_)) => {}
                Err(fault) => return Err(fault.into()),
            },
        }
        let cameras = self.list_once::<Camera>(tenant).await?;
        self.cache().all_cameras(cameras);
        Ok(())
    }

    /// What the tenant's namespace says to pods and people: the public host, ports, lines for known_hosts.
    ///
    /// # Errors
    /// [`LoadError`]; a missing one is [`LoadError::NoTenant`].
    pub async fn place(
        &self,
        tenant: &TenantId,
    ) -> Result<std::collections::BTreeMap<String, String>, LoadError> {
        let api: Api<ConfigMap> = Api::namespaced(self.client().clone(), &names::namespace(tenant));
        match call(&**self.clock(), CALL, api.get(names::CONFIG)).await {
            Ok(found) => Ok(found.data.unwrap_or_default()),
            Err(Fault::Missing) => Err(LoadError::NoTenant(tenant.clone())),
            Err(fault) => Err(fault.into()),
        }
    }

    async fn tenant_once(&self, id: &TenantId) -> Result<Tenant, Fault> {
        let api: Api<Tenant> = Api::all(self.client().clone());
        call(&**self.clock(), CALL, api.get(id.as_str())).await
    }

    async fn list_once<K>(&self, tenant: Option<&TenantId>) -> Result<Vec<K>, Fault>
    where
        K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
    {
        let url = K::url_path(&(), tenant.map(names::namespace).as_deref());
        let (mut found, mut parameters) = (Vec::new(), ListParams::default().limit(PAGE));
        loop {
            let request = kube::core::Request::new(url.clone())
                .list(&parameters)
                .map_err(|error| Fault::Invalid(error.to_string()))?;
            let listed = self
                .client()
                .request::<kube::core::ObjectList<DeserializeGuard<K>>>(request);
            let page = call(&**self.clock(), CALL, listed).await?;
            found.extend(
                page.items
                    .into_iter()
                    .filter_map(|item| readable(item).ok()),
            );
            match page.metadata.continue_.filter(|text| !text.is_empty()) {
                Some(next) => parameters = parameters.continue_token(&next),
                None => return Ok(found),
            }
        }
    }
}
