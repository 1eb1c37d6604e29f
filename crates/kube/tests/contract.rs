//! The contract suites of the ports, on Camera resources of an API server in memory.
#![allow(
    clippy::disallowed_methods,
    reason = "tests may look at the real clock"
)]

#[path = "../../registry/tests/contract/mod.rs"]
#[expect(
    dead_code,
    reason = "the other suites are of ports that are SQL's in a cluster too"
)]
mod contract;
mod support;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use contract::{cameras, claims, enroll};
use moorline_base::{Clock as _, SharedClock, SimulatedClock};
use moorline_core::port::{
    CameraAdminError, CameraDirectory as _, ClaimError, Claims, EnrollAsked, EnrollError,
    EnrollTokens, Enrolment, NewToken, PortError, Stocked, TokenInfo,
};
use moorline_core::{CameraId, Generation, Masked, SessionId, TenantId};
use moorline_kube::{KubeAdmin, KubeEnrolment};
use serde_json::json;
use support::{CAMERAS, Mon, server, within};

/// No LAN, and what a resource does not say is not kept.
const KEEPS: cameras::Keeps = cameras::Keeps {
    lan: false,
    secrets_and_times: false,
    keys_by_tenant: true,
};

/// Whoever has drained a deleted camera takes its finalizer away; here nobody has recorded anything.
fn nothing_to_drain(api: &support::Api) {
    let api = api.clone();
    tokio::spawn(async move {
        loop {
            api.until("a deleted camera", |api| {
                api.list(CAMERAS)
                    .iter()
                    .any(|camera| !camera["metadata"]["deletionTimestamp"].is_null())
            })
            .await;
            for camera in api.list(CAMERAS) {
                let metadata = &camera["metadata"];
                if let (false, Some(name), Some(namespace)) = (
                    metadata["deletionTimestamp"].is_null(),
                    metadata["name"].as_str(),
                    metadata["namespace"].as_str(),
                ) {
                    api.remove(CAMERAS, namespace, name);
                }
            }
        }
    });
}

#[tokio::test(start_paused = true)]
async fn cameras_keep_their_contract() {
    let (api, clock) = server();
    let mon = Mon::new(&api, &clock, 0).await;
    let (directory, admin) = (&mon.directory, &mon.admin);
    cameras::a_change_is_seen_at_once(directory, admin, KEEPS).await;
    cameras::fields_change_together_or_not_at_all(directory, admin, KEEPS).await;
    cameras::a_wrong_field_is_named(directory, admin).await;
    cameras::of_two_changes_decided_on_one_record_the_later_is_told(directory, admin).await;
    cameras::a_key_belongs_to_one_camera(directory, admin, KEEPS).await;
    cameras::keys_are_added_once_and_revoked(directory, admin, KEEPS).await;
    nothing_to_drain(&api);
    cameras::what_does_not_exist_is_unknown(admin).await;
}

/// Claims of sessions that are up, as a monitor makes them.
struct Called(Mon);

#[async_trait]
impl Claims for Called {
    async fn claim(&self, camera: &CameraId, session: SessionId) -> Result<Generation, ClaimError> {
        if self.0.directory.snapshot().get(camera).is_some() {
            self.0.up(camera, session.0);
        }
        self.0.claims.claim(camera, session).await
    }

    async fn release(&self, camera: &CameraId, generation: Generation) -> Result<(), PortError> {
        self.0.claims.release(camera, generation).await
    }
}

#[tokio::test(start_paused = true)]
async fn claims_keep_their_contract() {
    let (api, clock) = server();
    let called = Called(Mon::new(&api, &clock, 0).await);
    nothing_to_drain(&api);
    claims::generations_only_grow(&called.0.admin, &called).await;
    claims::no_two_claims_are_equal(&called.0.admin, &called).await;
    claims::a_stranger_among_many_fails_alone(&called.0.admin, &called).await;
}

/// Tokens as their owner makes them, and what a replica makes of who holds one.
struct Both {
    owner: KubeAdmin,
    replica: KubeEnrolment,
}

#[async_trait]
impl EnrollTokens for Both {
    async fn issue(&self, new: NewToken) -> Result<(Masked<String>, TokenInfo), CameraAdminError> {
        self.owner.issue(new).await
    }

    async fn list(&self, tenant: &TenantId) -> Result<Vec<TokenInfo>, PortError> {
        self.owner.list(tenant).await
    }

    async fn stock(&self, tenant: &TenantId) -> Result<Vec<Stocked>, PortError> {
        self.owner.stock(tenant).await
    }

    async fn claim(&self, camera: &CameraId) -> Result<bool, CameraAdminError> {
        self.owner.claim(camera).await
    }

