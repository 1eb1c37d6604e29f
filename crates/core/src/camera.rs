//! The camera record, and the set of all cameras in which a login is decided (rule S1).

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::{CameraId, ForwardName, SourceName, TenantId};
use crate::key::PublicKey;
use crate::masked::Masked;
use crate::network::{Network, listed};
use crate::segment::Retention;
use crate::streampoint::Streampoint;
use crate::time::Timestamp;

/// A device of a tenant, as its owner described it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Camera {
    /// Its name; never changed.
    pub id: CameraId,
    /// What people call it: any text, at most 200 characters.
    pub title: String,
    /// Where it hangs: any text; cameras of one site that fail together make one alarm.
    pub site: Option<String>,
    /// IANA name of the zone in which its days are shown, such as `Europe/Berlin`.
    pub timezone: String,
    /// When it was added. Older media under the same name is shown to admins only (rule S26).
    pub created: Timestamp,
    /// Keys that prove it (rule S2: never a person's).
    pub keys: Vec<CameraKey>,
    /// How its streams are reached.
    pub access: Access,
    /// The full picture.
    pub main: Source,
    /// The smaller stream, where it is known.
    pub sub: Option<Source>,
    /// What is recorded.
    pub record: Record,
    /// Who chose that.
    pub record_by: RecordBy,
    /// How long recordings are kept.
    pub retention: Retention,
    /// Whether it may connect.
    pub enabled: Enabled,
    /// The other server to which its agent takes its stream; `None`: this one takes it.
    pub streampoint: Option<Streampoint>,
    /// Networks from which alone its tunnels are taken (rule S4); empty: from anywhere.
    pub allow_from: Vec<Network>,
}

/// A key of a camera.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CameraKey {
    /// The key.
    pub key: PublicKey,
    /// When it was added.
    pub added: Timestamp,
    /// The owner's note, any text.
    pub comment: String,
}

/// How a camera is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum Access {
    /// It opens a reverse tunnel.
    Tunnel {
        /// Names of its second and further forwards, in the order in which it asks for them. The first is always `rtsp`.
        forwards: Vec<ForwardName>,
    },
    /// It stands in our own network. Only an operator may set the address.
    Lan {
        /// Host name or address, without scheme.
        host: String,
        /// TCP port of its RTSP server.
        port: u16,
    },
}

/// One stream of a camera.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Source {
    /// Path and query of the RTSP URL, from `/`. `None`: the known paths are probed.
    pub path: Option<String>,
    /// The camera's own login.
    pub login: Option<Login>,
    /// Whether Basic may be answered, which shows the password to whoever listens (rule S23). Digest always may.
    pub allow_basic: bool,
}

impl Source {
    /// A camera's streams change with its firmware. So many changes by the camera's own words may come at once: each is written, and begins its relay and
    /// its archiver anew, in a place that other cameras wait for (rule S5).
    pub const CHANGES: u32 = 4;
    /// From then on one comes in so many seconds.
    pub const SECONDS_A_CHANGE: f64 = 600.0;
}

/// User and password towards a camera.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Login {
    /// The user.
    pub user: String,
    /// The password; never printed.
    #[serde(skip)]
    pub password: Masked<String>,
}

/// What is recorded of a camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Record {
    /// The full picture, tier `full`.
    Main,
    /// The smaller stream, tier `low`.
    Sub,
    /// Nothing.
    Off,
}

/// Who chose what is recorded of a camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordBy {
    /// The owner: it stays.
    Owner,
    /// Nobody. It is `main`, and the server may record `sub` where the uplink cannot carry it.
    Auto,
    /// The server: `sub`, since the uplink could not carry `main`. It goes back by itself.
    Uplink,
}

impl RecordBy {
    /// The text in the registry and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Auto => "auto",
            Self::Uplink => "uplink",
        }
    }

    /// Reads that text.
    pub fn from_text(text: &str) -> Option<Self> {
        [Self::Owner, Self::Auto, Self::Uplink]
            .into_iter()
            .find(|by| by.as_str() == text)
    }
}

impl Record {
    /// The stream that is recorded.
    pub fn source(self) -> Option<SourceName> {
        match self {
            Self::Main => Some(SourceName::Main),
            Self::Sub => Some(SourceName::Sub),
            Self::Off => None,
        }
    }
}

