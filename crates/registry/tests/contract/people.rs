//! `Users`, `WebSessions` and `Audit` together: the whole contract of an adapter of people, each part on books of its own.

use std::sync::Arc;

use moorline_base::SimulatedClock;
use moorline_core::port::{Audit, Users, WebSessions};

use super::{audit, sessions, users};

/// Books that were opened empty.
pub(crate) struct Books {
    pub(crate) users: Arc<dyn Users>,
    pub(crate) sessions: Arc<dyn WebSessions>,
    pub(crate) audit: Arc<dyn Audit>,
    pub(crate) clock: SimulatedClock,
}

pub(crate) async fn users_keep_their_contract(books: &Books) {
    let all = &*books.users;
    users::the_right_password_alone_lets_in(all).await;
    users::a_stream_password_is_generated_and_rotated(all).await;
    users::logins_are_unique_and_passwords_long_enough(all).await;
    users::a_changed_password_replaces_the_old(all).await;
    users::the_last_admin_stays(all).await;
    users::a_guesser_is_slowed_and_nobody_else(all).await;
}

pub(crate) async fn sessions_keep_their_contract(books: &Books) {
    let (people, open) = (&*books.users, &*books.sessions);
    sessions::a_token_is_its_session_until_closed(people, open).await;
    sessions::sessions_end_with_the_password_and_the_user(people, open).await;
    sessions::one_user_has_a_bounded_number(people, open, &books.clock).await;
    sessions::sessions_grow_old(people, open, &books.clock).await;
}

pub(crate) async fn audit_keeps_its_contract(books: &Books) {
    audit::entries_are_read_newest_first(&*books.audit).await;
    audit::entries_are_found_by_time_camera_and_user(&*books.audit).await;
    audit::a_tenant_sees_its_own(&*books.audit, &*books.users).await;
}
