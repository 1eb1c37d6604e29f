//! `Users`.

use std::net::IpAddr;

use moorline_core::port::{Users, UsersError, WebSessions};
use moorline_core::user::{LoginName, Role};
use moorline_core::{Masked, TenantId};

use super::word;

pub(crate) const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

pub(crate) fn login(text: &str) -> LoginName {
    text.parse().unwrap()
}

/// Anna, an administrator who has signed in: her stream password, its digest, and her session's token.
pub(crate) async fn anna(
    users: &dyn Users,
    sessions: &dyn WebSessions,
) -> (Masked<String>, Masked<String>, Masked<String>) {
    let stream = add(users, "anna", Role::Admin).await;
    let ha1 = users.stream_secret("anna").unwrap().ha1;
    let token = sessions.open(&login("anna")).await.unwrap();
    (stream, ha1, token)
}

pub(crate) async fn add(users: &dyn Users, name: &str, role: Role) -> Masked<String> {
    users
        .add(login(name), TenantId::home(), role, word("a long password"))
        .await
        .unwrap()
}

pub(crate) async fn the_right_password_alone_lets_in(users: &dyn Users) {
    let stream = add(users, "anna", Role::Viewer).await;
    let user = users
        .verify_web("anna", &word("a long password"), HERE)
        .await
        .unwrap();
    assert_eq!((user.login.as_str(), user.role), ("anna", Role::Viewer));
    for (name, password) in [
        ("anna", "a long passwore"),
        ("anna", ""),
        ("anna", stream.reveal().as_str()),
        ("Anna", "a long password"),
        ("nobody", "a long password"),
        ("", ""),
    ] {
        let wrong = users.verify_web(name, &word(password), HERE).await;
        assert!(matches!(wrong, Err(UsersError::Wrong)), "{name}: {wrong:?}");
    }
}

pub(crate) async fn a_stream_password_is_generated_and_rotated(users: &dyn Users) {
    let first = add(users, "bert", Role::Viewer).await;
    let bert = login("bert");
    assert_eq!(users.stream_password(&bert).await.unwrap(), first);
    let secret = users.stream_secret("bert").unwrap();
    assert_eq!(secret.user.login, bert);
    assert_eq!(secret.ha1.reveal().len(), 32);
    let second = users.rotate_stream_password(&bert).await.unwrap();
    assert_ne!(second, first);
    assert_eq!(users.stream_password(&bert).await.unwrap(), second);
    assert_ne!(users.stream_secret("bert").unwrap().ha1, secret.ha1);
    assert!(users.stream_secret("nobody").is_none());
    let nobody = login("nobody");
    assert!(matches!(
        users.stream_password(&nobody).await,
        Err(UsersError::Unknown(_))
    ));
    assert!(matches!(
        users.rotate_stream_password(&nobody).await,
        Err(UsersError::Unknown(_))
    ));
}

pub(crate) async fn logins_are_unique_and_passwords_long_enough(users: &dyn Users) {
    add(users, "carl", Role::Viewer).await;
    let acme: TenantId = "acme".parse().unwrap();
    let again = users
        .add(
            login("carl"),
            acme.clone(),
            Role::Viewer,
            word("another password"),
        )
        .await;
    assert!(matches!(again, Err(UsersError::Exists(_))), "{again:?}");
    for bad in ["short", "", &"x".repeat(201)] {
        let refused = users
            .add(login("dora"), acme.clone(), Role::Viewer, word(bad))
            .await;
        assert!(
            matches!(refused, Err(UsersError::Password(length)) if length == bad.len()),
            "{refused:?}"
        );
        let refused = users.set_password(&login("carl"), word(bad)).await;
        assert!(
            matches!(refused, Err(UsersError::Password(_))),
            "{refused:?}"
        );
    }
    assert!(users.get("dora").is_none());
    users
        .add(
            login("dora"),
            acme.clone(),
            Role::Viewer,
            word("äöüäöüäöüä"),
        )
        .await
        .unwrap();
    let names: Vec<_> = users
        .list(&acme)
        .into_iter()
        .map(|user| user.login.to_string())
        .collect();
    assert_eq!(names, ["dora"], "a tenant sees its own users");
}

pub(crate) async fn a_changed_password_replaces_the_old(users: &dyn Users) {
    add(users, "emil", Role::Viewer).await;
    users
        .set_password(&login("emil"), word("quite another one"))
        .await
        .unwrap();
    let old = users
        .verify_web("emil", &word("a long password"), HERE)
        .await;
    assert!(matches!(old, Err(UsersError::Wrong)), "{old:?}");
    users
        .verify_web("emil", &word("quite another one"), HERE)
        .await
        .unwrap();
    let nobody = users
        .set_password(&login("nobody"), word("a long password"))
        .await;
    assert!(matches!(nobody, Err(UsersError::Unknown(_))), "{nobody:?}");
}

pub(crate) async fn the_last_admin_stays(users: &dyn Users) {
    add(users, "root", Role::Admin).await;
    add(users, "fred", Role::Operator).await;
    assert!(matches!(
        users.remove(&login("root")).await,
        Err(UsersError::LastAdmin(_))
    ));
    add(users, "gina", Role::Admin).await;
    users.remove(&login("root")).await.unwrap();
    assert!(users.get("root").is_none() && users.stream_secret("root").is_none());
    let gone = users
        .verify_web("root", &word("a long password"), HERE)
        .await;
    assert!(matches!(gone, Err(UsersError::Wrong)), "{gone:?}");
    assert!(matches!(
        users.remove(&login("root")).await,
        Err(UsersError::Unknown(_))
    ));
    users.remove(&login("fred")).await.unwrap();
}

pub(crate) async fn a_guesser_is_slowed_and_nobody_else(users: &dyn Users) {
    add(users, "hugo", Role::Viewer).await;
    let guesser: IpAddr = "198.51.100.7".parse().unwrap();
    for _ in 0..10 {
        let wrong = users
            .verify_web("hugo", &word("a guess, wrong"), guesser)
            .await;
        assert!(matches!(wrong, Err(UsersError::Wrong)), "{wrong:?}");
    }
    let right = users
        .verify_web("hugo", &word("a long password"), guesser)
        .await;
    assert!(
        matches!(right, Err(UsersError::Busy)),
        "not even the right one: {right:?}"
    );
    users
        .verify_web("hugo", &word("a long password"), HERE)
        .await
        .unwrap();
    for _ in 0..12 {
        let right = users
            .verify_web("hugo", &word("a long password"), HERE)
            .await;
        assert!(right.is_ok(), "who gets in is not slowed: {right:?}");
    }
    for _ in 0..10 {
        let unknown = users
            .verify_web("nobody", &word("a guess, wrong"), guesser)
            .await;
        assert!(matches!(unknown, Err(UsersError::Wrong)), "{unknown:?}");
    }
    let unknown = users
        .verify_web("nobody", &word("a guess, wrong"), guesser)
        .await;
    assert!(
        matches!(unknown, Err(UsersError::Busy)),
        "an unknown login is throttled like a known one: {unknown:?}"
    );
}
