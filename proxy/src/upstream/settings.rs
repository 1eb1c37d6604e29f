//! What a camera's record says about the way to its stream.

use moorline_core::Camera;
use moorline_core::camera::Access;

/// Host and port as they stand in request lines: the camera's own view.
pub(super) fn authority(camera: &Camera) -> String {
    match &camera.access {
        // Behind a tunnel nobody but the camera knows its port, and no streamer is known that checks it.
        Access::Tunnel { .. } => "127.0.0.1:554".to_owned(),
        Access::Lan { host, port } if host.contains(':') && !host.starts_with('[') => {
            format!("[{host}]:{port}")
        }
        Access::Lan { host, port } => format!("{host}:{port}"),
    }
}
