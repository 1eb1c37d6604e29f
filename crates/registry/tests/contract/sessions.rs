//! `WebSessions`.

use std::time::Duration;

use moorline_base::SimulatedClock;
use moorline_core::port::{Users, WebSessions};
use moorline_core::user::Role;

use super::users::{add, login};
use super::word;

const DAY: Duration = Duration::from_secs(24 * 3600);

pub(crate) async fn a_token_is_its_session_until_closed(
    users: &dyn Users,
    sessions: &dyn WebSessions,
) {
    add(users, "ida", Role::Viewer).await;
    let ida = login("ida");
    let token = sessions.open(&ida).await.unwrap();
    let other = sessions.open(&ida).await.unwrap();
    assert_ne!(token, other, "each sign-in has a token of its own");
    assert_eq!(token.reveal().len(), 43, "256 bits");
    assert!(
        token
            .reveal()
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    );
    assert_eq!(sessions.user(token.reveal()).unwrap().login, ida);
    for stranger in ["", "x", &token.reveal()[1..]] {
        assert!(sessions.user(stranger).is_none());
    }
    sessions.close(token.reveal()).await.unwrap();
    sessions.close(token.reveal()).await.unwrap();
    assert!(sessions.user(token.reveal()).is_none());
    assert!(sessions.user(other.reveal()).is_some());
    assert!(sessions.open(&login("nobody")).await.is_err());
}

pub(crate) async fn sessions_end_with_the_password_and_the_user(
    users: &dyn Users,
    sessions: &dyn WebSessions,
) {
    add(users, "jana", Role::Viewer).await;
    add(users, "karl", Role::Viewer).await;
    let (jana, karl) = (login("jana"), login("karl"));
    let token = sessions.open(&jana).await.unwrap();
    let bystander = sessions.open(&karl).await.unwrap();
    users
        .set_password(&jana, word("quite another one"))
        .await
        .unwrap();
    assert!(sessions.user(token.reveal()).is_none());
    let token = sessions.open(&jana).await.unwrap();
    users.remove(&jana).await.unwrap();
    assert!(sessions.user(token.reveal()).is_none());
    add(users, "jana", Role::Admin).await;
    assert!(
        sessions.user(token.reveal()).is_none(),
        "a name that returns is another person"
    );
    assert!(sessions.user(bystander.reveal()).is_some());
}

pub(crate) async fn sessions_grow_old(
    users: &dyn Users,
    sessions: &dyn WebSessions,
    clock: &SimulatedClock,
) {
    add(users, "lena", Role::Viewer).await;
    let lena = login("lena");
    let used = sessions.open(&lena).await.unwrap();
    let unused = sessions.open(&lena).await.unwrap();
    for _ in 0..4 {
        clock.advance(DAY * 6);
        assert!(sessions.user(used.reveal()).is_some());
    }
    assert!(
        sessions.user(unused.reveal()).is_none(),
        "7 days without use"
    );
    clock.advance(DAY * 6 - Duration::from_secs(1));
    assert!(sessions.user(used.reveal()).is_some());
    clock.advance(Duration::from_secs(1));
    assert!(sessions.user(used.reveal()).is_none(), "30 days");
}

pub(crate) async fn one_user_has_a_bounded_number(
    users: &dyn Users,
    sessions: &dyn WebSessions,
    clock: &SimulatedClock,
) {
    add(users, "mara", Role::Viewer).await;
    let mut tokens = Vec::new();
    for _ in 0..33 {
        clock.advance(Duration::from_secs(1));
        tokens.push(sessions.open(&login("mara")).await.unwrap());
    }
    let open: Vec<_> = tokens
        .iter()
        .map(|token| sessions.user(token.reveal()).is_some())
        .collect();
    assert!(!open[0] && open[1..].iter().all(|open| *open), "{open:?}");
}
