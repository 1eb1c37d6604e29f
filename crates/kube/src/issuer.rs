//! The keys by which the cluster signs tokens of pods, for when it cannot be asked about one.
//!
//! By them a token tells who made it, for whom, of which pod, and until when. That this pod is still there it does not tell: so the API server comes
//! first, and what the pod is comes from the watch, as always. The keys are in memory alone: a process that begins in an outage knows none.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_openapi::api::authentication::v1::UserInfo;
use kube::Client;
use moorline_base::clock::sleep;
use moorline_base::{CancellationToken, Clock};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::call::{CALL, Fault, call};

/// How the API server tells of them, to every account unless somebody has changed that.
const CONFIGURATION: &str = "/.well-known/openid-configuration";
const KEYS: &str = "/openid/v1/jwks";
/// Between two looks: a cluster that renews its keys tells of both for as long as tokens live.
const EVERY: Duration = Duration::from_secs(600);
/// And where they were not told.
const AGAIN: Duration = Duration::from_secs(30);
/// A longer token is nobody's: nobody makes us work for more.
const LONGEST: usize = 8 * 1024;
/// Clocks differ by so much at most, in seconds.
const LEEWAY: i64 = 10;

/// In the extra of a user, as a TokenReview has them.
pub(crate) const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
pub(crate) const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

#[derive(Debug, Clone, PartialEq, Eq)]
enum Key {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
}

/// A key as it is told (RFC 7517).
#[derive(Debug, Deserialize)]
struct Told {
    kid: String,
    kty: String,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Key {
    /// `None`: of a kind with which Kubernetes signs no tokens by default.
    fn of(told: &Told) -> Option<Self> {
        let bytes = |field: &Option<String>| URL_SAFE_NO_PAD.decode(field.as_deref()?).ok();
        match (told.kty.as_str(), told.crv.as_deref()) {
            ("RSA", _) => Some(Self::Rsa {
                n: bytes(&told.n)?,
                e: bytes(&told.e)?,
            }),
            ("EC", Some("P-256")) => {
                // The point, uncompressed (SEC 1, section 2.3.3).
                Some(Self::P256(
                    [vec![4], bytes(&told.x)?, bytes(&told.y)?].concat(),
                ))
            }
            _ => None,
        }
    }

    /// The algorithm is the key's, whatever the token says: RFC 8725, section 3.1.
    fn has_signed(&self, algorithm: &str, text: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Rsa { n, e } => {
                let key = RsaPublicKeyComponents { n, e };
                let verified = key.verify(&RSA_PKCS1_2048_8192_SHA256, text, signature);
                algorithm == "RS256" && verified.is_ok()
            }
            Self::P256(point) => {
                let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
                algorithm == "ES256" && key.verify(text, signature).is_ok()
            }
        }
    }
}

/// What the cluster tells of its tokens.
#[derive(Debug)]
struct Known {
    issuer: String,
    keys: BTreeMap<String, Key>,
}

#[derive(Deserialize)]
struct Configuration {
    issuer: String,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Told>,
}

#[derive(Deserialize)]
struct Head {
    alg: String,
    kid: String,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Vec<String>,
    exp: i64,
    nbf: i64,
    #[serde(rename = "kubernetes.io")]
    bound: Bound,
}

#[derive(Deserialize)]
struct Bound {
    namespace: String,
    pod: Object,
    serviceaccount: Object,
}

#[derive(Deserialize)]
struct Object {
    name: String,
    uid: String,
}

/// The keys of the cluster. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Issuer(Arc<ArcSwapOption<Known>>);

impl Issuer {
    /// Looks for the keys until `cancel`.
    pub(crate) async fn follow(
        &self,
        client: &Client,
        clock: &dyn Clock,
        cancel: &CancellationToken,
    ) {
        let mut told = false;
        loop {
            let fetched = tokio::select! {
                () = cancel.cancelled() => return,
                fetched = fetch(client, clock) => fetched,
            };
            let pause = match fetched {
                Ok(known) => {
                    told = false;
                    self.0.store(Some(Arc::new(known)));
                    EVERY
                }
                Err(fault) => {
                    if !told {
                        tracing::warn!(%fault, "the cluster does not tell the keys of its tokens: while it is away, only pods that were known before are served");
                    }
                    told = true;
                    AGAIN
                }
            };
            if sleep(clock, pause, cancel).await.is_cancelled() {
                return;
            }
        }
    }

    /// Who shows this token to this audience, at that time. `None`: it is wrong, or no key is known that tells.
    pub(crate) fn user(&self, token: &str, audience: &str, wall_ms: i64) -> Option<UserInfo> {
        let known = self.0.load();
        let known = known.as_ref()?;
        let (text, signature) = token.rsplit_once('.').filter(|_| token.len() <= LONGEST)?;
        let (head, claims) = text.split_once('.')?;
        let head: Head = part(head)?;
        let key = known.keys.get(&head.kid)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        if !key.has_signed(&head.alg, text.as_bytes(), &signature) {
            return None;
        }
        let claims: Claims = part(claims)?;
        let Bound {
            namespace,
            pod,
            serviceaccount,
        } = claims.bound;
        let now = wall_ms.div_euclid(1_000);
        let is_good = claims.iss == known.issuer
            && claims.aud.iter().any(|known| known == audience)
            && claims.nbf.saturating_sub(LEEWAY) <= now
            && now < claims.exp
            && claims.sub == format!("system:serviceaccount:{namespace}:{}", serviceaccount.name);
        is_good.then(|| UserInfo {
            username: Some(claims.sub),
            extra: Some(BTreeMap::from([
                (POD_NAME.to_owned(), vec![pod.name]),
                (POD_UID.to_owned(), vec![pod.uid]),
            ])),
            ..UserInfo::default()
        })
    }
}

