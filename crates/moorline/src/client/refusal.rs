//! What a server refuses, as a person reads it.

use anyhow::bail;
use axum::body::Body;
use http_body_util::{BodyExt as _, Limited};
use hyper::{Response, StatusCode};
use moorline_base::error::Hinted;
use moorline_web::api::{Problem, RowProblem};

use super::paths::plain;

/// Of a camera its name alone.
#[derive(serde::Deserialize)]
pub(super) struct Named {
    pub(super) id: String,
}

pub(super) fn is_unknown(problem: &Problem, what: &str) -> bool {
    problem.kind == "unknown" && problem.title.ends_with(&format!(" {what}"))
}

/// Rows of a list that a server refused, for whoever knows where each came from.
#[derive(Debug, thiserror::Error)]
#[error("{title}")]
pub struct WrongRows {
    title: String,
    /// The rows, in their order.
    pub rows: Vec<RowProblem>,
}

/// A refusal as a person reads it: what is not there has the name under which it was asked for, which the server does not repeat.
pub(super) fn told(problem: Problem, path: &str, cameras: &[Named]) -> anyhow::Error {
    if !problem.rows.is_empty() {
        let Problem { title, rows, .. } = problem;
        return WrongRows { title, rows }.into();
    }
    let after = |kind: &str| {
        let mut parts = path.split(['/', '?']).skip_while(|part| *part != kind);
        parts.nth(1).map(plain)
    };
    let named = [
        ("camera", "cameras"),
        ("user", "users"),
        ("recording", "segments"),
    ];
    let found = named.iter().find(|(what, _)| is_unknown(&problem, what));
    let (title, hint) = match found.and_then(|(what, kind)| Some((*what, after(kind)?))) {
        Some(("camera", name)) => (
            format!("there is no camera {name:?}"),
            Some(like(&name, cameras)),
        ),
        Some((what, name)) => {
            let hint = if what == "user" {
                "moorline user list shows all"
            } else {
                "moorline segments list CAMERA --output json shows the keys"
            };
            (
                format!("there is no {what} {name:?}"),
                Some(hint.to_owned()),
            )
        }
        None => match (problem.kind.as_str(), after("cameras"), after("keys")) {
            ("unknown_key", Some(camera), Some(key)) => (
                format!("camera {camera} has no key {key}"),
                Some(format!("moorline camera show {camera} lists its keys")),
            ),
            _ => (problem.title, None),
        },
    };
    match problem.hint.or(hint) {
        Some(hint) => Hinted::new(title, hint).into(),
        None => anyhow::anyhow!(title),
    }
}

/// The camera that was perhaps meant.
fn like(name: &str, cameras: &[Named]) -> String {
    let names = cameras.iter().filter_map(|camera| camera.id.parse().ok());
    let names = names.map(|id: moorline_core::CameraId| id.typed());
    match moorline_base::config::nearest(name, names) {
        Some(best) => format!("did you mean {best}?"),
        None => "moorline camera list shows all".to_owned(),
    }
}

pub(super) async fn problem(response: Response<Body>) -> anyhow::Result<Problem> {
    let status = response.status();
    let body = Limited::new(response.into_body(), 1 << 20).collect().await;
    let bytes = body
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    match serde_json::from_slice::<Problem>(&bytes) {
        Ok(problem) => Ok(problem),
        Err(_) if status == StatusCode::NOT_FOUND => {
            bail!("the server does not know this request")
        }
        Err(_) => bail!("the server answered {status}"),
    }
}
