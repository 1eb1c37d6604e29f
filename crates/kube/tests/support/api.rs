//! A small API server in memory: GET, LIST, WATCH, POST, PUT, PATCH and DELETE of any kind, with resource versions, status subresources, uids,
//! finalizers and label selectors. It remembers every request, and does wrong on order.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream;
use http::{Method, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::watch;

type Answer = Response<BoxBody<Bytes, std::io::Error>>;

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

struct Target {
    collection: String,
    namespace: String,
    name: Option<String>,
    subresource: Option<String>,
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

    async fn answer(self, request: Request<Body>) -> Answer {
        let (head, body) = request.into_parts();
        let body = body
            .collect()
            .await
            .map(|body| body.to_bytes())
            .unwrap_or_default();
        let path = head.uri.path().to_owned();
        let query: BTreeMap<String, String> = form(head.uri.query().unwrap_or_default());
        let watching = query.contains_key("watch");
        let (fault, away) = self.with(|state| {
            state.requests.push((head.method.clone(), path.clone()));
            let trap = state.traps.iter_mut().find(|trap| {
                trap.times > 0
                    && trap.method == head.method
                    && path.contains(&trap.path)
                    && !watching
            });
            let fault = trap.map(|trap| {
                trap.times -= 1;
                trap.fault.clone()
            });
            (fault, state.cut || (state.away && !watching))
        });
        if away || fault == Some(Fault::Swallowed) {
            return std::future::pending().await;
        }
        if let Some(Fault::Refused(code, reason, message)) = fault {
            return refusal(code, reason, &message);
        }
        let Some(target) = target(&path) else {
            return refusal(404, "NotFound", "no such path");
        };
        if let (Some(Fault::Overtaken(patch)), Some(name)) = (&fault, &target.name) {
            self.patch(&target.collection, &target.namespace, name, patch);
        }
        let object = || serde_json::from_slice::<Value>(&body).unwrap_or_default();
        let answer = match head.method {
            Method::GET if watching => self.watch(target, &query),
            Method::GET => self.read(&target, &query),
            Method::POST => self.create(&target, object(), query.contains_key("dryRun")),
            Method::PUT => self.replace(&target, object()),
            Method::PATCH => {
                let kind = head
                    .headers
                    .get("content-type")
                    .and_then(|kind| kind.to_str().ok());
                self.apply(&target, kind.unwrap_or_default(), object())
            }
            Method::DELETE => self.delete(&target, &object()),
            _ => refusal(405, "MethodNotAllowed", "no such method"),
        };
        if fault == Some(Fault::AnswerLost) {
            return std::future::pending().await;
        }
        answer
    }

    fn read(&self, target: &Target, query: &BTreeMap<String, String>) -> Answer {
        self.with(|state| match &target.name {
            Some(name) => {
                let key = (target.collection.clone(), target.namespace.clone(), name.clone());
                state.objects.get(&key).map_or_else(|| missing(&key), ok)
            }
            None => {
                let all = state.objects.iter().filter(|(key, object)| {
                    in_scope(key, target) && selected(object, query.get("labelSelector"))
                });
                let items: Vec<Value> = all.map(|(_, object)| object.clone()).collect();
                ok(&json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": state.version.to_string()}, "items": items}))
            }
        })
    }

    fn watch(&self, target: Target, query: &BTreeMap<String, String>) -> Answer {
        let since: u64 = query
            .get("resourceVersion")
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        let selector = query.get("labelSelector").cloned();
        let cuts = self.with(|state| state.cuts);
        let this = self.clone();
        let seen = (since, self.changed.subscribe());
        let lines = stream::unfold(seen, move |(mut seen, mut changed)| {
            let (this, target, selector) =
                (this.clone(), target.collection.clone(), selector.clone());
            async move {
                loop {
                    changed.borrow_and_update();
                    if this.with(|state| state.cuts) != cuts {
                        return std::future::pending().await;
                    }
                    let next = {
                        let state = this.state.lock().unwrap();
                        let history = &state.history;
                        let from = history.partition_point(|(version, ..)| *version <= seen);
                        let next =
                            history
                                .range(from..)
                                .find_map(|(version, key, event, object)| {
                                    let matches =
                                        key.0 == target && selected(object, selector.as_ref());
                                    matches.then(|| {
                                        (*version, json!({"type": event, "object": object}))
                                    })
                                });
                        if next.is_none() {
                            seen = state.version.max(seen);
                        }
                        next
                    };
                    if let Some((version, event)) = next {
                        seen = version;
                        let line = Bytes::from(format!("{event}\n"));
                        return Some((Ok(http_body::Frame::data(line)), (seen, changed)));
                    }
                    changed.changed().await.ok()?;
                }
            }
        });
        let body = BodyExt::boxed(StreamBody::new(lines));
        Response::new(body)
    }

    fn create(&self, target: &Target, mut object: Value, dry_run: bool) -> Answer {
        if target.collection.ends_with("/tokenreviews") {
            return self.with(|state| {
                let token = object["spec"]["token"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned();
                let key = (target.collection.clone(), String::new(), token);
                let status = state
                    .objects
                    .get(&key)
                    .map(|object| object["status"].clone());
                object["status"] = status.unwrap_or_else(|| json!({"authenticated": false}));
                created(&object)
            });
        }
        if !target.namespace.is_empty() {
            object["metadata"]["namespace"] = target.namespace.clone().into();
        }
        if target.collection.ends_with("/pods") {
            // The kubelet's part, which takes no time here.
            object["status"] = json!({"phase": "Running"});
        }
        let key = key_of(&target.collection, &object);
        self.with(|state| {
            if state.objects.contains_key(&key) {
                return refusal(409, "AlreadyExists", &format!("{} exists", key.2));
            }
            if is_custom(&target.collection)
                && let Some(object) = object.as_object_mut()
            {
                object.remove("status");
            }
            self.born(state, &mut object);
            if dry_run {
                return created(&object);
            }
            created(&state.store(&key, "ADDED", object))
        })
    }

    fn replace(&self, target: &Target, mut object: Value) -> Answer {
        let key = key_at(target);
        self.with(|state| {
            let Some(present) = state.objects.get(&key).cloned() else {
                return missing(&key);
            };
            let given = &object["metadata"]["resourceVersion"];
            if !given.is_null() && *given != present["metadata"]["resourceVersion"] {
                return refusal(409, "Conflict", "the object has been modified");
            }
            if target.subresource.as_deref() == Some("status") {
                let mut next = present.clone();
                next["status"] = object["status"].clone();
                return ok(&state.store(&key, "MODIFIED", next));
            }
            if is_custom(&target.collection) {
                object["status"] = present["status"].clone();
            }
            for field in ["uid", "creationTimestamp", "deletionTimestamp", "namespace"] {
                object["metadata"][field] = present["metadata"][field].clone();
            }
            let moved = object["spec"] != present["spec"];
            let generation = present["metadata"]["generation"].as_u64().unwrap_or(1);
            object["metadata"]["generation"] = (generation + u64::from(moved)).into();
            ok(&state.settle(&key, object))
        })
    }

    fn apply(&self, target: &Target, kind: &str, patch: Value) -> Answer {
        let key = key_at(target);
        self.with(|state| {
            let present = state.objects.get(&key).cloned();
            let mut object = match (present, kind) {
                (Some(present), _) => present,
                (None, "application/apply-patch+yaml") => {
                    let mut object = patch.clone();
                    if !target.namespace.is_empty() {
                        object["metadata"]["namespace"] = target.namespace.clone().into();
                    }
                    self.born(state, &mut object);
                    return created(&state.store(&key, "ADDED", object));
                }
                (None, _) => return missing(&key),
            };
            if kind == "application/json-patch+json" {
                if !json_patch(&mut object, &patch) {
                    return refusal(422, "Invalid", "a test of the patch failed");
                }
            } else {
                let mut patch = patch;
                if target.subresource.as_deref() == Some("status") {
                    patch = json!({"status": patch["status"]});
                }
                let version = &patch["metadata"]["resourceVersion"];
                if !version.is_null() && *version != object["metadata"]["resourceVersion"] {
                    return refusal(409, "Conflict", "the object has been modified");
                }
                merge(&mut object, &patch);
            }
            ok(&state.settle(&key, object))
        })
    }

    fn delete(&self, target: &Target, options: &Value) -> Answer {
        let key = key_at(target);
        let now = moorline_core::Timestamp::from_millis((self.now)() / 1_000 * 1_000).to_string();
        self.with(|state| {
            let Some(mut object) = state.objects.get(&key).cloned() else {
                return missing(&key);
            };
            let uid = &options["preconditions"]["uid"];
            if !uid.is_null() && *uid != object["metadata"]["uid"] {
                return refusal(409, "Conflict", "the uid in the precondition differs");
            }
            let kept = object["metadata"]["finalizers"]
                .as_array()
                .is_some_and(|all| !all.is_empty());
            if kept {
                object["metadata"]["deletionTimestamp"] = now.replace(".000Z", "Z").into();
                return ok(&state.store(&key, "MODIFIED", object));
            }
            state.drop(&key);
            ok(&json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
        })
    }
}

impl State {
    fn store(&mut self, key: &Key, event: &'static str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        if event == "ADDED" && key.0.ends_with("/resourcequotas") {
            self.count(&mut object);
        }
        self.objects.insert(key.clone(), object.clone());
        self.history
            .push_back((self.version, key.clone(), event, object.clone()));
        object
    }

    /// As the quota controller looks at a quota once, when it is made.
    fn count(&self, quota: &mut Value) {
        let hard = quota["spec"]["hard"].clone();
        let known = hard
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(name, _)| !(self.cameras_unknown && name.starts_with("count/cameras")));
        let used: Value = known.map(|(name, _)| (name.clone(), json!("0"))).collect();
        quota["status"] = json!({"hard": hard, "used": used});
    }

    /// Stores it, or takes it away if it was only kept by a finalizer that is gone.
    fn settle(&mut self, key: &Key, object: Value) -> Value {
        let metadata = &object["metadata"];
        let kept = metadata["finalizers"]
            .as_array()
            .is_some_and(|all| !all.is_empty());
        if !metadata["deletionTimestamp"].is_null() && !kept {
            self.objects.insert(key.clone(), object.clone());
            self.drop(key);
            return object;
        }
        self.store(key, "MODIFIED", object)
    }

    fn drop(&mut self, key: &Key) {
        if let Some(mut object) = self.objects.remove(key) {
            self.version += 1;
            object["metadata"]["resourceVersion"] = self.version.to_string().into();
            self.history
                .push_back((self.version, key.clone(), "DELETED", object));
        }
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

fn target(path: &str) -> Option<Target> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (prefix, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] => (format!("/api/{version}"), rest),
        ["apis", group, version, rest @ ..] => (format!("/apis/{group}/{version}"), rest),
        _ => return None,
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => ((*namespace).to_owned(), rest),
        rest => (String::new(), rest),
    };
    let (plural, rest) = rest.split_first()?;
    let part = |index: usize| rest.get(index).map(|text| (*text).to_owned());
    Some(Target {
        collection: format!("{prefix}/{plural}"),
        namespace,
        name: part(0),
        subresource: part(1),
    })
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

fn key_at(target: &Target) -> Key {
    (
        target.collection.clone(),
        target.namespace.clone(),
        target.name.clone().unwrap_or_default(),
    )
}

fn in_scope(key: &Key, target: &Target) -> bool {
    key.0 == target.collection && (target.namespace.is_empty() || key.1 == target.namespace)
}

fn is_custom(collection: &str) -> bool {
    collection.contains("moorline.dev")
}

fn selected(object: &Value, selector: Option<&String>) -> bool {
    selector.is_none_or(|selector| {
        selector
            .split(',')
            .filter(|term| !term.is_empty())
            .all(|term| match term.split_once('=') {
                Some((key, value)) => object["metadata"]["labels"][key] == value,
                None => !object["metadata"]["labels"][term].is_null(),
            })
    })
}

fn merge(object: &mut Value, patch: &Value) {
    match patch {
        Value::Object(fields) => {
            if !object.is_object() {
                *object = json!({});
            }
            for (name, value) in fields {
                if value.is_null() {
                    object.as_object_mut().unwrap().remove(name);
                } else {
                    merge(&mut object[name.as_str()], value);
                }
            }
        }
        other => *object = other.clone(),
    }
}

/// `test`, `add`, `replace` and `remove`; `false` if a test fails or a path is not there.
fn json_patch(object: &mut Value, patch: &Value) -> bool {
    for step in patch.as_array().into_iter().flatten() {
        let path = step["path"].as_str().unwrap_or_default();
        let (parent, last) = path.rsplit_once('/').unwrap_or_default();
        let last = last.replace("~1", "/").replace("~0", "~");
        let done = match step["op"].as_str() {
            Some("test") => object.pointer(path) == Some(&step["value"]),
            Some("remove") => match object.pointer_mut(parent) {
                Some(Value::Array(all)) => last.parse().is_ok_and(|index: usize| {
                    let there = index < all.len();
                    if there {
                        all.remove(index);
                    }
                    there
                }),
                Some(Value::Object(all)) => all.remove(&last).is_some(),
                _ => false,
            },
            Some("add" | "replace") => match object.pointer_mut(parent) {
                Some(Value::Array(all)) => {
                    let at = last.parse().unwrap_or(all.len()).min(all.len());
                    all.insert(at, step["value"].clone());
                    true
                }
                Some(Value::Object(all)) => {
                    all.insert(last, step["value"].clone());
                    true
                }
                _ => false,
            },
            _ => false,
        };
        if !done {
            return false;
        }
    }
    true
}

fn form(query: &str) -> BTreeMap<String, String> {
    let decode = |text: &str| {
        text.replace("%3D", "=")
            .replace("%2F", "/")
            .replace("%2C", ",")
            .replace("%2f", "/")
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

fn body(value: &Value, code: u16) -> Answer {
    let text = Bytes::from(value.to_string());
    let body = Full::new(text).map_err(|never| match never {}).boxed();
    Response::builder().status(code).body(body).unwrap()
}

fn ok(object: &Value) -> Answer {
    body(object, 200)
}

fn created(object: &Value) -> Answer {
    body(object, 201)
}

fn missing(key: &Key) -> Answer {
    refusal(404, "NotFound", &format!("{} is not there", key.2))
}

fn refusal(code: u16, reason: &str, message: &str) -> Answer {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message});
    body(&status, code)
}
