//! Why there is no media at this moment (docs/design/lifecycle.md): a pure decision, because only the monitor sees session, relay and orders together.
//!
//! The order of the rules is their weight: what the owner wanted, then the process, then the link, then the relay, then the archiver.

use std::time::Duration;

use moorline_core::Cause;
use moorline_core::status::{ArchiveState, RelayState};

/// A relay that connects gets so long before *connecting* counts as *refused*: a reconnect takes a tenth of a second, and a gap of two
/// causes would be two objects.
pub(crate) const CONNECTING: Duration = Duration::from_secs(5);
/// A relay calls a stream silent so long after its last media.
pub(crate) const SILENT: Duration = Duration::from_secs(5);
/// The relay plays and the archiver has had no media for so long: it waits for a key frame, or cannot reach its relay.
pub(crate) const NO_KEY_FRAME: Duration = Duration::from_secs(10);

/// The link, as far as causes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkSeen {
    /// A tunnel serves.
    Up,
    /// None does: the last one was lost, or none has come yet.
    Down,
    /// None does: the last one hung up.
    HungUp,
    /// None does: the operator ended the last one.
    Operator,
}

/// All that the decision looks at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    /// Camera enabled and something recorded.
    pub(crate) wanted: bool,
    /// The process stops.
    pub(crate) stopping: bool,
    /// The link.
    pub(crate) link: LinkSeen,
    /// A workload has crashed and waits for its restart.
    pub(crate) restarting: bool,
    /// The way to the relay's pod is broken.
    pub(crate) relay_away: bool,
    /// A newer tunnel serves, and the relay has said nothing of it yet.
    pub(crate) rebound: bool,
    /// What the relay of the recorded source says, and for how long.
    pub(crate) relay: Option<(RelayState, Duration)>,
    /// What the archiver says, and for how long it has had no media.
    pub(crate) archive: Option<(ArchiveState, Option<Duration>)>,
    /// The archiver says that its relay is not open to it.
    pub(crate) shut_out: bool,
    /// The cause that holds now.
    pub(crate) before: Option<Cause>,
}

/// The cause from now on; `None`: media is being recorded.
pub(crate) fn decide(seen: &Seen) -> Option<Cause> {
    if !seen.wanted {
        return Some(Cause::Disabled);
    }
    if seen.stopping {
        return Some(Cause::Restart);
    }
    match seen.link {
        LinkSeen::HungUp => return Some(Cause::HungUp),
        LinkSeen::Operator => return Some(Cause::Operator),
        LinkSeen::Down => return Some(Cause::TunnelDown),
        LinkSeen::Up => {}
    }
    if seen.restarting {
        return Some(Cause::Restart);
    }
    if seen.relay_away {
        return match seen.archive {
            // Only the way to us is broken: pictures come.
            Some((ArchiveState::Recording, _)) => None,
            // It was killed, or its node is away.
            _ => Some(seen.before.unwrap_or(Cause::Restart)),
        };
    }
    if seen.rebound {
        return seen.before;
    }
    let Some((relay, since)) = seen.relay else {
        return Some(seen.before.unwrap_or(Cause::Restart));
    };
    match relay {
        RelayState::NoLanding => Some(Cause::TunnelDown),
        RelayState::Idle => Some(seen.before.unwrap_or(Cause::Restart)),
        RelayState::Connecting if since < CONNECTING => {
            Some(seen.before.unwrap_or(Cause::RtspError))
        }
        RelayState::Connecting | RelayState::Refused { .. } => Some(Cause::RtspError),
        RelayState::Silent => Some(Cause::CameraSilent),
        RelayState::Playing => playing(seen, since),
    }
}

