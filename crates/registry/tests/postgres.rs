//! The contract suites of people on a real PostgreSQL, and what is its own: several processes, an outage, TLS, newer schemas, foreign keys.
#![allow(
    clippy::disallowed_methods,
    reason = "tests may write files and look at the real clock"
)]

#[expect(
    dead_code,
    reason = "the other suites are of ports that are not PostgreSQL's"
)]
mod contract;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use contract::{people, users, word};
use moorline_base::{Secret, SharedClock, SimulatedClock, SystemClock};
use moorline_core::TenantId;
use moorline_core::port::{
    Audit, AuditEntry, AuditEvent, AuditFilter, Users, UsersError, WebSessions,
};
use moorline_core::user::Role;
use moorline_registry::{OpenError, PeopleRegistry, PostgresConfig, PostgresTls, new_key};
use moorline_testkit::postgres::{Postgres, ServerCertificate};
use moorline_testkit::{eventually, or_skip};

const SOON: Duration = Duration::from_secs(30);

struct Place {
    server: Postgres,
    directory: tempfile::TempDir,
}

impl Place {
    async fn new() -> Self {
        Self::with(Postgres::start().await.unwrap())
    }

    fn with(server: Postgres) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("people.key"), new_key().as_bytes()).unwrap();
        Self { server, directory }
    }

    /// A server with a certificate of its own, and the file with that; `None`: it cannot be had here.
    async fn with_tls() -> Option<(Self, PathBuf)> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let server = Postgres::start_tls(ServerCertificate {
            certificate: &certificate,
            key: &key,
        });
        let place = Self::with(or_skip(server.await)?);
        let authority = place.directory.path().join("ca.crt");
        std::fs::write(&authority, &certificate).unwrap();
        Some((place, authority))
    }

    fn key(&self) -> PathBuf {
        self.directory.path().join("people.key")
    }

    fn config(&self) -> PostgresConfig {
        PostgresConfig {
            url: Secret::new(self.server.url()),
            tls: PostgresTls::Off,
            connections: 4,
        }
    }

    async fn try_open(&self) -> Result<PeopleRegistry, OpenError> {
        PeopleRegistry::open(&self.config(), &self.key(), SystemClock::shared()).await
    }

    async fn open(&self) -> PeopleRegistry {
        self.try_open().await.unwrap()
    }

    async fn books(&self) -> (PeopleRegistry, people::Books) {
        let clock = SimulatedClock::new(1_800_000_000_000);
        let shared: SharedClock = Arc::new(clock.clone());
        let registry = PeopleRegistry::open(&self.config(), &self.key(), shared)
            .await
            .unwrap();
        let books = people::Books {
            users: registry.users(),
            sessions: registry.sessions(),
            audit: registry.audit(),
            clock,
        };
        (registry, books)
    }
}

#[tokio::test]
async fn users_keep_their_contract() {
    let place = Place::new().await;
    let (_registry, books) = place.books().await;
    people::users_keep_their_contract(&books).await;
}

#[tokio::test]
async fn sessions_keep_their_contract() {
    let place = Place::new().await;
    let (_registry, books) = place.books().await;
    people::sessions_keep_their_contract(&books).await;
}

#[tokio::test]
async fn audit_keeps_its_contract() {
    let place = Place::new().await;
    let (_registry, books) = place.books().await;
    people::audit_keeps_its_contract(&books).await;
}

#[tokio::test]
async fn everything_comes_back_after_a_restart() {
    let place = Place::new().await;
    let registry = place.open().await;
    let (stream, ha1, token) = users::anna(&*registry.users(), &*registry.sessions()).await;
    registry.audit().write(entry("anna", "home/yard"));
    registry.close().await.unwrap();
    assert!(
        registry.users().get("anna").is_some(),
        "memory outlives the connection"
    );

    let registry = place.open().await;
    let anna = users::login("anna");
    assert_eq!(
        registry.users().stream_password(&anna).await.unwrap(),
        stream
    );
    assert_eq!(registry.users().stream_secret("anna").unwrap().ha1, ha1);
    assert!(registry.sessions().user(token.reveal()).is_some());
    let audit = {
        let (audit, all) = (registry.audit(), AuditFilter::default());
        audit.read(&TenantId::home(), &all, 10).await.unwrap()
    };
    assert_eq!(audit.len(), 1, "what waited in the queue was written");
    let stored = place.server.sql("SELECT * FROM users").await.unwrap();
    assert!(!stored.contains(stream.reveal().as_str()), "{stored}");
    assert!(!stored.contains(ha1.reveal().as_str()), "{stored}");
}

