//! People in memory: what the front door, the page and the sessions look up.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use moorline_core::user::{LoginName, Role, User};
use moorline_core::{Masked, Timestamp};

use crate::cameras::{RowError, wrong};
use crate::envelope::Envelope;
use crate::people_store::PersonRow;
use crate::stream_password::{self, StreamPassword};

/// A user with what they prove themselves with.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) user: User,
    /// Argon2id in PHC form.
    pub(crate) password_hash: Masked<String>,
    pub(crate) stream: StreamPassword,
}

pub(crate) type Directory = BTreeMap<String, Arc<Person>>;

/// All people: an immutable map, swapped whole after each commit.
#[derive(Debug)]
pub(crate) struct People {
    map: ArcSwap<Directory>,
    envelope: Arc<Envelope>,
    /// Held from before rows are changed, or read because others changed them, until memory says the same: so nothing read earlier replaces
    /// what was written later. Whoever holds it has the deadlines of the database.
    pub(crate) turn: tokio::sync::Mutex<()>,
}

impl People {
    pub(crate) fn new(rows: &[PersonRow], envelope: Arc<Envelope>) -> Result<Self, RowError> {
        let people: Result<Directory, RowError> = rows
            .iter()
            .map(|row| Ok((row.login.clone(), Arc::new(person_of(row, &envelope)?))))
            .collect();
        Ok(Self {
            map: ArcSwap::from_pointee(people?),
            envelope,
            turn: tokio::sync::Mutex::default(),
        })
    }

    pub(crate) fn get(&self, login: &str) -> Option<Arc<Person>> {
        self.map.load().get(login).map(Arc::clone)
    }

    pub(crate) fn all(&self) -> Arc<Directory> {
        self.map.load_full()
    }

    pub(crate) fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Shows another map. Whoever calls has the turn.
    pub(crate) fn swap(&self, people: Directory) {
        self.map.store(Arc::new(people));
    }

    /// Shows what was read of these logins, or of all. A row that cannot be read is told and its user not let in. Whoever calls has the turn.
    pub(crate) fn apply(&self, logins: Option<&[String]>, rows: &[PersonRow]) {
        let mut people = match logins {
            Some(_) => Directory::clone(&self.all()),
            None => Directory::new(),
        };
        for login in logins.unwrap_or_default() {
            people.remove(login);
        }
        for row in rows {
            match person_of(row, &self.envelope) {
                Ok(person) => {
                    people.insert(row.login.clone(), Arc::new(person));
                }
                Err(error) => tracing::error!(%error, "a user cannot be read and is not let in"),
            }
        }
        self.swap(people);
    }
}

fn person_of(row: &PersonRow, envelope: &Envelope) -> Result<Person, RowError> {
    let name = &row.login;
    let login: LoginName = name.parse().map_err(wrong("users", name))?;
    let password = envelope
        .open(&stream_password::context(&login), &row.stream_password)
        .map_err(wrong("users", name))?;
    Ok(Person {
        stream: StreamPassword::of(&login, password),
        user: User {
            tenant: row.tenant.parse().map_err(wrong("users", name))?,
            role: row.role.parse::<Role>().map_err(wrong("users", name))?,
            created: Timestamp::from_millis(row.created),
            login,
        },
        password_hash: row.password_hash.clone(),
    })
}
