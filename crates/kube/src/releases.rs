//! Builds of the on-camera agent, and how far each is rolled out: ConfigMaps of the installation's namespace.
//!
//! ```text
//! agent-release add      ─▶ moorline-agent-<version>-<target's hash>, which never changes ── get, when it is offered ─▶ a replica of mon
//! agent-release roll-out ─▶ moorline-agent-rollout: each release's stage, and what stopped it ── watch ─▶ every replica of mon
//!                                    ▲── the first camera, refusals, the stop: compare-and-swap ── the replica that hears of it
//! ```
//! **Owns** these objects, and that nobody's change of them is lost. Does not own which cameras are next, and whether a release is good (S8): whoever
//! may write a ConfigMap there can offer cameras anything, and they take what their image's key signed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, ObjectMeta, PostParams};
use kube::runtime::watcher;
use kube::{Api, Client};
use moorline_base::{CancellationToken, SharedClock};
use moorline_core::{CameraId, TenantId};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::cache::is_newer;
use crate::call::{CALL, Connection, Fault, call};
use crate::directory::{Change, feed_in};
use crate::freshness::Freshness;
use crate::names;
use crate::resource::{MANAGED_BY, MANAGED_BY_LABEL};

/// The label of releases.
const LABEL: &str = "moorline.dev/agent-release";
/// Annotations of a release, for whoever does not read its bytes.
const TARGET: &str = "moorline.dev/target";
const VERSION: &str = "moorline.dev/version";
const BYTES: &str = "moorline.dev/bytes";
/// The key of a release's file.
const FILE: &str = "release";
/// What rests.
const OFF: &str = "off";
/// A release's bytes travel to wherever somebody types.
const CARRY: Duration = Duration::from_secs(30);
/// A change that others overtake is tried so often.
const CONFLICTS: usize = 4;

/// What names a release.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReleaseName {
    /// The target triple that it was built for.
    pub target: String,
    /// Its version, `a.b.c`.
    pub version: String,
}

impl ReleaseName {
    /// Its key among the others: no version has a `-`.
    fn key(&self) -> String {
        format!("{}-{}", self.version, self.target)
    }

    fn of_key(key: &str) -> Option<Self> {
        let (version, target) = key.split_once('-')?;
        Some(Self {
            target: target.to_owned(),
            version: version.to_owned(),
        })
    }
}

/// How far a release is, for all replicas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Going {
    /// How far it goes: `off`, `one`, `1%` to `99%`, `all`.
    pub stage: String,
    /// The camera that has it before the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<CameraId>,
    /// Those that refused it since it was let go, as far as they count towards a stop, which takes so many that this stays short.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub refused: BTreeSet<CameraId>,
    /// The one tenant whose cameras get no more of it, since of these alone is heard that it is no good. A second one stops it for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<StoppedPart>,
    /// Why it has stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
}

/// Where a release has stopped, while it goes on elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoppedPart {
    /// For whose cameras.
    pub tenant: TenantId,
    /// Why.
    pub why: String,
}

impl Default for Going {
    fn default() -> Self {
        Self {
            stage: OFF.to_owned(),
            first: None,
            refused: BTreeSet::new(),
            part: None,
            stopped: None,
        }
    }
}

impl Going {
    /// Whether cameras get it.
    pub fn goes(&self) -> bool {
        self.stage != OFF && self.stopped.is_none()
    }

    /// Whether cameras of this tenant do.
    pub fn goes_to(&self, tenant: &TenantId) -> bool {
        self.goes() && self.part.as_ref().is_none_or(|part| part.tenant != *tenant)
    }

    /// A camera of this tenant took it back: its tenant's part stops, or all of it when another tenant's has stopped before. Whoever holds one tenant's
    /// cameras, and has them say what they like, keeps no other tenant's from a release.
    pub fn stop_for(&mut self, tenant: &TenantId, why: String) {
        match &self.part {
            Some(part) if part.tenant == *tenant => {}
            Some(_) => self.stopped = Some(why),
            None => {
                self.refused.retain(|camera| camera.tenant() != tenant);
                self.part = Some(StoppedPart {
                    tenant: tenant.clone(),
                    why,
                });
            }
        }
    }

    /// A camera refused it for something that counts. `most` of one tenant stop that tenant's part, of several all of it.
    pub fn refused_by(&mut self, camera: &CameraId, most: usize, why: String) {
        self.refused.insert(camera.clone());
        if self.refused.len() < most {
            return;
        }
        let tenant = camera.tenant();
        if self.refused.iter().all(|camera| camera.tenant() == tenant) {
            self.stop_for(tenant, why);
        } else {
            self.stopped = Some(why);
        }
    }