fn entry(actor: &str, subject: &str) -> AuditEntry {
    AuditEntry {
        at: moorline_core::Timestamp::from_millis(1),
        actor: actor.to_owned(),
        event: AuditEvent::View,
        subject: subject.to_owned(),
    }
}

/// What one front door changes, another knows within seconds, whatever the change.
#[tokio::test]
async fn two_processes_follow_each_other() {
    let place = Place::new().await;
    let (here, there) = (place.open().await, place.open().await);
    let (anna, bert) = (users::login("anna"), users::login("bert"));
    users::add(&*here.users(), "anna", Role::Admin).await;
    users::add(&*here.users(), "bert", Role::Viewer).await;
    eventually("both are known there", SOON, async || {
        there.users().get("bert").and(there.users().get("anna"))
    })
    .await;

    let old = there.users().stream_secret("bert").unwrap().ha1;
    here.users().rotate_stream_password(&bert).await.unwrap();
    eventually("the new stream password is known there", SOON, async || {
        let secret = there.users().stream_secret("bert")?;
        (secret.ha1 != old).then_some(())
    })
    .await;

    let token = here.sessions().open(&bert).await.unwrap();
    let found = there.sessions().find(token.reveal()).await;
    assert_eq!(
        found.unwrap().login,
        bert,
        "at once, before it was heard of: a browser's next request may go there"
    );
    assert!(there.sessions().user(token.reveal()).is_some());
    there
        .users()
        .set_password(&bert, word("quite another one"))
        .await
        .unwrap();
    eventually("the session has ended here", SOON, async || {
        let over = here.sessions().user(token.reveal()).is_none();
        over.then_some(())
    })
    .await;
    assert!(here.sessions().find(token.reveal()).await.is_none());
    here.users()
        .verify_web("bert", &word("quite another one"), users::HERE)
        .await
        .unwrap();

    let token = here.sessions().open(&anna).await.unwrap();
    there.sessions().find(token.reveal()).await.unwrap();
    here.sessions().close(token.reveal()).await.unwrap();
    eventually(
        "who signed out here is signed out there",
        SOON,
        async || {
            let over = there.sessions().user(token.reveal()).is_none();
            over.then_some(())
        },
    )
    .await;

    here.users().remove(&bert).await.unwrap();
    eventually("who was removed is gone there", SOON, async || {
        let gone = there.users().stream_secret("bert").is_none();
        gone.then_some(())
    })
    .await;
    // By hand, as an operator may in an emergency.
    place.server.sql("DELETE FROM users").await.unwrap();
    eventually("what was removed by hand is gone", SOON, async || {
        let gone = here.users().get("anna").is_none() && there.users().get("anna").is_none();
        gone.then_some(())
    })
    .await;
}

/// Memory may be behind: the rows decide.
#[tokio::test]
async fn two_processes_do_not_spoil_each_other() {
    let place = Place::new().await;
    let (here, there) = (place.open().await, place.open().await);
    let add = |registry: &PeopleRegistry, name: &str| {
        let (book, name) = (registry.users(), users::login(name));
        async move {
            book.add(name, TenantId::home(), Role::Admin, word("a long password"))
                .await
        }
    };
    let (one, two) = tokio::join!(add(&here, "anna"), add(&there, "anna"));
    let lost = [one, two].into_iter().filter(Result::is_err).count();
    assert_eq!(lost, 1, "one of two gets the login");
    add(&here, "bert").await.unwrap();
    eventually("both know both", SOON, async || {
        let known = |registry: &PeopleRegistry| registry.users().list(&TenantId::home()).len() == 2;
        (known(&here) && known(&there)).then_some(())
    })
    .await;
    let (anna, bert) = (users::login("anna"), users::login("bert"));
    let (one, two) = (here.users(), there.users());
    let (one, two) = tokio::join!(one.remove(&anna), two.remove(&bert));
    let stayed = [one, two]
        .into_iter()
        .filter(|removed| matches!(removed, Err(UsersError::LastAdmin(_))))
        .count();
    assert_eq!(stayed, 1, "one of the last two admins stays");
}

