//! What a tenant, or a pod that was taken over, would try (rules S18 to S24). Each attempt is made against the running installation.

use std::net::SocketAddr;

use moorline_core::segment::SegmentKey;
use moorline_testkit::cluster::SOON;
use serde_json::{Value, json};

use crate::support::{Inside, Moorline, Pod, Tenant, Way};

/// Runs kubectl as somebody of a tenant's own people; what it says, with its exit status.
async fn as_tenant(tenant: &Tenant<'_>, words: &[&str]) -> (bool, String) {
    let group = format!("--as-group=moorline:tenant:{}", tenant.name);
    let mut all = vec!["--as=somebody", &*group, "--as-group=system:authenticated"];
    all.extend(words);
    let output = tenant.space.cluster().try_kubectl(&all).await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// Whether somebody may.
async fn may(moorline: &Moorline, who: &str, words: &[&str]) -> bool {
    let who = format!("--as={who}");
    let mut all = vec!["auth", "can-i", "-q", &*who];
    all.extend(words);
    let output = moorline.cluster().try_kubectl(&all).await.unwrap();
    output.status.success()
}

/// S18: what faces the Internet holds neither the store's key nor the ticket key, and cannot fetch them.
#[tokio::test(flavor = "multi_thread")]
async fn mon_holds_no_key_of_the_store_and_no_ticket_key() {
    let Some(moorline) = Moorline::anywhere().await else {
        return;
    };
    let mon = "system:serviceaccount:moorline-system:moorline-mon";
    for namespace in ["moorline-system", "kube-system", "default"] {
        for verb in ["get", "list", "watch"] {
            let words = [verb, "secrets", "-n", namespace];
            assert!(!may(&moorline, mon, &words).await, "mon may {words:?}");
        }
    }
    assert!(!may(&moorline, mon, &["create", "serviceaccounts/token", "-A"]).await);
    assert!(may(&moorline, mon, &["list", "cameras.moorline.dev", "-A"]).await);
    let pods = moorline
        .system
        .get(&["pods", "-l", "app.kubernetes.io/component=mon"])
        .await
        .unwrap()
        .to_string();
    for held_by_the_signer in ["moorline-store-put", "moorline-ticket-key", "S3__"] {
        assert!(
            !pods.contains(held_by_the_signer),
            "{held_by_the_signer} in mon's pods"
        );
    }
    // The relay's and archiver's accounts may nothing at all.
    let tenant = moorline.tenant("accounts").await;
    for role in ["relay", "archiver"] {
        let account = format!(
            "system:serviceaccount:{}:moorline-{role}",
            tenant.space.name()
        );
        for words in [
            ["get", "pods"],
            ["list", "cameras.moorline.dev"],
            ["get", "secrets"],
        ] {
            let words = [&words[..], &["-n", tenant.space.name()]].concat();
            assert!(
                !may(&moorline, &account, &words).await,
                "{role} may {words:?}"
            );
        }
    }
}

/// S21, S23: a tenant's people make Cameras in their own namespace, within what they were given, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_makes_cameras_within_its_bounds_and_nothing_else() {
    let Some(moorline) = Moorline::anywhere().await else {
        return;
    };
    let tenant = moorline.tenant_with("bounds", json!({"cameras": 2})).await;
    let other = moorline.tenant("bystander").await;
    let (own, foreign) = (tenant.space.name(), other.space.name());
    let place = moorline_testkit::temp_dir().unwrap();
    let file = |name: &str, object: &Value| {
        let path = place.path().join(name);
        std::fs::write(&path, object.to_string()).unwrap();
        path.display().to_string()
    };
    let camera = |name: &str, spec: Value| json!({"apiVersion": "moorline.dev/v1alpha1", "kind": "Camera", "metadata": {"name": name}, "spec": spec});
    let good = file("good", &camera("good", json!({})));
    let (done, said) = as_tenant(&tenant, &["create", "-n", own, "-f", &good]).await;
    assert!(done, "{said}");
    let login = |secret: &str| json!({"sources": {"main": {"login": {"user": "a", "passwordSecretRef": {"name": secret, "key": "p"}}}}});
    for (name, spec, refusal) in [
        ("class", json!({"class": "gold"}), "this tenant may use"),
        ("keep", json!({"retention": "keep"}), "at most 30d"),
        ("long", json!({"retention": "999d"}), "at most 30d"),
        ("secret", login("another-rtsp"), "<camera>-rtsp"),
        (
            "lan",
            json!({"access": "rtsp://10.0.0.1/"}),
            "unknown field",
        ),
    ] {
        let path = file(name, &camera(name, spec));
        let words = ["create", "--validate=strict", "-n", own, "-f", &path];
        let (done, said) = as_tenant(&tenant, &words).await;
        assert!(!done && said.contains(refusal), "{name}: {said}");
    }
    // The quota: two Cameras.
    let second = file("second", &camera("second", json!({})));
    let (done, said) = as_tenant(&tenant, &["create", "-n", own, "-f", &second]).await;
    assert!(done, "{said}");
    let third = file("third", &camera("third", json!({})));
    let (done, said) = as_tenant(&tenant, &["create", "-n", own, "-f", &third]).await;
    assert!(!done && said.contains("exceeded quota"), "{said}");

    let mut relay = tenant.space.moorline_pod("mine", &["--version"]);
    relay["metadata"]["labels"] =
        json!({"moorline.dev/role": "relay", "moorline.dev/camera": "good"});
    relay["spec"]["serviceAccountName"] = json!("moorline-relay");
    let pod = file("pod", &relay);
    for words in [
        &["create", "-n", own, "-f", &pod][..],
        &["create", "-n", foreign, "-f", &good],
        &["get", "cameras", "-n", foreign],
        &["get", "secrets", "-n", own],
        &["get", "pods", "-n", own],
        &["create", "token", "moorline-relay", "-n", own],
        &["create", "token", "moorline-archiver", "-n", own],
        &["create", "serviceaccount", "moorline-frontdoor", "-n", own],
        &[
            "create",
            "rolebinding",
            "mine",
            "--clusterrole=cluster-admin",
            "--user=somebody",
            "-n",
            own,
        ],
        &["delete", "networkpolicy", "--all", "-n", own],
        &["get", "configmap", "moorline", "-n", foreign],
        &["get", "events", "-n", foreign],
        &["get", "secrets", "-n", "moorline-store-put"],
        &[
            "annotate",
            "namespace",
            own,
            "moorline.dev/classes=gold",
            "--overwrite",
        ],
        &[
            "patch",
            "camera",
            "good",
            "-n",
            own,
            "--subresource=status",
            "--type=merge",
            "-p",
            "{\"status\":{\"classes\":[\"r001\"]}}",
        ],
        &["delete", "resourcequota", "moorline", "-n", own],
        &["get", "tenants"],
        &[
            "patch",
            "cameraclass",
            "standard",
            "--type=merge",
            "-p",
            "{\"spec\":{\"image\":\"evil\"}}",
        ],
    ] {
        let (done, said) = as_tenant(&tenant, words).await;
        assert!(!done && said.contains("orbidden"), "{words:?}: {said}");
    }
    // What happened to their cameras they may read, and not say: a holder that is written beside the spec is not taken.
    let (done, said) = as_tenant(&tenant, &["get", "events", "-n", own]).await;
    assert!(done, "{said}");
    let evil = json!({"status": {
        "session": {"generation": 9_999_999_999_u64, "mon": "evil", "address": "10.0.0.1:8443"},
        "relay": {"uid": "evil", "spki": "sha256:evil"},
    }});
    let evil = evil.to_string();
    let words = [
        "patch",
        "camera",
        "good",
        "-n",
        own,
        "--type=merge",
        "-p",
        &evil,
    ];
    as_tenant(&tenant, &words).await;
    let good = tenant.space.get(&["camera/good"]).await.unwrap();
    assert!(!good.to_string().contains("evil"), "{good:#}");
    // Not even who may make pods there makes one in a camera's name, or enters one (S21).
    let words = ["create", "-n", own, "-f", &pod];
    let output = tenant.space.cluster().try_kubectl(&words).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("nobody but moorline-mon"),
        "{said}"
    );
}

