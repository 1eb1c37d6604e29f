//! One release on its way to one agent, within one session. Pure: what the agent told comes in, the next line comes out.
//!
//! Parts go at most [`AHEAD`] ahead of the offset that the agent told last, so that whatever queues between here and a slow camera stays small.

use std::sync::Arc;

use moorline_control::{Data, Model, Offer, ServerLine, Version};
use moorline_core::port::AgentRelease;

/// So many parts ahead of `STATUS upgrade=<offset>`. 32 are allowed (docs/reference: moorline-1); the channel's queue has room for 16 lines, and
/// PING must always have its place there: a camera that hears none for 45 s calls again.
const AHEAD: u64 = 12 * Data::MAX as u64;

/// The transfer.
#[derive(Debug)]
pub(crate) struct Transfer {
    release: Arc<AgentRelease>,
    /// What the agent told last; it has told nothing yet.
    told: Option<u64>,
    sent: u64,
}

/// The line that offers a release.
///
/// # Errors
/// The field that does not fit into it.
pub(crate) fn offer_of(release: &AgentRelease) -> Result<Offer, &'static str> {
    Ok(Offer {
        target: Model::new(&release.target).ok_or("UPGRADE.target")?,
        version: Version::new(&release.version).ok_or("UPGRADE.version")?,
        bytes: u32::try_from(release.file.len())
            .ok()
            .filter(|bytes| (1..=999_999_999).contains(bytes))
            .ok_or("UPGRADE.bytes")?,
        sha512: release.sha512,
        signature: release.signature,
    })
}

impl Transfer {
    /// Nothing is sent before the agent has told an offset.
    pub(crate) fn new(release: Arc<AgentRelease>) -> Self {
        Self {
            release,
            told: None,
            sent: 0,
        }
    }

    /// Whether it is that release.
    pub(crate) fn is_of(&self, release: &AgentRelease) -> bool {
        *self.release == *release
    }

    /// The agent told where it goes on.
    pub(crate) fn told(&mut self, offset: u64) {
        // Back, or the same twice: what was sent beyond it did not arrive.
        if self.told.is_none_or(|before| offset <= before) || offset > self.sent {
            self.sent = offset;
        }
        self.told = Some(offset);
    }

    /// The next part that may go.
    pub(crate) fn next(&self) -> Option<ServerLine> {
        let told = self.told?;
        if self.sent >= told.saturating_add(AHEAD) {
            return None;
        }
        let from = usize::try_from(self.sent).ok()?;
        let rest = self.release.file.get(from..)?;
        let piece = rest.get(..rest.len().min(Data::MAX))?;
        Some(ServerLine::Part {
            offset: u32::try_from(from).ok()?,
            data: Data::new(piece.to_vec())?,
        })
    }

    /// The part that [`Transfer::next`] gave is on its way.
    pub(crate) fn sent(&mut self) {
        let whole = self.release.file.len() as u64;
        self.sent = (self.sent + Data::MAX as u64).min(whole);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn release(bytes: usize) -> Arc<AgentRelease> {
        let file: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
        Arc::new(AgentRelease {
            target: "mipsel".into(),
            version: "0.2.0".into(),
            sha512: [1; 64],
            signature: [2; 64],
            file: file.into(),
        })
    }

    /// Sends what may go; gives how many parts went.
    fn send(transfer: &mut Transfer, got: &mut Vec<u8>) -> usize {
        let mut parts = 0;
        while let Some(ServerLine::Part { offset, data }) = transfer.next() {
            transfer.sent();
            parts += 1;
            if offset as usize == got.len() {
                got.extend_from_slice(data.bytes());
            }
        }
        parts
    }

    #[test]
    fn twelve_parts_go_ahead_of_what_the_agent_told() {
        let release = release(264_504);
        let (mut transfer, mut got) = (Transfer::new(Arc::clone(&release)), Vec::new());
        assert_eq!(
            send(&mut transfer, &mut got),
            0,
            "nothing before it has told"
        );
        transfer.told(0);
        assert_eq!(send(&mut transfer, &mut got), 12);
        transfer.told(8 * 756);
        assert_eq!(send(&mut transfer, &mut got), 8);
        while got.len() < release.file.len() {
            transfer.told(got.len() as u64);
            assert!(send(&mut transfer, &mut got) > 0);
        }
        assert_eq!(got[..], release.file[..]);
        transfer.told(got.len() as u64);
        assert_eq!(transfer.next(), None);
    }

    #[test]
    fn what_did_not_arrive_is_sent_again() {
        let (mut transfer, mut got) = (Transfer::new(release(100_000)), Vec::new());
        transfer.told(0);
        send(&mut transfer, &mut got);
        transfer.told(756);
        transfer.told(756);
        let again = transfer.next();
        assert!(
            matches!(again, Some(ServerLine::Part { offset: 756, .. })),
            "{again:?}"
        );
    }

    proptest! {
        /// A stolen camera may tell any offset.
        #[test]
        fn whatever_an_agent_tells_no_more_than_the_window_goes(offsets in prop::collection::vec(any::<u64>(), 0..20)) {
            let mut transfer = Transfer::new(release(50_000));
            for offset in offsets.into_iter().flat_map(|offset| [offset, offset % 60_000]) {
                transfer.told(offset);
                prop_assert!(send(&mut transfer, &mut Vec::new()) <= 13);
            }
        }
    }
}
