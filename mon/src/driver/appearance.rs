//! Where a camera was seen and with which client (S4): a first appearance from a new network or with a new client version is a notice.
//!
//! Pure, and bounded to the last [`KNOWN`] of each. It begins anew with the process: the first tunnel after a start is no notice.

use std::collections::VecDeque;
use std::net::IpAddr;

use moorline_base::rate::Prefix;

const KNOWN: usize = 8;

/// What is new about a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Notice {
    pub(super) network: bool,
    pub(super) client: bool,
}

/// What was seen since the process started.
#[derive(Debug, Default)]
pub(super) struct Appearances {
    networks: VecDeque<Prefix>,
    clients: VecDeque<String>,
}

impl Appearances {
    /// A tunnel serves from there, with that client.
    pub(super) fn seen(&mut self, address: Option<IpAddr>, client: &str) -> Notice {
        let network =
            address.is_some_and(|address| note(&mut self.networks, Prefix::wide(address)));
        let client = !client.is_empty() && note(&mut self.clients, client.to_owned());
        Notice { network, client }
    }
}

/// Remembers a value; whether it is new, and not the first.
fn note<T: PartialEq>(known: &mut VecDeque<T>, value: T) -> bool {
    if known.contains(&value) {
        return false;
    }
    let first = known.is_empty();
    if known.len() >= KNOWN {
        known.pop_front();
    }
    known.push_back(value);
    !first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s4_a_new_network_and_a_new_client_are_noticed_once() {
        let mut appearances = Appearances::default();
        let mut seen = |address: &str, client: &str| {
            let notice = appearances.seen(address.parse().ok(), client);
            (notice.network, notice.client)
        };
        assert_eq!(seen("192.0.2.1", "dropbear_2022.83"), (false, false));
        assert_eq!(seen("192.0.2.99", "dropbear_2022.83"), (false, false));
        assert_eq!(seen("198.51.100.1", "dropbear_2022.83"), (true, false));
        assert_eq!(seen("198.51.100.1", "OpenSSH_9.2"), (false, true));
        assert_eq!(seen("192.0.2.1", "OpenSSH_9.2"), (false, false));
        assert_eq!(seen("", ""), (false, false), "a LAN camera has neither");
    }
}
