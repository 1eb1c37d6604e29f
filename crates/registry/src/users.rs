//! People: who may sign in, and with what (rules S11, S12).
//!
//! Changes go one after another, each as a task of its own: commit, swap the map, end the web sessions that it concerns. Where other processes
//! change the rows too, the rows decide, and memory follows.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use moorline_base::clock::SharedClock;
use moorline_core::port::{PortError, Users, UsersError};
use moorline_core::user::{LoginName, Role, StreamSecret, User};
use moorline_core::{Masked, TenantId, Timestamp};

use crate::error::{detached, failed};
use crate::passwords::Passwords;
use crate::people::{Directory, People, Person};
use crate::people_store::{PeopleStore, PersonRow, Removed};
use crate::sessions::SessionBook;
use crate::stream_password::{StreamPassword, context};
use crate::throttle::{Throttle, key};

const OPERATION: &str = "change the users";

/// `Users` over the registry. Cheap to clone.
#[derive(Debug, Clone)]
pub struct UserBook(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Arc<dyn PeopleStore>,
    people: Arc<People>,
    sessions: Arc<SessionBook>,
    passwords: Passwords,
    throttle: Mutex<Throttle>,
    clock: SharedClock,
}

impl UserBook {
    pub(crate) fn new(
        store: Arc<dyn PeopleStore>,
        people: Arc<People>,
        sessions: Arc<SessionBook>,
        clock: SharedClock,
    ) -> Self {
        Self(Arc::new(Inner {
            store,
            people,
            sessions,
            passwords: Passwords::new(clock.clone()),
            throttle: Mutex::default(),
            clock,
        }))
    }

    async fn change<T, F, Fut>(&self, change: F) -> Result<T, UsersError>
    where
        T: Send + 'static,
        F: FnOnce(Arc<Inner>, Directory) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, UsersError>> + Send + 'static,
    {
        let inner = Arc::clone(&self.0);
        detached(OPERATION, async move {
            let people = Arc::clone(&inner.people);
            let _turn = people.turn.lock().await;
            let present = Directory::clone(&people.all());
            change(inner, present).await
        })
        .await
    }
}

impl Inner {
    fn throttle(&self) -> std::sync::MutexGuard<'_, Throttle> {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seal(&self, login: &LoginName, stream: &StreamPassword) -> Result<Vec<u8>, PortError> {
        self.people
            .envelope()
            .seal(&context(login), stream.password.reveal())
            .map_err(|error| PortError::new(OPERATION, error))
    }
}

fn known(present: &Directory, login: &LoginName) -> Result<Person, UsersError> {
    match present.get(login.as_str()) {
        Some(person) => Ok(Person::clone(person)),
        None => Err(UsersError::Unknown(login.clone())),
    }
}

#[async_trait]
impl Users for UserBook {
    async fn verify_web(
        &self,
        login: &str,
        password: &Masked<String>,
        from: IpAddr,
    ) -> Result<User, UsersError> {
        let inner = &*self.0;
        let who = key(from, login);
        // Asked before the queue too, so that a guesser takes no place in it.
        if !inner.throttle().allows(&who, inner.clock.monotonic()) {
            return Err(UsersError::Busy);
        }
        let place = inner.passwords.place(Some(from)).await?;
        if !inner.throttle().begin(&who, inner.clock.monotonic()) {
            return Err(UsersError::Busy);
        }
        let person = inner.people.get(login);
        let hash = person.as_ref().map(|person| person.password_hash.clone());
        let right = place.verify(hash, password.clone()).await?;
        // The user as it is now: it may have been removed, or have got another password, while the hash ran.
        let now = inner.people.get(login);
        match (person, now) {
            (Some(person), Some(now)) if right && now.password_hash == person.password_hash => {
                inner.throttle().succeeded(&who);
                Ok(now.user.clone())
            }
            _ => Err(UsersError::Wrong),
        }
    }