/// The head of a request for a camera's tunnel.
fn connect(camera: &str, token: &str) -> String {
    format!(
        "CONNECT {camera} HTTP/1.1\r\nHost: moorline-mon.moorline-system.svc\r\nAuthorization: Bearer {token}\r\n"
    )
}

/// A request to the signer.
fn post(path: &str, token: &str, body: &Value) -> (String, String) {
    let body = body.to_string();
    let head = format!(
        "POST /v1/{path} HTTP/1.1\r\nHost: moorline-signer.moorline-system.svc\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
        body.len()
    );
    (head, body)
}

/// S19, S24: a tunnel goes to the relay pod of its camera, and to nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn a_pods_token_opens_its_own_cameras_tunnel_alone() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("tokens").await;
    let other = moorline.tenant("victim").await;
    let [first, second] = moorline.pair().await;
    let (yard, gate) = (
        tenant.camera("yard", 181).await,
        other.camera("gate", 182).await,
    );
    let _yard = yard.call(&moorline, &first);
    let _gate = gate.call(&moorline, &second);
    tenant.until_recorded(&yard).await;
    other.until_recorded(&gate).await;
    let [relay, archiver] = tenant.pair(&yard).await;
    let own = format!("{}/yard", tenant.name);
    let foreign = format!("{}/gate", other.name);
    let good = tenant.token_for(&relay, Inside::Gateway).await;
    let wrong_audience = tenant.token_for(&relay, Inside::Signer).await;
    let archivers = tenant.token_for(&archiver, Inside::Gateway).await;
    let unbound = tenant
        .space
        .kubectl(&[
            "create",
            "token",
            "moorline-relay",
            "--audience=moorline-gateway",
        ])
        .await
        .unwrap();
    for (what, head, status, reason) in [
        (
            "another tenant's camera",
            connect(&foreign, &good),
            403,
            "camera",
        ),
        ("an archiver", connect(&own, &archivers), 403, "role"),
        (
            "a token for the signer",
            connect(&own, &wrong_audience),
            401,
            "token",
        ),
        ("no pod", connect(&own, unbound.trim()), 403, "pod"),
        ("no token", connect(&own, "x"), 401, "token"),
    ] {
        let answer = moorline.ask(Inside::Gateway, &head, "").await;
        assert_eq!(
            (answer.status, &*answer.reason),
            (status, reason),
            "{what}: {}",
            answer.text
        );
    }
    // Only replicas ask each other, and prove it by a certificate.
    let head =
        format!("GET /v1/holds/{foreign} HTTP/1.1\r\nHost: moorline-mon.moorline-system.svc\r\n");
    let answer = moorline.ask(Inside::Gateway, &head, "").await;
    assert_eq!(
        (answer.status, &*answer.reason),
        (403, "peer"),
        "{}",
        answer.text
    );
    // The token is good: what was refused was refused for its reason.
    let answer = moorline
        .ask(Inside::Gateway, &connect(&own, &good), "")
        .await;
    assert!([200, 307].contains(&answer.status), "{}", answer.text);

    // The token of a pod that is gone opens nothing, however long it would be valid. The API server remembers for 10 s.
    tenant
        .space
        .kubectl(&["delete", "pod", &relay.name, "--force", "--grace-period=0"])
        .await
        .unwrap();
    moorline_testkit::eventually("the dead pod's token is refused", SOON, || async {
        let answer = moorline
            .ask(Inside::Gateway, &connect(&own, &good), "")
            .await;
        [401, 403].contains(&answer.status).then_some(())
    })
    .await;
    // Another relay was made for the camera.
    moorline_testkit::eventually("another relay", SOON, || async {
        let pods: Vec<Pod> = tenant.pods(&yard).await;
        let new = |pod: &Pod| pod.role == "relay" && pod.uid != relay.uid && !pod.deleting;
        pods.iter().any(new).then_some(())
    })
    .await;
}

