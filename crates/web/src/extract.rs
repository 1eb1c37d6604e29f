//! What a request carries, with a refusal that names the field (promise P11). Handlers take these as `Result`, and look at them after they
//! have checked who asks: a stranger learns nothing about what a route would take.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::problem::Problem;

/// An object with more fields than any of ours is not searched for the wrong one.
const MOST_FIELDS: usize = 32;

/// A JSON body.
#[derive(Debug)]
pub(crate) struct Sent<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Sent<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            let title = "the body has to be JSON, with Content-Type: application/json";
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "not_json",
                title,
            ));
        }
        let bytes = Bytes::from_request(request, state).await;
        parse(&bytes.map_err(|rejection| unread(&rejection))?).map(Self)
    }
}

/// The parameters behind `?`.
#[derive(Debug)]
pub(crate) struct Asked<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match axum::extract::Query::try_from_uri(&parts.uri) {
            Ok(axum::extract::Query(asked)) => Ok(Self(asked)),
            Err(rejection) => Err(wrong_query(&rejection.body_text())),
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    kind.and_then(|kind| kind.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

fn unread(rejection: &BytesRejection) -> Problem {
    let status = rejection.status();
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        Problem::new(status, "too_large", "the body is larger than this takes")
    } else {
        Problem::new(status, "unread", "the body could not be read")
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| {
        let at = format!("line {}, column {}", error.line(), error.column());
        Problem::new(
            StatusCode::BAD_REQUEST,
            "not_json",
            format!("the body is not JSON: {at}"),
        )
    })?;
    if !value.is_object() {
        // Lists would be taken for fields in the order of their declaration.
        let title = "the body has to be a JSON object";
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        return Err(Problem::new(status, "invalid_field", title));
    }
    T::deserialize(&value).map_err(|error| wrong_field::<T>(&value, &error.to_string()))
}

/// Names the field that a deserializer's message is about. Its value is not repeated: it may be a password.
fn wrong_field<T: DeserializeOwned>(value: &Value, message: &str) -> Problem {
    let expected = message.split_once(", expected ").map(|(_, rest)| rest);
    let (field, title) = if let Some(name) = quoted(message, "missing field ") {
        (
            Some(name.to_owned()),
            format!("the field {name} is missing"),
        )
    } else if let Some(name) = quoted(message, "unknown field ") {
        (Some(name.to_owned()), format!("there is no field {name:?}"))
    } else {
        let culprit = value
            .as_object()
            .and_then(|fields| culprit::<T>(fields, message));
        match culprit {
            Some(name) => {
                let title = format!("{name} is not right");
                (Some(name), title)
            }
            None => (None, "the body is not what this takes".to_owned()),
        }
    };
    let mut problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", title);
    if let Some(field) = field {
        problem = problem.field(field.chars().take(80).collect::<String>());
    }
    match expected {
        Some(expected) => problem.hint(format!("expected {expected}")),
        None => problem,
    }
}

/// The field without which the message would be another. One that is merely missed when it is taken away is right, unless no other is
/// found.
fn culprit<T: DeserializeOwned>(fields: &Map<String, Value>, message: &str) -> Option<String> {
    if fields.len() > MOST_FIELDS {
        return None;
    }
    let without = |name: &String| {
        let mut rest = fields.clone();
        rest.remove(name);
        let error = T::deserialize(&Value::Object(rest)).err();
        error.map(|error| error.to_string()).unwrap_or_default()
    };
    let found: Vec<(&String, String)> = fields
        .keys()
        .map(|name| (name, without(name)))
        .filter(|(_, left)| left != message)
        .collect();
    let is_missed =
        |(name, left): &&(&String, String)| quoted(left, "missing field ") == Some(name.as_str());
    let best = found.iter().find(|one| !is_missed(one));
    best.or(found.first()).map(|(name, _)| (*name).clone())
}

fn wrong_query(message: &str) -> Problem {
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    match quoted(message, "missing field ") {
        Some(name) => Problem::new(
            status,
            "invalid_field",
            format!("the parameter {name} is missing"),
        )
        .field(name),
        None => {
            let name = message
                .strip_prefix("Failed to deserialize query string: ")
                .and_then(|rest| rest.split_once(": "))
                .map(|(name, _)| name);
            let problem = Problem::new(status, "invalid_field", "a parameter is not right");
            match name {
                Some(name) => problem.field(name),
                None => problem,
            }
        }
    }
}

/// What stands in backticks after `before`.
fn quoted<'a>(message: &'a str, before: &str) -> Option<&'a str> {
    let (_, rest) = message.split_once(before)?;
    rest.strip_prefix('`')?
        .split_once('`')
        .map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use crate::api::{CameraAdd, SignIn};

    use super::*;

    fn refused<T: DeserializeOwned>(body: &str) -> String {
        let Err(problem) = parse::<T>(body.as_bytes()) else {
            panic!("{body} was taken");
        };
        format!("{problem:?}")
    }

    #[test]
    fn the_field_is_named_and_its_value_is_not_repeated() {
        let missing = refused::<SignIn>(r#"{"login": "anna"}"#);
        assert!(missing.contains(r#"field: Some("password")"#), "{missing}");
        let wrong = refused::<SignIn>(r#"{"login": "anna", "password": 987654321}"#);
        assert!(wrong.contains(r#"field: Some("password")"#), "{wrong}");
        assert!(!wrong.contains("987654321"), "{wrong}");
        let unknown = refused::<SignIn>(r#"{"login": "a", "password": "b", "pasword": "c"}"#);
        assert!(unknown.contains(r#"field: Some("pasword")"#), "{unknown}");
    }

    #[test]
    fn a_field_among_flattened_ones_is_found() {
        let wrong = refused::<CameraAdd>(r#"{"name": "yard", "record": "everything"}"#);
        assert!(wrong.contains(r#"field: Some("record")"#), "{wrong}");
        assert!(
            wrong.contains("`main`"),
            "it says what would be right: {wrong}"
        );
        let wrong = refused::<CameraAdd>(r#"{"name": "yard", "keep_days": "14"}"#);
        assert!(wrong.contains(r#"field: Some("keep_days")"#), "{wrong}");
    }

    #[test]
    fn what_is_no_json_is_told_with_its_place() {
        let garbage = refused::<SignIn>("{\n  login");
        assert!(garbage.contains("line 2"), "{garbage}");
        assert!(refused::<SignIn>("[]").contains("invalid_field"));
    }
}