    async fn revoke(&self, tenant: &TenantId, id: i64) -> Result<bool, CameraAdminError> {
        self.owner.revoke(tenant, id).await
    }
}

#[async_trait]
impl Enrolment for Both {
    async fn enroll(&self, asked: EnrollAsked) -> Result<CameraId, EnrollError> {
        self.replica.enroll(asked).await
    }
}

#[tokio::test(start_paused = true)]
async fn enrolment_keeps_its_contract() {
    let simulated = SimulatedClock::new(1_800_000_000_000);
    let (clock, wall): (SharedClock, _) = (Arc::new(simulated.clone()), simulated.clone());
    let api = support::Api::new(move || wall.wall_ms());
    let mon = Mon::new(&api, &clock, 0).await;
    let book = Arc::new(Both {
        owner: mon.admin.clone(),
        replica: KubeEnrolment::new(mon.writer.clone()),
    });
    let (cameras, admin, made) = (&mon.directory, &mon.admin, enroll::Made::WithTheToken);
    let later = |milliseconds| simulated.advance(Duration::from_millis(milliseconds));
    enroll::a_token_is_spent_once_and_the_same_key_may_repeat(&*book, cameras, admin, made).await;
    // Tokens are listed by when they were made.
    later(1_000);
    enroll::a_batch_makes_as_many_cameras_as_it_counts(&*book, cameras).await;
    later(1_000);
    enroll::a_revoked_or_expired_token_makes_nothing(&*book, cameras, later, made).await;
    enroll::a_wrong_token_is_named_before_it_is_made(&*book).await;
    enroll::keys_of_other_cameras_and_disabled_cameras_are_refused(&*book, cameras, admin).await;
    enroll::many_keys_at_once_spend_one_token_once(book, cameras).await;
}

#[tokio::test(start_paused = true)]
async fn a_password_lies_in_the_cameras_secret_and_nowhere_else() {
    use moorline_core::port::CameraAdmin as _;
    let (api, clock) = server();
    let mon = Mon::new(&api, &clock, 0).await;
    mon.admin.add(cameras::full("acme/yard")).await.unwrap();
    let secret = api.get("/api/v1/secrets", "t-acme", "yard-rtsp").unwrap();
    assert_eq!(secret["data"]["main"], "aHVudGVyMiAnw7wn");
    assert_eq!(secret["metadata"]["ownerReferences"][0]["kind"], "Camera");
    let camera = api.get(CAMERAS, "t-acme", "yard").unwrap();
    assert_eq!(
        camera["spec"]["sources"]["main"]["login"],
        json!({"user": "admin", "passwordSecretRef": {"name": "yard-rtsp", "key": "main"}})
    );
    assert!(!camera.to_string().contains("hunter2"));
    assert!(
        !api.requests()
            .iter()
            .any(|asked| asked.starts_with("GET") && asked.contains("secrets"))
    );
}

/// P11: a relay takes the password that its Secret has.
#[tokio::test(start_paused = true)]
async fn a_change_that_is_refused_leaves_the_password_as_it_was() {
    use moorline_core::port::{CameraAdmin as _, CameraChange};
    let (api, clock) = server();
    let mon = Mon::new(&api, &clock, 0).await;
    let yard = cameras::full("acme/yard");
    mon.admin.add(yard.clone()).await.unwrap();
    let written = || {
        let secret = api.get("/api/v1/secrets", "t-acme", "yard-rtsp").unwrap();
        secret["data"]["main"].clone()
    };
    let before = written();
    let mut main = yard.main.clone();
    main.login.as_mut().unwrap().password = Masked::new("another".into());
    let set = || {
        let change = CameraChange {
            main: Some(main.clone()),
            title: Some("Gate".to_owned()),
            ..CameraChange::default()
        };
        mon.admin.set(&yard.id, change)
    };
    let policy = "cameras.moorline.dev is forbidden: policy denied request: not in this tenant";
    let denied = support::Fault::Refused(403, "Forbidden", policy.to_owned());
    api.trap(http::Method::PUT, "/cameras/yard", 1, denied);
    let refused = set().await.unwrap_err().to_string();
    assert_eq!(refused, "not in this tenant");
    assert_eq!(written(), before);
    set().await.unwrap();
    assert_eq!(written(), "YW5vdGhlcg==");
    let camera = api.get(CAMERAS, "t-acme", "yard").unwrap();
    assert_eq!(camera["spec"]["title"], "Gate");
}

