//! In-memory adapters of the ports.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use moorline_core::id::ForwardName;
use moorline_core::lifecycle::Role;
use moorline_core::port::{
    Audience, ByteStream, Caller, Holder, Holders, Identities, IdentityError, KeyPin, LandingError,
    Landings, LinkEvent, LinkEvents, PodUid, PortError, RelayPlace, RelayPlaces,
};
use moorline_core::{CameraId, Generation, Masked, Timestamp};
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, watch};

/// What a test waits for comes within this, on any machine; a test that fails waits no longer.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    within(Duration::from_secs(30), what, future).await
}

/// The same for what takes longer.
pub(crate) async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    let patience = std::env::var("MOORLINE_TEST_PATIENCE")
        .ok()
        .and_then(|text| text.parse().ok());
    let limit = limit * patience.unwrap_or(1);
    match tokio::time::timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen within {limit:?}"),
    }
}

pub(crate) fn camera(name: &str) -> CameraId {
    name.parse().unwrap()
}

pub(crate) fn pod(name: &str) -> PodUid {
    PodUid(name.to_owned())
}

#[derive(Default)]
pub(crate) struct Pods {
    tokens: Mutex<HashMap<(String, Audience), Result<Caller, IdentityError>>>,
    gone: Mutex<HashSet<PodUid>>,
    created: Mutex<HashMap<PodUid, Timestamp>>,
}

impl Pods {
    /// A workload's token, good for one receiver.
    pub(crate) fn workload(
        &self,
        token: &str,
        audience: Audience,
        of: &str,
        role: Role,
        uid: &str,
    ) {
        let caller = Caller::Workload {
            camera: camera(of),
            role,
            pod: pod(uid),
        };
        self.answer(token, audience, Ok(caller));
    }

    pub(crate) fn answer(
        &self,
        token: &str,
        audience: Audience,
        answer: Result<Caller, IdentityError>,
    ) {
        self.tokens
            .lock()
            .unwrap()
            .insert((token.to_owned(), audience), answer);
    }

    pub(crate) fn made(&self, uid: &str, millis: i64) {
        self.created
            .lock()
            .unwrap()
            .insert(pod(uid), Timestamp::from_millis(millis));
    }

    pub(crate) fn delete(&self, uid: &str) {
        self.gone.lock().unwrap().insert(pod(uid));
    }
}

#[async_trait]
impl Identities for Pods {
    async fn caller(
        &self,
        token: &Masked<String>,
        audience: Audience,
    ) -> Result<Caller, IdentityError> {
        let tokens = self.tokens.lock().unwrap();
        let token = token.reveal();
        if let Some(answer) = tokens.get(&(token.clone(), audience)) {
            return answer.clone();
        }
        let elsewhere = tokens.keys().any(|(known, _)| known == token);
        Err(IdentityError::Refused(if elsewhere {
            "audience"
        } else {
            "token"
        }))
    }

    fn is_alive(&self, pod: &PodUid) -> bool {
        !self.gone.lock().unwrap().contains(pod)
    }

    fn created(&self, pod: &PodUid) -> Option<Timestamp> {
        self.created.lock().unwrap().get(pod).copied()
    }
}

pub(crate) struct Cameras {
    holders: Mutex<HashMap<CameraId, watch::Sender<Holder>>>,
    keepers: Mutex<HashMap<CameraId, Holder>>,
    stale: AtomicBool,
    waiting: watch::Sender<u64>,
}

impl Default for Cameras {
    fn default() -> Self {
        Self {
            holders: Mutex::default(),
            keepers: Mutex::default(),
            stale: AtomicBool::new(false),
            waiting: watch::Sender::new(0),
        }
    }
}

impl Cameras {
    fn of(&self, camera: &CameraId) -> watch::Sender<Holder> {
        let mut holders = self.holders.lock().unwrap();
        holders
            .entry(camera.clone())
            .or_insert_with(|| watch::Sender::new(Holder::Unknown))
            .clone()
    }

    pub(crate) fn set(&self, name: &str, holder: Holder) {
        self.of(&camera(name)).send_replace(holder);
    }

    pub(crate) fn keep(&self, name: &str, keeper: Holder) {
        self.keepers.lock().unwrap().insert(camera(name), keeper);
    }

    /// The API server is away.
    pub(crate) fn go_stale(&self) {
        self.stale.store(true, Ordering::SeqCst);
    }

