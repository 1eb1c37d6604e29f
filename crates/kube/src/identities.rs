//! `Identities`: who shows a token (rule S19).
//!
//! The API server says that a token is good and of which pod (TokenReview with the receiver's audience); what that pod is comes from the
//! watch: uid → label of one role → that role's account → the Camera that controls it. Answers are kept by the token's digest, never by the
//! token (P10), until it expires, the watch shows the pod gone, or the grace of its deletion is over: the zombie on a lost node.
//!
//! While the API server gives no answer, the cluster's keys tell of a token that is not known yet ([`Issuer`]): a camera that calls another replica in
//! an outage is read there. What the pod is comes from the watch then too, and one that the watch has not seen waits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use base64::Engine as _;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use kube::{Api, Client};
use moorline_base::{CancellationToken, SharedClock};
use moorline_core::port::{Audience, Caller, Identities, IdentityError, PodUid};
use moorline_core::{Masked, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::cache::Cache;
use crate::call::{CALL, Connection, Fault, Room, call};
use crate::issuer::{Issuer, POD_NAME, POD_UID};
use crate::names;
use crate::pods::{GATEWAY_AUDIENCE, PodCache, PodView, SIGNER_AUDIENCE};

/// A token whose expiry cannot be read is asked about again after so long, and so is the front door's.
const SHORT: Duration = Duration::from_secs(60);
/// No answer is kept longer: tokens live for an hour.
const LONG: Duration = Duration::from_secs(3_600);
/// Answers that are kept; beyond, the one that ends first leaves.
const KEPT: usize = 20_000;

/// Reviews under way: a replica that begins is asked by the pods of all its cameras.
const REVIEWS: usize = 32;

/// So long after it gave no answer the API server is not asked again where its keys tell: a black hole costs each question all its time.
const SILENCE: Duration = Duration::from_secs(10);

/// Clocks of nodes differ by so much at most: a pod may ask for so long after its deletion was to be over, in seconds.
const LEEWAY: i64 = 10;

/// By the digest of a token and its receiver: until when the answer holds, and the answer.
type Answers = HashMap<([u8; 32], Audience), (Instant, Caller)>;

/// The account and namespace of the front door's pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrontDoorAccount {
    /// The installation's namespace.
    pub namespace: String,
    /// `moorline-frontdoor`.
    pub name: String,
}

/// `Identities` of this replica. Clones are the same.
#[derive(Debug, Clone)]
pub struct KubeIdentities(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: Connection,
    cache: Cache,
    pods: PodCache,
    front_door: FrontDoorAccount,
    clock: SharedClock,
    answers: Mutex<Answers>,
    room: Room,
    issuer: Issuer,
    /// When the API server gave no answer last.
    silent: Mutex<Option<Instant>>,
}

impl KubeIdentities {
    /// Over what the watches say.
    pub fn new(
        client: Client,
        cache: Cache,
        pods: PodCache,
        front_door: FrontDoorAccount,
        clock: SharedClock,
    ) -> Self {
        Self(Arc::new(Inner {
            client: Connection(client),
            cache,
            pods,
            front_door,
            clock,
            answers: Mutex::default(),
            room: Room::of(REVIEWS),
            issuer: Issuer::default(),
            silent: Mutex::default(),
        }))
    }

    /// Keeps the keys of the cluster's tokens up to date until `cancel`: for outages.
    pub async fn follow_issuer(&self, cancel: CancellationToken) {
        let inner = &self.0;
        inner
            .issuer
            .follow(&inner.client.0, &*inner.clock, &cancel)
            .await;
    }

    fn fell_silent(&self) {
        let now = self.0.clock.monotonic();
        *self.0.silent.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }

    fn is_silent(&self) -> bool {
        let now = self.0.clock.monotonic();
        let silent = *self.0.silent.lock().unwrap_or_else(PoisonError::into_inner);
        silent.is_some_and(|since| now.saturating_duration_since(since) < SILENCE)
    }