#[tokio::test(start_paused = true)]
async fn a_camera_in_the_local_network_is_refused_with_its_reason() {
    use moorline_core::camera::Access;
    use moorline_core::port::{CameraAdmin as _, CameraAdminError};
    let (api, clock) = server();
    let mon = Mon::new(&api, &clock, 0).await;
    let mut camera = contract::camera("acme/yard", &[1]);
    camera.access = Access::Lan {
        host: "192.168.1.5".into(),
        port: 554,
    };
    match mon.admin.add(camera).await {
        Err(CameraAdminError::Invalid {
            field, expected, ..
        }) => assert!(field == "access" && expected.contains("moorline serve")),
        other => panic!("{other:?}"),
    }
    assert!(api.list(CAMERAS).is_empty());
}

/// P11.
#[tokio::test(start_paused = true)]
async fn cameras_are_imported_all_or_none_and_each_that_is_wrong_is_told() {
    use moorline_core::Masked;
    use moorline_core::camera::Login;
    use moorline_core::port::{CameraAdmin as _, CameraAdminError, ImportError};
    let (api, clock) = server();
    let mon = Mon::new(&api, &clock, 0).await;
    let admin = &mon.admin;
    let yard = || contract::camera("acme/yard", &[1]);
    let gate = || contract::camera("acme/gate", &[2]);
    let mut shop = contract::camera("acme/shop", &[3]);
    shop.main.login = Some(Login {
        user: "admin".into(),
        password: Masked::new("hunter2".into()),
    });
    let refused = |imported: Result<(), ImportError>| match imported {
        Err(ImportError::Cameras(wrong)) => wrong,
        other => panic!("{other:?}"),
    };
    let places = |wrong: &[(usize, CameraAdminError)]| -> Vec<usize> {
        wrong.iter().map(|(at, _)| *at).collect()
    };
    let three = || vec![yard(), gate(), shop.clone()];

    admin.import(three(), true).await.unwrap();
    let same = vec![yard(), contract::camera("acme/gate", &[1]), yard()];
    let wrong = refused(admin.import(same, false).await);
    assert_eq!(places(&wrong), [1, 2]);
    assert!(matches!(wrong[0].1, CameraAdminError::KeyTaken { .. }));
    assert!(matches!(wrong[1].1, CameraAdminError::Exists(_)));

    let policy = "cameras.moorline.dev is forbidden: policy denied request: spec.retention = 90d";
    let denied = support::Fault::Refused(403, "Forbidden", policy.to_owned());
    api.trap(http::Method::POST, "/cameras", 1, denied);
    let wrong = refused(admin.import(three(), false).await);
    assert_eq!(places(&wrong), [0]);
    assert_eq!(wrong[0].1.to_string(), "spec.retention = 90d");
    assert!(api.list(CAMERAS).is_empty(), "nothing was made so far");

    let no = support::Fault::Refused(403, "Forbidden", "no Secrets here".to_owned());
    api.trap(http::Method::PATCH, "shop-rtsp", 1, no);
    let wrong = refused(admin.import(three(), false).await);
    assert_eq!(places(&wrong), [2]);
    let stands = |camera: &serde_json::Value| camera["metadata"]["deletionTimestamp"].is_null();
    assert!(!api.list(CAMERAS).iter().any(stands), "all were taken back");

    nothing_to_drain(&api);
    admin.import(three(), false).await.unwrap();
    let made = api.list(CAMERAS);
    let made: Vec<&str> = made
        .iter()
        .filter_map(|camera| camera["metadata"]["name"].as_str())
        .collect();
    assert_eq!(made, ["gate", "shop", "yard"]);
}

/// P11. Somebody types Ctrl-C; or the browser that asked for it is closed.
#[tokio::test(start_paused = true)]
async fn an_import_that_is_broken_off_leaves_no_camera() {
    use moorline_core::port::{CameraAdmin as _, ImportError};
    let list = || -> Vec<_> {
        let many = 1..=50;
        many.map(|nth| contract::camera(&format!("acme/cam-{nth}"), &[nth]))
            .collect()
    };
    for goes_away in [false, true] {
        let (api, clock) = server();
        let mon = Mon::new(&api, &clock, 0).await;
        let admin = mon.admin.clone();
        let importing = tokio::spawn(async move { admin.import(list(), false).await });
        api.until("the first cameras", |api| api.list(CAMERAS).len() > 2)
            .await;
        if goes_away {
            importing.abort();
        } else {
            mon.admin.break_off();
            match importing.await.unwrap() {
                Err(ImportError::Cameras(wrong)) => {
                    let told = wrong[0].1.to_string();
                    assert!(wrong.len() == 1 && told.contains("broken off"), "{wrong:?}");
                }
                other => panic!("{other:?}"),
            }
        }
        none_stands(&api).await;
        assert!(api.list(CAMERAS).len() < 50, "the others were not made");
    }
}

