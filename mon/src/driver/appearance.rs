//! Where a camera was seen and with which client (S4): a first appearance from a new network or with a new client version is a notice,
//! and so are each call of a stolen camera's key, a key in two places, and a second use of an enrolment token (S3).
//!
//! Pure, and bounded to the last [`KNOWN`] of each. It is remembered across a restart, so that a restart hides nothing and tells nothing
//! anew; the first tunnel of a camera is no notice. One kind of notice about one camera is sent once an hour; what is the same as an
//! earlier one of that hour is not even shown again.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use moorline_base::Untrusted;
use moorline_base::rate::Prefix;
use moorline_core::Timestamp;
use moorline_core::alarm::{Alarm, AlarmKind, Notice, NoticeKind};
use moorline_core::port::Memory;

use super::Driver;

const KNOWN: usize = 8;

/// One kind of notice about one camera is sent once in so long.
const EVERY: Duration = Duration::from_secs(3_600);

/// What is new about a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct News {
    pub(super) network: bool,
    pub(super) client: bool,
}

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Appearances {
    networks: VecDeque<Prefix>,
    clients: VecDeque<String>,
}

impl Appearances {
    /// Goes on from what was remembered.
    pub(super) fn restore(memory: &Memory) -> Self {
        let networks = memory.networks.iter().copied().map(Prefix::wide);
        Self {
            networks: networks.take(KNOWN).collect(),
            clients: memory.clients.iter().take(KNOWN).cloned().collect(),
        }
    }

    /// Writes down what must be known again.
    pub(super) fn remember(&self, memory: &mut Memory) {
        let networks = self.networks.iter().copied().map(Prefix::first);
        memory.networks = networks.collect();
        memory.clients = self.clients.iter().cloned().collect();
    }

    /// Whether it was ever connected.
    pub(super) fn any(&self) -> bool {
        !self.networks.is_empty() || !self.clients.is_empty()
    }

    /// A tunnel serves from there, with that client.
    pub(super) fn seen(&mut self, address: Option<IpAddr>, client: &str) -> News {
        let network =
            address.is_some_and(|address| note(&mut self.networks, Prefix::wide(address)));
        let client = !client.is_empty() && note(&mut self.clients, client.to_owned());
        News { network, client }
    }
}

/// What is done with a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The same was noticed within the hour.
    Known,
    /// It is shown.
    Shown,
    /// It is shown, and somebody is to be told.
    Told,
}

/// The notices of a camera.
#[derive(Debug, Default)]
pub(super) struct Notices {
    last: VecDeque<Notice>,
    told: BTreeMap<NoticeKind, Timestamp>,
}

impl Notices {
    /// Goes on from what was remembered: what was shown counts as told.
    pub(super) fn restore(memory: &Memory) -> Self {
        let last: VecDeque<Notice> = memory.notices.iter().take(KNOWN).cloned().collect();
        let told = last.iter().map(|notice| (notice.what, notice.at)).collect();
        Self { last, told }
    }

    /// Takes a notice. Hours are the wall clock's, since they go on across a restart; one that lies in the future is over.
    pub(super) fn add(&mut self, notice: Notice) -> Fate {
        let now = notice.at;
        let lately = |at: Timestamp| at <= now && now.since(at) < EVERY;
        let ip = |notice: &Notice| notice.peer.map(|peer| peer.ip().to_canonical());
        let same = |other: &Notice| {
            (other.what, ip(other), &other.client) == (notice.what, ip(&notice), &notice.client)
        };
        if self
            .last
            .iter()
            .any(|other| lately(other.at) && same(other))
        {
            return Fate::Known;
        }
        let what = notice.what;
        if self.last.len() >= KNOWN {
            self.last.pop_front();
        }
        self.last.push_back(notice);
        if self.told.get(&what).copied().is_some_and(lately) {
            return Fate::Shown;
        }
        self.told.insert(what, now);
        Fate::Told
    }

    /// The last of them, oldest first.
    pub(super) fn all(&self) -> Vec<Notice> {
        self.last.iter().cloned().collect()
    }
}

impl Driver {
    /// Logs a notice, shows it, and tells its owner unless there are too many.
    pub(super) fn notice(
        &mut self,
        what: NoticeKind,
        peer: Option<std::net::SocketAddr>,
        client: String,
    ) {
        let now = self.shared.clock.monotonic();
        let notice = Notice {
            at: self.shared.now(),
            what,
            peer,
            client,
        };
        let fate = self.notices.add(notice.clone());
        if fate == Fate::Known {
            return;
        }
        let client = Untrusted::new(&notice.client);
        tracing::warn!(what = what.as_str(), ?peer, %client, "notice");
        if fate != Fate::Told || !self.shared.gate(|gates| gates.notice(now)) {
            self.shared.metrics.notices_held_back.inc();
            return;
        }
        let alarm = Alarm {
            tenant: self.camera.id.tenant().clone(),
            at: notice.at,
            kind: AlarmKind::Notice {
                camera: self.camera.id.clone(),
                title: self.camera.title.clone(),
                timezone: self.camera.timezone.clone(),
                what,
                peer,
                client: notice.client,
            },
        };
        crate::alarm_task::queue(&self.shared, alarm);
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

    #[test]
    fn s4_a_notice_is_told_once_an_hour_and_shown_while_it_is_new() {
        let mut notices = Notices::default();
        let mut add = |what, peer: &str, minutes: u64| {
            let notice = Notice {
                at: Timestamp::default() + Duration::from_secs(minutes * 60),
                what,
                peer: peer.parse().ok(),
                client: "SSH-2.0-dropbear".to_owned(),
            };
            notices.add(notice)
        };
        let stolen = NoticeKind::StolenKey;
        assert_eq!(add(stolen, "192.0.2.1:1000", 0), Fate::Told);
        assert_eq!(
            add(stolen, "192.0.2.1:2000", 1),
            Fate::Known,
            "another port"
        );
        assert_eq!(add(stolen, "198.51.100.1:1000", 2), Fate::Shown);
        assert_eq!(add(NoticeKind::NewNetwork, "192.0.2.1:1000", 3), Fate::Told);
        assert_eq!(add(stolen, "192.0.2.1:3000", 61), Fate::Told);
        for host in 0..50 {
            add(stolen, &format!("203.0.113.{host}:1"), 62);
        }
        assert_eq!(notices.all().len(), KNOWN);
    }
}