    fn stream_secret(&self, login: &str) -> Option<StreamSecret> {
        let person = self.0.people.get(login)?;
        Some(StreamSecret {
            user: person.user.clone(),
            ha1: person.stream.ha1.clone(),
        })
    }

    async fn stream_password(&self, login: &LoginName) -> Result<Masked<String>, UsersError> {
        known(&self.0.people.all(), login).map(|person| person.stream.password)
    }

    async fn rotate_stream_password(
        &self,
        login: &LoginName,
    ) -> Result<Masked<String>, UsersError> {
        let login = login.clone();
        self.change(|inner, mut people| async move {
            let mut person = known(&people, &login)?;
            person.stream = StreamPassword::generate(&login);
            let sealed = inner.seal(&login, &person.stream)?;
            let changed = inner.store.set_stream_password(login.as_str(), &sealed);
            if !changed.await.map_err(failed(OPERATION))? {
                return Err(UsersError::Unknown(login));
            }
            let password = person.stream.password.clone();
            people.insert(login.to_string(), Arc::new(person));
            inner.people.swap(people);
            Ok(password)
        })
        .await
    }

    fn list(&self, tenant: &TenantId) -> Vec<User> {
        let people = self.0.people.all();
        let users = people.values().map(|person| &person.user);
        users
            .filter(|user| user.tenant == *tenant)
            .cloned()
            .collect()
    }

    fn get(&self, login: &str) -> Option<User> {
        self.0.people.get(login).map(|person| person.user.clone())
    }

    async fn add(
        &self,
        login: LoginName,
        tenant: TenantId,
        role: Role,
        password: Masked<String>,
    ) -> Result<Masked<String>, UsersError> {
        let password_hash = self.0.passwords.place(None).await?.hash(password).await?;
        self.change(move |inner, mut people| async move {
            if people.contains_key(login.as_str()) {
                return Err(UsersError::Exists(login));
            }
            let stream = StreamPassword::generate(&login);
            let created = Timestamp::from_millis(inner.clock.wall_ms());
            let row = PersonRow {
                login: login.to_string(),
                tenant: tenant.to_string(),
                role: role.as_str().to_owned(),
                created: created.as_millis(),
                password_hash: password_hash.clone(),
                stream_password: inner.seal(&login, &stream)?,
            };
            if !inner.store.add(&row).await.map_err(failed(OPERATION))? {
                return Err(UsersError::Exists(login));
            }
            let shown = stream.password.clone();
            let user = User {
                login: login.clone(),
                tenant,
                role,
                created,
            };
            let person = Person {
                user,
                password_hash,
                stream,
            };
            people.insert(login.to_string(), Arc::new(person));
            inner.people.swap(people);
            Ok(shown)
        })
        .await
    }

    async fn set_password(
        &self,
        login: &LoginName,
        password: Masked<String>,
    ) -> Result<(), UsersError> {
        known(&self.0.people.all(), login)?;
        let password_hash = self.0.passwords.place(None).await?.hash(password).await?;
        let login = login.clone();
        self.change(|inner, mut people| async move {
            let mut person = known(&people, &login)?;
            let changed = inner.store.set_password(login.as_str(), &password_hash);
            if !changed.await.map_err(failed(OPERATION))? {
                return Err(UsersError::Unknown(login));
            }
            person.password_hash = password_hash;
            people.insert(login.to_string(), Arc::new(person));
            inner.people.swap(people);
            inner.sessions.forget(&login);
            Ok(())
        })
        .await
    }

    async fn remove(&self, login: &LoginName) -> Result<(), UsersError> {
        let login = login.clone();
        self.change(|inner, mut people| async move {
            let removed = inner.store.remove(login.as_str()).await;
            match removed.map_err(failed(OPERATION))? {
                Removed::Yes => {}
                Removed::Unknown => return Err(UsersError::Unknown(login)),
                Removed::LastAdmin => return Err(UsersError::LastAdmin(login)),
            }
            people.remove(login.as_str());
            inner.people.swap(people);
            inner.sessions.forget(&login);
            Ok(())
        })
        .await
    }
}