    /// It is let go, or put to rest, anew: whoever does so has thought of what was said before.
    pub fn begin(&mut self, stage: String) {
        self.stage = stage;
        self.part = None;
        self.stopped = None;
        self.refused.clear();
    }
}

/// All of them.
pub type Rollouts = BTreeMap<ReleaseName, Going>;

/// A release that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRelease {
    /// Its name.
    pub name: ReleaseName,
    /// The size of its program.
    pub bytes: u64,
}

/// The releases of an installation. Clones are the same.
#[derive(Debug, Clone)]
pub struct KubeReleases(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: Connection,
    namespace: String,
    clock: SharedClock,
    seen: Mutex<Seen>,
}

/// How far releases are, as it was seen last.
#[derive(Debug, Default)]
struct Seen {
    version: Option<String>,
    all: Arc<Rollouts>,
}

impl KubeReleases {
    /// A file of more bytes finds no room in a ConfigMap, which has 1 MiB for all that it holds.
    pub const LARGEST: usize = 1_000_000;
    /// The labels of the ConfigMap with an installation's settings, by the chart.
    pub const SETTINGS: &str = "app.kubernetes.io/name=moorline,app.kubernetes.io/component=config";

    /// Those of the installation in this namespace.
    pub fn new(client: Client, namespace: impl Into<String>, clock: SharedClock) -> Self {
        Self(Arc::new(Inner {
            client: Connection(client),
            namespace: namespace.into(),
            clock,
            seen: Mutex::default(),
        }))
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.0.namespace
    }

    fn api(&self) -> Api<ConfigMap> {
        Api::namespaced(self.0.client.0.clone(), &self.0.namespace)
    }

    fn seen<T>(&self, change: impl FnOnce(&mut Seen) -> T) -> T {
        change(&mut self.0.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How far releases are, as the watch, or the own last change, has it.
    pub fn all(&self) -> Arc<Rollouts> {
        self.seen(|seen| Arc::clone(&seen.all))
    }

    /// Watches how far releases are, until `cancel`. `freshness` tells the end of an outage.
    pub async fn run(&self, freshness: &Freshness, cancel: CancellationToken) {
        let listed = watch::Sender::new(false);
        // Its one name: the account may list and watch no other ConfigMap.
        let field = format!("metadata.name={}", names::AGENT_ROLLOUT);
        let watching = feed_in::<ConfigMap>(
            self.0.client.0.clone(),
            &self.0.namespace,
            watcher::Config::default().fields(&field),
            &listed,
            freshness.back(),
            |change| self.heard(change),
        );
        tokio::select! {
            () = cancel.cancelled() => {}
            () = watching => {}
        }
    }

    fn heard(&self, change: Change<ConfigMap>) {
        let is_it = |metadata: &ObjectMeta| {
            metadata.name.as_deref() == Some(names::AGENT_ROLLOUT)
                && metadata.namespace.as_deref() == Some(&self.0.namespace)
        };
        match change {
            Change::All(all) => match all.iter().find(|object| is_it(&object.metadata)) {
                Some(object) => self.saw(object),
                None => self.seen(|seen| *seen = Seen::default()),
            },
            Change::Now(object) if is_it(&object.metadata) => self.saw(&object),
            Change::Gone(metadata) | Change::Unreadable(metadata) if is_it(&metadata) => {
                self.seen(|seen| *seen = Seen::default());
            }
            _ => {}
        }
    }

    /// An older version never replaces a newer one, whichever of watch and answer to a write comes first.
    fn saw(&self, object: &ConfigMap) {
        let version = object.metadata.resource_version.clone();
        self.seen(|seen| {
            if seen.version.is_none() || is_newer(version.as_deref(), seen.version.as_deref()) {
                *seen = Seen {
                    all: Arc::new(read(object)),
                    version,
                };
            }
        });
    }

    /// Reads how far releases are, once; nothing where none was ever rolled out.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn load(&self) -> Result<(), Fault> {
        let api = self.api();
        let got = call(&*self.0.clock, CALL, api.get_opt(names::AGENT_ROLLOUT)).await?;
        if let Some(object) = got {
            self.saw(&object);
        }
        Ok(())
    }

    /// Makes the object that says how far releases are, if it is not there. `mon` may not.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn begin(&self) -> Result<(), Fault> {
        let object = ConfigMap {
            metadata: self.metadata(names::AGENT_ROLLOUT.to_owned(), None),
            ..ConfigMap::default()
        };
        let (api, parameters) = (self.api(), PostParams::default());
        match call(&*self.0.clock, CALL, api.create(&parameters, &object)).await {
            Ok(_) | Err(Fault::Exists) => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    /// Changes how far releases are, over what is there at that moment; `change` says whether there is anything to write, and may be asked again. Returns
    /// whether it was written.
    ///
    /// # Errors
    /// [`Fault::Missing`]: nothing was ever rolled out. [`Fault::Busy`]: others change it all the time. Otherwise the last fault.
    pub async fn change(&self, change: impl Fn(&mut Rollouts) -> bool) -> Result<bool, Fault> {
        let (api, clock) = (self.api(), &*self.0.clock);
        let mut unsure = false;
        let mut last = Fault::Conflict;
        for _ in 0..CONFLICTS {
            let mut object = call(clock, CALL, api.get(names::AGENT_ROLLOUT)).await?;
            let before = read(&object);
            let mut after = before.clone();
            if !change(&mut after) {
                self.saw(&object);
                // Of an answer that was lost nobody else tells.
                return Ok(unsure);
            }
            write(&mut object, &before, &after)?;
            let parameters = PostParams::default();
            let put = api.replace(names::AGENT_ROLLOUT, &parameters, &object);
            match call(clock, CALL, put).await {
                Ok(object) => {
                    self.saw(&object);
                    return Ok(true);
                }
                Err(Fault::Conflict) => last = Fault::Conflict,
                Err(silence @ Fault::Unknown(_)) => (unsure, last) = (true, silence),
                Err(fault) => return Err(fault),
            }
        }
        Err(match last {
            Fault::Conflict => {
                Fault::Busy("others change how far releases of the agent are all the time".into())
            }
            silence => silence,
        })
    }

    /// Whether the namespace is that of an installation: its settings are there.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn is_installed(&self) -> Result<bool, Fault> {
        let parameters = ListParams::default().labels(Self::SETTINGS).limit(1);
        let api = self.api();
        let listed = call(&*self.0.clock, CALL, api.list_metadata(&parameters)).await?;
        Ok(!listed.items.is_empty())
    }

    /// The releases that are here, without their bytes, in no order.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn stored(&self) -> Result<Vec<StoredRelease>, Fault> {
        let (api, parameters) = (self.api(), ListParams::default().labels(LABEL));
        let listed = call(&*self.0.clock, CALL, api.list_metadata(&parameters)).await?;
        let stored = listed.items.iter();
        Ok(stored
            .filter_map(|object| described(&object.metadata))
            .collect())
    }

