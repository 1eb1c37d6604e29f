//! The rules of the resources themselves: the API server keeps them whoever writes, mon's own mistakes included. Each is tried with an object that it
//! lets through and with one that it refuses, in its own words.

use std::collections::BTreeSet;

use moorline_testkit::cluster::{Namespace, Security};
use serde_json::{Value, json};

use crate::support::Moorline;

const NAME: &str = "a camera's name is a DNS label of at most 63 characters, without dots";
const PASSWORD: &str = "the password lies in the Secret <camera>-rtsp of the same namespace";
const SUB: &str = "record is sub, and the camera has no sub source";
const AUTO: &str = "recordBy auto goes with record main";
const STOLEN: &str = "a stolen camera is not enabled: set enabled to false too";
const NETWORKS: &str = "allowFrom lists networks such as 192.0.2.0/24 or 2001:db8::/32, without bits beyond the prefix, or addresses";
const SESSION: &str = "a camera's generation never falls, and its session is never removed";
const SPENT: &str =
    "a token is spent once: enrolledKey changes with another token of spec.enrolment only";
const TENANT: &str =
    "a tenant's name is a DNS label of at most 61 characters: its namespace is t-<name>";
const SEGMENT: &str = "archiver.segment lasts 2s to 300s";
const SPOOL: &str = "archiver.spool holds 2 MB for each second of archiver.segment at least: two segments of 8 Mbit/s";
const STORAGE: &str = "a tenant's storage id never changes";

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "moorline.dev/v1alpha1", "kind": kind,
        "metadata": {"name": name}, "spec": spec,
    })
}

/// What the API server would say to a new object.
async fn tried(space: &Namespace, object: &Value) -> Result<(), String> {
    let place = moorline_testkit::temp_dir().unwrap();
    let path = place.path().join("object.json");
    std::fs::write(&path, object.to_string()).unwrap();
    let path = path.display().to_string();
    let words = [
        "create",
        "--dry-run=server",
        "--validate=strict",
        "-f",
        &path,
    ];
    said(space, &words).await
}

/// What it would say to a change of a status.
async fn patched(space: &Namespace, kind: &str, name: &str, status: Value) -> Result<(), String> {
    let patch = json!({"status": status}).to_string();
    let words = [
        "patch",
        kind,
        name,
        "--subresource=status",
        "--type=merge",
        "--dry-run=server",
        "-p",
        &patch,
    ];
    said(space, &words).await
}

