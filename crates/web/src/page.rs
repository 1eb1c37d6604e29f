//! The page: plain HTML, CSS and JavaScript that are part of the binary. No build step, nothing from elsewhere.

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::problem::Problem;
use crate::site::Site;

/// Path, type and content of each file.
const FILES: &[(&str, &str, &str)] = &[
    (
        "/",
        "text/html; charset=utf-8",
        include_str!("../page/index.html"),
    ),
    (
        "/page.css",
        "text/css; charset=utf-8",
        include_str!("../page/page.css"),
    ),
    (
        "/page.js",
        "text/javascript; charset=utf-8",
        include_str!("../page/page.js"),
    ),
];

/// Routes of the page's files.
pub(crate) fn router() -> Router<Site> {
    FILES
        .iter()
        .fold(Router::new(), |router, (path, kind, content)| {
            router.route(
                path,
                get(move || async move { ([(header::CONTENT_TYPE, *kind)], *content) }),
            )
        })
}

/// What is not there.
pub(crate) async fn missing() -> Response {
    Problem::new(StatusCode::NOT_FOUND, "unknown", "there is no such page").into_response()
}
