//! Cameras as Kubernetes resources: the only user of kube and k8s-openapi.
//!
//! Owns: the resources of `moorline.dev` ([`resource`]), the watch of them in memory ([`Cache`]), and the cluster's adapters of the ports of
//! `core`. Does not own: the tunnel gateway and the signer (`gateway`), and no decision of a camera's lifecycle (`mon`).
//!
//! ```text
//! watch ─▶ Cache ─▶ KubeDirectory (records) ─▶ tunnel, mon
//!            │  └─▶ KubeHolders ─▶ gateway; fence ─▶ Sessions::end
//! mon ─▶ KubeClaims, KubeEnrolment ─▶ StatusWriter ─▶ PUT Camera.status, always with the version that was read
//! ```
//! Every adapter is made of a `kube::Client`; every call has a deadline of its own, and one whose outcome is unknown is read again.
#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "tests may write files and look at the real clock"
    )
)]

mod admin;
mod cache;
mod call;
mod claim;
pub mod connect;
mod convert;
mod credentials;
mod directory;
mod enrol;
mod erasures;
mod events;
mod freshness;
mod hang_ups;
mod holders;
mod identities;
mod in_force;
mod issuer;
mod janitor;
mod lease;
mod load;
mod memories;
pub mod names;
mod owned;
mod places;
mod pods;
mod pulse;
mod releases;
pub mod resource;
mod sources;
mod status;
mod statuses;
mod tenant;
mod tokens;
mod upgrades;
mod uplinks;
#[cfg(any(test, feature = "witness"))]
mod usage;
mod wake;
#[cfg(any(test, feature = "witness"))]
mod witness;

pub use admin::KubeAdmin;
pub use cache::{Cache, DuplicateKey, Known};
pub use call::Fault;
pub use claim::{KubeClaims, SessionEvents};
pub use convert::{FieldError, to_record, to_spec};
pub use credentials::{Credential, Credentials};
pub use directory::KubeDirectory;
pub use enrol::KubeEnrolment;
pub use erasures::{Erasure, Erasures};
pub use freshness::Freshness;
pub use hang_ups::KubeHangUps;
pub use holders::{Gone, KubeHolders};
pub use identities::{FrontDoorAccount, KubeIdentities};
pub use janitor::Janitor;
pub use kube::Client;
pub use lease::Leases;
pub use load::LoadError;
pub use memories::KubeMemories;
pub use owned::{Own, Owned, Replica};
pub use places::KubePlaces;
pub use pods::{
    GATEWAY_AUDIENCE, PodCache, PodSettings, PodView, Pods, RELAY_PORT, SIGNER_AUDIENCE, Trouble,
};
pub use pulse::{Heard, Pulse};
pub use releases::{Going, KubeReleases, ReleaseName, Rollouts, StoppedPart, StoredRelease};
pub use sources::KubeSources;
pub use status::{Note, StatusWriter};
pub use statuses::KubeStatuses;
pub use tenant::{
    CLASSES, KubeTenants, MAX_RETENTION_DAYS, TenantAdminError, TenantChange, TenantSettings,
    Tenants, ready as tenant_ready,
};
pub use upgrades::{HeldCamera, KubeUpgrades, UpgradeState, upgrades_in};
pub use uplinks::KubeUplinks;
#[cfg(any(test, feature = "witness"))]
pub use usage::memory_of;
#[cfg(any(test, feature = "witness"))]
pub use witness::{Sight, Witness};
