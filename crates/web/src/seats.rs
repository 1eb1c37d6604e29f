//! How much of the archive may be read at once: each stream reads the store and holds fragments, so nobody may open them without end. Live
//! streams are bounded by their relays.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::StatusCode;

use crate::access::Access;
use crate::problem::Problem;
use crate::receipts::Receipts;

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
    /// How exports ended.
    pub(crate) receipts: Receipts,
}

impl House {
    pub(crate) fn new() -> Self {
        Self {
            playbacks: Seats::new("recordings are played", 16, usize::MAX),
            exports: Seats::new("exports run", 4, 16),
            segments: Seats::new("segments are fetched", 16, 128),
            verifies: Seats::new("verifies run", 1, 2),
            receipts: Receipts::default(),
        }
    }
}

/// The places of one kind. Clones are the same book.
#[derive(Debug, Clone)]
pub(crate) struct Seats {
    what: &'static str,
    per_user: usize,
    in_all: usize,
    taken: Arc<Mutex<HashMap<String, usize>>>,
}

/// A place; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    seats: Seats,
    login: String,
}

impl Seats {
    fn new(what: &'static str, per_user: usize, in_all: usize) -> Self {
        Self {
            what,
            per_user,
            in_all,
            taken: Arc::default(),
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut HashMap<String, usize>) -> T) -> T {
        change(&mut self.taken.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes a place. The machine's operator is bound by the places in all alone.
    ///
    /// # Errors
    /// 429: the user has as many as one may have, or all are taken.
    pub(crate) fn sit(&self, access: &Access) -> Result<Seat, Problem> {
        // No login is empty.
        let (login, most) = match access {
            Access::Local => (String::new(), self.in_all),
            Access::User(user) => (user.login.to_string(), self.per_user),
        };
        self.with(|taken| {
            if taken.values().sum::<usize>() >= self.in_all {
                return Err(self.too_many("in all", self.in_all));
            }
            let count = taken.get(&login).copied().unwrap_or(0);
            if count >= most {
                return Err(self.too_many("for one user", most));
            }
            taken.insert(login.clone(), count + 1);
            Ok(())
        })?;
        Ok(Seat {
            seats: self.clone(),
            login,
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
        self.seats.with(|taken| {
            if let Some(count) = taken.get_mut(&self.login) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    taken.remove(&self.login);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use moorline_core::user::{Role, User};
    use moorline_core::{TenantId, Timestamp};

    use super::*;

    fn user(login: &str) -> Access {
        Access::User(User {
            login: login.parse().unwrap(),
            tenant: TenantId::home(),
            role: Role::Viewer,
            created: Timestamp::default(),
        })
    }

    #[test]
    fn one_user_is_bounded_and_no_other_is() {
        let seats = House::new().playbacks;
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
        let seats = House::new().exports;
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
}
