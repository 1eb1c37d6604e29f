//! What a request asks for, and what it does: GET, LIST, WATCH, POST, PUT, PATCH and DELETE.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::stream;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use kube::client::Body;
use serde_json::{Value, json};

use super::patches::{json_patch, merge};
use super::reply::{Answer, created, missing, ok, refusal};
use super::{Api, Fault, Key, key_of};

struct Target {
    collection: String,
    namespace: String,
    name: Option<String>,
    subresource: Option<String>,
}

/// What a watch has seen that says nothing more.
const OVER: u64 = u64::MAX;

impl Api {
    pub(super) async fn answer(self, request: Request<Body>) -> Answer {
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
        // What is told at a path of its own, such as the keys of tokens.
        if let Some(told) = self.get(&path, "", "") {
            return ok(&told);
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
            Method::PUT => self.replace(&target, object(), query.contains_key("dryRun")),
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
                    if seen == OVER {
                        return None;
                    }
                    if seen < this.with(|state| state.compacted) {
                        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410,
                            "message": "The resourceVersion for the provided watch is too old."});
                        let event = json!({"type": "ERROR", "object": status});
                        let line = Bytes::from(format!("{event}\n"));
                        return Some((Ok(http_body::Frame::data(line)), (OVER, changed)));
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

    fn replace(&self, target: &Target, mut object: Value, dry_run: bool) -> Answer {
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
            if dry_run {
                return ok(&object);
            }
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