fn part<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

async fn fetch(client: &Client, clock: &dyn Clock) -> Result<Known, Fault> {
    let configuration: Configuration = get(client, clock, CONFIGURATION).await?;
    let told: KeySet = get(client, clock, KEYS).await?;
    let keys = told.keys.iter();
    let keys = keys.filter_map(|told| Some((told.kid.clone(), Key::of(told)?)));
    Ok(Known {
        issuer: configuration.issuer,
        keys: keys.collect(),
    })
}

async fn get<T: DeserializeOwned>(
    client: &Client,
    clock: &dyn Clock,
    path: &str,
) -> Result<T, Fault> {
    let request = http::Request::get(path)
        .body(Vec::new())
        .map_err(|error| Fault::Invalid(error.to_string()))?;
    call(clock, CALL, client.request(request)).await
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
    use serde_json::{Value, json};

    use super::*;

    const NOW: i64 = 1_795_000_000;

    fn encoded(bytes: impl AsRef<[u8]>) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// By RSA, as most clusters have it.
    struct Cluster(RsaKeyPair);

    impl Cluster {
        fn new() -> Self {
            Self(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
        }

        fn told(&self) -> Value {
            // RSAPublicKey (RFC 8017, A.1.1) of 2048 bits: two integers behind heads of known length.
            let der: &[u8] = self.0.public_key().as_ref();
            let (n, e) = (&der[9..265], &der[267..]);
            json!({"kid": "k-1", "kty": "RSA", "alg": "RS256", "use": "sig", "n": encoded(n), "e": encoded(e)})
        }

        fn signs(&self, head: &Value, claims: &Value) -> String {
            let text = format!(
                "{}.{}",
                encoded(head.to_string()),
                encoded(claims.to_string())
            );
            let mut signature = vec![0; self.0.public_modulus_len()];
            let random = SystemRandom::new();
            let signed = self
                .0
                .sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature);
            signed.unwrap();
            format!("{text}.{}", encoded(signature))
        }
    }

    fn head() -> Value {
        json!({"alg": "RS256", "kid": "k-1"})
    }

    fn claims() -> Value {
        json!({
            "iss": "https://cluster.local", "aud": ["moorline-gateway"], "sub": "system:serviceaccount:t-acme:moorline-relay",
            "iat": NOW, "nbf": NOW, "exp": NOW + 3_600,
            "kubernetes.io": {
                "namespace": "t-acme", "pod": {"name": "r", "uid": "u-1"}, "node": {"name": "n1"},
                "serviceaccount": {"name": "moorline-relay", "uid": "s-1"},
            },
        })
    }

    fn issuer(told: &[Value]) -> Issuer {
        let keys = told.iter().map(|told| {
            let told: Told = serde_json::from_value(told.clone()).unwrap();
            (told.kid.clone(), Key::of(&told).unwrap())
        });
        let known = Known {
            issuer: "https://cluster.local".into(),
            keys: keys.collect(),
        };
        let issuer = Issuer::default();
        issuer.0.store(Some(Arc::new(known)));
        issuer
    }

    /// S19.
    #[test]
    fn only_a_token_of_this_cluster_for_this_receiver_and_this_time_tells_whose_it_is() {
        let cluster = Cluster::new();
        let issuer = issuer(&[cluster.told()]);
        let ask = |token: &str| issuer.user(token, "moorline-gateway", NOW * 1_000 + 500);
        let good = cluster.signs(&head(), &claims());
        let user = ask(&good).unwrap();
        assert_eq!(
            user.username.as_deref(),
            Some("system:serviceaccount:t-acme:moorline-relay")
        );
        assert_eq!(user.extra.unwrap()[POD_UID], ["u-1"]);

        let with = |field: &str, value: Value| {
            let mut claims = claims();
            claims[field] = value;
            cluster.signs(&head(), &claims)
        };
        let mut unbound = claims();
        unbound["kubernetes.io"]
            .as_object_mut()
            .unwrap()
            .remove("pod");
        let (text, signature) = good.rsplit_once('.').unwrap();
        let evil = "system:serviceaccount:moorline-system:moorline-frontdoor";
        let other_text = with("exp", json!(NOW + 7_200));
        let (other_text, _) = other_text.rsplit_once('.').unwrap();
        for (what, token) in [
            ("another issuer", with("iss", json!("https://other.local"))),
            ("another receiver", with("aud", json!(["moorline-signer"]))),
            ("over", with("exp", json!(NOW))),
            ("not yet", with("nbf", json!(NOW + 60))),
            (
                "another account than it is bound to",
                with("sub", json!(evil)),
            ),
            ("of no pod", cluster.signs(&head(), &unbound)),
            ("another's key", Cluster::new().signs(&head(), &claims())),
            (
                "a key that is not known",
                cluster.signs(&json!({"alg": "RS256", "kid": "k-2"}), &claims()),
            ),
            (
                "another algorithm",
                cluster.signs(&json!({"alg": "none", "kid": "k-1"}), &claims()),
            ),
            ("other claims", format!("{other_text}.{signature}")),
            ("no signature", format!("{text}.")),
            ("no token", "x".to_owned()),
            ("without an end", format!("{good}{}", "A".repeat(LONGEST))),
        ] {
            assert_eq!(ask(&token), None, "{what}");
        }
        assert_eq!(Issuer::default().user(&good, "moorline-gateway", NOW), None);
    }
}
