//! Why dbclient ended: it exits with 1 whatever happened, its text tells.

use moorline_control::Reason;

use crate::words::place_of;

/// The reason that a line of dbclient's stderr tells, if it tells one. Its texts are those of 2016.74 to 2026.94.
#[must_use]
pub fn of_stderr(line: &str) -> Option<Reason> {
    const TEXTS: &[(&str, Reason)] = &[
        ("host key mismatch", Reason::HostKey),
        ("is not in the trusted hosts file", Reason::HostKey),
        ("Host is not in the trusted", Reason::HostKey),
        ("No auth methods could be used", Reason::Auth),
        ("Too many login attempts", Reason::Auth),
        ("Connect failed", Reason::Connect),
        ("Connection refused", Reason::Connect),
        ("Error connecting", Reason::Connect),
        ("Error resolving", Reason::Connect),
        ("Remote TCP forward request failed", Reason::Forward),
        ("Keepalive timeout", Reason::Keepalive),
    ];
    let known = TEXTS
        .iter()
        .find(|(text, _)| place_of(line, text).is_some());
    known.map(|(_, reason)| *reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dbclient_says_has_a_reason() {
        for (line, reason) in [
            (
                "dbclient: Connection to home/yard@127.0.0.1:22 exited: \n\nhost key mismatch for 127.0.0.1 !\n",
                Reason::HostKey,
            ),
            (
                "dbclient: Connection to a@192.0.2.1:22 exited: No auth methods could be used.",
                Reason::Auth,
            ),
            (
                "dbclient: Connection to a@192.0.2.1:22 exited: Connect failed: Connection refused",
                Reason::Connect,
            ),
            (
                "dbclient: Remote TCP forward request failed (port 0 -> 127.0.0.1:8555)",
                Reason::Forward,
            ),
            (
                "dbclient: Connection to a@192.0.2.1:22 exited: Keepalive timeout",
                Reason::Keepalive,
            ),
        ] {
            assert_eq!(of_stderr(line), Some(reason), "{line}");
        }
        assert_eq!(
            of_stderr("dbclient: Allocated port 49152 for remote forward to 127.0.0.1:8555"),
            None
        );
    }
}