    /// Somebody waits for a change since the last call of this.
    pub(crate) async fn somebody_waits(&self) {
        let mut waiting = self.waiting.subscribe();
        soon("a request that waits", waiting.wait_for(|count| *count > 0))
            .await
            .unwrap();
        self.waiting.send_replace(0);
    }
}

#[async_trait]
impl Holders for Cameras {
    fn holder(&self, camera: &CameraId) -> Holder {
        self.of(camera).borrow().clone()
    }

    async fn changed(&self, camera: &CameraId, seen: &Holder) -> Holder {
        let mut holder = self.of(camera).subscribe();
        self.waiting.send_modify(|count| *count += 1);
        let changed = holder.wait_for(|now| now != seen).await;
        changed.unwrap().clone()
    }

    fn keeper(&self, camera: &CameraId) -> Holder {
        let keepers = self.keepers.lock().unwrap();
        keepers
            .get(camera)
            .cloned()
            .unwrap_or_else(|| self.holder(camera))
    }

    fn is_current(&self) -> bool {
        !self.stale.load(Ordering::SeqCst)
    }
}

/// The tunnels of one replica. The camera's end of each stream goes to the test.
pub(crate) struct Tunnels {
    answers: Mutex<HashMap<CameraId, Result<Generation, LandingError>>>,
    opened: mpsc::Sender<(CameraId, DuplexStream)>,
}

impl Tunnels {
    pub(crate) fn new() -> (Arc<Self>, mpsc::Receiver<(CameraId, DuplexStream)>) {
        let (opened, streams) = mpsc::channel(64);
        let tunnels = Self {
            answers: Mutex::default(),
            opened,
        };
        (Arc::new(tunnels), streams)
    }

    pub(crate) fn set(&self, name: &str, answer: Result<Generation, LandingError>) {
        self.answers.lock().unwrap().insert(camera(name), answer);
    }
}

#[async_trait]
impl Landings for Tunnels {
    async fn connect(
        &self,
        camera: &CameraId,
        forward: &ForwardName,
        least: Generation,
    ) -> Result<(ByteStream, Generation), LandingError> {
        assert_eq!(*forward, ForwardName::rtsp());
        let answer = self.answers.lock().unwrap().get(camera).cloned();
        let generation = answer.unwrap_or(Err(LandingError::Away))?;
        if generation < least {
            return Err(LandingError::Away);
        }
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        self.opened.try_send((camera.clone(), theirs)).unwrap();
        Ok((Box::new(ours), generation))
    }
}

#[derive(Default)]
pub(crate) struct Relays {
    places: Mutex<HashMap<CameraId, RelayPlace>>,
    pub(crate) announced: watch::Sender<Vec<(CameraId, PodUid, KeyPin)>>,
}

impl Relays {
    pub(crate) fn set(&self, name: &str, place: RelayPlace) {
        self.places.lock().unwrap().insert(camera(name), place);
    }
}

#[async_trait]
impl RelayPlaces for Relays {
    fn place(&self, camera: &CameraId) -> Option<RelayPlace> {
        self.places.lock().unwrap().get(camera).cloned()
    }

    async fn announce(
        &self,
        camera: &CameraId,
        pod: &PodUid,
        key: KeyPin,
    ) -> Result<(), PortError> {
        self.announced
            .send_modify(|all| all.push((camera.clone(), pod.clone(), key)));
        Ok(())
    }
}

/// What pods have said, in order.
#[derive(Default)]
pub(crate) struct Said(watch::Sender<Vec<(PodUid, LinkEvent)>>);

impl Said {
    pub(crate) fn all(&self) -> Vec<LinkEvent> {
        self.0
            .borrow()
            .iter()
            .map(|(_, event)| event.clone())
            .collect()
    }

    pub(crate) async fn until(
        &self,
        what: &str,
        enough: impl Fn(&[LinkEvent]) -> bool,
    ) -> Vec<LinkEvent> {
        let mut said = self.0.subscribe();
        let events = |all: &Vec<(PodUid, LinkEvent)>| -> Vec<LinkEvent> {
            all.iter().map(|(_, event)| event.clone()).collect()
        };
        let found = soon(what, said.wait_for(|all| enough(&events(all))))
            .await
            .unwrap();
        events(&found)
    }
}

impl LinkEvents for Said {
    fn said(&self, _camera: &CameraId, _role: Role, pod: &PodUid, event: LinkEvent) {
        self.0.send_modify(|all| all.push((pod.clone(), event)));
    }
}
