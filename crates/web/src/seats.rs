//! How much of the archive one user may read at once: each stream reads the store and holds fragments, so a viewer may not open them
//! without end. Live streams are bounded by their relays.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::StatusCode;

use crate::access::Access;
use crate::problem::Problem;

/// Playbacks and exports of one user at once: many pages side by side.
const PER_USER: usize = 16;

/// Who reads the archive. Clones are the same book.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seats(Arc<Mutex<HashMap<String, usize>>>);

/// A place; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    seats: Seats,
    login: Option<String>,
}

impl Seats {
    fn with<T>(&self, change: impl FnOnce(&mut HashMap<String, usize>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes a place. The machine's operator needs none.
    ///
    /// # Errors
    /// 429: the user has them all.
    pub(crate) fn sit(&self, access: &Access) -> Result<Seat, Problem> {
        let login = match access {
            Access::Local => None,
            Access::User(user) => Some(user.login.to_string()),
        };
        if let Some(login) = &login {
            self.with(|taken| {
                let count = taken.entry(login.clone()).or_default();
                if *count >= PER_USER {
                    return Err(too_many());
                }
                *count += 1;
                Ok(())
            })?;
        }
        Ok(Seat {
            seats: self.clone(),
            login,
        })
    }
}

fn too_many() -> Problem {
    let title = format!("a user plays and exports at most {PER_USER} recordings at once");
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_readers", title)
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some(login) = &self.login else {
            return;
        };
        self.seats.with(|taken| {
            if let Some(count) = taken.get_mut(login) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    taken.remove(login);
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
        let seats = Seats::default();
        let taken: Vec<_> = (0..PER_USER).map(|_| seats.sit(&user("vera"))).collect();
        assert!(taken.iter().all(Result::is_ok));
        assert!(seats.sit(&user("vera")).is_err());
        assert!(seats.sit(&user("anna")).is_ok());
        assert!(seats.sit(&Access::Local).is_ok());
        drop(taken);
        assert!(seats.sit(&user("vera")).is_ok());
        assert!(seats.with(|taken| taken.is_empty()), "nobody is remembered");
    }
}
