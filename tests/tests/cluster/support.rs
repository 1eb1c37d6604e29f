//! What the themes share: an installation, tenants, cameras that call it, and the bucket that they record to.
//!
//! - [`Moorline`]: the charts, installed by helm; the first test of a run does it, the others find it. [`Helm`]: the program itself;
//! - [`Tenant`]: one test's own, with a namespace; when the test fails it shows what an operator would see;
//! - [`kubectl_as`]: an account of the installation, as if it had been taken over;
//! - [`Camera`], [`Call`]: a simulated source behind the real `dbclient`;
//! - `Moorline::front_door`, [`Person`], [`ffmpeg`]: people who watch, and what they watch with;
//! - [`Bucket`], [`Archive`]: what was recorded, down to the stamps of its pictures.

mod account;
mod archive;
mod bucket;
mod camera;
mod door;
mod helm;
mod inside;
mod moorline;
mod nodes;
mod own_bucket;
mod tenant;

#[path = "../e2e/faults_http.rs"]
#[expect(dead_code, reason = "the end-to-end tests ask for more")]
mod http;
#[path = "../e2e/support/player.rs"]
#[expect(dead_code, reason = "the end-to-end tests ask for more")]
mod player;
#[path = "../e2e/support/stamps.rs"]
mod stamps;

use moorline_testkit::cluster::SOON;
use serde_json::Value;

pub(crate) use account::{kubectl_as, refused};
pub(crate) use archive::{Archive, longest_silence};
pub(crate) use bucket::Bucket;
pub(crate) use camera::{Call, Camera};
pub(crate) use door::{Login, people, people_as, people_at, plays};
pub(crate) use helm::Helm;
pub(crate) use http::Person;
pub(crate) use inside::{Inside, Way};
pub(crate) use moorline::{
    GRACE, Moorline, Replica, SYSTEM, established, lab_values, store_key_of,
};
pub(crate) use player::ffmpeg;
pub(crate) use stamps::{assert_in_order, exported};
pub(crate) use tenant::{Pod, Tenant};

/// Microseconds since the epoch, as in the stamps of pictures.
pub(crate) fn now_us() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(since.unwrap().as_micros()).unwrap()
}

/// Lays settings over others: objects field by field, all else whole.
pub(crate) fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}
