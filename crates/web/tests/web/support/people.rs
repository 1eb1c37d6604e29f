//! People, their sessions and what they did, in memory.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use moorline_core::port::{
    Audit, AuditEntry, AuditFilter, PortError, Users, UsersError, WebSessions,
};
use moorline_core::user::{LoginName, Role, StreamSecret, User};
use moorline_core::{Masked, TenantId, Timestamp};

struct Person {
    user: User,
    password: String,
    stream: String,
}

/// People.
#[derive(Default)]
pub(crate) struct FakePeople {
    all: Mutex<BTreeMap<String, Person>>,
    /// Where they are written is away.
    pub(crate) away: AtomicBool,
}

impl FakePeople {
    fn with<T>(
        &self,
        login: &LoginName,
        change: impl FnOnce(&mut Person) -> T,
    ) -> Result<T, UsersError> {
        let mut people = self.all.lock().unwrap();
        let person = people.get_mut(login.as_str());
        person
            .map(change)
            .ok_or_else(|| UsersError::Unknown(login.clone()))
    }
}

#[async_trait]
impl Users for FakePeople {
    async fn verify_web(
        &self,
        login: &str,
        password: &Masked<String>,
        _: IpAddr,
    ) -> Result<User, UsersError> {
        let people = self.all.lock().unwrap();
        let person = people
            .get(login)
            .filter(|person| person.password == *password.reveal());
        person
            .map(|person| person.user.clone())
            .ok_or(UsersError::Wrong)
    }

    fn stream_secret(&self, _: &str) -> Option<StreamSecret> {
        None
    }

    async fn stream_password(&self, login: &LoginName) -> Result<Masked<String>, UsersError> {
        self.with(login, |person| Masked::new(person.stream.clone()))
    }

    async fn rotate_stream_password(
        &self,
        login: &LoginName,
    ) -> Result<Masked<String>, UsersError> {
        self.with(login, |person| {
            person.stream.push('2');
            Masked::new(person.stream.clone())
        })
    }

    fn list(&self, tenant: &TenantId) -> Vec<User> {
        let people = self.all.lock().unwrap();
        let users = people.values().map(|person| person.user.clone());
        users.filter(|user| user.tenant == *tenant).collect()
    }

    fn get(&self, login: &str) -> Option<User> {
        let people = self.all.lock().unwrap();
        people.get(login).map(|person| person.user.clone())
    }

    async fn add(
        &self,
        login: LoginName,
        tenant: TenantId,
        role: Role,
        password: Masked<String>,
    ) -> Result<Masked<String>, UsersError> {
        let password = password.reveal().clone();
        if !(10..=200).contains(&password.len()) {
            return Err(UsersError::Password(password.len()));
        }
        if self.away.load(Ordering::Relaxed) {
            return Err(PortError::new("change users", "no connection to db-7").into());
        }
        let mut people = self.all.lock().unwrap();
        if people.contains_key(login.as_str()) {
            return Err(UsersError::Exists(login));
        }
        let stream = format!("stream-of-{}", login.as_str().len());
        let user = User {
            login: login.clone(),
            tenant,
            role,
            created: Timestamp::default(),
        };
        let person = Person {
            user,
            password,
            stream: stream.clone(),
        };
        people.insert(login.to_string(), person);
        Ok(Masked::new(stream))
    }

    async fn set_password(
        &self,
        login: &LoginName,
        password: Masked<String>,
    ) -> Result<(), UsersError> {
        self.with(login, |person| {
            person.password.clone_from(password.reveal());
        })
    }

    async fn remove(&self, login: &LoginName) -> Result<(), UsersError> {
        let removed = self.all.lock().unwrap().remove(login.as_str());
        removed
            .map(drop)
            .ok_or_else(|| UsersError::Unknown(login.clone()))
    }
}

/// Signed-in browsers; the number of a session is its token.
pub(crate) struct FakeSessions {
    people: Arc<FakePeople>,
    open: Mutex<(u64, BTreeMap<String, String>)>,
    /// Where they are written is away.
    pub(crate) away: AtomicBool,
}

impl FakeSessions {
    pub(crate) fn new(people: Arc<FakePeople>) -> Self {
        Self {
            people,
            open: Mutex::default(),
            away: AtomicBool::default(),
        }
    }
}

#[async_trait]
impl WebSessions for FakeSessions {
    async fn open(&self, login: &LoginName) -> Result<Masked<String>, PortError> {
        if self.away.load(Ordering::Relaxed) {
            return Err(PortError::new(
                "open a web session",
                "db-7.internal: refused",
            ));
        }
        let mut open = self.open.lock().unwrap();
        open.0 += 1;
        let token = format!("token-{}", open.0);
        open.1.insert(token.clone(), login.to_string());
        Ok(Masked::new(token))
    }

    fn user(&self, token: &str) -> Option<User> {
        let login = self.open.lock().unwrap().1.get(token).cloned()?;
        self.people.get(&login)
    }

    async fn close(&self, token: &str) -> Result<(), PortError> {
        self.open.lock().unwrap().1.remove(token);
        Ok(())
    }
}

/// Who did what.
#[derive(Default)]
pub(crate) struct FakeAudit(pub(crate) Mutex<Vec<AuditEntry>>);

#[async_trait]
impl Audit for FakeAudit {
    fn write(&self, entry: AuditEntry) {
        self.0.lock().unwrap().push(entry);
    }

    async fn read(
        &self,
        _: &TenantId,
        filter: &AuditFilter,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, PortError> {
        let entries = self.0.lock().unwrap();
        let by = |entry: &&AuditEntry| {
            filter.user.as_ref().is_none_or(|user| entry.actor == *user)
                && filter.from.is_none_or(|from| entry.at >= from)
        };
        let newest = entries.iter().rev().filter(by);
        Ok(newest.take(limit as usize).cloned().collect())
    }
}