/// The relay has been playing for so long.
fn playing(seen: &Seen, long: Duration) -> Option<Cause> {
    match seen.archive {
        Some((ArchiveState::DiskFull, _)) => Some(Cause::SpoolFull),
        // Not yet: the archiver has just been started, or reads the relay's first pictures.
        None => Some(seen.before.unwrap_or(Cause::Restart)),
        Some((ArchiveState::Waiting, Some(silent))) if silent.min(long) >= NO_KEY_FRAME => {
            // Of pictures that it does not get it cannot say that they have no key frame.
            Some(if seen.shut_out {
                Cause::Restart
            } else {
                Cause::NoIdr
            })
        }
        Some((ArchiveState::Waiting, _)) => seen.before,
        Some((ArchiveState::Recording | ArchiveState::Draining, _)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use moorline_core::status::RtspFault;

    fn recording() -> Seen {
        Seen {
            wanted: true,
            stopping: false,
            link: LinkSeen::Up,
            restarting: false,
            relay_away: false,
            rebound: false,
            relay: Some((RelayState::Playing, Duration::from_secs(60))),
            archive: Some((ArchiveState::Recording, None)),
            shut_out: false,
            before: Some(Cause::TunnelDown),
        }
    }

    fn relay(state: RelayState, seconds: u64, before: Option<Cause>) -> Option<Cause> {
        decide(&Seen {
            relay: Some((state, Duration::from_secs(seconds))),
            before,
            ..recording()
        })
    }

    #[test]
    fn a_relay_of_which_nothing_is_heard_is_a_restart_unless_pictures_come() {
        let away = |archive, before| {
            decide(&Seen {
                relay_away: true,
                relay: None,
                archive,
                before,
                ..recording()
            })
        };
        let waiting = Some((ArchiveState::Waiting, Some(Duration::from_secs(20))));
        assert_eq!(away(waiting, None), Some(Cause::Restart));
        assert_eq!(away(None, None), Some(Cause::Restart));
        let earlier = Some(Cause::TunnelDown);
        assert_eq!(away(waiting, earlier), earlier);
        assert_eq!(away(Some((ArchiveState::Recording, None)), None), None);
    }

    #[test]
    fn pictures_that_are_recorded_need_no_cause() {
        assert_eq!(decide(&recording()), None);
    }

    #[test]
    fn what_the_owner_wanted_comes_first() {
        let off = Seen {
            wanted: false,
            link: LinkSeen::Down,
            ..recording()
        };
        assert_eq!(decide(&off), Some(Cause::Disabled));
    }

    #[test]
    fn who_ended_the_tunnel_is_told_apart() {
        for (link, cause) in [
            (LinkSeen::HungUp, Cause::HungUp),
            (LinkSeen::Operator, Cause::Operator),
            (LinkSeen::Down, Cause::TunnelDown),
        ] {
            let gone = Seen {
                link,
                ..recording()
            };
            assert_eq!(decide(&gone), Some(cause));
            let stopping = Seen {
                stopping: true,
                ..gone
            };
            assert_eq!(
                decide(&stopping),
                Some(Cause::Restart),
                "nobody could come in"
            );
        }
    }

    #[test]
    fn a_stop_of_the_process_is_a_restart_and_a_missing_tunnel_is_one() {
        let stopping = Seen {
            stopping: true,
            link: LinkSeen::Down,
            ..recording()
        };
        assert_eq!(decide(&stopping), Some(Cause::Restart));
        let down = Seen {
            link: LinkSeen::Down,
            ..recording()
        };
        assert_eq!(decide(&down), Some(Cause::TunnelDown));
        let crashed = Seen {
            restarting: true,
            ..recording()
        };
        assert_eq!(decide(&crashed), Some(Cause::Restart));
    }

    #[test]
    fn the_relay_says_what_the_camera_does() {
        let refused = RelayState::Refused {
            fault: RtspFault::Unauthorized,
        };
        assert_eq!(relay(refused, 0, None), Some(Cause::RtspError));
        assert_eq!(
            relay(RelayState::Silent, 0, None),
            Some(Cause::CameraSilent)
        );
        assert_eq!(
            relay(RelayState::NoLanding, 0, None),
            Some(Cause::TunnelDown)
        );
    }

    #[test]
    fn a_relay_that_connects_keeps_the_cause_for_a_while() {
        let down = Some(Cause::TunnelDown);
        assert_eq!(relay(RelayState::Connecting, 1, down), down);
        assert_eq!(
            relay(RelayState::Connecting, 5, down),
            Some(Cause::RtspError)
        );
        assert_eq!(
            relay(RelayState::Connecting, 0, None),
            Some(Cause::RtspError)
        );
        let starting = Seen {
            relay: None,
            ..recording()
        };
        assert_eq!(decide(&starting), down);
    }

    #[test]
    fn the_first_key_frame_after_a_long_gap_has_time_to_come() {
        let silent = Some((ArchiveState::Waiting, Some(Duration::from_secs(600))));
        let playing = |seconds| {
            decide(&Seen {
                relay: Some((RelayState::Playing, Duration::from_secs(seconds))),
                archive: silent,
                ..recording()
            })
        };
        assert_eq!(playing(2), Some(Cause::TunnelDown));
        assert_eq!(playing(10), Some(Cause::NoIdr));
    }

    #[test]
    fn what_a_relay_said_of_the_older_tunnel_decides_nothing() {
        for before in [None, Some(Cause::TunnelDown)] {
            let rebound = Seen {
                rebound: true,
                relay: Some((RelayState::NoLanding, Duration::ZERO)),
                before,
                ..recording()
            };
            assert_eq!(decide(&rebound), before);
        }
    }

    #[test]
    fn the_archiver_may_be_what_is_missing() {
        let archive = |archive| {
            decide(&Seen {
                archive,
                before: None,
                ..recording()
            })
        };
        assert_eq!(
            archive(Some((ArchiveState::DiskFull, None))),
            Some(Cause::SpoolFull)
        );
        assert_eq!(archive(None), Some(Cause::Restart));
        assert_eq!(archive(Some((ArchiveState::Waiting, None))), None);
        let waiting = Some((ArchiveState::Waiting, Some(NO_KEY_FRAME)));
        assert_eq!(archive(waiting), Some(Cause::NoIdr));
    }

    #[test]
    fn an_archiver_whose_relay_is_not_open_to_it_misses_no_key_frame() {
        let shut_out = |before, seconds| {
            decide(&Seen {
                relay: Some((RelayState::Playing, Duration::from_secs(seconds))),
                archive: Some((ArchiveState::Waiting, Some(Duration::from_secs(60)))),
                shut_out: true,
                before,
                ..recording()
            })
        };
        let down = Some(Cause::TunnelDown);
        assert_eq!(shut_out(down, 2), down, "it has time to open it");
        assert_eq!(shut_out(down, 10), Some(Cause::Restart));
        assert_eq!(shut_out(None, 10), Some(Cause::Restart));
        let away = Seen {
            link: LinkSeen::Down,
            shut_out: true,
            ..recording()
        };
        assert_eq!(decide(&away), down, "a camera that is away is away");
    }
}
