//! A small API server in memory: GET, LIST, WATCH, POST, PUT, PATCH and DELETE of any kind, with resource versions, status subresources, uids,
//! finalizers and label selectors. It remembers every request, and does wrong on order.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{Method, Request};
use kube::client::Body;
use serde_json::Value;
use tokio::sync::watch;

mod patches;
mod reply;
mod stored;
mod verbs;

use self::patches::merge;
use self::reply::Answer;

/// What goes wrong with a request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fault {
    /// It never arrives: no answer, ever.
    Swallowed,
    /// It is done, and the answer never comes.
    AnswerLost,
    /// It is refused with this code, reason and message.
    Refused(u16, &'static str, String),
    /// Before it is done, somebody else changes the object: a merge patch on its status.
    Overtaken(Value),
}

/// Which requests: the method, and a part of the path.
#[derive(Debug, Clone)]
struct Trap {
    method: Method,
    path: String,
    times: usize,
    fault: Fault,
}

#[derive(Default)]
struct State {
    version: u64,
    objects: BTreeMap<Key, Value>,
    /// Every change, by its version, for watches.
    history: VecDeque<(u64, Key, &'static str, Value)>,
    traps: Vec<Trap>,
    requests: Vec<(Method, String)>,
    away: bool,
    /// Nothing passes.
    cut: bool,
    /// How often it was cut off: a watch from before says nothing more.
    cuts: u64,
    /// The quota controller has not heard of Cameras.
    cameras_unknown: bool,
    /// What changed before this version is forgotten: a watch that has not seen it yet begins anew.
    compacted: u64,
}

/// API path up to the plural, namespace, name.
type Key = (String, String, String);

/// The server. Clones are the same.
#[derive(Clone)]
pub(crate) struct Api {
    state: Arc<Mutex<State>>,
    changed: watch::Sender<u64>,
    now: Arc<dyn Fn() -> i64 + Send + Sync>,
}

impl Api {
    /// An empty server; `now` gives its wall clock in milliseconds.
    pub(crate) fn new(now: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self {
            state: Arc::default(),
            changed: watch::Sender::new(0),
            now: Arc::new(now),
        }
    }

    /// A client of it.
    pub(crate) fn client(&self) -> kube::Client {
        kube::Client::new(self.clone(), "default")
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let (result, version) = {
            let mut state = self.state.lock().unwrap();
            (change(&mut state), state.version)
        };
        self.changed
            .send_if_modified(|known| std::mem::replace(known, version) != version);
        result
    }

    /// The next `times` requests of this method whose path contains `path` go wrong.
    pub(crate) fn trap(&self, method: Method, path: &str, times: usize, fault: Fault) {
        let path = path.to_owned();
        self.with(|state| {
            state.traps.push(Trap {
                method,
                path,
                times,
                fault,
            });
        });
    }

    /// Whether it swallows every request, watches apart.
    pub(crate) fn away(&self, away: bool) {
        self.with(|state| state.away = away);
    }

    /// Whether nothing passes, watches neither. Those that were open say nothing more, also when it is over: their connections are dead.
    pub(crate) fn cut_off(&self, cut: bool) {
        self.with(|state| {
            state.cuts += u64::from(cut);
            state.cut = cut;
        });
    }

    /// Forgets what changed so far, as etcd does: whoever watches and has not seen it is told so.
    pub(crate) fn compact(&self) {
        self.with(|state| {
            state.compacted = state.version;
            state.history.clear();
        });
    }

    /// Whether the quota controller does not know of Cameras. What it looked at before stays as it is.
    pub(crate) fn cameras_unknown(&self, unknown: bool) {
        self.with(|state| state.cameras_unknown = unknown);
    }

    /// What was asked so far, reads apart.
    pub(crate) fn writes(&self) -> Vec<String> {
        self.with(|state| {
            let writes = state.requests.iter().filter(|(method, path)| {
                *method != Method::GET
                    && !path.contains("tokenreviews")
                    && !path.contains("/events")
            });
            writes
                .map(|(method, path)| format!("{method} {path}"))
                .collect()
        })
    }

    /// All that was asked so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.with(|state| {
            let all = state.requests.iter();
            all.map(|(method, path)| format!("{method} {path}"))
                .collect()
        })
    }

    /// Forgets what was asked.
    pub(crate) fn forget_requests(&self) {
        self.with(|state| state.requests.clear());
    }

    /// Puts an object there as if somebody had made it, and returns it.
    pub(crate) fn put(&self, collection: &str, mut object: Value) -> Value {
        let key = key_of(collection, &object);
        self.with(|state| {
            let present = state.objects.get(&key).cloned();
            let event = match &present {
                Some(present) => {
                    for field in ["uid", "creationTimestamp"] {
                        object["metadata"][field] = present["metadata"][field].clone();
                    }
                    "MODIFIED"
                }
                None => {
                    self.born(state, &mut object);
                    "ADDED"
                }
            };
            state.store(&key, event, object)
        })
    }

    /// Changes an object by a merge patch, as somebody else.
    pub(crate) fn patch(&self, collection: &str, namespace: &str, name: &str, patch: &Value) {
        let key = (collection.to_owned(), namespace.to_owned(), name.to_owned());
        self.with(|state| {
            let mut object = state.objects.get(&key).cloned().expect("such an object");
            merge(&mut object, patch);
            state.store(&key, "MODIFIED", object);
        });
    }

    /// Takes an object away, as somebody else.
    pub(crate) fn remove(&self, collection: &str, namespace: &str, name: &str) {
        let key = (collection.to_owned(), namespace.to_owned(), name.to_owned());
        self.with(|state| state.drop(&key));
    }

    /// The object of that name.
    pub(crate) fn get(&self, collection: &str, namespace: &str, name: &str) -> Option<Value> {
        let key = (collection.to_owned(), namespace.to_owned(), name.to_owned());
        self.with(|state| state.objects.get(&key).cloned())
    }

    /// All objects of a collection.
    pub(crate) fn list(&self, collection: &str) -> Vec<Value> {
        self.with(|state| {
            let all = state.objects.iter().filter(|(key, _)| key.0 == collection);
            all.map(|(_, object)| object.clone()).collect()
        })
    }

    /// Waits until `wanted` holds of the server, looking after each change. Its patience is 3 minutes of tokio's time.
    pub(crate) async fn until(&self, what: &str, mut wanted: impl FnMut(&Self) -> bool) {
        let mut changed = self.changed.subscribe();
        let waiting = async {
            while !wanted(self) {
                changed.changed().await.unwrap();
            }
        };
        let late = tokio::time::timeout(std::time::Duration::from_secs(180), waiting).await;
        assert!(
            late.is_ok(),
            "never came: {what}; asked: {:#?}",
            self.requests()
        );
    }

    fn born(&self, state: &mut State, object: &mut Value) {
        let uid = format!("uid-{}", state.version + 1);
        let metadata = &mut object["metadata"];
        if metadata["uid"].is_null() {
            metadata["uid"] = uid.into();
        }
        if metadata["creationTimestamp"].is_null() {
            let seconds = (self.now)() / 1_000;
            let time = moorline_core::Timestamp::from_millis(seconds * 1_000).to_string();
            metadata["creationTimestamp"] = time.replace(".000Z", "Z").into();
        }
        metadata["generation"] = 1.into();
    }
}

impl tower::Service<Request<Body>> for Api {
    type Response = Answer;
    type Error = std::convert::Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { Ok(this.answer(request).await) })
    }
}

fn key_of(collection: &str, object: &Value) -> Key {
    let text = |field: &str| {
        object["metadata"][field]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    (collection.to_owned(), text("namespace"), text("name"))
}