#[tokio::test]
async fn an_outage_is_survived_from_memory() {
    let mut place = Place::new().await;
    let registry = place.open().await;
    users::add(&*registry.users(), "anna", Role::Admin).await;
    let anna = users::login("anna");
    let token = registry.sessions().open(&anna).await.unwrap();
    place.server.stop().await;
    assert!(registry.users().stream_secret("anna").is_some());
    assert!(registry.sessions().find(token.reveal()).await.is_some());
    registry
        .users()
        .verify_web("anna", &word("a long password"), users::HERE)
        .await
        .unwrap();
    let refused = registry.sessions().open(&anna).await.unwrap_err();
    assert!(!refused.to_string().contains("secret"), "{refused}");
    assert!(
        registry.users().remove(&anna).await.is_err(),
        "nothing is changed in memory alone"
    );
    assert!(registry.users().get("anna").is_some());
    place.server.resume().await.unwrap();
    place.server.sql("DELETE FROM users").await.unwrap();
    eventually(
        "it is followed again",
        Duration::from_secs(40),
        async || registry.users().get("anna").is_none().then_some(()),
    )
    .await;
    assert!(registry.sessions().user(token.reveal()).is_none());
    registry.close().await.unwrap();
}

/// Everything is served from memory meanwhile: this alone tells an operator.
#[tokio::test]
async fn memory_falls_behind_through_an_outage_and_has_caught_up_after_it() {
    let mut place = Place::new().await;
    let (registry, books) = place.books().await;
    assert_eq!(registry.behind(), Duration::ZERO);
    place.server.stop().await;
    books.clock.advance(Duration::from_secs(90));
    assert!(registry.behind() >= Duration::from_secs(90));
    place.server.resume().await.unwrap();
    eventually("it is followed again", SOON, async || {
        // The task sleeps by this clock.
        books.clock.advance(Duration::from_secs(1));
        (registry.behind() < Duration::from_secs(10)).then_some(())
    })
    .await;
    registry.close().await.unwrap();
}

/// The password in the URL is renewed: the old one is refused from some moment on, and nobody is restarted.
#[tokio::test]
async fn a_password_that_was_renewed_is_used_once_it_works() {
    let Some((place, authority)) = Place::with_tls().await else {
        return;
    };
    let old = place.server.tcp_url("localhost").unwrap();
    let new = old.replace(Postgres::PASSWORD, "renewed");
    let config = PostgresConfig {
        url: Secret::new(old),
        tls: PostgresTls::Verify {
            authority: Some(authority),
        },
        connections: 2,
    };
    let registry = PeopleRegistry::open(&config, &place.key(), SystemClock::shared())
        .await
        .unwrap();
    users::add(&*registry.users(), "anna", Role::Admin).await;
    let anna = users::login("anna");

    let early = registry.change_url(Secret::new(new.clone())).await;
    let early = early.unwrap_err().to_string();
    assert!(early.contains("password authentication failed"), "{early}");
    assert!(!early.contains("renewed"), "{early}");
    let token = registry.sessions().open(&anna).await.unwrap();
    let elsewhere = new.replace("/postgres", "/template1");
    let elsewhere = registry.change_url(Secret::new(elsewhere)).await;
    assert!(
        matches!(elsewhere, Err(OpenError::PostgresUrl { .. })),
        "connections to two databases: {elsewhere:?}"
    );

    // As a server that was restarted with the new password: whoever connects from now on needs it.
    let renewed = format!("ALTER USER {} PASSWORD 'renewed'", Postgres::USER);
    place.server.sql(&renewed).await.unwrap();
    // It returns when they have ended: one that had not would take a last command.
    let ended = "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE application_name = 'moorline'";
    place.server.sql(ended).await.unwrap();
    let refused = registry.sessions().open(&anna).await.unwrap_err();
    assert!(refused.to_string().contains("password"), "{refused}");
    assert!(
        registry.sessions().user(token.reveal()).is_some(),
        "who is signed in stays so"
    );
    registry.change_url(Secret::new(new)).await.unwrap();
    registry.sessions().open(&anna).await.unwrap();
    place.server.sql("DELETE FROM users").await.unwrap();
    eventually(
        "it is followed again",
        Duration::from_secs(40),
        async || registry.users().get("anna").is_none().then_some(()),
    )
    .await;
    registry.close().await.unwrap();
}

/// After an outage of hours the list of changes may have been cut: everything is read.
#[tokio::test]
async fn after_a_long_outage_everything_is_read() {
    let place = Place::new().await;
    let (registry, books) = place.books().await;
    users::add(&*books.users, "anna", Role::Admin).await;
    place
        .server
        .sql("DELETE FROM users; DELETE FROM people_changes")
        .await
        .unwrap();
    books.clock.advance(Duration::from_secs(3600));
    eventually("it is followed again", SOON, async || {
        // The task sleeps by this clock.
        books.clock.advance(Duration::from_millis(250));
        books.users.get("anna").is_none().then_some(())
    })
    .await;
    drop(registry);
}

