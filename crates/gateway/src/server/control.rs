//! A pod's control connection, on the holder's side.
//!
//! ```text
//! find the keeper ─▶ 101 ─▶ spec, orders in force ─▶ lines both ways ─▶ closed: silent · replaced · instance over · no longer the keeper
//! ```

use std::sync::Arc;

use moorline_base::CancellationToken;
use moorline_base::clock::timeout;
use moorline_core::lifecycle::Role;
use moorline_core::port::{Holder, KeyPin, LinkEvent, PodUid, WorkloadReport};
use moorline_core::{CameraId, Generation};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

use super::connect::{announce, elsewhere};
use super::links::{Link, Over};
use super::{Shared, answer, count, opening, peers, refuse};
use crate::metrics::Reason;
use crate::serving::{Answer, Tls, WRITE};
use crate::ticket::{TicketPublic, print_publics};
use crate::wire::{BEAT, DEAD, LONGEST_TO_HOLDER, Lines, PROTOCOL, ToHolder, ToPod, line};

/// Serves a workload that may.
pub(super) async fn serve(
    shared: &Arc<Shared>,
    mut stream: Tls,
    camera: CameraId,
    role: Role,
    pod: PodUid,
    key: Option<KeyPin>,
    cancel: &CancellationToken,
) {
    let kept = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(refuse(503, "stopping")),
        kept = find(shared, &camera) => kept,
        early = stream.fill_buf() => match early {
            Ok(bytes) if !bytes.is_empty() => Err(refuse(400, "early")),
            _ => return closed(shared, "peer_closed"),
        },
    };
    if let Err(refusal) = kept {
        return answer(shared, stream, &refusal).await;
    }
    count(shared, 101, "ok");
    let keys = shared.parts.tickets.get();
    let upgrade = format!("Upgrade: {PROTOCOL}\r\nConnection: Upgrade\r\n");
    let head = opening(shared, 101, &upgrade);
    let metrics = &shared.parts.metrics;
    let link = shared.parts.links.connect(&camera, &pod);
    let (connection, replaced) = (link.id, link.replaced.clone());
    metrics.links.inc();
    let events = &shared.parts.events;
    events.said(&camera, role, &pod, LinkEvent::Connected { connection });
    let mut talk = Talk {
        shared,
        camera: &camera,
        role,
        pod: &pod,
        key,
        keys,
        link,
    };
    let reason = talk.run(stream, head, cancel).await;
    drop(talk);
    metrics.links.dec();
    // The connection that took its place stands, though its `Connected` may be about to be said: its number is not known until then, and the
    // pod would be told to be away for a moment.
    if !replaced.is_cancelled() {
        events.said(&camera, role, &pod, LinkEvent::Disconnected { connection });
    }
    closed(shared, reason);
    tracing::info!(role = role.as_str(), %pod, reason, "a control connection ended");
}

fn closed(shared: &Shared, reason: &'static str) {
    shared
        .parts
        .metrics
        .closed
        .get_or_create(&Reason { reason })
        .inc();
}

/// Waits until this replica keeps the camera's pods.
async fn find(shared: &Shared, camera: &CameraId) -> Result<(), Answer> {
    let parts = &shared.parts;
    let clock = &*parts.clock;
    let deadline = clock.monotonic() + shared.config.hold;
    loop {
        let seen = parts.holders.holder(camera);
        let keeper = parts.holders.keeper(camera);
        if !parts.holders.is_current()
            && !matches!(keeper, Holder::Here(_) | Holder::Unknown)
            && let Some(address) = peers::ask(shared, camera, Generation(0)).await
        {
            return Err(elsewhere(address));
        }
        match keeper {
            Holder::Here(_) => return Ok(()),
            Holder::There { address, .. } => return Err(elsewhere(address)),
            Holder::Unknown => return Err(refuse(404, "unknown")),
            Holder::Nobody => {}
        }
        let now = clock.monotonic();
        if now >= deadline {
            return Err(refuse(503, "nobody_keeps_it"));
        }
        // The janitor may change without a change of the camera.
        tokio::select! {
            _ = parts.holders.changed(camera, &seen) => {}
            () = clock.sleep_until(deadline.min(now + BEAT)) => {}
        }
    }
}

