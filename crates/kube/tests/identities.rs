//! Who shows a token: only what the API server and the watch of pods say counts.
#![allow(
    clippy::disallowed_methods,
    reason = "tests may look at the real clock"
)]

mod support;

use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use moorline_core::Masked;
use moorline_core::lifecycle::Role;
use moorline_core::port::{Audience, Caller, Identities as _, IdentityError, PodUid};
use moorline_kube::{KubeIdentities, PodCache};
use serde_json::{Value, json};
use support::{Api, CAMERAS, Mon, camera, identities, reviews, server, within};

const PODS: &str = "/api/v1/pods";
const TOKENS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

fn pod(name: &str, namespace: &str, role: &str, owner: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": namespace,
            "labels": {"app.kubernetes.io/managed-by": "moorline", "moorline.dev/role": role, "moorline.dev/camera": "yard"},
            "ownerReferences": [{"apiVersion": "moorline.dev/v1alpha1", "kind": "Camera", "name": "yard", "uid": owner, "controller": true}],
        },
        "spec": {"serviceAccountName": format!("moorline-{role}"), "containers": []},
    })
}

/// The API server will say this of a token.
fn token(api: &Api, token: &str, audience: &str, account: &str, pod: &Value) {
    let extra = json!({
        "authentication.kubernetes.io/pod-name": [pod["metadata"]["name"]],
        "authentication.kubernetes.io/pod-uid": [pod["metadata"]["uid"]],
    });
    api.put(TOKENS, json!({
        "metadata": {"name": token},
        "status": {"authenticated": true, "audiences": [audience], "user": {"username": format!("system:serviceaccount:{account}"), "extra": extra}},
    }));
}

struct World {
    api: Api,
    mon: Mon,
    identities: KubeIdentities,
    owner: Value,
}

async fn world() -> World {
    let (api, clock) = server();
    let owner = api.put(CAMERAS, camera("acme", "yard"))["metadata"]["uid"].clone();
    let mon = Mon::new(&api, &clock, 0).await;
    let pods = PodCache::default();
    let (watch, client, cancel) = (pods.clone(), api.client(), mon.stop.clone());
    let freshness = mon.directory.freshness().clone();
    tokio::spawn(async move { watch.run(client, &freshness, cancel).await });
    within("the first list of pods", pods.listed()).await;
    let identities = identities(&api, &mon, pods, clock);
    World {
        api,
        mon,
        identities,
        owner,
    }
}

impl World {
    async fn ask(&self, token: &str, audience: Audience) -> Result<Caller, IdentityError> {
        self.identities
            .caller(&Masked::new(token.to_owned()), audience)
            .await
    }

    /// The API server will say of this token that it is of acme's relays, for the gateway, in that pod.
    fn relay_token(&self, name: &str, pod: &Value) {
        let account = "t-acme:moorline-relay";
        token(&self.api, name, "moorline-gateway", account, pod);
    }

    fn reviews(&self) -> usize {
        reviews(&self.api)
    }
}

