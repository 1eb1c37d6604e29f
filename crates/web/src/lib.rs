//! HTTP API, pages and live view in a browser.
//!
//! Owns: routes, their access rules (S13, S14, S15), the page's files. Does not own: what the routes show, which arrives as ports, nor the
//! listeners, which are handed in. It has no decoder and no depacketizer: pictures pass through as they are.

pub mod access;
pub mod api;
pub mod bounds;
mod extract;
mod guard;
mod guest;
mod page;
pub mod password;
pub mod problem;
mod receipts;
pub mod route;
mod seats;
pub mod serve;
pub mod site;
mod visits;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;

pub use site::{Operations, Place, Site};

/// Largest request body: a camera record with 16 keys is far smaller.
const LARGEST_BODY: usize = 64 << 10;

/// Everything that this package serves.
pub fn router(site: Site) -> Router {
    let house = seats::House::new(site.operations.shared());
    let api = route::router()
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(axum::Extension(house));
    Router::new()
        .nest("/api/v1", api)
        .merge(page::router())
        .fallback(page::missing)
        .layer(middleware::from_fn_with_state(site.clone(), guard::guard))
        .with_state(site)
}