    /// Keeps a release's file, whose program has so many bytes. The same one again changes nothing; `false`: another one has its name.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn keep(&self, release: &StoredRelease, file: Vec<u8>) -> Result<bool, Fault> {
        let name = &release.name;
        let object = ConfigMap {
            metadata: self.metadata(
                names::agent_release(&name.target, &name.version),
                Some(release),
            ),
            binary_data: Some(BTreeMap::from([(
                FILE.to_owned(),
                ByteString(file.clone()),
            )])),
            immutable: Some(true),
            ..ConfigMap::default()
        };
        let (api, parameters) = (self.api(), PostParams::default());
        match call(&*self.0.clock, CARRY, api.create(&parameters, &object)).await {
            Ok(_) => Ok(true),
            Err(Fault::Exists | Fault::Unknown(_)) => Ok(self.fetch(name).await? == file),
            Err(fault) => Err(fault),
        }
    }

    /// The file of a release.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn fetch(&self, name: &ReleaseName) -> Result<Vec<u8>, Fault> {
        let (api, object) = (
            self.api(),
            names::agent_release(&name.target, &name.version),
        );
        let mut found = call(&*self.0.clock, CARRY, api.get(&object)).await?;
        let file = found.binary_data.as_mut().and_then(|all| all.remove(FILE));
        file.map(|file| file.0).ok_or_else(|| {
            Fault::Invalid(format!("the ConfigMap {object} has no binaryData {FILE}"))
        })
    }

    fn metadata(&self, name: String, release: Option<&StoredRelease>) -> ObjectMeta {
        let mut labels = BTreeMap::from([(MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned())]);
        let annotations = release.map(|release| {
            labels.insert(LABEL.to_owned(), "true".to_owned());
            BTreeMap::from([
                (TARGET.to_owned(), release.name.target.clone()),
                (VERSION.to_owned(), release.name.version.clone()),
                (BYTES.to_owned(), release.bytes.to_string()),
            ])
        });
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.0.namespace.clone()),
            labels: Some(labels),
            annotations,
            ..ObjectMeta::default()
        }
    }
}

fn described(metadata: &ObjectMeta) -> Option<StoredRelease> {
    let annotations = metadata.annotations.as_ref()?;
    let text = |key: &str| annotations.get(key).cloned();
    Some(StoredRelease {
        name: ReleaseName {
            target: text(TARGET)?,
            version: text(VERSION)?,
        },
        bytes: text(BYTES)?.parse().ok()?,
    })
}