/// Whether a camera may connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Enabled {
    /// It may.
    Yes,
    /// It is refused at authentication.
    Disabled,
    /// It is refused, and every call of its key is logged as a warning with its address (rule S4).
    Stolen,
}

impl Enabled {
    /// Whether the camera may connect.
    pub fn is_yes(self) -> bool {
        self == Self::Yes
    }
}

impl Camera {
    /// A camera of which nothing is known beyond its name: behind a tunnel, without a key, in UTC, its full picture recorded because its owner says so,
    /// and it may connect from anywhere. What is known of it is written over this with `..Camera::new(…)`, so that a field that comes to a camera is
    /// decided here. What reads a stored camera names every field instead: one that it does not read is lost there.
    #[must_use]
    pub fn new(id: CameraId, created: Timestamp, retention: Retention) -> Self {
        Self {
            title: id.name().to_owned(),
            id,
            site: None,
            timezone: "UTC".to_owned(),
            created,
            keys: Vec::new(),
            access: Access::Tunnel {
                forwards: Vec::new(),
            },
            main: Source::default(),
            sub: None,
            record: Record::Main,
            record_by: RecordBy::Owner,
            retention,
            enabled: Enabled::Yes,
            streampoint: None,
            allow_from: Vec::new(),
        }
    }

    /// The source of that name, if the camera has it.
    pub fn source(&self, name: SourceName) -> Option<&Source> {
        match name {
            SourceName::Main => Some(&self.main),
            SourceName::Sub => self.sub.as_ref(),
        }
    }

    /// Whether its tunnels are taken from this address.
    pub fn may_call_from(&self, address: IpAddr) -> bool {
        self.allow_from.is_empty() || self.allow_from.iter().any(|one| one.contains(address))
    }
}

/// Why a login is refused. The client hears one constant sentence; the reason stays on the server (rule S1).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No camera has this key.
    #[error("unknown key")]
    UnknownKey,
    /// The key is a camera's, the name another's.
    #[error("the key belongs to another camera")]
    OtherCamera,
    /// The key is a camera's, the name none's, where names are required.
    #[error("the key belongs to a camera and the name to none")]
    UnknownName,
    /// The name is no camera's, and the key is that of several.
    #[error("the key belongs to several cameras and the name to none")]
    Ambiguous,
    /// The camera is switched off.
    #[error("{0} is disabled")]
    Disabled(CameraId),
    /// The camera was reported stolen.
    #[error("{0} was reported stolen")]
    Stolen(CameraId),
    /// Its owner lists other networks.
    #[error("{camera} may call from {allowed} alone")]
    Elsewhere {
        /// The camera.
        camera: CameraId,
        /// From where it may call.
        allowed: String,
    },
}

crate::words! {
    /// Why a login is refused, as a closed set: in metrics, logs and the list of refused keys.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum RefusalReason {
        /// [`Refusal::UnknownKey`].
        UnknownKey = "unknown_key",
        /// [`Refusal::OtherCamera`].
        OtherCamera = "other_camera",
        /// [`Refusal::UnknownName`].
        UnknownName = "unknown_name",
        /// [`Refusal::Ambiguous`].
        Ambiguous = "ambiguous",
        /// [`Refusal::Disabled`].
        Disabled = "disabled",
        /// [`Refusal::Stolen`].
        Stolen = "stolen",
        /// [`Refusal::Elsewhere`].
        Elsewhere = "other_network",
        /// The key is of a kind that no camera has: it is refused before any camera is looked for.
        KeyAlgorithm = "key_algorithm",
    }
}

impl Refusal {
    /// The reason alone.
    pub fn reason(&self) -> RefusalReason {
        match self {
            Self::UnknownKey => RefusalReason::UnknownKey,
            Self::OtherCamera => RefusalReason::OtherCamera,
            Self::UnknownName => RefusalReason::UnknownName,
            Self::Ambiguous => RefusalReason::Ambiguous,
            Self::Disabled(_) => RefusalReason::Disabled,
            Self::Stolen(_) => RefusalReason::Stolen,
            Self::Elsewhere { .. } => RefusalReason::Elsewhere,
        }
    }
}