#[tokio::test(start_paused = true)]
async fn a_relays_token_names_its_camera_and_is_asked_about_once() {
    let world = world().await;
    let relay = world
        .api
        .put(PODS, pod("r", "t-acme", "relay", &world.owner));
    world.relay_token("good", &relay);
    let uid = PodUid(relay["metadata"]["uid"].as_str().unwrap().to_owned());
    let expected = Caller::Workload {
        camera: "acme/yard".parse().unwrap(),
        role: Role::Relay,
        pod: uid.clone(),
    };
    for _ in 0..3 {
        assert_eq!(
            world.ask("good", Audience::Gateway).await,
            Ok(expected.clone())
        );
    }
    assert_eq!(world.reviews(), 1);
    assert!(
        !format!("{:?}", world.identities).contains("good"),
        "the token is kept nowhere"
    );
    world.api.remove(PODS, "t-acme", "r");
    let gone = async {
        while world.identities.is_alive(&uid) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within("the watch of pods", gone).await;
    assert_eq!(
        world.ask("good", Audience::Gateway).await,
        Err(IdentityError::Forbidden("pod"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_zombie_has_no_say_once_the_grace_of_its_deletion_is_over_and_its_successor_is_the_newer()
{
    let world = world().await;
    let at = |seconds: i64| {
        let time = moorline_core::Timestamp::from_millis(support::START + seconds * 1_000);
        time.to_string().replace(".000Z", "Z")
    };
    let mut made = pod("r", "t-acme", "archiver", &world.owner);
    made["metadata"]["creationTimestamp"] = at(0).into();
    let zombie = world.api.put(PODS, made);
    let mut made = pod("s", "t-acme", "archiver", &world.owner);
    made["metadata"]["creationTimestamp"] = at(60).into();
    let successor = world.api.put(PODS, made);
    for (name, of) in [("old", &zombie), ("new", &successor)] {
        let account = "t-acme:moorline-archiver";
        token(&world.api, name, "moorline-signer", account, of);
    }
    let uid = |pod: &Value| PodUid(pod["metadata"]["uid"].as_str().unwrap().to_owned());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let created = |pod| world.identities.created(&uid(pod)).unwrap().as_millis();
    assert_eq!(created(&successor) - created(&zombie), 60_000);
    world.ask("old", Audience::Signer).await.unwrap();
    // Its node is lost: deleted, and nobody can end it.
    let deleted =
        json!({"metadata": {"deletionTimestamp": at(600), "deletionGracePeriodSeconds": 600}});
    world.api.patch(PODS, "t-acme", "r", &deleted);
    tokio::time::sleep(Duration::from_secs(580)).await;
    assert!(
        world.ask("old", Audience::Signer).await.is_ok(),
        "its spool is welcome"
    );
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!world.identities.is_alive(&uid(&zombie)));
    assert_eq!(
        world.ask("old", Audience::Signer).await,
        Err(IdentityError::Forbidden("pod"))
    );
    assert!(world.ask("new", Audience::Signer).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_is_not_the_cameras_own_pod_is_refused_with_its_reason() {
    let world = world().await;
    let relay = world
        .api
        .put(PODS, pod("r", "t-acme", "relay", &world.owner));
    // A pod that a tenant made in its own namespace, which names a foreign or no camera as its owner.
    let stolen = world
        .api
        .put(PODS, pod("s", "t-evil", "relay", &world.owner));
    let orphan = world
        .api
        .put(PODS, pod("o", "t-acme", "relay", &json!("another-uid")));
    world.relay_token("relay", &relay);
    token(
        &world.api,
        "as-archiver",
        "moorline-gateway",
        "t-acme:moorline-archiver",
        &relay,
    );
    token(
        &world.api,
        "default",
        "moorline-gateway",
        "t-acme:default",
        &relay,
    );
    token(
        &world.api,
        "stolen",
        "moorline-gateway",
        "t-evil:moorline-relay",
        &stolen,
    );
    world.relay_token("orphan", &orphan);
    token(
        &world.api,
        "elsewhere",
        "moorline-gateway",
        "kube-system:default",
        &json!({"metadata": {"name": "x", "uid": "x"}}),
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    let cases = [
        ("unknown", IdentityError::Refused("token")),
        ("as-archiver", IdentityError::Forbidden("role")),
        ("default", IdentityError::Forbidden("role")),
        ("stolen", IdentityError::Forbidden("owner")),
        ("orphan", IdentityError::Forbidden("owner")),
        ("elsewhere", IdentityError::Forbidden("pod")),
    ];
    for (token, expected) in cases {
        assert_eq!(
            world.ask(token, Audience::Gateway).await,
            Err(expected),
            "{token}"
        );
    }
    assert_eq!(
        world.ask("relay", Audience::Signer).await,
        Err(IdentityError::Refused("audience")),
        "a token for the gateway is worth nothing at the signer"
    );
    assert!(world.ask("relay", Audience::Gateway).await.is_ok());
    world.mon.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn while_the_api_server_is_away_known_tokens_hold_and_strangers_wait_at_most_five_seconds() {
    let world = world().await;
    let relay = world
        .api
        .put(PODS, pod("r", "t-acme", "relay", &world.owner));
    world.relay_token("known", &relay);
    world.relay_token("new", &relay);
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.ask("known", Audience::Gateway).await.unwrap();
    world.api.away(true);
    world.ask("known", Audience::Gateway).await.unwrap();
    let begun = tokio::time::Instant::now();
    assert!(matches!(
        world.ask("new", Audience::Gateway).await,
        Err(IdentityError::Unavailable(_))
    ));
    assert!(begun.elapsed() <= Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn the_front_doors_account_is_the_front_door_in_its_own_namespace_only() {
    let world = world().await;
    let pod = json!({"metadata": {"name": "f", "uid": "f-1"}});
    token(
        &world.api,
        "door",
        "moorline-signer",
        "moorline-system:moorline-frontdoor",
        &pod,
    );
    token(
        &world.api,
        "false-door",
        "moorline-signer",
        "t-acme:moorline-frontdoor",
        &pod,
    );
    let expected = Caller::FrontDoor {
        pod: PodUid("f-1".into()),
    };
    assert_eq!(world.ask("door", Audience::Signer).await, Ok(expected));
    assert!(world.ask("false-door", Audience::Signer).await.is_err());
}

/// The key by which the cluster signs tokens, and tells so from now on.
fn issuer(api: &Api) -> EcdsaKeyPair {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    // Uncompressed: a byte, and two numbers of 32.
    let point: &[u8] = key.public_key().as_ref();
    let [x, y] = [&point[1..33], &point[33..]].map(|part| URL_SAFE_NO_PAD.encode(part));
    let told = json!({"kid": "k-1", "kty": "EC", "crv": "P-256", "alg": "ES256", "x": x, "y": y});
    api.put("/openid/v1/jwks", json!({"keys": [told]}));
    let issuer = json!({"issuer": "https://cluster.local"});
    api.put("/.well-known/openid-configuration", issuer);
    key
}

/// A token of acme's relays for the gateway, as it is signed.
fn signed(key: &EcdsaKeyPair, pod: &Value) -> String {
    let now = support::START / 1_000;
    let metadata = &pod["metadata"];
    let claims = json!({
        "iss": "https://cluster.local", "aud": ["moorline-gateway"], "sub": "system:serviceaccount:t-acme:moorline-relay",
        "iat": now, "nbf": now, "exp": now + 3_600,
        "kubernetes.io": {
            "namespace": "t-acme", "pod": {"name": metadata["name"], "uid": metadata["uid"]},
            "serviceaccount": {"name": "moorline-relay", "uid": "s-1"},
        },
    });
    let head = json!({"alg": "ES256", "kid": "k-1"});
    let [head, claims] = [head, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let text = format!("{head}.{claims}");
    let signature = key.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// A camera that calls another replica meanwhile is read there: its relay's token is new to that one.
#[tokio::test(start_paused = true)]
async fn while_the_api_server_is_away_its_keys_tell_of_pods_that_the_watch_has_seen() {
    let world = world().await;
    let relay = world
        .api
        .put(PODS, pod("r", "t-acme", "relay", &world.owner));
    let key = issuer(&world.api);
    let (following, stop) = (world.identities.clone(), world.mon.stop.clone());
    tokio::spawn(async move { following.follow_issuer(stop).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let good = signed(&key, &relay);
    let unseen = json!({"metadata": {"name": "x", "uid": "x"}});
    let unseen = signed(&key, &unseen);
    let strange = issuer(&server().0);
    let strange = signed(&strange, &relay);
    assert_eq!(
        world.ask(&good, Audience::Gateway).await,
        Err(IdentityError::Refused("token")),
        "while it is there its word counts alone"
    );

    world.api.away(true);
    let expected = Caller::Workload {
        camera: "acme/yard".parse().unwrap(),
        role: Role::Relay,
        pod: PodUid(relay["metadata"]["uid"].as_str().unwrap().to_owned()),
    };
    let begun = tokio::time::Instant::now();
    assert_eq!(world.ask(&good, Audience::Gateway).await, Ok(expected));
    assert!(begun.elapsed() <= Duration::from_secs(5));
    let begun = tokio::time::Instant::now();
    for (what, token, audience) in [
        (
            "a pod that the watch has not seen",
            &unseen,
            Audience::Gateway,
        ),
        ("another key", &strange, Audience::Gateway),
        ("another receiver", &good, Audience::Signer),
    ] {
        let answer = world.ask(token, audience).await;
        let is_nobody = matches!(answer, Err(IdentityError::Unavailable(_)));
        assert!(is_nobody, "{what}: {answer:?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(11));

    // Its word counts again within a minute, be it another one.
    world.api.away(false);
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(
        world.ask(&good, Audience::Gateway).await,
        Err(IdentityError::Refused("token"))
    );
}

/// Its pods are not watched, so its token is not believed for the hour that it is good for.
#[tokio::test(start_paused = true)]
async fn the_front_doors_token_is_asked_about_again_every_minute() {
    let world = world().await;
    let claims = json!({"exp": support::START / 1_000 + 3_600}).to_string();
    let long = format!("h.{}.s", URL_SAFE_NO_PAD.encode(claims));
    let pod = json!({"metadata": {"name": "f", "uid": "f-1"}});
    let account = "moorline-system:moorline-frontdoor";
    token(&world.api, &long, "moorline-signer", account, &pod);
    for _ in 0..2 {
        assert!(world.ask(&long, Audience::Signer).await.is_ok());
    }
    assert_eq!(world.reviews(), 1);
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert!(world.ask(&long, Audience::Signer).await.is_ok());
    assert_eq!(world.reviews(), 2);
}
