//! Errors as `application/problem+json`: what is wrong, which field, what to do; never an internal detail.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use moorline_base::Untrusted;
use moorline_core::port::{
    CameraAdminError, PortError, RecordingsError, RelayError, StoreError, UsersError,
};

use crate::api;

/// An answer that refuses.
#[derive(Debug, Clone)]
pub struct Problem(Box<api::Problem>);

impl Problem {
    /// A problem of this kind.
    pub fn new(status: StatusCode, kind: &str, title: impl Into<String>) -> Self {
        Self(Box::new(api::Problem {
            kind: kind.to_owned(),
            title: title.into(),
            status: status.as_u16(),
            field: None,
            hint: None,
            request: None,
            rows: Vec::new(),
        }))
    }

    /// What is wrong, in words.
    pub fn title(&self) -> &str {
        &self.0.title
    }

    /// With what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// With the field that is wrong.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.0.field = Some(field.into());
        self
    }

    /// Some rows of a list are wrong, and so nothing of it was done.
    pub(crate) fn rows(rows: Vec<(usize, Problem)>) -> Self {
        let title = match rows.len() {
            1 => "one camera cannot be added, and so none was".to_owned(),
            wrong => format!("{wrong} cameras cannot be added, and so none was"),
        };
        let mut problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_rows", title);
        let row = |(row, Problem(wrong)): (usize, Problem)| api::RowProblem {
            row,
            title: wrong.title,
            field: wrong.field,
            hint: wrong.hint,
        };
        problem.0.rows = rows.into_iter().map(row).collect();
        problem
    }

    /// Nothing there, or not yours: the same answer.
    pub fn unknown(what: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "unknown",
            format!("there is no such {what}"),
        )
    }

    /// A field of the request is wrong.
    pub fn invalid(field: &str, value: &str, expected: impl Into<String>) -> Self {
        let value: String = value.chars().take(80).collect();
        let title = format!(
            "{field} = {:?} is not right",
            Untrusted::new(value).to_string()
        );
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", title)
            .field(field)
            .hint(expected)
    }

    /// Something failed that the reader cannot mend: the detail is in the log under the request's id.
    pub fn internal(error: &dyn std::fmt::Display) -> Self {
        let request = format!("{:016x}", rand::random::<u64>());
        tracing::error!(%request, %error, "request failed");
        let title = "the server could not do that; its log says why under the request's id";
        let mut problem = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", title);
        problem.0.request = Some(request);
        problem
    }
}

/// What a route answers to a method that it does not have.
pub(crate) async fn method_not_allowed() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method",
        "this cannot be done here",
    )
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(&*self.0)).into_response();
        let problem = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, problem);
        response
    }
}

impl From<PortError> for Problem {
    fn from(error: PortError) -> Self {
        Self::internal(&error)
    }
}

impl From<CameraAdminError> for Problem {
    fn from(error: CameraAdminError) -> Self {
        let title = error.to_string();
        match error {
            CameraAdminError::Unknown(_) => Self::unknown("camera"),
            CameraAdminError::UnknownKey { .. } => {
                Self::new(StatusCode::NOT_FOUND, "unknown_key", title)
            }
            CameraAdminError::Exists(_) => Self::new(StatusCode::CONFLICT, "exists", title)
                .field("name")
                .hint("choose another name, or change that camera"),
            CameraAdminError::Changed(_) => Self::new(StatusCode::CONFLICT, "changed", title)
                .hint("look at it again, and change it then"),
            CameraAdminError::KeyTaken { .. } => {
                Self::new(StatusCode::CONFLICT, "key_taken", title)
                    .field("key")
                    .hint("every camera has a key of its own: make a new one")
            }
            CameraAdminError::Invalid {
                field,
                value,
                expected,
            } => Self::invalid(field, &value, expected),
            CameraAdminError::Refused(_) => Self::new(StatusCode::FORBIDDEN, "refused", title)
                .hint("the cluster's operator allows it, or choose what is allowed"),
            CameraAdminError::Unavailable(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", title)
                    .hint("it may have been done: look, and try again")
            }
            CameraAdminError::Port(error) => error.into(),
        }
    }
}

impl From<UsersError> for Problem {
    fn from(error: UsersError) -> Self {
        let title = error.to_string();
        match error {
            UsersError::Wrong => Self::new(StatusCode::UNAUTHORIZED, "wrong_login", title),
            UsersError::Busy => Self::new(StatusCode::TOO_MANY_REQUESTS, "busy", title),
            UsersError::Exists(_) => {
                Self::new(StatusCode::CONFLICT, "exists", title).field("login")
            }
            UsersError::Unknown(_) => Self::unknown("user"),
            UsersError::LastAdmin(_) => Self::new(StatusCode::CONFLICT, "last_admin", title),
            UsersError::Password(_) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "password", title).field("password")
            }
            UsersError::Port(error) => {
                tracing::warn!(%error, "users could not be read or changed");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "people_unavailable",
                    "users cannot be changed at this moment, since their database does not take it",
                )
                .hint("it may have been done: look at the users, and try again in a minute")
            }
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Missing(_) => Self::unknown("recording"),
            StoreError::Unavailable(_) => {
                tracing::warn!(%error, "store unavailable");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "store_unavailable",
                    "the store does not answer; try again",
                )
            }
            StoreError::Refused(_) => {
                tracing::error!(%error, "store refused");
                Self::new(
                    StatusCode::BAD_GATEWAY,
                    "store_refused",
                    "the store refused: its key, bucket or policy is wrong",
                )
                .hint("moorline doctor tells what the store said")
            }
            _ => Self::internal(&error),
        }
    }
}

impl From<RecordingsError> for Problem {
    fn from(error: RecordingsError) -> Self {
        let title = error.to_string();
        match error {
            RecordingsError::Nothing => Self::new(StatusCode::NOT_FOUND, "nothing_recorded", title)
                .hint("moorline segments list shows what is recorded"),
            RecordingsError::FormatChange { .. } => Self::new(
                StatusCode::CONFLICT,
                "format_change",
                title,
            )
            .hint(
                "export each piece by itself, or one stream alone: --source main or --source sub (tier=full or tier=low)",
            ),
            RecordingsError::Damaged { .. } => Self::new(StatusCode::BAD_GATEWAY, "damaged", title)
                .hint("moorline segments verify tells what else is damaged"),
            RecordingsError::Store(error) => error.into(),
            RecordingsError::Port(error) => error.into(),
        }
    }
}

impl From<RelayError> for Problem {
    fn from(error: RelayError) -> Self {
        let title = error.to_string();
        match error {
            RelayError::Unknown => Self::unknown("camera"),
            RelayError::Away => Self::new(StatusCode::SERVICE_UNAVAILABLE, "away", title),
            RelayError::TooMany => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_readers", title)
            }
            RelayError::NotPlayable(_) => {
                Self::new(StatusCode::NOT_ACCEPTABLE, "not_playable", title)
                    .hint("use a player such as VLC or ffplay with the stream's address")
            }
            RelayError::Ended | RelayError::Stalled => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "ended", title)
            }
        }
    }
}