/// All cameras at one moment: an immutable snapshot, looked up in memory (promise P7).
#[derive(Debug, Default)]
pub struct CameraSet {
    cameras: BTreeMap<CameraId, Arc<Camera>>,
    by_key: HashMap<PublicKey, Vec<CameraId>>,
}

impl CameraSet {
    /// A snapshot of these cameras.
    pub fn new(cameras: impl IntoIterator<Item = Camera>) -> Self {
        Self::sharing(cameras.into_iter().map(Arc::new))
    }

    /// A snapshot that shares them: those that an earlier one has as well are the same object.
    pub fn sharing(cameras: impl IntoIterator<Item = Arc<Camera>>) -> Self {
        let mut set = Self::default();
        for camera in cameras {
            for key in &camera.keys {
                set.by_key
                    .entry(key.key.clone())
                    .or_default()
                    .push(camera.id.clone());
            }
            set.cameras.insert(camera.id.clone(), camera);
        }
        set
    }

    /// The camera of that id.
    pub fn get(&self, id: &CameraId) -> Option<&Arc<Camera>> {
        self.cameras.get(id)
    }

    /// All cameras, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Camera>> {
        self.cameras.values()
    }

    /// The cameras of one tenant, by id.
    pub fn of<'a>(&'a self, tenant: &'a TenantId) -> impl Iterator<Item = &'a Arc<Camera>> {
        self.iter()
            .filter(move |camera| camera.id.tenant() == tenant)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.cameras.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.cameras.is_empty()
    }

    /// Who has this key.
    pub fn having(&self, key: &PublicKey) -> &[CameraId] {
        self.by_key.get(key).map_or(&[], Vec::as_slice)
    }

    /// Decides an SSH login (rule S1): the key proves, the name chooses, both must agree. A name of no camera passes if the key
    /// belongs to exactly one camera. `from` is where the call comes from (rule S4).
    ///
    /// # Errors
    /// The [`Refusal`], for the server's log and counters only.
    pub fn login(&self, name: &str, key: &PublicKey, from: IpAddr) -> Result<Arc<Camera>, Refusal> {
        let owners = self.having(key);
        let chosen = match (self.named(name), owners) {
            (_, []) => return Err(Refusal::UnknownKey),
            (Some(named), owners) if owners.contains(&named) => named,
            (Some(_), _) => return Err(Refusal::OtherCamera),
            (None, [only]) => only.clone(),
            (None, _) => return Err(Refusal::Ambiguous),
        };
        let camera = self.cameras.get(&chosen).ok_or(Refusal::UnknownKey)?;
        match camera.enabled {
            Enabled::Yes if camera.may_call_from(from) => Ok(Arc::clone(camera)),
            Enabled::Yes => Err(Refusal::Elsewhere {
                camera: chosen,
                allowed: listed(&camera.allow_from),
            }),
            Enabled::Disabled => Err(Refusal::Disabled(chosen)),
            Enabled::Stolen => Err(Refusal::Stolen(chosen)),
        }
    }

    /// The same in an installation of several tenants, two of which may have one key: a name of no camera is refused. Else whoever writes another
    /// tenant's public key into a camera of its own would get that tenant's pictures as soon as the camera's own name is not there.
    ///
    /// # Errors
    /// The [`Refusal`], for the server's log and counters only.
    pub fn login_by_name(
        &self,
        name: &str,
        key: &PublicKey,
        from: IpAddr,
    ) -> Result<Arc<Camera>, Refusal> {
        if self.named(name).is_none() && !self.having(key).is_empty() {
            return Err(Refusal::UnknownName);
        }
        self.login(name, key, from)
    }

    /// The camera of that name, if there is one.
    fn named(&self, name: &str) -> Option<CameraId> {
        let id = name.parse::<CameraId>().ok();
        id.filter(|id| self.cameras.contains_key(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> PublicKey {
        let mut blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
        blob.extend([seed; 32]);
        PublicKey::from_blob(&blob).unwrap()
    }

    fn camera(id: &str, keys: &[u8], enabled: Enabled) -> Camera {
        Camera {
            keys: keys
                .iter()
                .map(|seed| CameraKey {
                    key: key(*seed),
                    added: Timestamp::default(),
                    comment: String::new(),
                })
                .collect(),
            enabled,
            ..Camera::new(
                id.parse().unwrap(),
                Timestamp::default(),
                Retention::Days(14),
            )
        }
    }

    #[test]
    fn key_and_name_must_agree() {
        let set = CameraSet::new([
            camera("yard", &[1], Enabled::Yes),
            camera("gate", &[2, 3], Enabled::Yes),
            camera("acme/shop", &[3], Enabled::Yes),
            camera("shed", &[4], Enabled::Disabled),
            camera("lost", &[5], Enabled::Stolen),
        ]);
        let login = |name: &str, seed| {
            set.login(name, &key(seed), IpAddr::from([192, 0, 2, 7]))
                .map(|camera| camera.id.to_string())
        };
        assert_eq!(login("yard", 1), Ok("home/yard".to_owned()));
        assert_eq!(login("home/yard", 1), Ok("home/yard".to_owned()));
        assert_eq!(
            login("root", 1),
            Ok("home/yard".to_owned()),
            "a name of no camera, a key of one"
        );
        assert_eq!(login("../../etc", 1), Ok("home/yard".to_owned()));
        assert_eq!(login("gate", 1), Err(Refusal::OtherCamera));
        assert_eq!(login("yard", 9), Err(Refusal::UnknownKey));
        assert_eq!(login("root", 3), Err(Refusal::Ambiguous));
        assert_eq!(login("acme/shop", 3), Ok("acme/shop".to_owned()));
        assert_eq!(
            login("shed", 4),
            Err(Refusal::Disabled("shed".parse().unwrap()))
        );
        assert_eq!(
            login("lost", 5),
            Err(Refusal::Stolen("lost".parse().unwrap()))
        );
    }

    #[test]
    fn s1_where_names_are_required_a_key_alone_chooses_no_camera() {
        let set = CameraSet::new([
            // A neighbour wrote the other tenant's public key into a camera of its own.
            camera("evil/mirror", &[1], Enabled::Yes),
            camera("evil/decoy", &[2], Enabled::Stolen),
            camera("acme/gate", &[3], Enabled::Yes),
        ]);
        let login = |name: &str, seed| {
            set.login_by_name(name, &key(seed), IpAddr::from([192, 0, 2, 7]))
                .map(|camera| camera.id.to_string())
        };
        for name in ["acme/yard", "yard", "root", "../../etc", ""] {
            assert_eq!(login(name, 1), Err(Refusal::UnknownName), "{name:?}");
            assert_eq!(
                login(name, 2),
                Err(Refusal::UnknownName),
                "{name:?}: nor is a neighbour told that its camera was stolen"
            );
            assert_eq!(login(name, 9), Err(Refusal::UnknownKey), "{name:?}");
        }
        assert_eq!(login("acme/gate", 3), Ok("acme/gate".to_owned()));
        assert_eq!(login("evil/mirror", 1), Ok("evil/mirror".to_owned()));
        assert_eq!(login("acme/gate", 1), Err(Refusal::OtherCamera));
    }

    #[test]
    fn s4_a_camera_calls_from_its_owners_networks_alone() {
        let yard = Camera {
            allow_from: vec![
                "192.0.2.0/24".parse().unwrap(),
                "2001:db8::/32".parse().unwrap(),
            ],
            ..camera("yard", &[1], Enabled::Yes)
        };
        let set = CameraSet::new([yard, camera("gate", &[2], Enabled::Yes)]);
        let login = |name: &str, seed, from: &str| {
            let from = from.parse().unwrap();
            set.login(name, &key(seed), from).map(|_| ())
        };
        for inside in ["192.0.2.7", "::ffff:192.0.2.7", "2001:db8::1"] {
            assert_eq!(login("yard", 1, inside), Ok(()), "{inside}");
            assert_eq!(login("root", 1, inside), Ok(()), "by its key alone");
        }
        let elsewhere = Refusal::Elsewhere {
            camera: "yard".parse().unwrap(),
            allowed: "192.0.2.0/24,2001:db8::/32".to_owned(),
        };
        for name in ["yard", "root"] {
            assert_eq!(login(name, 1, "198.51.100.9"), Err(elsewhere.clone()));
        }
        assert_eq!(
            login("yard", 9, "198.51.100.9"),
            Err(Refusal::UnknownKey),
            "a stranger learns of no list"
        );
        assert_eq!(login("gate", 2, "198.51.100.9"), Ok(()));
    }
}
