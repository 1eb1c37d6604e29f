//! A whole site in memory, served over real TLS on a loopback port: working adapters behind every port, and clients to ask it.

pub(crate) mod archive;
pub(crate) mod cameras;
pub(crate) mod client;
pub(crate) mod film;
pub(crate) mod landings;
pub(crate) mod people;
pub(crate) mod relay;
pub(crate) mod scene;
pub(crate) mod server;
