//! What russh asks of us about one session.
//!
//! Owns: the decisions on every request of a peer. Cameras may prove a key, open session channels, ask for remote forwards and for a shell or
//! a command (which gives them the monitor's channel, whatever they named); everything else is refused and counted.
//!
//! No callback awaits anything (P7): each decides from memory, answers, and leaves the rest to a task. Each one runs inside the session's
//! loop, where waiting would freeze the session.
//!
//! How it ends: dropped with russh's task, however that ended; the drop tells the monitor, at the latest (exactly once).

use std::collections::HashMap;
use std::sync::Arc;

use moorline_core::port::{TunnelEnd, TunnelUp};
use russh::server::{
    Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session as Ssh, VerifiedPublicKey,
};
use russh::{
    Channel, ChannelId, ChannelOpenFailure, ChannelWriteHalf, Disconnect, Error, Pty, Sig,
};

mod enrolment;
mod lines;
mod login;
mod overflow;

use self::enrolment::Enrolling;
use crate::closed::Closed;
use crate::control::Lines;
use crate::metrics::RequestRefused;
use crate::server::{Inner, Monitor};
use crate::session::{Proved, Session, Stage};

/// Said to everybody, because russh asks for it before it knows user and key: who is refused learns where to look, and nothing else (S1).
const BANNER: &str =
    "Moorline. If you get no further, key or name is not accepted: see `camera pending`.\r\n";

/// The handler of one session.
pub(crate) struct CameraHandler {
    inner: Arc<Inner>,
    monitor: Monitor,
    session: Arc<Session>,
    /// Channels that the peer opened. The writer waits there for a shell or exec.
    peers: HashMap<ChannelId, Option<ChannelWriteHalf<Msg>>>,
    /// The monitor's channel.
    lines: Option<(ChannelId, Lines)>,
    /// A stranger that proved its key as user `enroll`.
    enrolling: Option<Enrolling>,
}

impl CameraHandler {
    pub(crate) fn new(inner: Arc<Inner>, monitor: Monitor, session: Arc<Session>) -> Self {
        CameraHandler {
            inner,
            monitor,
            session,
            peers: HashMap::new(),
            lines: None,
            enrolling: None,
        }
    }

    fn refuse(&self, request: RequestRefused) {
        self.inner.metrics.request_refused(request);
        let request = request.as_str();
        tracing::debug!(session = %self.session.id, request, "refused");
    }

    fn refuse_on(
        &self,
        request: RequestRefused,
        channel: ChannelId,
        ssh: &mut Ssh,
    ) -> Result<(), Error> {
        self.refuse(request);
        ssh.channel_failure(channel)
    }

    /// The peer said that it ends on purpose (design: decision 16).
    fn hang_up(&mut self, ssh: &mut Ssh) -> Result<(), Error> {
        self.over(TunnelEnd::HungUp);
        self.session.end_politely(Closed::HungUp);
        ssh.disconnect(Disconnect::ByApplication, "hung up", "")
    }

    /// The session is over: its landing is empty, its streams are cut, the monitor knows. Once.
    fn over(&mut self, end: TunnelEnd) {
        let Some(stage) = self.session.over() else {
            return;
        };
        if let Some(proved) = self.session.proved() {
            self.inner.seats.leave(&proved.camera.id, self.session.id);
        }
        if self.lines.take().is_some() {
            self.monitor.lines.closed(self.session.id);
        }
        if matches!(stage, Stage::Waiting | Stage::Serving(_)) {
            self.inner.metrics.tunnels.dec();
            self.monitor.events.ended(self.session.id, end);
        }
    }
}

impl Drop for CameraHandler {
    fn drop(&mut self) {
        self.over(TunnelEnd::Lost);
        self.inner.gone(&self.session);
    }
}

impl Handler for CameraHandler {
    type Error = Error;

    async fn authentication_banner(&mut self) -> Result<Option<String>, Error> {
        Ok(Some(BANNER.to_owned()))
    }

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Error> {
        // Without this, russh verifies the signature of any stranger.
        let accepted =
            self.enrols(user, offer.public_key).is_some() || self.may_sign(user, offer.public_key);
        Ok(if accepted {
            Auth::Accept
        } else {
            Auth::reject()
        })
    }

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Error> {
        if let Some(enrolling) = self.enrols(user, key.public_key) {
            self.enrolling = Some(enrolling);
            return Ok(Auth::Accept);
        }
        // Again: the directory may have changed since the offer.
        let Some((camera, key)) = self.login(user, key.public_key) else {
            return Ok(Auth::reject());
        };
        let sums = self.inner.registry.sums(camera.id.tenant());
        self.session.prove(Proved { camera, key, sums });
        Ok(Auth::Accept)
    }

    async fn auth_succeeded(&mut self, ssh: &mut Ssh) -> Result<(), Error> {
        self.session.set_handle(ssh.handle());
        self.inner.logged_in(&self.session);
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Ssh,
    ) -> Result<(), Error> {
        let most = match self.enrolling {
            Some(_) => 1,
            None => self.inner.config.channels,
        };
        if !self.session.take_channel(most) {
            self.refuse(RequestRefused::ChannelTooMany);
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        }
        // An unread read half would block the whole session: its bytes come by `data`.
        let (unread, writer) = channel.split();
        drop(unread);
        self.peers.insert(writer.id(), Some(writer));
        reply.accept().await;
        Ok(())
    }

    async fn channel_open_x11(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut Ssh,
    ) -> Result<(), Error> {
        self.refuse(RequestRefused::X11Channel);
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut Ssh,
    ) -> Result<(), Error> {
        self.refuse(RequestRefused::DirectTcpip);
        Ok(())
    }

