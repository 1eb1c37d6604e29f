//! How much of the archive may be read at once: each stream reads the store and holds fragments, so nobody may open them without end, and where
//! several tenants share a front door, none may take the places of all others (P9). Live streams are bounded by their relays. And how many
//! streams to cameras' own pages there may be.

use std::sync::{Arc, Mutex, PoisonError};

use axum::http::StatusCode;
use moorline_base::Counted;
use moorline_core::TenantId;

use crate::access::Access;
use crate::problem::Problem;
use crate::receipts::Receipts;
use crate::visits::Visits;

/// The places of one server. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct House {
    /// Playbacks: many pages side by side. They wait for credit of a browser that shows pictures, so the machine bounds them by its users.
    pub(crate) playbacks: Seats,
    /// Exports read as fast as the connection takes it: 16 of them hold at most 0.3 GB and fill a gigabit line.
    pub(crate) exports: Seats,
    /// Segments that are fetched one by one: each holds a piece of 1 MiB.
    pub(crate) segments: Seats,
    /// A verify asks the store without pause, and nobody waits for its end: two are enough for anybody.
    pub(crate) verifies: Seats,
    /// Streams to cameras' own pages: a browser opens six to one page. Each holds a channel of the tunnel by which the camera is recorded.
    pub(crate) reach_ins: Seats,
    /// How exports ended.
    pub(crate) receipts: Receipts,
    /// Who looked at cameras' own pages a moment ago.
    pub(crate) visits: Visits,
}

impl House {
    /// `shared`: by several tenants, of whom one has at most half of the places.
    pub(crate) fn new(shared: bool) -> Self {
        let seats = |what, per_user, in_all: usize| Seats {
            what,
            per_user,
            per_tenant: if shared { in_all.div_ceil(2) } else { in_all },
            in_all,
            taken: Arc::default(),
        };
        Self {
            playbacks: seats("recordings are played", 16, usize::MAX),
            exports: seats("exports run", 4, 16),
            segments: seats("segments are fetched", 16, 128),
            verifies: seats("verifies run", 1, 2),
            reach_ins: seats("streams to cameras' own pages are open", 8, 8),
            receipts: Receipts::default(),
            visits: Visits::default(),
        }
    }
}

/// The places of one kind. Clones are the same book.
#[derive(Debug, Clone)]
pub(crate) struct Seats {
    what: &'static str,
    per_user: usize,
    per_tenant: usize,
    in_all: usize,
    taken: Arc<Mutex<Counted<Sitter>>>,
}

/// Who has places: a user of a tenant, or the machine's operator.
type Sitter = Option<(TenantId, String)>;

/// A place; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    seats: Seats,
    sitter: Sitter,
}

impl Seats {
    fn with<T>(&self, change: impl FnOnce(&mut Counted<Sitter>) -> T) -> T {
        change(&mut self.taken.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes a place. The machine's operator is bound by the places in all alone.
    ///
    /// # Errors
    /// 429: the user, or the user's tenant, has as many as one may have, or all are taken.
    pub(crate) fn sit(&self, access: &Access) -> Result<Seat, Problem> {
        let sitter = match access {
            Access::Local => None,
            Access::User(user) => Some((user.tenant.clone(), user.login.to_string())),
        };
        self.with(|taken| {
            if taken.of_all(|_| true) >= self.in_all {
                return Err(self.too_many("in all", self.in_all));
            }
            if let Some((tenant, _)) = &sitter {
                if taken.of(&sitter) >= self.per_user {
                    return Err(self.too_many("for one user", self.per_user));
                }
                let is_theirs =
                    |sitter: &Sitter| sitter.as_ref().is_some_and(|(of, _)| of == tenant);
                if taken.of_all(is_theirs) >= self.per_tenant {
                    return Err(self.too_many("for one tenant", self.per_tenant));
                }
            }
            taken.add(sitter.clone());
            Ok(())
        })?;
        Ok(Seat {
            seats: self.clone(),
            sitter,
        })
    }

    fn too_many(&self, whose: &str, most: usize) -> Problem {
        let title = format!("at most {most} {} at once {whose}", self.what);
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_readers", title)
            .hint("try again when one of them has ended")
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.with(|taken| taken.remove(&self.sitter));
    }
}

#[cfg(test)]
mod tests {
    use moorline_core::Timestamp;
    use moorline_core::user::{Role, User};

    use super::*;

    fn user(login: &str) -> Access {
        user_of("home", login)
    }

    fn user_of(tenant: &str, login: &str) -> Access {
        Access::User(User {
            login: login.parse().unwrap(),
            tenant: tenant.parse().unwrap(),
            role: Role::Viewer,
            created: Timestamp::default(),
        })
    }

    #[test]
    fn one_user_is_bounded_and_no_other_is() {
        let seats = House::new(false).playbacks;
        let taken: Vec<_> = (0..16).map(|_| seats.sit(&user("vera"))).collect();
        assert!(taken.iter().all(Result::is_ok));
        assert!(seats.sit(&user("vera")).is_err());
        assert!(seats.sit(&user("anna")).is_ok());
        assert!(seats.sit(&Access::Local).is_ok());
        drop(taken);
        assert!(seats.sit(&user("vera")).is_ok());
        assert!(seats.with(|taken| taken.is_empty()), "nobody is remembered");
    }

    #[test]
    fn all_together_are_bounded_too() {
        let seats = House::new(false).exports;
        let names = ["vera", "anna", "olga", "nina"];
        let mut taken: Vec<_> = names
            .iter()
            .flat_map(|name| (0..4).map(|_| seats.sit(&user(name)).unwrap()))
            .collect();
        for access in [user("zoe"), Access::Local] {
            let problem = format!("{:?}", seats.sit(&access).unwrap_err());
            assert!(
                problem.contains("at most 16 exports run at once in all"),
                "{problem}"
            );
        }
        taken.pop();
        assert!(seats.sit(&Access::Local).is_ok());
    }

    /// P9.
    #[test]
    fn one_tenant_of_a_shared_front_door_leaves_half_of_the_places_to_others() {
        let house = House::new(true);
        let own = ["vera", "anna"].map(|name| user_of("acme", name));
        let mut taken = Vec::new();
        for user in own.iter().flat_map(|user| [user; 4]) {
            taken.push(house.exports.sit(user).unwrap());
        }
        let problem = house.exports.sit(&user_of("acme", "olga")).unwrap_err();
        let problem = format!("{problem:?}");
        assert!(
            problem.contains("at most 8 exports run at once for one tenant"),
            "{problem}"
        );
        assert!(house.exports.sit(&user_of("other", "nina")).is_ok());
        assert!(house.exports.sit(&Access::Local).is_ok());
        drop(taken);
        assert!(house.exports.sit(&user_of("acme", "olga")).is_ok());

        let verify = house.verifies.sit(&own[0]).unwrap();
        assert!(house.verifies.sit(&own[1]).is_err());
        assert!(house.verifies.sit(&user_of("other", "nina")).is_ok());
        drop(verify);
        assert!(house.verifies.sit(&own[1]).is_ok());
    }
}
