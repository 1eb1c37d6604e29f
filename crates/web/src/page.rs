//! The page: plain HTML, CSS and JavaScript that are part of the binary. No build step, nothing from elsewhere.

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::problem::Problem;
use crate::site::Site;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Names a file of the page by its path.
macro_rules! file {
    ($name:literal, $kind:expr) => {
        (
            concat!("/page/", $name),
            $kind,
            include_str!(concat!("../page/", $name)),
        )
    };
}

/// Path, type and content of each file.
const FILES: &[(&str, &str, &str)] = &[
    ("/", HTML, include_str!("../page/index.html")),
    file!("page.css", CSS),
    file!("main.js", SCRIPT),
    file!("api.js", SCRIPT),
    file!("dom.js", SCRIPT),
    file!("format.js", SCRIPT),
    file!("words.js", SCRIPT),
    file!("repeat.js", SCRIPT),
    file!("boxes.js", SCRIPT),
    file!("sink.js", SCRIPT),
    file!("socket.js", SCRIPT),
    file!("live.js", SCRIPT),
    file!("replay.js", SCRIPT),
    file!("poster.js", SCRIPT),
    file!("facts.js", SCRIPT),
    file!("address.js", SCRIPT),
    file!("signin.js", SCRIPT),
    file!("cameras.js", SCRIPT),
    file!("camera.js", SCRIPT),
    file!("clip.js", SCRIPT),
    file!("claim.js", SCRIPT),
    file!("stage.js", SCRIPT),
    file!("timeline.js", SCRIPT),
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