/// A ticket of that archiver's to its own relay, and where that is.
async fn ticket(
    moorline: &Moorline,
    tenant: &Tenant<'_>,
    archiver: &Pod,
    camera: &str,
) -> (String, SocketAddr) {
    let token = tenant.token_for(archiver, Inside::Signer).await;
    let (head, body) = post(
        "ticket",
        &token,
        &json!({"camera": camera, "source": "main"}),
    );
    let answer = moorline.ask(Inside::Signer, &head, &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let granted: Value = serde_json::from_str(answer.body()).unwrap();
    let text = |field: &str| granted[field].as_str().unwrap().to_owned();
    (text("ticket"), text("address").parse().unwrap())
}

/// S19, S22: a ticket opens the relay of its camera, once, and no other tenant's; for another's it gets none.
#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_opens_its_own_relay_once_and_no_other() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("tickets").await;
    let other = moorline.tenant("onlooker").await;
    let [first, second] = moorline.pair().await;
    let (yard, gate) = (
        tenant.camera("yard", 183).await,
        other.camera("gate", 184).await,
    );
    let _yard = yard.call(&moorline, &first);
    let _gate = gate.call(&moorline, &second);
    tenant.until_recorded(&yard).await;
    other.until_recorded(&gate).await;
    let own = format!("{}/yard", tenant.name);
    let foreign = format!("{}/gate", other.name);
    let [_, archiver] = tenant.pair(&yard).await;
    let (good, here) = ticket(&moorline, &tenant, &archiver, &own).await;
    // Of a relay that runs and is not its own it gets none (S19).
    let token = tenant.token_for(&archiver, Inside::Signer).await;
    let wanted = json!({"camera": foreign, "source": "main"});
    let (head, body) = post("ticket", &token, &wanted);
    let answer = moorline.ask(Inside::Signer, &head, &body).await;
    assert_eq!(
        (answer.status, &*answer.reason),
        (403, "camera"),
        "{}",
        answer.text
    );
    let [_, archiver] = other.pair(&gate).await;
    let (_, there) = ticket(&moorline, &other, &archiver, &foreign).await;
    assert_ne!(here, there);
    let show = async |at: SocketAddr, camera: &str, ticket: &str| {
        let head =
            format!("CONNECT {camera} HTTP/1.1\r\nHost: x\r\nAuthorization: Ticket {ticket}\r\n");
        let answer = Way::to_relay(at).ask(&head, "").await;
        (answer.status, answer.reason)
    };
    for (what, at, camera, shown, status, reason) in [
        ("another's relay", there, &foreign, &*good, 401, "camera"),
        ("at a reused address", there, &own, &*good, 404, "path"),
        ("another's path", here, &foreign, &*good, 404, "path"),
        ("no ticket", here, &own, "v1.x", 401, "malformed"),
    ] {
        let told = show(at, camera, shown).await;
        assert_eq!(told, (status, reason.to_owned()), "{what}");
    }
    let (status, _) = show(here, &own, &good).await;
    assert_eq!(status, 200, "what was refused was refused for its reason");
    let again = show(here, &own, &good).await;
    assert_eq!(again, (401, "used".to_owned()));
}

