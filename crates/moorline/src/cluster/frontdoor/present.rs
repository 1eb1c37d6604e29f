//! People of tenants that are there: a Tenant that was deleted and made anew under the same name is somebody else's (rule S26), so whoever was a
//! user before it was made is not let in. The operator finds and removes them by the routes as before.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use moorline_core::port::{PortError, Users, UsersError, WebSessions};
use moorline_core::user::{LoginName, Role, StreamSecret, User};
use moorline_core::{Masked, TenantId, Timestamp};

/// When a tenant was made; `None`: there is none. From memory.
pub(super) type Since = Arc<dyn Fn(&TenantId) -> Option<Timestamp> + Send + Sync>;

/// `Users` and `WebSessions` that let in people of present tenants alone.
pub(super) struct Present {
    pub(super) users: Arc<dyn Users>,
    pub(super) sessions: Arc<dyn WebSessions>,
    pub(super) since: Since,
}

impl Present {
    fn is_present(&self, user: &User) -> bool {
        (self.since)(&user.tenant).is_some_and(|since| user.created >= since)
    }
}

#[async_trait]
impl Users for Present {
    async fn verify_web(
        &self,
        login: &str,
        password: &Masked<String>,
        from: IpAddr,
    ) -> Result<User, UsersError> {
        let user = self.users.verify_web(login, password, from).await?;
        match self.is_present(&user) {
            true => Ok(user),
            false => Err(UsersError::Wrong),
        }
    }

    fn stream_secret(&self, login: &str) -> Option<StreamSecret> {
        let secret = self.users.stream_secret(login)?;
        self.is_present(&secret.user).then_some(secret)
    }

    async fn stream_password(&self, login: &LoginName) -> Result<Masked<String>, UsersError> {
        self.users.stream_password(login).await
    }

    async fn rotate_stream_password(
        &self,
        login: &LoginName,
    ) -> Result<Masked<String>, UsersError> {
        self.users.rotate_stream_password(login).await
    }

    fn list(&self, tenant: &TenantId) -> Vec<User> {
        self.users.list(tenant)
    }

    fn get(&self, login: &str) -> Option<User> {
        self.users.get(login)
    }

    async fn add(
        &self,
        login: LoginName,
        tenant: TenantId,
        role: Role,
        password: Masked<String>,
    ) -> Result<Masked<String>, UsersError> {
        self.users.add(login, tenant, role, password).await
    }

    async fn set_password(
        &self,
        login: &LoginName,
        password: Masked<String>,
    ) -> Result<(), UsersError> {
        self.users.set_password(login, password).await
    }

    async fn remove(&self, login: &LoginName) -> Result<(), UsersError> {
        self.users.remove(login).await
    }
}

#[async_trait]
impl WebSessions for Present {
    async fn open(&self, login: &LoginName) -> Result<Masked<String>, PortError> {
        self.sessions.open(login).await
    }

    fn user(&self, token: &str) -> Option<User> {
        self.sessions
            .user(token)
            .filter(|user| self.is_present(user))
    }

    async fn find(&self, token: &str) -> Option<User> {
        let found = self.sessions.find(token).await;
        found.filter(|user| self.is_present(user))
    }

    async fn close(&self, token: &str) -> Result<(), PortError> {
        self.sessions.close(token).await
    }
}
