//! Bytes of a camera that go into a queue, and what closes when nobody reads them (rule S10).

use russh::server::Session as Ssh;
use russh::{ChannelId, Error};

use super::CameraHandler;
use crate::queue::Bound;
use crate::session::Session;

impl CameraHandler {
    /// Bytes for a channel of ours. Over a bound the fullest channel under it closes (S10); that may be this one.
    pub(super) fn queue(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        ssh: &mut Ssh,
    ) -> Result<(), Error> {
        let Some(queue) = self.session.queue(channel) else {
            return Ok(());
        };
        let Err(mut bound) = queue.push(data) else {
            return Ok(());
        };
        // Each turn empties the fullest channel under the bound, and another bound may be next: few turns are ever needed.
        for _ in 0..3 {
            self.inner.metrics.overflowed(bound);
            let victim = match bound {
                Bound::Channel => None,
                bound => self.inner.registry.fullest(bound, &self.session),
            };
            match victim.and_then(|session| session.fullest().map(|(_, id)| (session, id))) {
                Some((session, fullest)) if session.id != self.session.id || fullest != channel => {
                    self.log_overflow(&session, bound);
                    if let Some(queue) = session.queue(fullest) {
                        queue.cut();
                    }
                    session.close_channel(fullest);
                }
                _ => break,
            }
            match queue.push(data) {
                Ok(()) => return Ok(()),
                Err(next) => bound = next,
            }
        }
        self.log_overflow(&self.session, bound);
        queue.cut();
        ssh.close(channel)
    }

    fn log_overflow(&self, session: &Session, bound: Bound) {
        let camera = session.proved().map(|proved| proved.camera.id.to_string());
        tracing::warn!(
            session = %session.id,
            camera = camera.unwrap_or_default(),
            bound = bound.as_str(),
            "channel closed: nobody reads it"
        );
    }
}