/// One connection's conversation.
struct Talk<'a> {
    shared: &'a Arc<Shared>,
    camera: &'a CameraId,
    role: Role,
    pod: &'a PodUid,
    key: Option<KeyPin>,
    keys: Vec<TicketPublic>,
    link: Link,
}

impl Talk<'_> {
    async fn run(&mut self, stream: Tls, head: String, cancel: &CancellationToken) -> &'static str {
        let (reading, mut writing) = tokio::io::split(stream);
        let mut reading = BufReader::with_capacity(1024, reading);
        let mut lines = Lines::new(LONGEST_TO_HOLDER);
        let clock = Arc::clone(&self.shared.parts.clock);
        let holders = Arc::clone(&self.shared.parts.holders);
        let mut out = head.into_bytes();
        let mut heard = clock.monotonic();
        let mut beat = heard + BEAT;
        let replaced = self.link.replaced.clone();
        loop {
            let seen = holders.holder(self.camera);
            match self.link.untold() {
                Ok(messages) => messages
                    .iter()
                    .for_each(|message| out.extend(line(message))),
                Err(Over) => return "instance_over",
            }
            if !out.is_empty() {
                let written = async {
                    writing.write_all(&out).await?;
                    writing.flush().await
                };
                match timeout(&*clock, WRITE, written).await {
                    Ok(Ok(())) => out.clear(),
                    Ok(Err(_)) => return "peer_closed",
                    Err(_) => return "stalled",
                }
            }
            tokio::select! {
                biased;
                () = cancel.cancelled() => return "stopping",
                () = replaced.cancelled() => return "replaced",
                () = self.link.changed() => {}
                _ = holders.changed(self.camera, &seen) => {
                    if !self.is_keeper() {
                        return "not_the_keeper";
                    }
                }
                said = lines.next::<ToHolder, _>(&mut reading) => match said {
                    Ok(said) => {
                        heard = clock.monotonic();
                        if self.hear(said) {
                            out.extend(line(&ToPod::DrainedSeen));
                        }
                    }
                    Err(end) => return end.reason(),
                },
                () = clock.sleep_until(beat) => {
                    let now = clock.monotonic();
                    beat = now + BEAT;
                    if now.saturating_duration_since(heard) >= DEAD {
                        return "silent";
                    }
                    if !self.is_keeper() {
                        return "not_the_keeper";
                    }
                    if !self.shared.parts.identities.is_alive(self.pod) {
                        return "pod_gone";
                    }
                    self.beat(&mut out);
                }
            }
        }
    }

    fn is_keeper(&self) -> bool {
        matches!(
            self.shared.parts.holders.keeper(self.camera),
            Holder::Here(_)
        )
    }

    fn beat(&mut self, out: &mut Vec<u8>) {
        out.extend(line(&ToPod::Beat));
        if !self.link.serves() {
            // Whoever looks after the camera from now on was not there when it connected.
            let connection = self.link.id;
            let connected = LinkEvent::Connected { connection };
            let events = &self.shared.parts.events;
            events.said(self.camera, self.role, self.pod, connected);
        } else if let Some(key) = self.key {
            // One that stands by is not to be read yet.
            announce(self.shared, self.camera, self.pod, key);
        }
        let keys = self.shared.parts.tickets.get();
        if keys != self.keys {
            out.extend(line(&ToPod::TicketKeys {
                keys: print_publics(&keys),
            }));
            self.keys = keys;
        }
    }

    /// Passes on what the pod says. `true`: it wants to know that it was heard.
    fn hear(&self, said: ToHolder) -> bool {
        let tell = |event| {
            self.shared
                .parts
                .events
                .said(self.camera, self.role, self.pod, event)
        };
        match said {
            ToHolder::Relay { report } if self.role == Role::Relay => {
                tell(LinkEvent::Report(WorkloadReport::Relay(report)));
            }
            ToHolder::Archive { report } if self.role == Role::Archiver => {
                tell(LinkEvent::Report(WorkloadReport::Archive(report)));
            }
            ToHolder::Drained => {
                if self.link.drained() {
                    tell(LinkEvent::Drained);
                }
                return true;
            }
            // A relay does not speak for the archive, nor an archiver for the relay.
            ToHolder::Relay { .. }
            | ToHolder::Archive { .. }
            | ToHolder::Beat
            | ToHolder::Unknown => {}
        }
        false
    }
}