    async fn channel_open_forwarded_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut Ssh,
    ) -> Result<(), Error> {
        self.refuse(RequestRefused::ForwardedTcpip);
        Ok(())
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: ChannelOpenHandle,
        _: &mut Ssh,
    ) -> Result<(), Error> {
        self.refuse(RequestRefused::DirectStreamlocal);
        Ok(())
    }

    async fn channel_open_confirmation(
        &mut self,
        channel: ChannelId,
        _: u32,
        _: u32,
        _: &mut Ssh,
    ) -> Result<(), Error> {
        // Bytes may come before the opener runs. A peer that "confirms" its own channel gets no queue.
        if !self.peers.contains_key(&channel) {
            let bound = self.inner.config.queued_per_channel;
            self.session.queue_of(channel, bound);
        }
        Ok(())
    }

    async fn data(&mut self, channel: ChannelId, data: &[u8], ssh: &mut Ssh) -> Result<(), Error> {
        if !self.peers.contains_key(&channel) {
            return self.queue(channel, data, ssh);
        }
        if self.lines.as_ref().is_some_and(|(id, _)| *id == channel) {
            self.take_lines(data);
        } else if self
            .enrolling
            .as_ref()
            .is_some_and(|enrolling| enrolling.is_on(channel))
        {
            self.take_enrolment(data);
        }
        Ok(())
    }

    async fn channel_eof(&mut self, channel: ChannelId, _: &mut Ssh) -> Result<(), Error> {
        // On the monitor's channel it means nothing: dropbear says it when its stdin ends, and lives on.
        if let Some(queue) = self.session.queue(channel) {
            queue.eof();
        }
        Ok(())
    }

    async fn channel_close(&mut self, channel: ChannelId, ssh: &mut Ssh) -> Result<(), Error> {
        if let Some(queue) = self.session.queue(channel) {
            queue.close();
        }
        if self.peers.remove(&channel).is_some() {
            self.session.free_channel();
        }
        if self.lines.as_ref().is_some_and(|(id, _)| *id == channel) {
            return self.hang_up(ssh);
        }
        Ok(())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _: &str,
        _: u32,
        _: u32,
        _: u32,
        _: u32,
        _: &[(Pty, u32)],
        ssh: &mut Ssh,
    ) -> Result<(), Error> {
        self.refuse_on(RequestRefused::Pty, channel, ssh)
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _: bool,
        _: &str,
        _: &str,
        _: u32,
        ssh: &mut Ssh,
    ) -> Result<(), Error> {
        self.refuse_on(RequestRefused::X11, channel, ssh)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        _: &str,
        _: &str,
        ssh: &mut Ssh,
    ) -> Result<(), Error> {
        self.refuse_on(RequestRefused::Env, channel, ssh)
    }

    async fn shell_request(&mut self, channel: ChannelId, ssh: &mut Ssh) -> Result<(), Error> {
        self.open_lines(channel, ssh)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        _: &[u8],
        ssh: &mut Ssh,
    ) -> Result<(), Error> {
        self.open_lines(channel, ssh)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        _: &str,
        ssh: &mut Ssh,
    ) -> Result<(), Error> {
        self.refuse_on(RequestRefused::Subsystem, channel, ssh)
    }

    async fn window_change_request(
        &mut self,
        channel: ChannelId,
        _: u32,
        _: u32,
        _: u32,
        _: u32,
        ssh: &mut Ssh,
    ) -> Result<(), Error> {
        self.refuse_on(RequestRefused::WindowChange, channel, ssh)
    }

    async fn agent_request(&mut self, _: ChannelId, _: &mut Ssh) -> Result<bool, Error> {
        self.refuse(RequestRefused::Agent);
        Ok(false)
    }

    async fn signal(
        &mut self,
        channel: ChannelId,
        signal: Sig,
        ssh: &mut Ssh,
    ) -> Result<(), Error> {
        let ours = self.lines.as_ref().is_some_and(|(id, _)| *id == channel);
        if ours && matches!(signal, Sig::HUP) {
            return self.hang_up(ssh);
        }
        Ok(())
    }

    async fn tcpip_forward(
        &mut self,
        address: &str,
        port: &mut u32,
        _: &mut Ssh,
    ) -> Result<bool, Error> {
        let Some(proved) = self.session.proved() else {
            return Ok(false);
        };
        let most = self.inner.config.forwards;
        let granted = self
            .session
            .forwards(|forwards| forwards.grant(&proved.camera, most, address, *port));
        match granted {
            Ok(granted) => *port = granted,
            Err(why) => {
                self.refuse(why);
                return Ok(false);
            }
        }
        if !self.session.up() {
            return Ok(true);
        }
        let up = TunnelUp {
            session: self.session.id,
            camera: Arc::clone(&proved.camera),
            key: Some(proved.key.clone()),
            peer: Some(self.session.peer),
            client: self.session.client().to_owned(),
        };
        self.inner.metrics.tunnels.inc();
        self.inner
            .end_one_too_many(&proved.camera.id, Stage::Waiting);
        if !self.monitor.events.up(up) {
            self.inner.metrics.tunnels.dec();
            self.session.not_taken();
            self.session.end(Closed::MonitorBusy);
            return Ok(false);
        }
        Ok(true)
    }

    async fn cancel_tcpip_forward(
        &mut self,
        address: &str,
        port: u32,
        _: &mut Ssh,
    ) -> Result<bool, Error> {
        Ok(self
            .session
            .forwards(|forwards| forwards.cancel(address, port)))
    }

    async fn streamlocal_forward(&mut self, _: &str, _: &mut Ssh) -> Result<bool, Error> {
        self.refuse(RequestRefused::StreamlocalForward);
        Ok(false)
    }
}