    fn answers<T>(&self, change: impl FnOnce(&mut Answers) -> T) -> T {
        change(
            &mut self
                .0
                .answers
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    fn keep(&self, key: ([u8; 32], Audience), until: Instant, caller: &Caller) {
        let now = self.0.clock.monotonic();
        self.answers(|answers| {
            if answers.len() >= KEPT {
                answers.retain(|_, (until, _)| *until > now);
            }
            if answers.len() >= KEPT {
                let first = answers
                    .iter()
                    .min_by_key(|(_, (until, _))| *until)
                    .map(|(key, _)| *key);
                first.and_then(|first| answers.remove(&first));
            }
            answers.insert(key, (until, caller.clone()));
        });
    }

    async fn review(&self, token: &str, audience: Audience) -> Result<UserInfo, IdentityError> {
        let name = name_of(audience);
        let review = TokenReview {
            spec: TokenReviewSpec {
                audiences: Some(vec![name.into()]),
                token: Some(token.to_owned()),
            },
            ..TokenReview::default()
        };
        let api: Api<TokenReview> = Api::all(self.0.client.0.clone());
        let parameters = PostParams::default();
        let asked = call(&*self.0.clock, CALL, api.create(&parameters, &review)).await;
        let status = match asked {
            Ok(answer) => answer.status.unwrap_or_default(),
            Err(fault) => {
                if matches!(fault, Fault::Unknown(_)) {
                    self.fell_silent();
                }
                return Err(IdentityError::Unavailable(fault.to_string()));
            }
        };
        if status.authenticated != Some(true) {
            return Err(IdentityError::Refused("token"));
        }
        // The API server says for which of the audiences that were asked for it is good; none: it does not know audiences.
        if !status.audiences.iter().flatten().any(|known| known == name) {
            return Err(IdentityError::Refused("audience"));
        }
        status.user.ok_or(IdentityError::Refused("token"))
    }

    /// Whose pod it is. `asks`: whether one that the watch has not seen is asked for.
    async fn of(&self, user: &UserInfo, asks: bool) -> Result<Caller, IdentityError> {
        let extra = |name: &str| -> Option<&str> {
            let values = user.extra.as_ref()?.get(name)?;
            values.first().map(String::as_str)
        };
        let pod = extra(POD_UID).map(|uid| PodUid(uid.to_owned()));
        let pod = pod.ok_or(IdentityError::Forbidden("pod"))?;
        let account = user.username.as_deref().unwrap_or_default();
        let front_door = &self.0.front_door;
        if account
            == format!(
                "system:serviceaccount:{}:{}",
                front_door.namespace, front_door.name
            )
        {
            return Ok(Caller::FrontDoor { pod });
        }
        let view = match self.0.pods.get(&pod) {
            Some(view) => view,
            None if asks => {
                let name = extra(POD_NAME).ok_or(IdentityError::Forbidden("pod"))?;
                self.fetch(account, name, &pod).await?
            }
            None => {
                let why = "the watch has not seen that pod".to_owned();
                return Err(IdentityError::Unavailable(why));
            }
        };
        if self.has_ended(&view) {
            return Err(IdentityError::Forbidden("pod"));
        }
        let expected = format!(
            "system:serviceaccount:{}:{}",
            view.namespace,
            names::account(view.role)
        );
        if account != expected || view.account != names::account(view.role) {
            return Err(IdentityError::Forbidden("role"));
        }
        let owner = view
            .owner
            .as_deref()
            .ok_or(IdentityError::Forbidden("owner"))?;
        self.0
            .cache
            .camera_by_uid(&view.camera, owner)
            .ok_or(IdentityError::Forbidden("owner"))?;
        Ok(Caller::Workload {
            camera: view.camera.clone(),
            role: view.role,
            pod,
        })
    }

    /// Who it is by the API server's word.
    async fn asked(&self, token: &str, audience: Audience) -> Result<Caller, IdentityError> {
        let judged = async {
            let unavailable = |fault: Fault| IdentityError::Unavailable(fault.to_string());
            let place = self.0.room.place(&*self.0.clock).await;
            let _place = place.map_err(unavailable)?;
            let user = self.review(token, audience).await?;
            self.of(&user, true).await
        };
        match moorline_base::clock::timeout(&*self.0.clock, CALL, judged).await {
            Ok(caller) => caller,
            Err(late) => {
                self.fell_silent();
                Err(IdentityError::Unavailable(late.to_string()))
            }
        }
    }

    /// Who shows a token that is not known yet, and whether the API server says so.
    async fn judged(
        &self,
        token: &str,
        audience: Audience,
    ) -> (Result<Caller, IdentityError>, bool) {
        if self.is_silent()
            && let Some(answer) = self.signed(token, audience).await
        {
            return (answer, false);
        }
        let asked = self.asked(token, audience).await;
        if matches!(asked, Err(IdentityError::Unavailable(_)))
            && self.is_silent()
            && let Some(answer) = self.signed(token, audience).await
        {
            return (answer, false);
        }
        (asked, true)
    }

    /// Who it is by the cluster's keys. `None`: they do not tell.
    async fn signed(
        &self,
        token: &str,
        audience: Audience,
    ) -> Option<Result<Caller, IdentityError>> {
        let now = self.0.clock.wall_ms();
        let user = self.0.issuer.user(token, name_of(audience), now)?;
        Some(self.of(&user, false).await)
    }

    /// A pod that is newer than the watch: one GET.
    async fn fetch(
        &self,
        account: &str,
        name: &str,
        uid: &PodUid,
    ) -> Result<Arc<PodView>, IdentityError> {
        let namespace = account
            .strip_prefix("system:serviceaccount:")
            .and_then(|rest| rest.split(':').next());
        // Only tenants' namespaces have workloads: nobody's word makes us look elsewhere.
        let namespace = namespace.filter(|namespace| names::tenant(namespace).is_some());
        let namespace = namespace.ok_or(IdentityError::Forbidden("pod"))?;
        let api: Api<Pod> = Api::namespaced(self.0.client.0.clone(), namespace);
        match call(&*self.0.clock, CALL, api.get(name)).await {
            Ok(pod) => self.0.pods.saw(&pod),
            Err(Fault::Missing) => return Err(IdentityError::Forbidden("pod")),
            Err(fault) => return Err(IdentityError::Unavailable(fault.to_string())),
        }
        self.0.pods.get(uid).ok_or(IdentityError::Forbidden("pod"))
    }

    /// Whether the time for its end is over. It may run on where nobody reaches it.
    fn has_ended(&self, pod: &PodView) -> bool {
        let now = self.0.clock.wall_ms().div_euclid(1_000);
        pod.ends
            .is_some_and(|ends| now >= ends.saturating_add(LEEWAY))
    }

    /// How long a token is good by its own word, which the review has proven.
    fn good_for(&self, token: &str) -> Duration {
        let claims = token.split('.').nth(1).and_then(|part| {
            let text = base64::engine::general_purpose::URL_SAFE_NO_PAD
                .decode(part)
                .ok()?;
            serde_json::from_slice::<serde_json::Value>(&text).ok()
        });
        let expiry = claims.and_then(|claims| claims.get("exp")?.as_i64());
        let now = self.0.clock.wall_ms();
        expiry.map_or(SHORT, |seconds| {
            let left = seconds.saturating_mul(1_000).saturating_sub(now);
            Duration::from_millis(u64::try_from(left).unwrap_or(0)).min(LONG)
        })
    }
}

#[async_trait]
impl Identities for KubeIdentities {
    async fn caller(
        &self,
        token: &Masked<String>,
        audience: Audience,
    ) -> Result<Caller, IdentityError> {
        let token = token.reveal();
        let key = (<[u8; 32]>::from(Sha256::digest(token)), audience);
        let now = self.0.clock.monotonic();
        let kept = self.answers(|answers| answers.get(&key).cloned());
        if let Some((until, caller)) = kept
            && until > now
            && self.is_alive(pod_of(&caller))
        {
            return Ok(caller);
        }
        self.answers(|answers| answers.remove(&key));
        let (answer, is_asked) = self.judged(token, audience).await;
        let caller = answer?;
        let good_for = match caller {
            Caller::Workload { .. } if is_asked => self.good_for(token),
            // The API server is asked soon: it has not been, or has to say again that this pod is there, since the front door's are not watched.
            Caller::Workload { .. } | Caller::FrontDoor { .. } => self.good_for(token).min(SHORT),
        };
        self.keep(key, now + good_for, &caller);
        Ok(caller)
    }

    fn is_alive(&self, pod: &PodUid) -> bool {
        // The front door's pods are not watched: their tokens end, and are asked about again.
        let front_door = || {
            self.answers(|answers| {
                let mut callers = answers.values().map(|(_, caller)| caller);
                callers.any(
                    |caller| matches!(caller, Caller::FrontDoor { pod: known } if known == pod),
                )
            })
        };
        match self.0.pods.get(pod) {
            Some(view) => !self.has_ended(&view),
            None => front_door(),
        }
    }

    fn created(&self, pod: &PodUid) -> Option<Timestamp> {
        let view = self.0.pods.get(pod)?;
        Some(Timestamp::from_millis(view.created.saturating_mul(1_000)))
    }
}

fn name_of(audience: Audience) -> &'static str {
    match audience {
        Audience::Gateway => GATEWAY_AUDIENCE,
        Audience::Signer => SIGNER_AUDIENCE,
    }
}

fn pod_of(caller: &Caller) -> &PodUid {
    match caller {
        Caller::Workload { pod, .. } | Caller::FrontDoor { pod } => pod,
    }
}
