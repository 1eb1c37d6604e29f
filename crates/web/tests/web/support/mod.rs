//! A whole site in memory, served over real TLS on a loopback port: working adapters behind every port, and clients to ask it.

pub mod archive;
pub mod cameras;
pub mod client;
pub mod film;
pub mod people;
pub mod relay;
pub mod scene;
pub mod server;
