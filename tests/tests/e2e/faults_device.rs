//! Simulated cameras of the tests of faults, and the pictures that are found of them.

use moorline_simcam::{
    Source, SourceConfig, Tunnel, TunnelState,
    video::{Shape, Stamp},
};
use moorline_testkit::patience;

use crate::faults_rig::SOON;

/// A simulated camera. It ends when it is dropped.
pub(crate) struct Device {
    /// Its SSH client.
    pub(crate) tunnel: Tunnel,
    /// What it films, and what is wrong with it.
    pub(crate) source: Source,
}

impl Device {
    /// Waits until its last call was refused for a reason that contains `part`.
    pub(crate) async fn refused(&self, part: &str) {
        let mut state = self.tunnel.state();
        let refused = state.wait_for(
            |state| matches!(state, TunnelState::Waiting { reason } if reason.contains(part)),
        );
        let waited = tokio::time::timeout(patience(SOON), refused).await;
        waited.expect("no refusal in time").unwrap();
    }

    /// Waits until its tunnel is up.
    pub(crate) async fn up(&self) {
        let up = tokio::time::timeout(patience(SOON), self.tunnel.up()).await;
        assert!(up.expect("not up in time").is_some());
    }
}

/// A small film with one key frame a second at `/main`, whose parameters can change.
pub(crate) fn small(number: u32) -> SourceConfig {
    SourceConfig::generated(
        number,
        Shape {
            width: 320,
            height: 176,
            fps: 10,
            bitrate: 300_000,
            gop: 10,
            ..Shape::default()
        },
    )
}

/// The stamps in a stream or file, in their order.
pub(crate) fn stamps(bytes: &[u8]) -> Vec<Stamp> {
    let mut mark = vec![6, 5, 36];
    mark.extend(moorline_simcam::video::STAMP_UUID);
    let found = bytes
        .windows(mark.len())
        .enumerate()
        .filter(|(_, window)| *window == mark.as_slice());
    found
        .filter_map(|(at, _)| Stamp::from_nal(bytes.get(at..)?))
        .collect()
}

/// The numbers between first and last that are not there.
pub(crate) fn missing(frames: &[u64]) -> Vec<u64> {
    let (Some(first), Some(last)) = (frames.iter().min(), frames.iter().max()) else {
        return Vec::new();
    };
    let there: std::collections::BTreeSet<_> = frames.iter().collect();
    (*first..=*last)
        .filter(|frame| !there.contains(frame))
        .collect()
}
