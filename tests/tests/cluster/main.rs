//! The whole system on Kubernetes: `cargo xtask test --cluster`. One theme, one file.
//!
//! Every test begins with [`cluster`]. It runs alone, inside the lab, on nodes that are whole; what it makes lies in namespaces of its
//! own. What touches nodes or the control plane asks for the lab (`or_skip(cluster.lab())`, `Moorline::installed()`), so that it is skipped on somebody's own
//! cluster; what does not takes `Moorline::anywhere()`.
#![allow(
    clippy::disallowed_methods,
    reason = "tests may bind, write and look at the real clock"
)]
#![expect(
    clippy::print_stdout,
    reason = "what a failed test tells of the cluster, and what is measured"
)]

mod accounts;
mod agent_release;
mod api_away;
mod attacks;
mod benched;
mod chart;
mod checked;
mod connect;
mod definitions;
mod drained;
mod enrol;
mod erase;
mod erasing;
mod failures;
mod front_door;
mod image;
mod keys;
mod lab;
mod lost;
mod measured;
mod node_loss;
mod outages;
mod parts;
mod people;
mod policies;
mod refused;
mod replicas;
mod restricted;
mod rollback;
mod rollout;
mod rotated;
mod runtime;
mod scale;
mod source;
mod store_authority;
mod support;
mod tenants;
mod verbs;
mod workloads;
mod writes;
mod written;

#[path = "../rules/placed.rs"]
mod placed;
#[path = "../rules/powers.rs"]
mod powers;

use moorline_testkit::{cluster::Cluster, or_skip};

/// The cluster of this run, or `None` where there is none and the test is skipped.
async fn cluster() -> Option<Cluster> {
    or_skip(Cluster::find().await)
}
