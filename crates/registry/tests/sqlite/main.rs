//! The contract suites of the ports, and what is SQLite's own: restart, two processes, damage, migrations.
#![allow(
    clippy::disallowed_methods,
    reason = "tests may write files and look at the real clock"
)]

#[path = "../contract/mod.rs"]
mod contract;
mod damage;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use contract::{camera, cameras, claims, enroll, id, memories, people, used_classes, users, word};
use moorline_base::{SharedClock, SimulatedClock};
use moorline_core::port::{
    Audit, AuditEntry, AuditEvent, CameraAdmin, CameraAdminError, CameraChange, CameraDirectory,
    Claims, Memories, UsedClasses as _, Users, WebSessions,
};
use moorline_core::{SessionId, Timestamp};
use moorline_registry::{OpenError, Registry};
use moorline_testkit::Starved;

/// The registry keeps a record as it was given.
const EVERYTHING: cameras::Keeps = cameras::Keeps {
    lan: true,
    secrets_and_times: true,
    keys_by_tenant: false,
};

struct Place {
    directory: tempfile::TempDir,
    clock: SimulatedClock,
}

impl Place {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            clock: SimulatedClock::new(1_800_000_000_000),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn database(&self) -> PathBuf {
        self.file("registry.sqlite")
    }

    async fn try_open(&self) -> Result<Registry, OpenError> {
        let clock: SharedClock = Arc::new(self.clock.clone());
        Registry::open(&self.database(), &self.file("registry.key"), clock).await
    }

    async fn open(&self) -> Registry {
        self.try_open().await.unwrap()
    }
}

#[tokio::test]
async fn enrolment_keeps_its_contract() {
    let place = Place::new();
    let registry = place.open().await;
    let (book, cameras) = (registry.enrolment(), registry.cameras());
    let later = |milliseconds| {
        place
            .clock
            .advance(std::time::Duration::from_millis(milliseconds))
    };
    let made = enroll::Made::WithItsKey;
    enroll::a_token_is_spent_once_and_the_same_key_may_repeat(&*book, &*cameras, &*cameras, made)
        .await;
    enroll::a_batch_makes_as_many_cameras_as_it_counts(&*book, &*cameras).await;
    enroll::a_revoked_or_expired_token_makes_nothing(&*book, &*cameras, later, made).await;
    enroll::a_wrong_token_is_named_before_it_is_made(&*book).await;
    enroll::keys_of_other_cameras_and_disabled_cameras_are_refused(&*book, &*cameras, &*cameras)
        .await;
    enroll::many_keys_at_once_spend_one_token_once(book, &*cameras).await;
}

#[tokio::test]
async fn a_spent_token_is_spent_after_a_restart_and_its_key_may_still_repeat() {
    let place = Place::new();
    let registry = place.open().await;
    let (token, key) = enroll::enrolled(&*registry.enrolment(), "yard").await;
    registry.close().await.unwrap();
    let stored = std::fs::read(place.database()).unwrap();
    let shown = stored
        .windows(token.len())
        .any(|window| window == token.as_bytes());
    assert!(!shown, "the token lies in the file");
    let registry = place.open().await;
    enroll::is_spent(&*registry.enrolment(), &token, &key).await;
    let yard = registry
        .cameras()
        .snapshot()
        .get(&id("yard"))
        .cloned()
        .unwrap();
    assert_eq!(yard.keys[0].key, key);
}

/// S2.
#[tokio::test]
async fn cameras_keep_their_contract() {
    let place = Place::new();
    let registry = place.open().await;
    let all = registry.cameras();
    cameras::a_change_is_seen_at_once(&*all, &*all, EVERYTHING).await;
    cameras::fields_change_together_or_not_at_all(&*all, &*all, EVERYTHING).await;
    cameras::a_wrong_field_is_named(&*all, &*all).await;
    cameras::of_two_changes_decided_on_one_record_the_later_is_told(&*all, &*all).await;
    cameras::a_key_belongs_to_one_camera(&*all, &*all, EVERYTHING).await;
    cameras::keys_are_added_once_and_revoked(&*all, &*all, EVERYTHING).await;
    cameras::what_does_not_exist_is_unknown(&*all).await;
    let before = all.snapshot();
    registry.close().await.unwrap();
    let after = place.open().await.cameras().snapshot();
    assert_eq!(
        before.iter().collect::<Vec<_>>(),
        after.iter().collect::<Vec<_>>(),
        "the same after a restart"
    );
}

