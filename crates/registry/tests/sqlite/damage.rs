//! What is not a registry of ours any more: damaged, foreign, newer, without its key; and what a backup brings back.

use moorline_core::SessionId;
use moorline_core::port::{CameraAdmin as _, CameraDirectory as _, Claims as _, WebSessions as _};
use moorline_core::user::Role;
use moorline_registry::OpenError;

use super::contract::{audit, camera, cameras, id, users};
use super::{Place, execute};

#[tokio::test]
async fn a_damaged_file_is_named_and_left_alone() {
    let place = Place::new();
    let registry = place.open().await;
    for number in 0..40 {
        registry
            .cameras()
            .add(camera(&format!("camera-{number}"), &[number]))
            .await
            .unwrap();
    }
    registry.close().await.unwrap();
    drop(registry);
    let sound = std::fs::read(place.database()).unwrap();
    let mut scribbled = sound.clone();
    for byte in &mut scribbled[4096..8192] {
        *byte ^= 0x5a;
    }
    let cases = [
        ("empty", Vec::new()),
        ("text", b"this is no database, it is a letter".to_vec()),
        ("zeros", vec![0; sound.len()]),
        ("cut", sound[..sound.len() / 2].to_vec()),
        ("scribbled", scribbled),
    ];
    for (what, bytes) in cases {
        std::fs::write(place.database(), &bytes).unwrap();
        let error = place.try_open().await.unwrap_err();
        assert!(
            matches!(error, OpenError::Damaged { .. }),
            "{what}: {error:?}"
        );
        let text = error.to_string();
        assert!(
            text.contains("registry.sqlite is damaged"),
            "{what}: {text}"
        );
        assert!(
            error.hint().contains("moorline restore"),
            "{what}: {}",
            error.hint()
        );
        assert!(
            std::fs::read(place.database()).unwrap() == bytes,
            "{what}: the file was changed"
        );
    }
    std::fs::write(place.database(), &sound).unwrap();
    assert_eq!(place.open().await.cameras().snapshot().len(), 40);
}

#[tokio::test]
async fn a_foreign_database_is_refused() {
    let place = Place::new();
    place.open().await.close().await.unwrap();
    std::fs::remove_file(place.database()).unwrap();
    execute(&place.database(), "CREATE TABLE bookmarks (url TEXT)").await;
    let error = place.try_open().await.unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("it is a SQLite database, but not a camera registry"),
        "{error}"
    );
}

#[tokio::test]
async fn a_newer_schema_is_refused_with_the_way_back() {
    let place = Place::new();
    place.open().await.close().await.unwrap();
    execute(
        &place.database(),
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (1000, 'later', 1, x'00', 0)",
    )
    .await;
    let before = std::fs::read(place.database()).unwrap();
    let error = place.try_open().await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("has schema 1000, and this Moorline knows schema "),
        "{error}"
    );
    assert!(
        error.hint().contains("the Moorline that wrote it"),
        "{}",
        error.hint()
    );
    assert!(std::fs::read(place.database()).unwrap() == before);
}

/// S35.
#[tokio::test]
async fn an_entry_of_the_audit_cannot_be_changed() {
    let place = Place::new();
    let registry = place.open().await;
    audit::entries_are_read_newest_first(&*registry.audit()).await;
    registry.close().await.unwrap();
    use sqlx::{ConnectOptions, Connection};
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(place.database());
    let mut connection = options.connect().await.unwrap();
    let changed = sqlx::query("UPDATE audit SET actor = 'nobody'")
        .execute(&mut connection)
        .await;
    assert!(
        changed
            .unwrap_err()
            .to_string()
            .contains("the audit is append-only")
    );
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_lost_or_foreign_key_is_told_apart() {
    let place = Place::new();
    place.open().await.close().await.unwrap();
    let key = std::fs::read(place.file("registry.key")).unwrap();
    std::fs::remove_file(place.file("registry.key")).unwrap();
    let error = place.try_open().await.unwrap_err();
    assert!(matches!(error, OpenError::KeyMissing { .. }), "{error}");
    assert!(
        !place.file("registry.key").exists(),
        "no new key is made for old secrets"
    );

    let other = Place::new();
    other.open().await.close().await.unwrap();
    std::fs::copy(other.file("registry.key"), place.file("registry.key")).unwrap();
    let error = place.try_open().await.unwrap_err();
    assert!(matches!(error, OpenError::KeyForeign { .. }), "{error}");

    std::fs::write(place.file("registry.key"), &key).unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(
        place.file("registry.key"),
        std::fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    let error = place.try_open().await.unwrap_err();
    assert!(
        error.hint().starts_with("chmod 600"),
        "{error}: {}",
        error.hint()
    );
    std::fs::set_permissions(
        place.file("registry.key"),
        std::fs::Permissions::from_mode(0o600),
    )
    .unwrap();
    place.open().await;
}

#[tokio::test]
async fn a_backup_comes_back_and_no_generation_is_given_twice() {
    let place = Place::new();
    let registry = place.open().await;
    let yard = id("yard");
    registry.cameras().add(cameras::full("yard")).await.unwrap();
    users::add(&*registry.users(), "anna", Role::Admin).await;
    let token = registry
        .sessions()
        .open(&users::login("anna"))
        .await
        .unwrap();
    registry.claims().claim(&yard, SessionId(1)).await.unwrap();
    let copy = place.file("copy.sqlite");
    let files = registry.export(&copy).await.unwrap();
    assert_eq!(files, [copy.clone(), place.file("registry.key")]);

    registry.cameras().add(camera("gate", &[9])).await.unwrap();
    let (mut newest_yard, mut newest_gate) = Default::default();
    for _ in 0..5 {
        newest_yard = registry.claims().claim(&yard, SessionId(1)).await.unwrap();
        newest_gate = registry
            .claims()
            .claim(&id("gate"), SessionId(1))
            .await
            .unwrap();
    }
    drop(registry);
    moorline_registry::import(&copy, &place.database(), 77)
        .await
        .unwrap();

    let registry = place.open().await;
    assert_eq!(
        **registry.cameras().snapshot().get(&yard).unwrap(),
        cameras::full("yard")
    );
    assert!(
        registry.cameras().snapshot().get(&id("gate")).is_none(),
        "added after the copy"
    );
    assert!(registry.claims().claim(&yard, SessionId(1)).await.unwrap() > newest_yard);
    registry.cameras().add(camera("gate", &[9])).await.unwrap();
    assert!(
        registry
            .claims()
            .claim(&id("gate"), SessionId(1))
            .await
            .unwrap()
            > newest_gate
    );
    assert!(
        registry.sessions().user(token.reveal()).is_none(),
        "a session of the past is over"
    );
    assert!(
        place.file("registry-replaced-77.sqlite").exists(),
        "what stood there is kept"
    );
    registry.close().await.unwrap();

    std::fs::write(&copy, b"damaged").unwrap();
    let before = std::fs::read(place.database()).unwrap();
    let error = moorline_registry::import(&copy, &place.database(), 78)
        .await
        .unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    assert!(std::fs::read(place.database()).unwrap() == before);
}
