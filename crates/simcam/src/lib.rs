//! A simulated camera: RTSP source, SSH client, faults.

pub mod video;