/// Only here: in a cluster a camera streams to its cluster, and its owner alone chooses the stream.
#[tokio::test]
async fn who_chose_the_stream_and_where_it_goes_are_kept() {
    use moorline_core::camera::{Camera, Record, RecordBy};
    let place = Place::new();
    let registry = place.open().await;
    let cameras = registry.cameras();
    let there = moorline_core::streampoint::Streampoint {
        user: "home/roof".into(),
        host: "b.example.com".into(),
        port: 443,
        keys: vec![contract::key(9).key],
        ttl: Some(60),
    };
    let moved = Camera {
        sub: Some(moorline_core::camera::Source::default()),
        record: Record::Sub,
        record_by: RecordBy::Uplink,
        streampoint: Some(there),
        ..camera("roof", &[9])
    };
    cameras.add(moved.clone()).await.unwrap();
    let wrong = CameraChange {
        record: Some(Record::Main),
        ..CameraChange::default()
    };
    let wrong = cameras.set(&id("roof"), wrong).await.unwrap_err();
    assert!(wrong.to_string().starts_with("record_by"), "{wrong}");
    registry.close().await.unwrap();
    let cameras = place.open().await.cameras();
    let kept = Camera::clone(cameras.snapshot().get(&id("roof")).unwrap());
    assert_eq!(
        (kept.record, kept.record_by, kept.streampoint),
        (moved.record, moved.record_by, moved.streampoint)
    );
}

/// Only here: a cluster's load balancer may hide where a camera calls from.
#[tokio::test]
async fn s4_the_networks_of_a_camera_are_kept_changed_and_taken_away() {
    use moorline_core::camera::{Access, Camera};
    let place = Place::new();
    let registry = place.open().await;
    let cameras = registry.cameras();
    let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    let fenced = Camera {
        allow_from: networks(&["192.0.2.0/24", "2001:db8::/32"]),
        ..camera("roof", &[9])
    };
    cameras.add(fenced.clone()).await.unwrap();
    cameras.add(camera("free", &[10])).await.unwrap();
    registry.close().await.unwrap();
    let cameras = place.open().await.cameras();
    let kept = |name: &str| {
        cameras
            .snapshot()
            .get(&id(name))
            .unwrap()
            .allow_from
            .clone()
    };
    assert_eq!(kept("roof"), fenced.allow_from);
    assert_eq!(kept("free"), []);
    let set = |allow_from| {
        let change = CameraChange {
            allow_from: Some(allow_from),
            ..CameraChange::default()
        };
        let cameras = &cameras;
        async move { cameras.set(&id("roof"), change).await }
    };
    set(networks(&["198.51.100.7"])).await.unwrap();
    assert_eq!(kept("roof"), networks(&["198.51.100.7"]));
    let many = (0..17).map(|at| format!("192.0.2.{at}").parse().unwrap());
    let wrong = set(many.collect()).await.unwrap_err();
    assert!(wrong.to_string().contains("at most 16"), "{wrong}");
    set(Vec::new()).await.unwrap();
    assert_eq!(kept("roof"), []);
    let lan = Camera {
        allow_from: fenced.allow_from,
        access: Access::Lan {
            host: "192.168.1.5".into(),
            port: 554,
        },
        ..camera("hall", &[])
    };
    let wrong = cameras.add(lan).await.unwrap_err();
    assert!(wrong.to_string().starts_with("allow_from"), "{wrong}");
}

#[tokio::test]
async fn used_classes_keep_their_contract() {
    let place = Place::new();
    let registry = place.open().await;
    let used = registry.used_classes();
    used_classes::what_a_camera_records_is_noted_with_its_record(&*registry.cameras(), &used).await;
    used_classes::what_the_store_holds_is_added_once(&used).await;
    let gone = id("gone-camera");
    let before = used.of(&gone);
    registry.close().await.unwrap();
    let used = place.open().await.used_classes();
    assert_eq!(used.of(&gone), before, "the same after a restart");
    assert!(used.is_complete());
}

#[tokio::test]
async fn claims_keep_their_contract() {
    let place = Place::new();
    let registry = place.open().await;
    claims::generations_only_grow(&*registry.cameras(), &*registry.claims()).await;
    claims::no_two_claims_are_equal(&*registry.cameras(), &*registry.claims()).await;
    claims::a_stranger_among_many_fails_alone(&*registry.cameras(), &*registry.claims()).await;
}

#[tokio::test]
async fn memories_keep_their_contract() {
    let place = Place::new();
    let registry = place.open().await;
    memories::the_last_memory_stays(&*registry.cameras(), &*registry.memories()).await;
    memories::the_last_sign_of_life_comes_with_every_memory(
        &*registry.cameras(),
        &*registry.memories(),
    )
    .await;
    memories::too_many_gaps_merge(&*registry.cameras(), &*registry.memories()).await;
}

fn books(place: &Place, registry: &Registry) -> people::Books {
    people::Books {
        users: registry.users(),
        sessions: registry.sessions(),
        audit: registry.audit(),
        clock: place.clock.clone(),
    }
}

