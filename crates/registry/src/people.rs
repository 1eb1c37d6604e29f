//! People in memory: what the front door, the page and the sessions look up.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use moorline_core::user::{LoginName, Role, User};
use moorline_core::{Masked, Timestamp};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::cameras::{RowError, wrong};
use crate::database::Database;
use crate::envelope::Envelope;
use crate::error::OpenError;
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
pub(crate) struct People(ArcSwap<Directory>);

impl People {
    pub(crate) async fn load(database: &Database, envelope: &Envelope) -> Result<Self, OpenError> {
        let rows = sqlx::query(
            "SELECT login, tenant, role, created, password_hash, stream_password FROM users",
        )
        .fetch_all(&database.reader)
        .await
        .map_err(|error| OpenError::sql("read", &database.path, &error))?;
        let mut people = Directory::new();
        for row in &rows {
            let person = person_of(row, envelope)
                .map_err(|error| OpenError::damaged(&database.path, error))?;
            people.insert(person.user.login.to_string(), Arc::new(person));
        }
        Ok(Self(ArcSwap::from_pointee(people)))
    }

    pub(crate) fn get(&self, login: &str) -> Option<Arc<Person>> {
        self.0.load().get(login).map(Arc::clone)
    }

    pub(crate) fn all(&self) -> Arc<Directory> {
        self.0.load_full()
    }

    /// Shows another map. Only one change is under way at a time (`users`).
    pub(crate) fn swap(&self, people: Directory) {
        self.0.store(Arc::new(people));
    }
}

fn person_of(row: &SqliteRow, envelope: &Envelope) -> Result<Person, RowError> {
    let name: String = row.try_get("login")?;
    let login: LoginName = name.parse().map_err(wrong("users", &name))?;
    let tenant: String = row.try_get("tenant")?;
    let role: String = row.try_get("role")?;
    let sealed: Vec<u8> = row.try_get("stream_password")?;
    let password = envelope
        .open(&stream_password::context(&login), &sealed)
        .map_err(wrong("users", &name))?;
    Ok(Person {
        stream: StreamPassword::of(&login, password),
        user: User {
            tenant: tenant.parse().map_err(wrong("users", &name))?,
            role: role.parse::<Role>().map_err(wrong("users", &name))?,
            created: Timestamp::from_millis(row.try_get("created")?),
            login,
        },
        password_hash: Masked::new(row.try_get("password_hash")?),
    })
}