#[tokio::test]
async fn what_strangers_type_spoils_no_entry_of_the_audit() {
    let place = Place::new().await;
    let registry = place.open().await;
    let log = registry.audit();
    log.write(entry("nul\0here", "'; DROP TABLE audit; --"));
    log.write(entry("anna", "home/yard"));
    let read = log
        .read(&TenantId::home(), &AuditFilter::default(), 10)
        .await
        .unwrap();
    assert_eq!(read.len(), 2, "{read:?}");
    assert_eq!(read[1].actor, "nul\u{fffd}here");
    let changed = place.server.sql("UPDATE audit SET actor = 'nobody'").await;
    let changed = changed.unwrap_err().to_string();
    assert!(changed.contains("the audit is append-only"), "{changed}");
}

#[tokio::test]
async fn a_front_door_that_hangs_holds_up_nobody() {
    let place = Place::new().await;
    let registry = place.open().await;
    users::add(&*registry.users(), "anna", Role::Admin).await;
    // As one that died in the middle of a change would leave it, but for a server that ends such sessions.
    let held = place
        .server
        .sql("BEGIN; SELECT pg_advisory_xact_lock(5570193308531093872); SELECT pg_sleep(600)");
    let changed = async {
        let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted";
        eventually("the lock is held", SOON, async || {
            let held = place.server.sql(waiting).await.ok()?;
            (held == "1").then_some(())
        })
        .await;
        let login = users::login("anna");
        let changed = registry.users().rotate_stream_password(&login).await;
        // Only now, however long it took to see that the lock is held.
        let ended = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted";
        place.server.sql(ended).await.unwrap();
        changed
    };
    let (held, changed) = tokio::join!(held, changed);
    assert!(held.is_err(), "it was ended: {held:?}");
    let refused = changed.unwrap_err().to_string();
    assert!(refused.contains("change the users"), "{refused}");
    let login = users::login("anna");
    registry
        .users()
        .rotate_stream_password(&login)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_newer_schema_and_a_foreign_key_are_told_apart() {
    let place = Place::new().await;
    place.open().await.close().await.unwrap();
    std::fs::write(place.key(), new_key().as_bytes()).unwrap();
    let error = place.try_open().await.unwrap_err();
    assert!(matches!(error, OpenError::PostgresKey { .. }), "{error}");
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (7, 'later', true, '\\x00', 0)";
    place.server.sql(newer).await.unwrap();
    let error = place.try_open().await.unwrap_err();
    assert!(
        matches!(error, OpenError::PostgresNewer { found: 7, known: 1 }),
        "{error}"
    );
}

#[tokio::test]
async fn many_replicas_begin_at_once_on_an_empty_database() {
    let place = Place::new().await;
    let opened = futures::future::join_all((0..4).map(|_| place.try_open())).await;
    for registry in opened {
        registry.unwrap().close().await.unwrap();
    }
}

#[tokio::test]
async fn the_server_is_known_by_its_certificate() {
    let Some((place, authority)) = Place::with_tls().await else {
        return;
    };
    let open = async |host: &str, tls: PostgresTls| {
        let config = PostgresConfig {
            url: Secret::new(place.server.tcp_url(host).unwrap()),
            tls,
            connections: 2,
        };
        PeopleRegistry::open(&config, &place.key(), SystemClock::shared()).await
    };
    let known = PostgresTls::Verify {
        authority: Some(authority),
    };
    let registry = open("localhost", known.clone()).await.unwrap();
    users::add(&*registry.users(), "anna", Role::Admin).await;
    registry.close().await.unwrap();
    for (host, tls, why) in [
        (
            "localhost",
            PostgresTls::Verify { authority: None },
            "UnknownIssuer",
        ),
        ("127.0.0.1", known, "not valid for name"),
        ("localhost", PostgresTls::Off, "no encryption"),
    ] {
        let error = open(host, tls).await.unwrap_err().to_string();
        assert!(error.contains(why), "{host}: {error}");
        assert!(!error.contains(Postgres::PASSWORD), "{error}");
    }
}

#[tokio::test]
async fn a_url_that_cannot_be_used_is_not_repeated() {
    let place = Place::with(Postgres::start().await.unwrap());
    for url in [
        "mysql://anna:hunter2@db/x",
        "postgres://anna:hunter2@db:port/x",
        "postgres://anna:hunter2@db/x?sslmode=disable",
    ] {
        let config = PostgresConfig {
            url: Secret::new(url.to_owned()),
            ..place.config()
        };
        let error = PeopleRegistry::open(&config, &place.key(), SystemClock::shared())
            .await
            .unwrap_err();
        assert!(matches!(error, OpenError::PostgresUrl { .. }), "{error}");
        let told = format!("{error} {error:?} {}", error.hint());
        assert!(!told.contains("hunter2"), "{told}");
    }
}