/// Neither networks nor notices were remembered once.
#[tokio::test]
async fn what_an_older_version_remembered_is_read() {
    let place = Place::new();
    let registry = place.open().await;
    registry.cameras().add(camera("yard", &[1])).await.unwrap();
    registry.close().await.unwrap();
    execute(
        &place.database(),
        r#"INSERT INTO memories VALUES ('home', 'yard', '{"durable_until":7,"gaps":[],"alarmed_since":null}')"#,
    )
    .await;
    let registry = place.open().await;
    let read = memories::of(&*registry.memories(), &id("yard")).await;
    let read = read.expect("it is forgotten");
    assert_eq!(read.durable_until, Some(Timestamp::from_millis(7)));
    assert_eq!(read.networks, Vec::<std::net::IpAddr>::new());
}

#[tokio::test]
async fn users_keep_their_contract() {
    let place = Place::new();
    let registry = place.open().await;
    people::users_keep_their_contract(&books(&place, &registry)).await;
}

#[tokio::test]
async fn sessions_keep_their_contract() {
    let place = Place::new();
    let registry = place.open().await;
    people::sessions_keep_their_contract(&books(&place, &registry)).await;
}

#[tokio::test]
async fn audit_keeps_its_contract() {
    let place = Place::new();
    let registry = place.open().await;
    people::audit_keeps_its_contract(&books(&place, &registry)).await;
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let place = Place::new();
    let registry = place.open().await;
    registry.cameras().add(cameras::full("yard")).await.unwrap();
    let (stream, ha1, token) = users::anna(&*registry.users(), &*registry.sessions()).await;
    registry
        .memories()
        .store(&id("yard"), &memories::memory(9))
        .await
        .unwrap();
    registry.audit().write(AuditEntry {
        at: Timestamp::from_millis(5),
        actor: "anna".into(),
        event: AuditEvent::SignIn,
        subject: String::new(),
    });
    registry.close().await.unwrap();
    assert!(
        registry.cameras().add(camera("late", &[1])).await.is_err(),
        "closed"
    );
    drop(registry);

    let registry = place.open().await;
    assert_eq!(
        **registry.cameras().snapshot().get(&id("yard")).unwrap(),
        cameras::full("yard")
    );
    assert_eq!(
        registry
            .users()
            .stream_password(&users::login("anna"))
            .await
            .unwrap(),
        stream
    );
    assert_eq!(registry.users().stream_secret("anna").unwrap().ha1, ha1);
    registry
        .users()
        .verify_web("anna", &word("a long password"), users::HERE)
        .await
        .unwrap();
    assert!(registry.sessions().user(token.reveal()).is_some());
    assert_eq!(
        memories::of(&*registry.memories(), &id("yard")).await,
        Some(memories::memory(9))
    );
    let audit = registry
        .audit()
        .read(&moorline_core::TenantId::home(), &Default::default(), 10)
        .await
        .unwrap();
    assert_eq!(audit.len(), 1, "what waited in the queue was written");
    let logs: Vec<_> = names(place.directory.path());
    registry.close().await.unwrap();
    assert!(logs.contains(&"registry.sqlite".to_owned()), "{logs:?}");
    let mut left = names(place.directory.path());
    // Where the disk has room for one.
    left.retain(|name| name != "registry.reserve");
    assert_eq!(
        left,
        ["registry.key", "registry.sqlite"],
        "nothing is left beside them"
    );
}

