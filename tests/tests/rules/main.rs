//! Rules of the repository, as tests: a newcomer needs no further tool to keep them.
//!
//! Each failure names the file and what to do. A rule that is in the way of something better is changed like any other code.
#![allow(
    clippy::disallowed_methods,
    reason = "tests may read files and the environment"
)]

mod anywhere;
mod deny;
mod direction;
mod files;
mod guide;
mod leave;
mod links;
mod manifests;
mod placed;
mod powers;
mod promises;
mod rbac;
mod reach;
mod rendered;
mod sources;
mod values;
