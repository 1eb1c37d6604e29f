//! What was in vain at each server: it chooses among its pins, its addresses and the camera's keys.
//!
//! Counted for each server alone, and apart by who named it: whatever a told server refuses must not take a key's turn at the owner's (S6).

use moorline_control::{Host, Reason, SshUser};

use crate::endpoint::Endpoint;
use crate::settings::Trust;

/// What has its turn in a call. Each counts on: whoever has several takes the rest of the division.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Turn {
    /// Calls that a host key ended. A pin that holds is kept.
    pub(super) pin: usize,
    /// Calls that the camera's key ended.
    pub(super) key: usize,
    /// Calls that had no connection, or no hello in time.
    pub(super) address: usize,
}

#[derive(Debug)]
struct Server {
    user: SshUser,
    host: Host,
    port: u16,
    trust: Trust,
    turn: Turn,
}

impl Server {
    fn is(&self, (endpoint, trust): &(Endpoint, Trust)) -> bool {
        (&self.user, &self.host, self.port, self.trust)
            == (&endpoint.user, &endpoint.host, endpoint.port, *trust)
    }
}

/// The servers that were called: the last one first, and none that is not called any more.
#[derive(Debug, Default)]
pub(super) struct Tried(Vec<Server>);

impl Tried {
    pub(super) fn turn(&mut self, server: &(Endpoint, Trust), all: &[(Endpoint, Trust)]) -> Turn {
        self.0.retain(|tried| all.iter().any(|one| tried.is(one)));
        let known = self.0.iter().position(|tried| tried.is(server));
        let (endpoint, trust) = server;
        let last = match known {
            Some(at) => self.0.remove(at),
            None => Server {
                user: endpoint.user.clone(),
                host: endpoint.host.clone(),
                port: endpoint.port,
                trust: *trust,
                turn: Turn::default(),
            },
        };
        let turn = last.turn;
        self.0.insert(0, last);
        turn
    }

    pub(super) fn ended(&mut self, reason: Reason) {
        let Some(Server { turn, .. }) = self.0.first_mut() else {
            return;
        };
        let count = match reason {
            Reason::HostKey => &mut turn.pin,
            Reason::Auth => &mut turn.key,
            Reason::Connect | Reason::Hello => &mut turn.address,
            _ => return,
        };
        *count = count.wrapping_add(1);
    }

    /// Where in the list the server stands that was called last, if it stands there still.
    pub(super) fn place(&self, all: &[(Endpoint, Trust)]) -> Option<usize> {
        let last = self.0.first()?;
        all.iter().position(|one| last.is(one))
    }

    /// How many others were called since that one.
    pub(super) fn since(&self, call: &(Endpoint, Trust)) -> usize {
        let at = self.0.iter().position(|tried| tried.is(call));
        at.unwrap_or(usize::MAX)
    }

    pub(super) fn trust(&self) -> Option<Trust> {
        self.0.first().map(|last| last.trust)
    }

    pub(super) fn rekeyed(&mut self) {
        for server in &mut self.0 {
            server.turn.key = 0;
        }
    }
}