/// What the object says. What cannot be read rests, and is left as it is.
fn read(object: &ConfigMap) -> Rollouts {
    let all = object.data.iter().flatten();
    all.filter_map(|(key, text)| {
        let name = ReleaseName::of_key(key)?;
        match serde_json::from_str(text) {
            Ok(going) => Some((name, going)),
            Err(error) => {
                tracing::warn!(key, %error, "how far a release of the agent is cannot be read: it rests");
                None
            }
        }
    })
    .collect()
}

/// Writes what has changed.
fn write(object: &mut ConfigMap, before: &Rollouts, after: &Rollouts) -> Result<(), Fault> {
    let data = object.data.get_or_insert_default();
    for name in before.keys().filter(|name| !after.contains_key(name)) {
        data.remove(&name.key());
    }
    for (name, going) in after {
        if before.get(name) != Some(going) {
            let text = serde_json::to_string(going);
            let text = text.map_err(|error| Fault::Invalid(error.to_string()))?;
            data.insert(name.key(), text);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(target: &str, version: &str) -> ReleaseName {
        ReleaseName {
            target: target.into(),
            version: version.into(),
        }
    }

    #[test]
    fn a_release_has_a_key_and_an_object_of_its_own_whatever_its_target_is_called() {
        let one = name("x86_64-unknown-linux-musl", "0.10.0");
        assert_eq!(ReleaseName::of_key(&one.key()), Some(one.clone()));
        let object = names::agent_release(&one.target, &one.version);
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
        assert!(object.chars().all(allowed), "{object}");
        assert_ne!(
            object,
            names::agent_release("x86-64-unknown-linux-musl", "0.10.0")
        );
    }

    #[test]
    fn an_installation_is_known_by_what_the_chart_makes() {
        let settings = include_str!("../../../charts/moorline/templates/config.yaml");
        assert!(settings.contains(r#""component" "config""#), "{settings}");
        let labels = include_str!("../../../charts/moorline/templates/_helpers.tpl");
        assert!(labels.contains("app.kubernetes.io/name: moorline\n"));
        assert!(KubeReleases::SETTINGS.ends_with("component=config"));
    }

    #[test]
    fn what_cannot_be_read_is_left_as_it_is() {
        let (known, newer) = (name("mipsel", "0.2.0"), "0.3.0-mipsel");
        let mut object = ConfigMap::default();
        let data = object.data.get_or_insert_default();
        data.insert(known.key(), r#"{"stage": "one"}"#.to_owned());
        data.insert(newer.to_owned(), "of a newer release".to_owned());
        let before = read(&object);
        assert_eq!(before.keys().collect::<Vec<_>>(), [&known]);
        let mut after = before.clone();
        after.get_mut(&known).unwrap().stage = "all".to_owned();
        write(&mut object, &before, &after).unwrap();
        assert_eq!(read(&object), after);
        assert_eq!(object.data.unwrap()[newer], "of a newer release");
    }

    fn going() -> Going {
        let mut going = Going::default();
        going.begin("all".to_owned());
        going
    }

    fn camera(tenant: &str, number: usize) -> CameraId {
        format!("{tenant}/camera-{number}").parse().unwrap()
    }

    #[test]
    fn one_tenants_word_stops_its_own_part_and_a_second_ones_stops_all() {
        let (acme, other): (TenantId, TenantId) =
            ("acme".parse().unwrap(), "other".parse().unwrap());
        let mut going = going();
        going.stop_for(&acme, "one".to_owned());
        assert!(going.goes() && going.goes_to(&other));
        assert!(!going.goes_to(&acme));
        let text = serde_json::to_string(&going).unwrap();
        assert_eq!(serde_json::from_str::<Going>(&text).unwrap(), going);
        going.stop_for(&other, "another".to_owned());
        assert_eq!(going.stopped.as_deref(), Some("another"));
        assert!(!going.goes_to(&other));
        going.begin("all".to_owned());
        assert!(going.goes_to(&acme), "the operator goes on");
    }

    #[test]
    fn refusals_of_one_tenant_stop_its_own_part_and_of_several_all() {
        let mut alone = going();
        (0..3).for_each(|number| alone.refused_by(&camera("acme", number), 3, "key".to_owned()));
        assert!(alone.goes() && alone.part.is_some());
        // What it said counts no more: another one's stand for themselves.
        (0..2).for_each(|number| alone.refused_by(&camera("other", number), 3, "key".to_owned()));
        assert!(alone.goes());
        alone.refused_by(&camera("third", 0), 3, "key".to_owned());
        assert!(!alone.goes());
        let mut several = going();
        for tenant in ["acme", "other", "third"] {
            assert!(several.goes());
            several.refused_by(&camera(tenant, 0), 3, "key".to_owned());
        }
        assert!(!several.goes() && several.part.is_none());
    }
}