/// P11. A front door that is replaced has seconds.
#[tokio::test(start_paused = true)]
async fn a_process_that_stops_takes_an_import_back_before_it_ends() {
    use moorline_core::port::CameraAdmin as _;
    let (api, clock) = server();
    let mon = Mon::new(&api, &clock, 0).await;
    let many = 1..=50;
    let list: Vec<_> = many
        .map(|nth| contract::camera(&format!("acme/cam-{nth}"), &[nth]))
        .collect();
    let admin = mon.admin.clone();
    let importing = tokio::spawn(async move { admin.import(list, false).await });
    api.until("the first cameras", |api| api.list(CAMERAS).len() > 2)
        .await;
    within("the end", mon.admin.wind_up()).await;
    let all = api.list(CAMERAS);
    let stands = |camera: &serde_json::Value| camera["metadata"]["deletionTimestamp"].is_null();
    assert!(!all.iter().any(stands), "{all:?}");
    assert!(importing.await.unwrap().is_err());
    within("the end of nothing", mon.admin.wind_up()).await;
}

/// Nobody would have the token by which they are enrolled.
#[tokio::test(start_paused = true)]
async fn a_batch_whose_caller_goes_away_leaves_no_camera() {
    use moorline_core::port::TokenMakes;
    let (api, clock) = server();
    let mon = Mon::new(&api, &clock, 0).await;
    let new = support::new_token(TokenMakes::Batch {
        prefix: "shop".into(),
        count: 50,
    });
    let admin = mon.admin.clone();
    let issuing = tokio::spawn(async move { admin.issue(new).await.map(drop) });
    api.until("the first cameras", |api| api.list(CAMERAS).len() > 2)
        .await;
    issuing.abort();
    none_stands(&api).await;
    assert!(api.list(CAMERAS).len() < 50, "the others were not made");
}

/// Waits until each camera is being deleted.
async fn none_stands(api: &support::Api) {
    api.until("all are taken back", |api| {
        let all = api.list(CAMERAS);
        let stands = |camera: &serde_json::Value| camera["metadata"]["deletionTimestamp"].is_null();
        !all.iter().any(stands)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_camera_whose_answer_is_lost_is_added_all_the_same() {
    use moorline_core::port::CameraAdmin as _;
    let (api, clock) = server();
    let mon = Mon::new(&api, &clock, 0).await;
    let lost = |fault| api.trap(http::Method::POST, "/cameras", 1, fault);
    lost(support::Fault::AnswerLost);
    let yard = contract::camera("acme/yard", &[1]);
    mon.admin.add(yard).await.unwrap();
    lost(support::Fault::Swallowed);
    let gate = mon.admin.add(contract::camera("acme/gate", &[2])).await;
    assert!(
        matches!(gate, Err(CameraAdminError::Unavailable(_))),
        "{gate:?}"
    );
    // Somebody else makes another one of that name, and its own answer is lost: that one is not ours.
    let shop = || contract::camera("acme/shop", &[3]);
    api.put(CAMERAS, support::camera("acme", "shop"));
    lost(support::Fault::Swallowed);
    let refused = mon.admin.add(shop()).await;
    assert!(refused.is_err(), "{refused:?}");
    let names = api.list(CAMERAS);
    let names: Vec<&str> = names
        .iter()
        .filter_map(|camera| camera["metadata"]["name"].as_str())
        .collect();
    assert_eq!(names, ["shop", "yard"]);
}

/// P11.
#[tokio::test(start_paused = true)]
async fn what_an_import_takes_back_is_what_it_made_and_no_other_camera_of_that_name() {
    use moorline_core::Masked;
    use moorline_core::camera::Login;
    use moorline_core::port::{CameraAdmin as _, ImportError};
    let (api, clock) = server();
    let mon = Mon::new(&api, &clock, 0).await;
    let yard = contract::camera("acme/yard", &[1]);
    let mut shop = contract::camera("acme/shop", &[2]);
    shop.main.login = Some(Login {
        user: "admin".into(),
        password: Masked::new("hunter2".into()),
    });
    let no = support::Fault::Refused(403, "Forbidden", "no Secrets here".to_owned());
    api.trap(http::Method::PATCH, "shop-rtsp", 1, no);
    let another = json!({"metadata": {"uid": "another"}});
    let another = support::Fault::Overtaken(another);
    api.trap(http::Method::DELETE, "/cameras/yard", 1, another);
    match mon.admin.import(vec![yard, shop], false).await {
        Err(ImportError::Cameras(wrong)) => assert_eq!(wrong.len(), 1, "{wrong:?}"),
        other => panic!("{other:?}"),
    }
    let is_deleted = |name: &str| {
        let camera = api.get(CAMERAS, "t-acme", name).unwrap();
        !camera["metadata"]["deletionTimestamp"].is_null()
    };
    assert_eq!(["yard", "shop"].map(is_deleted), [false, true]);
}
