//! The monitor's channel inside a session: whatever command was named, this is what it gets, and nothing is run.

use russh::server::Session as Ssh;
use russh::{ChannelId, Error};
use tokio::sync::mpsc;

use super::CameraHandler;
use crate::control::{self, Lines};
use crate::metrics::RequestRefused;

impl CameraHandler {
    /// Shell or exec: the monitor's channel, once per session.
    pub(super) fn open_lines(&mut self, channel: ChannelId, ssh: &mut Ssh) -> Result<(), Error> {
        if self.enrolling.is_some() {
            return self.open_enrolment(channel, ssh);
        }
        let writer = match self.peers.get_mut(&channel) {
            Some(writer) if self.lines.is_none() => writer.take(),
            _ => None,
        };
        let (Some(writer), Some(proved)) = (writer, self.session.proved()) else {
            return self.refuse_on(RequestRefused::SecondCommand, channel, ssh);
        };
        ssh.channel_success(channel)?;
        let (sender, lines) = mpsc::channel(control::LINES);
        let ended = self.session.kill.clone();
        self.inner
            .tracker
            .spawn(control::write_lines(writer, lines, ended));
        self.lines = Some((channel, Lines::default()));
        self.session.open_lines(sender);
        self.monitor
            .lines
            .opened(self.session.id, &proved.camera.id);
        Ok(())
    }

    pub(super) fn take_lines(&mut self, data: &[u8]) {
        let Some((_, lines)) = &mut self.lines else {
            return;
        };
        let mut refused = 0;
        let too_long = lines.push(data, |line| {
            refused += u64::from(!self.monitor.lines.line(self.session.id, line));
        });
        if too_long > 0 {
            self.inner.metrics.lines_dropped("too_long", too_long);
        }
        if refused > 0 {
            self.inner.metrics.lines_dropped("monitor_busy", refused);
        }
    }
}