async fn execute(path: &Path, sql: &'static str) {
    use sqlx::{ConnectOptions, Connection};
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// P10, S25.
#[tokio::test]
async fn no_secret_lies_in_the_file_in_clear() {
    let place = Place::new();
    let registry = place.open().await;
    registry.cameras().add(cameras::full("yard")).await.unwrap();
    let (stream, ha1, token) = users::anna(&*registry.users(), &*registry.sessions()).await;
    registry.close().await.unwrap();
    let bytes = std::fs::read(place.database()).unwrap();
    let holds = |text: &str| {
        bytes
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    assert!(holds("Einfahrt"), "the test looks at the right file");
    for secret in [
        "hunter2",
        "a long password",
        stream.reveal(),
        ha1.reveal(),
        token.reveal(),
    ] {
        assert!(!holds(secret), "a secret lies there in clear");
    }
    use std::os::unix::fs::PermissionsExt;
    for file in ["registry.sqlite", "registry.key"] {
        let mode = std::fs::metadata(place.file(file))
            .unwrap()
            .permissions()
            .mode()
            & 0o777;
        assert_eq!(mode, 0o600, "{file}");
    }
}

/// The child half of the next test: claims, says so, and dies without any destructor.
#[tokio::test]
async fn killed_child() {
    let Ok(directory) = std::env::var("MOORLINE_KILLED_CHILD") else {
        return;
    };
    let clock: SharedClock = Arc::new(SimulatedClock::new(0));
    let directory = PathBuf::from(directory);
    let registry = Registry::open(
        &directory.join("registry.sqlite"),
        &directory.join("registry.key"),
        clock,
    )
    .await
    .unwrap();
    if registry.cameras().snapshot().is_empty() {
        registry.cameras().add(camera("yard", &[1])).await.unwrap();
    }
    let generation = registry
        .claims()
        .claim(&id("yard"), SessionId(1))
        .await
        .unwrap();
    std::fs::write(directory.join("claimed"), generation.to_string()).unwrap();
    std::process::abort();
}

#[tokio::test]
async fn a_claim_that_was_answered_survives_an_abort() {
    let place = Place::new();
    let mut before = 0;
    for _ in 0..5 {
        let status = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed_child", "--nocapture"])
            .env("MOORLINE_KILLED_CHILD", place.directory.path())
            .stderr(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .status()
            .await
            .unwrap();
        assert!(!status.success());
        let generation: u64 = std::fs::read_to_string(place.file("claimed"))
            .unwrap()
            .parse()
            .unwrap();
        assert!(generation > before, "{generation} after {before}");
        before = generation;
    }
    let registry = place.open().await;
    let next = registry
        .claims()
        .claim(&id("yard"), SessionId(1))
        .await
        .unwrap();
    assert_eq!(next.0, before + 1);
}

#[tokio::test]
async fn a_registry_that_was_dropped_lost_nothing() {
    let place = Place::new();
    let registry = place.open().await;
    registry.cameras().add(camera("yard", &[1])).await.unwrap();
    let first = registry
        .claims()
        .claim(&id("yard"), SessionId(1))
        .await
        .unwrap();
    drop(registry);
    let registry = place.open().await;
    assert!(
        registry
            .claims()
            .claim(&id("yard"), SessionId(1))
            .await
            .unwrap()
            > first
    );
}

#[tokio::test]
async fn two_processes_do_not_spoil_each_other() {
    let place = Place::new();
    let (left, right) = (place.open().await, place.open().await);
    left.cameras().add(camera("yard", &[1])).await.unwrap();
    let exists = right.cameras().add(camera("yard", &[2])).await;
    assert!(
        matches!(exists, Err(CameraAdminError::Exists(_))),
        "{exists:?}"
    );
    let taken = right.cameras().add(camera("gate", &[1])).await;
    assert!(
        matches!(taken, Err(CameraAdminError::KeyTaken { .. })),
        "{taken:?}"
    );
    assert!(
        right.cameras().snapshot().is_empty(),
        "nothing is half applied"
    );
    let (a, b) = (left.claims(), right.claims());
    let yard = id("yard");
    let mut all = Vec::new();
    for _ in 0..50 {
        let (one, other) = tokio::join!(a.claim(&yard, SessionId(1)), b.claim(&yard, SessionId(2)));
        all.extend([one.unwrap(), other.unwrap()]);
    }
    let distinct: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), 100);
}

#[tokio::test]
async fn a_change_is_finished_although_its_caller_went_away() {
    let place = Place::new();
    let registry = place.open().await;
    let all = registry.cameras();
    let mut adding = Box::pin(all.add(camera("yard", &[1])));
    std::future::poll_fn(|context| {
        assert!(adding.as_mut().poll(context).is_pending());
        std::task::Poll::Ready(())
    })
    .await;
    drop(adding);
    let seen = tokio::time::timeout(std::time::Duration::from_secs(30), all.changed(1)).await;
    assert_eq!(seen, Ok(2));
    assert!(all.snapshot().get(&id("yard")).is_some());
}

#[tokio::test]
async fn a_thousand_cameras_claim_within_a_second_or_two() {
    let place = Place::new();
    let registry = place.open().await;
    let all = registry.cameras();
    for number in 0..20 {
        all.add(camera(&format!("c{number}"), &[number]))
            .await
            .unwrap();
    }
    let book = registry.claims();
    let names: Vec<_> = (0..1_000)
        .map(|number| id(&format!("c{}", number % 20)))
        .collect();
    // What twenty cost here and now that wait for each other: a thousand would cost fifty times that.
    let begin = std::time::Instant::now();
    for name in &names[..20] {
        book.claim(name, SessionId(0)).await.unwrap();
    }
    let apart = begin.elapsed();
    let (starved, begin) = (Starved::begin(), std::time::Instant::now());
    let claims = names
        .iter()
        .enumerate()
        .map(|(session, name)| book.claim(name, SessionId(session as u64)));
    for claim in futures::future::join_all(claims).await {
        claim.unwrap();
    }
    let took = begin.elapsed();
    // A disk that other tests keep busy is slow for both.
    let most = std::time::Duration::from_secs(2).max(10 * apart) + starved.so_far();
    assert!(took < most, "{took:?}, twenty apart {apart:?}");
}
