//! Somebody who watches or fetches for longer than a request: they leave when their session or account does (rule S15).

use axum::http::HeaderMap;

use crate::access::{Access, token};
use crate::site::Site;

/// Whoever asked, as long as they may.
pub(crate) struct Guest {
    site: Site,
    token: Option<String>,
}

impl Guest {
    pub(crate) fn new(site: &Site, access: &Access, headers: &HeaderMap) -> Self {
        let token = matches!(access, Access::User(_))
            .then(|| token(headers).unwrap_or_default().to_owned());
        Self {
            site: site.clone(),
            token,
        }
    }

    /// Whether they still have a session. In memory; never blocks.
    pub(crate) fn may_stay(&self) -> bool {
        self.token
            .as_ref()
            .is_none_or(|token| self.site.sessions.user(token).is_some())
    }
}
