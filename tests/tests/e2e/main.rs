//! The whole system, with real peers at both ends. One theme, one file; all in one program, which is linked once.
//!
//! The binary under test is `moorline_tests::moorline()`; peers, faults and the browser come from `moorline_testkit`.
#![allow(
    clippy::disallowed_methods,
    reason = "tests may bind, write and look at the real clock"
)]

mod agent_release;
mod alarm;
mod allow_from;
mod backup;
mod black_hole;
mod browser;
mod certificate;
mod codecs;
mod command_line;
mod commands;
mod demo;
#[cfg(feature = "emu")]
mod emulated;
mod enrol;
mod enrol_many;
mod every_fault;
mod faults_camera;
mod faults_config;
mod faults_device;
mod faults_files;
mod faults_http;
mod faults_keys;
mod faults_ports;
mod faults_rig;
mod faults_store;
mod faults_viewer;
mod faults_web;
mod first_camera;
mod garage;
mod gateway;
mod heartbeat;
mod host_key;
mod import;
mod json;
mod kill_nine;
mod known_paths;
mod lan_camera;
mod losses;
mod many_readers;
mod other_cameras;
mod players;
mod reach_in;
mod refer;
mod refused_requests;
mod reload;
mod restart;
mod retention;
mod secret_files;
mod shared_camera;
mod starting;
mod steady_players;
mod store_authority;
mod strangers;
mod support;
mod takeover;
mod tiers;
mod told;
mod unread_log;
mod uplink;