async fn said(space: &Namespace, words: &[&str]) -> Result<(), String> {
    let output = space.try_kubectl(words).await.unwrap();
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

#[track_caller]
fn refused(answer: Result<(), String>, message: &str) {
    let Err(said) = answer else {
        panic!("let through, although: {message}");
    };
    assert!(said.contains(message), "{said} does not say: {message}");
}

/// The messages of all rules in the definitions that are installed.
async fn messages(moorline: &Moorline) -> BTreeSet<String> {
    fn collect(value: &Value, into: &mut BTreeSet<String>) {
        let rules = value["x-kubernetes-validations"].as_array();
        for rule in rules.into_iter().flatten() {
            into.insert(rule["message"].as_str().unwrap_or_default().to_owned());
        }
        match value {
            Value::Object(fields) => fields.values().for_each(|value| collect(value, into)),
            Value::Array(items) => items.iter().for_each(|value| collect(value, into)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    for kind in ["cameras", "cameraclasses", "tenants"] {
        let name = format!("{kind}.moorline.dev");
        let words = ["get", "crd", &name, "-o", "json"];
        collect(&moorline.cluster().json(&words).await.unwrap(), &mut found);
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn each_rule_of_a_resource_lets_through_what_is_right_and_tells_what_is_wrong() {
    let Some(moorline) = Moorline::anywhere().await else {
        return;
    };
    let cluster = moorline.cluster();
    let known = [
        NAME, PASSWORD, SUB, AUTO, STOLEN, NETWORKS, SESSION, SPENT, TENANT, STORAGE, SEGMENT,
        SPOOL,
    ];
    assert_eq!(
        messages(&moorline).await,
        known.map(str::to_owned).into(),
        "each rule is tried here"
    );
    // No tenant's, so nobody of the installation looks at what lies in it.
    let space = cluster
        .namespace("rules", Security::Restricted)
        .await
        .unwrap();

    let long = |length: usize| "a".repeat(length);
    let login = |secret: &str| json!({"login": {"user": "admin", "passwordSecretRef": {"name": secret, "key": "main"}}});
    let camera = |name: &str, spec: Value| object("Camera", name, spec);
    let class = |archiver: Value| {
        let spec = json!({"image": "moorline", "archiver": archiver});
        object("CameraClass", "tried", spec)
    };
    let streampoint = |host: &str| json!({"user": "acme/yard", "host": host, "port": 2222, "keys": ["ssh-ed25519 AAAA"]});
    let sources = |main: Value, sub: Value| json!({"sources": {"main": main, "sub": sub}});
    for (message, good, bad) in [
        (
            NAME,
            camera(&long(63), json!({})),
            camera(&long(64), json!({})),
        ),
        (
            NAME,
            camera("back-yard", json!({})),
            camera("back.yard", json!({})),
        ),
        (
            PASSWORD,
            camera("yard", sources(login("yard-rtsp"), Value::Null)),
            camera("yard", sources(login("gate-rtsp"), Value::Null)),
        ),
        (
            PASSWORD,
            camera("yard", sources(json!({}), login("yard-rtsp"))),
            camera("yard", sources(json!({}), login("moorline-store-put"))),
        ),
        (
            SUB,
            camera(
                "yard",
                json!({"record": "sub", "sources": {"main": {}, "sub": {}}}),
            ),
            camera("yard", json!({"record": "sub"})),
        ),
        (
            AUTO,
            camera("yard", json!({"recordBy": "auto"})),
            camera("yard", json!({"recordBy": "auto", "record": "off"})),
        ),
        (
            STOLEN,
            camera("yard", json!({"stolen": true, "enabled": false})),
            camera("yard", json!({"stolen": true})),
        ),
        (
            NETWORKS,
            camera(
                "yard",
                json!({"allowFrom": ["192.0.2.0/24", "2001:db8::/32", "192.0.2.7", "2001:db8::7"]}),
            ),
            camera("yard", json!({"allowFrom": ["192.0.2.7/24"]})),
        ),
        (
            NETWORKS,
            camera("yard", json!({"allowFrom": ["0.0.0.0/0"]})),
            camera("yard", json!({"allowFrom": ["192.0.2.0/24", "home"]})),
        ),
        (
            "spec.streampoint.host",
            camera("yard", json!({"streampoint": streampoint("b.example.com")})),
            camera(
                "yard",
                json!({"streampoint": streampoint("-oProxyCommand=x")}),
            ),
        ),
        // As many as `camera set` takes.
        (
            "spec.allowFrom",
            camera("yard", json!({"allowFrom": vec!["192.0.2.7"; 16]})),
            camera("yard", json!({"allowFrom": vec!["192.0.2.7"; 17]})),
        ),
        (
            TENANT,
            object("Tenant", &long(61), json!({})),
            object("Tenant", &long(62), json!({})),
        ),
        (
            TENANT,
            object("Tenant", "shop-1", json!({})),
            object("Tenant", "shop.1", json!({})),
        ),
        (
            SEGMENT,
            class(json!({"segment": "2s"})),
            class(json!({"segment": "1s"})),
        ),
        (
            SEGMENT,
            class(json!({"segment": "5m"})),
            class(json!({"segment": "301s"})),
        ),
        (
            SPOOL,
            class(json!({"segment": "5s", "spool": "16Mi"})),
            class(json!({"spool": "64Mi"})),
        ),
        // Nothing at all, in the schema's own words.
        (
            "archiver.segment",
            class(json!({})),
            class(json!({"segment": "0s"})),
        ),
        (
            "archiver.spool",
            class(json!({})),
            class(json!({"spool": "0Gi"})),
        ),
        (
            "archiver.memory",
            class(json!({})),
            class(json!({"memory": "0Mi"})),
        ),
    ] {
        let answer = tried(&space, &good).await;
        assert_eq!(answer, Ok(()), "{message}: {good}");
        refused(tried(&space, &bad).await, message);
    }

    // What a status may become goes by what it was.
    space.apply(&camera("yard", json!({}))).await.unwrap();
    let session = |generation: u64| json!({"session": {"generation": generation}});
    let first = json!({"status": session(5)}).to_string();
    let words = [
        "patch",
        "camera",
        "yard",
        "--subresource=status",
        "--type=merge",
        "-p",
        &first,
    ];
    space.kubectl(&words).await.unwrap();
    for same_or_next in [5, 6] {
        let answer = patched(&space, "camera", "yard", session(same_or_next)).await;
        assert_eq!(answer, Ok(()), "generation {same_or_next} after 5");
    }
    for undone in [session(4), json!({"session": null})] {
        refused(patched(&space, "camera", "yard", undone).await, SESSION);
    }

    // Whoever spent a token stays who did, until the owner gives the camera another one.
    let hash = |of: char| format!("sha256:{}", String::from(of).repeat(64));
    let with = |of: char| {
        let token = json!({"tokenHash": hash(of), "expires": "2036-11-20T21:10:05Z"});
        camera("gate", json!({"enrolment": token}))
    };
    let spent = |key: &str, of: char| {
        let since = "2026-11-20T21:10:05Z";
        json!({"enrolledKey": {"key": key, "tokenHash": hash(of), "since": since}})
    };
    space.apply(&with('a')).await.unwrap();
    let first = json!({"status": spent("ssh-ed25519 A", 'a')}).to_string();
    let words = [
        "patch",
        "camera",
        "gate",
        "--subresource=status",
        "--type=merge",
        "-p",
        &first,
    ];
    space.kubectl(&words).await.unwrap();
    for undone in [
        spent("ssh-ed25519 B", 'a'),
        spent("ssh-ed25519 B", 'b'),
        json!({"enrolledKey": null}),
    ] {
        refused(patched(&space, "camera", "gate", undone).await, SPENT);
    }
    let same = patched(&space, "camera", "gate", spent("ssh-ed25519 A", 'a')).await;
    assert_eq!(same, Ok(()));
    space.apply(&with('b')).await.unwrap();
    let next = patched(&space, "camera", "gate", spent("ssh-ed25519 B", 'b')).await;
    assert_eq!(next, Ok(()), "of another token");

    let tenant = moorline.tenant("rules").await;
    let of_all = cluster.namespace_of_others("default");
    let id = |id: Value| json!({"storageId": id});
    let same = patched(&of_all, "tenant", &tenant.name, id(json!(tenant.storage))).await;
    assert_eq!(same, Ok(()));
    for other in [json!("another1"), Value::Null] {
        refused(
            patched(&of_all, "tenant", &tenant.name, id(other)).await,
            STORAGE,
        );
    }
}