/// S19, S20: the signer signs what the camera's own archiver may put, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn the_signer_signs_an_archivers_own_keys_alone() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("presign").await;
    let [first, _] = moorline.pair().await;
    let yard = tenant.camera("yard", 191).await;
    let _yard = yard.call(&moorline, &first);
    tenant.until_recorded(&yard).await;
    let archive = tenant.until_stored(&yard).await;
    let [relay, archiver] = tenant.pair(&yard).await;
    let good = tenant.token_for(&archiver, Inside::Signer).await;
    let relays = tenant.token_for(&relay, Inside::Signer).await;
    // An archiver knows its tenant by name; the storage id is the signer's.
    let named = |key: &SegmentKey| {
        let key = key.to_string();
        key.replace(
            &format!("/{}/", tenant.storage),
            &format!("/{}/", tenant.name),
        )
    };
    let stored = named(&archive.segments[0]);
    let md5 = "00000000000000000000000000000000";
    let put = |key: &str, bytes: u64| json!({"key": key, "bytes": bytes, "md5": md5});
    let day = &stored[..stored.len() - stored.rsplit('/').next().unwrap().len()];
    let mut new = archive.segments[0].clone();
    new.take.0 ^= 1;
    let fresh = named(&new);
    let mut old = new.clone();
    old.start = moorline_core::Timestamp::from_millis(old.start.as_millis() - 61 * 86_400_000);
    let mut ahead = new.clone();
    ahead.start = moorline_core::Timestamp::from_millis(ahead.start.as_millis() + 3_600_000);
    let foreign = fresh.replace("/yard/", "/gate/");
    let tenants = fresh.replace(&tenant.name, "another");
    let class = fresh.replace("/r014/", "/r365/");
    for (what, token, body, status, reason) in [
        ("a relay", &relays, put(&fresh, 100), 403, "role"),
        ("another camera's", &good, put(&foreign, 100), 403, "camera"),
        ("another tenant's", &good, put(&tenants, 100), 403, "camera"),
        ("another class", &good, put(&class, 100), 403, "class"),
        (
            "sixty-one days old",
            &good,
            put(&named(&old), 100),
            403,
            "too_old",
        ),
        (
            "an hour ahead",
            &good,
            put(&named(&ahead), 100),
            403,
            "future",
        ),
        ("too long", &good, put(&fresh, 300 << 20), 413, "length"),
        (
            "stored with another digest",
            &good,
            put(&stored, 100),
            409,
            "digest",
        ),
    ] {
        let (head, body) = post("presign", token, &body);
        let answer = moorline.ask(Inside::Signer, &head, &body).await;
        assert_eq!(
            (answer.status, &*answer.reason),
            (status, reason),
            "{what}: {}",
            answer.text
        );
    }
    // A text that is no key of ours is none of a camera's.
    let (head, body) = post("presign", &good, &put(&format!("{day}../../x.mp4"), 100));
    let answer = moorline.ask(Inside::Signer, &head, &body).await;
    assert_eq!(
        (answer.status, &*answer.reason),
        (400, "body"),
        "{}",
        answer.text
    );
    let (head, body) = post("presign", &good, &put(&fresh, 100));
    let answer = moorline.ask(Inside::Signer, &head, &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);

    // Tickets: to its own relay, without a viewer's name; to nobody else's (S22).
    let ticket = |camera: &str, login: Option<&str>| {
        let mut body = json!({"camera": format!("{}/{camera}", tenant.name), "source": "main"});
        if let Some(login) = login {
            body["login"] = login.into();
        }
        body
    };
    for (what, token, body, reason) in [
        (
            "another camera's relay",
            &good,
            ticket("gate", None),
            "camera",
        ),
        (
            "as a viewer",
            &good,
            ticket("yard", Some("mallory")),
            "role",
        ),
        ("a relay", &relays, ticket("yard", None), "role"),
    ] {
        let (head, body) = post("ticket", token, &body);
        let answer = moorline.ask(Inside::Signer, &head, &body).await;
        assert_eq!(
            (answer.status, &*answer.reason),
            (403, reason),
            "{what}: {}",
            answer.text
        );
    }
    let (head, body) = post("ticket", &good, &ticket("yard", None));
    let answer = moorline.ask(Inside::Signer, &head, &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let granted: Value = serde_json::from_str(answer.body()).unwrap();
    assert!(
        granted["key"].as_str().unwrap().starts_with("sha256:"),
        "{granted:#}"
    );
}
